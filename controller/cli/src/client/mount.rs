//! What gateways read: a directory laid out as kubelet mounts a ConfigMap. A new version is written beside the old one
//! and comes into effect by one rename, of the link `..data`; a crash before it leaves the old version and some rubbish
//! that the next swap removes. Nothing waits for the disk: what a crash of the machine takes is published anew.

use anyhow::{Context as _, bail};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use turnout_rollout::Timestamp;
use turnout_routes::{Source, revision};

/// The one key.
pub(crate) const KEY: &str = "routes.yaml";
const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// The mounted directory.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    root: PathBuf,
}

/// The revision of a text, as gateways report it.
pub(crate) fn revision_of(text: &str) -> String {
    revision(&[Source { name: KEY, bytes: text.as_bytes() }])
}

/// Whether the text, which was rendered, names this port anywhere.
pub(crate) fn names_port(text: &str, port: u16) -> bool {
    let value = format!(": {port}");
    text.lines().any(|line| line.ends_with(&value))
}

impl Mount {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// What is published; none before the first time.
    pub(crate) fn current(&self) -> anyhow::Result<Option<String>> {
        let path = self.root.join(DATA).join(KEY);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Publishes a text, and makes sure that it is what a gateway reads from then on. Returns when the swap happened.
    pub(crate) fn swap(&self, text: &str) -> anyhow::Result<Instant> {
        let swapped = self.replace(text).with_context(|| format!("cannot publish into {}", self.root.display()))?;
        if self.current()?.as_deref() != Some(text) {
            bail!("{} does not hold what was published: does somebody else write there?", self.root.display());
        }
        Ok(swapped)
    }

    fn replace(&self, text: &str) -> anyhow::Result<Instant> {
        let name = version_name();
        let version = self.root.join(&name);
        fs::create_dir(&version)?;
        fs::write(version.join(KEY), text)?;
        remove_if_there(&self.root.join(NEW_DATA))?;
        symlink(&name, self.root.join(NEW_DATA))?;
        let swapped = Instant::now();
        fs::rename(self.root.join(NEW_DATA), self.root.join(DATA))?;
        let visible = self.root.join(KEY);
        if fs::read_link(&visible).is_err() {
            remove_if_there(&visible)?;
            symlink(Path::new(DATA).join(KEY), &visible)?;
        }
        self.remove_versions_except(&name)?;
        Ok(swapped)
    }

    fn remove_versions_except(&self, current: &str) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() && name.starts_with("..") && name != current {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// As kubelet names versions: by the time, and something that sets two of one second apart.
fn version_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = Timestamp(now.as_secs()).to_string().trim_end_matches('Z').replace(['-', ':', 'T'], "_");
    format!("..{time}.{:09}", now.subsec_nanos())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let entries = fs::read_dir(root).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_swap_leaves_one_version_behind_a_link_whatever_a_crash_had_left() {
        let root = tempfile::tempdir().unwrap();
        let mount = Mount::new(root.path().to_owned());
        assert_eq!(mount.current().unwrap(), None);
        mount.swap("one").unwrap();
        fs::create_dir(root.path().join("..2026_01_01_00_00_00.1")).unwrap();
        symlink("..2026_01_01_00_00_00.1", root.path().join(NEW_DATA)).unwrap();
        mount.swap("two").unwrap();
        assert_eq!(mount.current().unwrap().as_deref(), Some("two"));
        assert_eq!(fs::read_to_string(root.path().join(KEY)).unwrap(), "two");
        let names = names(root.path());
        let version = fs::read_link(root.path().join(DATA)).unwrap();
        assert_eq!(names, [version.to_str().unwrap(), DATA, KEY]);
    }
}
