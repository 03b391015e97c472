//! Blue loses its last ready pod in the middle of a rollout.

use anyhow::{Result, ensure};
use serde_json::json;
use turnout_cluster::scene::{ROLLOUT, Scene};
use turnout_cluster::{Cluster, SplitLoad, release};
use turnout_rollout::{ConditionType, Target, Weights};

const GREEN: Weights = Weights { green: 100, blue: 0 };
const HALF: Weights = Weights { green: 50, blue: 50 };
const BLUE: Weights = Weights { green: 0, blue: 100 };

/// Its weight goes to green, whether its pods stop being ready or are gone, and returns with a pod that is ready.
pub(crate) fn weight_leaves_a_lost_backend_and_returns(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "loss", &[])?;
    let mut load = SplitLoad::without_pins(cluster, scene.gateway, &scene.host())?;
    scene.advance_to("Blue_50")?;
    load.check("Blue_50", HALF)?;

    tell(&scene, "blue", "ready?value=false")?;
    await_weights(&scene, GREEN, "Blue_50")?;
    load.check("blue is not ready", GREEN)?;
    tell(&scene, "blue", "ready?value=true")?;
    await_weights(&scene, HALF, "Blue_50")?;
    load.check("blue is ready again", HALF)?;

    cluster.kubectl(&["scale", "deployment", "model-svc-blue", "--replicas=0", "--namespace", scene.namespace])?;
    await_weights(&scene, GREEN, "Blue_50")?;
    load.check("blue has no pods", GREEN)?;
    cluster.kubectl(&["scale", "deployment", "model-svc-blue", "--replicas=2", "--namespace", scene.namespace])?;
    await_weights(&scene, HALF, "Blue_50")?;
    load.check("blue has pods again", HALF)?;
    load.finish()
}

/// The same, where the resource says that it shall roll back.
pub(crate) fn a_lost_backend_rolls_back_where_that_is_wanted(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "loss-rollback", &[])?;
    cluster.patch(scene.namespace, "modelrollout", ROLLOUT, &json!({ "spec": { "onBackendLoss": "Rollback" } }))?;
    let mut load = SplitLoad::without_pins(cluster, scene.gateway, &scene.host())?;
    scene.advance_to("Blue_50")?;
    tell(&scene, "blue", "ready?value=false")?;
    scene.turnout(&["wait", ROLLOUT, "--stage", "Rollback", "--timeout", "60s"])?;
    load.check("rolled back", GREEN)?;
    // It stays rolled back, ready or not.
    tell(&scene, "blue", "ready?value=true")?;
    load.check("blue is ready again", GREEN)?;
    ensure!(scene.status()?.stage == Some(Target::Rollback), "{:#?}", scene.status()?);
    load.finish()
}

/// At `Blue_Green`, with green not ready either, there is nobody to give the weight to: it stays.
pub(crate) fn weight_stays_where_nobody_else_is_ready(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "loss-late", &[])?;
    scene.advance_to("Blue_Green")?;
    tell(&scene, "green", "ready?value=false")?;
    tell(&scene, "blue", "ready?value=false")?;
    scene.wait_for_status("it is said that nobody is ready", |status| {
        status.condition(ConditionType::Healthy).is_some_and(|one| one.reason == "NoReadyEndpoints")
    })?;
    await_weights(&scene, BLUE, "Blue_Green")?;
    tell(&scene, "blue", "ready?value=true")?;
    release::await_answers(cluster, "blue serves again", |gateway| {
        let answer = scene.score_at(gateway, None)?;
        ensure!(answer.header("x-served-by") == Some("blue"), "{answer:?}");
        Ok(())
    })?;
    await_weights(&scene, BLUE, "Blue_Green")
}

fn tell(scene: &Scene<'_>, backend: &str, order: &str) -> Result<()> {
    let selector = scene.model(backend, "").selector();
    let pods = scene.cluster.list(scene.namespace, "pods", &selector)?;
    for pod in pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()) {
        scene.cluster.tell_model(scene.namespace, pod, order)?;
    }
    Ok(())
}

/// Every gateway has the weights, and the stage is still this one.
fn await_weights(scene: &Scene<'_>, wanted: Weights, stage: &str) -> Result<()> {
    scene.wait_for_status(&format!("{wanted} at {stage}"), |status| {
        let is_there = status.stage.is_some_and(|reached| reached.to_string() == stage);
        is_there && status.weights == Some(wanted) && status.is(ConditionType::Confirmed)
    })
}
