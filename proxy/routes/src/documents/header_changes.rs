//! What a rule or destination does to headers: set, add, remove, on the request and on the response.

use crate::decode::{Decoded, Item, one_of, quoted};
use crate::encode::Fields;
use http::HeaderName;
use serde_json::Value;
use std::collections::BTreeMap;

/// `headers` of a rule or of a destination.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderOperations {
    /// On the request, before it is sent to the backend.
    pub request: HeaderChanges,
    /// On the response, before it is sent to the client.
    pub response: HeaderChanges,
}

/// Changes to one message's headers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderChanges {
    /// The authority (Host) to send: `host` or `:authority` under `set` or `add`. Only ever there for requests.
    pub authority: Option<HeaderFormat>,
    /// Replaces all lines of that name.
    pub set: BTreeMap<HeaderKey, HeaderFormat>,
    /// Adds a line.
    pub add: BTreeMap<HeaderKey, HeaderFormat>,
    /// Removes all lines of that name.
    pub remove: Vec<HeaderName>,
}

/// A header name that sorts by its text, so that the same document is always rendered the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderKey(pub HeaderName);

impl Ord for HeaderKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl PartialOrd for HeaderKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A header value that may name parts of the request: Envoy's substitution format, of which a closed set is known.
/// A value that is empty, or that becomes so, does nothing, as observed on Istio.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderFormat {
    source: String,
    segments: Vec<Segment>,
}

/// A piece of a [`HeaderFormat`].
#[derive(Clone, Debug, PartialEq)]
pub enum Segment {
    /// Text as it is; `%%` has become `%`. Only bytes that a header value may hold.
    Literal(String),
    /// `%REQ(name)%`: the first value of the request's header; nothing where there is none.
    RequestHeader(HeaderName),
    /// `%PROTOCOL%`: the client's protocol, as `HTTP/1.1`.
    Protocol,
    /// `%RESPONSE_CODE%`: the status that the client gets; `0` in a request.
    ResponseCode,
    /// `%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%`: the client's address.
    ClientAddress,
}

/// The commands of a format, as messages show them.
const COMMANDS: [&str; 4] =
    ["%REQ(name)%", "%PROTOCOL%", "%RESPONSE_CODE%", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"];

/// Why a text is not the value of a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Control characters but the tab are not allowed in a header.
    #[error("{} holds a control character, which a header must not", quoted(.0))]
    ControlCharacter(String),
    /// A `%` that begins no command.
    #[error("a lone % in {}; write %% for a percent sign", quoted(.0))]
    LonePercent(String),
    /// A command that Envoy may know and the gateway does not.
    #[error("{} is not supported by the gateway; it knows {}, and %% for a percent sign", quoted(.0), one_of(COMMANDS))]
    UnknownCommand(String),
    /// `%REQ(...)%` with something else than one header's name.
    #[error("{} is not supported by the gateway; write the name of one header, as in %REQ(x-request-id)%", quoted(.0))]
    NotOneHeader(String),
}

impl HeaderFormat {
    /// Reads a value; every `%` must be doubled or begin a known command.
    pub fn parse(source: &str) -> Result<Self, FormatError> {
        if source.chars().any(|c| c.is_ascii_control() && c != '\t') {
            return Err(FormatError::ControlCharacter(source.to_owned()));
        }
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once('%') {
            literal.push_str(before);
            let Some((command, after)) = after.split_once('%') else {
                return Err(FormatError::LonePercent(source.to_owned()));
            };
            rest = after;
            if command.is_empty() {
                literal.push('%');
                continue;
            }
            push_literal(&mut segments, &mut literal);
            segments.push(Segment::parse(command)?);
        }
        literal.push_str(rest);
        push_literal(&mut segments, &mut literal);
        Ok(Self { source: source.to_owned(), segments })
    }

    /// The value as the document has it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its pieces, in order; none for an empty value.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

fn push_literal(segments: &mut Vec<Segment>, literal: &mut String) {
    if !literal.is_empty() {
        segments.push(Segment::Literal(std::mem::take(literal)));
    }
}

impl Segment {
    /// What stands between two `%`.
    fn parse(command: &str) -> Result<Self, FormatError> {
        match command {
            "PROTOCOL" => return Ok(Self::Protocol),
            "RESPONSE_CODE" => return Ok(Self::ResponseCode),
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => return Ok(Self::ClientAddress),
            _ => {}
        }
        let Some(name) = command.strip_prefix("REQ(").and_then(|rest| rest.strip_suffix(')')) else {
            return Err(FormatError::UnknownCommand(format!("%{command}%")));
        };
        HeaderName::from_bytes(name.as_bytes())
            .map(Self::RequestHeader)
            .map_err(|_| FormatError::NotOneHeader(format!("%{command}%")))
    }
}

/// Whose headers are changed: only a request has an authority.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Request,
    Response,
}

impl HeaderOperations {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let request = object.field_or_default("request", |item| HeaderChanges::decode(item, Message::Request));
        let response = object.field_or_default("response", |item| HeaderChanges::decode(item, Message::Response));
        object.finish();
        Ok(Self { request: request?, response: response? })
    }

    /// None if nothing is changed.
    pub(super) fn encode(&self) -> Option<Value> {
        Fields::new().some("request", self.request.encode()).some("response", self.response.encode()).into_filled()
    }
}

impl HeaderChanges {
    /// But perhaps the authority.
    pub(crate) fn changes_nothing(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    fn decode(item: &Item<'_>, message: Message) -> Decoded<Self> {
        let mut object = item.object()?;
        let set = object.field_or_default("set", |item| Values::decode(item, message));
        let add = object.field_or_default("add", |item| Values::decode(item, message));
        let remove = object.field_or_default("remove", |item| item.each(|item| removed(item)));
        object.finish();
        let (set, add, remove) = (set?, add?, remove?);
        if set.authority.is_some() && add.authority.is_some() {
            return Err(item.advise("the authority is both set and added", "leave one of them out"));
        }
        let authority = set.authority.or(add.authority);
        Ok(Self { authority, set: set.headers, add: add.headers, remove })
    }

    fn encode(&self) -> Option<Value> {
        let authority = self.authority.iter().map(|format| ("host", format));
        let set = authority.chain(self.set.iter().map(|(name, format)| (name.0.as_str(), format)));
        let add = self.add.iter().map(|(name, format)| (name.0.as_str(), format));
        Fields::new()
            .some("set", values(set))
            .some("add", values(add))
            .list("remove", self.remove.iter().map(HeaderName::as_str))
            .into_filled()
    }
}

fn values<'h>(headers: impl Iterator<Item = (&'h str, &'h HeaderFormat)>) -> Option<Value> {
    headers.fold(Fields::new(), |fields, (name, format)| fields.field(name, format.source())).into_filled()
}

/// `set` or `add`.
#[derive(Default)]
struct Values {
    authority: Option<HeaderFormat>,
    headers: BTreeMap<HeaderKey, HeaderFormat>,
}

impl Values {
    fn decode(item: &Item<'_>, message: Message) -> Decoded<Self> {
        let decoded = item.each_entry(|name, item| {
            let key = changed(name, item, message);
            let format = HeaderFormat::parse(item.string()?).map_err(|error| item.error(error.to_string()));
            Ok((key?, format?, item.clone()))
        })?;
        let mut values = Self::default();
        for (key, format, item) in decoded {
            let earlier = match key {
                Some(name) => values.headers.insert(HeaderKey(name), format),
                // An empty value does nothing, so it is no authority either.
                None if format.segments.is_empty() => None,
                None => values.authority.replace(format),
            };
            if earlier.is_some() {
                return Err(
                    item.advise("this header is there twice, since names have no case", "leave one of them out")
                );
            }
        }
        Ok(values)
    }
}

/// The header that is set or added; none for the authority.
fn changed(name: &str, item: &Item<'_>, message: Message) -> Decoded<Option<HeaderName>> {
    let is_authority = name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority");
    match message {
        Message::Request if is_authority => Ok(None),
        Message::Response if is_authority => Err(item.error("a response has no authority to set")),
        _ if FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing)) => Err(item
            .advise(format!("{} says how a message is framed, which is the gateway's", quoted(name)), "leave it out")),
        _ => header_name(name, item).map(Some),
    }
}

/// A rule that could set these could make one message two.
const FRAMING: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

fn removed(item: &Item<'_>) -> Decoded<HeaderName> {
    match item.string()? {
        name if name.eq_ignore_ascii_case("host") => Err(item.error("the Host header cannot be removed")),
        name => header_name(name, item),
    }
}

/// A header's name (RFC 9110, 5.1).
pub(super) fn header_name(name: &str, item: &Item<'_>) -> Decoded<HeaderName> {
    if name.is_empty() {
        return Err(item.error("the name of a header must not be empty"));
    }
    if name.starts_with(':') {
        return Err(item.error(format!("{} begins with \":\": a pseudo-header cannot be changed", quoted(name))));
    }
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        let message = format!("{} is not the name of a header", quoted(name));
        item.advise(message, "write letters, digits and any of !#$%&'*+-.^_`|~")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_formats() {
        let check = |source: &str, expected: &[Segment]| {
            let format = HeaderFormat::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
            assert_eq!((format.source(), format.segments()), (source, expected));
        };
        let literal = |text: &str| Segment::Literal(text.to_owned());
        let header = |name: &'static str| Segment::RequestHeader(HeaderName::from_static(name));
        check("", &[]);
        check("blue", &[literal("blue")]);
        check("100%%", &[literal("100%")]);
        check("%%REQ(a)%%", &[literal("%REQ(a)%")]);
        check("%REQ(X-C)%", &[header("x-c")]);
        check("a %PROTOCOL%/%RESPONSE_CODE%", &[literal("a "), Segment::Protocol, literal("/"), Segment::ResponseCode]);
        check("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%%%", &[Segment::ClientAddress, literal("%")]);
        check("ä\t", &[literal("ä\t")]);
    }

    #[test]
    fn a_percent_sign_that_is_no_known_command_is_refused() {
        let check = |source: &str, expected: &str| {
            let error = HeaderFormat::parse(source).expect_err("not a format").to_string();
            assert!(error.contains(expected), "{source}: {error}");
        };
        check("100%", "a lone %");
        check("%REQ(a)", "a lone %");
        check("%%%", "a lone %");
        check("50% of 100%", "\"% of 100%\" is not supported");
        check("%START_TIME%", "\"%START_TIME%\" is not supported by the gateway; it knows %REQ(name)%");
        check("%REQ%", "\"%REQ%\" is not supported");
        check("%REQ()%", "the name of one header");
        check("%REQ(:path)%", "the name of one header");
        check("%REQ(a?b)%", "the name of one header");
        check("%REQ(a):5%", "\"%REQ(a):5%\" is not supported");
        check("a\nb", "control character");
        check("a\u{7f}b", "control character");
    }
}
