//! DestinationRules for a host or a port that nothing else has. Where no rule forwards anything, what does may be in another
//! file.

use crate::documents::{Action, Destination, DestinationRule, Document, HttpRule};
use crate::router::known::complete;
use crate::router::service_entries::ServiceEntries;
use crate::router::slip::Slips;
use crate::router::warning::{Warning, listed};
use std::collections::{BTreeMap, BTreeSet};
use std::iter::once;

/// Looks at all documents: a VirtualService that the gateway does not see names hosts for others.
pub(super) fn check(documents: &[Document], entries: &ServiceEntries<'_>, own_namespace: &str) -> Vec<Warning> {
    let mut checker = Checker { slips: Slips::new(), warnings: Vec::new() };
    let rules = documents.iter().filter_map(destination_rule);
    // Others are for gateways that see other services.
    let rules: Vec<&DestinationRule> = rules.filter(|rule| rule.export_to.reaches(own_namespace)).collect();
    checker.destination_rules(&rules, named_ports(documents, entries));
    checker.warnings
}

/// Of each host that a ServiceEntry has, or a destination, its ports: none where they are not known. And whether there is
/// any destination.
type NamedPorts = (BTreeMap<String, Option<BTreeSet<u16>>>, bool);

struct Checker {
    slips: Slips,
    warnings: Vec<Warning>,
}

impl Checker {
    fn destination_rules(&mut self, rules: &[&DestinationRule], (named, any_forwards): NamedPorts) {
        let host_of = |rule: &DestinationRule| complete(&rule.host, &rule.metadata.namespace);
        let ruled: BTreeSet<String> = rules.iter().map(|rule| host_of(rule)).collect();
        for rule in rules {
            let host = host_of(rule);
            let is_named = match host.strip_prefix('*') {
                Some(suffix) => named.keys().any(|named| named.len() > suffix.len() && named.ends_with(suffix)),
                None => named.contains_key(&host),
            };
            if is_named {
                if let Some(Some(ports)) = named.get(&host) {
                    self.ports_of(rule, &host, ports);
                }
                continue;
            }
            let unruled = named.keys().filter(|named| !ruled.contains(*named)).map(String::as_str);
            let advice = match self.slips.meant(&host, unruled) {
                Some(meant) => format!("did you mean {meant}?"),
                None if any_forwards => "correct the host, or leave the rule out".to_owned(),
                None => continue,
            };
            let reason = format!("no destination and no ServiceEntry has {host}");
            self.warn(rule, "spec.host".to_owned(), reason, advice);
        }
    }

    /// Settings for ports that the host does not have.
    fn ports_of(&mut self, rule: &DestinationRule, host: &str, known: &BTreeSet<u16>) {
        let subsets = rule.subsets.iter().enumerate();
        let of_subsets = subsets.map(|(at, subset)| (format!("spec.subsets[{at}].trafficPolicy"), &subset.policy));
        for (place, policy) in once(("spec.trafficPolicy".to_owned(), &*rule.policy)).chain(of_subsets) {
            for (at, (port, _)) in policy.ports.iter().enumerate().filter(|(_, (port, _))| !known.contains(port)) {
                let path = format!("{place}.portLevelSettings[{at}].port.number");
                let reason = format!("{host} has no port {port}, only {}", listed(known.iter().map(u16::to_string)));
                self.warn(rule, path, reason, "correct the port, or leave its settings out".to_owned());
            }
        }
    }

    fn warn(&mut self, rule: &DestinationRule, path: String, reason: String, advice: String) {
        self.warnings.push(Warning::of_document(("DestinationRule", &rule.metadata), path, reason, advice));
    }
}

fn named_ports(documents: &[Document], entries: &ServiceEntries<'_>) -> NamedPorts {
    let mut destinations: BTreeMap<String, Option<BTreeSet<u16>>> = BTreeMap::new();
    for document in documents {
        for to in destinations_of(document) {
            let host = complete(&to.host, &document.metadata().namespace);
            let ports = destinations.entry(host).or_insert(Some(BTreeSet::new()));
            match (to.port, &mut *ports) {
                (Some(port), Some(ports)) => drop(ports.insert(port)),
                _ => *ports = None,
            }
        }
    }
    let any_forwards = !destinations.is_empty();
    // What entries say of a host counts; of one that they hide, nothing is known.
    for host in entries.hosts() {
        let ports = entries.get(host).map(|service| service.ports().collect());
        destinations.insert(host.to_owned(), ports);
    }
    for host in entries.hidden_hosts() {
        destinations.insert(host.to_owned(), None);
    }
    (destinations, any_forwards)
}

fn destinations_of(document: &Document) -> impl Iterator<Item = &Destination> {
    let (rules, shadow) = match document {
        Document::VirtualService(service) => (service.http.as_slice(), None),
        Document::SplitPolicy(policy) => (&[][..], policy.shadow.as_ref()),
        Document::Gateway(_) | Document::DestinationRule(_) | Document::ServiceEntry(_) => (&[][..], None),
    };
    rules.iter().flat_map(destinations_of_rule).chain(shadow.and_then(|shadow| shadow.to.as_ref()))
}

fn destinations_of_rule(http: &HttpRule) -> impl Iterator<Item = &Destination> {
    let destinations = match &http.action {
        Action::Forward(forward) => forward.destinations.as_slice(),
        Action::Redirect(_) | Action::DirectResponse(_) | Action::Delegate(_) => &[],
    };
    let mirrors = http.mirrors.iter().map(|mirror| &mirror.destination);
    destinations.iter().map(|weighted| &weighted.destination).chain(mirrors)
}

fn destination_rule(document: &Document) -> Option<&DestinationRule> {
    match document {
        Document::DestinationRule(rule) => Some(rule),
        _ => None,
    }
}
