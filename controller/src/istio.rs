//! Istio mode: the weights stand in the cluster's VirtualService, which istiod reads. Two numbers of it are the
//! controller's; what else it holds, also what no gateway of ours would take, stays byte for byte.

use crate::kube_api::{ApiError, istio_kind};
use crate::names::FIELD_MANAGER;
use crate::namespaces::route_key;
use crate::view::View;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::Value;
use std::collections::BTreeMap;
use turnout_driver::Elsewhere;
use turnout_rollout::{Mode, ModelRollout, Published, RouteSelectionError, Weights, istio};

/// The rules of rollouts in Istio mode, by UID: of two with the same rule the older one governs it.
pub fn rules(view: &View, may_govern: impl Fn(&ModelRollout) -> bool) -> BTreeMap<String, Elsewhere> {
    let mut claimed = BTreeMap::new();
    let mut rules = BTreeMap::new();
    for one in view.rollouts.readable.iter().filter(|one| one.rollout.spec.mode == Mode::Istio) {
        if !may_govern(&one.rollout) {
            let route = Err(RouteSelectionError::NotShared(one.rollout.route_namespace().to_owned()));
            rules.insert(one.uid(), Elsewhere { route, published: None });
            continue;
        }
        let found = object(view, &one.rollout);
        let published = found.as_ref().ok().and_then(|(value, generation)| {
            let weights = istio::observe(value, &one.rollout).ok()?;
            // There is no other document.
            Some(Published { revision: format!("generation {generation}"), weights })
        });
        let route = found.and_then(|(value, _)| claim(&value, &one.rollout, &mut claimed));
        rules.insert(one.uid(), Elsewhere { route, published });
    }
    rules
}

/// The rule's weights, unless a rollout that came before governs it; `governed` has the rules of those.
fn claim(
    value: &Value,
    rollout: &ModelRollout,
    governed: &mut BTreeMap<String, String>,
) -> Result<Weights, RouteSelectionError> {
    let place = istio::governed_rule(value, rollout)?;
    if let Some(by) = governed.get(&place) {
        return Err(RouteSelectionError::AlreadyGoverned { place, by: by.clone() });
    }
    governed.insert(place, rollout.id());
    istio::observe(value, rollout)
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
