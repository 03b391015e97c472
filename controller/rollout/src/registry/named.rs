//! What the documents say of Services: which of them routes name, and how, and which subsets DestinationRules define.

use crate::hosts::{ServiceName, full_host};
use std::collections::{BTreeMap, BTreeSet};
use turnout_routes::documents::{Destination, Document, HeaderSelector, Match, Subset};
use turnout_routes::router::{Act, Origin, Placed, hosted};

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

/// The Services, and subsets of them, that destinations of rules name which gateways of the namespace `gateways` serve, and
/// that no ServiceEntry of the users describes to them, in order. A DestinationRule names none: what no route names gets no
/// request.
pub fn destinations_named(documents: &[Document], gateways: &str) -> Vec<NamedDestination> {
    let mut destinations = BTreeMap::new();
    for (service, place) in service_destinations(documents, gateways) {
        let subset = place.destination.subset.clone();
        let named = destinations.entry((service.clone(), subset.clone())).or_insert_with(|| NamedDestination {
            service,
            subset,
            by: title(&place.written),
            has_weight: false,
        });
        named.has_weight |= place.has_weight;
    }
    destinations.into_values().collect()
}

/// The Services that routes name and that no ServiceEntry of the users describes, as gateways of the namespace `gateways`
/// see them.
pub(super) fn named_services(documents: &[Document], gateways: &str) -> BTreeMap<ServiceName, Named> {
    let mut services = BTreeMap::new();
    for (service, place) in service_destinations(documents, gateways) {
        services.entry(service).or_insert_with(|| Named::new(&place.written)).add(place.destination);
    }
    services
}

fn title(written: &Origin) -> String {
    format!("VirtualService {}/{}", written.namespace, written.virtual_service)
}

impl Named {
    fn new(written: &Origin) -> Self {
        Self { by: title(written), whole: false, ports: BTreeSet::new(), without_port: false, subsets: BTreeSet::new() }
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

fn described_hosts<'d>(documents: &'d [Document], gateways: &str) -> BTreeSet<&'d str> {
    let entries = documents.iter().filter_map(|document| match document {
        Document::ServiceEntry(entry) if !super::is_generated(document) => Some(entry),
        _ => None,
    });
    entries
        .filter(|entry| entry.export_to.reaches(gateways))
        .flat_map(|entry| &entry.hosts)
        .map(String::as_str)
        .collect()
}

/// A destination where it stands.
struct Place<'d> {
    destination: &'d Destination,
    /// The rule that it is written in.
    written: Origin,
    /// As [`NamedDestination::has_weight`].
    has_weight: bool,
}

/// Every destination that requests may be sent to and that is a Service which no ServiceEntry of the users describes.
fn service_destinations<'d>(
    documents: &'d [Document],
    gateways: &str,
) -> impl Iterator<Item = (ServiceName, Place<'d>)> {
    let described = described_hosts(documents, gateways);
    let rules = hosted(documents, gateways).into_iter().flat_map(|service| service.rules);
    rules.flat_map(|rule| places(&rule)).filter_map(move |place| {
        let host = full_host(&place.destination.host, &place.written.namespace);
        let service = ServiceName::of_host(&host).filter(|_| !described.contains(host.as_str()));
        service.map(|service| (service, place))
    })
}

/// A rule that answers itself sends no copies either.
fn places<'d>(rule: &Placed<'d>) -> Vec<Place<'d>> {
    let Act::Forward { destinations, .. } = rule.act else { return Vec::new() };
    let destinations = destinations.as_slice();
    let (is_alone, is_picked) = (destinations.len() == 1, are_by_header(&rule.matches));
    let weighted = destinations.iter().map(|weighted| {
        let has_weight = !is_picked && (is_alone || weighted.weight > 0);
        Place { destination: &weighted.destination, written: rule.origin.clone(), has_weight }
    });
    let copies = rule.mirrors.iter().map(|mirror| {
        let written = rule.mirrors_of.clone();
        Place { destination: &mirror.destination, written, has_weight: false }
    });
    weighted.chain(copies).collect()
}

/// Only requests with some header come to the rule.
fn are_by_header(matches: &[Match]) -> bool {
    let is_name = |(selector, _): &(HeaderSelector, _)| matches!(selector, HeaderSelector::Name(_));
    !matches.is_empty() && matches.iter().all(|one| one.headers.values().any(is_name))
}

/// The subsets of a host that any DestinationRule defines which gateways of the namespace `gateways` see. Which of these
/// rules counts is theirs to say, so one more than they take may be among them: an endpoint too many changes nothing, as
/// long as its labels are true.
pub(super) fn subsets<'d>(documents: &'d [Document], host: &str, gateways: &str) -> Vec<&'d Subset> {
    let rules = documents.iter().filter_map(|document| match document {
        Document::DestinationRule(rule) if rule.export_to.reaches(gateways) => Some(rule),
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
