//! Finds the http rule that a rollout governs in a VirtualService as the cluster holds it: by its name, else as the only
//! one whose destinations are exactly the two backends.

use crate::render::RouteSelectionError;
use crate::resource::{BackendRef, ModelRollout};
use crate::weights::Backend;
use serde_json::Value;

/// What Istio does with a request instead of splitting it; such a rule has no destinations of its own.
const OTHER_ACTIONS: [&str; 3] = ["redirect", "directResponse", "delegate"];

/// A rule that splits between green and blue.
#[derive(Debug)]
pub(super) struct GovernedRule<'a> {
    /// Where it stands in `spec.http`.
    pub(super) index: usize,
    /// The whole rule.
    pub(super) value: &'a Value,
    /// Which of the two destinations is green; the other is blue.
    green: usize,
}

impl<'a> GovernedRule<'a> {
    /// Where it stands in the object (RFC 6901).
    pub(super) fn pointer(&self) -> String {
        format!("/spec/http/{}", self.index)
    }

    /// Where a backend stands in `route`.
    pub(super) fn position(&self, backend: Backend) -> usize {
        match backend {
            Backend::Green => self.green,
            Backend::Blue => 1 - self.green,
        }
    }

    /// The entry of a backend in `route`.
    pub(super) fn destination(&self, backend: Backend) -> &'a Value {
        &self.value["route"][self.position(backend)]
    }
}

/// The weight of an entry of `route` with others beside it, unless it is one that Istio would refuse.
pub(super) fn weight(destination: &Value) -> Option<u32> {
    match &destination["weight"] {
        Value::Null => Some(0),
        weight => weight.as_u64().and_then(|weight| u32::try_from(weight).ok()),
    }
}

/// The rule at an index, for messages.
pub(super) fn place(rollout: &ModelRollout, index: usize) -> String {
    format!("{} spec.http[{index}]", service_name(rollout))
}

pub(super) fn find<'a>(object: &'a Value, rollout: &ModelRollout) -> Result<GovernedRule<'a>, RouteSelectionError> {
    let metadata = &object["metadata"];
    if metadata["name"] != *rollout.spec.route.virtual_service || metadata["namespace"] != *rollout.route_namespace() {
        let name = format!("{}/{}", rollout.route_namespace(), rollout.spec.route.virtual_service);
        return Err(RouteSelectionError::VirtualServiceNotFound(name));
    }
    let rules = list(&object["spec"]["http"]);
    match &rollout.spec.route.http {
        Some(name) => named_split(rules, name, rollout),
        None => only_split(rules, rollout),
    }
}

fn named_split<'a>(
    rules: &'a [Value],
    name: &str,
    rollout: &ModelRollout,
) -> Result<GovernedRule<'a>, RouteSelectionError> {
    let named: Vec<_> = rules.iter().enumerate().filter(|(_, rule)| rule["name"] == *name).collect();
    let &[(index, rule)] = named.as_slice() else {
        let place = service_name(rollout);
        return Err(RouteSelectionError::HttpRuleNotFound { place, name: name.to_owned(), count: named.len() });
    };
    split(index, rule, rollout).ok_or_else(|| not_the_split(index, rule, rollout))
}

fn only_split<'a>(rules: &'a [Value], rollout: &ModelRollout) -> Result<GovernedRule<'a>, RouteSelectionError> {
    let splits = rules.iter().enumerate().filter_map(|(index, rule)| split(index, rule, rollout));
    let mut splits: Vec<_> = splits.collect();
    match (splits.pop(), splits.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(no_single_split(0, rollout)),
        (Some(_), others) => Err(no_single_split(others + 1, rollout)),
    }
}

fn split<'a>(index: usize, rule: &'a Value, rollout: &ModelRollout) -> Option<GovernedRule<'a>> {
    let [first, second] = destinations(rule) else {
        return None;
    };
    let is = |entry: &Value, backend| is_backend(&entry["destination"], rollout.spec.backend(backend), rollout);
    if is(first, Backend::Green) && is(second, Backend::Blue) {
        Some(GovernedRule { index, value: rule, green: 0 })
    } else if is(first, Backend::Blue) && is(second, Backend::Green) {
        Some(GovernedRule { index, value: rule, green: 1 })
    } else {
        None
    }
}

fn destinations(rule: &Value) -> &[Value] {
    if OTHER_ACTIONS.iter().any(|action| !rule[action].is_null()) {
        return &[];
    }
    list(&rule["route"])
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_backend(destination: &Value, backend: &BackendRef, rollout: &ModelRollout) -> bool {
    let Some(host) = destination["host"].as_str() else {
        return false;
    };
    let namespace = rollout.route_namespace();
    full_host(host, namespace) == full_host(&backend.host, namespace)
        && destination["subset"].as_str().filter(|subset| !subset.is_empty()) == backend.subset.as_deref()
        && backend.port.is_none_or(|port| destination["port"]["number"].as_u64() == Some(u64::from(port)))
}

/// Istio reads a host without a dot as a service of the VirtualService's own namespace.
fn full_host(host: &str, namespace: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.contains('.') { host } else { format!("{host}.{namespace}.svc.cluster.local") }
}

fn service_name(rollout: &ModelRollout) -> String {
    format!("VirtualService {}/{}", rollout.route_namespace(), rollout.spec.route.virtual_service)
}

fn not_the_split(index: usize, rule: &Value, rollout: &ModelRollout) -> RouteSelectionError {
    let found: Vec<String> = destinations(rule).iter().map(destination_name).collect();
    RouteSelectionError::NotTheSplit {
        place: place(rollout, index),
        green: backend_name(&rollout.spec.green),
        blue: backend_name(&rollout.spec.blue),
        found: if found.is_empty() { "no destinations".to_owned() } else { found.join(" and ") },
    }
}

fn no_single_split(count: usize, rollout: &ModelRollout) -> RouteSelectionError {
    RouteSelectionError::NoSingleSplit {
        place: service_name(rollout),
        count,
        green: backend_name(&rollout.spec.green),
        blue: backend_name(&rollout.spec.blue),
        hint: if count == 0 {
            ", as its only two destinations: correct spec.green, spec.blue or the rule"
        } else {
            ": name one of them in spec.route.http"
        },
    }
}

fn backend_name(backend: &BackendRef) -> String {
    name_of(&backend.host, backend.subset.as_deref(), backend.port.map(u64::from))
}

fn destination_name(entry: &Value) -> String {
    let destination = &entry["destination"];
    let host = destination["host"].as_str().unwrap_or_default();
    name_of(host, destination["subset"].as_str(), destination["port"]["number"].as_u64())
}

fn name_of(host: &str, subset: Option<&str>, port: Option<u64>) -> String {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let subset = subset.map(|subset| format!(" subset {subset}")).unwrap_or_default();
    format!("{host}{port}{subset}")
}
