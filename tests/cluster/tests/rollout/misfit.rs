//! A rollout and documents that do not fit each other, or documents that cannot be had: what is published stays, no
//! request is lost, and going back works.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use turnout_cluster::scene::{DOCUMENTS, ROLLOUT, Scene};
use turnout_cluster::{Cluster, SplitLoad, release};
use turnout_rollout::{Backend, ConditionStatus, ConditionType, RolloutStatus, Weights};

use crate::objects::published;

const GREEN: Weights = Weights { green: 100, blue: 0 };
const HALF: Weights = Weights { green: 50, blue: 50 };
const BLUE: Weights = Weights { green: 0, blue: 100 };
const NAMESPACE: &str = "misfit";

/// The documents give all to one backend, and the other serves everything: on the way, and after it.
pub(crate) fn what_does_not_fit_changes_no_weight(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, NAMESPACE, &[])?;
    let mut load = scene.load()?;
    scene.advance_to("Blue_Green")?;
    load.check("Blue_Green", BLUE)?;
    let good = scene.routes(100, 0);
    let misspelt = good.replace("model-svc-green}, weight", "model-svc-gren}, weight");
    let renamed = good.replace("name: split", "name: other");
    let without = good.split("---\n").next().context("the Gateway comes first")?;
    let before = published(cluster)?;
    for (what, documents, said) in [
        ("a destination is misspelt", &*misspelt, "does not split between green"),
        ("the rule is renamed", &*renamed, "has 0 http rules named `split`"),
        ("the VirtualService is deleted", without, "is not among the documents"),
    ] {
        scene.write_documents(&good)?;
        await_acceptance(&scene)?;
        scene.write_documents(documents)?;
        await_refusal(&scene, said)?;
        load.check(what, BLUE)?;
        ensure!(published(cluster)? == before, "{what}: what is published has changed");
    }
    roll_back(&scene, &mut load, "without the VirtualService")?;

    scene.write_documents(&scene.routes(0, 100))?;
    await_acceptance(&scene)?;
    let spec = json!({ "spec": { "green": { "host": "model-svc-gren" } } });
    cluster.patch(NAMESPACE, "modelrollout", ROLLOUT, &spec)?;
    await_refusal(&scene, "between green (model-svc-gren")?;
    load.check("spec.green is misspelt", GREEN)?;
    load.finish()
}

/// They are deleted, or more than can be published.
pub(crate) fn going_back_needs_no_documents(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, NAMESPACE, &[])?;
    let mut load = scene.load()?;
    scene.advance_to("Blue_50")?;
    cluster.kubectl(&["delete", "configmap", DOCUMENTS, "--namespace", release::NAMESPACE])?;
    await_obstacle(&scene, "ApiFailure", "the documents that are published stay until then")?;
    load.check("Blue_50 without documents", HALF)?;
    roll_back(&scene, &mut load, "without documents")?;

    scene.write_documents(&scene.routes(100, 0))?;
    scene.wait_for_status("nothing is in the way", |status| status.is(ConditionType::Operational))?;
    scene.advance_to("Blue_50")?;
    write_too_much(&scene)?;
    await_obstacle(&scene, "NotPublishable", "at most 921600 can be published")?;
    load.check("Blue_50 with too many documents", HALF)?;
    roll_back(&scene, &mut load, "with too many documents")?;
    load.finish()
}

fn roll_back(scene: &Scene<'_>, load: &mut SplitLoad<'_>, how: &str) -> Result<()> {
    scene.turnout(&["rollout", "rollback", ROLLOUT])?;
    scene.turnout(&["wait", ROLLOUT, "--stage", "Rollback", "--timeout", "60s"])?;
    load.check(&format!("rolled back {how}"), GREEN)?;
    scene.wait_for_status("blue may be removed", |status| status.safe_to_remove == [Backend::Blue])
}

fn await_refusal(scene: &Scene<'_>, said: &str) -> Result<()> {
    scene.wait_for_status(&format!("the rollout is refused: {said}"), |status| {
        is_false(status, ConditionType::Accepted, "RouteNotFound", said)
    })
}

fn await_acceptance(scene: &Scene<'_>) -> Result<()> {
    scene.wait_for_status("the rollout is accepted", |status| status.is(ConditionType::Accepted))
}

fn await_obstacle(scene: &Scene<'_>, reason: &str, said: &str) -> Result<()> {
    scene.wait_for_status(&format!("something is in the way: {reason}"), |status| {
        is_false(status, ConditionType::Operational, reason, said)
    })
}

fn is_false(status: &RolloutStatus, kind: ConditionType, reason: &str, said: &str) -> bool {
    status.condition(kind).is_some_and(|condition| {
        condition.status == ConditionStatus::False && condition.reason == reason && condition.message.contains(said)
    })
}

/// Fewer bytes than a ConfigMap holds, and more than are published. `kubectl apply` would keep them twice.
fn write_too_much(scene: &Scene<'_>) -> Result<()> {
    let path = "x".repeat(1000);
    let rule = |number| format!("    - match: [{{uri: {{exact: /{number}{path}}}}}]\n      redirect: {{uri: /}}\n");
    let rules: String = (0..900).map(rule).collect();
    let documents = format!("{}{rules}", scene.routes(100, 0));
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": DOCUMENTS, "namespace": release::NAMESPACE }, "data": { "routes.yaml": documents },
    });
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), object.to_string())?;
    let path = file.path().to_str().context("a path is text")?;
    scene.cluster.kubectl(&["replace", "--filename", path]).map(drop)
}
