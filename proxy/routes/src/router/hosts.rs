//! Finding the virtual host of a request: exact names, then the longest `*.suffix`, then `*`. A host that matches never
//! falls back to a wider one (observed on Istio).

use super::Route;
use crate::documents::HostPattern;
use std::borrow::Cow;
use std::collections::HashMap;

/// The hosts of one listener.
#[derive(Debug, Default)]
pub(super) struct HostTable {
    exact: HashMap<String, VirtualHost>,
    /// Longest first.
    suffixes: Vec<(String, VirtualHost)>,
    any: Option<VirtualHost>,
}

/// The routes of one host.
#[derive(Debug, Default)]
pub(super) struct VirtualHost {
    pub(super) https_redirect: bool,
    pub(super) routes: Vec<Route>,
}

impl HostTable {
    pub(super) fn find(&self, authority: &str) -> Option<&VirtualHost> {
        if self.exact.is_empty() && self.suffixes.is_empty() {
            return self.any.as_ref();
        }
        // Documents write an IPv6 address without its brackets.
        let host = lower_case(without_port(authority).trim_start_matches('[').trim_end_matches(']'));
        self.exact
            .get(&*host)
            .or_else(|| {
                let longest =
                    self.suffixes.iter().find(|(suffix, _)| host.len() > suffix.len() && host.ends_with(suffix));
                longest.map(|(_, virtual_host)| virtual_host)
            })
            .or(self.any.as_ref())
    }

    pub(super) fn insert(&mut self, pattern: &HostPattern, host: VirtualHost) {
        match pattern {
            HostPattern::Any => self.any = Some(host),
            HostPattern::Exact(name) => {
                self.exact.insert(name.clone(), host);
            }
            HostPattern::Suffix(suffix) => {
                self.suffixes.push((suffix.clone(), host));
                self.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
            }
        }
    }

    pub(super) fn virtual_hosts(&self) -> impl Iterator<Item = &VirtualHost> {
        self.exact.values().chain(self.suffixes.iter().map(|(_, host)| host)).chain(&self.any)
    }
}

/// Orders patterns that match the same name: an exact name above any suffix, a longer suffix above a shorter one.
pub(super) fn specificity(pattern: &HostPattern) -> usize {
    match pattern {
        HostPattern::Any => 0,
        HostPattern::Suffix(suffix) => suffix.len(),
        HostPattern::Exact(_) => usize::MAX,
    }
}

/// `a.example.com:80` to `a.example.com`, `[::1]:80` to `[::1]`.
pub(super) fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon)
            if authority[colon + 1..].bytes().all(|b| b.is_ascii_digit()) && !authority[colon..].contains(']') =>
        {
            &authority[..colon]
        }
        _ => authority,
    }
}

fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_cut_off_whatever_the_host_is() {
        let check = |authority, expected| assert_eq!(without_port(authority), expected, "{authority}");
        check("a.example.com", "a.example.com");
        check("a.example.com:8080", "a.example.com");
        check("[::1]", "[::1]");
        check("[::1]:8080", "[::1]");
        check("a:", "a");
        check("", "");
    }

    #[test]
    fn the_most_specific_host_wins_and_a_suffix_needs_a_label() {
        let mut table = HostTable::default();
        for (index, pattern) in ["*", "*.example.com", "*.b.example.com", "a.example.com"].iter().enumerate() {
            let pattern = match pattern.strip_prefix('*') {
                Some("") => HostPattern::Any,
                Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
                None => HostPattern::Exact((*pattern).to_owned()),
            };
            // The number of routes tells the hosts apart here; none needs to match anything.
            let host = VirtualHost { https_redirect: index % 2 == 1, routes: Vec::new() };
            table.insert(&pattern, host);
        }
        let check = |authority: &str, expected: Option<&VirtualHost>| {
            let found = table.find(authority).map(std::ptr::from_ref);
            assert_eq!(found, expected.map(std::ptr::from_ref), "{authority}");
        };
        check("a.example.com:99", table.exact.get("a.example.com"));
        check("A.Example.com", table.exact.get("a.example.com"));
        check("x.b.example.com", Some(&table.suffixes[0].1));
        check("b.example.com", Some(&table.suffixes[1].1));
        check("x.y.example.com", Some(&table.suffixes[1].1));
        check(".example.com", table.any.as_ref());
        check("example.com", table.any.as_ref());
        check("a.example.com.", table.any.as_ref());
    }
}
