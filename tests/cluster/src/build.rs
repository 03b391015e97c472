//! What a cluster is made of: the programs of the control plane and the node, and the images that its pods run.
//!
//! Nothing is made twice: programs are found by a digest of their sources, Cargo decides about the binaries, and an
//! image is written again only when its program has changed. Two processes never build at the same time.

mod archive;
mod former;
mod go;
mod host;
mod module;
mod rust;

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};

pub use former::Former;
pub(crate) use host::{plugins, search_path};
pub(crate) use module::Module;

/// Names the registry, with a path, from which an existing cluster pulls the images of this workspace.
const IMAGE_PREFIX: &str = "TURNOUT_TEST_IMAGES";

/// An image that pods of a test may run. All are tagged `dev`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Image {
    /// `turnout-proxy`, the gateway.
    Proxy,
    /// `turnout-controller`.
    Controller,
    /// `turnout`, the command line.
    CommandLine,
    /// `cluster-model`, a scoring model that does as a test tells it; see `model`.
    Model,
    /// The same program in another image, with a digest of its own.
    OtherModel,
    /// What holds a pod's namespaces open; every cluster has it.
    Pause,
    /// CoreDNS; every cluster has it.
    CoreDns,
}

impl Image {
    /// The images that are made of this workspace, each of a program of its own.
    pub const OWN: [Self; 4] = [Self::Proxy, Self::Controller, Self::CommandLine, Self::Model];

    /// The name of the image, and of its program unless that has another image, too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "turnout-proxy",
            Self::Controller => "turnout-controller",
            Self::CommandLine => "turnout",
            Self::Model => "cluster-model",
            Self::OtherModel => "other-model",
            Self::Pause => "pause",
            Self::CoreDns => "coredns",
        }
    }

    /// The registry and path before the name: `turnout.test`, or what `TURNOUT_TEST_IMAGES` says.
    pub fn registry() -> String {
        env::var(IMAGE_PREFIX).unwrap_or_else(|_| "turnout.test".to_owned())
    }

    /// What a pod's `image` says, such as `turnout.test/turnout-proxy:dev`.
    pub fn reference(self) -> String {
        format!("{}/{}:dev", Self::registry(), self.name())
    }

    /// Its program, to be run on this machine; only of images that are made of this workspace. Compiled if it is out of
    /// date, but not while this process goes on.
    pub fn program(self) -> Result<PathBuf> {
        static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
        ensure!(self.is_own(), "{} is no program of this workspace", self.name());
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if built.is_none() {
            let _turn = take_turn()?;
            *built = Some(rust::static_binaries()?);
        }
        let folder = built.as_ref().context("it has just been built")?;
        Ok(folder.join(if self == Self::OtherModel { Self::Model.name() } else { self.name() }))
    }

    /// Whether it is made of this workspace.
    fn is_own(self) -> bool {
        self == Self::OtherModel || Self::OWN.contains(&self)
    }

    /// CoreDNS listens on a port below 1024.
    fn user(self) -> u32 {
        if self == Self::CoreDns { 0 } else { archive::UNPRIVILEGED }
    }
}

/// The programs of a cluster, compiled.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Compiles what is missing, which takes minutes the first time on a machine.
    pub fn build() -> Result<Self> {
        let _turn = take_turn()?;
        Ok(Self { folder: go::programs()? })
    }

    /// Those that a running cluster was started with, as it has noted.
    pub(crate) fn of_cluster(note: &Path) -> Result<Self> {
        let folder = fs::read_to_string(note).with_context(|| format!("cannot read {}", note.display()))?;
        Ok(Self { folder: PathBuf::from(folder) })
    }

    /// The folder with `kubectl`, `helm`, `etcd`, `kube-apiserver` and the others.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One of them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The image as an archive, made if it is out of date.
    pub fn image(&self, image: Image) -> Result<PathBuf> {
        let program = if image.is_own() { image.program()? } else { self.path(image.name()) };
        let _turn = take_turn()?;
        let folder = workshop().join("images");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let archive = folder.join(format!("{}.tar", image.name()));
        let stamp_file = archive.with_extension("stamp");
        let stamp = stamp(image, &program)?;
        if archive.exists() && fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
            return Ok(archive);
        }
        archive::write(&image.reference(), image.name(), &program, image.user(), &archive)?;
        fs::write(&stamp_file, stamp).with_context(|| format!("cannot write {}", stamp_file.display()))?;
        Ok(archive)
    }
}

/// Writes an image of this program, which is `/NAME` in it, for a user without privileges.
pub(crate) fn write_image(reference: &str, name: &str, program: &Path, archive: &Path) -> Result<()> {
    archive::write(reference, name, program, archive::UNPRIVILEGED, archive)
}

/// Writes an image of `cluster-model` into an archive, with this environment, and returns its name, which is by its
/// digest: users have such an image of each of their models.
pub fn write_model_image(name: &str, environment: &[(&str, &str)], archive: &Path) -> Result<String> {
    let program = Image::Model.program()?;
    let environment: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let repository = format!("{}/{name}", Image::registry());
    archive::write_by_digest(&repository, Image::Model.name(), &program, &environment, archive)
}

/// Fails unless a cluster can be started on this machine, after installing what is missing.
pub(crate) fn prepare_host() -> Result<()> {
    let _turn = take_turn()?;
    host::prepare()
}

/// The folder of this name in the workshop, made anew unless it was made of what the stamp says. It is replaced as a
/// whole, so that what has the right stamp is complete.
pub(crate) fn made(name: &str, stamp: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = workshop().join(name);
    fs::create_dir_all(workshop()).with_context(|| format!("cannot make {}", workshop().display()))?;
    // Another process may be at it; its turn ends when it closes the file.
    let _turn = wait_for(&folder.with_extension("lock"))?;
    if fs::read_to_string(folder.join("stamp")).is_ok_and(|found| found == stamp) {
        return Ok(folder);
    }
    let unfinished = folder.with_extension("unfinished");
    for old in [&unfinished, &folder] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    make(&unfinished)?;
    fs::write(unfinished.join("stamp"), stamp).context("cannot write the stamp")?;
    fs::rename(&unfinished, &folder).with_context(|| format!("cannot rename {}", unfinished.display()))?;
    Ok(folder)
}

/// Where everything that is made is kept.
pub(crate) fn workshop() -> PathBuf {
    repository().join("target/cluster")
}

/// The root of this workspace.
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

/// Waits until no other process builds; the turn ends when the file is closed.
fn take_turn() -> Result<File> {
    let folder = workshop();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    wait_for(&folder.join("lock"))
}

fn wait_for(path: &Path) -> Result<File> {
    let lock = File::create(path).with_context(|| format!("cannot open {}", path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(lock)
}

/// What an image depends on, short of reading its program.
fn stamp(image: Image, program: &Path) -> Result<String> {
    let about = fs::metadata(program).with_context(|| format!("{} is missing", program.display()))?;
    let changed = about.modified().context("files have no time here")?;
    let (format, path, size) = (archive::FORMAT, program.display(), about.len());
    Ok(format!("{format} {} {} {path} {size} {changed:?}\n", image.reference(), image.user()))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workshop_is_in_the_target_folder_of_the_workspace() {
        assert!(repository().join("Cargo.lock").exists(), "{}", repository().display());
        assert!(workshop().ends_with("target/cluster"));
    }

    #[test]
    fn digests_are_written_in_hexadecimal() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
