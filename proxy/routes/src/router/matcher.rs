//! One compiled `match` entry: all its conditions must hold. Rules of comparison are those observed on Istio's gateway
//! (repeated header lines are matched one by one, a missing header counts as empty under `withoutHeaders`, only the
//! first of repeated query parameters counts, nothing is percent-decoded).

use super::request::{Client, RequestHead};
use crate::documents::{HeaderSelector, Match, Override, StringMatch, ValueMatch};
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;

/// A compiled match. Conditions on the gateway itself (`gateways`, `sourceLabels`, `sourceNamespace`) were decided when
/// the table was compiled.
#[derive(Debug)]
pub(super) struct Matcher {
    path: PathMatcher,
    port: Option<u16>,
    method: Option<ValueMatch>,
    scheme: Option<ValueMatch>,
    authority: Option<ValueMatch>,
    headers: Vec<HeaderMatcher>,
    query: Vec<(String, ValueMatch)>,
}

#[derive(Debug)]
enum PathMatcher {
    Any,
    Exact(String),
    Prefix(String),
    /// In lower case.
    ExactIgnoringCase(String),
    /// In lower case.
    PrefixIgnoringCase(String),
    Regex(crate::documents::Pattern),
}

#[derive(Debug)]
struct HeaderMatcher {
    selector: HeaderSelector,
    value: ValueMatch,
    /// From `withoutHeaders`: the request must not match.
    inverted: bool,
}

impl Matcher {
    /// `listener` is the port of the table that it is for, where that is known: a condition on it is then decided.
    pub(super) fn compile(entry: &Match, listener: Option<u16>) -> Self {
        let header = |inverted| {
            move |(selector, value): &(HeaderSelector, ValueMatch)| HeaderMatcher {
                selector: selector.clone(),
                value: value.clone(),
                inverted,
            }
        };
        Self {
            path: PathMatcher::compile(entry.uri.as_ref(), entry.ignore_uri_case),
            port: entry.port.filter(|_| listener.is_none()),
            method: entry.method.clone(),
            scheme: entry.scheme.clone(),
            authority: entry.authority.clone(),
            headers: entry
                .headers
                .values()
                .map(header(false))
                .chain(entry.without_headers.values().map(header(true)))
                .collect(),
            query: entry.query_params.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }

    /// `pinning` says from whom some headers count.
    pub(super) fn matches(&self, request: &RequestHead<'_>, pinning: &[Override]) -> bool {
        self.path.matches(request.path)
            && self.port.is_none_or(|port| port == request.port)
            && self.method.as_ref().is_none_or(|method| matches_present(method, request.method))
            && self.scheme.as_ref().is_none_or(|scheme| matches_present(scheme, request.scheme.as_str()))
            && self.authority.as_ref().is_none_or(|authority| matches_present(authority, request.authority))
            && self.headers.iter().all(|header| header.matches(request, pinning))
            && self.query.iter().all(|(key, value)| matches_query(request.query, key, value))
    }

    /// Whether it takes every request, in Istio's sense (`isCatchAllRoute`): such routes go last when several
    /// VirtualServices share a host, and end the list of rules of their own.
    pub(super) fn is_catch_all(&self) -> bool {
        let whole_path = match &self.path {
            PathMatcher::Any => true,
            PathMatcher::Prefix(prefix) | PathMatcher::PrefixIgnoringCase(prefix) => prefix == "/",
            PathMatcher::Regex(pattern) => pattern.source() == ".*",
            PathMatcher::Exact(_) | PathMatcher::ExactIgnoringCase(_) => false,
        };
        whole_path
            && self.port.is_none()
            && self.method.is_none()
            && self.scheme.is_none()
            && self.authority.is_none()
            && self.headers.is_empty()
            && self.query.is_empty()
    }

    /// How much of a matching path a rewrite replaces: the prefix; `/` where no path is given; all of it otherwise.
    pub(super) fn path_prefix_len(&self) -> usize {
        match &self.path {
            PathMatcher::Any => 1,
            PathMatcher::Prefix(prefix) | PathMatcher::PrefixIgnoringCase(prefix) => prefix.len(),
            PathMatcher::Exact(_) | PathMatcher::ExactIgnoringCase(_) | PathMatcher::Regex(_) => usize::MAX,
        }
    }
}

impl PathMatcher {
    fn compile(uri: Option<&StringMatch>, ignore_case: bool) -> Self {
        match (uri, ignore_case) {
            (None, _) => Self::Any,
            (Some(StringMatch::Exact(path)), false) => Self::Exact(path.clone()),
            (Some(StringMatch::Exact(path)), true) => Self::ExactIgnoringCase(path.to_ascii_lowercase()),
            (Some(StringMatch::Prefix(prefix)), false) => Self::Prefix(prefix.clone()),
            (Some(StringMatch::Prefix(prefix)), true) => Self::PrefixIgnoringCase(prefix.to_ascii_lowercase()),
            (Some(StringMatch::Regex(pattern)), _) => Self::Regex(pattern.clone()),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::ExactIgnoringCase(exact) => path.eq_ignore_ascii_case(exact),
            Self::PrefixIgnoringCase(prefix) => {
                path.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
            }
            Self::Regex(pattern) => pattern.matches(path.as_bytes()),
        }
    }
}

impl HeaderMatcher {
    fn matches(&self, request: &RequestHead<'_>, pinning: &[Override]) -> bool {
        match &self.selector {
            HeaderSelector::Authority => match &self.value {
                ValueMatch::Present => !self.inverted,
                ValueMatch::Value(value) => matches_text(value, request.authority.as_bytes()) != self.inverted,
            },
            HeaderSelector::Name(name) if pinning.iter().any(|it| hides(it, name, request)) => match &self.value {
                ValueMatch::Present => self.inverted,
                ValueMatch::Value(value) => self.matches_none(value),
            },
            HeaderSelector::Name(name) => match &self.value {
                ValueMatch::Present => request.headers.contains_key(name) != self.inverted,
                ValueMatch::Value(value) => self.matches_lines(name, value, request.headers),
            },
        }
    }

    /// Whether a request matches that has no such header.
    fn matches_none(&self, value: &StringMatch) -> bool {
        self.inverted && !matches_text(value, b"")
    }

    fn matches_lines(&self, name: &HeaderName, value: &StringMatch, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(name).iter().peekable();
        if lines.peek().is_none() {
            return self.matches_none(value);
        }
        let any = match joined(name, headers) {
            Some(line) => matches_text(value, &line),
            None => lines.any(|line| matches_text(value, line.as_bytes())),
        };
        any != self.inverted
    }
}

/// Whether the header counts for nothing, since the client may not pick a version by it.
fn hides(pinning: &Override, name: &HeaderName, request: &RequestHead<'_>) -> bool {
    let may_not = || match request.client() {
        Client::Nobody => false,
        Client::Unreadable => pinning.from.is_some(),
        Client::At(address) => !pinning.admits(address),
    };
    pinning.header == *name && may_not()
}

/// Envoy keeps one line of each of these and joins repeated ones with a comma; every other header keeps its lines.
const JOINED: [HeaderName; 12] = [
    http::header::ACCEPT,
    http::header::ACCEPT_ENCODING,
    http::header::ACCESS_CONTROL_REQUEST_HEADERS,
    http::header::ACCESS_CONTROL_REQUEST_METHOD,
    http::header::AUTHORIZATION,
    http::header::CACHE_CONTROL,
    http::header::CONTENT_TYPE,
    http::header::ORIGIN,
    http::header::TE,
    http::header::UPGRADE,
    http::header::USER_AGENT,
    http::header::VIA,
];

/// The joined lines, if there are several of a header that is joined. Empty ones leave no comma.
fn joined<'h>(name: &HeaderName, headers: &'h HeaderMap) -> Option<Cow<'h, [u8]>> {
    let mut lines = headers.get_all(name).iter();
    let (first, second) = (lines.next()?, lines.next()?);
    if !JOINED.contains(name) {
        return None;
    }
    let all = [first, second].into_iter().chain(lines).map(http::HeaderValue::as_bytes);
    Some(Cow::Owned(all.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(&b","[..])))
}

fn matches_query(query: Option<&str>, key: &str, expected: &ValueMatch) -> bool {
    let mut parameters = query.unwrap_or("").split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    match (parameters.find(|(name, _)| *name == key), expected) {
        (None, _) => false,
        (Some(_), ValueMatch::Present) => true,
        (Some((_, value)), ValueMatch::Value(expected)) => matches_text(expected, value.as_bytes()),
    }
}

fn matches_present(expected: &ValueMatch, text: &str) -> bool {
    match expected {
        ValueMatch::Present => !text.is_empty(),
        ValueMatch::Value(value) => matches_text(value, text.as_bytes()),
    }
}

fn matches_text(expected: &StringMatch, text: &[u8]) -> bool {
    match expected {
        StringMatch::Exact(exact) => text == exact.as_bytes(),
        StringMatch::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
        StringMatch::Regex(pattern) => pattern.matches(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::testing::{head, headers, rule};

    fn matcher(entry: &str) -> Matcher {
        let rule = rule(&format!("match: [{{{entry}}}], directResponse: {{status: 200}}"));
        Matcher::compile(&rule.matches[0], None)
    }

    #[test]
    fn a_condition_on_the_head_is_met_or_not() {
        let check = |entry: &str, met: &[&str], not_met: &[&str]| {
            let (matcher, headers) = (matcher(entry), HeaderMap::new());
            for (requests, expected) in [(met, true), (not_met, false)] {
                for request in requests {
                    assert_eq!(matcher.matches(&head(request, &headers), &[]), expected, "{entry}: {request}");
                }
            }
        };
        check("uri: {exact: /a}", &["GET http://h/a", "GET http://h/a?x"], &["GET http://h/A", "GET http://h/a/"]);
        check("uri: {prefix: /a}", &["GET http://h/a", "GET http://h/ab"], &["GET http://h/A", "GET http://h/"]);
        check("uri: {prefix: /Ab}, ignoreUriCase: true", &["GET http://h/aBc"], &["GET http://h/a"]);
        check("uri: {exact: /Ab}, ignoreUriCase: true", &["GET http://h/aB"], &["GET http://h/abc"]);
        check("uri: {regex: '/a+'}", &["GET http://h/aa"], &["GET http://h/aab", "GET http://h/b/a"]);
        check("method: {exact: GET}", &["GET http://h/"], &["get http://h/", "GETS http://h/"]);
        check("scheme: {exact: https}", &["GET https://h/"], &["GET http://h/"]);
        check("authority: {prefix: 'h:'}", &["GET http://h:80/"], &["GET http://H:80/", "GET http://h/"]);
        check("headers: {host: {exact: 'h:80'}}", &["GET http://h:80/"], &["GET http://h/"]);
        check("port: 8080", &["GET http://h:1/"], &[]);
        check("port: 1", &[], &["GET http://h:1/"]);
        check("queryParams: {k: {exact: v}}", &["GET http://h/?k=v&k=w"], &["GET http://h/?k=w&k=v", "GET http://h/"]);
        check(
            "queryParams: {k: {}}",
            &["GET http://h/?k", "GET http://h/?j&k=1"],
            &["GET http://h/?kk", "GET http://h/?%6b"],
        );
        check("uri: {prefix: /a}, method: {exact: PUT}", &["PUT http://h/a"], &["PUT http://h/", "GET http://h/a"]);
    }

    #[test]
    fn a_condition_on_headers_is_met_or_not() {
        let check = |entry: &str, met: &[&[&str]], not_met: &[&[&str]]| {
            let matcher = matcher(entry);
            for (cases, expected) in [(met, true), (not_met, false)] {
                for lines in cases {
                    let headers = headers(lines);
                    assert_eq!(matcher.matches(&head("GET http://h/", &headers), &[]), expected, "{entry}: {lines:?}");
                }
            }
        };
        check("headers: {x: {}}", &[&["x: 1"], &["X: "]], &[&[], &["y: 1"]]);
        check("headers: {x: {exact: b}}", &[&["x: b"], &["x: a", "x: b"]], &[&["x: a"], &["x: a,b"], &[]]);
        check("headers: {x: {exact: ''}}", &[&["x: "]], &[&[], &["x: a"]]);
        check("headers: {x: {regex: 'a.*'}}", &[&["x: ab"]], &[&["x: ba"]]);
        check("withoutHeaders: {x: {}}", &[&[]], &[&["x: 1"]]);
        check("withoutHeaders: {x: {exact: b}}", &[&[], &["x: a"]], &[&["x: b"], &["x: a", "x: b"]]);
        // A missing header counts as empty.
        check("withoutHeaders: {x: {regex: 'b*'}}", &[&["x: a"]], &[&[], &["x: b"]]);
        // Lines of some headers count as one.
        check("headers: {accept: {exact: 'a,b'}}", &[&["accept: a,b"], &["accept: a", "accept: b"]], &[&["accept: a"]]);
        check(
            "headers: {accept: {exact: a}}",
            &[&["accept: a", "accept: "], &["accept: ", "accept: a"]],
            &[&["accept: ,a"]],
        );
        check("headers: {accept: {exact: b}}", &[&["accept: b"]], &[&["accept: a", "accept: b"]]);
    }

    #[test]
    fn a_catch_all_is_what_istio_takes_for_one() {
        let check = |entry: &str, expected: bool| assert_eq!(matcher(entry).is_catch_all(), expected, "{entry}");
        check("", true);
        check("name: x", true);
        check("uri: {prefix: ''}", false);
        check("uri: {prefix: /}", true);
        check("uri: {regex: '.*'}", true);
        check("uri: {regex: '/.*'}", false);
        check("uri: {exact: /}", false);
        check("uri: {prefix: /}, headers: {x: {}}", false);
        check("uri: {prefix: /}, method: {exact: GET}", false);
        check("queryParams: {x: {}}", false);
    }
}
