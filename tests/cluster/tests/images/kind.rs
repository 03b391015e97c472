//! `charts/kind/install`, on a node that has the images where `kind load docker-image` puts them.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use turnout_cluster::{Cluster, Registry, readme, release, repository};

const NAMESPACE: &str = "abtesting";

pub(crate) fn up_to_the_first_score(cluster: &Cluster) -> Result<()> {
    release::clear(cluster, NAMESPACE)?;
    let registry = Registry::serve(cluster)?;
    for name in ["turnout-proxy", "turnout-controller", "turnout", "scoring-a", "scoring-b"] {
        registry.pull_as(cluster, name, &format!("docker.io/library/{name}:kind"))?;
    }
    let install = repository().join("charts/kind/install");
    let url = format!("http://{}:30080/score", cluster.addresses()?.node());
    // The second time it changes nothing.
    for time in ["first", "second"] {
        let mut command = Command::new(&install);
        readme::give_programs(cluster, &mut command)?;
        let ran = command.arg(&url).output().context("cannot run charts/kind/install")?;
        let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        ensure!(ran.status.success() && said.contains("\"New Model A\""), "{}: {said}{complained}", ran.status);
        println!("the {time} time: {}", said.lines().find(|line| line.contains("New Model")).unwrap_or_default());
    }
    Ok(())
}
