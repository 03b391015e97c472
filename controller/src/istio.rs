//! Istio mode: the weights stand in the cluster's VirtualService, which istiod reads. Two numbers of it are the
//! controller's; what else it holds, also what no gateway of ours would take, stays byte for byte.

use crate::kube_api::{ApiError, istio_kind};
use crate::names::FIELD_MANAGER;
use crate::view::{View, route_key};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::Value;
use turnout_rollout::{GatewayObservation, ModelRollout, Published, RouteSelectionError, Weights, istio};

/// The rule's weights, which are what is published as well: there is no other document. Nobody reports.
pub fn observe(
    view: &View,
    rollout: &ModelRollout,
) -> (Result<Weights, RouteSelectionError>, Option<Published>, Vec<GatewayObservation>) {
    let found =
        object(view, rollout).and_then(|(value, generation)| Ok((istio::observe(&value, rollout)?, generation)));
    match found {
        Ok((weights, generation)) => {
            let published = Published { revision: format!("generation {generation}"), weights };
            (Ok(weights), Some(published), Vec::new())
        }
        Err(error) => (Err(error), None, Vec::new()),
    }
}

/// The rule, as people call it.
pub fn governed_rule(view: &View, rollout: &ModelRollout) -> Result<String, RouteSelectionError> {
    let (value, _) = object(view, rollout)?;
    istio::governed_rule(&value, rollout)
}

/// The version of the object with the rule, as it was read.
pub fn resource_version(view: &View, rollout: &ModelRollout) -> Option<String> {
    view.virtual_services.get(&route_key(rollout))?.metadata.resource_version.clone()
}

/// Gives the rule these weights, if it has others. Returns whether anything was written. A rule that somebody changed
/// since it was read answers 422.
pub async fn patch(client: &Client, view: &View, rollout: &ModelRollout, weights: Weights) -> Result<bool, ApiError> {
    let planned = object(view, rollout).and_then(|(value, _)| istio::patch(&value, rollout, weights));
    // A rule that cannot be found was told as a condition.
    let Ok(Some(operations)) = planned else { return Ok(false) };
    let (namespace, name) = route_key(rollout);
    let place = || format!("virtualservices {namespace}/{name}");
    let operations: json_patch::Patch =
        serde_json::from_value(operations).map_err(kube::Error::SerdeError).map_err(ApiError::of("patch", place()))?;
    let kind = istio_kind("VirtualService", "virtualservices");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind);
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let written = api.patch(&name, &parameters, &Patch::Json::<()>(operations)).await;
    written.map_err(ApiError::of("patch", place()))?;
    Ok(true)
}

fn object(view: &View, rollout: &ModelRollout) -> Result<(Value, i64), RouteSelectionError> {
    let key = route_key(rollout);
    let missing = || RouteSelectionError::VirtualServiceNotFound(format!("{}/{}", key.0, key.1));
    let object = view.virtual_services.get(&key).ok_or_else(missing)?;
    let value = serde_json::to_value(object).map_err(|_| missing())?;
    Ok((value, object.metadata.generation.unwrap_or_default()))
}
