//! `match`: which requests a rule is for. What Istio takes for "not set" (an empty text, port 0, a condition without a
//! kind) is none here too.

use super::gateway_ref::{GatewayRef, decode_gateways};
use crate::decode::{Decoded, Item, quoted};
use crate::documents::header_changes::header_name;
use crate::documents::host::is_label;
use crate::documents::metadata::labels;
use crate::documents::string_match::{EmptyPrefix, StringMatch, ValueMatch};
use crate::encode::Fields;
use http::HeaderName;
use serde_json::Value;
use std::collections::BTreeMap;

/// A claim of a token as if it were a header, which Istio has and the gateway has not.
const CLAIM_PREFIX: &str = "@request.auth.claims";

/// What to match instead of a pseudo-header.
const PSEUDO_HEADERS: [(&str, &str); 4] = [
    (":method", "match method"),
    (":path", "match uri"),
    (":scheme", "match scheme"),
    (":status", "leave it out: a request has none"),
];

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
    pub scheme: Option<ValueMatch>,
    /// The method; case counts.
    pub method: Option<ValueMatch>,
    /// The Host or `:authority` as it came, port included; case counts.
    pub authority: Option<ValueMatch>,
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderSelector {
    /// `host` and `:authority`.
    Authority,
    /// A header.
    Name(HeaderName),
}

type HeaderMatches = BTreeMap<String, (HeaderSelector, ValueMatch)>;

impl Match {
    pub(super) fn decode(item: &Item<'_>, own_namespace: &str) -> Decoded<Self> {
        let mut object = item.object()?;
        let uri = object.field_or_default("uri", |item| StringMatch::decode(item, EmptyPrefix::Allowed));
        let mut text = |field| object.field(field, ValueMatch::decode);
        let (scheme, method, authority) = (text("scheme"), text("method"), text("authority"));
        let ignore_uri_case = object.field_or_default("ignoreUriCase", Item::boolean);
        let headers = object.field_or_default("headers", |item| decode_headers(item, ValueMatch::decode));
        let without_headers = object.field_or_default("withoutHeaders", |item| decode_headers(item, decode_absent));
        let query_params = object.field_or_default("queryParams", decode_query);
        let port = object.field_or_default("port", Item::port_or_none);
        let gateways = object.field_or_default("gateways", |item| decode_gateways(item, own_namespace));
        let source_labels = object.field_or_default("sourceLabels", labels);
        let source_namespace = object.field_or_default("sourceNamespace", decode_namespace);
        let name = object.field_or_default("name", Item::filled);
        object.pass_over(&[("statPrefix", "the gateway does not have the statistics that it names")]);
        object.finish();
        Ok(Self {
            name: name?.map(str::to_owned),
            uri: uri?,
            ignore_uri_case: ignore_uri_case?,
            scheme: scheme?,
            method: method?,
            authority: authority?,
            headers: headers?,
            without_headers: without_headers?,
            query_params: query_params?,
            port: port?,
            gateways: gateways?,
            source_labels: source_labels?,
            source_namespace: source_namespace?,
        })
    }

    pub(super) fn encode(&self) -> Value {
        let headers = |headers: &HeaderMatches| {
            let add =
                |fields: Fields, (name, (_, value)): (&String, &(_, ValueMatch))| fields.field(name, value.encode());
            headers.iter().fold(Fields::new(), add).into_filled()
        };
        let query_params =
            self.query_params.iter().fold(Fields::new(), |fields, (name, value)| fields.field(name, value.encode()));
        Fields::new()
            .some("name", self.name.as_deref())
            .some("uri", self.uri.as_ref().map(StringMatch::encode))
            .some("ignoreUriCase", self.ignore_uri_case.then_some(true))
            .some("scheme", self.scheme.as_ref().map(ValueMatch::encode))
            .some("method", self.method.as_ref().map(ValueMatch::encode))
            .some("authority", self.authority.as_ref().map(ValueMatch::encode))
            .some("headers", headers(&self.headers))
            .some("withoutHeaders", headers(&self.without_headers))
            .some("queryParams", query_params.into_filled())
            .some("port", self.port)
            .list("gateways", self.gateways.iter().map(GatewayRef::encode))
            .map("sourceLabels", &self.source_labels)
            .some("sourceNamespace", self.source_namespace.as_deref())
            .into()
    }
}

fn decode_headers(item: &Item<'_>, decode: impl Fn(&Item<'_>) -> Decoded<ValueMatch>) -> Decoded<HeaderMatches> {
    let headers = item.each_entry(|name, item| {
        let selector = HeaderSelector::decode(name, item);
        let value = decode(item);
        Ok((name.to_owned(), (selector?, value?)))
    })?;
    Ok(headers.into_iter().collect())
}

/// Under `withoutHeaders`, Istio reads the expression `*` as presence.
fn decode_absent(item: &Item<'_>) -> Decoded<ValueMatch> {
    let mut object = item.object()?;
    let is_star = object.optional("regex").is_some_and(|regex| regex.is_text("*"));
    if is_star && !object.has("exact") && !object.has("prefix") {
        object.finish();
        return Ok(ValueMatch::Present);
    }
    ValueMatch::decode(item)
}

fn decode_query(item: &Item<'_>) -> Decoded<BTreeMap<String, ValueMatch>> {
    let params = item.each_entry(|name, item| Ok((name.to_owned(), ValueMatch::decode(item)?)))?;
    Ok(params.into_iter().collect())
}

fn decode_namespace(item: &Item<'_>) -> Decoded<Option<String>> {
    match item.filled()? {
        Some(text) if !is_label(text) => Err(item.error(format!("{} is not a namespace", quoted(text)))),
        text => Ok(text.map(str::to_owned)),
    }
}

impl HeaderSelector {
    fn decode(name: &str, item: &Item<'_>) -> Decoded<Self> {
        if name.eq_ignore_ascii_case("host") || name == ":authority" {
            return Ok(Self::Authority);
        }
        if name.starts_with(CLAIM_PREFIX) {
            return Err(item.unsupported());
        }
        if let Some((_, advice)) = PSEUDO_HEADERS.iter().find(|(pseudo_header, _)| *pseudo_header == name) {
            return Err(item.advise("not supported by the gateway", *advice));
        }
        header_name(name, item).map(Self::Name)
    }
}
