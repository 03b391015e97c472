//! `turnout init` where nobody has heard of Turnout: two Deployments of one `app`, told apart by `model_version`, and the
//! VirtualService of the sample, whose rules have no names. What it prints is applied as it stands, and a rollout goes
//! through and back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use turnout_cluster::readme;
use turnout_cluster::scene::{DOCUMENTS, Scene, VIRTUAL_SERVICE};
use turnout_cluster::{Cluster, Image, Model, SplitLoad, release};
use turnout_rollout::Weights;

const GREEN: Weights = Weights { green: 100, blue: 0 };
const HALF: Weights = Weights { green: 50, blue: 50 };
const DEADLINE: Duration = Duration::from_mins(2);

pub(crate) fn what_init_prints_is_all_that_a_rollout_needs(cluster: &Cluster) -> Result<()> {
    let mut scene = Scene::without_models(cluster, "init")?;
    scene.write_documents(&scene.routes(100, 0).replace("name: split\n      match", "match"))?;
    put(&scene, "green", Image::Model, None)?;
    put(&scene, "blue", Image::OtherModel, None)?;
    release::install(cluster, scene.namespace, &[&format!("documents.existingConfigMap={DOCUMENTS}")])?;
    scene.gateway = release::gateway(cluster)?;
    scene.await_answer_of("blue")?;
    init(&scene)?;

    let mut load = SplitLoad::without_pins(cluster, scene.gateway, &scene.host())?;
    rollout(&scene, &["start", "--revision", "r2", "--wait"])?;
    load.check("Blue_0", GREEN)?;
    rollout(&scene, &["promote", "--wait"])?;
    load.check("Blue_50", HALF)?;
    rollout(&scene, &["promote", "--to", "Blue_Green", "--wait"])?;
    put(&scene, "green", Image::OtherModel, Some("r2"))?;
    rollout(&scene, &["promote", "--wait"])?;
    load.check("Green_100", GREEN)?;

    put(&scene, "blue", Image::Model, Some("r1"))?;
    rollout(&scene, &["rollback"])?;
    scene.turnout(&["wait", VIRTUAL_SERVICE, "--stage", "Blue_Green", "--timeout", "2m"])?;
    put(&scene, "green", Image::Model, Some("r1"))?;
    scene.turnout(&["wait", VIRTUAL_SERVICE, "--stage", "Green_100", "--timeout", "2m"])?;
    load.check("back", GREEN)?;
    let answer = scene.score(None)?;
    ensure!(answer.header("x-revision") == Some("r1"), "{answer:?}");
    load.finish()
}

/// Applies the object, and runs the commands that stand in what it says besides.
fn init(scene: &Scene<'_>) -> Result<()> {
    let ran = scene.run_turnout(&["init", VIRTUAL_SERVICE])?;
    let (written, said) = (String::from_utf8(ran.stdout)?, String::from_utf8(ran.stderr)?);
    ensure!(ran.status.success(), "{}: {said}", ran.status);
    scene.cluster.apply(scene.namespace, &written)?;
    let commands: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    ensure!(commands.len() == 2, "two Deployments lack the label: {said}");
    let folder = tempfile::tempdir()?;
    commands.iter().try_for_each(|command| readme::run(scene.cluster, folder.path(), command).map(drop))?;
    ["green", "blue"].iter().try_for_each(|backend| await_pods(scene, backend))
}

fn rollout(scene: &Scene<'_>, words: &[&str]) -> Result<()> {
    let (verb, more) = words.split_first().context("a verb")?;
    let words = [&["rollout", verb, VIRTUAL_SERVICE], more, &["--timeout", "2m"]].concat();
    scene.turnout(&words).map(drop)
}

/// The sample's Service and Deployment of a backend, which say nothing of a revision unless one is named.
fn put(scene: &Scene<'_>, backend: &str, image: Image, revision: Option<&str>) -> Result<()> {
    let served = revision.unwrap_or(if backend == "green" { "r1" } else { "r2" });
    let model = Model { image, is_labelled: revision.is_some(), ..scene.model(backend, served) };
    let labels = json!({ "app": "model", "model_version": backend });
    let (mut deployment, mut service) = (model.deployment(), model.service());
    deployment["metadata"]["name"] = json!(name(backend));
    deployment["spec"]["selector"]["matchLabels"] = labels.clone();
    for (label, value) in labels.as_object().context("labels are an object")? {
        deployment["spec"]["template"]["metadata"]["labels"][label] = value.clone();
    }
    service["spec"]["selector"] = labels;
    service["spec"]["ports"][0]["port"] = json!(5001);
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [deployment, service] });
    scene.cluster.apply(scene.namespace, &list.to_string())?;
    await_pods(scene, backend)
}

fn await_pods(scene: &Scene<'_>, backend: &str) -> Result<()> {
    scene.cluster.wait_for_rollout(scene.namespace, "deployment", &name(backend), DEADLINE)
}

fn name(backend: &str) -> String {
    format!("model-{backend}")
}
