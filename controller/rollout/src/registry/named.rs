//! What the documents say of Services: which of them routes name, and how, and which subsets DestinationRules define.

use crate::hosts::{ServiceName, full_host};
use std::collections::{BTreeMap, BTreeSet};
use turnout_routes::documents::{
    Action, Destination, Document, Gateway, GatewayRef, HeaderSelector, HttpRule, Metadata, Subset, VirtualService,
};

/// A Service, or a subset of one, that requests may be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedDestination {
    /// The Service.
    pub service: ServiceName,
    /// The subset of it.
    pub subset: Option<String>,
    /// The first document that names it.
    pub by: String,
    /// Requests come to it that pick nothing by a header: of some rule for them it has weight, or is the only destination.
    /// Copies for mirrors are none.
    pub has_weight: bool,
}

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

/// The Services, and subsets of them, that destinations of served routes name and that no ServiceEntry of the users
/// describes, in order. A DestinationRule names none: what no route names gets no request.
pub fn destinations_named(documents: &[Document]) -> Vec<NamedDestination> {
    let mut destinations = BTreeMap::new();
    for (document, service, place) in service_destinations(documents) {
        let subset = place.destination.subset.clone();
        let named = destinations.entry((service.clone(), subset.clone())).or_insert_with(|| NamedDestination {
            service,
            subset,
            by: title(document),
            has_weight: false,
        });
        named.has_weight |= place.has_weight;
    }
    destinations.into_values().collect()
}

/// The Services that routes name and that no ServiceEntry of the users describes.
pub(super) fn named_services(documents: &[Document]) -> BTreeMap<ServiceName, Named> {
    let mut services = BTreeMap::new();
    for (document, service, place) in service_destinations(documents) {
        services.entry(service).or_insert_with(|| Named::new(document)).add(place.destination);
    }
    services
}

fn title(document: &VirtualService) -> String {
    format!("VirtualService {}/{}", document.metadata.namespace, document.metadata.name)
}

impl Named {
    fn new(document: &VirtualService) -> Self {
        Self {
            by: title(document),
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

/// A destination where it stands.
struct Place<'d> {
    destination: &'d Destination,
    /// As [`NamedDestination::has_weight`].
    has_weight: bool,
}

/// Every destination that requests may be sent to and that is a Service which no ServiceEntry of the users describes, with
/// the document that it stands in.
fn service_destinations(documents: &[Document]) -> impl Iterator<Item = (&VirtualService, ServiceName, Place<'_>)> {
    let described = described_hosts(documents);
    destinations(documents).filter_map(move |(document, place)| {
        let host = full_host(&place.destination.host, &document.metadata.namespace);
        let service = ServiceName::of_host(&host).filter(|_| !described.contains(host.as_str()));
        service.map(|service| (document, service, place))
    })
}

fn destinations(documents: &[Document]) -> impl Iterator<Item = (&VirtualService, Place<'_>)> {
    let gateways: Vec<&Gateway> = documents.iter().filter_map(gateway).collect();
    let services: Vec<&VirtualService> = documents.iter().filter_map(virtual_service).collect();
    let hosted = services.iter().filter(|service| !service.hosts.is_empty() && is_served(service, &gateways));
    let delegates: BTreeSet<(&str, &str)> =
        hosted.flat_map(|service| service.http.iter().filter_map(delegate)).collect();
    let services = services.into_iter().filter(move |service| {
        let Metadata { namespace, name, .. } = &service.metadata;
        is_served(service, &gateways) || delegates.contains(&(namespace.as_str(), name.as_str()))
    });
    let rules = services.flat_map(|service| service.http.iter().map(move |rule| (service, rule)));
    rules.flat_map(|(service, rule)| {
        let destinations = match &rule.action {
            Action::Forward(forward) => forward.destinations.as_slice(),
            Action::Redirect(_) | Action::DirectResponse(_) | Action::Delegate(_) => &[],
        };
        let (is_alone, is_picked) = (destinations.len() == 1, is_picked_by_header(rule));
        let weighted = destinations.iter().map(move |weighted| {
            let has_weight = !is_picked && (is_alone || weighted.weight > 0);
            (service, Place { destination: &weighted.destination, has_weight })
        });
        // A rule that answers itself sends no copies either; one that delegates has them sent by those that it names.
        let answers = matches!(rule.action, Action::Redirect(_) | Action::DirectResponse(_));
        let mirrors = if answers { &[] } else { rule.mirrors.as_slice() };
        let copies = mirrors.iter().map(|mirror| &mirror.destination);
        weighted.chain(copies.map(move |destination| (service, Place { destination, has_weight: false })))
    })
}

/// Only requests with some header come to the rule.
fn is_picked_by_header(rule: &HttpRule) -> bool {
    let is_name = |(selector, _): &(HeaderSelector, _)| matches!(selector, HeaderSelector::Name(_));
    !rule.matches.is_empty() && rule.matches.iter().all(|one| one.headers.values().any(is_name))
}

/// Namespace and name of the VirtualService whose rules take the place of this one.
fn delegate(rule: &HttpRule) -> Option<(&str, &str)> {
    match &rule.action {
        Action::Delegate(to) => Some((&to.namespace, &to.name)),
        _ => None,
    }
}

fn virtual_service(document: &Document) -> Option<&VirtualService> {
    match document {
        Document::VirtualService(service) => Some(service),
        _ => None,
    }
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
