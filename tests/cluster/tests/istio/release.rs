//! The chart of Turnout, installed as a user would: one release that each case changes to what it needs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use turnout_cluster::{Cluster, Image};

/// The Service and the Deployment of the gateway.
pub(crate) const GATEWAY: &str = "turnout-gateway";
const NAME: &str = "turnout";
/// Where the controller and the gateway live.
pub(crate) const NAMESPACE: &str = "turnout-system";
const DEADLINE: Duration = Duration::from_mins(2);

/// A release that governs one namespace, with these values (`name=value`) besides; returns when the controller runs.
pub(crate) fn install(cluster: &Cluster, namespace: &str, values: &[&str]) -> Result<()> {
    cluster.create_namespace(NAMESPACE)?;
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/turnout");
    let chart = chart.to_str().context("the path of the chart is no text")?;
    let registry = format!("imageRegistry={}", Image::registry());
    let namespaces = format!("namespaces={{{namespace}}}");
    let mut arguments = vec!["upgrade", NAME, chart, "--install", "--namespace", NAMESPACE];
    for value in [&registry, &namespaces, "controller.image.tag=dev", "gateway.image.tag=dev"]
        .into_iter()
        .chain(values.iter().copied())
    {
        arguments.extend(["--set", value]);
    }
    cluster.helm(&arguments)?;
    cluster.wait_for_rollout(NAMESPACE, "deployment", "turnout-controller", DEADLINE)
}

/// Returns when the gateway runs.
pub(crate) fn await_gateway(cluster: &Cluster) -> Result<()> {
    cluster.wait_for_rollout(NAMESPACE, "deployment", GATEWAY, DEADLINE)
}
