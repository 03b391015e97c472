//! Header operations, compiled to levels that are applied one after the other. How many depends on the number of
//! destinations, as observed on Istio: one destination's operations are merged with the rule's, several keep two levels
//! of which the rule's comes last.

use crate::documents::{HeaderChanges, HeaderFormat, Segment};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use std::fmt::Write as _;
use std::net::IpAddr;

/// Changes to one message's headers, in order.
#[derive(Clone, Debug, Default)]
pub struct HeaderChangeList(Vec<Level>);

/// What is carried out together, as Envoy does it: the removals come first, and values are of the headers that they leave,
/// whatever else the level sets.
#[derive(Clone, Debug)]
struct Level {
    removed: Vec<HeaderName>,
    written: Vec<(Write, HeaderName, HeaderValueSource)>,
    names_a_request_header: bool,
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Set,
    Add,
}

/// A header value that is known, or that is put together for each request.
#[derive(Clone, Debug)]
pub enum HeaderValueSource {
    /// Known when the table was compiled.
    Fixed(HeaderValue),
    /// Names parts of the request.
    Format(HeaderFormat),
}

/// What a [`HeaderFormat`] may name.
#[derive(Clone, Copy, Debug)]
pub struct FormatContext<'a> {
    /// The client's protocol.
    pub protocol: Version,
    /// The status of the response; 0 while there is none.
    pub response_code: u16,
    /// The client's address.
    pub client: IpAddr,
    /// The request's headers, where the message that is changed is the response.
    pub request_headers: Option<&'a HeaderMap>,
}

impl HeaderChangeList {
    /// The rule's and its only destination's operations, merged: where both set a header the destination's value wins;
    /// added values are the rule's, then the destination's; what either level sets or adds survives a remove.
    pub(super) fn merged(rule: &HeaderChanges, destination: &HeaderChanges) -> Self {
        if rule.changes_nothing() && destination.changes_nothing() {
            return Self::default();
        }
        let mut set = rule.set.clone();
        set.extend(destination.set.iter().map(|(name, value)| (name.clone(), value.clone())));
        let removed = rule.remove.iter().chain(&destination.remove).cloned().collect();
        let set = set.iter().filter_map(|(name, value)| Some((Write::Set, name.0.clone(), source(value)?)));
        let add = rule.add.iter().chain(&destination.add);
        let add = add.filter_map(|(name, value)| Some((Write::Add, name.0.clone(), source(value)?)));
        let written: Vec<_> = set.chain(add).collect();
        let names_a_request_header = written.iter().any(|(.., value)| value.names_a_request_header());
        Self(vec![Level { removed, written, names_a_request_header }])
    }

    /// The operations of one of several destinations, then the rule's.
    pub(super) fn layered(rule: &HeaderChanges, destination: &HeaderChanges) -> Self {
        let none = HeaderChanges::default();
        let mut list = Self::merged(&none, destination);
        list.0.extend(Self::merged(rule, &none).0);
        list
    }

    /// Whether the request's headers must be kept for [`FormatContext::request_headers`].
    pub fn needs_request_headers(&self) -> bool {
        self.0.iter().any(|level| level.names_a_request_header)
    }

    /// Applies the changes to a message's headers.
    pub fn apply(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        for level in &self.0 {
            for name in &level.removed {
                headers.remove(name);
            }
            let is_its_own_source = level.names_a_request_header && context.request_headers.is_none();
            let unwritten = is_its_own_source.then(|| headers.clone());
            for (write, name, value) in &level.written {
                let Some(value) = value.resolve(unwritten.as_ref().unwrap_or(headers), context) else { continue };
                match write {
                    Write::Set => drop(headers.insert(name, value)),
                    Write::Add => drop(headers.append(name, value)),
                }
            }
        }
    }
}

/// An empty value does nothing (observed on Istio), so it is no change at all.
fn source(format: &HeaderFormat) -> Option<HeaderValueSource> {
    match format.segments() {
        [] => None,
        [Segment::Literal(text)] => HeaderValue::from_str(text).ok().map(HeaderValueSource::Fixed),
        _ => Some(HeaderValueSource::Format(format.clone())),
    }
}

impl HeaderValueSource {
    fn names_a_request_header(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Format(format) => format.segments().iter().any(|segment| match segment {
                Segment::RequestHeader(_) => true,
                Segment::Literal(_) | Segment::Protocol | Segment::ResponseCode | Segment::ClientAddress => false,
            }),
        }
    }

    /// The value for one request; `headers` are those of the message that is changed. None if what the request holds
    /// makes no header value, or an empty one.
    pub fn resolve(&self, headers: &HeaderMap, context: &FormatContext<'_>) -> Option<HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Format(format) => expand(format, context.request_headers.unwrap_or(headers), context),
        }
    }
}

fn expand(format: &HeaderFormat, request_headers: &HeaderMap, context: &FormatContext<'_>) -> Option<HeaderValue> {
    let mut bytes = Vec::new();
    for segment in format.segments() {
        match segment {
            Segment::Literal(text) => bytes.extend_from_slice(text.as_bytes()),
            Segment::RequestHeader(name) => {
                bytes.extend_from_slice(request_headers.get(name).map_or(&[], HeaderValue::as_bytes));
            }
            Segment::Protocol => bytes.extend_from_slice(protocol_name(context.protocol).as_bytes()),
            Segment::ResponseCode => append_display(&mut bytes, &context.response_code),
            Segment::ClientAddress => append_display(&mut bytes, &context.client),
        }
    }
    if bytes.is_empty() { None } else { HeaderValue::from_bytes(&bytes).ok() }
}

fn append_display(bytes: &mut Vec<u8>, value: &dyn std::fmt::Display) {
    let mut text = String::new();
    if write!(text, "{value}").is_ok() {
        bytes.extend_from_slice(text.as_bytes());
    }
}

/// As Envoy's `%PROTOCOL%` writes it.
fn protocol_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::testing::{headers, rule};
    use std::net::Ipv4Addr;

    /// What an operation on the rule and one on a destination make of the headers, by how they are put together.
    fn applied(
        combine: fn(&HeaderChanges, &HeaderChanges) -> HeaderChangeList,
        on_rule: &str,
        on_target: &str,
    ) -> String {
        let fields = format!("headers: {{request: {{{on_rule}}}}}, directResponse: {{status: 200}}");
        let other = format!("headers: {{request: {{{on_target}}}}}, directResponse: {{status: 200}}");
        let list = combine(&rule(&fields).headers.request, &rule(&other).headers.request);
        let mut message = headers(&["x: client", "y: 1"]);
        let client = Ipv4Addr::LOCALHOST.into();
        let context = FormatContext { protocol: Version::HTTP_11, response_code: 201, client, request_headers: None };
        list.apply(&mut message, &context);
        let lines = message.get_all("x").iter().map(|value| value.to_str().expect("text"));
        lines.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_order_of_operations_depends_on_the_number_of_destinations() {
        let check = |on_rule: &str, on_target: &str, one: &str, several: &str| {
            assert_eq!(applied(HeaderChangeList::merged, on_rule, on_target), one, "one: {on_rule} | {on_target}");
            assert_eq!(
                applied(HeaderChangeList::layered, on_rule, on_target),
                several,
                "several: {on_rule} | {on_target}"
            );
        };
        check("", "", "client", "client");
        check("set: {x: r}", "", "r", "r");
        check("set: {x: r}", "set: {x: t}", "t", "r");
        check("add: {x: r}", "add: {x: t}", "client r t", "client t r");
        check("remove: [x]", "", "", "");
        check("remove: [x]", "set: {x: t}", "t", "");
        check("set: {x: r}", "remove: [x]", "r", "r");
        check("add: {x: r}", "remove: [x]", "r", "r");
        check("remove: [x], add: {x: r}", "", "r", "r");
        check("set: {x: ''}", "add: {x: ''}", "client", "client");
        check("set: {a: n, x: '%REQ(a)%'}", "", "client", "client");
        check("set: {x: '%REQ(y)%'}, add: {x: '%REQ(x)%'}", "", "1 client", "1 client");
        check("set: {x: '%REQ(y)%'}, remove: ['y']", "", "client", "client");
        check("set: {x: '%REQ(y)%'}", "set: {'y': t}", "1", "t");
        check("set: {x: '%REQ(y)%'}", "remove: ['y']", "client", "client");
    }

    #[test]
    fn a_value_is_put_together_for_each_request() {
        let check = |value: &str, expected: &str| {
            assert_eq!(applied(HeaderChangeList::merged, &format!("set: {{x: '{value}'}}"), ""), expected, "{value}");
        };
        check("a%%b", "a%b");
        check("%REQ(y)%-%REQ(x)%-%REQ(z)%", "1-client-");
        check("%REQ(z)%", "client");
        check("%PROTOCOL% %RESPONSE_CODE%", "HTTP/1.1 201");
        check("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "127.0.0.1");
    }

    #[test]
    fn a_response_takes_what_it_names_of_the_request() {
        let rule = rule("headers: {response: {set: {x: '%REQ(y)%'}, remove: [z]}}, directResponse: {status: 200}");
        let list = HeaderChangeList::merged(&rule.headers.response, &HeaderChanges::default());
        assert!(list.needs_request_headers());
        let (request, client) = (headers(&["y: of the request"]), Ipv4Addr::LOCALHOST.into());
        let context =
            FormatContext { protocol: Version::HTTP_2, response_code: 200, client, request_headers: Some(&request) };
        let mut response = headers(&["y: of the response", "z: 1"]);
        list.apply(&mut response, &context);
        assert_eq!(response, headers(&["y: of the response", "x: of the request"]));
        let fixed = HeaderChangeList::merged(&HeaderChanges::default(), &rule.headers.request);
        assert!(!fixed.needs_request_headers());
    }
}
