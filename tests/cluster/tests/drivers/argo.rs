//! Argo Rollouts walks a canary through its steps, twice: one is promoted, the other aborted at its last step.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::{Cluster, Driver, SplitLoad};
use turnout_rollout::Weights;

use crate::scene::{DEADLINE, GATEWAY, MODEL, Scene, install, model};

/// The name of the controller, its namespace and its Deployment.
const ARGO: &str = "argo-rollouts";
/// The rule of the VirtualService whose weights it moves.
const SPLIT: &str = "split";
/// The rule that it adds before that one, and removes.
const PICKED: &str = "picked";
/// The steps at which it waits for a person; see [`steps`].
const FIRST_PAUSE: u64 = 1;
const LAST_PAUSE: u64 = 4;

pub(crate) fn drives_two_services(cluster: &Cluster) -> Result<()> {
    let [stable, canary] = ["model-stable", "model-canary"];
    let destinations = json!([{ "destination": { "host": stable } }, { "destination": { "host": canary } }]);
    let scene = set(cluster, "argo-services", &destinations, &[stable, canary])?;
    let canary = json!({
        "stableService": stable,
        "canaryService": canary,
        "trafficRouting": traffic_routing(&json!({})),
    });
    walk(scene, &canary)
}

pub(crate) fn drives_two_subsets(cluster: &Cluster) -> Result<()> {
    let destination = |subset: &str| json!({ "destination": { "host": MODEL, "subset": subset } });
    let destinations = json!([destination("stable"), destination("canary")]);
    let scene = set(cluster, "argo-subsets", &destinations, &[MODEL])?;
    let subset = |name: &str| json!({ "name": name, "labels": { "app": MODEL } });
    scene.apply(&json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": { "name": MODEL },
        "spec": { "host": MODEL, "subsets": [subset("stable"), subset("canary")] },
    }))?;
    let rule = json!({ "name": MODEL, "stableSubsetName": "stable", "canarySubsetName": "canary" });
    walk(scene, &json!({ "trafficRouting": traffic_routing(&json!({ "destinationRule": rule })) }))
}

/// The controller, the Services, and a VirtualService that gives everything to the first of two destinations.
fn set<'cluster>(
    cluster: &'cluster Cluster,
    namespace: &'static str,
    destinations: &Value,
    services: &[&str],
) -> Result<Scene<'cluster>> {
    install(cluster, Driver::ArgoRollouts, ARGO, ARGO, &json!({}))?;
    let scene = Scene::new(cluster, namespace)?;
    for service in services {
        scene.apply(&json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": service },
            "spec": {
                "selector": { "app": MODEL },
                "ports": [{ "name": "http", "port": 80, "targetPort": turnout_cluster::PORT }],
            },
        }))?;
    }
    let mut destinations = destinations.clone();
    (destinations[0]["weight"], destinations[1]["weight"]) = (json!(100), json!(0));
    scene.apply(&json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": { "name": MODEL },
        "spec": {
            "hosts": [scene.host()],
            "gateways": [GATEWAY],
            "http": [{ "name": SPLIT, "route": destinations }],
        },
    }))?;
    Ok(scene)
}

fn traffic_routing(more: &Value) -> Value {
    let mut istio = more.clone();
    istio["virtualService"] = json!({ "name": MODEL, "routes": [SPLIT] });
    json!({ "managedRoutes": [{ "name": PICKED }], "istio": istio })
}

fn steps() -> Value {
    let asks_for_blue = json!([{ "headerName": "x-api-version", "headerValue": { "exact": "blue" } }]);
    json!([
        { "setWeight": 20 },
        { "pause": {} },
        { "setWeight": 50 },
        { "setHeaderRoute": { "name": PICKED, "match": asks_for_blue } },
        { "pause": {} },
    ])
}

fn walk(scene: Scene<'_>, canary: &Value) -> Result<()> {
    let mut canary = canary.clone();
    canary["steps"] = steps();
    deploy(&scene, "green", &canary)?;
    scene.await_status("rollout", "green is stable", is_stable)?;
    let mut load = scene.load()?;
    load.settle("green alone", Weights { green: 100, blue: 0 })?;

    deploy(&scene, "blue", &canary)?;
    await_pause(&scene, FIRST_PAUSE)?;
    load.settle("setWeight 20", Weights { green: 80, blue: 20 })?;
    promote(&scene)?;
    await_pause(&scene, LAST_PAUSE)?;
    load.settle("setWeight 50", Weights { green: 50, blue: 50 })?;
    scene.await_header_route("setHeaderRoute", "blue")?;
    promote(&scene)?;
    scene.await_status("rollout", "blue is stable", is_stable)?;
    load.settle("promoted", Weights { green: 0, blue: 100 })?;
    await_no_header_route(&scene)?;
    scene.await_departure()?;
    load.check("green is gone", Weights { green: 0, blue: 100 })?;

    deploy(&scene, "green", &canary)?;
    await_pause(&scene, FIRST_PAUSE)?;
    load.settle("the next canary", Weights { green: 20, blue: 80 })?;
    promote(&scene)?;
    await_pause(&scene, LAST_PAUSE)?;
    load.settle("the next canary at 50", Weights { green: 50, blue: 50 })?;
    scene.await_header_route("the next canary", "green")?;
    abort(&scene, &mut load)?;
    scene.await_departure()?;
    load.check("the canary is gone", Weights { green: 0, blue: 100 })?;
    load.finish()?;
    scene.leave()
}

/// Makes this version the one that is wanted.
fn deploy(scene: &Scene<'_>, version: &str, canary: &Value) -> Result<()> {
    let mut rollout = model(version, 0);
    rollout["apiVersion"] = json!("argoproj.io/v1alpha1");
    rollout["kind"] = json!("Rollout");
    rollout["spec"]["strategy"] = json!({ "canary": canary });
    scene.apply(&rollout)
}

fn await_pause(scene: &Scene<'_>, step: u64) -> Result<()> {
    scene.await_status("rollout", &format!("it pauses at step {step}"), |status| {
        status["currentStepIndex"] == step && status["pauseConditions"].is_array()
    })
}

/// As `kubectl argo rollouts promote` does.
fn promote(scene: &Scene<'_>) -> Result<()> {
    patch_status(scene, &json!({ "pauseConditions": null }))
}

/// As `kubectl argo rollouts abort` does.
fn abort(scene: &Scene<'_>, load: &mut SplitLoad<'_>) -> Result<()> {
    patch_status(scene, &json!({ "abort": true }))?;
    load.settle("aborted", Weights { green: 0, blue: 100 })?;
    scene.await_header_route("aborted", "blue")?;
    await_no_header_route(scene)?;
    scene.await_status("rollout", "it is aborted", |status| status["phase"] == "Degraded" && status["abort"] == true)
}

fn patch_status(scene: &Scene<'_>, status: &Value) -> Result<()> {
    let patch = json!({ "status": status }).to_string();
    let namespace = ["--namespace", scene.namespace];
    let words = ["patch", "rollout", MODEL, "--subresource", "status", "--type", "merge", "--patch", &patch];
    scene.cluster.kubectl(&[words.as_slice(), &namespace].concat()).map(drop)
}

fn is_stable(status: &Value) -> bool {
    status["phase"] == "Healthy" && status["stableRS"].is_string() && status["stableRS"] == status["currentPodHash"]
}

/// Returns when the rule for the header is gone from the VirtualService.
fn await_no_header_route(scene: &Scene<'_>) -> Result<()> {
    scene.cluster.wait_until("the rule for the header is gone", DEADLINE, || {
        let rules = scene.cluster.get(scene.namespace, "virtualservice", MODEL)?["spec"]["http"].take();
        ensure!(rules.as_array().is_some_and(|rules| rules.len() == 1), "{rules}");
        Ok(())
    })
}
