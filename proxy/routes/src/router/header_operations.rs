//! Header operations, compiled to levels that are applied one after the other. How many depends on the number of
//! destinations, as observed on Istio: one destination's operations are merged with the rule's, several keep two levels
//! of which the rule's comes last.

use super::backend::Backend;
use crate::documents::{Field, HeaderChanges, HeaderFormat, Segment, Variable};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Changes to one message's headers, in order.
#[derive(Clone, Debug, Default)]
pub struct HeaderChangeList(Vec<Level>);

/// What is carried out together, as Envoy does it: the removals come first, and values are of the headers that they leave,
/// whatever else the level sets.
#[derive(Clone, Debug)]
struct Level {
    removed: Vec<HeaderName>,
    written: Vec<(Write, HeaderName, HeaderValueSource)>,
    reads_request: bool,
    reads_response: bool,
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

/// What a [`HeaderFormat`] may name besides the headers of the message that is changed.
pub trait FormatContext {
    /// The request's headers, where the message that is changed is the response.
    fn request_headers(&self) -> Option<&HeaderMap>;

    /// Writes a value; nothing where there is none.
    fn append(&self, variable: Variable, to: &mut Vec<u8>);
}

impl HeaderChangeList {
    /// The rule's and its only destination's operations, merged: where both set a header the destination's value wins,
    /// unless it is empty; added values are the rule's, then the destination's; what either level sets or adds survives a
    /// remove.
    pub(super) fn merged(rule: &HeaderChanges, destination: &HeaderChanges) -> Self {
        if rule.changes_nothing() && destination.changes_nothing() {
            return Self::default();
        }
        let removed = rule.remove.iter().chain(&destination.remove).cloned().collect();
        let set = rule.set.iter().chain(&destination.set);
        let set = set.filter_map(|(name, value)| Some((Write::Set, name.0.clone(), source(value)?)));
        let add = rule.add.iter().chain(&destination.add);
        let add = add.filter_map(|(name, value)| Some((Write::Add, name.0.clone(), source(value)?)));
        let written: Vec<_> = set.chain(add).collect();
        let reads = |reads: fn(&Segment) -> bool| written.iter().any(|(.., value)| value.segments().iter().any(reads));
        let reads_request = reads(|segment| matches!(segment, Segment::Request(_)));
        let reads_response = reads(|segment| matches!(segment, Segment::Response(_)));
        Self(vec![Level { removed, written, reads_request, reads_response }])
    }

    /// The operations of one of several destinations, then the rule's.
    pub(super) fn layered(rule: &HeaderChanges, destination: &HeaderChanges) -> Self {
        let none = HeaderChanges::default();
        let mut list = Self::merged(&none, destination);
        list.0.extend(Self::merged(rule, &none).0);
        list
    }

    /// The same where this is the backend; none where there is none.
    pub(super) fn for_backend(mut self, backend: Option<&Backend>) -> Self {
        let mut name = None;
        let formats = self.0.iter_mut().flat_map(|level| &mut level.written).filter_map(|(.., value)| match value {
            HeaderValueSource::Fixed(_) => None,
            HeaderValueSource::Format(format) => Some(format),
        });
        for format in formats {
            *format = format.for_cluster(name.get_or_insert_with(|| backend.map_or(String::new(), Backend::cluster)));
        }
        self
    }

    /// Whether the request must be kept as it was sent, for what a response's headers name of it.
    pub fn reads_request(&self) -> bool {
        self.0.iter().any(|level| level.reads_request)
    }

    /// Applies the changes to a message's headers.
    pub fn apply(&self, headers: &mut HeaderMap, context: &impl FormatContext) {
        for level in &self.0 {
            for name in &level.removed {
                headers.remove(name);
            }
            let is_request = context.request_headers().is_none();
            let is_its_own_source = if is_request { level.reads_request } else { level.reads_response };
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
    fn segments(&self) -> &[Segment] {
        match self {
            Self::Fixed(_) => &[],
            Self::Format(format) => format.segments(),
        }
    }

    /// The value for one request; `headers` are those of the message that is changed. None if what the request holds
    /// makes no header value, or an empty one.
    pub fn resolve(&self, headers: &HeaderMap, context: &impl FormatContext) -> Option<HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Format(format) => expand(format, headers, context),
        }
    }
}

fn expand(format: &HeaderFormat, headers: &HeaderMap, context: &impl FormatContext) -> Option<HeaderValue> {
    let mut bytes = Vec::new();
    for segment in format.segments() {
        match segment {
            Segment::Literal(text) => bytes.extend_from_slice(text.as_bytes()),
            Segment::Request(fields) => {
                append_first(fields, context.request_headers().unwrap_or(headers), context, &mut bytes);
            }
            Segment::Response(fields) if context.request_headers().is_some() => {
                append_first(fields, headers, context, &mut bytes);
            }
            Segment::Response(_) => {}
            Segment::Variable(variable) => context.append(*variable, &mut bytes),
        }
    }
    if bytes.is_empty() { None } else { HeaderValue::from_bytes(&bytes).ok() }
}

/// The first of the fields that is there.
fn append_first(fields: &[Field], headers: &HeaderMap, context: &impl FormatContext, to: &mut Vec<u8>) {
    for field in fields {
        match field {
            Field::Header(name) => {
                if let Some(value) = headers.get(name) {
                    return to.extend_from_slice(value.as_bytes());
                }
            }
            // A message has all of them.
            Field::Pseudo(variable) => return context.append(*variable, to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::testing::{headers, rule};

    /// A value for each variable: its own name.
    struct Named(Option<HeaderMap>);

    impl FormatContext for Named {
        fn request_headers(&self) -> Option<&HeaderMap> {
            self.0.as_ref()
        }

        fn append(&self, variable: Variable, to: &mut Vec<u8>) {
            to.extend_from_slice(format!("{variable:?}").as_bytes());
        }
    }

    /// What an operation on the rule and one on a destination make of the headers, by how they are put together.
    fn applied(
        combine: fn(&HeaderChanges, &HeaderChanges) -> HeaderChangeList,
        on_rule: &str,
        on_target: &str,
    ) -> String {
        let fields = format!("headers: {{request: {{{on_rule}}}}}, directResponse: {{status: 200}}");
        let other = format!("headers: {{request: {{{on_target}}}}}, directResponse: {{status: 200}}");
        let [of_rule, of_target] = [fields, other].map(|fields| rule(&fields).headers.expect("headers").request);
        let list = combine(&of_rule, &of_target);
        let mut message = headers(&["x: client", "y: 1"]);
        list.apply(&mut message, &Named(None));
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
        check("set: {x: r}", "set: {x: ''}", "r", "r");
        check("set: {x: r}", "set: {x: '%REQ(z)%'}", "r", "r");
        check("set: {x: ''}", "set: {x: t}", "t", "t");
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
        check("%REQ(z?y)%-%REQ(y?x)%-%REQ(z?:path)%-%REQ(:method)%", "1-1-Path-Method");
        check("%RESP(y)%-%RESP(:status)%", "-");
        check("%PROTOCOL% %RESPONSE_CODE%", "Protocol ResponseCode");
        check("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "ClientAddress");
    }

    #[test]
    fn a_response_takes_what_it_names_of_the_request() {
        let rule = rule("headers: {response: {set: {x: '%REQ(y)%'}, remove: [z]}}, directResponse: {status: 200}");
        let changes = rule.headers.expect("headers");
        let list = HeaderChangeList::merged(&changes.response, &HeaderChanges::default());
        assert!(list.reads_request());
        let mut response = headers(&["y: of the response", "z: 1"]);
        list.apply(&mut response, &Named(Some(headers(&["y: of the request"]))));
        assert_eq!(response, headers(&["y: of the response", "x: of the request"]));
        let fixed = HeaderChangeList::merged(&HeaderChanges::default(), &changes.request);
        assert!(!fixed.reads_request());
    }

    #[test]
    fn a_response_takes_what_it_names_of_itself_as_it_was() {
        let fields = "set: {x: '%RESP(b)%', b: '%RESP(x?:status)%', v: '%RESP(w?v)%'}, remove: [w]";
        let rule = rule(&format!("headers: {{response: {{{fields}}}}}, directResponse: {{status: 200}}"));
        let list = HeaderChangeList::merged(&rule.headers.expect("headers").response, &HeaderChanges::default());
        let mut response = headers(&["x: 1", "b: 2", "w: 3", "v: 4"]);
        list.apply(&mut response, &Named(Some(headers(&["b: of the request"]))));
        assert_eq!(response, headers(&["x: 2", "b: 1", "v: 4"]));
    }

    #[test]
    fn the_name_of_a_backend_is_known_beforehand() {
        let rule = rule("headers: {request: {set: {x: 'to %UPSTREAM_CLUSTER%!'}}}, directResponse: {status: 200}");
        let list = HeaderChangeList::merged(&rule.headers.expect("headers").request, &HeaderChanges::default());
        let mut message = HeaderMap::new();
        list.for_backend(None).apply(&mut message, &Named(None));
        assert_eq!(message, headers(&["x: to !"]));
    }
}
