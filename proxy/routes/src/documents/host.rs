//! Host names as VirtualServices and Gateways write them: a name, `*.suffix`, or `*`. What a host name is follows Istio's
//! validation: labels of RFC 1123 in either case, at most 255 bytes, the last label not a number.

use crate::decode::{Decoded, Item, quoted};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Which hosts something is for. Names are held in lower case, since hosts are compared without case (RFC 9110, 4.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `*`: every host.
    Any,
    /// `*.example.com`: held as `.example.com`; needs at least one label before it.
    Suffix(String),
    /// One host.
    Exact(String),
}

/// Why a text is not a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing there.
    #[error("a host name must not be empty")]
    Empty,
    /// Longer than a name may be.
    #[error("a host name of {0} bytes is too long: at most 255 are allowed")]
    TooLong(usize),
    /// One of the parts between the dots.
    #[error("{} is not a host name: {} is not a label of letters, digits and inner -", quoted(.host), quoted(.label))]
    BadLabel {
        /// The whole name.
        host: String,
        /// The part.
        label: String,
    },
    /// `10.0.0.300` is neither an address nor a name.
    #[error("{} is not a host name: its last label is a number", quoted(.0))]
    NumericEnd(String),
}

impl HostPattern {
    /// Reads `*`, `*.example.com` (also `*-x.example.com`, as Istio), a name, or an IP address.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let host = text.to_ascii_lowercase();
        if host == "*" {
            return Ok(Self::Any);
        }
        if host.parse::<IpAddr>().is_ok() {
            return Ok(Self::Exact(host));
        }
        check_wildcard_domain(&host)?;
        Ok(match host.strip_prefix('*') {
            Some(suffix) => Self::Suffix(suffix.to_owned()),
            None => Self::Exact(host),
        })
    }

    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        Self::parse(item.string()?).map_err(|error| item.error(error.to_string()))
    }

    /// Whether every host of `other` is also one of `self` (Istio's `Name.SubsetOf`, the other way round).
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) | (Self::Exact(_), Self::Suffix(_)) => false,
            (Self::Suffix(outer), Self::Suffix(inner)) => inner.ends_with(outer.as_str()),
            (Self::Suffix(suffix), Self::Exact(name)) => has_suffix(name, suffix),
            (Self::Exact(a), Self::Exact(b)) => a == b,
        }
    }

    /// The hosts that both name: the narrower of the two if one covers the other, else none.
    pub fn intersect<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        if self.covers(other) {
            Some(other)
        } else if other.covers(self) {
            Some(self)
        } else {
            None
        }
    }

    /// Whether `host` (lower case, without a port) is one of them.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Suffix(suffix) => has_suffix(host, suffix),
            Self::Exact(name) => name == host,
        }
    }
}

/// `.example.com` needs something before it: the host `.example.com` itself is not meant.
fn has_suffix(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// Hosts of one document, none of which overlaps another: Istio counts `*foo.com` and `foo.com` as overlapping too.
#[derive(Debug, Default)]
pub(super) struct DistinctHosts {
    /// By their text without `*`, read backwards: a wildcard's is the beginning of those of all hosts that it covers.
    by_reversed_text: BTreeMap<String, HostPattern>,
}

impl DistinctHosts {
    /// Keeps the host, or gives the earlier one that it overlaps.
    pub(super) fn insert(&mut self, host: &HostPattern) -> Option<HostPattern> {
        let (text, is_wildcard) = match host {
            HostPattern::Any => ("", true),
            HostPattern::Suffix(suffix) => (suffix.as_str(), true),
            HostPattern::Exact(name) => (name.as_str(), false),
        };
        let reversed: String = text.chars().rev().collect();
        let mut lengths = (0..=reversed.len()).filter(|length| reversed.is_char_boundary(*length));
        let covering = lengths.find_map(|length| {
            let earlier = self.by_reversed_text.get(&reversed[..length])?;
            (length == reversed.len() || !matches!(earlier, HostPattern::Exact(_))).then_some(earlier)
        });
        let mut from_here = self.by_reversed_text.range(reversed.clone()..);
        let covered = from_here.next().filter(|(other, _)| is_wildcard && other.starts_with(&reversed));
        if let Some(earlier) = covering.or(covered.map(|(_, earlier)| earlier)) {
            return Some(earlier.clone());
        }
        self.by_reversed_text.insert(reversed, host.clone());
        None
    }
}

/// Whether the text is a label of RFC 1123, of letters in either case.
pub(super) fn is_label(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    text.len() <= 63
        && text.bytes().all(is_inner)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// Whether the text is a fully qualified or short name without a wildcard.
pub(super) fn check_domain(domain: &str) -> Result<(), HostError> {
    check_length(domain)?;
    check_labels(domain, domain)
}

/// The same, or with a wildcard at the beginning of the first label: `*`, `*.example.com`, `*-x.example.com`.
pub(super) fn check_wildcard_domain(domain: &str) -> Result<(), HostError> {
    check_length(domain)?;
    let (first, rest) = match domain.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (domain, None),
    };
    let unmarked = first.strip_prefix("*-").or_else(|| first.strip_prefix('*'));
    if first.len() > 63 || !(first == "*" || is_label(unmarked.unwrap_or(first))) {
        return Err(HostError::BadLabel { host: domain.to_owned(), label: first.to_owned() });
    }
    rest.map_or(Ok(()), |rest| check_labels(rest, domain))
}

fn check_length(domain: &str) -> Result<(), HostError> {
    match domain.len() {
        0 => Err(HostError::Empty),
        1..=255 => Ok(()),
        length => Err(HostError::TooLong(length)),
    }
}

/// `labels` is the part of `domain` without a wildcard.
fn check_labels(labels: &str, domain: &str) -> Result<(), HostError> {
    let last = labels.rsplit('.').next().unwrap_or(labels);
    if last.strip_prefix(['+', '-']).unwrap_or(last).parse::<u64>().is_ok() {
        return Err(HostError::NumericEnd(domain.to_owned()));
    }
    // An absolute name may end with a dot.
    let labels = labels.strip_suffix('.').unwrap_or(labels);
    match labels.split('.').find(|label| !is_label(label)) {
        None => Ok(()),
        Some(label) => Err(HostError::BadLabel { host: domain.to_owned(), label: label.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_what_istio_takes_for_hosts() {
        let check = |text: &str, expected: Result<HostPattern, &str>| {
            let parsed = HostPattern::parse(text);
            match (parsed, expected) {
                (Ok(parsed), Ok(expected)) => assert_eq!(parsed, expected, "{text}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{text}: {error}"),
                (parsed, _) => panic!("{text}: {parsed:?}"),
            }
        };
        let exact = |name: &str| Ok(HostPattern::Exact(name.to_owned()));
        let suffix = |name: &str| Ok(HostPattern::Suffix(name.to_owned()));
        check("*", Ok(HostPattern::Any));
        check("*.example.com", suffix(".example.com"));
        check("*-x.example.com", suffix("-x.example.com"));
        check("*x.example.com", suffix("x.example.com"));
        check("Reviews", exact("reviews"));
        check("a.example.com.", exact("a.example.com."));
        check("10.0.0.1", exact("10.0.0.1"));
        check("::1", exact("::1"));
        check("123", exact("123"));
        check("", Err("must not be empty"));
        check("a.*.example.com", Err("\"*\" is not a label"));
        check("**.example.com", Err("\"**\" is not a label"));
        check("*.", Err("\"\" is not a label"));
        check("a..b", Err("\"\" is not a label"));
        check("a.example.com:80", Err("\"com:80\" is not a label"));
        check("-a.example.com", Err("\"-a\" is not a label"));
        check("a_b", Err("\"a_b\" is not a label"));
        check("10.0.0.300", Err("its last label is a number"));
        check(&"a".repeat(64), Err("is not a label"));
        check(&"a.".repeat(128), Err("256 bytes is too long"));
    }

    #[test]
    fn overlaps_are_what_istio_takes_for_duplicates() {
        let check = |a: &str, b: &str, expected: bool| {
            let parse = |text| HostPattern::parse(text).expect("a host");
            for (first, second) in [(a, b), (b, a)] {
                let mut hosts = DistinctHosts::default();
                assert_eq!(hosts.insert(&parse(first)), None);
                assert_eq!(hosts.insert(&parse(second)), expected.then(|| parse(first)), "{first} {second}");
            }
        };
        check("a.com", "A.com", true);
        check("*.com", "a.com", true);
        check("*.a.com", "*.com", true);
        check("*", "a.com", true);
        check("*", "*.com", true);
        check("*a.com", "a.com", true);
        check("*.a.com", "a.com", false);
        check("a.com", "b.com", false);
        check("a.com", "ba.com", false);
        check("a.com", "*.b.com", false);
    }
}
