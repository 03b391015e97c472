//! Which writes are a controller's business at all, and that each goes only over what was read.

use super::{Checked, law};
use crate::api::store::Part;
use crate::api::{Effect, Verb};
use crate::world::World;
use crate::world::cast::{DOCUMENTS, SYSTEM, published};
use serde_json::Value;

pub(super) const FOREIGN: &str = "what is not the controller's stays as it is";
const GUARDED: &str = "every write goes only over what was read";

pub(super) fn check(world: &World, effect: &Effect) -> Checked {
    let key = &effect.key;
    let (before, after) = (effect.before.as_deref(), effect.after.as_deref());
    let is_nudge = key.plural == "pods" && key.namespace == SYSTEM;
    if key.plural == "events" {
        return law(matches!(effect.verb, Verb::Create | Verb::MergePatch), FOREIGN, || format!("{key} is written"));
    }
    let is_safe = effect.is_guarded || is_nudge;
    law(is_safe, GUARDED, || format!("{:?} {key} without a precondition", effect.verb))?;
    match (key.plural, effect.part, before, after) {
        ("modelrollouts", Part::Status, Some(before), Some(after)) => only(effect, before, after, &["/status"]),
        ("configmaps", Part::Main, before, Some(after)) if *key == published() => {
            let Some(before) = before else { return Ok(()) };
            only(effect, before, after, &["/data", "/binaryData", "/metadata/annotations/turnout.dev~1fence"])
        }
        ("pods", Part::Main, Some(before), Some(after)) if is_nudge => {
            only(effect, before, after, &["/metadata/annotations/turnout.dev~1nudge"])
        }
        // Workloads and, in Istio mode, rules have laws of their own.
        ("deployments" | "controllerrevisions" | "virtualservices", Part::Main, ..) => Ok(()),
        ("services", Part::Main, before, after) => check_twin(effect, before, after),
        (
            "virtualservices" | "destinationrules" | "gateways" | "serviceentries",
            Part::Status,
            Some(before),
            Some(after),
        ) if world.beginning.objects => only(effect, before, after, &["/status"]),
        _ => {
            let _ = DOCUMENTS;
            law(false, FOREIGN, || format!("{:?} {key}", effect.verb))
        }
    }
}

/// Nothing but what these pointers name has changed.
pub(super) fn only(effect: &Effect, before: &Value, after: &Value, pointers: &[&str]) -> Checked {
    let without = |object: &Value| {
        let mut object = object.clone();
        for pointer in pointers.iter().chain(&["/metadata/resourceVersion"]) {
            let (parent, field) = pointer.rsplit_once('/').unwrap_or_default();
            if let Some(parent) = object.pointer_mut(parent) {
                crate::api::store::remove(parent, &field.replace("~1", "/"));
            }
        }
        if object["metadata"]["annotations"].as_object().is_some_and(serde_json::Map::is_empty) {
            crate::api::store::remove(&mut object["metadata"], "annotations");
        }
        object
    };
    let (was, is) = (without(before), without(after));
    law(was == is, FOREIGN, || format!("{:?} {} changes {was} to {is}", effect.verb, effect.key))
}

/// Services that the controller made carry its labels; no other is touched.
fn check_twin(effect: &Effect, before: Option<&Value>, after: Option<&Value>) -> Checked {
    let is_twin = |service: &Value| {
        let labels = &service["metadata"]["labels"];
        labels["app.kubernetes.io/managed-by"] == "turnout-controller" && labels["turnout.dev/twin-of"].is_string()
    };
    let holds = before.is_none_or(is_twin) && after.is_none_or(is_twin) && effect.key.name.starts_with("turnout-");
    law(holds, FOREIGN, || format!("{:?} {}", effect.verb, effect.key))?;
    match (before, after) {
        (Some(before), Some(after)) => only(effect, before, after, &["/spec", "/metadata/labels"]),
        _ => Ok(()),
    }
}
