//! Between the head of a request and its target the router allocates nothing, whatever the conditions are by which the
//! route is found.

use allocation_counter::measure;
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeMap;
use turnout_routes::documents::Scheme;
use turnout_routes::router::{Assigned, Decision, Draws, Identity, Peer, RequestHead, Router, Transport, compile};
use turnout_routes::{Source, parse};

/// One of each way to name a host; `q.example.com` is found by its exact name, `x.q.example.com` by a suffix.
const HOSTS: [(&str, &str); 5] = [
    ("\"*\"", "other.example.org"),
    ("\"*.example.com\"", "a.b.example.com"),
    ("q.example.com", "q.example.com"),
    ("q.example.com", "q.example.com:8080"),
    ("\"2001:db8::1\"", "[2001:db8::1]:8080"),
];

/// One of each kind of condition; each is met by [`request`].
const CONDITIONS: [&str; 24] = [
    "uri: {exact: /Score}",
    "uri: {prefix: /Sc}",
    "uri: {regex: '/[A-Z][a-z]+'}",
    "uri: {exact: /SCORE}, ignoreUriCase: true",
    "uri: {prefix: /SC}, ignoreUriCase: true",
    "method: {exact: POST}",
    "method: {regex: 'P(OST|UT)'}",
    "scheme: {exact: http}",
    "authority: {regex: '.*'}",
    "headers: {x-one: {exact: v}}",
    "headers: {x-one: {prefix: v}}",
    "headers: {x-one: {regex: '[a-z]'}}",
    "headers: {x-one: {}}",
    "headers: {x-lines: {exact: b}}",
    "withoutHeaders: {x-one: {exact: w}}",
    "withoutHeaders: {x-two: {}}",
    "withoutHeaders: {x-two: {regex: 'w+'}}",
    "queryParams: {k: {exact: v}}",
    "queryParams: {k: {regex: '[a-z]'}}",
    "queryParams: {k: {}}",
    "port: 80",
    "sourceLabels: {istio: ingressgateway}",
    "gateways: [gw]",
    "uri: {prefix: /Score}, method: {prefix: PO}, headers: {x-one: {exact: v}, x-lines: {}}, queryParams: {k: {exact: v}}",
];

const SERVERS: [(&str, Transport<'static>); 3] = [
    ("protocol: HTTP}", Transport::Plain),
    ("protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: c}", Transport::Tls { server_name: None }),
    (
        "protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: c}",
        Transport::Tls { server_name: Some("any.example.org") },
    ),
];

fn router(host: &str, condition: &str, server: &str) -> Router {
    governed(host, condition, server, "")
}

/// The same with further documents.
fn governed(host: &str, condition: &str, server: &str, more: &str) -> Router {
    let documents = format!(
        "{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: gw}}, spec: {{servers: [
            {{port: {{number: 80, name: a, {server}, hosts: ['*']}}]}}}}
---
{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: v}}, spec: {{gateways: [gw], hosts: [{host}],
    http: [{{match: [{{uri: {{regex: '/never.*'}}}}, {{headers: {{x-never: {{}}}}}}], directResponse: {{status: 404}}}},
           {{match: [{{{condition}}}], route: [{{destination: {{host: m, port: {{number: 1}}}}, weight: 3}},
                                            {{destination: {{host: n, port: {{number: 2}}}}, weight: 1}}]}}]}}}}
{more}"
    );
    let source = Source { name: "routes.yaml", bytes: documents.as_bytes() };
    let parsed = parse(&[source]).unwrap_or_else(|problems| panic!("refused:\n{problems}"));
    let labels = BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]);
    compile(&parsed.documents, &Identity { labels, namespace: "default".to_owned() })
}

#[test]
fn a_forwarded_request_is_decided_without_an_allocation() {
    let mut headers = HeaderMap::new();
    headers.append("x-one", HeaderValue::from_static("v"));
    headers.append("x-lines", HeaderValue::from_static("a"));
    headers.append("x-lines", HeaderValue::from_static("b"));
    for (server, transport) in SERVERS {
        for (pattern, authority) in HOSTS {
            for condition in CONDITIONS {
                let condition =
                    if server.contains("HTTPS") { condition.replace("http}", "https}") } else { condition.to_owned() };
                let router = router(pattern, &condition, server);
                let request = RequestHead {
                    port: 80,
                    transport,
                    scheme: transport.scheme(),
                    method: "POST",
                    authority,
                    path: "/Score",
                    query: Some("j=1&k=v"),
                    headers: &headers,
                    peer: None,
                };
                let decide = |split| matches!(router.decide(&request, Draws::random(split)), Decision::Forward(_));
                // A regular expression makes the memory that it works in when it is first used.
                assert!(decide(0), "{pattern}, {condition}, {server}: not forwarded");
                let mut forwarded = true;
                let counted = measure(|| forwarded = [0, u64::MAX / 2, u64::MAX].into_iter().all(decide));
                assert!(forwarded);
                assert_eq!(counted.count_total, 0, "{pattern}, {condition}, {server}");
            }
        }
    }
}

/// Neither is where a policy says how.
#[test]
fn a_policy_costs_no_allocation() {
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("x-user", "anna"), ("cookie", "a=b; user=anna"), ("x-version", "b"), ("x-forwarded-for", "::1")]
    {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let check = |policy: &str, expected: Assigned| {
        let more = format!(
            "---\n{{apiVersion: turnout.dev/v1alpha1, kind: SplitPolicy, metadata: {{name: p}}, \
             spec: {{route: {{virtualService: v}}, candidate: {{host: n}}, {policy}}}}}\n"
        );
        let router = governed(
            "q.example.com",
            "headers: {x-user: {}}, withoutHeaders: {x-version: {}}",
            "protocol: HTTP}",
            &more,
        );
        let tickets = router.tickets("revision", 0);
        let (transport, scheme, headers, peer) = (Transport::Plain, Scheme::Http, &headers, "10.0.0.1");
        let peer = Some(Peer { address: peer.parse().expect("an address"), is_trusted: true });
        let (authority, path, query) = ("q.example.com", "/", Some("a=b&user=anna"));
        let request = RequestHead { port: 80, transport, scheme, method: "GET", authority, path, query, headers, peer };
        let mut decisions = [None; 20];
        let counted = measure(|| {
            for (split, decision) in (0..).zip(&mut decisions) {
                if let Decision::Forward(forward) = router.decide(&request, Draws { split, tickets: &tickets }) {
                    *decision = Some((forward.assigned, forward.role()));
                }
            }
        });
        assert!(decisions.iter().all(|decision| decision.is_some_and(|(how, _)| how == expected)), "{decisions:?}");
        assert_eq!(counted.count_total, 0, "{policy}");
    };
    let pinning = "override: {header: x-version, from: [10.0.0.0/8]}";
    check(pinning, Assigned::Block);
    for key in ["header: x-user", "query: user", "cookie: user", "address: true"] {
        check(&format!("{pinning}, salt: a, assign: {{by: {{{key}}}}}"), Assigned::Sticky);
    }
}

/// The count above would be 0 too if nothing were counted.
#[test]
fn what_does_cost_an_allocation_is_known() {
    let mut headers = HeaderMap::new();
    headers.append("accept", HeaderValue::from_static("a"));
    headers.append("accept", HeaderValue::from_static("b"));
    let check = |authority: &str, condition: &str, expected: u64| {
        let router = router("q.example.com", condition, "protocol: HTTP}");
        let (transport, scheme, headers) = (Transport::Plain, Scheme::Http, &headers);
        let (path, query, peer) = ("/", None, None);
        let request = RequestHead { port: 80, transport, scheme, method: "GET", authority, path, query, headers, peer };
        let mut decision = None;
        let counted = measure(|| decision = Some(router.decide(&request, Draws::random(0))));
        assert!(matches!(decision, Some(Decision::Forward(_))), "{authority}, {condition}: {decision:?}");
        assert_eq!(counted.count_total, expected, "{authority}, {condition}");
    };
    check("q.example.com", "method: {exact: GET}", 0);
    check("Q.example.com", "method: {exact: GET}", 1);
    check("q.example.com", "headers: {accept: {prefix: 'a,'}}", 2);
}
