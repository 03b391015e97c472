//! `redirect`: another URL as the answer.

use super::request_match::Match;
use super::url::{Scheme, status, told_path, url_part};
use crate::decode::{Decoded, Item, both};
use crate::documents::string_match::StringMatch;
use crate::encode::Fields;
use http::StatusCode;
use serde_json::Value;

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

impl Redirect {
    pub(super) fn decode(item: &Item<'_>, matches: &[Match]) -> Decoded<Self> {
        let mut object = item.object()?;
        let uri = object.field_or_default("uri", told_path);
        let prefix = object.field_or_default("prefixRewrite", |item| decode_prefix(item, matches));
        let authority = object.field_or_default("authority", url_part);
        let scheme = object.field_or_default("scheme", Scheme::decode);
        let number = object.field_or_default("port", Item::port_or_none);
        let known =
            [("FROM_PROTOCOL_DEFAULT", RedirectPort::ProtocolDefault), ("FROM_REQUEST_PORT", RedirectPort::Listener)];
        let derived = object.field("derivePort", |item| item.choice(&known, &[]));
        let status = object.field_or_default("redirectCode", decode_redirect_code);
        object.finish();
        let path = both(uri, prefix).and_then(|paths| match paths {
            (Some(_), Some(_)) => Err(item.error("uri and prefixRewrite exclude each other")),
            (Some(uri), None) => Ok(Some(RedirectPath::Whole(uri))),
            (None, prefix) => Ok(prefix.map(RedirectPath::Prefix)),
        });
        let port = both(number, derived).and_then(|ports| match ports {
            (Some(_), Some(_)) => Err(item.error("port and derivePort exclude each other")),
            (number, derived) => Ok(number.map(RedirectPort::Number).or(derived)),
        });
        let (path, authority, scheme, port) = (path?, authority?, scheme?, port?);
        if path.is_none() && authority.is_none() && scheme.is_none() && port.is_none() {
            let message = "one of uri, prefixRewrite, authority, scheme, port and derivePort is required";
            return Err(item.error(message));
        }
        let status = status?.unwrap_or(StatusCode::MOVED_PERMANENTLY);
        Ok(Self { status, path, authority, scheme, port })
    }

    pub(super) fn encode(&self) -> Value {
        let (uri, prefix) = match &self.path {
            Some(RedirectPath::Whole(uri)) => (Some(uri.as_str()), None),
            Some(RedirectPath::Prefix(prefix)) => (None, Some(prefix.as_str())),
            None => (None, None),
        };
        let (number, derived) = match self.port {
            Some(RedirectPort::Number(number)) => (Some(number), None),
            Some(RedirectPort::ProtocolDefault) => (None, Some("FROM_PROTOCOL_DEFAULT")),
            Some(RedirectPort::Listener) => (None, Some("FROM_REQUEST_PORT")),
            None => (None, None),
        };
        Fields::new()
            .some("uri", uri)
            .some("prefixRewrite", prefix)
            .some("authority", self.authority.as_deref())
            .some("scheme", self.scheme.map(Scheme::as_str))
            .some("port", number)
            .some("derivePort", derived)
            .some("redirectCode", (self.status != StatusCode::MOVED_PERMANENTLY).then(|| self.status.as_u16()))
            .into()
    }
}

fn decode_prefix(item: &Item<'_>, matches: &[Match]) -> Decoded<Option<String>> {
    let prefix = told_path(item)?;
    let is_by_prefix = |entry: &Match| matches!(entry.uri, None | Some(StringMatch::Prefix(_)));
    if prefix.is_some() && !matches.iter().all(is_by_prefix) {
        return Err(item.advise("every match of the rule must have its uri by prefix", "write uri instead"));
    }
    Ok(prefix)
}

fn decode_redirect_code(item: &Item<'_>) -> Decoded<Option<StatusCode>> {
    match item.unsigned::<u16>(0..=i64::from(u16::MAX))? {
        0 => Ok(None),
        code @ 300..=399 => status(code, item).map(Some),
        code => Err(item.advise(format!("{code} is not the status of a redirect"), "write a number from 300 to 399")),
    }
}
