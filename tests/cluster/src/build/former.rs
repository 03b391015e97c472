//! The release before this one, out of the history of this checkout, to upgrade from: its chart, and the images that the
//! chart runs. It is compiled for minutes, so only a suite of the long run makes it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Image, archive, made, repository, rust, take_turn, workshop};
use crate::cluster::Cluster;
use crate::process::output;
use crate::step::step;

/// The last commit that has `spec.stages` and `spec.gates`.
const COMMIT: &str = "a54ba06eaf8688ace0f03a90bb68d2ad06affa4f";

/// What its chart runs.
const IMAGES: [Image; 2] = [Image::Proxy, Image::Controller];

/// That release.
#[derive(Debug)]
pub struct Former {
    source: PathBuf,
}

impl Former {
    /// The tag of its images.
    pub const TAG: &str = "former";

    /// Makes what is missing, and lets pods of this cluster run it. Fails where this checkout has no such history.
    pub fn load(cluster: &Cluster) -> Result<Self> {
        let source = source()?;
        for archive in archives(&source)? {
            cluster.load_image(&archive)?;
        }
        Ok(Self { source })
    }

    /// Its chart.
    pub fn chart(&self) -> PathBuf {
        self.source.join("charts/turnout")
    }
}

fn source() -> Result<PathBuf> {
    let git = || {
        let mut git = Command::new("git");
        git.current_dir(repository());
        git
    };
    output(git().args(["cat-file", "-e", &format!("{COMMIT}^{{commit}}")])).with_context(|| {
        format!(
            "this checkout has no commit {COMMIT}, the release before: where it is a shallow one, git fetch --unshallow"
        )
    })?;
    made("former-source", COMMIT, |folder| {
        let packed = folder.join("packed.tar");
        output(git().args(["archive", "--output"]).arg(&packed).arg(COMMIT))?;
        tar::Archive::new(File::open(&packed)?).unpack(folder).context("cannot unpack the release before")?;
        fs::remove_file(&packed).context("cannot remove an archive")
    })
}

fn archives(source: &Path) -> Result<Vec<PathBuf>> {
    let _turn = take_turn()?;
    let (into, names) = (workshop().join("former"), IMAGES.map(Image::name));
    let compile = || rust::compile(source, &into, &names);
    let programs = step("compiling the release before (minutes the first time)", compile)?;
    let write = |image: Image| {
        let (name, archive) = (image.name(), into.join(format!("{}.tar", image.name())));
        let reference = format!("{}/{name}:{}", Image::registry(), Former::TAG);
        archive::write(&reference, name, &programs.join(name), archive::UNPRIVILEGED, &archive)?;
        Ok(archive)
    };
    IMAGES.into_iter().map(write).collect()
}
