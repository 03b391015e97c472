//! Files that others name: routes and certificates. What is none (a pipe waits for whoever writes to it, a device may have
//! no end) is refused before it is opened, since the thread that reads it has the status port and the end to care for.

use std::fs::{File, metadata};
use std::io::{self, Read};
use std::path::Path;

/// The most that a routes file may be allowed to hold, and far more than a certificate does.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// Opens a file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // What is longer is cut behind that, and refused by whoever parses it.
    open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
