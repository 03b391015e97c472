//! Warnings of rules that no request can reach: those after a rule without `match`, those whose match an earlier rule
//! has, and those below an earlier prefix. Istio warns of the same and accepts the document.

use super::{HttpRule, Match};
use crate::decode::Item;
use crate::documents::StringMatch;
use std::collections::{BTreeSet, HashMap};

/// The conditions of a match but its `uri`, as text, and then by `uri`: the rule that had them first.
#[derive(Default)]
struct Seen {
    matches: HashMap<String, usize>,
    prefixes: HashMap<String, Prefixes>,
}

/// The prefixes of earlier matches that agree in everything else, and their lengths.
#[derive(Default)]
struct Prefixes {
    rules: HashMap<String, usize>,
    lengths: BTreeSet<usize>,
}

/// Warns of each unreachable rule at its item.
pub(super) fn warn(rules: &[HttpRule], items: &[Item<'_>]) {
    let mut catch_all: Option<&HttpRule> = None;
    let mut seen = Seen::default();
    for (index, (rule, item)) in rules.iter().zip(items).enumerate() {
        if let Some(earlier) = catch_all {
            let earlier = earlier.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
            let message = format!("never reached: an earlier rule{earlier} has no match, so it takes every request");
            item.warn(message, "put the rule without a match last");
            continue;
        }
        if rule.matches.is_empty() {
            catch_all = Some(rule);
        }
        for (at, entry) in rule.matches.iter().enumerate() {
            if let Some(earlier) = seen.insert(entry, index) {
                let message = format!("match[{at}] is never used: http[{earlier}] takes all its requests");
                item.warn(message, "put the narrower match first, or leave it out");
            }
        }
    }
}

impl Seen {
    /// The earlier rule that takes all requests of this match, if there is one.
    fn insert(&mut self, entry: &Match, rule: usize) -> Option<usize> {
        let nameless = Match { name: None, ..entry.clone() };
        let earlier = *self.matches.entry(nameless.encode().to_string()).or_insert(rule);
        let others = Match { uri: None, ..nameless }.encode().to_string();
        let prefixes = self.prefixes.entry(others).or_default();
        let (uri, is_prefix) = match &entry.uri {
            Some(StringMatch::Prefix(uri)) => (uri, true),
            Some(StringMatch::Exact(uri)) => (uri, false),
            Some(StringMatch::Regex(_)) | None => return (earlier != rule).then_some(earlier),
        };
        let covering = prefixes.covering(uri).filter(|covering| *covering != rule);
        if is_prefix {
            prefixes.insert(uri, rule);
        }
        if earlier == rule { covering } else { Some(earlier) }
    }
}

impl Prefixes {
    fn insert(&mut self, prefix: &str, rule: usize) {
        self.rules.entry(prefix.to_owned()).or_insert(rule);
        self.lengths.insert(prefix.len());
    }

    fn covering(&self, uri: &str) -> Option<usize> {
        self.lengths.range(..=uri.len()).find_map(|length| self.rules.get(uri.get(..*length)?).copied())
    }
}
