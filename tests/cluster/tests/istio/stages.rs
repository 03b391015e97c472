//! The five stages and a rollback through the controller, as clients of Istio's gateway see them: no request fails, each
//! stage has its split, and of the VirtualService two numbers change.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::Cluster;
use turnout_cluster::istio::Istio;
use turnout_rollout::{Mode, Weights};

use crate::scene::{Scene, has_condition, split};
use turnout_cluster::SplitLoad;
use turnout_cluster::release;

const GREEN: Weights = Weights { green: 100, blue: 0 };
const HALF: Weights = Weights { green: 50, blue: 50 };
const HALF_A_PERCENT: Weights = Weights { green: 995, blue: 5 };
const BLUE: Weights = Weights { green: 0, blue: 100 };
/// How often the weights differ from those before: to all to green, the way to and from blue, and half a way, by a small
/// step, and back.
const CHANGES: i64 = 7;

pub(crate) fn lose_no_request(cluster: &Cluster) -> Result<()> {
    let istio = Istio::up(cluster)?;
    let scene = Scene::new(cluster, "stages")?;
    scene.deploy("green", "r1")?;
    scene.expose("blue")?;
    release::install(cluster, scene.namespace, &["gateway.enabled=false"])?;
    let (first, rest) = (generation(&scene.routes()?)?, scene.rest()?);
    scene.begin(Mode::Istio, "r1", "Green_100")?;
    scene.deploy("blue", "r2")?;
    scene.roll_out("r2", "Blue_0")?;

    let (envoy, host) = (istio.gateway(80)?, scene.host());
    let mut load = SplitLoad::start(cluster, envoy, &host)?;
    let mut check = |stage: &str, wanted: Weights| {
        load.check(stage, wanted)?;
        scene.check_rest(stage, &rest)
    };
    check("Blue_0", GREEN)?;
    scene.promote("Blue_50")?;
    check("Blue_50", HALF)?;
    scene.await_status("nobody has confirmed", |status| has_condition(status, "Confirmed", "Unknown", "Settled"))?;
    scene.promote("Blue_100")?;
    check("Blue_100", BLUE)?;
    scene.promote("Blue_Green")?;
    scene.await_safe_to_remove("green")?;
    scene.deploy("green", "r2")?;
    check("Blue_Green", BLUE)?;
    scene.promote("Green_100")?;
    check("Green_100", GREEN)?;

    scene.await_safe_to_remove("blue")?;
    // Weights with another sum, and back to those of a hundred.
    scene.deploy("blue", "r3")?;
    scene.change(&json!({"steps": [{"stage": "Blue_0.5"}, {"stage": "Blue_50"}]}))?;
    scene.roll_out("r3", "Blue_0.5")?;
    check("Blue_0.5 of the next revision", HALF_A_PERCENT)?;
    let governed = split(&mut scene.routes()?)?["route"].clone();
    ensure!(governed[0]["weight"] == 995 && governed[1]["weight"] == 5, "{governed}");
    scene.promote("Blue_50")?;
    check("Blue_50 of the next revision", HALF)?;
    scene.promote("Rollback")?;
    check("rolled back", GREEN)?;
    load.finish()?;

    let changes = generation(&scene.routes()?)? - first;
    ensure!(changes == CHANGES, "the weights changed {CHANGES} times, and the object {changes} times");
    remove_blue(cluster, &scene, envoy)
}

/// What may be removed is missed by nobody.
fn remove_blue(cluster: &Cluster, scene: &Scene<'_>, envoy: SocketAddr) -> Result<()> {
    scene.await_safe_to_remove("blue")?;
    let mut load = SplitLoad::without_pins(cluster, envoy, &scene.host())?;
    scene.remove("blue")?;
    load.check("blue is removed", GREEN)?;
    load.finish()
}

fn generation(routes: &Value) -> Result<i64> {
    routes["metadata"]["generation"].as_i64().context("the object has no generation")
}
