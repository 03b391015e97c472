//! Files that others name: routes and certificates. What is none (a pipe waits for whoever writes to it, a device may have
//! no end) is refused before it is opened, since the thread that reads it has the status port and the end to care for.

use std::fs::{File, metadata};
use std::io::{self, Read};
use std::path::Path;

/// Far more than a routes file or a certificate may hold. What is longer is cut here, and refused by whoever parses it.
const MAX_BYTES: u64 = 16 << 20;

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
    open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
