//! Requests that are pinned to green never end: a rollout that waited for them would go on for ever.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::scene::{PRE_STOP_SECONDS, STAGES, Scene};
use turnout_cluster::{Cluster, LoadProcess, LoadSpec, RequestKind};

use crate::managed::{await_deployments, await_revision, begin, roll_out, template};

/// So many are always in flight: each takes 300 ms, and the next one follows at once.
const CONNECTIONS: usize = 16;

/// Green is replaced and blue is removed meanwhile.
pub(crate) fn pins_at_full_load_keep_nothing_back(cluster: &Cluster) -> Result<()> {
    let scene = begin(cluster, "pins", slow("r1"))?;
    let mut load = start(&scene)?;
    roll_out(&scene, "r2", &slow("r2"))?;
    for stage in &STAGES[1..] {
        if *stage == "Green_100" {
            scene.wait_for_promotion()?;
            await_revision(&scene, "r2")?;
        }
        scene.promote_to(stage)?;
    }
    await_deployments(&scene, &["green"])?;
    let seen = load.so_far()?;
    load.wait_for(seen.sent + 200)?;
    let report = load.finish()?;
    println!("in all: {} of {} failed, {:?}", report.failed, report.sent, report.kinds);
    ensure!(report.failed == 0 && report.pins_wrong == 0, "{report:#?}");
    Ok(())
}

/// Three in four are pinned to green, and any model may answer the fourth.
fn start(scene: &Scene<'_>) -> Result<LoadProcess> {
    let pin = RequestKind::pinned("green", "x-api-version", "green").share(3).host(&scene.host());
    let spec = LoadSpec::new(scene.gateway).with(RequestKind::split().share(1).host(&scene.host())).with(pin);
    LoadProcess::start(scene.cluster, &LoadSpec { connections: CONNECTIONS, ..spec })
}

fn slow(revision: &str) -> Value {
    let mut template = template(revision);
    let container = &mut template["spec"]["containers"][0];
    container["lifecycle"]["preStop"]["sleep"]["seconds"] = json!(PRE_STOP_SECONDS);
    if let Some(environment) = container["env"].as_array_mut() {
        environment.push(json!({ "name": "MODEL_DELAY_MS", "value": "300" }));
    }
    template
}
