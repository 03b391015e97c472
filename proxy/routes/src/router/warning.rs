//! What is doubtful about documents that are right one by one. A destination that they leave without a backend is no error,
//! as in Istio: its requests get 503. But nobody should learn of it from them.

use super::backend::{Backend, Missing, cluster_namespace};
use super::known::Known;
use super::origin::Origin;
use super::service_entries::{DescribedService, ServiceEntries};
use crate::decode::quoted;
use crate::documents::{Document, ExportTo, HostPattern, Metadata, Protocol, Resolution, ServiceEntry, VirtualService};
use std::borrow::Borrow;
use std::fmt;

/// Names of one list that are told.
const TOLD: usize = 3;

/// What is doubtful: where, why, and what to add or to write instead.
///
/// It is shown on one line: `VirtualService abtesting/scoring: spec.http[0].route[1].destination.subset: requests get 503:
/// no DestinationRule for model.example.com has the subset "v2"; add it to spec.subsets of one`. With its file and line,
/// it is a [`Problem`](crate::Problem): see [`locate`](crate::locate()).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Warning {
    /// The document's.
    pub kind: &'static str,
    /// The document's.
    pub namespace: String,
    /// The document's.
    pub name: String,
    /// The field, as `spec.http[0].route[1].destination.subset`.
    pub path: String,
    /// Whether requests are sure to get 503, as far as the documents go.
    pub gets_503: bool,
    /// Why, or what is doubtful.
    pub reason: String,
    /// What to add or to write instead.
    pub advice: String,
}

impl Warning {
    /// Of a document, by its kind, where it may well serve requests.
    pub(super) fn of_document(
        (kind, metadata): (&'static str, &Metadata),
        path: String,
        reason: String,
        advice: String,
    ) -> Self {
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
        Self { kind, namespace, name, path, gets_503: false, reason, advice }
    }

    /// `place` is the destination's below its rule, as `route[1].destination`.
    pub(super) fn of_destination(origin: &Origin, place: &str, lack: Lack) -> Box<Self> {
        let Lack { field, gets_503, reason, advice } = lack;
        Box::new(Self {
            kind: "VirtualService",
            namespace: origin.namespace.clone(),
            name: origin.virtual_service.clone(),
            path: format!("spec.http[{}].{place}{field}", origin.http),
            gets_503,
            reason,
            advice,
        })
    }

    /// What is to be known, without where and without what to do.
    pub fn message(&self) -> String {
        if self.gets_503 { format!("requests get 503: {}", self.reason) } else { self.reason.clone() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name, path, advice, .. } = self;
        write!(f, "{kind} {namespace}/{name}: {path}: {}; {advice}", self.message())
    }
}

/// What is left out, perhaps on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The document's.
    pub kind: &'static str,
    /// The document's.
    pub namespace: String,
    /// The document's.
    pub name: String,
    /// Why.
    pub reason: String,
    /// What to write where it is not on purpose.
    pub advice: String,
    /// Of a VirtualService, for which it serves nothing.
    pub hosts: Vec<HostPattern>,
}

impl Notice {
    pub(super) fn new((kind, metadata): (&'static str, &Metadata), reason: String, advice: String) -> Self {
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
        Self { kind, namespace, name, reason, advice, hosts: Vec::new() }
    }

    pub(super) fn of_virtual_service(document: &VirtualService, reason: String, advice: String) -> Self {
        let notice = Self::new(("VirtualService", &document.metadata), reason, advice);
        Self { hosts: document.hosts.clone(), ..notice }
    }

    /// Of a document that is not exported to gateways of the namespace; none of others.
    pub(super) fn hidden(document: &Document, own_namespace: &str, entries: &ServiceEntries<'_>) -> Option<Self> {
        let export_to = match document {
            Document::VirtualService(it) if !it.hosts.is_empty() => &it.export_to,
            Document::DestinationRule(it) => &it.export_to,
            Document::ServiceEntry(it) => &it.export_to,
            Document::VirtualService(_) | Document::Gateway(_) | Document::SplitPolicy(_) => return None,
        };
        if export_to.reaches(own_namespace) {
            return None;
        }
        let (reason, advice) =
            (format!("it {}", not_exported(own_namespace)), advice_to_export(export_to, own_namespace));
        let joined = if let Document::ServiceEntry(entry) = document { entries.joined(entry) } else { None };
        Some(match (document, joined) {
            (Document::VirtualService(it), _) => Self::of_virtual_service(it, format!("not served: {reason}"), advice),
            (_, Some(first)) => {
                let first = first.metadata.full_name();
                let reason = format!("only its endpoints count, beside those of ServiceEntry {first}: {reason}");
                Self::new((document.kind(), document.metadata()), reason, advice)
            }
            _ => Self::new((document.kind(), document.metadata()), format!("left out: {reason}"), advice),
        })
    }
}

/// Without the advice, for it may be on purpose.
impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name, reason, .. } = self;
        write!(f, "{kind} {namespace}/{name}: {reason}")
    }
}

/// Why a destination cannot be served, or will hardly be, whichever rule names it.
#[derive(Clone)]
pub(super) struct Lack {
    /// What follows `destination` in the field's path.
    pub(super) field: &'static str,
    pub(super) gets_503: bool,
    pub(super) reason: String,
    pub(super) advice: String,
}

impl Known<'_> {
    /// What is lacking, given what the destination came to.
    pub(super) fn lack(&self, outcome: Result<&Backend, Missing>) -> Option<Lack> {
        let lack = match outcome {
            Err(Missing::Service) => Some(self.no_service()),
            Err(Missing::Port) => Some(self.no_such_port()),
            Err(Missing::PortNotGiven) => Some(self.no_port_given()),
            Err(Missing::Subset) => Some(self.no_subset()),
            Ok(backend) if backend.endpoints.is_empty() => Some(self.no_endpoint()),
            Ok(backend) if backend.policy.tls.is_none() && self.expects_tls(backend.port) => {
                Some(self.no_tls(backend.port))
            }
            Ok(_) => None,
        };
        let advice = match (self.meant, self.hidden) {
            (Some(meant), _) => format!("did you mean {meant}?"),
            (None, Some(entry)) => advice_to_export(&entry.export_to, self.own_namespace),
            (None, None) => return lack,
        };
        let in_dns = || {
            let reason = format!("{}, so it is looked up in DNS", self.no_entry());
            Lack { field: ".host", gets_503: false, reason, advice: advice.clone() }
        };
        Some(match lack {
            None => in_dns(),
            Some(lack) if self.meant.is_some() => Lack { advice, ..lack },
            Some(lack) => lack,
        })
    }

    /// Why there is no ServiceEntry.
    fn no_entry(&self) -> String {
        let (host, own_namespace) = (&self.wanted.host, self.own_namespace);
        self.hidden.map_or_else(
            || format!("no ServiceEntry has {host}"),
            |entry| {
                let name = entry.metadata.full_name();
                format!("ServiceEntry {name}, which has {host}, {}", not_exported(own_namespace))
            },
        )
    }

    fn expects_tls(&self, number: u16) -> bool {
        let port = self.service.and_then(|service| service.port(Some(number)).ok());
        port.is_some_and(|port| matches!(port.protocol, Protocol::Https | Protocol::Tls))
    }

    fn no_tls(&self, port: u16) -> Lack {
        let host = &self.wanted.host;
        Lack {
            field: ".port",
            gets_503: false,
            reason: format!("port {port} of {host} is for TLS, and is sent plain text"),
            advice: format!("add a DestinationRule for {host} with trafficPolicy.tls.mode: SIMPLE"),
        }
    }

    fn no_service(&self) -> Lack {
        let host = &self.wanted.host;
        let reason = format!("{}, and a look-up by name needs a port", self.no_entry());
        let advice = match self.hidden {
            Some(entry) => advice_to_export(&entry.export_to, self.own_namespace),
            None => format!("write port.number, or add a ServiceEntry with the host {host}"),
        };
        Lack { field: "", gets_503: true, reason, advice }
    }

    fn no_such_port(&self) -> Lack {
        let host = &self.wanted.host;
        let message = match (self.ports(), self.wanted.port) {
            (ports, Some(port)) if !ports.is_empty() => {
                format!("the ServiceEntry of {host} has no port {port}, only {ports}")
            }
            _ => format!("the ServiceEntry of {host} has no ports"),
        };
        Lack {
            field: ".port",
            gets_503: true,
            reason: message,
            advice: "add the port to spec.ports of the ServiceEntry".to_owned(),
        }
    }

    fn no_port_given(&self) -> Lack {
        let message = format!("{} has the ports {}, and the destination names none", self.wanted.host, self.ports());
        Lack { field: "", gets_503: true, reason: message, advice: "write port.number".to_owned() }
    }

    fn no_subset(&self) -> Lack {
        let host = &self.wanted.host;
        if let Some(rule) = self.hidden_rule {
            let (name, not_exported) = (rule.metadata.full_name(), not_exported(self.own_namespace));
            let reason = format!("DestinationRule {name}, which has the subset {}, {not_exported}", self.subset());
            return Lack { field: ".subset", gets_503: true, reason, advice: export_advice(self.own_namespace) };
        }
        let place =
            cluster_namespace(host).map(|namespace| format!(" in the namespace {namespace}")).unwrap_or_default();
        let advice = match self.meant_subset {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("add it to spec.subsets of a DestinationRule for {host}{place}"),
        };
        let mut known = self.rules.iter().flat_map(|rule| &rule.subsets).map(|it| it.name.as_str()).peekable();
        let only = if known.peek().is_none() { String::new() } else { format!(", only {}", listed(known)) };
        let reason = format!("no DestinationRule for {host} has the subset {}{only}", self.subset());
        Lack { field: ".subset", gets_503: true, reason, advice }
    }

    fn no_endpoint(&self) -> Lack {
        let host = &self.wanted.host;
        let labels: Vec<String> =
            self.subset.iter().flat_map(|subset| &subset.labels).map(|(key, value)| format!("{key}={value}")).collect();
        let (subset, labels) = (self.subset(), labels.join(","));
        match (self.service.map(|service| service.first), self.hidden) {
            (None, Some(entry)) => Lack {
                field: ".subset",
                gets_503: true,
                reason: format!(
                    "{}, and no other has endpoints with the labels {labels} of the subset {subset}",
                    self.no_entry()
                ),
                advice: advice_to_export(&entry.export_to, self.own_namespace),
            },
            (None, None) => Lack {
                field: ".subset",
                gets_503: true,
                reason: format!(
                    "no ServiceEntry of {host} has endpoints with the labels {labels} of the subset {subset}"
                ),
                advice: format!(
                    "add a ServiceEntry with the host {host} and such endpoints; the controller adds it for a Service of \
                     its cluster"
                ),
            },
            (Some(ServiceEntry { resolution: Resolution::None, .. }), _) => Lack {
                field: "",
                gets_503: true,
                reason: format!(
                    "the ServiceEntry of {host} has the resolution NONE, which gives a gateway no endpoint"
                ),
                advice: "write resolution: DNS, or STATIC with endpoints".to_owned(),
            },
            (Some(_), _) if labels.is_empty() => Lack {
                field: "",
                gets_503: true,
                reason: format!("the ServiceEntry of {host} has no endpoints"),
                advice: "add one to its spec.endpoints".to_owned(),
            },
            (Some(_), _) => Lack {
                field: ".subset",
                gets_503: true,
                reason: format!(
                    "no endpoint in the ServiceEntry of {host} has the labels {labels} of the subset {subset}"
                ),
                advice: "add one to its spec.endpoints".to_owned(),
            },
        }
    }

    fn subset(&self) -> String {
        quoted(self.wanted.subset.as_deref().unwrap_or_default())
    }

    fn ports(&self) -> String {
        let ports = self.service.into_iter().flat_map(DescribedService::ports);
        ports.map(|number| number.to_string()).collect::<Vec<_>>().join(" and ")
    }
}

/// What is wrong with a document that gateways of the namespace do not see.
pub(super) fn not_exported(own_namespace: &str) -> String {
    format!("is not exported to this gateway's namespace, {own_namespace}")
}

/// What to do about a document that the namespace does not see.
pub(super) fn export_advice(namespace: &str) -> String {
    format!("write {namespace} under its spec.exportTo, or leave exportTo out")
}

/// The same, given what its exportTo says now: `~` stands alone.
fn advice_to_export(export_to: &ExportTo, namespace: &str) -> String {
    if export_to.is_nowhere() {
        return format!("write {namespace} in place of ~ under its spec.exportTo, or leave exportTo out");
    }
    export_advice(namespace)
}

/// `a, b, c and others`, each once.
pub(super) fn listed<N: Borrow<str>>(names: impl Iterator<Item = N>) -> String {
    let mut told: Vec<N> = Vec::new();
    for name in names {
        if told.iter().any(|it| it.borrow() == name.borrow()) {
            continue;
        }
        if told.len() == TOLD {
            return format!("{} and others", told.join(", "));
        }
        told.push(name);
    }
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}
