//! Flagger raises a canary's weight as long as its built-in Istio metrics are good: a good version is promoted, and one
//! that is too slow goes back.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::{Cluster, Driver};
use turnout_rollout::Weights;

use crate::prometheus;
use crate::scene::{DEADLINE, GATEWAY, MODEL, Scene, install, model};

const FLAGGER: &str = "flagger";
/// Where its manifests put it.
const NAMESPACE: &str = "default";
/// What it takes for too slow, and a model that is.
const SLOWEST_MS: u32 = 1000;
const SLOW_MS: u32 = 2000;

pub(crate) fn promotes_and_rolls_back(cluster: &Cluster) -> Result<()> {
    prometheus::install(cluster, NAMESPACE)?;
    install(cluster, Driver::Flagger, NAMESPACE, FLAGGER, &container())?;
    let scene = Scene::new(cluster, "flagger-metrics")?;
    scene.apply(&model("green", 0))?;
    scene.apply(&canary(&scene))?;
    await_phase(&scene, "Initialized")?;
    let mut load = scene.load()?;
    load.settle("green alone", Weights { green: 100, blue: 0 })?;

    scene.apply(&model("blue", 0))?;
    await_weight(&scene, 25)?;
    suspend(&scene, true)?;
    load.settle("a quarter", Weights { green: 75, blue: 25 })?;
    suspend(&scene, false)?;
    await_weight(&scene, 50)?;
    suspend(&scene, true)?;
    load.settle("a half", Weights { green: 50, blue: 50 })?;
    suspend(&scene, false)?;
    await_phase(&scene, "Succeeded")?;
    load.settle("promoted", Weights { green: 0, blue: 100 })?;
    scene.await_departure()?;
    load.check("the canary is gone", Weights { green: 0, blue: 100 })?;

    // Too slow, but no request fails by it.
    scene.apply(&model("green", SLOW_MS))?;
    await_weight(&scene, 25)?;
    await_phase(&scene, "Failed")?;
    load.settle("rolled back", Weights { green: 0, blue: 100 })?;
    scene.await_departure()?;
    load.check("the bad version is gone", Weights { green: 0, blue: 100 })?;
    load.finish()?;
    check_events(&scene)?;
    scene.leave()
}

/// Its own probes run a program that its image here lacks.
fn container() -> Value {
    let probe = json!({ "exec": null, "httpGet": { "path": "/healthz", "port": "http" } });
    json!({
        "command": ["/flagger", "-log-level=info", format!("-metrics-server={}", prometheus::url(NAMESPACE))],
        "livenessProbe": probe,
        "readinessProbe": probe,
    })
}

fn canary(scene: &Scene<'_>) -> Value {
    let metric = |name: &str, range: Value| json!({ "name": name, "thresholdRange": range, "interval": "10s" });
    json!({
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": { "name": MODEL },
        "spec": {
            "provider": "istio",
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": MODEL },
            "service": {
                "port": 80,
                "targetPort": turnout_cluster::PORT,
                "gateways": [GATEWAY],
                "hosts": [scene.host()],
            },
            "analysis": {
                "interval": "10s",
                // It counts as a failure that nothing is measured yet, for as long as DNS does not tell of the pods.
                "threshold": 6,
                "stepWeight": 25,
                "maxWeight": 50,
                "metrics": [
                    metric("request-success-rate", json!({ "min": 99 })),
                    metric("request-duration", json!({ "max": SLOWEST_MS })),
                ],
            },
        },
    })
}

fn await_phase(scene: &Scene<'_>, phase: &str) -> Result<()> {
    scene.await_status("canary", &format!("the canary is {phase}"), |status| status["phase"] == phase)
}

fn await_weight(scene: &Scene<'_>, weight: u32) -> Result<()> {
    scene.await_status("canary", &format!("the canary has {weight} %"), |status| status["canaryWeight"] == weight)
}

/// Lets the weight stay as it is for as long as it is looked at.
fn suspend(scene: &Scene<'_>, is_suspended: bool) -> Result<()> {
    scene.cluster.patch(scene.namespace, "canary", MODEL, &json!({ "spec": { "suspend": is_suspended } }))
}

/// The slow version went back because it was measured to be slow; the good one went to its end.
fn check_events(scene: &Scene<'_>) -> Result<()> {
    let says = |text: &str| -> Result<bool> {
        let events = scene.cluster.list(scene.namespace, "events", "")?;
        Ok(events.iter().any(|event| event["message"].as_str().is_some_and(|message| message.contains(text))))
    };
    scene.cluster.wait_until("events tell of the slow version", DEADLINE, || {
        ensure!(says("advancement request duration")?, "no event says that it was too slow");
        ensure!(says("Promotion completed")?, "no event tells of a promotion");
        Ok(())
    })
}
