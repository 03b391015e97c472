//! A model that fails at a stage: whatever its way back is, green is what it was, and blue has gone.

use anyhow::{Context as _, Result};
use turnout_cluster::{Cluster, SplitLoad, is_full};
use turnout_rollout::Phase;

use crate::team::{Built, NOTHING, PORT, Team, WRONG, charts, finish};

/// As helm is left by a run that is cancelled: nothing is written any more about what it had begun.
const KILLED: &str = "case $1 in upgrade) exec timeout --signal KILL 12 helm \"$@\" ;; *) exec helm \"$@\" ;; esac";
/// Nobody waits for what does not come, but at the stage where it does not.
const BRIEF: &str = "TURNOUT_TIMEOUT=20s";
const PATIENT: &str = "TURNOUT_TIMEOUT=3m";
const STAGES: [&str; 5] = ["Blue_Staging", "Blue_50", "Blue_100", "Set_Production_Tag", "Green_100"];
/// Of wrong answers the gate takes this one, and the last of the ways back is that of a model of the sample.
const IN_THE_GATE: &str = "Blue_50";

pub(crate) fn a_failing_model_goes_back_from_every_stage(cluster: &Cluster) -> Result<()> {
    let team = Team::new(cluster, "failing")?;
    let (old, new) = (team.build("r1", PORT, NOTHING)?, team.build("r2", PORT, NOTHING)?);
    let stuck = team.build("r3", PORT, ("MODEL_STARTUP_MS", "3600000"))?;
    let large = team.write_values("large", "1000", PORT)?;
    let killed = team.write_program("killed", KILLED)?;
    team.begin_with(&charts().join("abtest-model"), &old)?;
    let mut load = team.users(&["green"])?;
    let mut fail = |at: &str, failing: &Built, settings: &[&str]| {
        println!("{} fails at {at}", failing.revision);
        go_back(&team, &mut load, &old, at, failing, settings)
    };

    // It is never loaded, or there is no room for it as green; and whoever waits for that is told so, or killed.
    fail("Blue_Staging", &stuck, &[BRIEF])?;
    fail("Set_Production_Tag", &new, &[&killed, &large])?;
    if is_full() {
        fail("Blue_Staging", &stuck, &[&killed])?;
        fail("Set_Production_Tag", &new, &[BRIEF, &large])?;
    }
    for stage in STAGES.into_iter().filter(|stage| is_full() || *stage == IN_THE_GATE) {
        fail(stage, &new, &[WRONG])?;
    }
    if !is_full() {
        println!("left to the long run: wrong answers at the other stages, and the two failures each in the other way");
    }
    load.finish()?;
    team.leave()
}

fn go_back(
    team: &Team<'_>,
    load: &mut SplitLoad<'_>,
    old: &Built,
    at: &str,
    failing: &Built,
    settings: &[&str],
) -> Result<()> {
    let settings: Vec<[&str; 2]> = settings
        .iter()
        .map(|setting| [at, setting])
        .chain([["Rollback", PATIENT], ["Rollback", "HELM=helm"]])
        .collect();
    let mut of_blue = None;
    let ended = team.run(failing, &settings, |stage| {
        match stage {
            "Blue_50" => of_blue = Some(team.users_of_blue()?),
            "Rollback" => of_blue.take().map_or(Ok(()), finish)?,
            _ => {}
        }
        Ok(true)
    })?;
    let after = STAGES.iter().skip_while(|stage| **stage != at).skip(1).map(|stage| (*stage, "Skipped"));
    let others: Vec<_> = after.chain([(at, "Failed"), ("Disable_blue", "Skipped")]).collect();
    ended.is(&others)?;
    let phase = if at == "Green_100" { Phase::Complete } else { Phase::RolledBack };
    team.is_over(load, old, phase).with_context(|| format!("{} has failed at {at}", failing.revision))
}
