//! `DestinationRule`: subsets of a service's endpoints, and how connections to them are kept.

use super::Metadata;
use super::host::{check_wildcard_domain, is_label};
use super::metadata::labels;
use crate::decode::{Decoded, Item, quoted};
use crate::encode::{Fields, duration};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// What Istio has and the gateway has not: in `spec`, ...
const UNSUPPORTED: [&str; 2] = ["exportTo", "workloadSelector"];
/// ... in `trafficPolicy`, ...
const UNSUPPORTED_POLICY: [&str; 4] = ["outlierDetection", "proxyProtocol", "retryBudget", "tunnel"];
/// ... in `portLevelSettings`, ...
const UNSUPPORTED_PORT: [&str; 3] = ["connectionPool", "loadBalancer", "outlierDetection"];
/// ... in `tls`, ...
const UNSUPPORTED_TLS: [&str; 8] = [
    "caCertificates",
    "caCrl",
    "clientCertificate",
    "credentialName",
    "insecureSkipVerify",
    "privateKey",
    "sni",
    "subjectAltNames",
];
/// ... of its modes, ...
const UNSUPPORTED_MODES: [&str; 3] = ["ISTIO_MUTUAL", "MUTUAL", "SIMPLE"];
/// ... in `connectionPool.tcp`, ...
const UNSUPPORTED_TCP: [&str; 4] = ["idleTimeout", "maxConnectionDuration", "maxConnections", "tcpKeepalive"];
/// ... in `connectionPool.http`, ...
const UNSUPPORTED_HTTP: [&str; 7] = [
    "h2UpgradePolicy",
    "http1MaxPendingRequests",
    "http2KeepAlive",
    "http2MaxRequests",
    "maxConcurrentStreams",
    "maxRetries",
    "useClientProtocol",
];
/// ... in `loadBalancer`, ...
const UNSUPPORTED_LOAD_BALANCER: [&str; 5] =
    ["consistentHash", "localityLbSetting", "warmup", "warmupDurationSecs", "zoneAwareLbSetting"];
/// ... and of the kinds of load balancers.
const UNSUPPORTED_SIMPLE: [&str; 3] = ["PASSTHROUGH", "RANDOM", "ROUND_ROBIN"];
/// The kinds that the gateway has: three names of one.
const LEAST_REQUEST: [(&str, ()); 3] = [("LEAST_REQUEST", ()), ("LEAST_CONN", ()), ("UNSPECIFIED", ())];

/// A `DestinationRule` document.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationRule {
    /// Of two rules for one host the older one's policy counts, then the first by name; subsets are merged.
    pub metadata: Metadata,
    /// The service, in lower case as written: a short name counts in the document's own namespace.
    pub host: String,
    /// For the whole service.
    pub policy: TrafficPolicy,
    /// Named parts of the service, by the labels of endpoints; names are unique.
    pub subsets: Vec<Subset>,
}

/// A named part of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Subset {
    /// What a destination's `subset` refers to.
    pub name: String,
    /// An endpoint belongs to it if it has all of these; none selects every endpoint.
    pub labels: BTreeMap<String, String>,
    /// What it sets goes before the rule's: a connection pool as a whole.
    pub policy: TrafficPolicy,
}

/// `trafficPolicy`, as far as the gateway has it; what is not set falls to the wider policy, then to Istio's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPool>,
    /// `loadBalancer.simple` was given as `LEAST_REQUEST`, the one kind that the gateway has and its default.
    pub least_request: bool,
    /// `tls.mode` was given as `DISABLE`, the one mode that the gateway has: backends are spoken to in plain text.
    pub plaintext: bool,
    /// The ports of `portLevelSettings`, which may say the same and nothing else. As in Istio such a port takes nothing
    /// from the settings beside it.
    pub plaintext_ports: BTreeSet<u16>,
}

/// `connectionPool`: what is not set has Istio's default, whatever a wider policy says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionPool {
    /// `tcp.connectTimeout`.
    pub connect_timeout: Option<Duration>,
    /// `http.idleTimeout`: an upstream connection without a request is closed after it.
    pub idle_timeout: Option<Duration>,
    /// `http.maxRequestsPerConnection`; 0 is without limit.
    pub max_requests_per_connection: Option<u32>,
}

impl DestinationRule {
    pub(super) fn decode(spec: &Item<'_>, metadata: Metadata) -> Decoded<Self> {
        let mut object = spec.object()?;
        let host = object.required("host").and_then(|item| {
            let host = item.string()?.to_ascii_lowercase();
            check_wildcard_domain(&host).map_err(|error| item.error(error.to_string()))?;
            Ok(host)
        });
        let policy = object.field_or_default("trafficPolicy", TrafficPolicy::decode);
        let subsets = object.field_or_default("subsets", decode_subsets);
        object.refuse(&UNSUPPORTED);
        object.finish();
        Ok(Self { metadata, host: host?, policy: policy?, subsets: subsets? })
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new()
            .field("host", self.host.as_str())
            .some("trafficPolicy", self.policy.encode())
            .list("subsets", self.subsets.iter().map(Subset::encode))
            .into()
    }
}

fn decode_subsets(item: &Item<'_>) -> Decoded<Vec<Subset>> {
    let mut names = HashSet::new();
    item.each(|item| {
        let subset = Subset::decode(item)?;
        if names.insert(subset.name.clone()) {
            return Ok(subset);
        }
        Err(item.error(format!("a second subset called {}", subset.name)))
    })
}

impl Subset {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let name = object.required("name").and_then(|item| subset_name(&item));
        let labels = object.field_or_default("labels", labels);
        let policy = object.field_or_default("trafficPolicy", TrafficPolicy::decode);
        object.finish();
        Ok(Self { name: name?, labels: labels?, policy: policy? })
    }

    fn encode(&self) -> Value {
        Fields::new()
            .field("name", self.name.as_str())
            .map("labels", &self.labels)
            .some("trafficPolicy", self.policy.encode())
            .into()
    }
}

/// The name of a subset, where it is defined and where it is referred to.
pub(super) fn subset_name(item: &Item<'_>) -> Decoded<String> {
    match item.string()? {
        text if is_label(text) => Ok(text.to_owned()),
        text => {
            let message = format!("{} is not the name of a subset", quoted(text));
            Err(item.advise(message, "write at most 63 letters, digits and inner -"))
        }
    }
}

impl TrafficPolicy {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        if object.is_empty() {
            return Err(item.advise("a traffic policy must have at least one field", "leave it out"));
        }
        let connection_pool = object.field("connectionPool", ConnectionPool::decode);
        let least_request = object.field("loadBalancer", |item| {
            let mut object = item.object()?;
            let simple = object.field("simple", |item| item.choice(&LEAST_REQUEST, &UNSUPPORTED_SIMPLE));
            object.refuse(&UNSUPPORTED_LOAD_BALANCER);
            object.finish();
            Ok(simple?.is_some())
        });
        let plaintext = object.field("tls", decode_plaintext);
        let plaintext_ports = object.field_or_default("portLevelSettings", |item| item.each(decode_plaintext_port));
        object.refuse(&UNSUPPORTED_POLICY);
        object.finish();
        Ok(Self {
            connection_pool: connection_pool?,
            least_request: least_request?.unwrap_or(false),
            plaintext: plaintext?.is_some(),
            plaintext_ports: plaintext_ports?.into_iter().collect(),
        })
    }

    /// None if nothing is set.
    fn encode(&self) -> Option<Value> {
        let balancer = Fields::new().some("simple", self.least_request.then_some("LEAST_REQUEST"));
        let plaintext = || Fields::new().field("mode", "DISABLE");
        let port =
            |port: &u16| Fields::new().field("port", Fields::new().field("number", *port)).field("tls", plaintext());
        Fields::new()
            .some("connectionPool", self.connection_pool.as_ref().map(ConnectionPool::encode))
            .some("loadBalancer", balancer.into_filled())
            .some("tls", self.plaintext.then(plaintext))
            .list("portLevelSettings", self.plaintext_ports.iter().map(port))
            .into_filled()
    }
}

impl ConnectionPool {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        if object.is_empty() {
            return Err(item.advise("a connection pool must have at least one field", "leave it out"));
        }
        let connect_timeout = object.field("tcp", |item| {
            let mut object = item.object()?;
            let connect_timeout = object.field("connectTimeout", Item::duration);
            object.refuse(&UNSUPPORTED_TCP);
            object.finish();
            connect_timeout
        });
        let http = object.field_or_default("http", |item| {
            let mut object = item.object()?;
            let idle_timeout = object.field("idleTimeout", Item::duration);
            let max_requests_per_connection =
                object.field("maxRequestsPerConnection", |item| item.unsigned(0..=i64::from(i32::MAX)));
            object.refuse(&UNSUPPORTED_HTTP);
            object.finish();
            Ok(Self {
                idle_timeout: idle_timeout?,
                max_requests_per_connection: max_requests_per_connection?,
                ..Self::default()
            })
        });
        object.finish();
        Ok(Self { connect_timeout: connect_timeout?.flatten(), ..http? })
    }

    /// A pool that sets nothing keeps an empty part, for it must have one.
    fn encode(&self) -> Value {
        let tcp = Fields::new().some("connectTimeout", self.connect_timeout.map(duration));
        let http = Fields::new()
            .some("idleTimeout", self.idle_timeout.map(duration))
            .some("maxRequestsPerConnection", self.max_requests_per_connection)
            .into_filled();
        let tcp = tcp.into_filled().or_else(|| http.is_none().then(|| Fields::new().into()));
        Fields::new().some("tcp", tcp).some("http", http).into()
    }
}

/// `tls`; without a mode it is `DISABLE`.
fn decode_plaintext(item: &Item<'_>) -> Decoded<()> {
    let mut object = item.object()?;
    let mode = object.field("mode", |item| item.choice(&[("DISABLE", ())], &UNSUPPORTED_MODES));
    object.refuse(&UNSUPPORTED_TLS);
    object.finish();
    mode.map(|_| ())
}

/// The port of an element of `portLevelSettings`.
fn decode_plaintext_port(item: &Item<'_>) -> Decoded<u16> {
    let mut object = item.object()?;
    let port = object.required("port").and_then(|item| {
        let mut object = item.object()?;
        let number = object.required("number").and_then(|item| item.port());
        object.finish();
        number
    });
    let tls = object.field("tls", decode_plaintext);
    let refused = object.refuse(&UNSUPPORTED_PORT);
    if refused.is_none() && !object.has("tls") {
        return Err(object.missing("tls", "required, since it is all that a port can have"));
    }
    object.finish();
    tls.and(port)
}
