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

    /// The rules that name the host, in whichever namespace.
    pub(super) fn all(&self, host: &str) -> &[&'d DestinationRule] {
        self.all.get(host).map_or(&[], Vec::as_slice)
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

/// What counts at a port of the service: the subset's connection pool, else the rule's, and neither what stands beside nor
/// what stands above settings for that very port.
pub(super) fn merge_policies(subset: Option<&TrafficPolicy>, rule: Option<&TrafficPolicy>, port: u16) -> BackendPolicy {
    let layers = [subset, rule].into_iter().flatten();
    let mut counting = layers.take_while(|policy| !policy.plaintext_ports.contains(&port));
    let pool = counting.find_map(|policy| policy.connection_pool).unwrap_or_default();
    BackendPolicy {
        connect_timeout: pool.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        idle_timeout: pool.idle_timeout,
        max_requests_per_connection: pool.max_requests_per_connection.unwrap_or(0),
    }
}
