//! The chart of Turnout, installed as a user would: one release, which each case changes to what it needs.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::build::Image;
use crate::cluster::Cluster;

/// The name of the release.
pub const NAME: &str = "turnout";
/// Where the controller and the gateway live.
pub const NAMESPACE: &str = "turnout-system";
/// The gateway's Deployment and Service.
pub const GATEWAY: &str = "turnout-gateway";
/// The controller's Deployment.
pub const CONTROLLER: &str = "turnout-controller";
/// The ConfigMap that gateways mount.
pub const ROUTES: &str = "turnout-routes";
/// The controller's pods.
pub const CONTROLLER_PODS: &str = "app.kubernetes.io/instance=turnout,app.kubernetes.io/component=controller";
/// The gateway's pods.
pub const GATEWAY_PODS: &str = "app.kubernetes.io/instance=turnout,app.kubernetes.io/component=gateway";

/// Where the pods of the gateway serve routes.
const DATA_PORT: u16 = 8080;
/// Where they tell of themselves.
pub const STATUS_PORT: u16 = 15021;

const DEADLINE: Duration = Duration::from_mins(3);

/// Installs or changes the release so that it governs one namespace, with these values (`name=value`) besides; returns
/// when the controller runs.
pub fn install(cluster: &Cluster, namespace: &str, values: &[&str]) -> Result<()> {
    cluster.create_namespace(NAMESPACE)?;
    let namespaces = format!("namespaces={{{namespace}}}");
    let images = image_values();
    let mut arguments = vec!["upgrade", NAME, chart()?, "--install", "--namespace", NAMESPACE];
    for value in images.iter().map(String::as_str).chain([namespaces.as_str()]).chain(values.iter().copied()) {
        arguments.extend(["--set", value]);
    }
    cluster.helm(&arguments)?;
    cluster.wait_for_rollout(NAMESPACE, "deployment", CONTROLLER, DEADLINE)
}

/// Takes the release away, with the hook that cleans up.
pub fn uninstall(cluster: &Cluster) -> Result<()> {
    cluster.helm(&["uninstall", NAME, "--namespace", NAMESPACE, "--wait", "--timeout", "5m"]).map(drop)
}

/// Takes it away as Argo CD does, which runs no hooks of Helm.
pub fn uninstall_without_hooks(cluster: &Cluster) -> Result<()> {
    cluster.helm(&["uninstall", NAME, "--namespace", NAMESPACE, "--no-hooks", "--wait", "--timeout", "5m"]).map(drop)
}

/// Takes it away with all that it has left, and this namespace: what comes then is installed on a cluster that has never had
/// it.
pub fn clear(cluster: &Cluster, namespace: &str) -> Result<()> {
    if cluster.find(NAMESPACE, "deployment", CONTROLLER)?.is_some() {
        uninstall(cluster)?;
    }
    [namespace, NAMESPACE].iter().try_for_each(|namespace| cluster.delete_namespace(namespace))
}

/// Returns once its pods have gone: gateways serve on for a while after they were told to stop. That of `helm test` stays for
/// its logs.
pub fn await_pods_gone(cluster: &Cluster) -> Result<()> {
    cluster.wait_until("the release's pods are gone", DEADLINE, || {
        let pods = cluster.list(NAMESPACE, "pods", "app.kubernetes.io/component!=test")?;
        ensure!(pods.is_empty(), "{} are left", pods.len());
        Ok(())
    })
}

/// Where the chart is.
pub fn chart() -> Result<&'static str> {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/turnout")).to_str().context("a path is text")
}

/// The values by which a release runs the images of this workspace.
pub fn image_values() -> Vec<String> {
    let tags = ["controller.image.tag=dev", "gateway.image.tag=dev", "test.image.tag=dev"];
    let registry = format!("imageRegistry={}", Image::registry());
    tags.into_iter().map(str::to_owned).chain([registry]).collect()
}

/// Waits until the gateway runs as it should, and returns the address of its load balancer.
pub fn gateway(cluster: &Cluster) -> Result<SocketAddr> {
    cluster.wait_for_rollout(NAMESPACE, "deployment", GATEWAY, DEADLINE)?;
    Ok(SocketAddr::from((cluster.give_address(NAMESPACE, GATEWAY)?, 80)))
}

/// Waits until each gateway answers as it should. What one answer of their load balancer shows is true of one of them: the
/// next request may reach another that has not read the routes yet.
pub fn await_answers(cluster: &Cluster, what: &str, ask: impl Fn(SocketAddr) -> Result<()>) -> Result<()> {
    await_gateways(cluster, what, |address| ask((address, DATA_PORT).into()))
}

/// The same for whatever a gateway is asked at its address.
pub fn await_gateways(cluster: &Cluster, what: &str, ask: impl Fn(IpAddr) -> Result<()>) -> Result<()> {
    cluster.wait_until(&format!("every gateway: {what}"), DEADLINE, || {
        let pods = cluster.list(NAMESPACE, "pods", GATEWAY_PODS)?;
        let serving = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let addresses = serving.map(|pod| pod["status"]["podIP"].as_str().context("a gateway has no address yet"));
        let addresses = addresses.collect::<Result<Vec<_>>>()?;
        ensure!(!addresses.is_empty(), "there is no gateway");
        addresses.into_iter().try_for_each(|address| ask(address.parse()?))
    })
}
