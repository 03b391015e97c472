//! `DestinationRule`: subsets of a service's endpoints, and how they are chosen, connected to and judged.

mod client_tls;
mod connection_pool;
mod load_balancer;
mod outlier_detection;

pub use client_tls::{ClientCertificate, ClientTls, TlsOrigination};
pub use connection_pool::{ConnectionPool, H2Upgrade, Http2KeepAlive, TcpKeepalive};
pub(in crate::documents) use load_balancer::header;
pub use load_balancer::{Balancing, ConsistentHash, HashCookie, HashKey, HashTable, LoadBalancer, Warmup};
pub use outlier_detection::OutlierDetection;

use super::Metadata;
use super::export_to::ExportTo;
use super::host::{check_wildcard_domain, is_label};
use super::metadata::labels;
use super::percent::Percent;
use crate::decode::{Decoded, Item, Object, quoted};
use crate::encode::Fields;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// What Istio has and the gateway has not in `trafficPolicy`.
const UNSUPPORTED_POLICY: [&str; 2] = ["proxyProtocol", "tunnel"];

/// A `DestinationRule` document.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationRule {
    /// Of two rules for one host that are exported alike the older one's policy counts, if it has one, then the first by
    /// name; their subsets are merged.
    pub metadata: Metadata,
    /// The service, in lower case as written: a short name counts in the document's own namespace.
    pub host: String,
    /// For the whole service. Boxed, since few documents are so large.
    pub policy: Box<TrafficPolicy>,
    /// Named parts of the service, by the labels of endpoints; names are unique.
    pub subsets: Vec<Subset>,
    /// Which gateways it is for: those of these namespaces.
    pub export_to: ExportTo,
    /// `workloadSelector`: it is only for gateways of its own namespace with these labels, and counts there before those
    /// that have none.
    pub selector: Option<BTreeMap<String, String>>,
}

/// A named part of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Subset {
    /// What a destination's `subset` refers to.
    pub name: String,
    /// An endpoint belongs to it if it has all of these; none selects every endpoint.
    pub labels: BTreeMap<String, String>,
    /// Each part that it sets goes before the rule's, as a whole.
    pub policy: TrafficPolicy,
}

/// `trafficPolicy`; what is not set falls to the wider policy, then to Istio's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficPolicy {
    /// For every port that `ports` does not name.
    pub of_every_port: PortPolicy,
    /// `portLevelSettings`: such a port takes nothing from the settings beside it. Of two for one port the first counts.
    pub ports: Vec<(u16, PortPolicy)>,
    /// `retryBudget`. Ports have none of their own.
    pub retry_budget: Option<RetryBudget>,
}

/// What of a traffic policy a port can have for itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PortPolicy {
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPool>,
    /// `loadBalancer`.
    pub load_balancer: Option<LoadBalancer>,
    /// `outlierDetection`.
    pub outlier_detection: Option<OutlierDetection>,
    /// `tls`.
    pub tls: Option<ClientTls>,
}

/// `retryBudget`: how many retries there may be at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// `percent`: of the requests in flight.
    pub percent: Option<Percent>,
    /// `minRetryConcurrency`: so many at least.
    pub min_concurrency: Option<u32>,
}

impl DestinationRule {
    pub(super) fn decode(spec: &Item<'_>, metadata: Metadata) -> Decoded<Self> {
        let mut object = spec.object()?;
        let host = object.required("host").and_then(|item| {
            let host = item.string()?.to_ascii_lowercase();
            check_wildcard_domain(&host).map_err(|error| item.error(error.to_string()))?;
            Ok(host)
        });
        let policy = object.field_or_default("trafficPolicy", |item| TrafficPolicy::decode(item).map(Box::new));
        let subsets = object.field_or_default("subsets", decode_subsets);
        let has_selector = object.has("workloadSelector");
        let selector = object.field("workloadSelector", |item| {
            let mut object = item.object()?;
            let selected = object.field_or_default("matchLabels", labels);
            object.finish();
            selected
        });
        let export_to = object.field_or_default("exportTo", |item| {
            let export_to = ExportTo::decode(item, &metadata.namespace, false)?;
            let is_given = item.raw().as_array().is_some_and(|names| !names.is_empty());
            if has_selector && is_given && !export_to.is_private(&metadata.namespace) {
                return Err(
                    item.advise("a rule with a workloadSelector is for its own namespace alone", "leave it out")
                );
            }
            Ok(export_to)
        });
        object.finish();
        let (policy, subsets) = (policy?, subsets?);
        Ok(Self { metadata, host: host?, policy, subsets, export_to: export_to?, selector: selector? })
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new()
            .field("host", self.host.as_str())
            .some("trafficPolicy", self.policy.encode())
            .list("subsets", self.subsets.iter().map(Subset::encode))
            .list("exportTo", self.export_to.encode().into_iter())
            .some("workloadSelector", self.selector.as_ref().map(|labels| Fields::new().map("matchLabels", labels)))
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
        let of_every_port = PortPolicy::decode(&mut object);
        let ports = object.field_or_default("portLevelSettings", |item| item.each(decode_port));
        let retry_budget = object.field("retryBudget", RetryBudget::decode);
        object.refuse(&UNSUPPORTED_POLICY);
        object.finish();
        Ok(Self { of_every_port: of_every_port?, ports: ports?, retry_budget: retry_budget? })
    }

    /// None if nothing is set.
    fn encode(&self) -> Option<Value> {
        let port = |(number, policy): &(u16, PortPolicy)| {
            policy.encode_onto(Fields::new().field("port", Fields::new().field("number", *number)))
        };
        self.of_every_port
            .encode_onto(Fields::new())
            .list("portLevelSettings", self.ports.iter().map(port))
            .some("retryBudget", self.retry_budget.as_ref().map(RetryBudget::encode))
            .into_filled()
    }
}

impl PortPolicy {
    fn decode(object: &mut Object<'_>) -> Decoded<Self> {
        let connection_pool = object.field("connectionPool", ConnectionPool::decode);
        let load_balancer = object.field("loadBalancer", LoadBalancer::decode);
        let outlier_detection = object.field("outlierDetection", OutlierDetection::decode);
        let tls = object.field("tls", ClientTls::decode);
        Ok(Self {
            connection_pool: connection_pool?,
            load_balancer: load_balancer?,
            outlier_detection: outlier_detection?,
            tls: tls?,
        })
    }

    fn encode_onto(&self, fields: Fields) -> Fields {
        fields
            .some("connectionPool", self.connection_pool.as_ref().map(ConnectionPool::encode))
            .some("loadBalancer", self.load_balancer.as_ref().map(LoadBalancer::encode))
            .some("outlierDetection", self.outlier_detection.as_ref().map(OutlierDetection::encode))
            .some("tls", self.tls.as_ref().map(ClientTls::encode))
    }
}

/// An element of `portLevelSettings`.
fn decode_port(item: &Item<'_>) -> Decoded<(u16, PortPolicy)> {
    let mut object = item.object()?;
    let port = object.required("port").and_then(|item| {
        let mut object = item.object()?;
        let number = object.required("number").and_then(|item| item.port());
        object.finish();
        number
    });
    let policy = PortPolicy::decode(&mut object);
    object.finish();
    if policy.as_ref().is_ok_and(|policy| *policy == PortPolicy::default()) {
        return Err(item.advise("the settings of a port must have at least one field", "leave the port out"));
    }
    Ok((port?, policy?))
}

impl RetryBudget {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let percent = object.field("percent", Percent::decode_number);
        let min_concurrency = object.field("minRetryConcurrency", long_count);
        object.refuse(&["budgetInterval"]);
        object.finish();
        Ok(Self { percent: percent?, min_concurrency: min_concurrency?.flatten() })
    }

    fn encode(&self) -> Value {
        Fields::new()
            .some("percent", self.percent.map(Percent::value))
            .some("minRetryConcurrency", self.min_concurrency)
            .into()
    }
}

/// A number of which Istio takes 0 for not set.
fn count(item: &Item<'_>) -> Decoded<Option<u32>> {
    Ok(Some(item.unsigned(0..=i64::from(i32::MAX))?).filter(|count| *count != 0))
}

/// The same with Istio's other bound.
fn long_count(item: &Item<'_>) -> Decoded<Option<u32>> {
    Ok(Some(item.unsigned(0..=i64::from(u32::MAX))?).filter(|count| *count != 0))
}
