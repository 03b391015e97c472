//! The programs that are compiled from Go: Kubernetes, etcd, CoreDNS, helm and pause, all from the module `tools`.
//!
//! The result is a folder named by a digest of everything that goes into it, and appears whole or not at all, so that
//! what exists is up to date. Without a warm Go build cache it takes five minutes on two cores, with one ten seconds.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::{hex, workshop};
use crate::process::{output, run_visibly};
use crate::step::step;

/// The programs that are one binary, `kube`.
const IN_KUBE: [&str; 7] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"];
const PACKAGES: [&str; 4] = ["./kube", "./coredns", "./pause", "helm.sh/helm/v3/cmd/helm"];
const FLAGS: [&str; 2] = ["-trimpath", "-buildvcs=false"];
const KUBERNETES: &str = "k8s.io/kubernetes";
const HELM: &str = "helm.sh/helm/v3";

/// Compiles what is not compiled, and returns the folder with all programs.
pub(super) fn programs() -> Result<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools");
    let version = output(Command::new("go").arg("version").current_dir(&tools))
        .context("the programs of the test cluster are written in Go: install Go 1.24 or later (https://go.dev/dl)")?;
    let programs = workshop().join(format!("programs-{}", digest(&tools, &version)?));
    if programs.exists() {
        return Ok(programs);
    }
    let unfinished = workshop().join(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    step("compiling Kubernetes, etcd, CoreDNS and helm (minutes the first time)", || compile(&tools, &unfinished))?;
    for name in IN_KUBE {
        symlink("kube", unfinished.join(name)).with_context(|| format!("cannot link {name}"))?;
    }
    fs::rename(&unfinished, &programs).with_context(|| format!("cannot rename {}", unfinished.display()))?;
    Ok(programs)
}

fn compile(tools: &Path, into: &Path) -> Result<()> {
    let flags = link_flags(&version_of(tools, KUBERNETES)?, &version_of(tools, HELM)?);
    let mut build = Command::new("go");
    build.current_dir(tools).env("CGO_ENABLED", "0").arg("build").args(FLAGS);
    // The slash at the end makes it a folder.
    run_visibly(build.args(["-ldflags", &flags, "-o"]).arg(into.join("")).args(PACKAGES))
}

/// Go programs that are not linked by their own build scripts do not know which version they are, and the API server's
/// answers, the node's version and helm's checks of the cluster's version depend on it.
fn link_flags(kubernetes: &str, helm: &str) -> String {
    let minor = kubernetes.split('.').nth(1).unwrap_or_default();
    let mut flags = vec![format!("-s -w -X {HELM}/internal/version.version={helm}")];
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in
            [("gitVersion", kubernetes), ("gitMajor", "1"), ("gitMinor", minor), ("gitTreeState", "clean")]
        {
            flags.push(format!("-X {package}.{name}={value}"));
        }
    }
    flags.join(" ")
}

fn version_of(tools: &Path, module: &str) -> Result<String> {
    let mut list = Command::new("go");
    list.current_dir(tools).args(["list", "-m", "-f", "{{.Version}}", module]);
    Ok(output(&mut list)?.trim().to_owned())
}

/// Of every file of the module, the compiler's version and the flags; the linked version is in go.mod.
fn digest(tools: &Path, compiler: &str) -> Result<String> {
    let mut digest = Sha256::new();
    digest.update(compiler);
    digest.update(FLAGS.join(" "));
    digest.update(link_flags("", ""));
    for file in ["go.mod", "go.sum", "kube/main.go", "coredns/main.go", "pause/main.go"] {
        let path = tools.join(file);
        digest.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(hex(&digest.finalize()[..8]))
}

#[cfg(test)]
mod tests {
    use super::link_flags;

    #[test]
    fn programs_are_told_their_version() {
        let flags = link_flags("v1.34.4", "v3.19.5");
        assert!(flags.starts_with("-s -w -X helm.sh/helm/v3/internal/version.version=v3.19.5 -X"), "{flags}");
        assert!(flags.contains(" -X k8s.io/client-go/pkg/version.gitMinor=34 "), "{flags}");
        assert!(flags.contains(" -X k8s.io/component-base/version.gitVersion=v1.34.4 "), "{flags}");
    }
}
