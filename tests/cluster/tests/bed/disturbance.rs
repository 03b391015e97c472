//! Daemons that go away and come back, and clusters side by side.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::{Cluster, Daemon, LoadProcess, LoadSpec, Options, RequestKind};

use crate::models::{PUBLIC, model, wait_for_endpoints};
use crate::{DEADLINE, NAMESPACE, RATE};

pub(crate) fn models_serve_on_without_an_api_server(cluster: &Cluster) -> Result<()> {
    let address = cluster.give_address(NAMESPACE, PUBLIC)?;
    let spec = LoadSpec::new((address, 80).into()).at_rate(RATE).with(RequestKind::split());
    let mut load = LoadProcess::start(cluster, &spec)?;
    load.wait_for(100)?;
    cluster.stop(Daemon::ApiServer)?;
    let refused = cluster.kubectl(&["get", "nodes"]).err().context("nobody answers for a stopped API server")?;
    assert!(refused.to_string().contains("refused"), "{refused:#}");
    let without = load.so_far()?.sent;
    load.wait_for(without + 1000)?;
    cluster.start(Daemon::ApiServer)?;
    cluster.wait_for_api(DEADLINE)?;
    let report = load.finish()?;
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(report.sent >= without + 1000, "{report:?}");
    Ok(())
}

pub(crate) fn restarted_daemons_leave_pods_alone(cluster: &Cluster) -> Result<()> {
    let before = identities(cluster)?;
    for daemon in Daemon::ALL {
        cluster.stop(daemon)?;
        cluster.start(daemon)?;
        cluster.wait_for_api(DEADLINE)?;
    }
    // Each of them has a part in a new pod that is an endpoint.
    let scale = |count: u32| cluster.patch(NAMESPACE, "deployment", "model", &json!({ "spec": { "replicas": count } }));
    scale(3)?;
    cluster.wait_for_rollout(NAMESPACE, "deployment", "model", DEADLINE)?;
    wait_for_endpoints(cluster, 3)?;
    scale(2)?;
    wait_for_endpoints(cluster, 2)?;
    let after = identities(cluster)?;
    let lost: Vec<_> = before.iter().filter(|pod| !after.contains(pod)).collect();
    // Which pod a Deployment gives up is its own affair.
    assert!(lost.len() <= 1, "before {before:?}, after {after:?}");
    Ok(())
}

/// Pods with the number of times that they were started again.
fn identities(cluster: &Cluster) -> Result<Vec<(Value, Value)>> {
    let pods = cluster.list(NAMESPACE, "pods", &model("r1").selector())?;
    Ok(pods
        .iter()
        .map(|pod| (pod["metadata"]["uid"].clone(), pod["status"]["containerStatuses"][0]["restartCount"].clone()))
        .collect())
}

pub(crate) fn a_second_cluster_has_addresses_of_its_own(cluster: &Cluster) -> Result<()> {
    let second = Cluster::up(&Options::default())?;
    assert_ne!(second.index(), cluster.index());
    assert_ne!(second.addresses()?.node(), cluster.addresses()?.node());
    assert!(second.find("default", "namespace", NAMESPACE)?.is_none(), "it has namespaces of its own");
    let attached = Cluster::attach(second.index().context("it was started here")?)?;
    assert_eq!(attached.kubeconfig(), second.kubeconfig());
    drop(attached);
    second.kubectl(&["get", "nodes"]).context("letting go of somebody else's cluster does not end it")?;
    second.down()?;
    ensure!(cluster.find("default", "namespace", NAMESPACE)?.is_some(), "the first one is as it was");
    Ok(())
}
