//! The documents of a routes file: Istio's `Gateway`, `VirtualService`, `DestinationRule` and `ServiceEntry`, as types
//! that cannot hold what Istio would refuse, and Turnout's own `SplitPolicy`. Whoever has a [`Document`] checks nothing again; [`parse`](crate::parse())
//! makes them from YAML and reports every problem at once, [`render`](crate::render()) writes them back so that
//! `parse(render(x)) == x`.
//!
//! One file here holds one kind: its types first, then what of Istio is refused by name, how the types are decoded from
//! the positioned tree of `yaml`, and how they are encoded again.

mod base64;
mod destination_rule;
mod export_to;
mod gateway;
mod header_changes;
mod host;
mod metadata;
mod percent;
mod service_entry;
mod split_policy;
mod string_match;
mod virtual_service;

use crate::decode::{Decoded, Item, Object, Reported, quoted};
use crate::encode::Fields;
use serde::{Serialize, Serializer};
use serde_json::Value;

pub use crate::re2::PatternError;
pub use destination_rule::{
    Balancing, ClientCertificate, ClientTls, ConnectionPool, ConsistentHash, DestinationRule, H2Upgrade, HashCookie,
    HashKey, HashTable, Http2KeepAlive, LoadBalancer, OutlierDetection, PortPolicy, RetryBudget, Subset, TcpKeepalive,
    TlsOrigination, TrafficPolicy, Warmup,
};
pub use export_to::ExportTo;
pub use gateway::{
    CipherSuite, ClientAuth, Credential, Gateway, NamespaceScope, Server, ServerHost, ServerTransport, TlsVersion,
};
pub use header_changes::{
    Field, FormatError, HeaderChanges, HeaderFormat, HeaderKey, HeaderOperations, Segment, Variable,
};
pub use host::{HostError, HostPattern};
pub(crate) use metadata::DEFAULT_NAMESPACE;
pub use metadata::Metadata;
pub use percent::Percent;
pub use service_entry::{EndpointAddress, Protocol, Resolution, ServiceEndpoint, ServiceEntry, ServicePort};
pub use split_policy::{
    Assign, AssignBy, CompareKind, CompareRule, Interval, Override, PolicyRoute, Rescue, Shadow, SplitPolicy,
};
pub use string_match::{Pattern, StringMatch, ValueMatch};
pub use virtual_service::{
    Abort, AbortWith, Action, Cors, Delay, Delegate, Destination, Destinations, DirectResponse, Fault, Forward,
    GatewayRef, HeaderSelector, HttpRule, Match, Mirror, PathRewrite, Redirect, RedirectPath, RedirectPort,
    RegexRewrite, Retries, RetryCondition, Rewrite, Scheme, UnmatchedPreflights, VirtualService, WeightError,
    WeightedDestination,
};

/// One document of a routes file.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// Which ports and hosts the gateway serves.
    Gateway(Gateway),
    /// What happens with the requests for some hosts.
    VirtualService(VirtualService),
    /// Subsets and connection settings of one service.
    DestinationRule(DestinationRule),
    /// The ports and endpoints of one service.
    ServiceEntry(ServiceEntry),
    /// How the requests of one rule get their destinations, and how these are compared.
    SplitPolicy(SplitPolicy),
}

/// Istio's API, in its versions; they differ in nothing that the gateway reads.
const API_VERSIONS: [&str; 3] =
    ["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"];
/// These and the kinds for people.
const ACCEPTED: &str = "the gateway reads Gateway, VirtualService, DestinationRule and ServiceEntry \
                        of networking.istio.io/v1, v1beta1 and v1alpha3, and SplitPolicy of turnout.dev/v1alpha1";
/// The groups of APIs that say what a gateway is to do with requests: what is not known of them is refused. A document of
/// any other is left out.
const GROUPS: [&str; 5] =
    ["extensions.istio.io", "gateway.networking.k8s.io", "networking.istio.io", "security.istio.io", "turnout.dev"];
/// Of these, what is for sidecars alone.
const OF_SIDECARS: [&str; 2] = ["PeerAuthentication", "Sidecar"];
/// Turnout's own API.
const OWN_API_VERSIONS: [&str; 1] = ["turnout.dev/v1alpha1"];

/// The kinds of documents.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gateway,
    VirtualService,
    DestinationRule,
    ServiceEntry,
    SplitPolicy,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Gateway, Self::VirtualService, Self::DestinationRule, Self::ServiceEntry, Self::SplitPolicy];

    fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::ServiceEntry => "ServiceEntry",
            Self::SplitPolicy => "SplitPolicy",
        }
    }

    /// The newest first.
    fn api_versions(self) -> &'static [&'static str] {
        match self {
            Self::Gateway | Self::VirtualService | Self::DestinationRule | Self::ServiceEntry => &API_VERSIONS,
            Self::SplitPolicy => &OWN_API_VERSIONS,
        }
    }

    fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Document {
    /// As in `kind`.
    pub fn kind(&self) -> &'static str {
        self.known_kind().as_str()
    }

    fn known_kind(&self) -> Kind {
        match self {
            Self::Gateway(_) => Kind::Gateway,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::SplitPolicy(_) => Kind::SplitPolicy,
        }
    }

    /// Name, namespace, age and labels.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Gateway(document) => &document.metadata,
            Self::VirtualService(document) => &document.metadata,
            Self::DestinationRule(document) => &document.metadata,
            Self::ServiceEntry(document) => &document.metadata,
            Self::SplitPolicy(document) => &document.metadata,
        }
    }

    /// Whether it is for something else than a gateway.
    pub(crate) fn is_foreign(api_version: &str, kind: &str) -> bool {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let is_known = GROUPS.contains(&group) || Kind::of(kind).is_some() || kind == "List";
        !is_known || OF_SIDECARS.contains(&kind)
    }

    /// Says of a foreign document that it is left out.
    pub(crate) fn leave_out(item: &Item<'_>) {
        if let Some(kind) = item.object().ok().and_then(|mut object| object.optional("kind")) {
            let message = format!("left out: {} is not for the gateway", kind.text().unwrap_or_default());
            kind.warn(message, ACCEPTED);
        }
    }

    pub(crate) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let api_version = object.required("apiVersion").and_then(|item| item.string());
        let kind = object.required("kind").and_then(|item| item.string());
        let (api_version, kind) = (api_version?, kind?);
        let kind = match Kind::of(kind) {
            Some(known) if known.api_versions().contains(&api_version) => known,
            known => return Err(refuse_kind(&mut object, api_version, kind, known.is_some())),
        };
        let metadata = object.required("metadata").and_then(|item| {
            let metadata = Metadata::decode(&item)?;
            match item.object()?.optional("name") {
                Some(name) if kind == Kind::Gateway && metadata.name.contains('.') => {
                    Err(name.advise("the name of a Gateway must not have a dot", "write letters, digits and inner -"))
                }
                _ => Ok(metadata),
            }
        });
        let spec = object.required("spec");
        object.read_over(&["status"]);
        object.finish();
        // The rest is read even without its metadata, so that all problems are reported at once.
        let known = metadata.clone().unwrap_or_default();
        let document = spec.and_then(|spec| match kind {
            Kind::Gateway => Gateway::decode(&spec, known).map(Self::Gateway),
            Kind::VirtualService => VirtualService::decode(&spec, known).map(Self::VirtualService),
            Kind::DestinationRule => DestinationRule::decode(&spec, known).map(Self::DestinationRule),
            Kind::ServiceEntry => ServiceEntry::decode(&spec, known).map(Self::ServiceEntry),
            Kind::SplitPolicy => SplitPolicy::decode(&spec, known).map(Self::SplitPolicy),
        });
        metadata.and(document)
    }

    pub(crate) fn encode(&self) -> Value {
        let spec = match self {
            Self::Gateway(document) => document.encode(),
            Self::VirtualService(document) => document.encode(),
            Self::DestinationRule(document) => document.encode(),
            Self::ServiceEntry(document) => document.encode(),
            Self::SplitPolicy(document) => document.encode(),
        };
        Fields::new()
            .field("apiVersion", self.known_kind().api_versions()[0])
            .field("kind", self.kind())
            .field("metadata", self.metadata().encode())
            .field("spec", spec)
            .into()
    }
}

/// As the API has it, in its newest version.
impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encode().serialize(serializer)
    }
}

/// Refuses a document that is none of the kinds, and reads nothing else of it.
fn refuse_kind(object: &mut Object<'_>, api_version: &str, kind: &str, is_kind_known: bool) -> Reported {
    let item = object.required(if is_kind_known { "apiVersion" } else { "kind" });
    item.map_or_else(std::convert::identity, |item| {
        if kind == "List" {
            return item.advise("a List is not a document", "write its items one by one, with --- between them");
        }
        let refused = if is_kind_known { api_version } else { kind };
        item.advise(format!("{} is not known", quoted(refused)), ACCEPTED)
    })
}
