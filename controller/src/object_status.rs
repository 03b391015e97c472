//! What the author of a VirtualService, DestinationRule, Gateway or ServiceEntry object is told in its status: whether
//! the routes take it, and if not, why, in the words of `turnout lint`. The condition has a name of its own, so that
//! what Istio writes there stays.

use crate::documents::Verdict;
use crate::kube_api::{ApiError, istio_kind, title};
use crate::names::FIELD_MANAGER;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use turnout_rollout::Timestamp;

/// The type of the condition.
pub const CONDITION: &str = "turnout.dev/Accepted";

/// Writes the condition if it says something else. Returns whether it did.
pub async fn write(client: &Client, verdict: &Verdict, now: Timestamp) -> Result<bool, ApiError> {
    let Some(conditions) = next_conditions(verdict, now) else { return Ok(false) };
    write_conditions(client, &verdict.object, conditions).await?;
    Ok(true)
}

/// Takes the condition away, if it is there.
pub async fn remove(client: &Client, object: &DynamicObject) -> Result<bool, ApiError> {
    let all = conditions(object);
    let others: Vec<Value> = all.iter().filter(|one| one["type"] != CONDITION).cloned().collect();
    if others.len() == all.len() {
        return Ok(false);
    }
    write_conditions(client, object, others).await?;
    Ok(true)
}

async fn write_conditions(client: &Client, object: &DynamicObject, conditions: Vec<Value>) -> Result<(), ApiError> {
    let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
    let Some((_, plural)) = crate::documents::KINDS.iter().find(|(known, _)| *known == kind) else { return Ok(()) };
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &istio_kind(&kind, plural));
    let patch = Patch::Merge(json!({
        "metadata": { "resourceVersion": object.resource_version() },
        "status": { "conditions": conditions },
    }));
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let written = api.patch_status(&object.name_any(), &parameters, &patch).await;
    written.map_err(ApiError::of("patch", format!("{plural}/status of {}", title(object))))?;
    Ok(())
}

fn conditions(object: &DynamicObject) -> Vec<Value> {
    let listed = object.data.get("status").and_then(|status| status.get("conditions"));
    listed.and_then(Value::as_array).cloned().unwrap_or_default()
}

/// All conditions with ours as it should be; none if it is so already. An object that was never refused is not written
/// to: nobody needs to be told that all is well, and GitOps tools compare what they applied.
fn next_conditions(verdict: &Verdict, now: Timestamp) -> Option<Vec<Value>> {
    let mut all = conditions(&verdict.object);
    let former = all.iter().position(|condition| condition["type"] == CONDITION);
    let (status, reason, message) = match &verdict.problem {
        Some(problem) => ("False", "Refused", problem.as_str()),
        None => ("True", "Accepted", "the routes take it"),
    };
    let is_same = |former: &Value| former["status"] == status && former["message"] == message;
    match former {
        Some(index) if is_same(&all[index]) => return None,
        None if verdict.problem.is_none() => return None,
        _ => {}
    }
    let kept = former.map(|index| all.remove(index)).filter(|former| former["status"] == status);
    let since = kept.map_or_else(|| json!(now), |former| former["lastTransitionTime"].clone());
    all.push(json!({
        "type": CONDITION,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
    }));
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(conditions: &Value, problem: Option<&str>) -> Verdict {
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "model", "namespace": "abtesting"},
            "status": {"conditions": conditions},
        });
        Verdict { object: serde_json::from_value(object).expect("an object"), problem: problem.map(str::to_owned) }
    }

    #[test]
    fn the_condition_is_written_only_when_it_changes_and_others_stay() {
        let istios = json!({"type": "Reconciled", "status": "True"});
        let now = Timestamp(0);
        assert_eq!(next_conditions(&verdict(&json!([istios]), None), now), None);
        let refused = next_conditions(&verdict(&json!([istios]), Some("bad")), now).expect("a change");
        assert_eq!(refused[0], istios);
        assert_eq!((&refused[1]["status"], &refused[1]["message"]), (&json!("False"), &json!("bad")));
        assert_eq!(next_conditions(&verdict(&json!(refused), Some("bad")), Timestamp(9)), None);
        let worse = next_conditions(&verdict(&json!(refused), Some("worse")), Timestamp(9)).expect("a change");
        assert_eq!(worse[1]["lastTransitionTime"], json!(Timestamp(0)), "it is refused since then");
        let mended = next_conditions(&verdict(&json!(refused), None), Timestamp(9)).expect("a change");
        assert_eq!((&mended[1]["status"], &mended[1]["lastTransitionTime"]), (&json!("True"), &json!(Timestamp(9))));
    }
}
