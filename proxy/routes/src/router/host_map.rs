//! What is known by host patterns, asked for by a host: an exact name, then the longest suffix, then `*`. A look-up costs
//! as much as there are lengths of suffixes, which the length of a name limits, however many hosts there are.

use crate::documents::HostPattern;
use std::collections::{BTreeSet, HashMap};

/// A value for each pattern.
#[derive(Debug)]
pub(super) struct HostMap<T> {
    exact: HashMap<String, T>,
    suffixes: HashMap<String, T>,
    suffix_lengths: BTreeSet<usize>,
    any: Option<T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), suffixes: HashMap::new(), suffix_lengths: BTreeSet::new(), any: None }
    }
}

impl<T> HostMap<T> {
    /// The value of the most specific pattern for the host, which is in lower case and without a port.
    pub(super) fn get(&self, host: &str) -> Option<&T> {
        self.exact.get(host).or_else(|| self.longest_suffix(host)).or(self.any.as_ref())
    }

    /// A suffix needs something before it.
    fn longest_suffix(&self, host: &str) -> Option<&T> {
        let mut lengths = self.suffix_lengths.range(..host.len()).rev();
        lengths.find_map(|length| self.suffixes.get(host.get(host.len() - length..)?))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.suffixes.values_mut()).chain(self.any.as_mut())
    }

    /// The value of `*`.
    pub(super) fn any(&self) -> Option<&T> {
        self.any.as_ref()
    }

    /// Whether no pattern but `*` has a value, so that the host does not count.
    pub(super) fn holds_any_alone(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty()
    }

    /// The pattern's own value, made if it has none yet.
    pub(super) fn entry(&mut self, pattern: HostPattern, make: impl FnOnce() -> T) -> &mut T {
        match pattern {
            HostPattern::Any => self.any.get_or_insert_with(make),
            HostPattern::Exact(name) => self.exact.entry(name).or_insert_with(make),
            HostPattern::Suffix(suffix) => {
                self.suffix_lengths.insert(suffix.len());
                self.suffixes.entry(suffix).or_insert_with(make)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_pattern_wins_and_a_suffix_needs_a_label() {
        let patterns = ["*", "*.example.com", "*.b.example.com", "*-b.example.com", "a.example.com"];
        let mut map = HostMap::default();
        for pattern in patterns {
            map.entry(HostPattern::parse(pattern).expect("a pattern"), || pattern);
        }
        let check = |host: &str, expected: &str| assert_eq!(map.get(host), Some(&expected), "{host}");
        check("a.example.com", "a.example.com");
        check("x.b.example.com", "*.b.example.com");
        check("x-b.example.com", "*-b.example.com");
        check("b.example.com", "*.example.com");
        check("x.y.example.com", "*.example.com");
        check(".example.com", "*");
        check("example.com", "*");
        check("a.example.com.", "*");
        check("é.example.com", "*.example.com");
        check("", "*");
    }

    #[test]
    fn without_a_pattern_for_it_a_host_has_no_value() {
        let mut map = HostMap::default();
        map.entry(HostPattern::Suffix(".com".to_owned()), || ());
        assert_eq!((map.get("a.org"), map.get(".com"), map.get("a.com")), (None, None, Some(&())));
    }
}
