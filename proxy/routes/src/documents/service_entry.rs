//! `ServiceEntry`: the gateway's only registry of services, their ports and their endpoints.

use super::Metadata;
use super::export_to::ExportTo;
use super::host::{check_domain, check_wildcard_domain, is_label};
use super::metadata::labels;
use crate::decode::{Decoded, Item, one_of, quoted};
use crate::encode::Fields;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU32;

/// What Istio has and the gateway has not: in `spec`, ...
const UNSUPPORTED: [&str; 1] = ["workloadSelector"];
/// ... in an endpoint, ...
const UNSUPPORTED_ENDPOINT: [&str; 2] = ["locality", "network"];
/// ... of the resolutions, ...
const UNSUPPORTED_RESOLUTIONS: [&str; 2] = ["DNS_ROUND_ROBIN", "DYNAMIC_DNS"];
/// ... and of the protocols.
const UNSUPPORTED_PROTOCOLS: [&str; 2] = ["HTTP_PROXY", "UDP"];

/// A `ServiceEntry` document.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEntry {
    /// Name, namespace and labels.
    pub metadata: Metadata,
    /// The services that it describes, in lower case; at least one. One with a wildcard is no destination.
    pub hosts: Vec<String>,
    /// Ports; numbers and names are unique.
    pub ports: Vec<ServicePort>,
    /// `location`: `MESH_INTERNAL`. Only kept: it decides nothing at a gateway without mesh TLS.
    pub internal: bool,
    /// Where the endpoints come from.
    pub resolution: Resolution,
    /// `subjectAltNames`: one of which the certificate of an endpoint must have, where a DestinationRule has the gateway
    /// begin TLS and names none.
    pub subject_alt_names: Vec<String>,
    /// Which gateways it is for: those of these namespaces.
    pub export_to: ExportTo,
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

/// The protocol of a service's port. To those that are not HTTP a rule sends HTTP/1.1, as in Istio; by TLS to any of them only
/// as a DestinationRule says.
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
    /// `HTTPS`.
    Https,
    /// `TLS`.
    Tls,
    /// `TCP`.
    Tcp,
    /// `MONGO`.
    Mongo,
    /// `MYSQL`.
    MySql,
    /// `REDIS`.
    Redis,
}

/// `resolution`, with the endpoints that go with it.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// `STATIC`: the endpoints are addresses. An empty list is a service without endpoints.
    Static(Vec<ServiceEndpoint>),
    /// `DNS`: every address of every endpoint's name; without endpoints, of the service's own name.
    Dns(Vec<ServiceEndpoint>),
    /// `NONE`: the address that a connection was made to, which a gateway does not have.
    None,
}

impl Resolution {
    /// Those that are listed.
    pub fn endpoints(&self) -> &[ServiceEndpoint] {
        match self {
            Self::Static(endpoints) | Self::Dns(endpoints) => endpoints,
            Self::None => &[],
        }
    }
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
    None,
}

impl ServiceEntry {
    pub(super) fn decode(spec: &Item<'_>, metadata: Metadata) -> Decoded<Self> {
        let mut object = spec.object()?;
        let hosts_item = object.required("hosts");
        let hosts = hosts_item.as_ref().map_err(|reported| *reported).and_then(decode_hosts);
        let ports = object.field_or_default("ports", decode_ports);
        let internal =
            object.field("location", |item| item.choice(&[("MESH_INTERNAL", true), ("MESH_EXTERNAL", false)], &[]));
        let source = match object.optional("resolution") {
            Some(item) => item.choice(&RESOLUTIONS, &UNSUPPORTED_RESOLUTIONS),
            None => Ok(Source::None),
        };
        let endpoints_item = object.optional("endpoints");
        let endpoints = endpoints_item.as_ref().map_or(Ok(Vec::new()), |item| {
            item.each(|item| ServiceEndpoint::decode(item, source.ok(), ports.as_deref().ok()))
        });
        let subject_alt_names =
            object.field_or_default("subjectAltNames", |item| item.each(|item| Ok(item.string()?.to_owned())));
        let export_to = object.field_or_default("exportTo", |item| ExportTo::decode(item, &metadata.namespace, true));
        object.pass_over(&[("addresses", "a rule finds a service by its host")]);
        object.refuse(&UNSUPPORTED);
        object.finish();
        let (hosts_item, hosts, endpoints) = (hosts_item?, hosts?, endpoints?);
        let has_wildcard = hosts.iter().any(|host| host.starts_with('*'));
        let resolution = match (source?, endpoints_item) {
            (Source::Static, _) => Resolution::Static(endpoints),
            (Source::Dns, _) if endpoints.is_empty() && has_wildcard => {
                return Err(
                    hosts_item.advise("a host with a wildcard has no address", "write endpoints, or whole hosts")
                );
            }
            (Source::Dns, _) => Resolution::Dns(endpoints),
            (Source::None, Some(item)) if !endpoints.is_empty() => {
                return Err(item.advise("resolution NONE has no endpoints", "write resolution: STATIC or DNS"));
            }
            (Source::None, _) => {
                spec.warn(
                    "without endpoints, by resolution NONE: the gateway can send nothing there",
                    "write STATIC or DNS",
                );
                Resolution::None
            }
        };
        if has_wildcard {
            hosts_item.warn("no rule can send anything to a host with a wildcard", "write the hosts that rules name");
        }
        Ok(Self {
            metadata,
            hosts,
            ports: ports?,
            internal: internal?.unwrap_or(false),
            resolution,
            subject_alt_names: subject_alt_names?,
            export_to: export_to?,
        })
    }

    pub(super) fn encode(&self) -> Value {
        let resolution = match &self.resolution {
            Resolution::Static(_) => "STATIC",
            Resolution::Dns(_) => "DNS",
            Resolution::None => "NONE",
        };
        Fields::new()
            .list("hosts", self.hosts.iter().map(String::as_str))
            .some("location", self.internal.then_some("MESH_INTERNAL"))
            .list("ports", self.ports.iter().map(ServicePort::encode))
            .field("resolution", resolution)
            .list("endpoints", self.resolution.endpoints().iter().map(ServiceEndpoint::encode))
            .list("exportTo", self.export_to.encode().into_iter())
            .list("subjectAltNames", self.subject_alt_names.iter().map(String::as_str))
            .into()
    }
}

const RESOLUTIONS: [(&str, Source); 3] = [("STATIC", Source::Static), ("DNS", Source::Dns), ("NONE", Source::None)];

fn decode_hosts(item: &Item<'_>) -> Decoded<Vec<String>> {
    let hosts = item.each(|item| {
        let host = item.string()?.to_ascii_lowercase();
        check_wildcard_domain(&host).map_err(|error| item.error(error.to_string()))?;
        match host.as_str() {
            "*" => Err(item.advise("every host is no service", "write hosts of a service")),
            _ => Ok(host),
        }
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
    const EACH: [Self; 10] = [
        Self::Http,
        Self::Http2,
        Self::Grpc,
        Self::GrpcWeb,
        Self::Https,
        Self::Tls,
        Self::Tcp,
        Self::Mongo,
        Self::MySql,
        Self::Redis,
    ];

    /// Whether HTTP/2 is spoken there.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
            Self::GrpcWeb => "GRPC-WEB",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Mongo => "MONGO",
            Self::MySql => "MYSQL",
            Self::Redis => "REDIS",
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
        object.pass_over(&[("serviceAccount", "the gateway has no identity in a mesh")]);
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
