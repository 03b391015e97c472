//! Deployments without the label `turnout.dev/revision`, as they are before anybody has heard of Turnout: what they serve
//! is told by their images, and where these are the same, by nothing but the label.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use turnout_cluster::scene::{ROLLOUT, STAGES, Scene, name};
use turnout_cluster::{Cluster, Image, Model, SplitLoad};
use turnout_rollout::{Backend, Stage, Target, Weights};

const GREEN: Weights = Weights { green: 100, blue: 0 };
const HALF: Weights = Weights { green: 50, blue: 50 };
const NAMESPACE: &str = "unlabelled";
const DEADLINE: Duration = Duration::from_mins(2);

/// Green is at work and blue is there. The first rollout goes back and then through, the second one goes back.
pub(crate) fn images_tell_revisions_apart(cluster: &Cluster) -> Result<()> {
    let scene = Scene::without_models(cluster, NAMESPACE)?;
    put(&scene, &unlabelled(&scene, "green", Image::Model, "r1"))?;
    put(&scene, &unlabelled(&scene, "blue", Image::OtherModel, "r2"))?;
    let scene = scene.begin(&[])?;
    let mut load = scene.load()?;

    scene.advance_to("Blue_50")?;
    load.check("Blue_50", HALF)?;
    let before = scene.status()?.stable_revision.context("green has a revision")?;
    ensure!(before.starts_with("image-"), "{before}");
    roll_back(&scene, &mut load, &before)?;

    pass_all_stages(&scene, &mut load, &unlabelled(&scene, "green", Image::OtherModel, "r2"))?;
    ensure!(scene.status()?.previous_revision.as_ref() == Some(&before), "{:#?}", scene.status()?);

    // What ran before any rollout is rolled out by the name that it has.
    put(&scene, &unlabelled(&scene, "blue", Image::Model, "r1"))?;
    scene.start(&before)?;
    scene.promote_to("Blue_50")?;
    load.check("Blue_50 of the second rollout", HALF)?;
    roll_back(&scene, &mut load, "r2")?;
    serves(&scene, "green", "r2")?;
    load.finish()?;
    cluster.kubectl(&["delete", "modelrollout", ROLLOUT, "--namespace", NAMESPACE, "--timeout", "60s"]).map(drop)
}

/// The new revision differs from the old one by its arguments alone: no stage is skipped.
pub(crate) fn labels_tell_revisions_of_one_image_apart(cluster: &Cluster) -> Result<()> {
    let scene = Scene::without_models(cluster, NAMESPACE)?;
    put(&scene, &unlabelled(&scene, "green", Image::Model, "r1"))?;
    put(&scene, &scene.model("blue", "r2"))?;
    let scene = scene.begin(&[])?;
    let mut load = scene.load()?;
    pass_all_stages(&scene, &mut load, &scene.model("green", "r2"))?;

    put(&scene, &unlabelled(&scene, "blue", Image::Model, "r3"))?;
    scene.turnout(&["rollout", "start", ROLLOUT, "--revision", "r3"])?;
    scene.wait_for_status("it is said that blue lacks the label", |status| {
        status.message.contains("waiting for blue to serve revision r3")
            && status.message.contains("label turnout.dev/revision")
    })?;
    load.check("blue lacks the label", GREEN)?;
    scene.turnout_ends_with(1, &["rollout", "promote", ROLLOUT])?;
    let status = scene.status()?;
    ensure!(status.stage.is_none() && status.moving_to == Some(Target::Stage(Stage::BLUE_0)), "{status:#?}");
    load.finish()
}

fn unlabelled(scene: &Scene<'_>, backend: &str, image: Image, revision: &str) -> Model {
    Model { image, is_labelled: false, ..scene.model(backend, revision) }
}

/// Returns when all pods are those of this model.
fn put(scene: &Scene<'_>, model: &Model) -> Result<()> {
    scene.cluster.apply(scene.namespace, &model.deployment().to_string())?;
    scene.cluster.wait_for_rollout(scene.namespace, "deployment", &model.name, DEADLINE)
}

/// The rollout of `r2`; `green` is what replaces green at `Blue_Green`.
fn pass_all_stages(scene: &Scene<'_>, load: &mut SplitLoad<'_>, green: &Model) -> Result<()> {
    let before = scene.status()?.history.len();
    scene.advance_to("Blue_Green")?;
    put(scene, green)?;
    scene.wait_for_promotion()?;
    scene.promote_to("Green_100")?;
    load.check("Green_100", GREEN)?;
    serves(scene, "green", "r2")?;
    scene.wait_for_status("blue may be removed", |status| status.safe_to_remove == [Backend::Blue])?;
    let status = scene.status()?;
    let passed: Vec<_> = status.history[before..].iter().map(|transition| transition.to.to_string()).collect();
    ensure!(passed == STAGES && status.stable_revision.as_deref() == Some("r2"), "{status:#?}");
    Ok(())
}

fn roll_back(scene: &Scene<'_>, load: &mut SplitLoad<'_>, stable: &str) -> Result<()> {
    scene.turnout(&["rollout", "rollback", ROLLOUT])?;
    scene.turnout(&["wait", ROLLOUT, "--stage", "Rollback", "--timeout", "60s"])?;
    load.check("rolled back", GREEN)?;
    let status = scene.status()?;
    ensure!(status.stable_revision.as_deref() == Some(stable), "{status:#?}");
    Ok(())
}

fn serves(scene: &Scene<'_>, backend: &str, revision: &str) -> Result<()> {
    let answer = scene.score(Some(backend))?;
    ensure!(answer.header("x-revision") == Some(revision), "{} answers {answer:?}", name(backend));
    Ok(())
}
