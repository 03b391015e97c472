//! From a destination to a backend: completing short names, looking ports and endpoints up in the ServiceEntries,
//! selecting subsets by the DestinationRules. A destination that cannot be resolved is no error of the table: its
//! requests get 503, as in Istio.

use super::backend::{
    Backend, BackendId, BackendPolicy, EndpointSource, Missing, ServiceName, UNKNOWN, cluster_namespace,
};
use crate::documents::{
    Destination, DestinationRule, Document, EndpointAddress, Metadata, Resolution, ServiceEndpoint, ServiceEntry,
    ServicePort, Subset, TrafficPolicy,
};
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// Resolves destinations, and remembers the backends that they come to.
pub(super) struct Services<'d> {
    entries: HashMap<&'d str, (&'d ServiceEntry, &'d str)>,
    rules: Vec<(String, &'d DestinationRule)>,
    own_namespace: &'d str,
    backends: Vec<Backend>,
}

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl<'d> Services<'d> {
    pub(super) fn new(documents: &'d [Document], own_namespace: &'d str) -> Self {
        let mut entries: Vec<&ServiceEntry> = Vec::new();
        let mut rules: Vec<&DestinationRule> = Vec::new();
        for document in documents {
            match document {
                Document::ServiceEntry(entry) => entries.push(entry),
                Document::DestinationRule(rule) => rules.push(rule),
                Document::Gateway(_) | Document::VirtualService(_) => {}
            }
        }
        entries.sort_by_key(|entry| age_order(&entry.metadata));
        rules.sort_by_key(|rule| age_order(&rule.metadata));
        let mut by_host = HashMap::new();
        for entry in entries {
            for host in &entry.hosts {
                by_host.entry(host.as_str()).or_insert((entry, entry.metadata.namespace.as_str()));
            }
        }
        let rules = rules.into_iter().map(|rule| (complete(&rule.host, &rule.metadata.namespace), rule)).collect();
        Self { entries: by_host, rules, own_namespace, backends: Vec::new() }
    }

    pub(super) fn into_backends(self) -> Vec<Backend> {
        self.backends
    }

    /// The backend of a destination in a document of `namespace`, and the destination's completed host.
    pub(super) fn resolve(&mut self, to: &Destination, namespace: &str) -> (String, Result<BackendId, Missing>) {
        let host = complete(&to.host, namespace);
        let backend = self.backend(&host, to).map(|backend| self.intern(backend));
        (host, backend)
    }

    fn intern(&mut self, backend: Backend) -> BackendId {
        let known = self.backends.iter().position(|known| *known == backend);
        BackendId(known.unwrap_or_else(|| {
            self.backends.push(backend);
            self.backends.len() - 1
        }))
    }

    fn backend(&self, host: &str, to: &Destination) -> Result<Backend, Missing> {
        let entry = self.entries.get(host).copied();
        let namespace = entry.map_or_else(|| cluster_namespace(host).unwrap_or(UNKNOWN), |(_, namespace)| namespace);
        let rules = self.rules_for(host, namespace);
        let subset = to.subset.as_deref().map(|name| find_subset(&rules, name).ok_or(Missing::Subset)).transpose()?;
        let policy = merge_policies(subset.map(|s| &s.policy), rules.first().map(|rule| &rule.policy));
        let labels = subset.map(|subset| &subset.labels);
        let service = ServiceName { host, namespace };
        let (port, endpoints) = if let Some((entry, _)) = entry {
            let port = find_port(&entry.ports, to.port)?;
            (port.number, entry_endpoints(entry, port, labels, &service))
        } else {
            let port = to.port.ok_or(Missing::Service)?;
            // Without a ServiceEntry there are no labels: only a subset that asks for none has endpoints.
            let selected = labels.is_none_or(BTreeMap::is_empty);
            let source = || EndpointSource::new(address(host), port, service.workload(&BTreeMap::new()));
            (port, selected.then(source).into_iter().collect())
        };
        let workload = Arc::new(service.nobody());
        Ok(Backend { host: host.to_owned(), port, subset: to.subset.clone(), policy, endpoints, workload })
    }

    /// The DestinationRules of a host: those in the gateway's own namespace, else those in the service's, else, for a
    /// host that is not the cluster's, any; an exact host before a wildcard; oldest first.
    fn rules_for(&self, host: &str, namespace: &str) -> Vec<&'d DestinationRule> {
        let in_namespace = |wanted: Option<&str>, exact: bool| -> Vec<&'d DestinationRule> {
            let rules = self.rules.iter().filter(|(rule_host, rule)| {
                wanted.is_none_or(|wanted| rule.metadata.namespace == wanted)
                    && if exact { rule_host == host } else { is_wildcard_of(rule_host, host) }
            });
            rules.map(|(_, rule)| *rule).collect()
        };
        let foreign = cluster_namespace(host).is_none().then_some(None);
        let places = [Some(self.own_namespace), Some(namespace)].into_iter().chain(foreign);
        let tries = places.flat_map(|place| [(place, true), (place, false)]);
        tries.map(|(place, exact)| in_namespace(place, exact)).find(|rules| !rules.is_empty()).unwrap_or_default()
    }
}

/// Istio's order among objects of one kind: by age, then by name, then by namespace. None counts as oldest; RFC 3339 in
/// UTC sorts as text.
pub(super) fn age_order(metadata: &Metadata) -> (String, String, String) {
    let created = metadata.creation_timestamp.clone().unwrap_or_default();
    (created, metadata.name.clone(), metadata.namespace.clone())
}

/// A short name is one of the namespace's services; `localhost` and anything with a dot are taken as they are.
fn complete(host: &str, namespace: &str) -> String {
    if host.contains(['.', ':', '*']) || host == "localhost" {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.cluster.local")
    }
}

fn is_wildcard_of(pattern: &str, host: &str) -> bool {
    pattern.strip_prefix('*').is_some_and(|suffix| host.len() > suffix.len() && host.ends_with(suffix))
}

fn find_subset<'d>(rules: &[&'d DestinationRule], name: &str) -> Option<&'d Subset> {
    rules.iter().flat_map(|rule| &rule.subsets).find(|subset| subset.name == name)
}

fn find_port(ports: &[ServicePort], wanted: Option<u16>) -> Result<&ServicePort, Missing> {
    match (wanted, ports) {
        (Some(number), ports) => ports.iter().find(|port| port.number == number).ok_or(Missing::Port),
        (None, [only]) => Ok(only),
        (None, _) => Err(Missing::PortNotGiven),
    }
}

fn merge_policies(subset: Option<&TrafficPolicy>, rule: Option<&TrafficPolicy>) -> BackendPolicy {
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

fn entry_endpoints(
    entry: &ServiceEntry,
    port: &ServicePort,
    labels: Option<&BTreeMap<String, String>>,
    service: &ServiceName<'_>,
) -> Vec<EndpointSource> {
    let selected = |endpoint: &&ServiceEndpoint| {
        labels.is_none_or(|labels| labels.iter().all(|(key, value)| endpoint.labels.get(key) == Some(value)))
    };
    let default_port = port.target_port.unwrap_or(port.number);
    match &entry.resolution {
        Resolution::Dns(endpoints) if endpoints.is_empty() => {
            let labels = &entry.metadata.labels;
            vec![EndpointSource::new(address(service.host), default_port, service.workload(labels))]
        }
        Resolution::Static(endpoints) | Resolution::Dns(endpoints) => {
            let sources = endpoints.iter().filter(selected).map(|endpoint| {
                let port = endpoint.ports.get(&port.name).copied().unwrap_or(default_port);
                EndpointSource::new(endpoint.address.clone(), port, service.workload(&endpoint.labels))
            });
            sources.collect()
        }
    }
}

fn address(host: &str) -> EndpointAddress {
    if host == "localhost" {
        // Never asked of a server (RFC 6761, 6.3).
        return EndpointAddress::Ip(Ipv4Addr::LOCALHOST.into());
    }
    host.parse().map_or_else(|_| EndpointAddress::Name(host.to_owned()), EndpointAddress::Ip)
}
