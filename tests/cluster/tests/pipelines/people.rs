//! What people decide meanwhile: an approval that is not given, and another run that takes over.

use anyhow::{Result, ensure};
use turnout_cluster::Cluster;
use turnout_rollout::{Phase, Stage, Target};

use crate::good::go_through;
use crate::team::{GREEN, HALF, NOTHING, PORT, Team, charts};

pub(crate) fn what_people_decide_holds(cluster: &Cluster) -> Result<()> {
    let team = Team::new(cluster, "people")?;
    let [old, first, second] = ["r1", "r2", "r3"].map(|revision| team.build(revision, PORT, NOTHING));
    let (old, first, second) = (old?, first?, second?);
    team.begin_with(&charts().join("abtest-model"), &old)?;
    let mut load = team.users(&["green"])?;

    let ended = team.run(&first, &[], |stage| Ok(stage != "Blue_50"))?;
    let never = ["Blue_50", "Blue_100", "Set_Production_Tag", "Green_100", "Disable_blue"];
    ended.is(&never.map(|stage| (stage, "Skipped")))?;
    team.is_over(&mut load, &old, Phase::RolledBack)?;

    // Another run begins while this one waits for the approval of Blue_100: this one changes nothing any more.
    let ended = team.run(&first, &[], |stage| {
        if stage == "Blue_100" {
            load.check("Blue_50", HALF)?;
            team.script(".pipelines/stage_blue.sh", &second, &[], 0)?;
        }
        Ok(true)
    })?;
    let never = ["Set_Production_Tag", "Green_100", "Disable_blue"];
    ended.is(&[[("Blue_100", "Failed")].as_slice(), &never.map(|stage| (stage, "Skipped"))].concat())?;
    ended.says("it has been superseded")?;
    ended.says("blue stays: ")?;
    let status = team.rollout()?.status;
    ensure!(status.stage == Some(Target::Stage(Stage::BLUE_0)), "{status:#?}");
    ensure!(team.releases()? == ["abtest-istio", "model-blue", "model-green"], "{:?}", team.releases()?);
    load.check("of the second run", GREEN)?;

    // That one goes on from where it is.
    go_through(&team, &mut load, &second)?;
    load.finish()?;
    team.leave()
}
