//! VirtualService objects in a cluster without Istio: what is applied is served, what is broken is said, and what was
//! served stays served meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::scene::{Scene, VIRTUAL_SERVICE};
use turnout_cluster::{Cluster, release};
use turnout_rollout::Weights;

const VALUES: [&str; 2] = ["documents.source=objects", "crds.istio.install=true"];
const DEADLINE: Duration = Duration::from_mins(1);
const CONDITION: &str = "turnout.dev/Accepted";

/// The verdict stands in the object's status once it was refused, and is taken back there.
pub(crate) fn virtual_services_are_followed_without_istio(cluster: &Cluster) -> Result<()> {
    let scene = Scene::with_objects(cluster, "objects", &VALUES)?;
    let mut load = scene.load()?;
    load.check("applied", Weights { green: 100, blue: 0 })?;

    cluster.apply(scene.namespace, &scene.routes(70, 30))?;
    await_published(&scene, "weight: 70")?;
    load.settle("changed", Weights { green: 70, blue: 30 })?;

    let before = published(cluster)?;
    let broken = scene.routes(20, 80).replacen("prefix:", "prefixx:", 1);
    cluster.apply(scene.namespace, &broken)?;
    await_verdict(&scene, "False", "unknown field; did you mean prefix?")?;
    load.check("broken", Weights { green: 70, blue: 30 })?;
    ensure!(published(cluster)? == before, "what is published has changed");
    let events = cluster.list(scene.namespace, "events", "")?;
    let is_told = |event: &Value| event["reason"] == "Refused" && event["involvedObject"]["name"] == VIRTUAL_SERVICE;
    ensure!(events.iter().any(is_told), "no Event tells of it: {events:#?}");

    cluster.apply(scene.namespace, &scene.routes(20, 80))?;
    await_verdict(&scene, "True", "")?;
    load.settle("repaired", Weights { green: 20, blue: 80 })?;

    // From here on the rollout decides, whatever the object says.
    cluster.apply(scene.namespace, &scene.rollout().to_string())?;
    scene.advance_to("Blue_50")?;
    load.check("Blue_50", Weights { green: 50, blue: 50 })?;
    cluster.apply(scene.namespace, &scene.routes(100, 0))?;
    load.check("the object says otherwise", Weights { green: 50, blue: 50 })?;
    scene.promote_to("Blue_100")?;
    load.check("Blue_100", Weights { green: 0, blue: 100 })?;

    // A rollout that is deleted gives the weights back to the object.
    cluster.kubectl(&["delete", "modelrollout", "model", "--namespace", scene.namespace, "--timeout", "60s"])?;
    load.settle("the rollout is deleted", Weights { green: 100, blue: 0 })?;
    load.finish()
}

fn await_verdict(scene: &Scene<'_>, status: &str, message: &str) -> Result<()> {
    scene.cluster.wait_until(&format!("the VirtualService is accepted: {status}"), DEADLINE, || {
        let object = scene.cluster.get(scene.namespace, "virtualservice", VIRTUAL_SERVICE)?;
        let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == CONDITION);
        let is_so =
            |condition: &Value| condition["status"] == status && condition["message"].to_string().contains(message);
        ensure!(found.is_some_and(is_so), "{}", json!({ "conditions": conditions, "metadata": object["metadata"] }));
        Ok(())
    })
}

pub(crate) fn await_published(scene: &Scene<'_>, text: &str) -> Result<()> {
    scene.cluster.wait_until(&format!("`{text}` is published"), DEADLINE, || {
        let published = published(scene.cluster)?;
        ensure!(published.contains(text), "{published}");
        Ok(())
    })
}

/// What gateways are given.
pub(crate) fn published(cluster: &Cluster) -> Result<String> {
    let routes = cluster.get(release::NAMESPACE, "configmap", release::ROUTES)?;
    Ok(routes["data"]["routes.yaml"].as_str().unwrap_or_default().to_owned())
}
