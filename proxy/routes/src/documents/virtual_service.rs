//! `VirtualService`: the ordered rules for the requests of some hosts. Each file here holds one part of it: the type, how
//! it is decoded, and how it is encoded again.

mod cors;
mod delegate;
mod direct_response;
mod fault;
mod forward;
mod gateway_ref;
mod http_rule;
mod mirror;
mod redirect;
mod request_match;
mod retries;
mod rewrite;
mod unreachable_rules;
mod url;

use super::export_to::ExportTo;
use super::host::{DistinctHosts, HostPattern};
use super::metadata::Metadata;
use crate::decode::{Decoded, Item};
use crate::encode::Fields;
use gateway_ref::decode_gateways;
use serde_json::Value;

pub use cors::{Cors, UnmatchedPreflights};
pub use delegate::Delegate;
pub use direct_response::DirectResponse;
pub use fault::{Abort, AbortWith, Delay, Fault};
pub use forward::{Destination, Destinations, Forward, WeightError, WeightedDestination};
pub use gateway_ref::GatewayRef;
pub use http_rule::{Action, HttpRule};
pub use mirror::Mirror;
pub use redirect::{Redirect, RedirectPath, RedirectPort};
pub use request_match::{HeaderSelector, Match};
pub use retries::{Retries, RetryCondition};
pub use rewrite::{PathRewrite, RegexRewrite, Rewrite};
pub use url::Scheme;

/// A `VirtualService` document.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    /// Of several for one host the older goes first, then the first by name.
    pub metadata: Metadata,
    /// No two of them overlap. None: its rules are served where those of other VirtualServices delegate to it.
    pub hosts: Vec<HostPattern>,
    /// The Gateways that serve it. None: it is served only where no Gateway document exists at all. Without hosts always
    /// none.
    pub gateways: Vec<GatewayRef>,
    /// The first that matches wins. At least one, but where there are routes of another kind.
    pub http: Vec<HttpRule>,
    /// Which gateways it is for, and without hosts, whose rules may delegate to it: those of these namespaces.
    pub export_to: ExportTo,
    /// `tcp` as it is written: not served.
    pub tcp: Option<Value>,
    /// `tls` as it is written: not served.
    pub tls: Option<Value>,
}

impl VirtualService {
    pub(super) fn decode(spec: &Item<'_>, metadata: Metadata) -> Decoded<Self> {
        let mut object = spec.object()?;
        let gateways_item = object.optional("gateways");
        let gateways = gateways_item.as_ref().map_or(Ok(Vec::new()), |item| decode_gateways(item, &metadata.namespace));
        let serves_mesh = gateways.as_ref().is_ok_and(|names| names.is_empty() || names.contains(&GatewayRef::Mesh));
        let at_gateway = gateways.as_ref().is_ok_and(|names| names.iter().any(|name| *name != GatewayRef::Mesh));
        let hosts = object.field_or_default("hosts", |item| {
            let hosts = decode_hosts(item, serves_mesh)?;
            if at_gateway {
                warn_of_short(item, &hosts, &metadata.namespace);
            }
            Ok(hosts)
        });
        let is_delegate = hosts.as_ref().is_ok_and(Vec::is_empty);
        if let (true, Some(item)) =
            (is_delegate && gateways.as_ref().is_ok_and(|names| !names.is_empty()), gateways_item)
        {
            item.advise("without hosts it is a delegate, which has no gateways", "write hosts, or leave gateways out");
        }
        let [tcp, tls] = ["tcp", "tls"].map(|name| object.field_or_default(name, |item| unserved(item, is_delegate)));
        let has_other_routes = [&tcp, &tls].iter().any(|routes| !matches!(routes, Ok(None)));
        let export_to = object.field_or_default("exportTo", |item| ExportTo::decode(item, &metadata.namespace, false));
        let http = match object.optional("http") {
            Some(item) => decode_rules(&item, &metadata.namespace, is_delegate),
            None if has_other_routes => Ok(Vec::new()),
            None => Err(object.missing("http", "required: at least one rule")),
        };
        object.finish();
        Ok(Self {
            metadata,
            hosts: hosts?,
            gateways: gateways?,
            http: http?,
            export_to: export_to?,
            tcp: tcp?,
            tls: tls?,
        })
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new()
            .list("hosts", self.hosts.iter().map(HostPattern::to_string))
            .list("gateways", self.gateways.iter().map(GatewayRef::encode))
            .list("http", self.http.iter().map(HttpRule::encode))
            .list("exportTo", self.export_to.encode().into_iter())
            .some("tcp", self.tcp.clone())
            .some("tls", self.tls.clone())
            .into()
    }
}

/// `serves_mesh`: whether it is also for sidecars, for which Istio does not allow `*`.
fn decode_hosts(item: &Item<'_>, serves_mesh: bool) -> Decoded<Vec<HostPattern>> {
    let mut earlier = DistinctHosts::default();
    item.each(|item| {
        let host = HostPattern::decode(item)?;
        if host == HostPattern::Any && serves_mesh {
            return Err(item.advise("every host (*) needs gateways, and none of them mesh", "write gateways"));
        }
        match earlier.insert(&host) {
            None => Ok(host),
            Some(other) => {
                Err(item.advise(format!("{host} and {other} are for the same hosts"), "leave one of them out"))
            }
        }
    })
}

/// Clients hardly ask for what Istio makes of a short name.
fn warn_of_short(item: &Item<'_>, hosts: &[HostPattern], own_namespace: &str) {
    let names = hosts.iter().filter_map(|host| match host {
        HostPattern::Exact(name) if !name.contains(['.', ':']) && name != "localhost" => Some(name),
        HostPattern::Any | HostPattern::Suffix(_) | HostPattern::Exact(_) => None,
    });
    for name in names {
        let message = format!("at a Gateway {name} stands for {name}.{own_namespace}.svc.cluster.local, as in Istio");
        item.warn(message, "write the host that clients ask for");
    }
}

/// Routes of a kind that is left to others.
fn unserved(item: &Item<'_>, is_delegate: bool) -> Decoded<Option<Value>> {
    let routes = item.each(|item| item.object().map(|_| item.raw()))?;
    if is_delegate {
        return Err(item.advise("without hosts it is a delegate, which has http rules alone", "leave it out"));
    }
    if !routes.is_empty() {
        item.warn("not served: the gateway has the http rules alone", "leave it out, or keep it for Istio");
    }
    Ok((!routes.is_empty()).then(|| Value::from(routes)))
}

fn decode_rules(item: &Item<'_>, own_namespace: &str, is_delegate: bool) -> Decoded<Vec<HttpRule>> {
    let mut items = Vec::new();
    let rules = item.each(|item| {
        items.push(item.clone());
        let rule = HttpRule::decode(item, own_namespace)?;
        match item.object()?.optional("delegate") {
            Some(delegate) if is_delegate => {
                Err(delegate.advise("a VirtualService without hosts cannot delegate", "write the rules themselves"))
            }
            _ => Ok(rule),
        }
    })?;
    if rules.is_empty() {
        return Err(item.error("at least one rule is required"));
    }
    unreachable_rules::warn(&rules, &items);
    Ok(rules)
}
