//! `DestinationRule`: subsets of a service's endpoints, and how connections to them are kept.

use super::Metadata;
use super::host::{check_wildcard_domain, is_label};
use super::metadata::labels;
use crate::decode::{Decoded, Item, quoted};
use crate::encode::{Fields, duration};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// What Istio has and the gateway has not: in `spec`, ...
const UNSUPPORTED: [&str; 2] = ["exportTo", "workloadSelector"];
/// ... in `trafficPolicy`, ...
const UNSUPPORTED_POLICY: [&str; 6] =
    ["outlierDetection", "portLevelSettings", "proxyProtocol", "retryBudget", "tls", "tunnel"];
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
    /// Overrides the rule's, field by field.
    pub policy: TrafficPolicy,
}

/// `trafficPolicy`, as far as the gateway has it; what is not set falls to the wider policy, then to Istio's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TrafficPolicy {
    /// `connectionPool.tcp.connectTimeout`.
    pub connect_timeout: Option<Duration>,
    /// `connectionPool.http.idleTimeout`: an upstream connection without a request is closed after it.
    pub idle_timeout: Option<Duration>,
    /// `connectionPool.http.maxRequestsPerConnection`; 0 is without limit.
    pub max_requests_per_connection: Option<u32>,
    /// `loadBalancer.simple` was given as `LEAST_REQUEST`, the one kind that the gateway has and its default.
    pub least_request: bool,
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
        let pool = object.field_or_default("connectionPool", Self::decode_pool);
        let least_request = object.field("loadBalancer", |item| {
            let mut object = item.object()?;
            let simple = object.field("simple", |item| item.choice(&LEAST_REQUEST, &UNSUPPORTED_SIMPLE));
            object.refuse(&UNSUPPORTED_LOAD_BALANCER);
            object.finish();
            Ok(simple?.is_some())
        });
        object.refuse(&UNSUPPORTED_POLICY);
        object.finish();
        Ok(Self { least_request: least_request?.unwrap_or(false), ..pool? })
    }

    fn decode_pool(item: &Item<'_>) -> Decoded<Self> {
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

    /// None if nothing is set.
    fn encode(&self) -> Option<Value> {
        let tcp = Fields::new().some("connectTimeout", self.connect_timeout.map(duration));
        let http = Fields::new()
            .some("idleTimeout", self.idle_timeout.map(duration))
            .some("maxRequestsPerConnection", self.max_requests_per_connection);
        let pool = Fields::new().some("tcp", tcp.into_filled()).some("http", http.into_filled());
        let balancer = Fields::new().some("simple", self.least_request.then_some("LEAST_REQUEST"));
        Fields::new()
            .some("connectionPool", pool.into_filled())
            .some("loadBalancer", balancer.into_filled())
            .into_filled()
    }
}
