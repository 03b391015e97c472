//! The controller is killed in the middle of everything, and two of them run at once.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::scene::{ROLLOUT, STAGES, Scene};
use turnout_cluster::{Cluster, is_full, release};
use turnout_rollout::{Backend, Weights};

use crate::controller::{Controller, Recipe};

const GREEN: Weights = Weights { green: 100, blue: 0 };
/// The last moment after its start at which the controller is killed.
const LATEST_MS: u32 = 400;
/// A leader that is not one of ours.
const OTHER: &str = "somebody-else";
/// It renews so often: over twice the time that a lease lasts.
const RENEWALS: u32 = 16;
const RENEWAL_PAUSE: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_mins(2);

/// It is killed again and again from the first stage to the last, and whoever comes next goes on.
pub(crate) fn a_killed_controller_is_no_loss(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "crash", &[])?;
    let recipe = Recipe::take_over(cluster)?;
    let mut load = scene.load()?;
    // Many stages make many points at which something is half done; it is killed so often at least, each time some
    // milliseconds later than the last.
    let (steps, kills_wanted) = if is_full() { (20, 24) } else { (4, 8) };
    let steps: Vec<Value> = (1..steps).map(|step| json!({ "stage": format!("Blue_{}", step * 100 / steps) })).collect();
    cluster.patch(scene.namespace, "modelrollout", ROLLOUT, &json!({ "spec": { "steps": steps } }))?;
    scene.turnout(&["rollout", "start", ROLLOUT, "--revision", "r2", "--to", "Green_100"])?;

    let mut places = BTreeSet::new();
    let mut kills = 0;
    while kills < kills_wanted || !is_at(&scene, "Blue_Green")? {
        let controller = recipe.start("controller-0")?;
        thread::sleep(Duration::from_millis(u64::from((kills % kills_wanted) * LATEST_MS / kills_wanted)));
        controller.kill()?;
        kills += 1;
        ensure!(kills < 20 * kills_wanted, "it does not get on: {:#?}", scene.status()?);
        let status = scene.status()?;
        let stage = status.stage.map_or_else(|| "the beginning".to_owned(), |stage| stage.to_string());
        places.insert(status.moving_to.map_or_else(|| stage.clone(), |next| format!("{stage} to {next}")));
    }
    println!("killed {kills} times, at: {}", places.into_iter().collect::<Vec<_>>().join(", "));

    let last = recipe.start("controller-0")?;
    scene.wait_for("Blue_Green")?;
    scene.deploy("green", "r2")?;
    scene.wait_for("Green_100")?;
    load.check("Green_100", GREEN)?;
    load.finish()?;
    let status = scene.status()?;
    ensure!(status.stable_revision.as_deref() == Some("r2"), "{status:#?}");
    scene.wait_for_status("blue may be removed", |status| status.safe_to_remove == [Backend::Blue])?;
    last.kill()?;
    recipe.give_back()
}

fn is_at(scene: &Scene<'_>, stage: &str) -> Result<bool> {
    Ok(scene.status()?.stage.is_some_and(|reached| reached.to_string() == stage))
}

/// Of two only the one with the Lease acts; when it goes, the other does.
pub(crate) fn one_of_two_controllers_leads(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "leaders", &["controller.replicas=2"])?;
    let mut load = scene.load()?;
    scene.start("r2")?;
    for stage in &STAGES[1..3] {
        let before = await_leader(cluster, "")?;
        let pods = cluster.ready_pods(release::NAMESPACE, release::CONTROLLER_PODS)?;
        ensure!(pods.len() == 2 && pods.contains(&before), "{before} is not one of {pods:?}");
        cluster.kubectl(&["delete", "pod", &before, "--namespace", release::NAMESPACE, "--wait=false"])?;
        scene.promote_to(stage)?;
        let after = await_leader(cluster, &before)?;
        println!("{stage} was reached while {before} was deleted and {after} took over");
        cluster.wait_for_rollout(release::NAMESPACE, "deployment", release::CONTROLLER, DEADLINE)?;
    }
    load.check("Blue_100", Weights { green: 0, blue: 100 })?;
    load.finish()?;
    // One history, without a stage that was reached twice.
    let history: Vec<_> = scene.status()?.history.iter().map(|reached| reached.to.to_string()).collect();
    ensure!(history == STAGES[..3], "{history:?}");
    Ok(())
}

/// Somebody leads whose clock is an hour slow: by any clock but its own its record ended long ago. As long as it renews,
/// nobody else writes; once it stops, one of two controllers takes over.
pub(crate) fn a_wrong_clock_makes_no_second_leader(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "skew", &[])?;
    let recipe = Recipe::take_over(cluster)?;
    let before = scene.status()?;
    let an_hour = 3600;
    renew(cluster, an_hour + RENEWALS)?;
    let controllers = [recipe.start("controller-0")?, recipe.start("controller-1")?];
    scene.turnout(&["rollout", "start", ROLLOUT, "--revision", "r2"])?;
    for renewal in (0..RENEWALS).rev() {
        thread::sleep(RENEWAL_PAUSE);
        renew(cluster, an_hour + renewal)?;
    }
    ensure!(scene.status()? == before, "somebody has written: {:#?}", scene.status()?);
    scene.wait_for(STAGES[0])?;
    let leader = await_leader(cluster, OTHER)?;
    println!("after {RENEWALS} renewals {leader} leads");
    controllers.into_iter().try_for_each(Controller::kill)?;
    recipe.give_back()
}

/// Another leader's record, renewed so many seconds ago.
fn renew(cluster: &Cluster, seconds_ago: u32) -> Result<()> {
    let ago = format!("{seconds_ago} seconds ago");
    let time = cluster.exec(&["date", "--utc", "--date", &ago, "+%Y-%m-%dT%H:%M:%S.000000Z"])?;
    let spec = json!({ "holderIdentity": OTHER, "leaseDurationSeconds": 15, "renewTime": time.trim() });
    cluster.patch(release::NAMESPACE, "lease", release::CONTROLLER, &json!({ "spec": spec }))
}

/// Who leads, once it is somebody else than `before`.
fn await_leader(cluster: &Cluster, before: &str) -> Result<String> {
    cluster.wait_until("somebody leads", DEADLINE, || {
        let lease = cluster.get(release::NAMESPACE, "lease", release::CONTROLLER)?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        ensure!(!holder.is_empty() && holder != before, "the Lease is held by `{holder}`");
        Ok(holder.to_owned())
    })
}
