//! What the tests of the router's parts are written with: rules as documents have them, and requests as one line.

use super::request::{RequestHead, Transport};
use crate::documents::{Document, HttpRule, Scheme};
use crate::{Source, parse};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The rule with these fields, in YAML.
pub(super) fn rule(fields: &str) -> HttpRule {
    let text = format!(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: v}},
          spec: {{hosts: [a], http: [{{{fields}}}]}}}}"
    );
    let parsed = parse(&[Source { name: "rule", bytes: text.as_bytes() }]);
    let parsed = parsed.unwrap_or_else(|problems| panic!("refused:\n{problems}"));
    match parsed.documents.into_iter().next() {
        Some(Document::VirtualService(document)) => document.http.into_iter().next().expect("a rule"),
        other => panic!("{other:?}"),
    }
}

/// Headers, one `name: value` a line.
pub(super) fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("name: value");
        headers.append(name.parse::<HeaderName>().expect("a name"), HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

/// `POST http://a.example.com/score?x=1` with the port 8080.
pub(super) fn head<'a>(line: &'a str, headers: &'a HeaderMap) -> RequestHead<'a> {
    let (method, url) = line.split_once(' ').expect("a method and a URL");
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let (authority, target) = rest.split_at(rest.find('/').expect("a path"));
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    RequestHead { port: 8080, transport: Transport::Plain, scheme, method, authority, path, query, headers, peer: None }
}
