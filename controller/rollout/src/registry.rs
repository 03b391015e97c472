//! What gateways know of the cluster's Services. They cannot ask the Kubernetes API, so each Service that a route names
//! gets a ServiceEntry, which is published beside the users' documents, and headless twins, whose names in DNS stand for
//! the pods that are ready. The same documents and Services always give the same bytes, and pods that come and go change
//! none of them.
//!
//! One ServiceEntry describes one Service, so that every destination at it has exactly the endpoints that Istio gives it:
//! the pods that the Service selects and, with a subset, that carry its labels besides. A destination without a subset
//! gets every endpoint of the entry, one with a subset those whose labels include the subset's. Therefore:
//!
//! - each subset that a DestinationRule defines is an endpoint, a twin that selects by the Service's labels and the
//!   subset's, and carries both;
//! - the whole Service is an endpoint only where a destination names it so, or where a subset asks for nothing more than
//!   the Service's own selector. Its endpoint carries the labels of that selector alone, so no narrower subset takes it;
//! - a pod that several of these endpoints stand for counts once, because gateways tell endpoints by their address. It is
//!   called in metrics what the narrowest endpoint is called, which is why those come first;
//! - labels that are there for metrics alone are left out where a subset selects by their key. The workload is the one
//!   Deployment whose pods the endpoint stands for, as Istio, Kiali and Flagger call it.
//!
//! Where there are no twins (no right to make them, or nothing that selects pods) the whole Service is one endpoint (its
//! address, which kube-proxy balances, or its own name), and narrower subsets have none: requests for them get 503, as
//! in Istio, and never another model's answer.

mod entry;
mod named;
mod ports;
mod twin;

#[cfg(test)]
mod tests;

use crate::hosts::ServiceName;
use named::{Named, named_services};
pub use named::{NamedDestination, destinations_named};
use std::collections::BTreeMap;
use turnout_routes::documents::Document;
use turnout_routes::{Source, parse, render};

/// On every document that the registry makes, so that it is told from the users'.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "turnout-controller");

/// A Service as the API has it; every text may be absent or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.clusterIP`: an address, or `None` (in letters) for a headless Service.
    pub cluster_ip: Option<String>,
    /// `spec.externalName`, of a Service of the type `ExternalName`.
    pub external_name: Option<String>,
    /// `spec.ports`.
    pub ports: Vec<PortFacts>,
    /// `spec.selector`.
    pub selector: BTreeMap<String, String>,
    /// The Deployments whose pods the Service selects: by name, the labels that they give their pods.
    pub deployments: BTreeMap<String, BTreeMap<String, String>>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortFacts {
    /// `name`.
    pub name: Option<String>,
    /// `port`.
    pub number: u16,
    /// `protocol`; absent is `TCP`.
    pub protocol: Option<String>,
    /// `appProtocol`.
    pub app_protocol: Option<String>,
    /// The port at the pods: `targetPort` if it is a number; if it is a name, the number that its EndpointSlices have.
    /// While these have none, give the number that was known before (the twin has it in its port of the same name), so
    /// that what is published stays as it is when the last pod goes.
    pub target: Option<u16>,
}

/// How gateways reach the pods of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointsBy {
    /// By headless twins, one endpoint for each ready pod.
    Twins,
    /// By the Service's own address; subsets cannot be told apart.
    ClusterIp,
}

/// What is published and made for the Services that routes name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    /// The ServiceEntries.
    pub entries: Vec<Document>,
    /// The Services that must be there before the entries are published, and as long as a gateway has them.
    pub twins: Vec<Twin>,
    /// What is missing or will not work, in a line each, for people.
    pub notices: Vec<String>,
}

/// A headless Service that stands for the ready pods of another one, or of a subset of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    /// That of `service`.
    pub namespace: String,
    /// A function of the Service's name and of the subset, so that a name never comes to stand for other pods while a
    /// gateway still looks it up.
    pub name: String,
    /// The Service that it stands beside.
    pub service: String,
    /// What it selects by; never empty.
    pub selector: BTreeMap<String, String>,
    /// Its ports are those of the pods.
    pub ports: Vec<TwinPort>,
}

/// A port of a twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinPort {
    /// That of the Service's port.
    pub name: String,
    /// The pods' port, as `port` and as `targetPort`.
    pub port: u16,
}

/// Whether the registry made the document: then it is none of the users', wherever it was read.
pub fn is_generated(document: &Document) -> bool {
    let (key, value) = MANAGED_BY;
    matches!(document, Document::ServiceEntry(entry) if entry.metadata.labels.get(key).is_some_and(|is| is == value))
}

/// Describes the Services that the documents' routes name, as gateways of the namespace `gateways` see them. `services` are
/// those that there are, of all namespaces that may be read, in any order; those that are not named are read over.
pub fn registry(documents: &[Document], gateways: &str, services: &[ServiceFacts], by: EndpointsBy) -> Registry {
    let name = |facts: &ServiceFacts| ServiceName { namespace: facts.namespace.clone(), name: facts.name.clone() };
    let known: BTreeMap<ServiceName, &ServiceFacts> = services.iter().map(|facts| (name(facts), facts)).collect();
    let mut registry = Registry::default();
    for (service, named) in named_services(documents, gateways) {
        match known.get(&service) {
            Some(facts) => registry.add(facts, &named, (documents, gateways), by),
            None => registry.notices.push(format!(
                "Service {service} is named by {} and not known: create it, or add its namespace to those that are \
                 governed",
                named.by
            )),
        }
    }
    registry
}

impl Registry {
    /// The users' documents with the entries: what is published before weights are set. Entries of an earlier registry
    /// that are among the documents are replaced.
    #[must_use]
    pub fn join(&self, documents: &[Document]) -> Vec<Document> {
        documents.iter().filter(|document| !is_generated(document)).chain(&self.entries).cloned().collect()
    }

    fn add(&mut self, facts: &ServiceFacts, named: &Named, seen: (&[Document], &str), by: EndpointsBy) {
        let described = entry::describe(facts, named, seen, by);
        self.notices.extend(described.notices);
        let Some(entry) = described.entry.map(Document::ServiceEntry) else { return };
        let service = format!("Service {}/{}", facts.namespace, facts.name);
        if let Err(problem) = check(&entry) {
            self.notices.push(format!("{service} is left out, since gateways would refuse its description: {problem}"));
            return;
        }
        let is_taken = |twin: &&Twin| {
            self.twins.iter().any(|other| (&other.namespace, &other.name) == (&twin.namespace, &twin.name))
        };
        if let Some(twin) = described.twins.iter().find(is_taken) {
            self.notices.push(format!("{service} is left out, since a second twin would be called {}", twin.name));
            return;
        }
        self.entries.push(entry);
        self.twins.extend(described.twins);
    }
}

/// Whether gateways take the document: what the API has for a Service is not checked by the rules of the documents.
fn check(entry: &Document) -> Result<(), String> {
    let text = render(std::slice::from_ref(entry));
    match parse(&[Source { name: "registry", bytes: text.as_bytes() }]) {
        Ok(_) => Ok(()),
        Err(problems) => Err(problems.as_slice().first().map(ToString::to_string).unwrap_or_default()),
    }
}
