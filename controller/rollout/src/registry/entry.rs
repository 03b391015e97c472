//! The ServiceEntry of one Service, and the twins that its endpoints are.

use super::named::{Named, subsets};
use super::ports::{Ends, notices, service_ports, twin_ports};
use super::twin::{entry_name, subset_twin_name, whole_twin_name};
use super::{EndpointsBy, MANAGED_BY, ServiceFacts, Twin};
use crate::hosts::full_host;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use turnout_routes::documents::{
    Document, EndpointAddress, ExportTo, Metadata, Resolution, ServiceEndpoint, ServiceEntry, ServicePort, Subset,
};

type Labels = BTreeMap<String, String>;

/// What becomes of one Service.
#[derive(Debug, Default)]
pub(super) struct Description {
    /// None for a Service that has no address.
    pub(super) entry: Option<ServiceEntry>,
    pub(super) twins: Vec<Twin>,
    pub(super) notices: Vec<String>,
}

/// Describes a Service as the routes name it, to gateways of the namespace.
pub(super) fn describe(
    facts: &ServiceFacts,
    named: &Named,
    (documents, gateways): (&[Document], &str),
    by: EndpointsBy,
) -> Description {
    let Some(whole) = Whole::of(facts, by) else {
        let what = "has neither an address nor a selector: requests for it get 503";
        let notices = vec![format!("Service {}/{} {what}", facts.namespace, facts.name)];
        return Description { notices, ..Description::default() };
    };
    let host = full_host(&facts.name, &facts.namespace);
    let ends = whole.ends();
    let subsets = subsets(documents, &host, gateways);
    let mut draft = Draft {
        facts,
        named,
        // What stands for an external name selects nothing.
        selector: if matches!(whole, Whole::ExternalName(_)) { Labels::new() } else { facts.selector.clone() },
        // Whatever costs no twin is there in any case.
        wants_whole: named.whole || whole != Whole::Twin,
        has_twins: by == EndpointsBy::Twins && !facts.selector.is_empty() && ends == Ends::AtPods,
        keys: subsets.iter().flat_map(|subset| subset.labels.keys()).map(String::as_str).collect(),
        ports: service_ports(facts, named, ends),
        whole,
        endpoints: Vec::new(),
        twins: Vec::new(),
        notices: notices(facts, named, ends),
    };
    for subset in subsets {
        draft.add_subset(subset);
    }
    if draft.wants_whole {
        draft.add_whole(&host);
    }
    draft.finish(host, documents)
}

/// Where the pods of the whole Service are found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whole {
    /// At a headless twin.
    Twin,
    /// At the name of the Service, which is headless itself.
    OwnName,
    /// At the Service's address.
    Address(IpAddr),
    /// At the name that the Service stands for.
    ExternalName(String),
}

impl Whole {
    fn of(facts: &ServiceFacts, by: EndpointsBy) -> Option<Self> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(name) = filled(&facts.external_name) {
            let name = name.to_ascii_lowercase();
            return Some(Self::ExternalName(name.strip_suffix('.').unwrap_or(&name).to_owned()));
        }
        match filled(&facts.cluster_ip).as_deref() {
            Some("None") => Some(Self::OwnName),
            _ if by == EndpointsBy::Twins && !facts.selector.is_empty() => Some(Self::Twin),
            address => Some(Self::Address(address?.parse().ok()?)),
        }
    }

    fn ends(&self) -> Ends {
        match self {
            Self::Twin | Self::OwnName => Ends::AtPods,
            Self::Address(_) | Self::ExternalName(_) => Ends::AtService,
        }
    }
}

/// A Service while its endpoints are collected.
struct Draft<'a> {
    facts: &'a ServiceFacts,
    named: &'a Named,
    selector: Labels,
    whole: Whole,
    wants_whole: bool,
    /// Subsets can be told apart.
    has_twins: bool,
    /// What subsets select by.
    keys: BTreeSet<&'a str>,
    ports: Vec<ServicePort>,
    endpoints: Vec<ServiceEndpoint>,
    twins: Vec<Twin>,
    notices: Vec<String>,
}

impl Draft<'_> {
    fn add_subset(&mut self, subset: &Subset) {
        let selector = &self.selector;
        let is_of_selector = |(key, value): (&String, &String)| selector.get(key) == Some(value);
        if subset.labels.iter().all(is_of_selector) {
            self.wants_whole = true;
            return;
        }
        let contradicts = subset.labels.iter().any(|(key, value)| selector.get(key).is_some_and(|own| own != value));
        if contradicts || !self.has_twins {
            self.note_empty(subset, contradicts);
            return;
        }
        let mut labels = selector.clone();
        labels.extend(subset.labels.clone());
        let workload = format!("{}-{}", self.facts.name, subset.name);
        let name = subset_twin_name(&self.facts.name, subset);
        self.add_twin(name, labels, &workload);
    }

    fn add_whole(&mut self, host: &str) {
        let (selector, workload) = (self.selector.clone(), &self.facts.name);
        match &self.whole {
            Whole::Twin => self.add_twin(whole_twin_name(workload), selector, workload),
            Whole::OwnName => self.add_endpoint(EndpointAddress::Name(host.to_owned()), &selector, workload),
            Whole::Address(address) => self.add_endpoint(EndpointAddress::Ip(*address), &selector, workload),
            Whole::ExternalName(name) => {
                let address = name.parse().map_or_else(|_| EndpointAddress::Name(name.clone()), EndpointAddress::Ip);
                self.add_endpoint(address, &selector, workload);
            }
        }
    }

    fn add_twin(&mut self, name: String, selector: Labels, workload: &str) {
        let address = EndpointAddress::Name(full_host(&name, &self.facts.namespace));
        self.add_endpoint(address, &selector, workload);
        let (namespace, service) = (self.facts.namespace.clone(), self.facts.name.clone());
        self.twins.push(Twin { namespace, name, service, selector, ports: twin_ports(&self.ports) });
    }

    /// `labels` are those that every pod behind the address has.
    fn add_endpoint(&mut self, address: EndpointAddress, labels: &Labels, workload: &str) {
        let deployment = owner(&self.facts.deployments, labels);
        let labels = endpoint_labels(labels, deployment, workload, &self.keys);
        self.endpoints.push(ServiceEndpoint { address, ports: BTreeMap::new(), labels, weight: None });
    }

    fn note_empty(&mut self, subset: &Subset, contradicts: bool) {
        if !self.named.subsets.contains(&subset.name) {
            return;
        }
        let why = match (contradicts, &self.whole) {
            (true, _) => "its labels contradict the Service's selector",
            (_, Whole::ExternalName(_)) => "the Service stands for an external name",
            _ if self.facts.selector.is_empty() => "the Service has no selector",
            _ => "subsets need twins, which are turned off",
        };
        let service = format!("{}/{}", self.facts.namespace, self.facts.name);
        self.notices.push(format!("Subset {} of Service {service} has no endpoints: {why}", subset.name));
    }

    fn finish(self, host: String, documents: &[Document]) -> Description {
        let namespace = self.facts.namespace.clone();
        let name = entry_name(&self.facts.name, |name| is_taken(documents, &namespace, name));
        let labels = Labels::from([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())]);
        let is_static = match self.whole {
            Whole::Address(_) => true,
            // An entry for DNS without endpoints would be looked up by the Service's own name.
            _ => self.endpoints.is_empty(),
        };
        let entry = ServiceEntry {
            metadata: Metadata { name, namespace, creation_timestamp: None, labels },
            hosts: vec![host],
            ports: self.ports,
            internal: !matches!(self.whole, Whole::ExternalName(_)),
            resolution: if is_static { Resolution::Static(self.endpoints) } else { Resolution::Dns(self.endpoints) },
            subject_alt_names: Vec::new(),
            export_to: ExportTo::default(),
        };
        Description { entry: Some(entry), twins: self.twins, notices: self.notices }
    }
}

/// Whether a ServiceEntry of the users has the name.
fn is_taken(documents: &[Document], namespace: &str, name: &str) -> bool {
    documents.iter().any(|document| {
        let metadata = document.metadata();
        let is_entry = matches!(document, Document::ServiceEntry(_)) && !super::is_generated(document);
        is_entry && metadata.namespace == namespace && metadata.name == name
    })
}

/// The Deployment whose pods are all that have the labels. It is told by what its pods are to carry and not by those that
/// there are, so that its name stays as pods come and go, and when it is scaled to nothing. Of several it is none: their
/// endpoint stands for all of them. So it is for what stands for no pods.
fn owner<'a>(deployments: &'a BTreeMap<String, Labels>, labels: &Labels) -> Option<&'a str> {
    let is_of_it = |pods: &Labels| labels.iter().all(|(key, value)| pods.get(key) == Some(value));
    let mut owners = deployments.iter().filter(|(_, pods)| !labels.is_empty() && is_of_it(pods));
    let (name, _) = owners.next()?;
    owners.next().is_none().then_some(name)
}

/// What an endpoint carries: of the labels that its pods have those that subsets select by, and what metrics call it. A
/// name for metrics is left out where a subset would take it for a label of the pods.
fn endpoint_labels(pods: &Labels, deployment: Option<&str>, service: &str, keys: &BTreeSet<&str>) -> Labels {
    let first = |candidates: &[&str]| candidates.iter().find_map(|key| pods.get(*key)).cloned();
    let named = [
        ("app", first(&["app", "app.kubernetes.io/name"])),
        ("version", first(&["version", "model_version", "app.kubernetes.io/version"])),
        ("workload", Some(deployment.or(pods.get("workload").map(String::as_str)).unwrap_or(service).to_owned())),
    ];
    let selected = pods.iter().filter(|(key, _)| keys.contains(key.as_str()));
    let mut labels: Labels = selected.map(|(key, value)| (key.clone(), value.clone())).collect();
    for (key, value) in named {
        if let Some(value) = value.filter(|_| !keys.contains(key)) {
            labels.insert(key.to_owned(), value);
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_named_for_metrics_unless_a_subset_would_take_it_for_its_own() {
        let labels = |text: &str| -> Labels {
            let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        let named = |deployment, pods: &str, keys: &[&str], expected: &str| {
            let found = endpoint_labels(&labels(pods), deployment, "m", &keys.iter().copied().collect());
            assert_eq!(found, labels(expected), "{pods} with {keys:?}");
        };
        let check = |pods: &str, keys: &[&str], expected: &str| named(None, pods, keys, expected);
        check("", &[], "workload=m");
        check("app=model model_version=blue", &[], "app=model version=blue workload=m");
        check("app.kubernetes.io/name=n app.kubernetes.io/version=2", &[], "app=n version=2 workload=m");
        check("app=a app.kubernetes.io/name=n version=1 model_version=blue", &[], "app=a version=1 workload=m");
        check("app=a zone=1 hash=x", &["zone"], "app=a zone=1 workload=m");
        check("app=a version=1", &["version"], "app=a version=1 workload=m");
        check("app=a model_version=blue", &["version"], "app=a workload=m");
        check("app=a workload=w", &[], "app=a workload=w");
        check("app=a", &["workload", "app"], "app=a");
        named(Some("d"), "app=a workload=w", &[], "app=a workload=d");
        named(Some("d"), "app=a workload=w", &["workload"], "app=a workload=w");
    }
}
