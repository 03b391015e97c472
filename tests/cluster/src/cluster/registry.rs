//! The images that `tests/scoring/images` has built by the project's Dockerfiles, in a registry on the node, from which its
//! containerd pulls them by their digests. Plain HTTP is for this registry alone.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{Cluster, daemons};
use crate::build::repository;
use crate::client;
use crate::control::Order;

/// Before the name of each image.
const HOST: &str = "registry.turnout.test";
const PORT: u16 = 5000;
const DEADLINE: Duration = Duration::from_mins(1);

/// A registry with the images that were built.
#[derive(Debug)]
pub struct Registry {
    digests: BTreeMap<&'static str, String>,
}

impl Registry {
    /// Its images: what `charts/images/build` makes, and `slow`, a model of the tests.
    pub const IMAGES: [&str; 9] = [
        "safe-driving-a",
        "safe-driving-b",
        "safe-driving-c",
        "scoring-a",
        "scoring-b",
        "slow",
        "turnout",
        "turnout-controller",
        "turnout-proxy",
    ];

    /// Serves them on the node, if nobody does yet; fails where one was not built.
    pub fn serve(cluster: &Cluster) -> Result<Self> {
        let built = repository().join("target/scoring-images");
        let digests = Self::IMAGES.into_iter().map(|name| Ok((name, digest(&built, name)?))).collect::<Result<_>>()?;
        let site = &cluster.own()?.site;
        let address = SocketAddr::from((site.addresses().node(), PORT));
        let settings = site.path("registry.yaml");
        if !settings.exists() {
            let registries = site.path(daemons::REGISTRIES).join(HOST);
            fs::create_dir_all(&registries).with_context(|| format!("cannot make {}", registries.display()))?;
            site.write(&format!("{}/{HOST}/hosts.toml", daemons::REGISTRIES), &hosts(address))?;
            site.write("registry.yaml", &registry_settings(&built.join("registry"), address))?;
            let command = ["docker-registry", "serve", &settings.display().to_string()].map(str::to_owned).to_vec();
            cluster.order(&Order::Run { name: "registry".to_owned(), command })?;
        }
        cluster.wait_until("the registry answers", DEADLINE, || {
            let answer = client::get(address, "/v2/")?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(())
        })?;
        Ok(Self { digests })
    }

    /// What a pod's `image` says, by digest; of one of [`Self::IMAGES`].
    pub fn reference(&self, name: &str) -> Result<String> {
        Ok(format!("{HOST}/{name}@{}", self.digest(name)?))
    }

    /// Has the node take an image, under this name besides.
    pub fn pull_as(&self, cluster: &Cluster, name: &str, reference: &str) -> Result<()> {
        let hosts = cluster.own()?.site.path(daemons::REGISTRIES).display().to_string();
        let pulled = self.reference(name)?;
        let images = ["ctr", "--namespace", "k8s.io", "images"];
        cluster.exec(&[&images[..], &["pull", "--hosts-dir", &hosts, &pulled]].concat())?;
        cluster.exec(&[&images[..], &["tag", "--force", &pulled, reference]].concat()).map(drop)
    }

    /// What a rollout calls this image if nobody says otherwise.
    pub fn revision(&self, name: &str) -> Result<String> {
        let digest = self.digest(name)?.trim_start_matches("sha256:");
        Ok(format!("{name}-{}", digest.get(..12).context("a digest is longer")?))
    }

    /// The values by which a release runs these images.
    pub fn values(&self) -> Result<Vec<String>> {
        let images = [("gateway", "turnout-proxy"), ("controller", "turnout-controller"), ("test", "turnout")];
        let digests = images.map(|(part, name)| Ok(format!("{part}.image.digest={}", self.digest(name)?)));
        digests.into_iter().chain([Ok(format!("imageRegistry={HOST}"))]).collect()
    }

    fn digest(&self, name: &str) -> Result<&str> {
        self.digests.get(name).map(String::as_str).with_context(|| format!("there is no image {name}"))
    }
}

fn digest(built: &Path, name: &str) -> Result<String> {
    let digest = fs::read_to_string(built.join("digests").join(name));
    let digest = digest.with_context(|| format!("the image {name} is not built: run tests/scoring/images {name}"))?;
    Ok(digest.trim().to_owned())
}

/// Of containerd's hosts.toml: the name stands for this address.
fn hosts(address: SocketAddr) -> String {
    format!("server = \"http://{address}\"\n[host.\"http://{address}\"]\ncapabilities = [\"pull\", \"resolve\"]\n")
}

fn registry_settings(folder: &Path, address: SocketAddr) -> String {
    let storage = json!({
        "filesystem": { "rootdirectory": folder },
        // Clusters side by side may serve the same folder.
        "maintenance": { "readonly": { "enabled": true } },
    });
    json!({ "version": "0.1", "storage": storage, "http": { "addr": address } }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_not_built_is_named_with_what_builds_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let missing = digest(folder.path(), "slow").map_err(|error| error.to_string());
        assert_eq!(missing, Err("the image slow is not built: run tests/scoring/images slow".to_owned()));
        Ok(())
    }
}
