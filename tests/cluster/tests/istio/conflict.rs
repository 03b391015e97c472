//! Somebody edits the governed rule all the time, so that it often changes between the moment at which the controller
//! reads it and its patch. Every edit of theirs stays, and in the end the weights are those of the stage.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::istio::Istio;
use turnout_cluster::{Cluster, is_full};
use turnout_rollout::{KIND, Mode, Weights, istio as rule};

use crate::scene::{Scene, split};
use turnout_cluster::SplitLoad;
use turnout_cluster::release;

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_mins(5);
/// Where the split stands when nobody has put a rule before the others.
const SPLIT_INDEX: u64 = 11;

pub(crate) fn is_survived(cluster: &Cluster) -> Result<()> {
    let istio = Istio::up(cluster)?;
    let scene = Scene::new(cluster, "conflict")?;
    let rollout = scene.rollout(Mode::Istio)?;
    scene.deploy("green", "r1")?;
    scene.deploy("blue", "r2")?;
    release::install(cluster, scene.namespace, &["gateway.enabled=false"])?;
    scene.begin(Mode::Istio, "r2", "Blue_50")?;
    let mut load = SplitLoad::start(cluster, istio.gateway(80)?, &scene.host())?;
    let edits = edit_until_patches_conflict(&scene)?;
    let edited = scene.rest()?;

    let wanted = Weights { green: 50, blue: 50 };
    cluster.wait_until("the rule has the weights of the stage", DEADLINE, || {
        let observed = rule::observe(&scene.routes()?, &rollout)?;
        ensure!(observed == wanted, "it has {observed}");
        Ok(())
    })?;
    scene.check_rest("after the edits", &edited)?;
    let mut after = scene.routes()?;
    ensure!(split(&mut after)?["timeout"] == timeout(edits), "the last edit is lost: {after}");
    load.settle("after the edits", wanted)?;
    check_event(cluster, &scene)?;

    scene.promote("Blue_100")?;
    load.check("Blue_100", Weights { green: 0, blue: 100 })?;
    scene.check_rest("Blue_100", &edited)?;
    load.finish()
}

/// People hear that somebody else changes the weights.
fn check_event(cluster: &Cluster, scene: &Scene<'_>) -> Result<()> {
    let events = cluster.list(scene.namespace, "events.events.k8s.io", "")?;
    let is_it = |event: &&Value| event["reason"] == "WeightsChanged" && event["regarding"]["kind"] == KIND;
    let event = events.iter().find(is_it).with_context(|| format!("no Event tells of changed weights: {events:?}"))?;
    println!("an Event tells: {}", event["note"]);
    Ok(())
}

/// Returns how many edits it took.
fn edit_until_patches_conflict(scene: &Scene<'_>) -> Result<u64> {
    // So many patches of the controller must have met an edit.
    let wanted = if is_full() { 5 } else { 1 };
    let before = refused_patches(scene)?;
    let deadline = Instant::now() + DEADLINE;
    let mut edit = 0;
    loop {
        edit += 1;
        scene.change_routes(&operations(edit))?;
        let conflicts = refused_patches(scene)? - before;
        if conflicts >= wanted {
            println!("{conflicts} patches of the controller met one of {edit} edits and were refused");
            return Ok(edit);
        }
        ensure!(Instant::now() < deadline, "only {conflicts} patches of the controller met one of {edit} edits");
    }
}

/// It takes the weights away, changes the rule, and moves it by a rule that comes before all others or goes again.
fn operations(edit: u64) -> Value {
    let is_moved = edit.is_multiple_of(2);
    let rule = format!("/spec/http/{}", if is_moved { SPLIT_INDEX + 1 } else { SPLIT_INDEX });
    let first =
        json!({"name": format!("edit {edit}"), "match": [{"uri": {"exact": "/edited"}}], "redirect": {"uri": "/"}});
    json!([
        {"op": "replace", "path": format!("{rule}/timeout"), "value": timeout(edit)},
        {"op": "replace", "path": format!("{rule}/route/0/weight"), "value": 90},
        {"op": "replace", "path": format!("{rule}/route/1/weight"), "value": 10},
        {"op": "add", "path": "/metadata/annotations/example.test~1edit", "value": edit.to_string()},
        if is_moved { json!({"op": "remove", "path": "/spec/http/0"}) } else {
            json!({"op": "add", "path": "/spec/http/0", "value": first})
        },
    ])
}

fn timeout(edit: u64) -> String {
    format!("{}s", 20 + edit)
}

/// How many patches of VirtualServices the API server has refused with 422; those of the edits never are.
fn refused_patches(scene: &Scene<'_>) -> Result<u64> {
    let metrics = scene.api.text("/metrics")?;
    let refusals = metrics.lines().filter(|line| {
        let is_about = |label: &str| line.contains(label);
        line.starts_with("apiserver_request_total{")
            && [r#"code="422""#, r#"resource="virtualservices""#, r#"verb="PATCH""#].into_iter().all(is_about)
    });
    let counts = refusals.map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()));
    counts.sum::<Option<u64>>().context("the API server counts in whole numbers")
}
