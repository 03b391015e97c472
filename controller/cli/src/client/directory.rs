//! The directory of a local rollout, and every read and write of it:
//! - `documents/*.yaml`: the users' routes; `rollouts/NAME.yaml`: ModelRollouts, edited by people and by our verbs;
//! - `status/NAME.json`, `routes/`, `problems.json`: written by the one driver, which holds `driver.lock`;
//! - `gateways/NAME.json`: the addresses of each gateway that lives, written by the gateway itself.
//!
//! Files are replaced whole: a reader sees the old or the new one, and a crash leaves nothing to repair.

use super::slip::no_rollout;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use turnout_rollout::{ModelRollout, RolloutStatus};

/// What kubelet swaps in a mounted ConfigMap.
const DATA_LINK: &str = "..data";
/// How long a lock that somebody holds is waited for: people's questions hold it for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

/// What holds a lock of the directory. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// What a gateway writes when it has its ports.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GatewayAddresses {
    /// Where it serves.
    pub(crate) listeners: Vec<ListenerAddress>,
    /// Where `/revision` and `/metrics` are.
    pub(crate) status: SocketAddr,
    /// Where `/explain` is.
    pub(crate) admin: SocketAddr,
}

/// One of a gateway's listeners.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ListenerAddress {
    /// The bound address.
    pub(crate) address: SocketAddr,
}

impl Directory {
    /// The directory at `root`, which must have been made by a driver.
    pub(crate) fn existing(root: &Path) -> anyhow::Result<Self> {
        if !root.join("rollouts").is_dir() {
            bail!("{0} holds no rollouts: start `turnout local --dir {0}` first", root.display());
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The directory at `root`, made where it is missing.
    pub(crate) fn make(root: &Path) -> anyhow::Result<Self> {
        let directory = Self { root: root.to_owned() };
        for part in [
            directory.documents(),
            directory.rollouts(),
            directory.statuses(),
            directory.routes(),
            directory.gateways(),
        ] {
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        Ok(directory)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn documents(&self) -> PathBuf {
        self.root.join("documents")
    }

    pub(crate) fn rollouts(&self) -> PathBuf {
        self.root.join("rollouts")
    }

    pub(crate) fn routes(&self) -> PathBuf {
        self.root.join("routes")
    }

    pub(crate) fn gateways(&self) -> PathBuf {
        self.root.join("gateways")
    }

    fn statuses(&self) -> PathBuf {
        self.root.join("status")
    }

    pub(crate) fn rollout_file(&self, name: &str) -> PathBuf {
        self.rollouts().join(format!("{name}.yaml"))
    }

    pub(crate) fn status_file(&self, name: &str) -> PathBuf {
        self.statuses().join(format!("{name}.json"))
    }

    /// Becomes the directory's only driver.
    pub(crate) fn lock_as_driver(&self) -> anyhow::Result<Lock> {
        let path = self.root.join("driver.lock");
        let lock = lock(&path)?;
        lock.with_context(|| format!("another driver runs over {}: it holds {}", self.root.display(), path.display()))
    }

    /// Whether a driver runs.
    pub(crate) fn is_driven(&self) -> bool {
        let Ok(file) = File::open(self.root.join("driver.lock")) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// What to do if none runs.
    pub(crate) fn advice(&self) -> Option<String> {
        let root = self.root.display();
        let text = || format!("nothing drives {root}: start `turnout local --dir {root}`, or nothing moves");
        (!self.is_driven()).then(text)
    }

    /// The names of the rollouts, in order.
    pub(crate) fn rollout_names(&self) -> anyhow::Result<Vec<String>> {
        let files = yaml_files(&self.rollouts())?;
        Ok(files.iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect())
    }

    /// A rollout with its status.
    pub(crate) fn read_rollout(&self, name: &str) -> anyhow::Result<ModelRollout> {
        let path = self.rollout_file(name);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let names = self.rollout_names().unwrap_or_default();
                return Err(no_rollout(name, &self.root.display().to_string(), &names));
            }
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let mut rollout = parse_rollout(name, &text).with_context(|| format!("{} is no rollout", path.display()))?;
        rollout.status = self.read_status(name)?;
        Ok(rollout)
    }

    /// The status that the driver wrote last; that of nothing before it wrote one.
    pub(crate) fn read_status(&self, name: &str) -> anyhow::Result<RolloutStatus> {
        read_json(&self.status_file(name)).map(Option::unwrap_or_default)
    }

    /// Changes the spec of a rollout. One change at a time, each from what the one before it left; the file's leading
    /// comment stays, and the generation rises if anything is different.
    pub(crate) fn edit_rollout<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut ModelRollout) -> anyhow::Result<T>,
    ) -> anyhow::Result<(ModelRollout, T)> {
        let lock_path = self.root.join("edit.lock");
        let _lock = lock(&lock_path)?.with_context(|| format!("somebody else holds {}", lock_path.display()))?;
        let before = self.read_rollout(name)?;
        let mut rollout = before.clone();
        let outcome = change(&mut rollout)?;
        if rollout.spec != before.spec {
            rollout.metadata.generation = Some(before.metadata.generation.unwrap_or(0) + 1);
            self.write_rollout(name, &rollout)?;
        }
        Ok((rollout, outcome))
    }

    /// Writes the rollout's file, without the status.
    pub(crate) fn write_rollout(&self, name: &str, rollout: &ModelRollout) -> anyhow::Result<()> {
        let path = self.rollout_file(name);
        let former = fs::read_to_string(&path).unwrap_or_default();
        let comment = former.split_inclusive('\n').take_while(|line| line.starts_with('#'));
        let rollout = ModelRollout { status: RolloutStatus::default(), ..rollout.clone() };
        let text = serde_yaml::to_string(&rollout).context("cannot write the rollout as YAML")?;
        write_whole(&path, (comment.collect::<String>() + &text).as_bytes())
    }

    pub(crate) fn write_status(&self, name: &str, status: &RolloutStatus) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(status).context("cannot write the status as JSON")?;
        write_whole(&self.status_file(name), (text + "\n").as_bytes())
    }

    /// Removes what is known of rollouts that are gone, so that a new one of the same name begins at the beginning.
    pub(crate) fn forget_statuses_except(&self, names: &[&str]) -> anyhow::Result<()> {
        let cannot_list = || format!("cannot list {}", self.statuses().display());
        for entry in fs::read_dir(self.statuses()).with_context(cannot_list)? {
            let path = entry.with_context(cannot_list)?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if !names.contains(&stem) {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// What keeps the driver from doing as the files say.
    pub(crate) fn problems(&self) -> Vec<String> {
        read_json(&self.root.join("problems.json")).ok().flatten().unwrap_or_default()
    }

    pub(crate) fn write_problems(&self, problems: &[String]) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(problems).context("cannot write the problems as JSON")?;
        write_whole(&self.root.join("problems.json"), (text + "\n").as_bytes())
    }

    /// The gateways that live, by name. One whose file cannot be read is there without addresses.
    pub(crate) fn gateway_addresses(&self) -> anyhow::Result<Vec<(String, Option<GatewayAddresses>)>> {
        let mut gateways = Vec::new();
        let cannot_list = || format!("cannot list {}", self.gateways().display());
        for entry in fs::read_dir(self.gateways()).with_context(cannot_list)? {
            let path = entry.with_context(cannot_list)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                gateways.push((name, read_json(&path).ok().flatten()));
            }
        }
        gateways.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(gateways)
    }
}

/// The files that a gateway reads of a directory, in name order.
pub(crate) fn yaml_files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let directory = if directory.join(DATA_LINK).exists() { directory.join(DATA_LINK) } else { directory.to_owned() };
    let cannot_list = || format!("cannot list {}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&directory).with_context(cannot_list)? {
        let path = entry.with_context(cannot_list)?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_yaml && !is_hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a ModelRollout, whose name must be that of its file.
pub(crate) fn parse_rollout(name: &str, text: &[u8]) -> anyhow::Result<ModelRollout> {
    let rollout: ModelRollout = serde_yaml::from_slice(text)?;
    if rollout.metadata.name != name {
        bail!("metadata.name is `{}`: it must be `{name}`, as the file is called", rollout.metadata.name);
    }
    Ok(rollout)
}

/// Replaces a file whole, and returns when that will survive a crash.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let write = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    serde_json::from_slice(&text).map(Some).with_context(|| format!("cannot read {}", path.display()))
}

/// Takes a lock, or nothing if somebody keeps holding it.
fn lock(path: &Path) -> anyhow::Result<Option<Lock>> {
    let cannot_lock = || format!("cannot lock {}", path.display());
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).with_context(cannot_lock)?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot_lock),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use turnout_rollout::Stage;

    const ROLLOUT: &str = "# Kept.\napiVersion: turnout.dev/v1alpha1\nkind: ModelRollout\n\
        metadata: {name: model, labels: {team: a}}\n\
        spec:\n  route: {virtualService: model}\n  green: {host: g}\n  blue: {host: b}\n";

    fn directory() -> (tempfile::TempDir, Directory) {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::make(root.path()).unwrap();
        fs::write(directory.rollout_file("model"), ROLLOUT).unwrap();
        (root, directory)
    }

    #[test]
    fn an_edit_raises_the_generation_and_keeps_everything_else() {
        let (_root, directory) = directory();
        directory.edit_rollout("model", |rollout| Ok(rollout.start("B", Some(Stage::BLUE_50))?)).unwrap();
        let text = fs::read_to_string(directory.rollout_file("model")).unwrap();
        assert!(text.starts_with("# Kept.\napiVersion:"), "{text}");
        assert!(text.contains("team: a") && text.contains("generation: 1") && text.contains("revision: B"), "{text}");
        let (rollout, ()) = directory.edit_rollout("model", |_| Ok(())).unwrap();
        assert_eq!(rollout.metadata.generation, Some(1));
    }

    #[test]
    fn a_rollout_must_be_called_as_its_file() {
        let (_root, directory) = directory();
        fs::rename(directory.rollout_file("model"), directory.rollout_file("other")).unwrap();
        let error = format!("{:#}", directory.read_rollout("other").unwrap_err());
        assert!(error.contains("metadata.name is `model`: it must be `other`"), "{error}");
        let error = format!("{:#}", directory.read_rollout("model").unwrap_err());
        assert!(error.contains("there is no rollout model"), "{error}");
    }

    #[test]
    fn a_directory_has_one_driver_and_a_driver_that_is_gone_leaves_no_lock() {
        let (_root, directory) = directory();
        assert!(!directory.is_driven());
        let lock = directory.lock_as_driver().unwrap();
        assert!(directory.is_driven());
        let error = directory.lock_as_driver().unwrap_err().to_string();
        assert!(error.contains("another driver runs over"), "{error}");
        drop(lock);
        assert!(!directory.is_driven());
        directory.lock_as_driver().unwrap();
    }

    #[test]
    fn the_statuses_of_rollouts_that_are_gone_are_forgotten() {
        let (_root, directory) = directory();
        for name in ["model", "gone"] {
            directory.write_status(name, &RolloutStatus::default()).unwrap();
        }
        directory.forget_statuses_except(&["model"]).unwrap();
        assert!(directory.status_file("model").exists());
        assert!(!directory.status_file("gone").exists());
    }
}
