//! The patch itself, on the API server that takes it and the istiod that agrees to it: no controller is involved.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::Cluster;
use turnout_cluster::istio::Istio;
use turnout_rollout::{Mode, ModelRollout, Weights, istio};

use crate::scene::{ROUTES, Scene};

/// It takes effect whatever else the object and the rule hold, and fails as soon as the rule is not as it was read.
pub(crate) fn changes_two_numbers(cluster: &Cluster) -> Result<()> {
    let _istio = Istio::up(cluster)?;
    let scene = Scene::new(cluster, "patch")?;
    let rollout = scene.rollout(Mode::Istio)?;
    let (first, before) = (scene.routes()?, scene.rest()?);
    ensure!(istio::observe(&first, &rollout)? == Weights { green: 70, blue: 30 }, "{first}");
    ensure!(istio::patch(&first, &rollout, Weights { green: 70, blue: 30 })?.is_none(), "nothing is to be changed");
    for (green, blue) in [(50, 50), (0, 100), (100, 0)] {
        take(&scene, &rollout, Weights { green, blue })?;
    }
    scene.check_rest("after three patches", &before)?;
    let changes = |routes: &Value| routes["metadata"]["generation"].as_i64().context("no generation");
    ensure!(changes(&scene.routes()?)? == changes(&first)? + 3, "one change for each patch");

    let edits = edits_of_the_rule();
    for edit in &edits {
        check_refusal(&scene, &rollout, edit)?;
    }
    println!("{} patches, each after an edit of the rule, are refused and change nothing", edits.len());
    for edit in edits_elsewhere() {
        check_acceptance(&scene, &rollout, &edit)?;
    }
    let nothing = istio::patch(&scene.routes()?, &rollout, Weights { green: 0, blue: 0 })?;
    let (status, text) = send(&scene, &nothing.context("the weights differ")?)?;
    ensure!(status == 400 && text.contains("denied the request"), "istiod is asked: {status}: {text}");
    Ok(())
}

/// What another person does to the rule, or to its place, between the moment at which it is read and the patch.
fn edits_of_the_rule() -> Vec<Value> {
    let rule = |operation: &str, field: &str, value: Value| json!([{"op": operation, "path": format!("/spec/http/11/{field}"), "value": value}]);
    vec![
        rule("replace", "timeout", json!("29s")),
        rule("replace", "route/0/weight", json!(33)),
        rule("replace", "name", json!("renamed")),
        rule("replace", "route/1/destination/host", json!("model-svc-other")),
        rule("add", "route/-", json!({"destination": {"host": "model-svc-third"}, "weight": 1})),
        rule("add", "match/-", json!({"uri": {"prefix": "/more"}})),
        json!([{"op": "remove", "path": "/spec/http/3"}]),
        json!([{"op": "move", "from": "/spec/http/10", "path": "/spec/http/11"}]),
    ]
}

fn edits_elsewhere() -> Vec<Value> {
    vec![
        json!([{"op": "add", "path": "/metadata/annotations/example.test~1edited", "value": "<yes>"}]),
        json!([{"op": "replace", "path": "/spec/http/4/directResponse/status", "value": 202}]),
        json!([{"op": "replace", "path": "/spec/http/13/route/1/weight", "value": 99}]),
        json!([{"op": "remove", "path": "/spec/http/12"}]),
    ]
}

fn send(scene: &Scene<'_>, operations: &Value) -> Result<(u16, String)> {
    scene.api.patch(scene.namespace, ROUTES, operations)
}

fn take(scene: &Scene<'_>, rollout: &ModelRollout, wanted: Weights) -> Result<()> {
    let planned = istio::patch(&scene.routes()?, rollout, wanted)?;
    scene.change_routes(&planned.context("the weights differ")?)?;
    let after = scene.routes()?;
    ensure!(istio::observe(&after, rollout)? == wanted, "{wanted}: {after}");
    Ok(())
}

/// The edit is put back in the end.
fn check_refusal(scene: &Scene<'_>, rollout: &ModelRollout, edit: &Value) -> Result<()> {
    let before = scene.routes()?;
    let planned = istio::patch(&before, rollout, Weights { green: 60, blue: 40 })?.context("the weights differ")?;
    scene.change_routes(edit)?;
    let edited = scene.routes()?;
    let (status, text) = send(scene, &planned)?;
    ensure!(status == 422, "{edit}: {status}: {text}");
    ensure!(scene.routes()? == edited, "{edit}: a refused patch changes nothing");
    scene.change_routes(&json!([{"op": "replace", "path": "/spec", "value": before["spec"]}]))
}

fn check_acceptance(scene: &Scene<'_>, rollout: &ModelRollout, edit: &Value) -> Result<()> {
    // A rule of somebody else behind the split, for an edit to remove.
    let other = json!({"name": "other", "redirect": {"uri": "/"}, "match": [{"uri": {"exact": "/other"}}]});
    scene.change_routes(&json!([{"op": "add", "path": "/spec/http/12", "value": other}]))?;
    let (before, unedited) = (scene.routes()?, scene.rest()?);
    let observed = istio::observe(&before, rollout)?;
    let wanted = Weights { green: observed.blue + 1, blue: observed.green + 1 };
    let planned = istio::patch(&before, rollout, wanted)?.context("the weights differ")?;
    scene.change_routes(edit)?;
    let edited = scene.rest()?;
    ensure!(edited != unedited, "{edit}: the comparison sees no edit");
    scene.change_routes(&planned)?;
    let after = scene.routes()?;
    ensure!(istio::observe(&after, rollout)? == wanted, "{edit}: {after}");
    scene.check_rest(&format!("after {edit}"), &edited)?;
    scene.change_routes(&json!([{"op": "replace", "path": "/spec", "value": before["spec"]}]))?;
    scene.change_routes(&json!([{"op": "remove", "path": "/spec/http/12"}]))
}
