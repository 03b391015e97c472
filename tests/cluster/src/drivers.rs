//! What others made to roll out versions by writing into Istio's objects, and here drives Turnout in its place: Argo
//! Rollouts and Flagger, and the Prometheus that Flagger asks. Each is compiled from its own module, as it is.
//!
//! They take five minutes on two cores without a warm Go build cache, so only `drivers`, a suite of the long run, makes
//! them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::build::{Image, Module, made, write_image};
use crate::cluster::Cluster;
use crate::step::step;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub enum Driver {
    /// The controller of Argo Rollouts.
    ArgoRollouts,
    /// Flagger.
    Flagger,
    /// Prometheus.
    Prometheus,
}

/// Makes them all.
pub(crate) fn build() -> Result<()> {
    [Driver::ArgoRollouts, Driver::Flagger, Driver::Prometheus]
        .into_iter()
        .try_for_each(|driver| driver.made().map(drop))
}

impl Driver {
    /// Makes what is missing, which takes minutes the first time on a machine, and lets pods of this cluster run it.
    pub fn load(self, cluster: &Cluster) -> Result<()> {
        cluster.load_image(&self.made()?.join("image.tar"))
    }

    /// What a pod's `image` says. The program is `/NAME` in it, and its entry point.
    pub fn reference(self) -> String {
        format!("{}/{}:dev", Image::registry(), self.name())
    }

    /// The manifests by which its authors install it.
    pub fn manifests(self) -> Result<PathBuf> {
        Ok(self.made()?.join("manifests.yaml"))
    }

    /// The name of its folder, and of the program.
    fn name(self) -> &'static str {
        match self {
            Self::ArgoRollouts => "argo-rollouts",
            Self::Flagger => "flagger",
            Self::Prometheus => "prometheus",
        }
    }

    fn module(self) -> &'static str {
        match self {
            Self::ArgoRollouts => "github.com/argoproj/argo-rollouts",
            Self::Flagger => "github.com/fluxcd/flagger",
            Self::Prometheus => "github.com/prometheus/prometheus",
        }
    }

    /// Where in the module the program is.
    fn package(self) -> &'static str {
        match self {
            Self::ArgoRollouts => "cmd/rollouts-controller",
            Self::Flagger => "cmd/flagger",
            Self::Prometheus => "cmd/prometheus",
        }
    }

    /// Prometheus knows how to find targets in every cloud; here it asks DNS, and compiles nothing of the rest.
    fn tags(self) -> &'static str {
        match self {
            Self::ArgoRollouts | Self::Flagger => "",
            Self::Prometheus => "remove_all_sd,enable_dns_sd",
        }
    }

    fn manifest_files(self) -> &'static [&'static str] {
        match self {
            Self::ArgoRollouts => &["manifests/install.yaml"],
            Self::Flagger => {
                &["artifacts/flagger/account.yaml", "artifacts/flagger/crd.yaml", "artifacts/flagger/deployment.yaml"]
            }
            Self::Prometheus => &[],
        }
    }

    /// The folder with its image and its manifests.
    fn made(self) -> Result<PathBuf> {
        let module = Module::new(&format!("drivers/{}", self.name()));
        let (package, reference) = (format!("{}/{}", self.module(), self.package()), self.reference());
        let files = self.manifest_files();
        let stamp = format!("{package} {} {reference} {files:?}\n{}", self.tags(), module.stamp()?);
        made(self.name(), &stamp, |folder| {
            let program = folder.join(self.name());
            let what = format!("compiling {} (minutes the first time)", self.name());
            step(&what, || module.compile(&package, self.tags(), &program))?;
            write_image(&reference, self.name(), &program, &folder.join("image.tar"))?;
            let texts = files.iter().map(|file| module.file(self.module(), file)).collect::<Result<Vec<_>>>()?;
            fs::write(folder.join("manifests.yaml"), texts.join("\n---\n")).context("cannot write the manifests")
        })
    }
}
