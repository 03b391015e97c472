//! What a rule does: `route` with `rewrite`, `redirect`, or `directResponse`.

use super::{
    Action, Destination, Destinations, DirectResponse, Forward, Match, PathRewrite, Redirect, RedirectPath,
    RedirectPort, RegexRewrite, Rewrite, Scheme, WeightedDestination,
};
use crate::decode::{Decoded, Item, Object, Reported, both, quoted};
use crate::documents::destination_rule::subset_name;
use crate::documents::host::check_wildcard_domain;
use crate::documents::{HeaderOperations, StringMatch, base64};
use crate::re2;
use crate::render::Fields;
use bytes::Bytes;
use http::{StatusCode, uri::Authority};
use serde_json::Value;

/// From this size on Istio warns of a body that it has to hold in every gateway.
const LARGE_BODY_BYTES: usize = 100 * 1024;
/// Istio's limit of a body.
const MAX_BODY_BYTES: usize = 1024 * 1024;

impl Action {
    /// Exactly one of the three must be there.
    pub(super) fn decode(rule: &Item<'_>, object: &mut Object<'_>, matches: &[Match]) -> Decoded<Self> {
        let route = object.optional("route");
        let redirect = object.optional("redirect");
        let direct_response = object.optional("directResponse");
        let rewrite = object.optional("rewrite");
        let given: Vec<&str> = [("route", &route), ("redirect", &redirect), ("directResponse", &direct_response)]
            .into_iter()
            .filter_map(|(name, item)| item.as_ref().map(|_| name))
            .collect();
        let conflict = match given.as_slice() {
            [_] => None,
            [] => Some(rule.error("one of route, redirect and directResponse is required")),
            [first, second, ..] => Some(rule.error(format!("{first} and {second} exclude each other"))),
        };
        let rewritten = rewrite.as_ref().map(Rewrite::decode).transpose();
        let misplaced = match (&rewrite, &route) {
            (Some(rewrite), None) if !given.is_empty() => Some(rewrite.error(format!("{} excludes rewrite", given[0]))),
            _ => None,
        };
        let forward = route.map(|item| decode_destinations(&item)).transpose();
        let redirect = redirect.map(|item| Redirect::decode(&item, matches)).transpose();
        let direct_response = direct_response.map(|item| DirectResponse::decode(&item)).transpose();
        if let Some(reported) = conflict.or(misplaced) {
            return Err(reported);
        }
        match (forward?, redirect?, direct_response?) {
            (Some(destinations), ..) => {
                Ok(Self::Forward(Forward { destinations, rewrite: rewritten?.unwrap_or_default() }))
            }
            (_, Some(redirect), _) => Ok(Self::Redirect(redirect)),
            (_, _, Some(direct_response)) => Ok(Self::DirectResponse(direct_response)),
            (None, None, None) => Err(rule.error("one of route, redirect and directResponse is required")),
        }
    }

    pub(super) fn encode(&self, fields: Fields) -> Fields {
        match self {
            Self::Forward(forward) => fields
                .list("route", forward.destinations.as_slice().iter().map(WeightedDestination::encode))
                .some("rewrite", forward.rewrite.encode()),
            Self::Redirect(redirect) => fields.field("redirect", redirect.encode()),
            Self::DirectResponse(direct_response) => fields.field("directResponse", direct_response.encode()),
        }
    }
}

fn decode_destinations(item: &Item<'_>) -> Decoded<Destinations> {
    let destinations = item.each(WeightedDestination::decode)?;
    Destinations::new(destinations).map_err(|error| item.error(error.to_string()))
}

impl WeightedDestination {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let destination = object.required("destination").and_then(|item| Destination::decode(&item));
        let weight = object.field_or_default("weight", |item| item.unsigned(0..=i64::from(i32::MAX)));
        let headers = object.field_or_default("headers", HeaderOperations::decode);
        object.finish();
        Ok(Self { destination: destination?, weight: weight?, headers: headers? })
    }

    fn encode(&self) -> Value {
        Fields::new()
            .field("destination", self.destination.encode())
            .some("weight", Some(self.weight).filter(|weight| *weight != 0))
            .some("headers", self.headers.encode())
            .into()
    }
}

impl Destination {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let host = object.required("host").and_then(|item| {
            let host = item.string()?.to_ascii_lowercase();
            if host == "*" {
                return Err(item.advise("every host is no destination", "write the host of one service"));
            }
            check_wildcard_domain(&host).map_err(|error| item.error(error.to_string()))?;
            Ok(host)
        });
        let subset = object.field_or_default("subset", |item| match item.filled()? {
            Some(_) => subset_name(item).map(Some),
            None => Ok(None),
        });
        let port = object.field("port", |item| {
            let mut object = item.object()?;
            let number = object.required("number").and_then(|item| item.port());
            object.finish();
            number
        });
        object.finish();
        Ok(Self { host: host?, subset: subset?, port: port? })
    }

    fn encode(&self) -> Value {
        Fields::new()
            .field("host", self.host.as_str())
            .some("subset", self.subset.as_deref())
            .some("port", self.port.map(|port| Fields::new().field("number", port)))
            .into()
    }
}

impl Rewrite {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let uri = object.field_or_default("uri", url_part);
        let regex = object.field("uriRegexRewrite", RegexRewrite::decode);
        let authority = object.field_or_default("authority", |item| match item.filled()? {
            Some(text) => Authority::try_from(text)
                .map(Some)
                .map_err(|_| item.advise(format!("{} is not an authority", quoted(text)), "write host or host:port")),
            None => Ok(None),
        });
        object.finish();
        let path = match (uri?, regex?) {
            (Some(_), Some(_)) => return Err(item.error("uri and uriRegexRewrite exclude each other")),
            (Some(uri), None) => Some(PathRewrite::Matched(uri)),
            (None, Some(regex)) => Some(PathRewrite::Regex(regex)),
            (None, None) => None,
        };
        let authority = authority?;
        if path.is_none() && authority.is_none() {
            return Err(item.error("one of uri, uriRegexRewrite and authority is required"));
        }
        Ok(Self { path, authority })
    }

    /// None if nothing is rewritten.
    fn encode(&self) -> Option<Value> {
        let (uri, regex) = match &self.path {
            Some(PathRewrite::Matched(uri)) => (Some(uri.as_str()), None),
            Some(PathRewrite::Regex(regex)) => (None, Some(regex.encode())),
            None => (None, None),
        };
        Fields::new()
            .some("uri", uri)
            .some("uriRegexRewrite", regex)
            .some("authority", self.authority.as_ref().map(Authority::as_str))
            .into_filled()
    }
}

impl RegexRewrite {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let pattern = object.required("match").and_then(|item| Ok((item.string()?, item.pattern(re2::search)?)));
        let replacement = object.required("rewrite").and_then(|item| {
            let text = url_part(&item)?;
            text.map(|text| (text, item.clone())).ok_or_else(|| item.error("a replacement must not be empty"))
        });
        object.finish();
        let ((pattern, regex), (replacement, item)) = (pattern?, replacement?);
        Self::with_regex(pattern, regex, &replacement).map_err(|error| item.error(error.to_string()))
    }

    fn encode(&self) -> Value {
        Fields::new().field("match", self.pattern.as_str()).field("rewrite", self.replacement.as_str()).into()
    }
}

impl Redirect {
    fn decode(item: &Item<'_>, matches: &[Match]) -> Decoded<Self> {
        let mut object = item.object()?;
        let uri = object.field_or_default("uri", url_part);
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

    fn encode(&self) -> Value {
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
    let prefix = url_part(item)?;
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

fn status(code: u16, item: &Item<'_>) -> Decoded<StatusCode> {
    StatusCode::from_u16(code).map_err(|_| item.error(format!("{code} is not a status")))
}

impl Scheme {
    fn decode(item: &Item<'_>) -> Decoded<Option<Self>> {
        match item.string()? {
            "" => Ok(None),
            "http" => Ok(Some(Self::Http)),
            "https" => Ok(Some(Self::Https)),
            text => Err(item.advise(format!("{} is not a scheme", quoted(text)), "write http or https")),
        }
    }
}

/// A part of a URL that is sent as it is; an empty one is none.
fn url_part(item: &Item<'_>) -> Decoded<Option<String>> {
    let Some(text) = item.filled()? else {
        return Ok(None);
    };
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(Some(text.to_owned()));
    }
    let message = format!("{} holds a character that a URL must not hold", quoted(text));
    Err(item.advise(message, "percent-encode spaces and everything that is not ASCII"))
}

impl DirectResponse {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let status = object.required("status").and_then(|item| status(item.unsigned(200..=599)?, &item));
        let body = object.field_or_default("body", decode_body);
        object.finish();
        Ok(Self { status: status?, body: body? })
    }

    fn encode(&self) -> Value {
        let body = match str::from_utf8(&self.body) {
            Ok("") => None,
            Ok(text) => Some(Fields::new().field("string", text)),
            Err(_) => Some(Fields::new().field("bytes", base64::encode(&self.body))),
        };
        Fields::new().field("status", self.status.as_u16()).some("body", body).into()
    }
}

fn decode_body(item: &Item<'_>) -> Decoded<Bytes> {
    let mut object = item.object()?;
    let string = object.field("string", |item| Ok(Bytes::from(item.string()?.to_owned())));
    let bytes = object.field("bytes", |item| {
        let bytes = base64::decode(item.string()?).ok_or_else(|| not_base64(item))?;
        Ok(Bytes::from(bytes))
    });
    object.finish();
    let body = match (string?, bytes?) {
        (Some(_), Some(_)) => return Err(item.error("string and bytes exclude each other")),
        (Some(body), None) | (None, Some(body)) => body,
        (None, None) => Bytes::new(),
    };
    if body.len() > MAX_BODY_BYTES {
        return Err(item.error(format!("a body of {} bytes is too large: at most {MAX_BODY_BYTES}", body.len())));
    }
    if body.len() > LARGE_BODY_BYTES {
        item.warn(format!("a body of {} bytes is held by every gateway", body.len()), "let a backend answer");
    }
    Ok(body)
}

fn not_base64(item: &Item<'_>) -> Reported {
    item.advise("not base64", "write the body under string, or encode it")
}
