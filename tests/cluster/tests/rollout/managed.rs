//! Managed workloads: the rollout has a pod template, and the controller makes, warms, replaces and removes the models.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::scene::{DOCUMENTS, ROLLOUT, STAGES, Scene};
use turnout_cluster::{Cluster, Image, PORT, SplitLoad, probe, release};
use turnout_rollout::{ConditionType, Weights};

const GREEN: Weights = Weights { green: 100, blue: 0 };
const HALF: Weights = Weights { green: 50, blue: 50 };
const BLUE: Weights = Weights { green: 0, blue: 100 };
const DEADLINE: Duration = Duration::from_mins(2);

pub(crate) fn managed_models_come_and_go_without_loss(cluster: &Cluster) -> Result<()> {
    let scene = begin(cluster, "managed", template("r1"))?;
    let mut load = SplitLoad::without_pins(cluster, scene.gateway, &scene.host())?;
    load.check("the first model", GREEN)?;

    roll_out(&scene, "r2", &template("r2"))?;
    await_deployments(&scene, &["green", "blue"])?;
    load.check("Blue_0", GREEN)?;
    scene.promote_to("Blue_50")?;
    load.check("Blue_50", HALF)?;
    scene.promote_to("Blue_100")?;
    load.check("Blue_100", BLUE)?;
    scene.promote_to("Blue_Green")?;
    scene.wait_for_promotion()?;
    load.check("green is replaced", BLUE)?;
    await_revision(&scene, "r2")?;
    scene.promote_to("Green_100")?;
    await_deployments(&scene, &["green"])?;
    load.check("blue is removed", GREEN)?;

    // Back from the last stage but one, where green is the new model already: it is restored.
    roll_out(&scene, "r3", &template("r3"))?;
    for stage in &STAGES[1..4] {
        scene.promote_to(stage)?;
    }
    scene.wait_for_promotion()?;
    await_revision(&scene, "r3")?;
    scene.turnout(&["rollout", "rollback", ROLLOUT])?;
    scene.turnout(&["wait", ROLLOUT, "--stage", "Rollback", "--timeout", "120s"])?;
    await_deployments(&scene, &["green"])?;
    load.check("rolled back", GREEN)?;
    await_revision(&scene, "r2")?;

    // A template from which nothing can be made is said, and changes nothing.
    let template = json!({ "spec": { "containers": [{ "name": "model", "imagePullPolice": "Never" }] } });
    cluster.patch(scene.namespace, "modelrollout", ROLLOUT, &json!({ "spec": { "template": template } }))?;
    scene.wait_for_status("the template is refused", |status| {
        let condition = status.condition(ConditionType::Operational);
        condition.is_some_and(|one| one.reason == "InvalidTemplate" && one.message.contains("imagePullPolice"))
    })?;
    await_deployments(&scene, &["green"])?;
    load.check("the template is refused", GREEN)?;
    load.finish()
}

/// The release, and the rollout of `r1`, which has nobody to take over from; returns when green serves it.
pub(crate) fn begin<'a>(cluster: &'a Cluster, namespace: &'static str, template: Value) -> Result<Scene<'a>> {
    let mut scene = Scene::without_models(cluster, namespace)?;
    let documents = format!("documents.existingConfigMap={DOCUMENTS}");
    let managed = format!("managedWorkloads.namespaces={{{}}}", scene.namespace);
    release::install(cluster, scene.namespace, &[&documents, &managed])?;
    scene.gateway = release::gateway(cluster)?;
    let mut rollout = scene.rollout();
    rollout["spec"]["workload"] = json!("Managed");
    rollout["spec"]["replicas"] = json!(2);
    rollout["spec"]["warmUp"] = json!({ "path": "/score", "requests": 5 });
    rollout["spec"]["template"] = template;
    rollout["spec"]["revision"] = json!("r1");
    cluster.apply(scene.namespace, &rollout.to_string())?;
    scene.wait_for("Green_100")?;
    await_deployments(&scene, &["green"])?;
    await_revision(&scene, "r1")?;
    Ok(scene)
}

/// Changes the template, and returns when the rollout of it is at its first stage.
pub(crate) fn roll_out(scene: &Scene<'_>, revision: &str, template: &Value) -> Result<()> {
    let spec = json!({ "template": template, "revision": revision, "target": null });
    scene.cluster.patch(scene.namespace, "modelrollout", ROLLOUT, &json!({ "spec": spec }))?;
    scene.wait_for(STAGES[0])
}

/// One template for both backends: its pods know by a label which they are.
pub(crate) fn template(revision: &str) -> Value {
    let backend = json!({ "fieldRef": { "fieldPath": "metadata.labels['turnout.dev/backend']" } });
    let container = json!({
        "name": "model",
        "image": Image::Model.reference(),
        "imagePullPolicy": "IfNotPresent",
        "args": ["--answer", format!("New Model {revision}"), "--revision", revision],
        "env": [{ "name": "MODEL_BACKEND", "valueFrom": backend }],
        "ports": [{ "name": "http", "containerPort": PORT }],
        "readinessProbe": probe(),
        "lifecycle": { "preStop": { "sleep": { "seconds": 2 } } },
    });
    json!({ "spec": { "containers": [container] } })
}

/// Exactly these backends have a Deployment.
pub(crate) fn await_deployments(scene: &Scene<'_>, backends: &[&str]) -> Result<()> {
    scene.cluster.wait_until(&format!("there are Deployments of {}", backends.join(" and ")), DEADLINE, || {
        let found = scene.cluster.list(scene.namespace, "deployments", "")?;
        let mut found: Vec<_> =
            found.iter().filter_map(|one| one["metadata"]["labels"]["turnout.dev/backend"].as_str()).collect();
        found.sort_by(|one, other| other.cmp(one));
        ensure!(found == backends, "there are {found:?}");
        Ok(())
    })
}

/// Green serves this revision, which the gateway knows as soon as its DNS answers do.
pub(crate) fn await_revision(scene: &Scene<'_>, revision: &str) -> Result<()> {
    release::await_answers(scene.cluster, &format!("green serves {revision}"), |gateway| {
        let answer = scene.score_at(gateway, Some("green"))?;
        ensure!(answer.header("x-revision") == Some(revision), "{answer:?}");
        Ok(())
    })
}
