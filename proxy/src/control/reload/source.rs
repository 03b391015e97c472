//! Reading the routes: a file, or the `*.yaml` keys of a directory, never half of one version and half of another.

use crate::files;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use turnout_routes::{MAX_SOURCE_BYTES, Source};

/// What kubelet swaps in a mounted ConfigMap: a link to the directory that holds the keys of one version.
const DATA_LINK: &str = "..data";
/// Between two reads of what is not swapped at once: a half-copied file is often valid YAML.
const SETTLE: Duration = Duration::from_millis(50);
/// What nobody has touched for so long is whole, and read once: a gateway that starts need not wait.
const SETTLED: Duration = Duration::from_secs(1);
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

/// Reads a version whole. A version behind `..data` is read at once; anything else that was touched of late must read the
/// same twice.
///
/// No more is read than makes it clear that it is more than `max_bytes`, or than a ConfigMap may hold: the revision of one
/// that is refused has to be right, too, for who has published it.
pub(super) async fn read_sources(path: &Path, max_bytes: usize) -> io::Result<Sources> {
    let max_bytes = max_bytes.max(MAX_SOURCE_BYTES);
    let mut before: Option<Sources> = None;
    for _ in 0..READS {
        if path.is_dir() && path.join(DATA_LINK).exists() {
            match read_swapped(path, max_bytes) {
                Ok(Some(read)) => return Ok(read),
                // It was swapped away while it was read, and perhaps removed: the new one is there already.
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
        }
        let read = read_once(path, max_bytes)?;
        if before.as_ref() == Some(&read) || is_settled(path) {
            return Ok(read);
        }
        before = Some(read);
        tokio::time::sleep(SETTLE).await;
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the routes keep changing while they are read"))
}

/// Whether neither the file or directory nor, as far as can be told, anything in it was touched of late.
fn is_settled(path: &Path) -> bool {
    let is_old = |path: &Path| {
        let touched = std::fs::metadata(path).and_then(|metadata| metadata.modified());
        touched.is_ok_and(|touched| touched.elapsed().is_ok_and(|age| age >= SETTLED))
    };
    let Ok(mut entries) = std::fs::read_dir(path) else { return is_old(path) };
    is_old(path) && entries.all(|entry| entry.is_ok_and(|entry| is_old(&entry.path())))
}

/// Reads the keys in the directory that `..data` leads to, and nothing through the link itself. None if the link led
/// elsewhere afterwards.
fn read_swapped(path: &Path, max_bytes: usize) -> io::Result<Option<Sources>> {
    let link = path.join(DATA_LINK);
    let version = std::fs::read_link(&link)?;
    let read = read_directory(&path.join(&version), max_bytes)?;
    Ok((std::fs::read_link(&link)? == version).then_some(read))
}

fn read_once(path: &Path, max_bytes: usize) -> io::Result<Sources> {
    if path.is_dir() {
        return read_directory(path, max_bytes);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Sources(vec![(name, files::read(path, max_bytes)?)]))
}

fn read_directory(path: &Path, max_bytes: usize) -> io::Result<Sources> {
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
    let (mut sources, mut left) = (Vec::new(), max_bytes);
    for (name, path) in keys {
        let read = files::read(&path, left);
        let bytes = read.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        let is_too_much = bytes.len() > left;
        left = left.saturating_sub(bytes.len());
        sources.push((name, bytes));
        if is_too_much {
            break;
        }
    }
    Ok(Sources(sources))
}
