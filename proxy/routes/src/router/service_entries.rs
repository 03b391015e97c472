//! What ServiceEntries say of a service together, where several have its host (recorded and observed on Istio). The first of
//! those that gateways of the namespace see says what the service is. Further ones of its namespace that are like it add
//! ports; and every one of its namespace, like it or not and be it hidden, adds its endpoints to the ports that it has.

use super::backend::Missing;
use crate::documents::{Document, Resolution, ServiceEntry, ServicePort};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// The services that ServiceEntries describe for gateways of one namespace.
#[derive(Debug)]
pub struct ServiceEntries<'d> {
    by_host: HashMap<&'d str, DescribedService<'d>>,
    /// Of hosts that no entry has which counts, the first one that is not exported to the gateways.
    hidden: HashMap<&'d str, &'d ServiceEntry>,
}

/// A service that ServiceEntries describe.
#[derive(Clone, Debug)]
pub struct DescribedService<'d> {
    /// The first entry.
    pub(super) first: &'d ServiceEntry,
    /// By number: its own, and those of every entry that is like it.
    ports: BTreeMap<u16, &'d ServicePort>,
    /// All of its namespace.
    entries: Vec<&'d ServiceEntry>,
    /// The oldest of them, where several are and the gateways see it.
    oldest: Option<&'d ServiceEntry>,
}

impl<'d> ServiceEntries<'d> {
    /// For gateways of `namespace`.
    pub fn new(documents: &'d [Document], namespace: &str) -> Self {
        let entries = documents.iter().filter_map(|document| match document {
            Document::ServiceEntry(entry) => Some(entry),
            _ => None,
        });
        let mut entries: Vec<&ServiceEntry> = entries.collect();
        entries.sort_by_key(|entry| (entry.export_to.is_everywhere(), age(entry)));
        let mut by_host: HashMap<&str, DescribedService<'_>> = HashMap::new();
        let (seen, unseen): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.export_to.reaches(namespace));
        for (entry, host) in with_hosts(&seen) {
            match by_host.entry(host) {
                Entry::Vacant(none) => _ = none.insert(DescribedService::new(entry)),
                Entry::Occupied(mut known) => known.get_mut().add(entry),
            }
        }
        let mut hidden = HashMap::new();
        for (entry, host) in with_hosts(&unseen) {
            match by_host.get_mut(host) {
                Some(known) => known.add_endpoints(entry),
                None => _ = hidden.entry(host).or_insert(entry),
            }
        }
        for service in by_host.values_mut().filter(|service| service.entries.len() > 1) {
            let oldest = service.entries.iter().copied().min_by_key(|entry| age(entry));
            service.oldest = oldest.filter(|entry| entry.export_to.reaches(namespace));
        }
        Self { by_host, hidden }
    }

    /// What is described of the host, which is complete.
    pub fn get(&self, host: &str) -> Option<&DescribedService<'d>> {
        self.by_host.get(host)
    }

    /// Every host that is described.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &'d str> {
        self.by_host.keys().copied()
    }

    /// Every host of which no entry counts.
    pub(super) fn hidden_hosts(&self) -> impl Iterator<Item = &'d str> {
        self.hidden.keys().copied()
    }

    /// An entry that has the host and is not exported to the gateways, where none counts.
    pub(super) fn hidden(&self, host: &str) -> Option<&'d ServiceEntry> {
        self.hidden.get(host).copied()
    }

    /// The entry that says what a service is to which this one, which is not exported to the gateways, adds its endpoints.
    pub(super) fn joined(&self, hidden: &ServiceEntry) -> Option<&'d ServiceEntry> {
        let mut services = hidden.hosts.iter().filter_map(|host| self.by_host.get(host.as_str()));
        services.find(|service| service.takes_endpoints(hidden)).map(|service| service.first)
    }
}

fn age(entry: &ServiceEntry) -> (&str, &str, &str) {
    let (created, name, namespace) = entry.metadata.age_order();
    (created, namespace, name)
}

fn with_hosts<'d>(entries: &[&'d ServiceEntry]) -> impl Iterator<Item = (&'d ServiceEntry, &'d str)> {
    entries.iter().flat_map(|entry| entry.hosts.iter().map(|host| (*entry, host.as_str())))
}

impl<'d> DescribedService<'d> {
    fn new(first: &'d ServiceEntry) -> Self {
        let ports = first.ports.iter().map(|port| (port.number, port)).collect();
        Self { first, ports, entries: vec![first], oldest: None }
    }

    fn add(&mut self, entry: &'d ServiceEntry) {
        let first = self.first;
        let is_like_it = self.is_beside(entry)
            && entry.metadata.labels == first.metadata.labels
            && entry.export_to == first.export_to
            && std::mem::discriminant(&entry.resolution) == std::mem::discriminant(&first.resolution);
        for port in entry.ports.iter().filter(|_| is_like_it) {
            self.ports.entry(port.number).or_insert(port);
        }
        self.add_endpoints(entry);
    }

    fn add_endpoints(&mut self, entry: &'d ServiceEntry) {
        if self.is_beside(entry) {
            self.entries.push(entry);
        }
    }

    fn is_beside(&self, entry: &ServiceEntry) -> bool {
        entry.metadata.namespace == self.first.metadata.namespace
    }

    fn takes_endpoints(&self, entry: &ServiceEntry) -> bool {
        self.is_beside(entry) && self.ports.values().any(|port| self.port_of(entry, port).is_some())
    }

    /// The numbers of its ports, in order.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.keys().copied()
    }

    /// The port of this number; where none is wanted, the only one.
    pub fn port(&self, wanted: Option<u16>) -> Result<&'d ServicePort, Missing> {
        match (wanted, self.ports.len()) {
            (Some(number), _) => self.ports.get(&number).copied().ok_or(Missing::Port),
            (None, 0 | 1) => self.ports.values().next().copied().ok_or(Missing::Port),
            (None, _) => Err(Missing::PortNotGiven),
        }
    }

    /// The port that a rule in `namespace` means which names none: that of the oldest entry, if it is one beside others there.
    pub fn implied_port(&self, namespace: &str) -> Option<u16> {
        let oldest = self.oldest.filter(|oldest| oldest.metadata.namespace == namespace)?;
        if let [only] = oldest.ports.as_slice() { Some(only.number) } else { None }
    }

    /// The entries whose endpoints are those of the port, each with the port as it has it.
    pub fn sources(&self, port: &ServicePort) -> impl Iterator<Item = (&'d ServiceEntry, &'d ServicePort)> {
        self.entries.iter().filter_map(move |entry| Some((*entry, self.port_of(entry, port)?)))
    }

    /// The port as the entry has it, if its endpoints are those of the port. Addresses go with addresses by the name of the
    /// port; where names are looked up, all go together by its number.
    fn port_of<'e>(&self, entry: &'e ServiceEntry, port: &ServicePort) -> Option<&'e ServicePort> {
        let mut ports = entry.ports.iter();
        match (&self.first.resolution, &entry.resolution) {
            (Resolution::Static(_), Resolution::Static(_)) => ports.find(|other| other.name == port.name),
            (Resolution::Dns(_), Resolution::Static(_) | Resolution::Dns(_)) => {
                ports.find(|other| other.number == port.number)
            }
            _ => None,
        }
    }
}
