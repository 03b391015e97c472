//! Warnings of rules that no request can reach: those after a rule without `match`, those whose match an earlier rule
//! has, and those below an earlier prefix. Istio warns of the same and accepts the document.

use super::{Action, HttpRule, Match};
use crate::decode::Item;
use crate::documents::StringMatch;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Of matches that agree in everything but `uri`: the rule that had a `uri` first.
#[derive(Default)]
struct Seen<'m> {
    uris: HashMap<Option<&'m StringMatch>, usize>,
    prefixes: HashMap<&'m str, usize>,
    lengths: BTreeSet<usize>,
}

/// Warns of each unreachable rule at its item.
pub(super) fn warn(rules: &[HttpRule], items: &[Item<'_>]) {
    let mut catch_all: Option<&HttpRule> = None;
    let mut seen: HashMap<_, Seen<'_>> = HashMap::new();
    for (index, (rule, item)) in rules.iter().zip(items).enumerate() {
        if let Some(earlier) = catch_all {
            let earlier = earlier.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
            let message = format!("never reached: an earlier rule{earlier} has no match, so it takes every request");
            item.warn(message, "put the rule without a match last");
            continue;
        }
        let delegates = matches!(rule.action, Action::Delegate(_));
        if rule.matches.is_empty() && !delegates {
            catch_all = Some(rule);
        }
        for (at, entry) in rule.matches.iter().enumerate() {
            let earlier = seen.entry(conditions(entry)).or_default().insert(entry.uri.as_ref(), index, delegates);
            if let Some(earlier) = earlier {
                let message = format!("match[{at}] is never used: http[{earlier}] takes all its requests");
                item.warn(message, "put the narrower match first, or leave it out");
            }
        }
    }
}

/// Everything that a match asks for but its `uri`.
fn conditions(entry: &Match) -> impl Eq + Hash {
    let Match {
        name: _,
        uri: _,
        ignore_uri_case,
        scheme,
        method,
        authority,
        headers,
        without_headers,
        query_params,
        port,
        gateways,
        source_labels,
        source_namespace,
    } = entry;
    let of_gateway = (port, gateways, source_labels, source_namespace);
    (ignore_uri_case, scheme, method, authority, headers, without_headers, query_params, of_gateway)
}

impl<'m> Seen<'m> {
    /// The earlier rule that takes all requests of this match, if there is one. What a rule delegates may be none of what it
    /// matches, so it takes nothing from later ones.
    fn insert(&mut self, uri: Option<&'m StringMatch>, rule: usize, delegates: bool) -> Option<usize> {
        let earlier = self.uris.get(&uri).copied().unwrap_or(rule);
        if !delegates {
            self.uris.entry(uri).or_insert(rule);
        }
        let (text, is_prefix) = match uri {
            Some(StringMatch::Prefix(text)) => (text, true),
            Some(StringMatch::Exact(text)) => (text, false),
            Some(StringMatch::Regex(_)) | None => return (earlier != rule).then_some(earlier),
        };
        let covering = self.covering(text).filter(|covering| *covering != rule);
        if is_prefix && !delegates {
            self.prefixes.entry(text).or_insert(rule);
            self.lengths.insert(text.len());
        }
        if earlier == rule { covering } else { Some(earlier) }
    }

    fn covering(&self, uri: &str) -> Option<usize> {
        self.lengths.range(..=uri.len()).find_map(|length| self.prefixes.get(uri.get(..*length)?).copied())
    }
}
