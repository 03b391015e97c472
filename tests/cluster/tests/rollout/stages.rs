//! From the first stage to the last, and back from each of them, under load: no request fails, each stage has its split,
//! and every pin reaches its model.

use anyhow::{Result, ensure};
use turnout_cluster::scene::{ROLLOUT, STAGES, Scene};
use turnout_cluster::{Cluster, SplitLoad};
use turnout_rollout::{Backend, ConditionType, Weights};

const WEIGHTS: [Weights; 5] = [
    Weights { green: 100, blue: 0 },
    Weights { green: 50, blue: 50 },
    Weights { green: 0, blue: 100 },
    Weights { green: 0, blue: 100 },
    Weights { green: 100, blue: 0 },
];
const GREEN: Weights = WEIGHTS[0];
const BLUE: Weights = WEIGHTS[2];

pub(crate) fn five_stages_lose_no_request(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "stages", &[])?;
    let mut load = scene.load()?;
    load.check("before", GREEN)?;
    scene.start("r2")?;
    load.check(STAGES[0], WEIGHTS[0])?;
    for (stage, weights) in STAGES.into_iter().zip(WEIGHTS).skip(1) {
        if stage == "Green_100" {
            scene.deploy("green", "r2")?;
            scene.wait_for_promotion()?;
        }
        scene.promote_to(stage)?;
        load.check(stage, weights)?;
    }
    load.finish()?;

    scene.wait_for_status("blue may be removed", |status| status.safe_to_remove == [Backend::Blue])?;
    let status = scene.status()?;
    let revisions = (status.stable_revision.as_deref(), status.previous_revision.as_deref());
    ensure!(revisions == (Some("r2"), Some("r1")), "{status:#?}");
    let passed: Vec<_> = status.history.iter().map(|transition| transition.to.to_string()).collect();
    ensure!(passed == STAGES, "{passed:?}");
    ensure!(status.history.iter().all(|transition| transition.confirmed_by.len() == 2), "{status:#?}");
    let answer = scene.score(Some("green"))?;
    ensure!(answer.header("x-revision") == Some("r2"), "{answer:?}");
    Ok(())
}

pub(crate) fn a_rollback_from_each_stage_loses_no_request(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "rollback", &[])?;
    let mut load = scene.load()?;
    for (stage, weights) in STAGES[..4].iter().zip(WEIGHTS) {
        scene.advance_to(stage)?;
        load.check(stage, weights)?;
        roll_back(&scene, &mut load, &format!("rolled back from {stage}"))?;
    }

    // Green serves the new model already: the rollback holds on blue until the old one is back.
    scene.advance_to("Blue_Green")?;
    scene.deploy("green", "r2")?;
    scene.wait_for_promotion()?;
    scene.turnout(&["rollout", "rollback", ROLLOUT])?;
    scene.wait_for_status("it waits for the old model", |status| status.is(ConditionType::WaitingForStableImage))?;
    load.check("waiting for the old model", BLUE)?;
    scene.deploy("green", "r1")?;
    end_rollback(&scene, &mut load, "rolled back once green serves r1 again")?;
    load.finish()
}

fn roll_back(scene: &Scene<'_>, load: &mut SplitLoad<'_>, when: &str) -> Result<()> {
    scene.turnout(&["rollout", "rollback", ROLLOUT])?;
    end_rollback(scene, load, when)
}

fn end_rollback(scene: &Scene<'_>, load: &mut SplitLoad<'_>, when: &str) -> Result<()> {
    scene.turnout(&["wait", ROLLOUT, "--stage", "Rollback", "--timeout", "60s"])?;
    load.check(when, GREEN)?;
    let status = scene.status()?;
    ensure!(status.stable_revision.as_deref() == Some("r1"), "{status:#?}");
    ensure!(status.safe_to_remove == [Backend::Blue], "{status:#?}");
    Ok(())
}
