//! Files that others name: routes and certificates. What is none (a pipe waits for whoever writes to it, a device may have
//! no end) is refused before it is opened, since the thread that reads it has the status port and the end to care for.

use std::fs::{File, metadata};
use std::io::{self, Read};
use std::path::Path;

/// Opens a file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// Reads a file, but of what is longer than it may be only one byte more: whoever parses it refuses it.
pub(crate) fn read(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
