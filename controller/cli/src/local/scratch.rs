//! A directory that is there for the time of one command: private to the user, and gone when the command ends by
//! itself. After a SIGKILL it stays for the system to clear.

use anyhow::Context as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where Linux has files in memory.
const MEMORY: &str = "/dev/shm";

/// A fresh directory that nobody else can read; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes it in memory, where every write is over at once: a disk that others keep busy may take seconds for each. Where
    /// there is no such place, or `TMPDIR` names another one, it is in the system's place for such things.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        let name = format!("{name}-{}-{nanos:09}", std::process::id());
        let make = |parent: PathBuf| -> (PathBuf, io::Result<()>) {
            let path = parent.join(&name);
            let made = DirBuilder::new().mode(0o700).create(&path);
            (path, made)
        };
        let in_memory = std::env::var_os("TMPDIR").is_none().then(|| make(MEMORY.into()));
        let in_memory = in_memory.filter(|(_, made)| made.is_ok());
        let (path, made) = in_memory.unwrap_or_else(|| make(std::env::temp_dir()));
        made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in a place that the system clears.
        let _ = fs::remove_dir_all(&self.path);
    }
}
