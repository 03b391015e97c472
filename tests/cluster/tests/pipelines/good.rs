//! A good model, from each state in which teams begin.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use turnout_cluster::{Cluster, SplitLoad};
use turnout_rollout::Phase;

use crate::team::{BLUE, Built, CPU, GREEN, HALF, NOTHING, PORT, Team, WRONG, charts, finish};

const COMPLETE: [(&str, &str); 1] = [("Rollback", "Skipped")];

/// Each stage has its weights when it has ended, and blue answers who asks for it as long as it is there.
pub(crate) fn go_through(team: &Team<'_>, load: &mut SplitLoad<'_>, new: &Built) -> Result<()> {
    let mut of_blue = None;
    let ended = team.run(new, &[], |stage| {
        match stage {
            "Blue_50" => {
                load.check("Blue_0", GREEN)?;
                of_blue = Some(team.users_of_blue()?);
            }
            "Blue_100" => {
                load.check("Blue_50", HALF)?;
                blue_is_not_removed(team, new)?;
            }
            "Set_Production_Tag" => load.check("Blue_100", BLUE)?,
            "Green_100" => load.check("Blue_Green", BLUE)?,
            "Disable_blue" => {
                load.check("Green_100", GREEN)?;
                of_blue.take().map_or(Ok(()), finish)?;
            }
            _ => {}
        }
        Ok(true)
    })?;
    ended.is(&COMPLETE)?;
    team.is_over(load, new, Phase::Complete)
}

/// Whoever would remove it at Blue_50 is refused.
fn blue_is_not_removed(team: &Team<'_>, new: &Built) -> Result<()> {
    let before = team.cluster.get(team.namespace, "deployment", "model-blue")?;
    team.script(".pipelines/disable_blue.sh", new, &[("TURNOUT_TIMEOUT", "2s")], 3)?;
    let after = team.cluster.get(team.namespace, "deployment", "model-blue")?;
    ensure!(before["metadata"]["generation"] == after["metadata"]["generation"], "{after:#}");
    ensure!(team.releases()? == ["abtest-istio", "model-blue", "model-green"], "{:?}", team.releases()?);
    Ok(())
}

/// There is nobody else to answer.
pub(crate) fn a_first_model_needs_no_green(cluster: &Cluster) -> Result<()> {
    let team = Team::new(cluster, "first")?;
    let first = team.build("r1", PORT, NOTHING)?;
    let mut load = None;
    let ended = team.run(&first, &[], |stage| {
        if stage == "Blue_50" {
            load = Some(team.users(&[])?);
        }
        Ok(true)
    })?;
    ended.is(&COMPLETE)?;
    let mut load = load.context("Blue_50 was not asked for")?;
    team.is_over(&mut load, &first, Phase::Complete)?;
    load.finish()?;
    team.leave()
}

/// Its pods have the labels `app` and `model_version` alone. The next model, which listens elsewhere, fails once green has
/// it, and goes all the way back; the one after that is good.
pub(crate) fn a_model_of_the_sample_is_taken_over(cluster: &Cluster) -> Result<()> {
    let team = Team::new(cluster, "taken-over")?;
    let old = team.build("r1", PORT, NOTHING)?;
    team.begin_with(&chart_of_the_sample(&team)?, &old)?;
    // Who asks for green by its name meets pods at two ports while it is replaced.
    let mut load = team.users(&[])?;
    let (wrong, of_wrong) = (team.build("r2", PORT + 1, NOTHING)?, team.write_values("of-r2", CPU, PORT + 1)?);
    let settings = [["Blue_Staging", of_wrong.as_str()], ["Green_100", WRONG]];
    let ended = team.run(&wrong, &settings, |_| Ok(true))?;
    ended.is(&[("Green_100", "Failed"), ("Disable_blue", "Skipped")])?;
    team.is_over(&mut load, &old, Phase::Complete)?;
    load.finish()?;

    let mut load = team.users(&["green"])?;
    go_through(&team, &mut load, &team.build("r3", PORT, NOTHING)?)?;
    load.finish()?;
    team.leave()
}

/// `charts/abtest-model` with no more labels than the sample's pods have.
fn chart_of_the_sample(team: &Team<'_>) -> Result<PathBuf> {
    let copy = team.file("abtest-model");
    let copied = Command::new("cp").arg("-r").arg(charts().join("abtest-model")).arg(&copy).status()?;
    ensure!(copied.success(), "cp ended with {copied}");
    let deployment = copy.join("templates/deployment.yaml");
    let text = fs::read_to_string(&deployment)?;
    let labels = "include \"abtest-model.podLabels\"";
    ensure!(text.matches(labels).count() == 1, "pods have their labels from somewhere else");
    fs::write(deployment, text.replace(labels, "include \"abtest-model.selectorLabels\""))?;
    Ok(copy)
}
