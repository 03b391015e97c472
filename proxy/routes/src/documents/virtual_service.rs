//! `VirtualService`: the ordered rules for the requests of some hosts.

mod action;
mod request_match;
mod retries;
mod unreachable;

use super::host::DistinctHosts;
use super::{HeaderOperations, HostPattern, Metadata, StringMatch, ValueMatch};
use crate::decode::{Decoded, Item, Reported};
use crate::re2::{self, PatternError};
use crate::render::{Fields, duration};
use bytes::Bytes;
use http::{HeaderName, StatusCode, uri::Authority};
use regex::Regex;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

/// What Istio has and the gateway has not: in `spec`, ...
const UNSUPPORTED: [&str; 3] = ["exportTo", "tcp", "tls"];
/// ... and in a rule.
const UNSUPPORTED_RULE: [&str; 7] =
    ["corsPolicy", "fault", "mirror", "mirrorPercent", "mirrorPercentage", "mirror_percent", "mirrors"];

/// A `VirtualService` document.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    /// Of several for one host the older goes first, then the first by name.
    pub metadata: Metadata,
    /// At least one; no two of them overlap.
    pub hosts: Vec<HostPattern>,
    /// The Gateways that serve it. None: it is served only where no Gateway document exists at all.
    pub gateways: Vec<GatewayRef>,
    /// At least one; the first that matches wins.
    pub http: Vec<HttpRule>,
}

/// A reference to a Gateway document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayRef {
    /// `mesh`: sidecars, never this gateway.
    Mesh,
    /// `name` (in the document's own namespace, filled in here) or `namespace/name`.
    Named {
        /// The Gateway's namespace.
        namespace: String,
        /// The Gateway's name.
        name: String,
    },
}

/// One of the ordered rules.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRule {
    /// For people and for rollouts that name the rule they govern.
    pub name: Option<String>,
    /// Any of them suffices; none matches every request.
    pub matches: Vec<Match>,
    /// What happens with the request.
    pub action: Action,
    /// On request and response, whatever the destination.
    pub headers: HeaderOperations,
    /// For the whole answer, all tries included, in whole milliseconds; none is without limit.
    pub timeout: Option<Duration>,
    /// None: Istio's default policy.
    pub retries: Option<Retries>,
}

/// One `match` entry: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Match {
    /// For people.
    pub name: Option<String>,
    /// The normalised path, without the query.
    pub uri: Option<StringMatch>,
    /// `exact` and `prefix` of `uri` are compared without case.
    pub ignore_uri_case: bool,
    /// `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// The method; case counts.
    pub method: Option<StringMatch>,
    /// The Host or `:authority` as it came, port included; case counts.
    pub authority: Option<StringMatch>,
    /// Each must hold; any one of repeated lines may match.
    pub headers: BTreeMap<String, (HeaderSelector, ValueMatch)>,
    /// None may hold.
    pub without_headers: BTreeMap<String, (HeaderSelector, ValueMatch)>,
    /// Each must hold; the first of repeated parameters counts.
    pub query_params: BTreeMap<String, ValueMatch>,
    /// The Gateway's port number.
    pub port: Option<u16>,
    /// Narrows the rule to some of the document's Gateways.
    pub gateways: Vec<GatewayRef>,
    /// Compared with the gateway's own labels.
    pub source_labels: BTreeMap<String, String>,
    /// Compared with the gateway's own namespace.
    pub source_namespace: Option<String>,
}

/// What a key under `headers` means.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderSelector {
    /// `host` and `:authority`.
    Authority,
    /// A header.
    Name(HeaderName),
}

/// What a rule does: exactly one of `route`, `redirect` and `directResponse`.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `route`, with `rewrite`.
    Forward(Forward),
    /// `redirect`.
    Redirect(Redirect),
    /// `directResponse`.
    DirectResponse(DirectResponse),
}

/// Sends the request to one of the destinations.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The split.
    pub destinations: Destinations,
    /// What is changed on the way.
    pub rewrite: Rewrite,
}

/// The destinations of a split: at least one, and if several, not all of weight 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Destinations(Vec<WeightedDestination>);

/// Why a list of destinations is no split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// The list is empty.
    #[error("a route needs at least one destination")]
    NoDestination,
    /// Several destinations, and nothing to tell them apart by.
    #[error("total destination weight = 0: give at least one of the destinations a weight above 0")]
    AllZero,
}

impl Destinations {
    /// Checks the list. A single destination gets everything, whatever its weight, as in Istio.
    pub fn new(destinations: Vec<WeightedDestination>) -> Result<Self, WeightError> {
        match destinations.as_slice() {
            [] => Err(WeightError::NoDestination),
            [_] => Ok(Self(destinations)),
            several if several.iter().all(|d| d.weight == 0) => Err(WeightError::AllZero),
            _ => Ok(Self(destinations)),
        }
    }

    /// The destinations, in the document's order.
    pub fn as_slice(&self) -> &[WeightedDestination] {
        &self.0
    }
}

/// A destination and its share.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedDestination {
    /// Where to.
    pub destination: Destination,
    /// Relative share, at most 2^31 - 1; the sum is free.
    pub weight: u32,
    /// On request and response, for this destination only.
    pub headers: HeaderOperations,
}

/// A service, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// In lower case as written: a short name counts in the VirtualService's own namespace.
    pub host: String,
    /// A subset of a DestinationRule.
    pub subset: Option<String>,
    /// Needed for a service with several ports.
    pub port: Option<u16>,
}

/// `rewrite`; both may be absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rewrite {
    /// The path.
    pub path: Option<PathRewrite>,
    /// The Host that the backend sees.
    pub authority: Option<Authority>,
}

/// How a path is rewritten.
#[derive(Clone, Debug, PartialEq)]
pub enum PathRewrite {
    /// `uri`: replaces what the match named (the prefix, or the whole path); may hold a query, which goes before the
    /// request's own.
    Matched(String),
    /// `uriRegexRewrite`: replaces every match in the path.
    Regex(RegexRewrite),
}

/// RE2 search and replace.
#[derive(Clone, Debug)]
pub struct RegexRewrite {
    pattern: String,
    replacement: String,
    regex: Regex,
    /// In the syntax of the regex crate.
    expansion: String,
}

impl PartialEq for RegexRewrite {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern && self.replacement == other.replacement
    }
}

impl RegexRewrite {
    /// Compiles an expression of RE2 and its replacement (`\1` is the first group, `\0` the whole match).
    pub fn new(pattern: &str, replacement: &str) -> Result<Self, PatternError> {
        Self::with_regex(pattern, re2::search(pattern)?.regex, replacement)
    }

    fn with_regex(pattern: &str, regex: Regex, replacement: &str) -> Result<Self, PatternError> {
        let expansion = re2::expansion(replacement, &regex)?;
        Ok(Self { pattern: pattern.to_owned(), replacement: replacement.to_owned(), regex, expansion })
    }

    /// Replaces every match; borrows where nothing matches.
    pub fn replace_all<'p>(&self, path: &'p str) -> Cow<'p, str> {
        self.regex.replace_all(path, self.expansion.as_str())
    }
}

/// `redirect`: at least one of its fields is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// 301 by default; 3xx.
    pub status: StatusCode,
    /// Else the request's.
    pub path: Option<RedirectPath>,
    /// Else the request's.
    pub authority: Option<String>,
    /// Else the request's.
    pub scheme: Option<Scheme>,
    /// Else the request's.
    pub port: Option<RedirectPort>,
}

/// The path of a redirect.
#[derive(Clone, Debug, PartialEq)]
pub enum RedirectPath {
    /// `uri`: the whole path; a query in it replaces the request's.
    Whole(String),
    /// `prefixRewrite`: replaces the matched prefix; every match of the rule is by prefix.
    Prefix(String),
}

/// The port of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectPort {
    /// `port`.
    Number(u16),
    /// `derivePort: FROM_PROTOCOL_DEFAULT`.
    ProtocolDefault,
    /// `derivePort: FROM_REQUEST_PORT`: the listener's.
    Listener,
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Clear text.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of a URL that names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// `directResponse`: the gateway answers itself.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: StatusCode,
    /// `string` or `bytes`; empty is without a body.
    pub body: Bytes,
}

/// `retries`.
#[derive(Clone, Debug, PartialEq)]
pub enum Retries {
    /// `attempts: 0`.
    Off,
    /// Tries again.
    On {
        /// Tries after the first.
        attempts: NonZeroU32,
        /// For each try; whole milliseconds, at least 1.
        per_try_timeout: Option<Duration>,
        /// When to; empty means Istio's default conditions.
        retry_on: BTreeSet<RetryCondition>,
        /// The base of the exponential back-off; 25 ms if absent.
        backoff: Option<Duration>,
        /// `retryIgnorePreviousHosts`: whether an endpoint that failed is avoided; true if absent.
        ignore_previous_hosts: Option<bool>,
    },
}

/// When a try is made again (Envoy's `x-envoy-retry-on`, the conditions that an HTTP/1.1 upstream can meet, and gRPC's
/// which are accepted as Istio does).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RetryCondition {
    /// `5xx`: a status of 500 to 599, or no answer at all.
    ServerError,
    /// `gateway-error`: 502, 503 or 504.
    GatewayError,
    /// `reset`: no answer at all.
    Reset,
    /// `reset-before-request`: no answer, and nothing of the request was sent.
    ResetBeforeRequest,
    /// `connect-failure`: no connection.
    ConnectFailure,
    /// `refused-stream`: HTTP/2 REFUSED_STREAM.
    RefusedStream,
    /// `retriable-4xx`: 409.
    Retriable4xx,
    /// `retriable-status-codes`: the codes that are listed beside it.
    RetriableStatusCodes,
    /// `envoy-ratelimited`: x-envoy-ratelimited is in the answer.
    EnvoyRatelimited,
    /// `retriable-headers`: none can be listed, so it never holds.
    RetriableHeaders,
    /// `http3-post-connect-failure`: never holds.
    Http3PostConnectFailure,
    /// A gRPC status: `cancelled` 1, `deadline-exceeded` 4, `resource-exhausted` 8, `internal` 13, `unavailable` 14.
    Grpc(u8),
    /// A status code in the list.
    Status(u16),
}

impl VirtualService {
    pub(super) fn decode(spec: &Item<'_>, metadata: Metadata) -> Decoded<Self> {
        let mut object = spec.object()?;
        let gateways =
            object.field_or_default("gateways", |item| request_match::decode_gateways(item, &metadata.namespace));
        let serves_mesh = gateways.as_ref().is_ok_and(|names| names.is_empty() || names.contains(&GatewayRef::Mesh));
        let hosts = match object.optional("hosts") {
            Some(item) => decode_hosts(&item, serves_mesh),
            None => Err(object.missing("hosts", NO_HOSTS)),
        };
        let has_other_routes = object.has("tcp") || object.has("tls");
        object.refuse(&UNSUPPORTED);
        let http = match object.optional("http") {
            Some(item) => decode_rules(&item, &metadata.namespace),
            // That it has only routes of other kinds has been said.
            None if has_other_routes => Ok(Vec::new()),
            None => Err(object.missing("http", "required: at least one rule")),
        };
        object.finish();
        Ok(Self { metadata, hosts: hosts?, gateways: gateways?, http: http? })
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new()
            .list("hosts", self.hosts.iter().map(HostPattern::to_string))
            .list("gateways", self.gateways.iter().map(GatewayRef::encode))
            .list("http", self.http.iter().map(HttpRule::encode))
            .into()
    }
}

const NO_HOSTS: &str = "at least one host is required; a delegate, which has none, is not supported by the gateway";

/// `serves_mesh`: whether it is also for sidecars, for which Istio does not allow `*`.
fn decode_hosts(item: &Item<'_>, serves_mesh: bool) -> Decoded<Vec<HostPattern>> {
    let mut earlier = DistinctHosts::default();
    let hosts = item.each(|item| {
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
    })?;
    if hosts.is_empty() { Err(item.error(NO_HOSTS)) } else { Ok(hosts) }
}

fn decode_rules(item: &Item<'_>, own_namespace: &str) -> Decoded<Vec<HttpRule>> {
    let mut items = Vec::new();
    let rules = item.each(|item| {
        items.push(item.clone());
        HttpRule::decode(item, own_namespace)
    })?;
    if rules.is_empty() {
        return Err(item.error("at least one rule is required"));
    }
    unreachable::warn(&rules, &items);
    Ok(rules)
}

impl HttpRule {
    fn decode(item: &Item<'_>, own_namespace: &str) -> Decoded<Self> {
        let mut object = item.object()?;
        let name = object.field_or_default("name", Item::filled);
        let matches = object.field_or_default("match", |item| item.each(|item| Match::decode(item, own_namespace)));
        let action = match object.refuse(&["delegate"]) {
            // It has no action of its own, and must not be asked for one.
            Some(reported) => {
                object.read_over(&["route", "redirect", "directResponse", "rewrite"]);
                Err(reported)
            }
            None => Action::decode(item, &mut object, matches.as_deref().unwrap_or_default()),
        };
        let headers = object.field_or_default("headers", HeaderOperations::decode);
        let timeout = object.field("timeout", Item::duration);
        let retries = object.field("retries", Retries::decode);
        object.refuse(&UNSUPPORTED_RULE);
        object.finish();
        let rule = Self {
            name: name?.map(str::to_owned),
            matches: matches?,
            action: action?,
            headers: headers?,
            timeout: timeout?,
            retries: retries?,
        };
        rule.check_authority(item)?;
        Ok(rule)
    }

    /// Istio lets a rule change the authority in one place only.
    fn check_authority(&self, item: &Item<'_>) -> Result<(), Reported> {
        match &self.action {
            Action::Forward(forward)
                if forward.rewrite.authority.is_some() && self.headers.request.authority.is_some() =>
            {
                Err(item
                    .advise("rewrite.authority and headers.request both set the authority", "leave one of them out"))
            }
            _ => Ok(()),
        }
    }

    fn encode(&self) -> Value {
        let fields =
            Fields::new().some("name", self.name.as_deref()).list("match", self.matches.iter().map(Match::encode));
        self.action
            .encode(fields)
            .some("headers", self.headers.encode())
            .some("timeout", self.timeout.map(duration))
            .some("retries", self.retries.as_ref().map(Retries::encode))
            .into()
    }
}
