//! A pipeline drives a rollout by the verbs and their exit codes alone, and a server of its own allows the steps.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use turnout_cluster::scene::{ROLLOUT, Scene};
use turnout_cluster::{Cluster, Model, SplitLoad};
use turnout_rollout::{RequirementState, Weights};

const GREEN: Weights = Weights { green: 100, blue: 0 };
const TENTH: Weights = Weights { green: 90, blue: 10 };
const HALF: Weights = Weights { green: 50, blue: 50 };
const BLUE: Weights = Weights { green: 0, blue: 100 };
const HOOK: &str = "hook";

pub(crate) fn a_pipeline_goes_through_its_steps(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "steps", &[])?;
    let hook = Model { replicas: 1, ..Model::new(HOOK, HOOK, "", "r1") };
    cluster.apply(scene.namespace, &hook.objects().to_string())?;
    cluster.wait_for_rollout(scene.namespace, "deployment", HOOK, std::time::Duration::from_mins(2))?;
    answer(&scene, &hook, 202)?;
    let webhook =
        json!({ "url": format!("http://{HOOK}.{}.svc.cluster.local/score", scene.namespace), "intervalSeconds": 1 });
    let steps = json!([
        { "stage": "Blue_0", "require": [{ "approval": {} }] },
        { "stage": "Blue_10", "require": [{ "pause": "1s" }, { "webhook": webhook }] },
        { "stage": "Blue_50" },
    ]);
    let spec = json!({ "spec": { "steps": steps, "onFailure": "Rollback" } });
    cluster.patch(scene.namespace, "modelrollout", ROLLOUT, &spec)?;
    let mut load = SplitLoad::without_pins(cluster, scene.gateway, &scene.host())?;
    let verb = |verb: &str, more: &[&str]| {
        let all = [&["rollout", verb, ROLLOUT, "--wait", "--timeout", "2m"], more].concat();
        scene.turnout_ends_with(0, &all)
    };

    verb("start", &["--revision", "r2"])?;
    load.check("Blue_0", GREEN)?;
    verb("promote", &[])?;
    load.check("Blue_10", TENTH)?;
    scene.turnout_ends_with(3, &["wait", ROLLOUT, "--stage", "Blue_50", "--timeout", "5s"])?;
    let status = scene.status()?;
    let asked = status.requirements.iter().find(|one| one.requirement.starts_with("webhook"));
    let asked = asked.with_context(|| format!("{:#?}", status.requirements))?;
    ensure!(asked.state == RequirementState::Waiting && asked.message.contains("says to wait (202)"), "{asked:?}");
    answer(&scene, &hook, 200)?;
    scene.turnout_ends_with(0, &["wait", ROLLOUT, "--stage", "Blue_50", "--timeout", "1m"])?;
    load.check("Blue_50", HALF)?;
    verb("promote", &["--to", "Blue_Green"])?;
    load.check("Blue_Green", BLUE)?;
    scene.turnout_ends_with(0, &["wait", ROLLOUT, "--safe-to-remove", "green", "--timeout", "1m"])?;
    scene.deploy("green", "r2")?;
    verb("promote", &[])?;
    scene.turnout_ends_with(0, &["wait", ROLLOUT, "--safe-to-remove", "blue", "--timeout", "1m"])?;
    load.check("Green_100", GREEN)?;

    scene.deploy("blue", "r3")?;
    verb("start", &["--revision", "r3"])?;
    answer(&scene, &hook, 202)?;
    verb("promote", &[])?;
    answer(&scene, &hook, 403)?;
    let told = scene.turnout_ends_with(1, &["wait", ROLLOUT, "--stage", "Blue_50", "--timeout", "1m"])?;
    // Either is seen: that it fails, or what comes of it.
    ensure!(told.contains("refuses it (403)") || told.contains("a requirement failed"), "{told}");
    scene.turnout_ends_with(0, &["wait", ROLLOUT, "--stage", "Rollback", "--timeout", "1m"])?;
    load.check("rolled back", GREEN)?;
    load.finish()
}

fn answer(scene: &Scene<'_>, hook: &Model, status: u16) -> Result<()> {
    for pod in scene.cluster.list(scene.namespace, "pods", &hook.selector())? {
        let name = pod["metadata"]["name"].as_str().context("a pod has a name")?;
        scene.cluster.tell_model(scene.namespace, name, &format!("status?value={status}"))?;
    }
    Ok(())
}
