//! Which DestinationRules are for a service, and what they say of it together.

use super::backend::{BackendPolicy, Http2Policy, HttpVersion, Limits, Outliers, UNKNOWN, cluster_namespace};
use super::host_map::HostMap;
use super::identity::Identity;
use super::known::complete;
use crate::documents::{
    Balancing, ClientTls, DestinationRule, Document, H2Upgrade, HostPattern, OutlierDetection, PortPolicy, Protocol,
    Subset, TrafficPolicy,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Istio's own, of which the rules count in all of them (`rootNamespace`).
const ROOT_NAMESPACE: &str = "istio-system";

/// Longer than any process runs.
const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 10);

/// Of each host the rules in order, oldest first.
type ByHost<'d> = HostMap<Vec<&'d DestinationRule>>;

/// All DestinationRules that may count for the gateway.
#[derive(Debug)]
pub struct DestinationRules<'d> {
    /// Those of its own namespace.
    own: ByHost<'d>,
    /// Those that are for gateways of other namespaces, too, by their own.
    exported: HashMap<&'d str, ByHost<'d>>,
    all_exported: ByHost<'d>,
    all: ByHost<'d>,
}

impl<'d> DestinationRules<'d> {
    /// Those of `documents`, as this gateway sees them.
    pub fn new(documents: &'d [Document], identity: &Identity) -> Self {
        let rules = documents.iter().filter_map(|document| match document {
            Document::DestinationRule(rule) => Some(rule),
            _ => None,
        });
        let mut rules: Vec<&DestinationRule> = rules.collect();
        rules.sort_by_key(|rule| rule.metadata.age_order());
        let mut made = Self {
            own: HostMap::default(),
            exported: HashMap::new(),
            all_exported: HostMap::default(),
            all: HostMap::default(),
        };
        for rule in rules {
            let namespace = rule.metadata.namespace.as_str();
            let pattern = host_pattern(rule);
            made.all.entry(pattern.clone(), Vec::new).push(rule);
            let is_selected = rule.selector.as_ref().is_none_or(|labels| identity.carries(labels));
            // In Istio's namespace what is for everybody is not the gateway's own.
            let is_own = namespace != ROOT_NAMESPACE || rule.export_to.is_private(namespace) || rule.selector.is_some();
            if namespace == identity.namespace && rule.export_to.reaches(namespace) && is_selected && is_own {
                made.own.entry(pattern.clone(), Vec::new).push(rule);
            }
            if rule.selector.is_none() && !rule.export_to.is_private(namespace) {
                let exported = made.exported.entry(namespace).or_default();
                exported.entry(pattern.clone(), Vec::new).push(rule);
                made.all_exported.entry(pattern, Vec::new).push(rule);
            }
        }
        made.narrow(&identity.namespace);
        made
    }

    /// What the pods of a subset carry besides those of their host, which is in full; none if no rule has it that counts.
    pub fn subset_labels(&self, host: &str, subset: &str) -> Option<&'d BTreeMap<String, String>> {
        let namespace = cluster_namespace(host).unwrap_or(UNKNOWN);
        find_subset(self.of(host, namespace), subset).map(|subset| &subset.labels)
    }

    /// Leaves of each host those that count. Done at the end: a rule for a host hides those for wider ones, whoever it is
    /// exported to (as in Istio).
    fn narrow(&mut self, own_namespace: &str) {
        let all = self.exported.values_mut().chain([&mut self.all_exported, &mut self.own]);
        all.flat_map(HostMap::values_mut).for_each(|rules| merge(rules, own_namespace));
    }

    /// The rules that name the host, in whichever namespace.
    pub(super) fn all(&self, host: &str) -> &[&'d DestinationRule] {
        self.all.get(host).map_or(&[], Vec::as_slice)
    }

    /// The rules of a host: those in the gateway's own namespace, else those in the service's, else those in Istio's, which
    /// are for everybody and so come last even if the gateway is there, too; else, for a host of which no namespace is known,
    /// any. Of these, those of the most specific pattern; oldest first. Where none of them is exported to the gateway, the
    /// next namespace is asked (as in Istio's `getExportedDestinationRuleFromNamespace`).
    pub(super) fn of(&self, host: &str, namespace: &str) -> &[&'d DestinationRule] {
        let of_namespace = |namespace: &str| self.exported.get(namespace)?.get(host).filter(|rules| !rules.is_empty());
        let of_others = || of_namespace(namespace).or_else(|| of_namespace(ROOT_NAMESPACE));
        let foreign = || if namespace == UNKNOWN { self.all_exported.get(host) } else { None };
        self.own.get(host).or_else(of_others).or_else(foreign).map_or(&[], Vec::as_slice)
    }
}

/// Of the rules of one host in one namespace those that make one rule for the gateway, as in Istio: of those that select it
/// the first and its like, else of the others the last set that is exported to it. A rule that the newest set does not take
/// begins one, whoever sees it.
fn merge(rules: &mut Vec<&DestinationRule>, own_namespace: &str) {
    if let Some(first) = rules.iter().copied().find(|rule| rule.selector.is_some()) {
        rules.retain(|rule| rule.selector == first.selector);
        return;
    }
    let (mut newest, mut counting): (Option<&DestinationRule>, _) = (None, None);
    for (at, rule) in rules.iter().copied().enumerate() {
        if newest.is_some_and(|newest| takes(newest, rule)) {
            continue;
        }
        newest = Some(rule);
        if rule.export_to.reaches(own_namespace) {
            counting = Some((at, rule));
        }
    }
    let Some((at, first)) = counting else { return rules.clear() };
    rules.drain(..at);
    rules.retain(|rule| takes(first, rule));
}

/// Whether a rule becomes part of a set, before it is looked at who sees it (`mergeDestinationRule`): where it is for the
/// same namespaces as the first rule of the set, or for those and more.
fn takes(first: &DestinationRule, rule: &DestinationRule) -> bool {
    let is_beside_it = rule.metadata.namespace == first.metadata.namespace;
    rule.export_to == first.export_to || (is_beside_it && rule.export_to.names_all_of(&first.export_to))
}

/// The first policy that there is.
pub(super) fn policy_of<'d>(rules: &[&'d DestinationRule]) -> Option<&'d TrafficPolicy> {
    rules.iter().map(|rule| &*rule.policy).find(|policy| **policy != TrafficPolicy::default())
}

fn host_pattern(rule: &DestinationRule) -> HostPattern {
    let host = complete(&rule.host, &rule.metadata.namespace);
    match host.strip_prefix('*') {
        Some("") => HostPattern::Any,
        Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
        None => HostPattern::Exact(host),
    }
}

pub(super) fn find_subset<'d>(rules: &[&'d DestinationRule], name: &str) -> Option<&'d Subset> {
    rules.iter().flat_map(|rule| &rule.subsets).find(|subset| subset.name == name)
}

/// What counts at a port of the service, each part for itself: first what the subset says, then the rule; of each its
/// settings for that very port or, where it has none, those for every port. Behind settings for a port nothing is looked for.
pub(super) fn merge_policies(
    subset: Option<&TrafficPolicy>,
    rule: Option<&TrafficPolicy>,
    (port, protocol): (u16, Protocol),
) -> BackendPolicy {
    let mut counting: Vec<&PortPolicy> = Vec::new();
    for policy in [subset, rule].into_iter().flatten() {
        if let Some((_, of_port)) = policy.ports.iter().find(|(number, _)| *number == port) {
            counting.push(of_port);
            break;
        }
        counting.push(&policy.of_every_port);
    }
    let mut counting = counting.into_iter();
    let of_connections = counting.clone().find_map(|policy| policy.connection_pool.as_ref());
    let balancer = counting.clone().find_map(|policy| policy.load_balancer.clone());
    let outliers = counting.clone().find_map(|policy| policy.outlier_detection.as_ref());
    let tls = counting.find_map(|policy| policy.tls.clone());
    // What is set for a port has none, and hides the one beside it.
    let has_port = |policy: &&TrafficPolicy| policy.ports.iter().any(|(number, _)| *number == port);
    let mut budgets = [subset, rule].into_iter().flatten().filter(|p| !has_port(p)).filter_map(|p| p.retry_budget);
    let pool = of_connections.cloned().unwrap_or_default();
    let (balancing, warmup) = balancer.map_or((Balancing::LeastRequest, None), |known| (known.balancing, known.warmup));
    let default = BackendPolicy::default();
    BackendPolicy {
        connect_timeout: pool.connect_timeout.unwrap_or(default.connect_timeout),
        idle_timeout: pool
            .idle_timeout
            .or(pool.tcp_idle_timeout.map(|idle| if idle.is_zero() { FOR_EVER } else { idle })),
        max_connection_age: pool.max_connection_age,
        max_requests_per_connection: pool.max_requests_per_connection.unwrap_or(0),
        keepalive: pool.keepalive,
        limits: Limits {
            connections: pool.max_connections,
            pending: pool.max_pending,
            requests: pool.max_requests,
            retries: pool.max_retries,
            retry_budget: budgets.next(),
        },
        balancing,
        warmup,
        outliers: outliers.map(Outliers::new),
        tls: match tls {
            Some(ClientTls::Originate(tls)) => Some(Arc::new(tls)),
            Some(ClientTls::Disable | ClientTls::IstioMutual) | None => None,
        },
        version: match pool.upgrade {
            _ if pool.use_client_protocol => HttpVersion::Clients,
            Some(H2Upgrade::Upgrade) => HttpVersion::Http2,
            _ if protocol.is_http2() => HttpVersion::Http2,
            Some(H2Upgrade::Default | H2Upgrade::DoNotUpgrade) | None => HttpVersion::Http1,
        },
        http2: Http2Policy { max_streams: pool.max_streams, pings: pool.pings },
    }
}

impl Outliers {
    fn new(detection: &OutlierDetection) -> Self {
        let split = detection.split_local_failures;
        Self {
            server_errors: detection.server_errors.unwrap_or(5),
            gateway_errors: detection.gateway_errors.unwrap_or(0),
            local_failures: split.then(|| detection.local_failures.filter(|failures| *failures > 0).unwrap_or(5)),
            interval: detection.interval.unwrap_or(Duration::from_secs(10)),
            base_ejection_time: detection.base_ejection_time.unwrap_or(Duration::from_secs(30)),
            max_ejection_percent: detection.max_ejection_percent.unwrap_or(10),
            min_health_percent: detection.min_health_percent.unwrap_or(0),
        }
    }
}
