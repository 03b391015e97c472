//! The chart as it is, with nothing to route yet: helm waits for it and is content.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use turnout_cluster::{Cluster, release};

const DEADLINE: Duration = Duration::from_mins(2);

pub(crate) fn a_default_installation_is_complete_before_its_first_routes(cluster: &Cluster) -> Result<()> {
    if cluster.find(release::NAMESPACE, "deployment", release::CONTROLLER)?.is_some() {
        release::uninstall(cluster)?;
    }
    release::await_pods_gone(cluster)?;
    cluster.create_namespace(release::NAMESPACE)?;
    let images = release::image_values();
    let place = ["--namespace", release::NAMESPACE, "--wait", "--atomic", "--timeout", "3m"];
    let sets = images.iter().flat_map(|image| ["--set", image.as_str()]);
    let arguments: Vec<&str> =
        ["install", release::NAME, release::chart()?].into_iter().chain(place).chain(sets).collect();
    thread::scope(|scope| {
        let helm = scope.spawn(|| cluster.helm(&arguments));
        // What a cloud does meanwhile: helm waits for the load balancer's address, too.
        cluster.wait_until("the gateway has its Service", DEADLINE, || {
            cluster.find(release::NAMESPACE, "service", release::GATEWAY)?.context("not yet")?;
            Ok(())
        })?;
        cluster.give_address(release::NAMESPACE, release::GATEWAY)?;
        helm.join().expect("helm is run without a panic")
    })?;
    let pods = cluster.list(release::NAMESPACE, "pods", release::GATEWAY_PODS)?;
    let name = pods.first().and_then(|pod| pod["metadata"]["name"].as_str()).context("a gateway")?;
    let page = format!("/api/v1/namespaces/{}/pods/{name}:15021/proxy/readyz", release::NAMESPACE);
    let ready = cluster.kubectl(&["get", "--raw", &page])?;
    ensure!(ready.contains("no routes are published yet"), "{ready}");
    release::uninstall(cluster)
}
