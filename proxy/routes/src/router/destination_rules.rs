//! Which DestinationRules are for a service, and what they say of it together.

use super::backend::{BackendPolicy, cluster_namespace};
use super::host_map::HostMap;
use super::known::complete;
use crate::documents::{DestinationRule, HostPattern, Subset, TrafficPolicy};
use std::collections::HashMap;
use std::time::Duration;

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Of each host the rules, oldest first.
type ByHost<'d> = HostMap<Vec<&'d DestinationRule>>;

/// All DestinationRules.
pub(super) struct DestinationRules<'d> {
    by_namespace: HashMap<&'d str, ByHost<'d>>,
    all: ByHost<'d>,
    own_namespace: &'d str,
}

impl<'d> DestinationRules<'d> {
    /// `rules` are in order, oldest first; `own_namespace` is the gateway's.
    pub(super) fn new(rules: &[&'d DestinationRule], own_namespace: &'d str) -> Self {
        let mut made = Self { by_namespace: HashMap::new(), all: HostMap::default(), own_namespace };
        for rule in rules {
            let namespace = rule.metadata.namespace.as_str();
            let host = complete(&rule.host, namespace);
            let pattern = match host.strip_prefix('*') {
                Some("") => HostPattern::Any,
                Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
                None => HostPattern::Exact(host),
            };
            let own = made.by_namespace.entry(namespace).or_default();
            own.entry(pattern.clone(), Vec::new).push(rule);
            made.all.entry(pattern, Vec::new).push(rule);
        }
        made
    }

    /// The rules of a host: those in the gateway's own namespace, else those in the service's, else, for a host that is
    /// not the cluster's, any; those of the most specific pattern; oldest first.
    pub(super) fn of(&self, host: &str, namespace: &str) -> &[&'d DestinationRule] {
        let of_namespace = |namespace: &str| self.by_namespace.get(namespace)?.get(host);
        let foreign = || if cluster_namespace(host).is_none() { self.all.get(host) } else { None };
        of_namespace(self.own_namespace).or_else(|| of_namespace(namespace)).or_else(foreign).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn find_subset<'d>(rules: &[&'d DestinationRule], name: &str) -> Option<&'d Subset> {
    rules.iter().flat_map(|rule| &rule.subsets).find(|subset| subset.name == name)
}

pub(super) fn merge_policies(subset: Option<&TrafficPolicy>, rule: Option<&TrafficPolicy>) -> BackendPolicy {
    fn first<T>(layers: [Option<&TrafficPolicy>; 2], field: impl Fn(&TrafficPolicy) -> Option<T>) -> Option<T> {
        layers.into_iter().flatten().find_map(field)
    }
    let layers = [subset, rule];
    BackendPolicy {
        connect_timeout: first(layers, |policy| policy.connect_timeout).unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        idle_timeout: first(layers, |policy| policy.idle_timeout),
        max_requests_per_connection: first(layers, |policy| policy.max_requests_per_connection).unwrap_or(0),
    }
}
