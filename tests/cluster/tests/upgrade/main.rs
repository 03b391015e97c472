//! From the release before to this one by README's command, under load, with rollouts under way: whatever the new release
//! makes of what the former one wrote, no request is lost and no weight moves before somebody says so.

mod scene;

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use turnout_cluster::readme::{self, Readme};
use turnout_cluster::scene::ROLLOUT;
use turnout_cluster::{Cluster, Former, Image, Options, Scene, Suite, release};
use turnout_rollout::{Backend, ConditionType, Phase, RolloutStatus, Stage, Target, WaitReason, Weights};

use scene::Rollouts;

const GREEN: Weights = Weights { green: 100, blue: 0 };
const HALF: Weights = Weights { green: 50, blue: 50 };
const CHECK: [&str; 3] = ["check", "--gateway-namespace", release::NAMESPACE];
const SECTION: &str = "### Upgrading";

fn main() -> ExitCode {
    Suite::new("upgrade", Options { images: Image::OWN.to_vec(), ..Options::default() })
        .of_the_long_run()
        .node_case("an_upgrade_moves_no_weight", an_upgrade_moves_no_weight)
        .run()
}

fn an_upgrade_moves_no_weight(cluster: &Cluster) -> Result<()> {
    let all = Rollouts::begin(cluster, &Former::load(cluster)?)?;
    let (mut load, mut managed) = (all.gated.load()?, all.managed_load()?);
    let before = all.models()?;
    load.check("before the upgrade", HALF)?;
    upgrade(cluster)?;
    all.await_new_pods()?;
    load.check("after the upgrade", HALF)?;
    managed.check("managed, after the upgrade", HALF)?;
    all.each().into_iter().try_for_each(is_taken_up)?;
    load.check("once it is taken up", HALF)?;
    managed.check("managed, once it is taken up", HALF)?;
    let made: Vec<_> = all.models()?.difference(&before).cloned().collect();
    ensure!(made.is_empty(), "models were replaced: by {made:?}");

    says_what_to_write(&all.gated)?;
    goes_back(&all.refused)?;
    goes_on_by_steps(&all.gated)?;
    load.check("Blue_50 by steps", HALF)?;
    go_to_the_end(&all.gated)?;
    load.check("Green_100", GREEN)?;
    load.finish()?;

    // A promotion says that the target is meant.
    all.managed.turnout(&["rollout", "promote", ROLLOUT])?;
    all.managed.wait_for("Green_100")?;
    managed.check("managed, Green_100", GREEN)?;
    managed.finish()?;
    begins_anew(&all.complete)
}

/// By the commands of README; where models are managed, with the value that it names besides.
fn upgrade(cluster: &Cluster) -> Result<()> {
    let (readme, folder) = (Readme::read()?, tempfile::tempdir()?);
    readme.write_files(folder.path())?;
    let commands = readme.commands(SECTION)?;
    let [command] = commands.as_slice() else { anyhow::bail!("README upgrades by {commands:#?}") };
    let refused = readme::run(cluster, folder.path(), command).err().context("managedWorkloads.enabled is taken")?;
    let said = format!("{refused:#}");
    ensure!(said.contains("managedWorkloads.namespaces has taken its place"), "{said}");
    let values = "--set managedWorkloads.enabled=null --set 'managedWorkloads.namespaces={abtesting}'";
    ensure!(readme.text().contains(values), "README does not say {values}");
    let values = values.replace("abtesting", scene::MANAGED);
    readme::run(cluster, folder.path(), &format!("{command} {values}")).map(drop)
}

/// The new controller has answered, and the rollout is where it was.
fn is_taken_up(scene: &Scene<'_>) -> Result<()> {
    let is_complete = scene.namespace == scene::COMPLETE;
    let (phase, weights) = match scene.namespace {
        scene::COMPLETE => (Phase::Complete, GREEN),
        scene::MANAGED => (Phase::Holding, HALF),
        _ => (Phase::Invalid, HALF),
    };
    scene.wait_for_status(&format!("{} is taken up", scene.namespace), |status| {
        let is_answered = status.condition(ConditionType::Ready).is_some();
        let stage = if is_complete { Stage::Green100 } else { Stage::BLUE_50 };
        let is_there = status.stage == Some(Target::Stage(stage)) && status.moving_to.is_none();
        is_answered && is_there && status.phase == phase && status.weights == Some(weights)
    })
}

/// To whoever looks, and to whoever wants to go on.
fn says_what_to_write(scene: &Scene<'_>) -> Result<()> {
    for verb in [&["rollout", "status", ROLLOUT] as &[&str], &["rollout", "promote", ROLLOUT], &CHECK] {
        let ran = scene.run_turnout(verb)?;
        let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        ensure!(ran.status.code() == Some(1), "{verb:?} ended with {}: {said}", ran.status);
        for field in ["spec.stages", "spec.gates"] {
            ensure!(said.contains(&format!("{field}: was replaced by spec.steps, as [{{stage:")), "{verb:?}: {said}");
        }
    }
    Ok(())
}

/// With a spec that is refused.
fn goes_back(scene: &Scene<'_>) -> Result<()> {
    scene.turnout(&["rollout", "rollback", ROLLOUT])?;
    scene.turnout(&["wait", ROLLOUT, "--stage", "Rollback", "--timeout", "60s"])?;
    scene.wait_for_status("blue may be removed", |status: &RolloutStatus| {
        status.weights == Some(GREEN) && status.safe_to_remove == [Backend::Blue]
    })
}

/// As its author does it: by the manifest, in which steps take the place of what is refused.
fn goes_on_by_steps(scene: &Scene<'_>) -> Result<()> {
    let mut rollout = scene::of(scene);
    rollout["spec"]["steps"] = json!([{ "stage": "Blue_10", "require": [{ "pause": "1s" }] }, { "stage": "Blue_50" }]);
    scene.cluster.apply(scene.namespace, &rollout.to_string())?;
    scene.wait_for_status("it waits for a promotion", |status| {
        let reason = status.waiting.as_ref().map(|waiting| waiting.reason);
        status.is(ConditionType::Accepted) && reason == Some(WaitReason::Promotion)
    })
}

fn go_to_the_end(scene: &Scene<'_>) -> Result<()> {
    for stage in ["Blue_100", "Blue_Green"] {
        scene.promote_to(stage)?;
    }
    scene.deploy("green", "r2")?;
    scene.wait_for_promotion()?;
    scene.promote_to("Green_100")
}

/// The next revision, by the rules of this release.
fn begins_anew(scene: &Scene<'_>) -> Result<()> {
    scene.deploy("blue", "r3")?;
    scene.start("r3")?;
    scene.promote_to("Blue_50")?;
    scene.wait_for_promotion()
}
