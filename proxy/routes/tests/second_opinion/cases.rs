//! Documents and requests that meet: few hosts, paths, names and values, so that most requests come close to some rule.
//! Both are plain texts, so that whoever else serves Istio's documents can be asked the same.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Select, select, subsequence};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A request over clear text.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// As in the request line, query and fragment included.
    pub(crate) path: String,
    /// As in `Host`.
    pub(crate) authority: &'static str,
    /// In lower case, in order.
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    /// The Gateway's.
    pub(crate) port: u16,
}

/// Documents, and what is asked of them.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// YAML.
    pub(crate) documents: String,
    pub(crate) requests: Vec<Request>,
}

const PORTS: [u16; 12] = [80, 80, 80, 80, 80, 80, 80, 80, 80, 80, 80, 81];

pub(crate) fn case(requests: usize) -> impl Strategy<Value = Case> {
    (documents(), vec(request(), 1..=requests)).prop_map(|(documents, requests)| {
        let texts: Vec<String> = documents.iter().map(|it| serde_yaml::to_string(it).expect("YAML")).collect();
        Case { documents: texts.join("---\n"), requests }
    })
}

/// One of the words; a word that is there twice comes twice as often.
pub(crate) fn word(words: &'static str) -> Select<&'static str> {
    select(words.split_whitespace().collect::<Vec<_>>())
}

/// One of a list in YAML.
pub(crate) fn of(list: &str) -> Select<Value> {
    select(serde_yaml::from_str::<Vec<Value>>(list).expect("a list"))
}

/// The fields that are there.
pub(crate) fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let present = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}

pub(crate) fn rarely<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>> {
    weighted(0.12, strategy)
}

pub(crate) fn sometimes<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>> {
    weighted(0.3, strategy)
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let path = word(
        r#"/a /a /a /a /a /a /a/b /a/b /a/b / / /A /ab /b /a/ /A/b /%61 /a/../b /a/./b /a/%2e%2E/b /b/.. //a /a//b /a%2Fb
           /a\b /a|b^c{d} /%zz /a%00 /b/..%2fa /%%36%31 /a;x /a~%7e /..a/.b /a/b/..%5Ca /b/..;x/a /a/.; /%41 /a'b"c /a%
           /... /. *"#,
    );
    // A dot stands for none.
    let query =
        word(". . . ?x=1 ?x ?x= ?x=2&x=1 ?q=1&x=1 ?x=%31 ? ?x=1=1 ?&x=1 ??x=1 ?x=/../a ?X=1 ?x=12#x=1 #f #f?x=1");
    let authority = word(
        "a.example.com a.example.com a.example.com a.example.com a.example.com b.example.com A.Example.com
         a.example.com:80 x.b.example.com example.com b.example.com:8080 a.example.com. c.example.com:443 y-x.example.com
         -x.example.com other.test",
    );
    let header = (word("x-a x-b accept"), select(vec!["1", "2", "12", "", "1,2", "A"]));
    (word("GET GET POST get"), path, query, authority, vec(header, 0..=3), select(&PORTS[..])).prop_map(
        |(method, path, query, authority, headers, port)| {
            let path = format!("{path}{}", query.trim_start_matches('.'));
            Request { method, path, authority, headers, port }
        },
    )
}

pub(crate) fn documents() -> impl Strategy<Value = Vec<Value>> {
    let gateways = (gateway(), sometimes(gateway()));
    let routes = (vec(virtual_service(), 1..=3), vec(delegate(), 1..=2));
    (gateways, routes, service_entries(), vec(destination_rule(), 0..=3)).prop_map(
        |((first, second), (routes, delegates), entries, rules)| {
            let gateways = numbered("g", std::iter::once(first).chain(second));
            let routes = numbered("v", routes).into_iter().chain(numbered("w", delegates));
            let rest = routes.chain(numbered("s", entries)).chain(numbered("d", rules));
            gateways.into_iter().chain(rest).collect()
        },
    )
}

/// Names that no two documents of a kind share.
fn numbered(prefix: &str, documents: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let named = |(index, mut document): (usize, Value)| {
        document["metadata"]["name"] = format!("{prefix}{index}").into();
        document
    };
    documents.into_iter().enumerate().map(named).collect()
}

fn document(kind: &'static str, (namespace, age): (&'static str, Option<&'static str>), spec: &Value) -> Value {
    let metadata = object([("namespace", Some(namespace.into())), ("creationTimestamp", age.map(Into::into))]);
    json!({"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// With `exportTo`, now and then.
fn exported(spec: Value, exports: Option<Value>) -> Value {
    let Value::Object(mut fields) = spec else { return spec };
    fields.extend(exports.map(|exports| ("exportTo".to_owned(), exports)));
    fields.into()
}

fn exports() -> impl Strategy<Value = Option<Value>> {
    rarely(of("[['*'], [.], [istio-system], [default], [other], [istio-system, other], [default, other], []]"))
}

fn metadata(namespaces: &'static str) -> impl Strategy<Value = (&'static str, Option<&'static str>)> {
    (word(namespaces), weighted(0.5, word("2026-01-02T00:00:00Z 2026-01-01T00:00:00Z")))
}

fn gateway() -> impl Strategy<Value = Value> {
    let narrow = "a.example.com *.example.com other/* ./*.example.com default/a.example.com */b.example.com";
    let narrow = subsequence(narrow.split_whitespace().collect::<Vec<_>>(), 1..=2);
    let hosts = prop_oneof![4 => Just(vec!["*"]), 1 => narrow];
    let server = (select(&PORTS[..]), hosts, rarely(Just(json!({"httpsRedirect": true}))));
    let selector = rarely(of("[{}, {istio: other}]"));
    (metadata("default default default default default other"), vec(server, 1..=2), selector).prop_map(
        |(metadata, servers, selector)| {
            let servers = servers.into_iter().enumerate().map(|(index, (port, hosts, tls))| {
                let port = json!({"number": port, "name": format!("http-{index}"), "protocol": "HTTP"});
                object([("port", Some(port)), ("hosts", Some(json!(hosts))), ("tls", tls)])
            });
            let selector = selector.unwrap_or_else(|| json!({"istio": "ingressgateway"}));
            document("Gateway", metadata, &json!({"selector": selector, "servers": servers.collect::<Vec<_>>()}))
        },
    )
}

fn virtual_service() -> impl Strategy<Value = Value> {
    let hosts = of(
        "[['*'], ['*'], ['*'], ['*.example.com'], ['*.example.com'], [a.example.com], [a.example.com, b.example.com],
        ['*.b.example.com', a.example.com], ['*-x.example.com'], [b.example.com]]",
    );
    let gateways = of("[[default/g0], [default/g0], [default/g0], [default/g0], [default/g0, default/g1],
        [default/g0, other/g1], [g0], [default/g1], [other/g0, g1]]");
    let rules = vec(prop_oneof![3 => rule().boxed(), 2 => delegating().boxed()], 1..=4);
    let metadata = metadata("default default default default default default other other istio-system");
    (metadata, hosts, gateways, rules, exports()).prop_map(|(metadata, hosts, gateways, rules, exports)| {
        let spec = json!({"hosts": hosts, "gateways": gateways, "http": rules});
        document("VirtualService", metadata, &exported(spec, exports))
    })
}

/// A VirtualService to which others delegate.
fn delegate() -> impl Strategy<Value = Value> {
    let rules = vec(rule().prop_map(with_a_kind_of_uri), 1..=3);
    (metadata("default default default other"), rules, exports()).prop_map(|(metadata, rules, exports)| {
        document("VirtualService", metadata, &exported(json!({"http": rules}), exports))
    })
}

/// A rule that delegates, mostly to one that is there.
fn delegating() -> impl Strategy<Value = Value> {
    let delegate =
        of("[{name: w0, namespace: default}, {name: w0, namespace: default}, {name: w0, namespace: default},
        {name: w0}, {name: w0}, {name: w1}, {name: w0, namespace: other}, {name: v0, namespace: default}]");
    let wide = of("[[], [], [{uri: {prefix: /}}], [{uri: {prefix: /a}}, {method: {exact: GET}}]]");
    let narrow = matches().prop_map(Value::from);
    let answer = rarely(of("[{status: 418, body: {string: teapot}}]"));
    (delegate, prop_oneof![3 => wide, 2 => narrow], sometimes(operations()), sometimes(rewrite()), answer).prop_map(
        |(delegate, matches, headers, rewrite, answer)| {
            let mut rule = object([
                ("delegate", Some(delegate)),
                ("rewrite", rewrite),
                ("directResponse", answer),
                ("match", Some(matches)),
            ]);
            set_headers(&mut rule, headers);
            with_a_kind_of_uri(rule)
        },
    )
}

/// Without `uri: {}`, which matches as if it were not there, but which istiod takes for a condition of its own where it
/// looks for what two matches disagree about. The gateway does not.
fn with_a_kind_of_uri(mut rule: Value) -> Value {
    for entry in rule.get_mut("match").and_then(Value::as_array_mut).into_iter().flatten() {
        if entry["uri"] == json!({}) {
            entry["uri"] = json!({"prefix": "/"});
        }
    }
    rule
}

fn matches() -> impl Strategy<Value = Vec<Value>> {
    prop_oneof![1 => Just(Vec::new()), 4 => vec(entry(), 1..=2)]
}

/// The authority is set in one place.
fn set_headers(rule: &mut Value, headers: Option<Value>) {
    let Some(headers) = headers else { return };
    if headers["request"]["set"]["host"] != Value::Null && rule["rewrite"]["authority"] != Value::Null {
        rule["rewrite"] = json!({"uri": "/v2"});
    }
    rule["headers"] = headers;
}

fn rule() -> impl Strategy<Value = Value> {
    let direct = of("[{directResponse: {status: 204}}, {directResponse: {status: 418, body: {string: teapot}}}]");
    let action = prop_oneof![5 => forward(), 1 => redirect(), 1 => direct];
    (matches(), action, sometimes(operations())).prop_map(|(matches, mut rule, headers)| {
        let is_by_prefix = |entry: &Value| entry["uri"] == Value::Null || entry["uri"]["prefix"] != Value::Null;
        if let Some(Value::Object(redirect)) = rule.get_mut("redirect")
            && !matches.iter().all(is_by_prefix)
            && let Some(prefix) = redirect.remove("prefixRewrite")
        {
            redirect.insert("uri".to_owned(), prefix);
        }
        set_headers(&mut rule, headers);
        if !matches.is_empty() {
            rule["match"] = matches.into();
        }
        rule
    })
}

pub(crate) fn entry() -> impl Strategy<Value = Value> {
    let uri = of("[{prefix: /a}, {exact: /a}, {prefix: /}, {exact: /a/b}, {prefix: ''}, {prefix: /A}, {exact: /A/B},
        {prefix: /a/}, {regex: '.*'}, {regex: '/[ab]'}, {regex: '(?i)/a.*'}, {regex: '/(a|ab)/?b?'}, {prefix: '/a?x'}, {}]");
    let of_the_gateway = (
        rarely(of("[80, 81, 0]")),
        rarely(of("[[default/g0], [g1], [mesh], [mesh, g0], [none]]")),
        rarely(of("[{istio: ingressgateway}, {istio: other}]")),
        rarely(of("[istio-system, default, '']")),
    );
    let of_the_request = (
        rarely(of("[{exact: GET}, {regex: GET|POST}, {prefix: g}]")),
        rarely(of("[{exact: a.example.com}, {prefix: a.}, {regex: '.*:80'}]")),
        rarely(of("[{exact: http}, {exact: https}]")),
    );
    let headers = (
        rarely(conditions("x-a x-b accept host X-A")),
        rarely(conditions("x-a x-b accept")),
        rarely(conditions("x q X")),
    );
    (weighted(0.6, uri), rarely(Just(json!(true))), of_the_gateway, of_the_request, headers).prop_map(
        |(
            uri,
            ignore_case,
            (port, gateways, labels, namespace),
            (method, authority, scheme),
            (headers, without, query),
        )| {
            object([
                ("uri", uri),
                ("ignoreUriCase", ignore_case),
                ("port", port),
                ("gateways", gateways),
                ("sourceLabels", labels),
                ("sourceNamespace", namespace),
                ("method", method),
                ("authority", authority),
                ("scheme", scheme),
                ("headers", headers),
                ("withoutHeaders", without),
                ("queryParams", query),
            ])
        },
    )
}

fn conditions(names: &'static str) -> impl Strategy<Value = Value> {
    let condition = of("[{exact: '1'}, {exact: ''}, {}, {prefix: '1'}, {regex: 1|2}, {regex: 1?}, {regex: '.*'},
        {exact: '1,2'}, {exact: a.example.com}]");
    (word(names), condition).prop_map(|(name, condition)| json!({ name: condition }))
}

fn forward() -> impl Strategy<Value = Value> {
    let host = word("m m k m.default.svc.cluster.local svc.example.com nobody k.default");
    let port = weighted(0.6, of("[{number: 5001}, {number: 5001}, {number: 80}, {number: 9}]"));
    let destination = (host, port, sometimes(word("one two both none"))).prop_map(|(host, port, subset)| {
        object([("host", Some(host.into())), ("port", port), ("subset", subset.map(Into::into))])
    });
    let weight = weighted(0.8, of("[1, 0, 3, 50, 100]"));
    let part = (destination, weight, sometimes(operations())).prop_map(|(destination, weight, headers)| {
        object([("destination", Some(destination)), ("weight", weight), ("headers", headers)])
    });
    (vec(part, 1..=3), sometimes(rewrite())).prop_map(|(mut parts, rewrite)| {
        if parts.len() > 1 && parts.iter().all(|part| part["weight"].as_u64().unwrap_or(0) == 0) {
            parts[0]["weight"] = 1.into();
        }
        object([("route", Some(parts.into())), ("rewrite", rewrite)])
    })
}

fn rewrite() -> impl Strategy<Value = Value> {
    of(r"[{uri: /v2}, {uri: /v2?k=v}, {uri: /}, {authority: new.example.com},
        {uri: /v2/, authority: 'new.example.com:8080'}, {uriRegexRewrite: {match: a, rewrite: /b}},
        {uriRegexRewrite: {match: '^/(a|b)(.*)$', rewrite: '/x\2/\1\\'}}, {uriRegexRewrite: {match: b*, rewrite: '-'}}]")
}

fn redirect() -> impl Strategy<Value = Value> {
    let path = of("[{uri: /new}, {uri: /new?k=v}, {prefixRewrite: /new}, {prefixRewrite: /new?k=v}, {scheme: https}]");
    let port = of("[{port: 80}, {port: 443}, {port: 8443}, {derivePort: FROM_REQUEST_PORT},
        {derivePort: FROM_PROTOCOL_DEFAULT}]");
    let more = of("[{authority: new.example.com}, {authority: 'new.example.com:80'}, {scheme: https}, {scheme: http},
        {redirectCode: 307}]");
    (path, sometimes(port), sometimes(more)).prop_map(|(path, port, more)| {
        // Envoy writes two ports where the authority has one of its own.
        let port = port.filter(|_| more.as_ref().is_none_or(|more| more["authority"] != "new.example.com:80"));
        let parts = [Some(path), port, more].into_iter().flatten();
        let fields = parts.filter_map(|part| part.as_object().cloned()).flatten();
        json!({"redirect": fields.collect::<Map<_, _>>()})
    })
}

/// Of both messages.
fn operations() -> impl Strategy<Value = Value> {
    let messages = (sometimes(changes(true)), sometimes(changes(false)));
    messages.prop_map(|(request, response)| object([("request", request), ("response", response)]))
}

fn changes(of_requests: bool) -> impl Strategy<Value = Value> {
    let value = of("['1', '', '%REQ(x-a)%', 'b%REQ(X-B)%', 100%%, '%PROTOCOL% %RESPONSE_CODE%']");
    let values = vec((word("x-a x-b X-C"), value), 1..=2).prop_map(|it| it.into_iter().collect::<BTreeMap<_, _>>());
    let host = rarely(of("[set.example.com, '%REQ(x-a)%']")).prop_map(move |host| host.filter(|_| of_requests));
    (sometimes(values.clone()), sometimes(values), sometimes(word("x-a X-B")), host).prop_map(
        |(mut set, add, remove, host)| {
            if let Some(host) = host {
                set.get_or_insert_default().insert("host", host);
            }
            let remove = remove.map(|name| json!([name]));
            object([("set", set.map(|set| json!(set))), ("add", add.map(|add| json!(add))), ("remove", remove)])
        },
    )
}

fn service_entries() -> impl Strategy<Value = Vec<Value>> {
    let entry = |namespace: &'static str, host: &'static str| {
        let ports = of("[[{number: 5001, name: http, protocol: HTTP}], [{number: 5001, name: http, protocol: HTTP,
            targetPort: 6001}, {number: 80, name: other, protocol: HTTP}]]");
        let endpoints = json!([
            {"address": "10.0.0.1", "labels": {"v": "1"}, "ports": {"http": 7001}},
            {"address": "10.0.0.2", "labels": {"v": "2"}},
        ]);
        (ports, prop_oneof![9 => exports().boxed(), 1 => Just(Some(json!(["~"]))).boxed()]).prop_map(
            move |(ports, exports)| {
                let spec = json!({"hosts": [host], "ports": ports, "resolution": "STATIC", "endpoints": endpoints});
                document("ServiceEntry", (namespace, None), &exported(spec, exports))
            },
        )
    };
    let (m, k) = (entry("default", "m.default.svc.cluster.local"), entry("default", "k.default.svc.cluster.local"));
    (m, k, entry("other", "svc.example.com")).prop_map(|(m, k, svc)| vec![m, k, svc])
}

fn destination_rule() -> impl Strategy<Value = Value> {
    let host = word("m m.default.svc.cluster.local *.default.svc.cluster.local svc.example.com *.example.com k");
    let subsets = of("[[{name: one, labels: {v: '1'}}], [{name: two, labels: {v: '2'}}, {name: both}],
        [{name: one, labels: {v: '2'}}, {name: two}]]");
    let exports = weighted(0.5, exports()).prop_map(Option::flatten);
    (metadata("default default other istio-system"), host, subsets, exports).prop_map(
        |(metadata, host, subsets, exports)| {
            document("DestinationRule", metadata, &exported(json!({"host": host, "subsets": subsets}), exports))
        },
    )
}
