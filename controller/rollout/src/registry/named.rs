//! What the documents say of Services: which of them routes name, and how, and which subsets DestinationRules define.

use crate::hosts::{ServiceName, full_host};
use std::collections::{BTreeMap, BTreeSet};
use turnout_routes::documents::{Action, Destination, Document, Gateway, GatewayRef, Subset, VirtualService};

/// How routes name a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The first document that does.
    pub(super) by: String,
    /// Some destination names no subset.
    pub(super) whole: bool,
    /// The ports that destinations name.
    pub(super) ports: BTreeSet<u16>,
    /// Some destination names no port.
    pub(super) without_port: bool,
    /// The subsets that destinations name.
    pub(super) subsets: BTreeSet<String>,
}

/// The Services that routes name and that no ServiceEntry of the users describes.
pub(super) fn named_services(documents: &[Document]) -> BTreeMap<ServiceName, Named> {
    let described = described_hosts(documents);
    let mut services = BTreeMap::new();
    for (document, destination) in destinations(documents) {
        let host = full_host(&destination.host, &document.metadata.namespace);
        let service = ServiceName::of_host(&host).filter(|_| !described.contains(host.as_str()));
        if let Some(service) = service {
            services.entry(service).or_insert_with(|| Named::new(document)).add(destination);
        }
    }
    services
}

impl Named {
    fn new(document: &VirtualService) -> Self {
        Self {
            by: format!("VirtualService {}/{}", document.metadata.namespace, document.metadata.name),
            whole: false,
            ports: BTreeSet::new(),
            without_port: false,
            subsets: BTreeSet::new(),
        }
    }

    fn add(&mut self, destination: &Destination) {
        match &destination.subset {
            Some(subset) => drop(self.subsets.insert(subset.clone())),
            None => self.whole = true,
        }
        match destination.port {
            Some(number) => drop(self.ports.insert(number)),
            None => self.without_port = true,
        }
    }
}

fn described_hosts(documents: &[Document]) -> BTreeSet<&str> {
    let entries = documents.iter().filter_map(|document| match document {
        Document::ServiceEntry(entry) if !super::is_generated(document) => Some(entry),
        _ => None,
    });
    entries.flat_map(|entry| &entry.hosts).map(String::as_str).collect()
}

/// Every destination that requests may be sent to, with the document that it stands in.
fn destinations(documents: &[Document]) -> impl Iterator<Item = (&VirtualService, &Destination)> {
    let gateways: Vec<&Gateway> = documents.iter().filter_map(gateway).collect();
    let services = documents.iter().filter_map(move |document| match document {
        Document::VirtualService(service) if is_served(service, &gateways) => Some(service),
        _ => None,
    });
    services.flat_map(|service| {
        let forwards = service.http.iter().filter_map(|rule| match &rule.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::DirectResponse(_) => None,
        });
        let weighted = forwards.flat_map(|forward| forward.destinations.as_slice());
        weighted.map(move |weighted| (service, &weighted.destination))
    })
}

fn gateway(document: &Document) -> Option<&Gateway> {
    match document {
        Document::Gateway(gateway) => Some(gateway),
        _ => None,
    }
}

/// Where there are Gateways, a VirtualService that names none of them is for sidecars, and not for the gateways here.
fn is_served(service: &VirtualService, gateways: &[&Gateway]) -> bool {
    let is_one_of_them = |reference: &GatewayRef| match reference {
        GatewayRef::Mesh => false,
        GatewayRef::Named { namespace, name } => {
            gateways.iter().any(|gateway| (&gateway.metadata.namespace, &gateway.metadata.name) == (namespace, name))
        }
    };
    gateways.is_empty() || service.gateways.iter().any(is_one_of_them)
}

/// The subsets of a host that any DestinationRule defines. Which rule counts depends on the gateway's namespace, so one
/// more than that gateway takes may be among them: an endpoint too many changes nothing, as long as its labels are true.
pub(super) fn subsets<'d>(documents: &'d [Document], host: &str) -> Vec<&'d Subset> {
    let rules = documents.iter().filter_map(|document| match document {
        Document::DestinationRule(rule) => Some(rule),
        _ => None,
    });
    let of_host = rules.filter(|rule| covers(&full_host(&rule.host, &rule.metadata.namespace), host));
    let mut subsets: Vec<&Subset> = of_host.flat_map(|rule| &rule.subsets).collect();
    // Those with more labels first, then in an order that does not depend on that of the documents.
    subsets.sort_by(|a, b| (b.labels.len(), &a.name, &a.labels).cmp(&(a.labels.len(), &b.name, &b.labels)));
    subsets.dedup_by(|a, b| (&a.name, &a.labels) == (&b.name, &b.labels));
    subsets
}

/// Whether a rule for `pattern` is for the host: `*.example` covers what ends so.
fn covers(pattern: &str, host: &str) -> bool {
    pattern.strip_prefix('*').map_or(pattern == host, |suffix| host.len() > suffix.len() && host.ends_with(suffix))
}
