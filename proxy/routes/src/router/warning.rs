//! What a gateway would need to serve a destination, where the documents as they stand do not let it. Such a destination
//! is no error, as in Istio: its requests get 503. But nobody should learn of it from them.

use super::backend::{Backend, Missing, cluster_namespace};
use super::known::Known;
use super::origin::Origin;
use crate::decode::quoted;
use serde::Serialize;
use std::fmt;

/// A destination that cannot be served: which, why, and what to add.
///
/// It is shown on one line: `VirtualService abtesting/scoring: spec.http[0].route[1].destination.subset: requests get 503:
/// no DestinationRule for model.example.com has the subset "v2"; add it to spec.subsets of one`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The VirtualService, as `namespace/name`.
    pub virtual_service: String,
    /// The field, as `spec.http[0].route[1].destination.subset`.
    pub path: String,
    /// Why its requests get 503.
    pub message: String,
    /// What to add or to write instead.
    pub advice: String,
}

impl Warning {
    pub(super) fn new(origin: &Origin, position: usize, lack: Lack) -> Self {
        let Lack { field, message, advice } = lack;
        let path = format!("spec.http[{}].route[{position}].destination{field}", origin.http);
        Self { virtual_service: format!("{}/{}", origin.namespace, origin.virtual_service), path, message, advice }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { virtual_service, path, message, advice } = self;
        write!(f, "VirtualService {virtual_service}: {path}: requests get 503: {message}; {advice}")
    }
}

/// Why a destination cannot be served, whichever rule names it.
pub(super) struct Lack {
    /// What follows `destination` in the field's path.
    pub(super) field: &'static str,
    pub(super) message: String,
    pub(super) advice: String,
}

impl Known<'_> {
    /// What is lacking, given what the destination came to.
    pub(super) fn lack(&self, outcome: Result<&Backend, Missing>) -> Option<Lack> {
        match outcome {
            Err(Missing::Service) => Some(self.no_service()),
            Err(Missing::Port) => Some(self.no_such_port()),
            Err(Missing::PortNotGiven) => Some(self.no_port_given()),
            Err(Missing::Subset) => Some(self.no_subset()),
            Ok(backend) if backend.endpoints.is_empty() => Some(self.no_endpoint()),
            Ok(_) => None,
        }
    }

    fn no_service(&self) -> Lack {
        let host = &self.wanted.host;
        let advice = format!("write port.number, or add a ServiceEntry with the host {host}");
        Lack { field: "", message: format!("no ServiceEntry has {host}, and a look-up by name needs a port"), advice }
    }

    fn no_such_port(&self) -> Lack {
        let host = &self.wanted.host;
        let message = match (self.ports(), self.wanted.port) {
            (ports, Some(port)) if !ports.is_empty() => {
                format!("the ServiceEntry of {host} has no port {port}, only {ports}")
            }
            _ => format!("the ServiceEntry of {host} has no ports"),
        };
        Lack { field: ".port", message, advice: "add the port to spec.ports of the ServiceEntry".to_owned() }
    }

    fn no_port_given(&self) -> Lack {
        let message = format!("{} has the ports {}, and the destination names none", self.wanted.host, self.ports());
        Lack { field: "", message, advice: "write port.number".to_owned() }
    }

    fn no_subset(&self) -> Lack {
        let host = &self.wanted.host;
        let place =
            cluster_namespace(host).map(|namespace| format!(" in the namespace {namespace}")).unwrap_or_default();
        Lack {
            field: ".subset",
            message: format!("no DestinationRule for {host} has the subset {}", self.subset()),
            advice: format!("add it to spec.subsets of a DestinationRule for {host}{place}"),
        }
    }

    fn no_endpoint(&self) -> Lack {
        let host = &self.wanted.host;
        let labels: Vec<String> =
            self.subset.iter().flat_map(|subset| &subset.labels).map(|(key, value)| format!("{key}={value}")).collect();
        let (subset, labels) = (self.subset(), labels.join(","));
        match self.entry {
            None => Lack {
                field: ".subset",
                message: format!(
                    "no ServiceEntry of {host} has endpoints with the labels {labels} of the subset {subset}"
                ),
                advice: format!(
                    "add a ServiceEntry with the host {host} and such endpoints; the controller adds it for a Service of \
                     its cluster"
                ),
            },
            Some(_) if labels.is_empty() => Lack {
                field: "",
                message: format!("the ServiceEntry of {host} has no endpoints"),
                advice: "add one to its spec.endpoints".to_owned(),
            },
            Some(_) => Lack {
                field: ".subset",
                message: format!(
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
        let ports = self.entry.into_iter().flat_map(|entry| &entry.ports);
        ports.map(|port| port.number.to_string()).collect::<Vec<_>>().join(" and ")
    }
}
