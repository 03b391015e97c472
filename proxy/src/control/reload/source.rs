//! Reading the routes: a file, or the `*.yaml` keys of a directory, never half of one version and half of another.

use crate::files;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use turnout_routes::Source;

/// What kubelet swaps in a mounted ConfigMap: a link to the directory that holds the keys of one version.
const DATA_LINK: &str = "..data";
/// Between two reads of what is not swapped at once: a half-copied file is often valid YAML.
const SETTLE: Duration = Duration::from_millis(50);
/// How often a directory that keeps changing is read before the reader gives up until the next hint.
const READS: usize = 20;

/// The keys of one version, in name order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sources(Vec<(String, Vec<u8>)>);

impl Sources {
    pub(super) fn as_sources(&self) -> Vec<Source<'_>> {
        self.0.iter().map(|(name, bytes)| Source { name, bytes }).collect()
    }
}

/// Reads a version whole. A version behind `..data` is read at once; anything else must read the same twice.
pub(super) async fn read_sources(path: &Path) -> io::Result<Sources> {
    let mut before: Option<Sources> = None;
    for _ in 0..READS {
        if path.is_dir() && path.join(DATA_LINK).exists() {
            match read_swapped(path) {
                Ok(Some(read)) => return Ok(read),
                // It was swapped away while it was read, and perhaps removed: the new one is there already.
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
        }
        let read = read_once(path)?;
        if before.as_ref() == Some(&read) {
            return Ok(read);
        }
        before = Some(read);
        tokio::time::sleep(SETTLE).await;
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the routes keep changing while they are read"))
}

/// Reads the keys in the directory that `..data` leads to, and nothing through the link itself. None if the link led
/// elsewhere afterwards.
fn read_swapped(path: &Path) -> io::Result<Option<Sources>> {
    let link = path.join(DATA_LINK);
    let version = std::fs::read_link(&link)?;
    let read = read_directory(&path.join(&version))?;
    Ok((std::fs::read_link(&link)? == version).then_some(read))
}

fn read_once(path: &Path) -> io::Result<Sources> {
    if path.is_dir() {
        return read_directory(path);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Sources(vec![(name, files::read(path)?)]))
}

fn read_directory(path: &Path) -> io::Result<Sources> {
    let mut keys: Vec<(String, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_yaml = Path::new(&name).extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && !name.starts_with('.') {
            keys.push((name, entry.path()));
        }
    }
    keys.sort();
    let read = |(name, path): (String, PathBuf)| match files::read(&path) {
        Ok(bytes) => Ok((name, bytes)),
        Err(error) => Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
    };
    keys.into_iter().map(read).collect::<io::Result<_>>().map(Sources)
}
