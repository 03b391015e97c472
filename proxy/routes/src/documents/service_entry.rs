//! `ServiceEntry`: the gateway's only registry of services, their ports and their endpoints.

use super::Metadata;
use super::host::{check_domain, check_wildcard_domain, is_label};
use super::metadata::labels;
use crate::decode::{Decoded, Item, one_of, quoted};
use crate::encode::Fields;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU32;

/// What Istio has and the gateway has not: in `spec`, ...
const UNSUPPORTED: [&str; 4] = ["addresses", "exportTo", "subjectAltNames", "workloadSelector"];
/// ... in an endpoint, ...
const UNSUPPORTED_ENDPOINT: [&str; 3] = ["locality", "network", "serviceAccount"];
/// ... of the resolutions, ...
const UNSUPPORTED_RESOLUTIONS: [&str; 3] = ["NONE", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"];
/// ... and of the protocols.
const UNSUPPORTED_PROTOCOLS: [&str; 8] = ["HTTPS", "HTTP_PROXY", "MONGO", "MYSQL", "REDIS", "TCP", "TLS", "UDP"];

/// A `ServiceEntry` document.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEntry {
    /// Name, namespace and labels.
    pub metadata: Metadata,
    /// The services that it describes, in lower case; at least one, none of them with a wildcard.
    pub hosts: Vec<String>,
    /// Ports; numbers and names are unique.
    pub ports: Vec<ServicePort>,
    /// `location`: `MESH_INTERNAL`. Only kept: it decides nothing at a gateway without mesh TLS.
    pub internal: bool,
    /// Where the endpoints come from.
    pub resolution: Resolution,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// What a destination's `port.number` refers to.
    pub number: u16,
    /// What an endpoint's `ports` refers to.
    pub name: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// The endpoints' port, where an endpoint names none of its own; else `number`.
    pub target_port: Option<u16>,
}

/// The protocol of a service's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `HTTP`: HTTP/1.1, unless a DestinationRule says otherwise.
    Http,
    /// `HTTP2`.
    Http2,
    /// `GRPC`, which is HTTP/2 to whoever forwards it.
    Grpc,
    /// `GRPC-WEB`, likewise.
    GrpcWeb,
}

/// `resolution`, with the endpoints that go with it.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// `STATIC`: the endpoints are addresses. An empty list is a service without endpoints.
    Static(Vec<ServiceEndpoint>),
    /// `DNS`: every address of every endpoint's name; without endpoints, of the service's own name.
    Dns(Vec<ServiceEndpoint>),
}

/// One endpoint of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEndpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// Its port for each named port of the service, where it differs.
    pub ports: BTreeMap<String, u16>,
    /// What subsets select by; `app`, `version` and `workload` name it in metrics.
    pub labels: BTreeMap<String, String>,
    /// Its share among the others, where `LEAST_REQUEST`, `ROUND_ROBIN` or a hash chooses; not set it is 1.
    pub weight: Option<NonZeroU32>,
}

/// An endpoint's address: in a `STATIC` entry always an IP address.
#[derive(Clone, Debug, PartialEq)]
pub enum EndpointAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A name to look up, in lower case.
    Name(String),
}

/// Where endpoints come from, before they are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Static,
    Dns,
}

impl ServiceEntry {
    pub(super) fn decode(spec: &Item<'_>, metadata: Metadata) -> Decoded<Self> {
        let mut object = spec.object()?;
        let hosts = object.required("hosts").and_then(|item| decode_hosts(&item));
        let ports = object.field_or_default("ports", decode_ports);
        let internal =
            object.field("location", |item| item.choice(&[("MESH_INTERNAL", true), ("MESH_EXTERNAL", false)], &[]));
        let source = match object.optional("resolution") {
            Some(item) => item.choice(&[("STATIC", Source::Static), ("DNS", Source::Dns)], &UNSUPPORTED_RESOLUTIONS),
            None => {
                Err(object.missing("resolution", "missing means NONE, which is not supported; write STATIC or DNS"))
            }
        };
        let endpoints = object.field_or_default("endpoints", |item| {
            item.each(|item| ServiceEndpoint::decode(item, source.ok(), ports.as_deref().ok()))
        });
        object.refuse(&UNSUPPORTED);
        object.finish();
        let resolution = match source? {
            Source::Static => Resolution::Static(endpoints?),
            Source::Dns => Resolution::Dns(endpoints?),
        };
        Ok(Self { metadata, hosts: hosts?, ports: ports?, internal: internal?.unwrap_or(false), resolution })
    }

    pub(super) fn encode(&self) -> Value {
        let (resolution, endpoints) = match &self.resolution {
            Resolution::Static(endpoints) => ("STATIC", endpoints),
            Resolution::Dns(endpoints) => ("DNS", endpoints),
        };
        Fields::new()
            .list("hosts", self.hosts.iter().map(String::as_str))
            .some("location", self.internal.then_some("MESH_INTERNAL"))
            .list("ports", self.ports.iter().map(ServicePort::encode))
            .field("resolution", resolution)
            .list("endpoints", endpoints.iter().map(ServiceEndpoint::encode))
            .into()
    }
}

fn decode_hosts(item: &Item<'_>) -> Decoded<Vec<String>> {
    let hosts = item.each(|item| {
        let host = item.string()?.to_ascii_lowercase();
        check_wildcard_domain(&host).map_err(|error| item.error(error.to_string()))?;
        if host.starts_with('*') {
            return Err(item.unsupported_value(&host));
        }
        Ok(host)
    })?;
    if hosts.is_empty() {
        return Err(item.error("at least one host is required"));
    }
    Ok(hosts)
}

fn decode_ports(item: &Item<'_>) -> Decoded<Vec<ServicePort>> {
    let (mut numbers, mut names) = (HashSet::new(), HashSet::new());
    item.each(|item| {
        let port = ServicePort::decode(item)?;
        let is_new_number = numbers.insert(port.number);
        if !names.insert(port.name.clone()) {
            return Err(item.error(format!("a second port called {}", port.name)));
        }
        if !is_new_number {
            return Err(item.error(format!("a second port with the number {}", port.number)));
        }
        Ok(port)
    })
}

impl ServicePort {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let number = object.required("number").and_then(|item| item.port());
        let name = object.required("name").and_then(|item| port_name(&item));
        let protocol = object.required("protocol").and_then(|item| Protocol::decode(&item));
        let target_port = object.field_or_default("targetPort", Item::port_or_none);
        object.finish();
        Ok(Self { number: number?, name: name?, protocol: protocol?, target_port: target_port? })
    }

    fn encode(&self) -> Value {
        Fields::new()
            .field("number", self.number)
            .field("name", self.name.as_str())
            .field("protocol", self.protocol.name())
            .some("targetPort", self.target_port)
            .into()
    }
}

fn port_name(item: &Item<'_>) -> Decoded<String> {
    match item.string()? {
        text if is_label(text) => Ok(text.to_owned()),
        text => {
            let message = format!("{} is not the name of a port", quoted(text));
            Err(item.advise(message, "write at most 63 letters, digits and inner -"))
        }
    }
}

impl Protocol {
    const EACH: [Self; 4] = [Self::Http, Self::Http2, Self::Grpc, Self::GrpcWeb];

    /// Whether HTTP/2 is spoken there.
    pub fn is_http2(self) -> bool {
        self != Self::Http
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
            Self::GrpcWeb => "GRPC-WEB",
        }
    }

    /// Case does not count, as in Istio.
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let text = item.string()?;
        let upper = text.to_ascii_uppercase();
        if UNSUPPORTED_PROTOCOLS.contains(&upper.as_str()) {
            return Err(item.unsupported_value(text));
        }
        let known = Self::EACH.into_iter().find(|protocol| protocol.name() == upper);
        known.ok_or_else(|| {
            item.advise(
                format!("{} is not a protocol", quoted(text)),
                format!("write {}", one_of(Self::EACH.map(Self::name))),
            )
        })
    }
}

impl ServiceEndpoint {
    /// What is not known of the entry, because it is wrong itself, is not checked.
    fn decode(item: &Item<'_>, source: Option<Source>, ports: Option<&[ServicePort]>) -> Decoded<Self> {
        let mut object = item.object()?;
        let address = object.required("address").and_then(|item| EndpointAddress::decode(&item, source));
        let endpoint_ports = object.field_or_default("ports", |item| {
            let ports = item.each_entry(|name, item| match ports {
                Some(ports) if ports.iter().all(|port| port.name != name) => {
                    Err(item.error(format!("the service has no port called {}", quoted(name))))
                }
                _ => Ok((name.to_owned(), item.port()?)),
            })?;
            Ok(ports.into_iter().collect())
        });
        let labels = object.field_or_default("labels", labels);
        let weight = object.field("weight", |item| item.unsigned(0..=i64::from(u32::MAX)));
        object.refuse(&UNSUPPORTED_ENDPOINT);
        object.finish();
        let weight = weight?.and_then(NonZeroU32::new);
        Ok(Self { address: address?, ports: endpoint_ports?, labels: labels?, weight })
    }

    fn encode(&self) -> Value {
        let address = match &self.address {
            EndpointAddress::Ip(ip) => ip.to_string(),
            EndpointAddress::Name(name) => name.clone(),
        };
        let ports = self.ports.iter().fold(Fields::new(), |fields, (name, port)| fields.field(name, *port));
        Fields::new()
            .field("address", address)
            .some("ports", ports.into_filled())
            .map("labels", &self.labels)
            .some("weight", self.weight.map(NonZeroU32::get))
            .into()
    }
}

impl EndpointAddress {
    fn decode(item: &Item<'_>, source: Option<Source>) -> Decoded<Self> {
        let text = item.string()?;
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        if text.starts_with("unix://") {
            return Err(item.unsupported_value(text));
        }
        if source == Some(Source::Static) {
            let message = format!("{} is not an IP address", quoted(text));
            return Err(item.advise(message, "write one, or resolution: DNS"));
        }
        let name = text.to_ascii_lowercase();
        check_domain(&name).map_err(|error| item.error(error.to_string()))?;
        Ok(Self::Name(name))
    }
}
