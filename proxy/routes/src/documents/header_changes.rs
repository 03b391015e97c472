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

impl HeaderOperations {
    /// Which change nothing.
    pub(crate) const NONE: &Self = &Self { request: HeaderChanges::NONE, response: HeaderChanges::NONE };
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
    /// `%REQ(name)%`, `%REQ(name?other)%`: of the request's fields the first that is there; nothing where none is.
    Request(Vec<Field>),
    /// `%RESP(name)%`, `%RESP(name?other)%`: likewise of the response's; nothing in a request.
    Response(Vec<Field>),
    /// Any other command.
    Variable(Variable),
}

/// A field of a message's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The first value of a header.
    Header(HeaderName),
    /// A pseudo-header.
    Pseudo(Variable),
}

/// What is known of a request and its answer besides their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `:authority`, or `host`: as it came, or in a response as it was sent.
    Authority,
    /// `:method`.
    Method,
    /// `:path`, with the query: as it came, or in a response as it was sent.
    Path,
    /// `:scheme`: by which the client asked.
    Scheme,
    /// `:status` of the response.
    Status,
    /// The client's protocol, as `HTTP/1.1`.
    Protocol,
    /// The status that the client gets; `0` in a request, and in an answer of the gateway's own.
    ResponseCode,
    /// What went wrong, as the access log has it; `-` for nothing.
    ResponseFlags,
    /// The backend, as Istio calls it: `outbound|5001|v1|model.default.svc.cluster.local;`.
    UpstreamCluster,
    /// Address and port of the endpoint that was asked; nothing in a request.
    UpstreamHost,
    /// The client's address and port.
    Client,
    /// The client's address.
    ClientAddress,
    /// The client's port.
    ClientPort,
    /// The Gateway's port.
    LocalPort,
    /// The name that the client asked for in its TLS handshake.
    ServerName,
}

/// The commands but `%REQ(name)%` and `%RESP(name)%`. Who the client is says the gateway alone, so it is the one that is
/// connected.
const VARIABLES: [(&str, Variable); 14] = [
    ("PROTOCOL", Variable::Protocol),
    ("RESPONSE_CODE", Variable::ResponseCode),
    ("RESPONSE_FLAGS", Variable::ResponseFlags),
    ("UPSTREAM_CLUSTER", Variable::UpstreamCluster),
    ("UPSTREAM_HOST", Variable::UpstreamHost),
    ("DOWNSTREAM_REMOTE_ADDRESS", Variable::Client),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Variable::ClientAddress),
    ("DOWNSTREAM_REMOTE_PORT", Variable::ClientPort),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Variable::Client),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Variable::ClientAddress),
    ("DOWNSTREAM_DIRECT_REMOTE_PORT", Variable::ClientPort),
    ("DOWNSTREAM_LOCAL_PORT", Variable::LocalPort),
    ("REQUESTED_SERVER_NAME", Variable::ServerName),
    ("UPSTREAM_REMOTE_ADDRESS", Variable::UpstreamHost),
];

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
    #[error("{} is not supported by the gateway; it knows {}, and %% for a percent sign", quoted(.0), known_commands())]
    UnknownCommand(String),
    /// `%REQ(...)%` with something else than the names of one or two fields.
    #[error("{} is not supported by the gateway; write the name of a header, or of two as in %REQ(x-a?x-b)%", quoted(.0))]
    NoHeader(String),
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

    /// The same with the name of the backend in its place.
    pub(crate) fn for_cluster(&self, name: &str) -> Self {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Variable(Variable::UpstreamCluster) => Segment::Literal(name.to_owned()),
            other => other.clone(),
        });
        Self { source: self.source.clone(), segments: segments.collect() }
    }
}

fn push_literal(segments: &mut Vec<Segment>, literal: &mut String) {
    if !literal.is_empty() {
        segments.push(Segment::Literal(std::mem::take(literal)));
    }
}

fn known_commands() -> String {
    let variables = VARIABLES.iter().map(|(name, _)| format!("%{name}%"));
    let commands: Vec<String> =
        ["%REQ(name)%", "%RESP(name)%"].map(str::to_owned).into_iter().chain(variables).collect();
    one_of(commands.iter().map(String::as_str))
}

impl Segment {
    /// What stands between two `%`.
    fn parse(command: &str) -> Result<Self, FormatError> {
        if let Some((_, variable)) = VARIABLES.iter().find(|(name, _)| *name == command) {
            return Ok(Self::Variable(*variable));
        }
        let arguments = |name| command.strip_prefix(name).and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')'));
        let fields = |text: &str, message| {
            let fields: Option<Vec<Field>> = text.split('?').map(|name| Field::parse(name, message)).collect();
            fields.filter(|fields| fields.len() <= 2).ok_or_else(|| FormatError::NoHeader(format!("%{command}%")))
        };
        match (arguments("REQ"), arguments("RESP")) {
            (Some(names), _) => fields(names, Message::Request).map(Self::Request),
            (None, Some(names)) => fields(names, Message::Response).map(Self::Response),
            (None, None) => Err(FormatError::UnknownCommand(format!("%{command}%"))),
        }
    }
}

impl Field {
    fn parse(name: &str, message: Message) -> Option<Self> {
        let pseudo = match (name.to_ascii_lowercase().as_str(), message) {
            (":authority" | "host", Message::Request) => Variable::Authority,
            (":method", Message::Request) => Variable::Method,
            (":path", Message::Request) => Variable::Path,
            (":scheme", Message::Request) => Variable::Scheme,
            (":status", Message::Response) => Variable::Status,
            _ => return HeaderName::from_bytes(name.as_bytes()).ok().map(Self::Header),
        };
        Some(Self::Pseudo(pseudo))
    }
}

/// Whose headers are changed: only a request has an authority.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Request,
    Response,
    /// Of a rule that answers itself.
    OwnResponse,
}

impl HeaderOperations {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        Self::decode_with(item, Message::Response)
    }

    /// Those of a rule that answers itself.
    pub(super) fn decode_of_answer(item: &Item<'_>) -> Decoded<Self> {
        Self::decode_with(item, Message::OwnResponse)
    }

    fn decode_with(item: &Item<'_>, response: Message) -> Decoded<Self> {
        let mut object = item.object()?;
        let request = object.field_or_default("request", |item| HeaderChanges::decode(item, Message::Request));
        let response = object.field_or_default("response", |item| HeaderChanges::decode(item, response));
        object.finish();
        Ok(Self { request: request?, response: response? })
    }

    /// None if nothing is changed.
    pub(super) fn encode(&self) -> Option<Value> {
        Fields::new().some("request", self.request.encode()).some("response", self.response.encode()).into_filled()
    }
}

impl HeaderChanges {
    const NONE: Self = Self { authority: None, set: BTreeMap::new(), add: BTreeMap::new(), remove: Vec::new() };

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
            let format = HeaderFormat::parse(item.string()?).map_err(|error| item.error(error.to_string()));
            if message == Message::OwnResponse && name.eq_ignore_ascii_case("content-length") {
                item.warn("does nothing: an answer of the gateway has the length of its body", "leave it out");
                return Ok(None);
            }
            let key = changed(name, item, message);
            Ok(Some((key?, format?, item.clone())))
        })?;
        let mut values = Self::default();
        for (key, format, item) in decoded.into_iter().flatten() {
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
        Message::Response | Message::OwnResponse if is_authority => {
            Err(item.error("a response has no authority to set"))
        }
        _ if UNSUPPORTED_FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing)) => {
            let message = format!("not supported by the gateway: {} says how a message is framed", quoted(name));
            Err(item.advise(message, "leave it out"))
        }
        _ => header_name(name, item).map(Some),
    }
}

/// A rule that could set these could make one message two.
const UNSUPPORTED_FRAMING: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

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
        let field = |name: &'static str| Field::Header(HeaderName::from_static(name));
        let header = |name: &'static str| Segment::Request(vec![field(name)]);
        let (code, path) = (Segment::Variable(Variable::ResponseCode), Field::Pseudo(Variable::Path));
        let client = Segment::Variable(Variable::ClientAddress);
        check("", &[]);
        check("blue", &[literal("blue")]);
        check("100%%", &[literal("100%")]);
        check("%%REQ(a)%%", &[literal("%REQ(a)%")]);
        check("%REQ(X-C)%", &[header("x-c")]);
        check("%REQ(a?B)%", &[Segment::Request(vec![field("a"), field("b")])]);
        check("%REQ(X-Envoy-Original-Path?:PATH)%", &[Segment::Request(vec![field("x-envoy-original-path"), path])]);
        check("%REQ(Host)%", &[Segment::Request(vec![Field::Pseudo(Variable::Authority)])]);
        check("%RESP(:status)%", &[Segment::Response(vec![Field::Pseudo(Variable::Status)])]);
        check("%RESP(host)%", &[Segment::Response(vec![field("host")])]);
        check(
            "a %PROTOCOL%/%RESPONSE_CODE%",
            &[literal("a "), Segment::Variable(Variable::Protocol), literal("/"), code],
        );
        check("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%%%", &[client, literal("%")]);
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
        check("%REQ()%", "the name of a header");
        check("%REQ(:status)%", "the name of a header");
        check("%RESP(:path)%", "the name of a header");
        check("%REQ(a?b?c)%", "the name of a header");
        check("%REQ(a):5%", "\"%REQ(a):5%\" is not supported");
        check("a\nb", "control character");
        check("a\u{7f}b", "control character");
    }
}
