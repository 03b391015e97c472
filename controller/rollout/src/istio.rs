//! Istio mode: the weights of a governed rule in the VirtualService that the cluster holds, and the JSON Patch that
//! changes these two numbers and nothing else.
//!
//! The object is taken as the API server sent it, because Istio serves documents that Turnout's gateways refuse, and
//! whatever else stands in them belongs to somebody else. What is not an object, a list or a number where Istio has one
//! is read as absent.

mod pin;
mod rule;

use crate::render::RouteSelectionError;
use crate::resource::ModelRollout;
use crate::weights::{Backend, Weights};
use rule::GovernedRule;
use serde_json::{Value, json};

/// The weights of the rule that the rollout governs. An absent weight is 0, as it is to Istio wherever there are two
/// destinations, and so is one that Istio would refuse.
pub fn observe(object: &Value, rollout: &ModelRollout) -> Result<Weights, RouteSelectionError> {
    let rule = rule::find(object, rollout)?;
    let weight = |backend| rule::weight(rule.destination(backend)).unwrap_or(0);
    Ok(Weights { green: weight(Backend::Green), blue: weight(Backend::Blue) })
}

/// The rule that the rollout governs, as people call it: two rollouts with the same one cannot both decide its weights.
pub fn governed_rule(object: &Value, rollout: &ModelRollout) -> Result<String, RouteSelectionError> {
    Ok(rule::place(rollout, rule::find(object, rollout)?.index))
}

/// The JSON Patch (RFC 6902) that gives the rule the wanted weights, or nothing if it has them.
///
/// It begins with `test` operations that pin the rule as it was read: where it has changed since, or another stands at
/// its index, the API server refuses the patch with 422, and the caller reads and plans again. Changes elsewhere in the
/// object are no conflict. The sum of the wanted weights is above 0, as it is in every decision.
pub fn patch(object: &Value, rollout: &ModelRollout, wanted: Weights) -> Result<Option<Value>, RouteSelectionError> {
    let rule = rule::find(object, rollout)?;
    let changes: Vec<Value> =
        Backend::BOTH.into_iter().filter_map(|backend| change(&rule, backend, wanted.of(backend))).collect();
    if changes.is_empty() {
        return Ok(None);
    }
    let mut operations = pin::tests(rule.value, &rule.pointer());
    operations.extend(changes);
    Ok(Some(Value::Array(operations)))
}

fn change(rule: &GovernedRule<'_>, backend: Backend, wanted: u32) -> Option<Value> {
    let destination = rule.destination(backend);
    if rule::weight(destination) == Some(wanted) {
        return None;
    }
    let operation = if destination["weight"].is_null() { "add" } else { "replace" };
    let path = format!("{}/route/{}/weight", rule.pointer(), rule.position(backend));
    Some(json!({"op": operation, "path": path, "value": wanted}))
}

#[cfg(test)]
mod tests;
