//! Where a destination is: Istio's clusters, by service, port and subset (`GetDestinationCluster`, `destinationRule`).

use super::{Documents, NAMESPACE, exports, has_labels, list, namespace, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// A destination with what is there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// `host:port/subset`, the port that of the service where it has only one, or has the listener's.
    pub(crate) name: String,
    pub(crate) reach: Reach,
}

/// What a cluster has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reach {
    /// No document has the service.
    UnknownService,
    /// The service has no such port or no such subset: 503.
    NoCluster,
    /// Addresses and ports; none: 503.
    Endpoints(Vec<(String, u64)>),
}

/// A name without a dot is one of a service in the document's own namespace (`ResolveShortnameToFQDN`).
pub(crate) fn full_name(host: &str, own_namespace: &str) -> String {
    if host == "*" || host.contains('.') {
        host.to_owned()
    } else {
        format!("{host}.{own_namespace}.svc.cluster.local")
    }
}

impl Documents {
    pub(crate) fn place(&self, destination: &Value, own_namespace: &str, listener: u16) -> Place {
        let host = full_name(text(&destination["host"]), own_namespace);
        let subset = destination["subset"].as_str().map(str::to_owned);
        let entry =
            self.service_entries.iter().find(|entry| list(&entry["spec"]["hosts"]).iter().any(|one| text(one) == host));
        let ports = entry.map_or(&[][..], |entry| list(&entry["spec"]["ports"]));
        let only = if let [port] = ports { port["number"].as_u64() } else { None };
        let port = destination["port"]["number"].as_u64().or(only);
        let reach = entry.map_or(Reach::UnknownService, |entry| {
            // Without a port, that of the listener stands in.
            let number = port.unwrap_or(u64::from(listener));
            let served = ports.iter().find(|port| port["number"] == number);
            let labels = match &subset {
                Some(subset) => self.subset(&host, namespace(entry), subset),
                None => Some(&Value::Null),
            };
            match (served, labels) {
                (Some(port), Some(labels)) => Reach::Endpoints(endpoints(entry, port, labels)),
                _ => Reach::NoCluster,
            }
        });
        let number = port.or(entry.map(|_| u64::from(listener)));
        let is_one = |number: &u64| ports.len() > 1 && ports.iter().any(|port| port["number"] == *number);
        let of_listener = Some(u64::from(listener)).filter(is_one);
        let named = match reach {
            Reach::Endpoints(_) => number,
            Reach::UnknownService | Reach::NoCluster => destination["port"]["number"].as_u64().or(of_listener),
        };
        let known_port = named.map_or(String::new(), |port| format!(":{port}"));
        let known_subset = subset.map_or(String::new(), |subset| format!("/{subset}"));
        Place { name: format!("{host}{known_port}{known_subset}"), reach }
    }

    /// The labels of a subset. What the root namespace keeps to itself goes first, then come the rules of the service's own
    /// namespace, then those of the root namespace (`destinationRule`).
    fn subset(&self, host: &str, of_service: &str, subset: &str) -> Option<&Value> {
        let searched = [(true, NAMESPACE), (false, of_service), (false, NAMESPACE)];
        let rules = searched.into_iter().find_map(|(is_private, searched)| {
            let rules = self
                .destination_rules
                .iter()
                .filter(|rule| is_private_to_its_own(rule) == is_private && namespace(rule) == searched);
            consolidated(most_specific(host, rules)).into_iter().rfind(|(exports, _)| {
                is_private || exports.is_empty() || exports.contains("*") || exports.contains(NAMESPACE)
            })
        })?;
        let mut subsets = rules.1.into_iter().flat_map(|rule| list(&rule["spec"]["subsets"]));
        subsets.find(|one| text(&one["name"]) == subset).map(|one| &one["labels"])
    }
}

fn is_private_to_its_own(rule: &Value) -> bool {
    let exports = exports::written(rule);
    exports.len() == 1 && (exports.contains(".") || exports.contains(namespace(rule)))
}

/// Those for the host, or for the longest wildcard that has it (`MostSpecificHostMatch`).
fn most_specific<'r>(host: &str, rules: impl Iterator<Item = &'r Value>) -> Vec<&'r Value> {
    let named = |rule: &Value| full_name(text(&rule["spec"]["host"]), namespace(rule));
    let mut fitting: Vec<&Value> = rules
        .filter(|rule| named(rule).strip_prefix('*').map_or(named(rule) == host, |suffix| host.ends_with(suffix)))
        .collect();
    let best = fitting.iter().map(|rule| named(rule)).max_by_key(|name| (!name.starts_with('*'), name.len()));
    fitting.retain(|rule| Some(named(rule)) == best);
    fitting
}

/// Rules of one host, with for whom they are: each becomes part of every one before it that is for the same namespaces or
/// for some of them, and stands for itself where the last of these is not (`mergeDestinationRule`).
fn consolidated(rules: Vec<&Value>) -> Vec<(BTreeSet<&str>, Vec<&Value>)> {
    let mut consolidated: Vec<(BTreeSet<&str>, Vec<&Value>)> = Vec::new();
    for rule in rules {
        let exports = exports::written(rule);
        let mut stands_alone = true;
        for (others, merged) in &mut consolidated {
            let takes = exports == *others || (!others.is_empty() && exports.is_superset(others));
            if takes {
                merged.push(rule);
            }
            stands_alone = !takes;
        }
        if stands_alone {
            consolidated.push((exports, vec![rule]));
        }
    }
    consolidated
}

fn endpoints(entry: &Value, port: &Value, labels: &Value) -> Vec<(String, u64)> {
    let endpoints = list(&entry["spec"]["endpoints"]).iter();
    let chosen =
        endpoints.filter(|endpoint| has_labels(labels, |name, value| text(&endpoint["labels"][name]) == value));
    let own_port = |endpoint: &Value| endpoint["ports"][text(&port["name"])].as_u64();
    let number = port["targetPort"].as_u64().or(port["number"].as_u64());
    chosen.map(|one| (text(&one["address"]).to_owned(), own_port(one).or(number).expect("a port"))).collect()
}
