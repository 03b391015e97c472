//! A Service cannot be renamed: there is a new one, then the documents name it, and the rollout does so at last.

use anyhow::{Result, ensure};
use serde_json::json;
use turnout_cluster::Cluster;
use turnout_cluster::scene::{ROLLOUT, Scene, name};
use turnout_rollout::{ConditionStatus, ConditionType, Weights};

use crate::objects::published;

const GREEN: Weights = Weights { green: 100, blue: 0 };
const NEW_NAME: &str = "model-green";

/// Green serves everything, blue a revision that was rolled back, and the documents give all to blue.
pub(crate) fn a_renamed_service_changes_no_weight(cluster: &Cluster) -> Result<()> {
    let scene = Scene::set(cluster, "renamed", &[])?;
    scene.advance_to("Blue_50")?;
    scene.turnout(&["rollout", "rollback", ROLLOUT])?;
    scene.turnout(&["wait", ROLLOUT, "--stage", "Rollback", "--timeout", "60s"])?;
    let mut load = scene.load()?;
    let mut service = scene.model("green", "").service();
    service["metadata"]["name"] = json!(NEW_NAME);
    cluster.apply(scene.namespace, &service.to_string())?;
    scene.write_documents(&scene.routes(0, 100).replace(&name("green"), NEW_NAME))?;
    scene.wait_for_status("the rollout is refused", |status| {
        status.condition(ConditionType::Accepted).is_some_and(|one| one.status == ConditionStatus::False)
    })?;
    load.check("the documents have the new name", GREEN)?;

    let spec = json!({ "spec": { "green": { "host": NEW_NAME } } });
    cluster.patch(scene.namespace, "modelrollout", ROLLOUT, &spec)?;
    scene.wait_for_status("gateways have the new name", |status| {
        status.is(ConditionType::Accepted) && status.is(ConditionType::Confirmed) && status.weights == Some(GREEN)
    })?;
    ensure!(published(cluster)?.contains(NEW_NAME), "the new name is not published");
    load.check("the rollout has the new name", GREEN)?;
    let all = load.end()?;
    ensure!(all.failed == 0 && !all.by_backend.contains_key("blue"), "{all:#?}");
    Ok(())
}
