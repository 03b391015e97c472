//! VirtualServices as istiod has them before it makes routes: with the rules of others in the place of those that delegate
//! to them (`mergeVirtualServices`, `MergeHTTPRoutes`), and of those only what a gateway is given
//! (`VirtualServicesForGateway`).

use super::{NAMESPACE, exports, list, namespace, text};
use serde_json::{Map, Value};

pub(super) struct VirtualService {
    pub(super) namespace: String,
    /// Gateways stand in it with their namespaces.
    pub(super) spec: Value,
    pub(super) rules: Vec<Rule>,
}

pub(super) struct Rule {
    /// Where it is written, and where the rule is that delegates to it.
    pub(super) origin: String,
    /// Of the document in which it is written.
    pub(super) namespace: String,
    pub(super) fields: Value,
}

/// Those with hosts that are exported to the gateway: first what its own namespace keeps from some, then what others name
/// it for, then what is for all.
pub(super) fn merged(documents: &[Value]) -> Vec<VirtualService> {
    let documents: Vec<Value> = documents.iter().map(resolved).collect();
    let mut own: Vec<&Value> =
        documents.iter().filter(|one| !is_delegate(one) && exports::has(one, NAMESPACE)).collect();
    own.sort_by_key(|one| (exports::is_public(one), namespace(one) != NAMESPACE && !exports::is_public(one)));
    let merged = |one: &&Value| VirtualService {
        namespace: namespace(one).to_owned(),
        spec: one["spec"].clone(),
        rules: rules(one, &documents),
    };
    own.iter().map(merged).collect()
}

fn is_delegate(document: &Value) -> bool {
    list(&document["spec"]["hosts"]).is_empty()
}

/// With the Gateways' names whole; short ones are of the document's own namespace (`ResolveVirtualServiceShortnames`).
fn resolved(document: &Value) -> Value {
    let mut resolved = document.clone();
    let write_whole = |within: &mut Value| {
        for name in within.get_mut("gateways").and_then(Value::as_array_mut).into_iter().flatten() {
            if name != "mesh" && !text(name).contains('/') {
                *name = format!("{}/{}", namespace(document), text(name)).into();
            }
        }
    };
    write_whole(&mut resolved["spec"]);
    let rules = resolved["spec"]["http"].as_array_mut().into_iter().flatten();
    rules.filter_map(|rule| rule.get_mut("match")?.as_array_mut()).flatten().for_each(write_whole);
    resolved
}

fn rules(root: &Value, documents: &[Value]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (origin, rule) in written(root) {
        let delegate = &rule["delegate"];
        if delegate.is_null() {
            rules.push(Rule { origin, namespace: namespace(root).to_owned(), fields: rule.clone() });
            continue;
        }
        let wanted = (delegate["namespace"].as_str().unwrap_or(namespace(root)), text(&delegate["name"]));
        let is_wanted = |one: &&Value| (namespace(one), text(&one["metadata"]["name"])) == wanted;
        let found = documents.iter().filter(|one| is_delegate(one)).find(is_wanted);
        if let Some(found) = found.filter(|found| exports::has(found, namespace(root))) {
            for (own_origin, own) in written(found) {
                if let Some(fields) = of_both(rule, own) {
                    let origin = format!("{own_origin}, delegated by {origin}");
                    rules.push(Rule { origin, namespace: namespace(found).to_owned(), fields });
                }
            }
        }
    }
    rules
}

/// Each rule with its place.
fn written(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let name = format!("{}/{}", namespace(document), text(&document["metadata"]["name"]));
    let rules = list(&document["spec"]["http"]).iter().enumerate();
    rules.map(move |(index, rule)| (format!("{name} spec.http[{index}]"), rule))
}

/// A rule with what it lacks; none where its matches are not within those of the rule that delegates (`mergeHTTPRoute`).
fn of_both(root: &Value, own: &Value) -> Option<Value> {
    let mut merged = own.clone();
    merged["match"] = matches(list(&root["match"]), list(&own["match"]))?.into();
    for field in ["rewrite", "directResponse", "headers"] {
        if own[field].is_null() {
            merged[field] = root[field].clone();
        }
    }
    Some(merged)
}

/// `mergeHTTPMatchRequests`
fn matches(roots: &[Value], own: &[Value]) -> Option<Vec<Value>> {
    if roots.is_empty() || own.is_empty() {
        return Some(if roots.is_empty() { own } else { roots }.to_vec());
    }
    let mut merged = Vec::new();
    for entry in own {
        let before = merged.len();
        merged.extend(roots.iter().filter(|root| !is_conflict(root, entry)).map(|root| entry_of_both(root, entry)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

/// `mergeHTTPMatchRequest`
fn entry_of_both(root: &Value, own: &Value) -> Value {
    let mut merged = own.clone();
    for field in ["uri", "scheme", "method", "authority"] {
        if own[field].is_null() {
            merged[field] = root[field].clone();
        }
    }
    for field in ["headers", "withoutHeaders", "queryParams", "sourceLabels"] {
        let of = |entry: &Value| entry[field].as_object().cloned().unwrap_or_default();
        merged[field] = of(root).into_iter().chain(of(own)).collect::<Map<_, _>>().into();
    }
    let is_unset =
        |field: &str| own[field].is_null() || own[field] == 0 || own[field] == "" || own[field] == Value::Array(vec![]);
    for field in ["port", "sourceNamespace", "gateways"] {
        if is_unset(field) {
            merged[field] = root[field].clone();
        }
    }
    merged
}

/// Whether a match of a rule is not within one of the rule that delegates to it (`hasConflict`).
fn is_conflict(root: &Value, own: &Value) -> bool {
    let plain = ["uri", "scheme", "method", "authority"];
    let maps = ["headers", "withoutHeaders", "queryParams"];
    let mut named = maps.iter().flat_map(|map| {
        own[map].as_object().into_iter().flatten().map(move |(name, condition)| (&root[map][name], condition))
    });
    let port = |entry: &Value| entry["port"].as_u64().filter(|port| *port != 0);
    let [of_root, of_own] = [root, own].map(|entry| list(&entry["gateways"]));
    let labels = own["sourceLabels"].as_object().into_iter().flatten();
    let of_labels = labels.map(|(name, value)| (&root["sourceLabels"][name], value));

    plain.iter().any(|field| are_apart(&root[field], &own[field]))
        || named.any(|(root, own)| are_apart(root, own))
        || (root["ignoreUriCase"] == true) != (own["ignoreUriCase"] == true)
        || port(root).zip(port(own)).is_some_and(|(root, own)| root != own)
        || !matches!(text(&root["sourceNamespace"]), "") && root["sourceNamespace"] != own["sourceNamespace"]
        || of_labels.into_iter().any(|(root, own)| !root.is_null() && root != own)
        || !of_root.is_empty() && (of_root.len() < of_own.len() || of_own.iter().any(|name| !of_root.contains(name)))
}

/// `stringMatchConflict`: what is not there is in nobody's way; of two that say nothing each is in the other's.
fn are_apart(root: &Value, own: &Value) -> bool {
    if root.is_null() || own.is_null() {
        return false;
    }
    let kind = |condition: &Value| {
        ["exact", "prefix", "regex"].into_iter().find_map(|kind| {
            condition[kind].as_str().filter(|text| !text.is_empty()).map(|text| (kind, text.to_owned()))
        })
    };
    match (kind(root), kind(own)) {
        (Some(("exact", root)), Some(("exact", own))) => root != own,
        (Some(("prefix", root)), Some(("prefix" | "exact", own))) => !own.starts_with(&root),
        _ => true,
    }
}
