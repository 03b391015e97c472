//! The sample itself: `scoring-b` takes over from `scoring-a` in five stages, by the sample's command lines.

use anyhow::{Result, ensure};
use turnout_cluster::{Cluster, SplitLoad, release};
use turnout_rollout::Weights;

use crate::scene::Models;

pub(crate) const GREEN: Weights = Weights { green: 100, blue: 0 };
pub(crate) const HALF: Weights = Weights { green: 50, blue: 50 };
pub(crate) const BLUE: Weights = Weights { green: 0, blue: 100 };
const A: &str = "\"New Model A\"";
const B: &str = "\"New Model B\"";

pub(crate) fn scoring_b_takes_over_from_scoring_a(cluster: &Cluster) -> Result<()> {
    let models = Models::set(cluster, "abtesting", "scoring-a", &[])?;
    let mut load = models.load("{}")?;
    load.check("only green is there", GREEN)?;
    models.load_test(None, A)?;
    models.deploy("blue", "scoring-b", &[])?;
    let revision = models.registry.revision("scoring-b")?;
    models.rollout(&["start", "--revision", &revision])?;
    models.await_that(&["--ready", "blue"])?;
    both_answer(&models, &mut load, "Blue_0", GREEN)?;
    models.rollout(&["promote"])?;
    both_answer(&models, &mut load, "Blue_50", HALF)?;
    cluster.helm(&["test", release::NAME, "--namespace", release::NAMESPACE])?;
    models.rollout(&["promote"])?;
    both_answer(&models, &mut load, "Blue_100", BLUE)?;
    models.rollout(&["promote"])?;
    both_answer(&models, &mut load, "Blue_Green", BLUE)?;
    models.deploy("green", "scoring-b", &[])?;
    models.await_that(&["--ready", "green"])?;
    models.rollout(&["promote"])?;
    load.check("Green_100", GREEN)?;
    models.load_test(None, B)?;
    models.remove_blue()?;
    load.check("blue is removed", GREEN)?;
    load.finish()?;
    let status = models.scene.status()?;
    ensure!(status.stable_revision.as_deref() == Some(revision.as_str()), "{status:#?}");
    Ok(())
}

fn both_answer(models: &Models<'_>, load: &mut SplitLoad<'_>, stage: &str, weights: Weights) -> Result<()> {
    load.check(stage, weights)?;
    models.load_test(Some("green"), A)?;
    models.load_test(Some("blue"), B)
}
