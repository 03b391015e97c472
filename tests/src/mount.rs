//! Directories that change as the gateway meets them: a ConfigMap mounted by kubelet, and plain files that people copy
//! and edit.
//!
//! [`KubeletMount::swap`] does the steps of kubelet's AtomicWriter in its order (Kubernetes `pkg/volume/util`), so a
//! watcher sees the very events of a cluster. All calls are synchronous and done when they return.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The symlink to the current data directory.
const DATA: &str = "..data";

/// The symlink that becomes [`DATA`] by a rename.
const NEW_DATA: &str = "..data_tmp";

/// A directory laid out like a ConfigMap mounted by kubelet.
#[derive(Debug)]
pub struct KubeletMount {
    root: TempDir,
    generation: u32,
}

impl KubeletMount {
    /// Mounts a ConfigMap with these keys.
    pub fn new(keys: &[(&str, &[u8])]) -> io::Result<Self> {
        let mut mount = Self { root: tempfile::tempdir()?, generation: 0 };
        mount.swap(keys)?;
        Ok(mount)
    }

    /// The directory that a container sees.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Replaces the whole content by these keys, all at once. Returns whether anything was written: like kubelet, it
    /// leaves the mount alone when the content is the same.
    pub fn swap(&mut self, keys: &[(&str, &[u8])]) -> io::Result<bool> {
        let wanted: BTreeMap<&str, &[u8]> = keys.iter().copied().collect();
        let old = self.current()?;
        if let Some(old) = &old
            && holds_exactly(old, &wanted)?
        {
            return Ok(false);
        }
        let new = self.write_data_directory(&wanted)?;
        let link = self.path().join(NEW_DATA);
        symlink(&new, &link)?;
        fs::rename(&link, self.path().join(DATA))?;
        self.add_user_visible_links(&wanted)?;
        self.remove_stale_links(&wanted)?;
        if let Some(old) = old {
            fs::remove_dir_all(old)?;
        }
        Ok(true)
    }

    /// The data directory that is in effect.
    fn current(&self) -> io::Result<Option<PathBuf>> {
        match fs::read_link(self.path().join(DATA)) {
            Ok(name) => Ok(Some(self.path().join(name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a new data directory, named like kubelet's by time and a number, and returns its name.
    fn write_data_directory(&mut self, keys: &BTreeMap<&str, &[u8]>) -> io::Result<String> {
        self.generation += 1;
        let name = format!("..2026_01_02_03_04_05.{:010}", self.generation);
        let directory = self.path().join(&name);
        fs::create_dir(&directory)?;
        for (key, bytes) in keys {
            fs::write(directory.join(key), bytes)?;
        }
        Ok(name)
    }

    fn add_user_visible_links(&self, keys: &BTreeMap<&str, &[u8]>) -> io::Result<()> {
        for key in keys.keys() {
            match symlink(Path::new(DATA).join(key), self.path().join(key)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn remove_stale_links(&self, keys: &BTreeMap<&str, &[u8]>) -> io::Result<()> {
        for name in names_in(self.path())? {
            if !name.starts_with("..") && !keys.contains_key(name.as_str()) {
                fs::remove_file(self.path().join(name))?;
            }
        }
        Ok(())
    }
}

/// A directory of plain files.
#[derive(Debug)]
pub struct PlainDirectory {
    root: TempDir,
}

impl PlainDirectory {
    /// Makes a directory with these files.
    pub fn new(files: &[(&str, &[u8])]) -> io::Result<Self> {
        let directory = Self { root: tempfile::tempdir()? };
        for (name, bytes) in files {
            directory.write_in_place(name, bytes)?;
        }
        Ok(directory)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Truncates and writes the file, as `cp` does.
    pub fn write_in_place(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::write(self.path().join(name), bytes)
    }

    /// Truncates the file and writes it in two parts, with `between` called when only the first is there.
    pub fn write_in_two_parts(&self, name: &str, parts: [&[u8]; 2], between: impl FnOnce()) -> io::Result<()> {
        let mut file = fs::File::create(self.path().join(name))?;
        file.write_all(parts[0])?;
        between();
        file.write_all(parts[1])
    }

    /// Writes a file beside it and renames that over it, as editors do.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = self.path().join(format!(".{name}.swp"));
        fs::write(&beside, bytes)?;
        fs::rename(beside, self.path().join(name))
    }

    /// Removes the file.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path().join(name))
    }
}

fn holds_exactly(directory: &Path, keys: &BTreeMap<&str, &[u8]>) -> io::Result<bool> {
    let names = names_in(directory)?;
    if !names.iter().map(String::as_str).eq(keys.keys().copied()) {
        return Ok(false);
    }
    for (key, bytes) in keys {
        if fs::read(directory.join(key))? != *bytes {
            return Ok(false);
        }
    }
    Ok(true)
}

fn names_in(directory: &Path) -> io::Result<BTreeSet<String>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::{DATA, KubeletMount, PlainDirectory, names_in};
    use std::fs;
    use std::path::Path;

    /// What a container sees: every name that does not begin with a dot, and its content.
    fn visible(path: &Path) -> Vec<(String, String)> {
        let names = names_in(path).expect("the directory can be read");
        let names = names.into_iter().filter(|name| !name.starts_with('.'));
        let read = |name: String| (name.clone(), fs::read_to_string(path.join(name)).expect("no link dangles"));
        names.map(read).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
    }

    #[test]
    fn a_mount_is_laid_out_as_kubelet_does() {
        let mount = KubeletMount::new(&[("routes.yaml", b"one")]).expect("the mount is made");
        let link = fs::read_link(mount.path().join("routes.yaml")).expect("the key is a link");
        assert_eq!(link, Path::new("..data/routes.yaml"));
        let data = fs::read_link(mount.path().join(DATA)).expect("the data directory is a link");
        assert!(data.to_string_lossy().starts_with("..2026_"), "{}", data.display());
        assert_eq!(visible(mount.path()), pairs(&[("routes.yaml", "one")]));
    }

    #[test]
    fn a_swap_replaces_all_keys_and_leaves_nothing_behind() {
        let mut mount = KubeletMount::new(&[("a", b"1"), ("b", b"1")]).expect("the mount is made");
        let before = fs::read_link(mount.path().join(DATA)).expect("the data directory is a link");
        assert!(mount.swap(&[("b", b"2"), ("c", b"2")]).expect("the swap works"));
        assert_eq!(visible(mount.path()), pairs(&[("b", "2"), ("c", "2")]));
        let after = fs::read_link(mount.path().join(DATA)).expect("the data directory is a link");
        assert_ne!(before, after);
        let names = names_in(mount.path()).expect("the directory can be read");
        assert_eq!(names, [DATA, &*after.to_string_lossy(), "b", "c"].map(str::to_owned).into());
    }

    #[test]
    fn the_same_content_is_not_written_again() {
        let mut mount = KubeletMount::new(&[("a", b"1")]).expect("the mount is made");
        let before = fs::read_link(mount.path().join(DATA)).expect("the data directory is a link");
        assert!(!mount.swap(&[("a", b"1")]).expect("the swap works"));
        assert_eq!(fs::read_link(mount.path().join(DATA)).expect("the data directory is a link"), before);
        assert!(mount.swap(&[("a", b"1"), ("b", b"")]).expect("the swap works"));
    }

    #[test]
    fn plain_files_change_in_place_in_parts_and_by_rename() {
        let directory = PlainDirectory::new(&[("a", b"1")]).expect("the directory is made");
        directory.write_in_place("a", b"2").expect("the file is written");
        assert_eq!(visible(directory.path()), pairs(&[("a", "2")]));
        let see_half = || assert_eq!(visible(directory.path()), pairs(&[("a", "ha")]));
        directory.write_in_two_parts("a", [b"ha", b"lf"], see_half).expect("the file is written");
        directory.replace("b", b"3").expect("the file is replaced");
        assert_eq!(visible(directory.path()), pairs(&[("a", "half"), ("b", "3")]));
        directory.remove("a").expect("the file is removed");
        assert_eq!(names_in(directory.path()).expect("the directory can be read").len(), 1);
    }
}
