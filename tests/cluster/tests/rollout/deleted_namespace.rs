//! A governed namespace is deleted with all that is in it, a rollout on its way among it.

use std::time::Duration;

use anyhow::{Result, ensure};
use turnout_cluster::scene::{ROLLOUT, Scene};
use turnout_cluster::{Cluster, release};
use turnout_rollout::{ConditionStatus, ConditionType, Weights};

const GONE: &str = "deleted";
const DEADLINE: Duration = Duration::from_mins(2);

/// The rollout of the other namespace goes on and back as if nothing had happened, and the namespace goes.
pub(crate) fn a_deleted_namespace_is_no_other_ones_loss(cluster: &Cluster) -> Result<()> {
    let going = Scene::prepare(cluster, GONE)?;
    let scene = Scene::prepare(cluster, "kept")?;
    scene.write_documents(&format!("{}---\n{}", scene.routes(100, 0), going.routes(100, 0)))?;
    let scene = scene.begin(&[&format!("namespaces={{{GONE},kept}}")])?;
    cluster.apply(GONE, &going.rollout().to_string())?;
    going.advance_to("Blue_50")?;
    scene.advance_to("Blue_50")?;
    let mut load = scene.load()?;
    load.check("Blue_50", Weights { green: 50, blue: 50 })?;

    cluster.kubectl(&["delete", "namespace", GONE, "--wait=false"])?;
    cluster.wait_until("the rights in the namespace are gone", DEADLINE, || {
        let role = cluster.find(GONE, "role", &format!("{}-rollouts", release::CONTROLLER))?;
        ensure!(role.is_none(), "the Role is there");
        Ok(())
    })?;
    scene.promote_to("Blue_100")?;
    load.check("Blue_100", Weights { green: 0, blue: 100 })?;
    cluster.wait_until("the namespace is gone", DEADLINE, || {
        let namespace = cluster.find("default", "namespace", GONE)?;
        ensure!(namespace.is_none(), "{namespace:?}");
        Ok(())
    })?;
    scene.turnout(&["rollout", "rollback", ROLLOUT])?;
    scene.turnout(&["wait", ROLLOUT, "--stage", "Rollback", "--timeout", "60s"])?;
    load.check("rolled back", Weights { green: 100, blue: 0 })?;
    load.finish()?;
    let status = scene.status()?;
    let obstacle = status.condition(ConditionType::Operational);
    ensure!(obstacle.is_none_or(|condition| condition.status != ConditionStatus::False), "{obstacle:?}");
    Ok(())
}
