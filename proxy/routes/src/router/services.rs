//! From a destination to a backend: completing short names, looking ports and endpoints up in the ServiceEntries,
//! selecting subsets by the DestinationRules. A destination that cannot be resolved is no error of the table: its
//! requests get 503, as in Istio.

use super::backend::{Backend, BackendId, EndpointSource, Missing, ServiceName, UNKNOWN, cluster_namespace};
use super::destination_rules::{DestinationRules, find_subset, merge_policies, policy_of};
use super::identity::Identity;
use super::known::{Known, Wanted, complete};
use super::service_entries::{DescribedService, ServiceEntries};
use super::slip::Slips;
use super::warning::Lack;
use crate::documents::{
    Destination, DestinationRule, Document, EndpointAddress, Protocol, Resolution, ServiceEndpoint, ServiceEntry,
    ServicePort,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Resolves destinations, and remembers the backends that they come to.
pub(super) struct Services<'d> {
    identity: &'d Identity,
    entries: ServiceEntries<'d>,
    rules: DestinationRules<'d>,
    backends: Vec<Backend>,
    backend_of: HashMap<Wanted, Result<BackendId, Missing>>,
    /// By namespace: most destinations are written many times.
    resolved: HashMap<String, HashMap<Destination, Resolved>>,
    /// Of hosts that no ServiceEntry has, the one that was probably meant.
    meant: HashMap<String, Option<&'d str>>,
    slips: Slips,
}

/// What a destination comes to.
#[derive(Clone)]
pub(super) struct Resolved {
    /// What its backend is called, or would be.
    pub(super) name: String,
    pub(super) backend: Result<BackendId, Missing>,
    /// Why its requests get 503, or probably will.
    pub(super) lack: Option<Lack>,
}

impl std::fmt::Display for Wanted {
    /// As its backend would be called.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))?;
        self.subset.as_ref().map_or(Ok(()), |subset| write!(f, "/{subset}"))
    }
}

impl<'d> Services<'d> {
    pub(super) fn new(documents: &'d [Document], identity: &'d Identity) -> Self {
        Self {
            identity,
            entries: ServiceEntries::new(documents, &identity.namespace),
            rules: DestinationRules::new(documents, identity),
            backends: Vec::new(),
            backend_of: HashMap::new(),
            resolved: HashMap::new(),
            meant: HashMap::new(),
            slips: Slips::new(),
        }
    }

    /// The backend that a destination came to.
    pub(super) fn found(&self, backend: Result<BackendId, Missing>) -> Option<&Backend> {
        backend.ok().map(|id| &self.backends[id.0])
    }

    pub(super) fn into_backends(self) -> Vec<Backend> {
        self.backends
    }

    /// The destination where requests come in by a port of a Gateway. One that names no port of a service with several has
    /// that of the same number, as in Istio.
    pub(super) fn at<'t>(&self, listener: Option<u16>, to: &'t Destination, namespace: &str) -> Cow<'t, Destination> {
        let Some(listener) = listener.filter(|_| to.port.is_none()) else { return Cow::Borrowed(to) };
        let service = self.entries.get(&complete(&to.host, namespace));
        let is_one_of_several = |service: &DescribedService<'_>| {
            let has_it = service.ports().count() > 1 && service.ports().any(|port| port == listener);
            has_it && service.implied_port(namespace).is_none()
        };
        if !service.is_some_and(is_one_of_several) {
            return Cow::Borrowed(to);
        }
        Cow::Owned(Destination { port: Some(listener), ..to.clone() })
    }

    /// What a destination in a document of `namespace` comes to.
    pub(super) fn resolve(&mut self, to: &Destination, namespace: &str) -> Resolved {
        if let Some(known) = self.resolved.get(namespace).and_then(|of_namespace| of_namespace.get(to)) {
            return known.clone();
        }
        let resolved = self.look_up(to, namespace);
        self.resolved.entry(namespace.to_owned()).or_default().insert(to.clone(), resolved.clone());
        resolved
    }

    fn look_up(&mut self, to: &Destination, namespace: &str) -> Resolved {
        let host = complete(&to.host, namespace);
        let implied = || self.entries.get(&host)?.implied_port(namespace);
        let port = to.port.or_else(implied);
        let wanted = Wanted { host, port, subset: to.subset.clone() };
        let backend = self.backend_of.get(&wanted).copied().unwrap_or_else(|| {
            let made = self.backend(&wanted).map(|backend| self.intern(&wanted, backend));
            self.backend_of.insert(wanted.clone(), made);
            made
        });
        self.look_for_meant(&wanted.host);
        let found = backend.map(|id| &self.backends[id.0]);
        let name = found.map_or_else(|_| wanted.to_string(), Backend::to_string);
        let lack = self.known(&wanted).lack(found);
        Resolved { name, backend, lack }
    }

    /// The same backend may have been wanted with its port or without.
    fn intern(&mut self, wanted: &Wanted, backend: Backend) -> BackendId {
        let with_port = Wanted { port: Some(backend.port), ..wanted.clone() };
        if let Some(Ok(known)) = self.backend_of.get(&with_port) {
            return *known;
        }
        let id = BackendId(self.backends.len());
        self.backends.push(backend);
        self.backend_of.insert(with_port, Ok(id));
        id
    }

    fn known<'a>(&'a self, wanted: &'a Wanted) -> Known<'a> {
        let host = wanted.host.as_str();
        let service = self.entries.get(host);
        let namespace = match service {
            Some(service) => service.first.metadata.namespace.as_str(),
            None => cluster_namespace(host).unwrap_or(UNKNOWN),
        };
        let rules = self.rules.of(host, namespace);
        let subset = wanted.subset.as_deref().and_then(|name| find_subset(rules, name));
        let meant = self.meant.get(host).copied().flatten();
        let unknown = wanted.subset.as_deref().filter(|_| subset.is_none());
        let subsets = || rules.iter().flat_map(|rule| &rule.subsets).map(|subset| subset.name.as_str());
        let meant_subset = unknown.and_then(|name| self.slips.meant(name, subsets()));
        let hidden = self.entries.hidden(host);
        let has_it = |rule: &&&DestinationRule| {
            let is_hidden = !rule.export_to.reaches(&self.identity.namespace);
            is_hidden && unknown.is_some_and(|name| rule.subsets.iter().any(|subset| subset.name == name))
        };
        let hidden_rule = self.rules.all(host).iter().find(has_it).copied();
        let own_namespace = self.identity.namespace.as_str();
        Known { wanted, service, hidden, namespace, own_namespace, rules, subset, hidden_rule, meant, meant_subset }
    }

    /// A host that has a DestinationRule of its own is written in two places, and no slip.
    fn look_for_meant(&mut self, host: &str) {
        let is_there = self.entries.get(host).is_some() || self.entries.hidden(host).is_some();
        if is_there || self.meant.contains_key(host) {
            return;
        }
        let own_rule = self.rules.all(host).iter().any(|rule| complete(&rule.host, &rule.metadata.namespace) == host);
        let meant = if own_rule { None } else { self.slips.meant(host, self.entries.hosts()) };
        self.meant.insert(host.to_owned(), meant);
    }

    fn backend(&self, wanted: &Wanted) -> Result<Backend, Missing> {
        let Known { service: described, namespace, rules, subset, .. } = self.known(wanted);
        if wanted.subset.is_some() && subset.is_none() {
            return Err(Missing::Subset);
        }
        let host = wanted.host.as_str();
        let labels = subset.map(|subset| &subset.labels);
        let service = ServiceName { host, namespace };
        let (port, protocol, endpoints) = if let Some(described) = described {
            let port = described.port(wanted.port)?;
            let sources = described.sources(port);
            let endpoints = sources.flat_map(|(entry, port)| entry_endpoints(entry, port, labels, &service)).collect();
            (port.number, port.protocol, endpoints)
        } else {
            let port = wanted.port.ok_or(Missing::Service)?;
            // Without a ServiceEntry there are no labels: only a subset that asks for none has endpoints.
            let selected = labels.is_none_or(BTreeMap::is_empty);
            let source = || EndpointSource::new(address(host), port, service.workload(&BTreeMap::new()));
            // DNS does not say what is spoken; a DestinationRule can.
            (port, Protocol::Http, selected.then(source).into_iter().collect())
        };
        let mut policy = merge_policies(subset.map(|s| &s.policy), policy_of(rules), (port, protocol));
        if let (Some(tls), Some(described)) = (&mut policy.tls, described)
            && tls.subject_alt_names.is_empty()
            && !described.first.subject_alt_names.is_empty()
        {
            Arc::make_mut(tls).subject_alt_names.clone_from(&described.first.subject_alt_names);
        }
        let workload = Arc::new(service.nobody());
        Ok(Backend { host: host.to_owned(), port, subset: wanted.subset.clone(), policy, endpoints, workload })
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
            // The entry's own name stands for an endpoint. It has no labels (observed on Istio); those of the entry are
            // for metrics.
            let source =
                || EndpointSource::new(address(service.host), default_port, service.workload(&entry.metadata.labels));
            labels.is_none_or(BTreeMap::is_empty).then(source).into_iter().collect()
        }
        resolution => {
            let sources = resolution.endpoints().iter().filter(selected).map(|endpoint| {
                let port = endpoint.ports.get(&port.name).copied().unwrap_or(default_port);
                let source = EndpointSource::new(endpoint.address.clone(), port, service.workload(&endpoint.labels));
                EndpointSource { weight: endpoint.weight.map_or(1, NonZeroU32::get), ..source }
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
