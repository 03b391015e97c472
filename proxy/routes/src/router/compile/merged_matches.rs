//! The matches of a rule that stands in the place of one that delegates to it, as Istio's pilot makes them
//! (`mergeHTTPMatchRequests`): each is narrowed by each match of the delegating rule that it goes together with. It decides
//! that by what is written, and not by which requests there are.

use crate::documents::{Match, StringMatch, ValueMatch};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The matches of both; or the position of one that goes together with none of the delegating rule's, for which the whole
/// rule is left out.
pub(super) fn narrowed<'d>(outer: &'d [Match], own: &'d [Match]) -> Result<Cow<'d, [Match]>, usize> {
    if outer.is_empty() {
        return Ok(Cow::Borrowed(own));
    }
    if own.is_empty() {
        return Ok(Cow::Borrowed(outer));
    }
    let mut matches = Vec::new();
    for (position, own) in own.iter().enumerate() {
        let before = matches.len();
        matches.extend(outer.iter().filter(|outer| !conflicts(outer, own)).map(|outer| both(outer, own)));
        if matches.len() == before {
            return Err(position);
        }
    }
    Ok(Cow::Owned(matches))
}

/// Whether the inner match asks for something that the outer one does not allow (Istio's `hasConflict`).
fn conflicts(outer: &Match, own: &Match) -> bool {
    let texts = [(&outer.scheme, &own.scheme), (&outer.method, &own.method), (&outer.authority, &own.authority)];
    let is_outside = |(outer, own): (&Option<ValueMatch>, &Option<ValueMatch>)| match (outer, own) {
        (Some(ValueMatch::Value(outer)), Some(ValueMatch::Value(own))) => !is_within(own, outer),
        // Presence goes together with nothing, not even with itself.
        (outer, own) => outer.is_some() && own.is_some(),
    };
    let is_elsewhere = match (&outer.uri, &own.uri) {
        (Some(outer), Some(own)) => !is_within(own, outer),
        _ => false,
    };
    let differs = |(key, value): (&String, &String)| outer.source_labels.get(key).is_some_and(|outer| outer != value);
    let names_other_gateways =
        || own.gateways.len() > outer.gateways.len() || own.gateways.iter().any(|name| !outer.gateways.contains(name));
    is_elsewhere
        || texts.into_iter().any(is_outside)
        || any_outside(&outer.headers, &own.headers, |(_, value)| value)
        || any_outside(&outer.without_headers, &own.without_headers, |(_, value)| value)
        || any_outside(&outer.query_params, &own.query_params, |value| value)
        || outer.ignore_uri_case != own.ignore_uri_case
        || outer.port.is_some_and(|port| own.port.is_some_and(|own| own != port))
        || outer.source_namespace.is_some() && own.source_namespace != outer.source_namespace
        || own.source_labels.iter().any(differs)
        || !outer.gateways.is_empty() && !own.gateways.is_empty() && names_other_gateways()
}

fn any_outside<T>(outer: &BTreeMap<String, T>, own: &BTreeMap<String, T>, value: fn(&T) -> &ValueMatch) -> bool {
    own.iter().any(|(key, own)| match (outer.get(key).map(value), value(own)) {
        (None, _) => false,
        (Some(ValueMatch::Value(outer)), ValueMatch::Value(own)) => !is_within(own, outer),
        // Presence goes together with nothing, not even with itself.
        (Some(_), _) => true,
    })
}

/// Istio's `stringMatchConflict`, the other way round: an expression goes together with nothing, and an empty text is none.
fn is_within(own: &StringMatch, outer: &StringMatch) -> bool {
    match (outer, own) {
        (StringMatch::Exact(outer), StringMatch::Exact(own)) => !outer.is_empty() && own == outer,
        (StringMatch::Prefix(outer), StringMatch::Prefix(own) | StringMatch::Exact(own)) => {
            !outer.is_empty() && !own.is_empty() && own.starts_with(outer.as_str())
        }
        _ => false,
    }
}

/// All that either asks for; where both do, what the inner one does.
fn both(outer: &Match, own: &Match) -> Match {
    fn merged<T: Clone>(outer: &BTreeMap<String, T>, own: &BTreeMap<String, T>) -> BTreeMap<String, T> {
        outer.iter().chain(own).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
    Match {
        name: match (&outer.name, &own.name) {
            (Some(outer), Some(own)) => Some(format!("{outer}-{own}")),
            (outer, own) => own.clone().or_else(|| outer.clone()),
        },
        uri: own.uri.clone().or_else(|| outer.uri.clone()),
        ignore_uri_case: own.ignore_uri_case,
        scheme: own.scheme.clone().or_else(|| outer.scheme.clone()),
        method: own.method.clone().or_else(|| outer.method.clone()),
        authority: own.authority.clone().or_else(|| outer.authority.clone()),
        headers: merged(&outer.headers, &own.headers),
        without_headers: merged(&outer.without_headers, &own.without_headers),
        query_params: merged(&outer.query_params, &own.query_params),
        port: own.port.or(outer.port),
        gateways: if own.gateways.is_empty() { outer.gateways.clone() } else { own.gateways.clone() },
        source_labels: merged(&outer.source_labels, &own.source_labels),
        source_namespace: own.source_namespace.clone().or_else(|| outer.source_namespace.clone()),
    }
}
