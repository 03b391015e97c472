//! Going back to Istio, by README's commands: from Turnout alone, istiod and its gateway come to the same objects, in the
//! middle of a rollout, whose weights both then have; and Turnout's gateway goes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::istio::Istio;
use turnout_cluster::{Cluster, SplitLoad};
use turnout_rollout::{Mode, Weights};

use crate::leaving::{Answer, answers, await_models, compare};
use crate::recorded::Recorded;
use crate::scene::{SPLIT, Scene, split};
use crate::way::Way;

const GREEN: Weights = Weights { green: 100, blue: 0 };
const HALF: Weights = Weights { green: 50, blue: 50 };
/// A rule of `routes.yaml` that no rollout governs.
const OTHER_SPLIT: &str = "a split of somebody else";
const DEADLINE: Duration = Duration::from_mins(2);

/// Turnout is alone, at `Blue_50` of its own mode.
pub(crate) fn changes_no_answer(
    cluster: &Cluster,
    scene: &Scene<'_>,
    mut way: Way<'_>,
    (turnout, expected): (SocketAddr, &[Answer]),
    recorded: &Recorded<'_>,
) -> Result<()> {
    let host = scene.host();
    let mut load = SplitLoad::start(cluster, turnout, &host)?;
    let refused = scene.change(&json!({"mode": Mode::Istio})).err().context("the mode changes under way")?;
    ensure!(format!("{refused:#}").contains("cannot change while a rollout is under way"), "{refused:#}");
    // A rollout does not end while other rules give weight to what it would remove, nor, but for the deadline, while
    // somebody asks for it by name.
    way.next("documents.source=objects")?;
    recorded.write(0)?;
    write_weights(scene, OTHER_SPLIT, &json!([100, 0]))?;
    scene.change(&json!({"drainDeadlineSeconds": 1, "onDrainDeadline": "Remove"}))?;
    scene.promote("Rollback")?;
    write_weights(scene, SPLIT, &json!([30, 70]))?;
    load.check("the document's weights count for nothing", GREEN)?;
    way.next("turnout wait")?;
    way.next(r#""mode": "Istio""#)?;
    load.check("the rollout's weights go into the document", GREEN)?;
    cluster.wait_until("they are there", DEADLINE, || {
        let weights = weights(scene)?;
        ensure!(weights == json!([100, 0]), "{weights}");
        Ok(())
    })?;
    write_weights(scene, OTHER_SPLIT, &json!([0, 100]))?;
    scene.change(&json!({"attempt": 1, "target": "Blue_50"}))?;
    scene.await_stage("Blue_50")?;
    load.check("Blue_50 of Istio mode, without Istio", HALF)?;

    let istio = Istio::up(cluster)?;
    let envoy = istio.gateway(80)?;
    await_models(cluster, envoy, &host)?;
    compare("Istio again", &answers(envoy, &host)?, expected)?;
    let mut load_of_istio = SplitLoad::start(cluster, envoy, &host)?;
    load_of_istio.check("Istio again", HALF)?;
    compare("Turnout beside it", &answers(turnout, &host)?, expected)?;
    load.check("Turnout beside it", HALF)?;
    recorded.ask("Istio again, and Turnout beside it", &[envoy, turnout])?;
    load.finish()?;
    way.next("gateway.enabled=false")?;
    load_of_istio.check("Istio alone", HALF)?;
    compare("Istio alone", &answers(envoy, &host)?, expected)?;
    load_of_istio.finish()?;
    way.end()
}

/// As an author of the document, who knows nothing of rollouts.
fn write_weights(scene: &Scene<'_>, rule: &str, weights: &Value) -> Result<()> {
    let routes = scene.routes()?;
    let rules = routes["spec"]["http"].as_array().context("there are no rules")?;
    let index = rules.iter().position(|it| it["name"] == rule).with_context(|| format!("there is no {rule}"))?;
    let write = |route: usize| {
        let path = format!("/spec/http/{index}/route/{route}/weight");
        json!({"op": "replace", "path": path, "value": weights[route]})
    };
    scene.change_routes(&json!([write(0), write(1)]))
}

/// Green's and blue's, as the document has them.
fn weights(scene: &Scene<'_>) -> Result<Value> {
    let mut routes = scene.routes()?;
    let route = &split(&mut routes)?["route"];
    Ok(json!([route[0]["weight"], route[1]["weight"]]))
}
