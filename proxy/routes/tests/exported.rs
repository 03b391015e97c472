//! `exportTo` and `workloadSelector`: which documents count for a gateway, by its namespace and its labels, and in which order.

use std::collections::BTreeMap;
use turnout_routes::explain::{Explanation, Inquiry, explain};
use turnout_routes::router::{Identity, Router, compile};
use turnout_routes::{Source, parse};

/// As the gateway in the namespace `gw` has it.
fn compiled(documents: &[String]) -> Router {
    let text = documents.join("---\n");
    let parsed = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]);
    let documents = parsed.unwrap_or_else(|problems| panic!("refused:\n{problems}\n{text}")).documents;
    let labels = BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]);
    compile(&documents, &Identity { labels, namespace: "gw".to_owned() })
}

fn document(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{{spec}}}\n"
    )
}

/// The rule that a request comes to; none: 404.
fn rule_of(router: &Router) -> Option<String> {
    match explain(router, &Inquiry::new("GET", "http://h/", []).expect("a request")) {
        Explanation::NoRoute { .. } => None,
        Explanation::Forward { route, .. } => Some(route),
        other => panic!("{other:?}"),
    }
}

const ROUTE: &str = "route: [{destination: {host: m.n.svc.cluster.local, port: {number: 80}}}]";

/// Each with whether a document of the namespace `n`, and one of the gateway's own, counts for the gateway.
const EXPORTS: [(&str, bool, bool); 7] = [
    ("", true, true),
    ("exportTo: []", true, true),
    ("exportTo: ['*']", true, true),
    ("exportTo: [.]", false, true),
    ("exportTo: [gw]", true, true),
    ("exportTo: [other]", false, false),
    ("exportTo: [other, gw]", true, true),
];

#[test]
fn a_virtual_service_is_served_where_it_is_exported_to() {
    for (exports, of_other, of_own) in EXPORTS {
        for (namespace, is_served) in [("n", of_other), ("gw", of_own)] {
            let spec = format!("hosts: [h], http: [{{{ROUTE}}}], {exports}");
            let router = compiled(&[document("VirtualService", namespace, "a", &spec)]);
            let expected = is_served.then(|| format!("{namespace}/a spec.http[0]"));
            assert_eq!(rule_of(&router), expected, "{exports} in {namespace}");
            let told =
                router.notices().iter().any(|notice| notice.reason.contains("not exported to this gateway's namespace, gw"));
            assert_eq!(told, !is_served, "{exports} in {namespace}: {:?}", router.notices());
        }
    }
}

#[test]
fn what_is_for_fewer_namespaces_goes_first() {
    let service = |namespace: &str, name: &str, exports: &str| {
        let spec = format!(
            "hosts: [h], http: [{{match: [{{uri: {{prefix: /}}, method: {{exact: GET}}}}], {ROUTE}}}], {exports}"
        );
        document("VirtualService", namespace, name, &spec)
    };
    let all = [service("n", "a", ""), service("n", "b", "exportTo: [gw]"), service("gw", "c", "exportTo: [.]")];
    for (documents, expected) in [(&all[..], "gw/c"), (&all[..2], "n/b"), (&all[..1], "n/a")] {
        assert_eq!(rule_of(&compiled(documents)), Some(format!("{expected} spec.http[0]")));
    }
}

#[test]
fn a_rule_delegates_to_what_is_exported_to_its_namespace() {
    let outer = document("VirtualService", "n", "a", "hosts: [h], http: [{delegate: {name: b, namespace: inner}}]");
    for (exports, is_served) in
        [("", true), ("exportTo: [n]", true), ("exportTo: [gw]", false), ("exportTo: [.]", false)]
    {
        let inner = document("VirtualService", "inner", "b", &format!("http: [{{{ROUTE}}}], {exports}"));
        let router = compiled(&[outer.clone(), inner]);
        assert_eq!(rule_of(&router).is_some(), is_served, "{exports}");
        let said: Vec<_> = router.warnings().map(ToString::to_string).collect();
        let expected = "VirtualService n/a: spec.http[0].delegate: left out: VirtualService inner/b is not exported to the \
                        namespace n; write n under its spec.exportTo, or leave exportTo out";
        let expected: &[&str] = if is_served { &[] } else { &[expected] };
        assert_eq!(said, expected, "{exports}");
    }
}

#[test]
fn a_service_entry_counts_where_it_is_exported_to() {
    for (exports, of_other, of_own) in EXPORTS.into_iter().chain([("exportTo: ['~']", false, false)]) {
        for (namespace, counts) in [("n", of_other), ("gw", of_own)] {
            let spec = format!(
                "hosts: [m.n.svc.cluster.local], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: STATIC, \
                 endpoints: [{{address: 10.0.0.1}}], {exports}"
            );
            let entry = document("ServiceEntry", namespace, "e", &spec);
            let router =
                compiled(&[document("VirtualService", "n", "a", &format!("hosts: [h], http: [{{{ROUTE}}}]")), entry]);
            let address = format!("{:?}", router.backends()[0].endpoints[0].address);
            assert_eq!(address.contains("10.0.0.1"), counts, "{exports} in {namespace}: {address}");
        }
    }
}

/// The connect time-out, in seconds, that the rules of these namespaces and specs give.
fn timeout(rules: &[(&str, &str)]) -> u64 {
    let mut documents = vec![document("VirtualService", "n", "a", &format!("hosts: [h], http: [{{{ROUTE}}}]"))];
    documents.extend(rules.iter().enumerate().map(|(at, (namespace, fields))| {
        let policy = format!("trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: {}s}}}}}}", at + 1);
        let spec = format!("host: m.n.svc.cluster.local, {policy}, {fields}");
        document("DestinationRule", namespace, &format!("r{at}"), &spec)
    }));
    compiled(&documents).backends()[0].policy.connect_timeout.as_secs()
}

#[test]
fn a_destination_rule_counts_where_it_is_exported_to() {
    const DEFAULT: u64 = 10;
    for (exports, of_other, of_own) in EXPORTS {
        for (namespace, counts) in [("n", of_other), ("gw", of_own)] {
            let expected = if counts { 1 } else { DEFAULT };
            assert_eq!(timeout(&[(namespace, exports)]), expected, "{exports} in {namespace}");
        }
    }
    // The gateway's own goes first, if it counts there.
    assert_eq!(timeout(&[("n", ""), ("gw", "")]), 2);
    assert_eq!(timeout(&[("n", ""), ("gw", "exportTo: [other]")]), 1);
    // Of rules for one host those exported alike make one, and the last such set counts.
    assert_eq!(timeout(&[("n", ""), ("n", "")]), 1);
    assert_eq!(timeout(&[("n", ""), ("n", "exportTo: [gw]")]), 2);
    assert_eq!(timeout(&[("n", "exportTo: [gw]"), ("n", ""), ("n", "exportTo: [gw]")]), 2);
}

#[test]
fn a_destination_rule_with_a_selector_is_for_its_own_namespace_and_labels() {
    const DEFAULT: u64 = 10;
    let ours = "workloadSelector: {matchLabels: {istio: ingressgateway}}";
    let others = "workloadSelector: {matchLabels: {istio: other}}";
    for (rules, expected) in [
        (vec![("gw", ours)], 1),
        (vec![("gw", others)], DEFAULT),
        (vec![("n", ours)], DEFAULT),
        (vec![("gw", ""), ("gw", ours)], 2),
        (vec![("gw", ""), ("gw", others)], 1),
        (vec![("gw", others), ("n", "")], 2),
        (vec![("gw", "workloadSelector: {}")], 1),
    ] {
        assert_eq!(timeout(&rules), expected, "{rules:?}");
    }
}

#[test]
fn a_rule_without_a_policy_leaves_it_to_the_next() {
    let bare = document("DestinationRule", "n", "a", "host: m.n.svc.cluster.local, subsets: [{name: v1}]");
    let policy = "host: m.n.svc.cluster.local, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s}}}";
    let routes = document("VirtualService", "n", "a", &format!("hosts: [h], http: [{{{ROUTE}}}]"));
    let router = compiled(&[routes, bare, document("DestinationRule", "n", "b", policy)]);
    assert_eq!(router.backends()[0].policy.connect_timeout.as_secs(), 3);
}
