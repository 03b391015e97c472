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
            let told = router
                .notices()
                .iter()
                .any(|notice| notice.reason.contains("not exported to this gateway's namespace, gw"));
            assert_eq!(told, !is_served, "{exports} in {namespace}: {:?}", router.notices());
            if !is_served {
                let explained = |host: &str| explain(&router, &Inquiry::new("GET", host, []).expect("a request"));
                let reason = format!(
                    "VirtualService {namespace}/a: not served: it is not exported to this gateway's namespace, gw; write gw \
                     under its spec.exportTo, or leave exportTo out"
                );
                assert_eq!(explained("http://h/"), Explanation::NoRoute { warnings: vec![reason] });
                assert_eq!(explained("http://other/"), Explanation::NoRoute { warnings: Vec::new() });
            }
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

const HOST: &str = "m.n.svc.cluster.local";

/// A ServiceEntry of [`HOST`], with an endpoint of the number of its place.
fn entry(at: usize, (namespace, name, port, more): (&str, &str, &str, &str)) -> String {
    let (number, port) = port.split_once(' ').expect("a number and a name");
    let resolution = if more.contains("resolution") { "" } else { "resolution: STATIC, " };
    let (age, more) = more.split_once("; ").unwrap_or(("", more));
    let spec = format!(
        "hosts: [{HOST}], ports: [{{number: {number}, name: {port}, protocol: HTTP}}], {resolution}endpoints: [{{address: \
         10.0.0.{at}}}], {more}"
    );
    document("ServiceEntry", namespace, name, &spec).replace(", namespace:", &format!(", {age}namespace:"))
}

/// What a destination at [`HOST`] with this port comes to: the numbers of the endpoints, or what is said of it.
fn endpoints(entries: &[(&str, &str, &str, &str)], port: Option<u16>) -> Result<Vec<usize>, String> {
    let port = port.map(|port| format!(", port: {{number: {port}}}")).unwrap_or_default();
    let route = format!("hosts: [h], http: [{{route: [{{destination: {{host: {HOST}{port}}}}}]}}]");
    let mut documents: Vec<String> = entries.iter().enumerate().map(|(at, it)| entry(at + 1, *it)).collect();
    documents.push(document("VirtualService", "n", "a", &route));
    let router = compiled(&documents);
    if let Some(warning) = router.warnings().next() {
        return Err(warning.reason.clone());
    }
    let addresses = router.backends()[0].endpoints.iter().map(|endpoint| format!("{:?}", endpoint.address));
    let number = |address: String| address.trim_end_matches(')').rsplit('.').next().and_then(|it| it.parse().ok());
    Ok(addresses.map(|address| number(address).expect("a number")).collect())
}

/// As observed on Istio.
#[test]
fn service_entries_of_one_host_are_joined_as_in_istio() {
    const LATER: &str = "creationTimestamp: '2026-01-02T00:00:00Z', ; ";
    let (labelled, later_for_us) = ("labels: {x: y}, ; ".to_owned(), format!("{LATER}exportTo: [gw]"));
    let (http, other) = ("80 http", "81 other");
    let only = |ports: &str| Err(format!("the ServiceEntry of {HOST} has no port 81, only {ports}"));
    let plain = |name, port| ("n", name, port, "");
    for (entries, port, expected) in [
        // Ports of those that are alike are all there.
        (vec![plain("a", http), plain("b", other)], Some(80), Ok(vec![1])),
        (vec![plain("a", http), plain("b", other)], Some(81), Ok(vec![2])),
        (vec![plain("a", http), plain("b", other)], None, Ok(vec![1])),
        (
            vec![plain("a", http), ("n", "b", other, "exportTo: [gw]")],
            None,
            Err(format!("the ServiceEntry of {HOST} has no port 80, only 81")),
        ),
        (
            vec![("o", "a", http, ""), ("o", "b", other, "")],
            None,
            Err(format!("{HOST} has the ports 80 and 81, and the destination names none")),
        ),
        (vec![plain("a", http), plain("b", http)], Some(80), Ok(vec![1, 2])),
        (vec![plain("a", http), ("n", "b", other, &labelled)], Some(81), only("80")),
        (vec![plain("a", http), ("n", "b", other, "exportTo: [n]")], Some(81), only("80")),
        (vec![plain("a", http), ("n", "b", other, "exportTo: ['*']")], Some(81), only("80")),
        (vec![("n", "a", http, "exportTo: [., gw]"), ("n", "b", other, "exportTo: [n, gw]")], Some(81), only("80")),
        (vec![plain("a", http), ("n", "b", other, "resolution: DNS")], Some(81), only("80")),
        (vec![plain("a", http), ("o", "b", other, "")], Some(81), only("80")),
        // Endpoints of all of the namespace are, at ports that are called alike: of names that are looked up, by number.
        (vec![plain("a", http), ("n", "b", http, &labelled)], Some(80), Ok(vec![1, 2])),
        (vec![plain("a", http), ("n", "b", http, "exportTo: [n]")], Some(80), Ok(vec![1, 2])),
        (vec![plain("a", http), ("n", "b", http, "exportTo: ['~']")], Some(80), Ok(vec![1, 2])),
        (vec![plain("a", http), ("o", "b", http, "")], Some(80), Ok(vec![1])),
        (vec![plain("a", http), ("n", "b", http, "resolution: DNS")], Some(80), Ok(vec![1])),
        (vec![("n", "a", http, "resolution: DNS"), plain("b", http)], Some(80), Ok(vec![1, 2])),
        (vec![plain("a", http), plain("b", "80 web")], Some(80), Ok(vec![1])),
        (vec![plain("a", http), plain("b", "81 http")], Some(80), Ok(vec![1, 2])),
        (vec![plain("a", http), plain("b", "81 http")], Some(81), Ok(vec![1, 2])),
        (vec![("n", "a", http, "resolution: DNS"), ("n", "b", "80 web", "resolution: DNS")], Some(80), Ok(vec![1, 2])),
        // What is exported by name goes first, then the older, then the first namespace.
        (vec![plain("a", http), ("o", "b", http, &later_for_us)], Some(80), Ok(vec![2])),
        (
            vec![("n", "a", http, "exportTo: [gw]"), ("gw", "b", http, &format!("{LATER}exportTo: [.]"))],
            None,
            Ok(vec![1]),
        ),
        (vec![("n", "a", http, ""), ("gw", "b", http, LATER)], None, Ok(vec![1])),
        (vec![("o", "a", http, ""), ("n", "b", http, "")], None, Ok(vec![2])),
    ] {
        assert_eq!(endpoints(&entries, port), expected, "{entries:?} {port:?}");
    }
}

/// What is there and not exported is said to be so, where it is missed.
#[test]
fn what_is_hidden_is_not_said_to_be_missing() {
    let subset = ", subset: v1";
    let rule = |exports: &str| {
        let spec = format!("host: {HOST}, subsets: [{{name: v1, labels: {{version: v1}}}}], {exports}");
        document("DestinationRule", "n", "r", &spec)
    };
    let hidden_entry = entry(1, ("n", "e", "80 http", "exportTo: [.]"));
    let (to, not_exported) =
        ("write gw under its spec.exportTo, or leave exportTo out", "is not exported to this gateway's namespace, gw");
    let has = format!("ServiceEntry n/e, which has {HOST}, {not_exported}");
    for (documents, destination, expected) in [
        (
            vec![hidden_entry.clone()],
            "",
            format!("destination: requests get 503: {has}, and a look-up by name needs a port"),
        ),
        (
            vec![hidden_entry.clone()],
            ", port: {number: 80}",
            format!("destination.host: {has}, so it is looked up in DNS"),
        ),
        (
            vec![hidden_entry, rule("")],
            ", port: {number: 80}, subset: v1",
            format!(
                "destination.subset: requests get 503: {has}, and no other has endpoints with the labels version=v1 of the \
                 subset \"v1\""
            ),
        ),
        (
            vec![rule("exportTo: [.]"), entry(1, ("n", "e", "80 http", ""))],
            subset,
            format!(
                "destination.subset: requests get 503: DestinationRule n/r, which has the subset \"v1\", {not_exported}"
            ),
        ),
    ] {
        let route = format!("hosts: [h], http: [{{route: [{{destination: {{host: {HOST}{destination}}}}}]}}]");
        let router = compiled(&[documents, vec![document("VirtualService", "n", "a", &route)]].concat());
        let said: Vec<_> = router.warnings().map(ToString::to_string).collect();
        assert_eq!(said, [format!("VirtualService n/a: spec.http[0].route[0].{expected}; {to}")], "{destination}");
        let notices: Vec<_> = router.notices().iter().map(ToString::to_string).collect();
        let (kind, name) =
            if expected.contains("DestinationRule") { ("DestinationRule", "r") } else { ("ServiceEntry", "e") };
        assert_eq!(notices, [format!("{kind} n/{name}: left out: it {not_exported}")]);
    }
}

/// Its endpoints count beside a ServiceEntry of its host and namespace that the gateway sees.
#[test]
fn of_a_hidden_service_entry_it_is_said_what_counts_of_it() {
    let not_exported = "it is not exported to this gateway's namespace, gw";
    let left_out = format!("left out: {not_exported}");
    let joined = format!("only its endpoints count, beside those of ServiceEntry n/a: {not_exported}");
    let beside = "write gw under its spec.exportTo, or leave exportTo out";
    let in_place = "write gw in place of ~ under its spec.exportTo, or leave exportTo out";
    let seen = ("n", "a", "80 http", "");
    for (entries, reason, advice) in [
        (vec![seen, ("n", "b", "80 http", "exportTo: [n]")], &joined, beside),
        (vec![seen, ("n", "b", "80 http", "exportTo: ['~']")], &joined, in_place),
        (vec![seen, ("n", "b", "80 web", "exportTo: [n]")], &left_out, beside),
        (vec![seen, ("n", "b", "80 http", "resolution: DNS, exportTo: [n]")], &left_out, beside),
        (vec![seen, ("o", "b", "80 http", "exportTo: [o]")], &left_out, beside),
        (vec![("n", "b", "80 http", "exportTo: [n]")], &left_out, beside),
        (vec![("n", "b", "80 http", "exportTo: ['~']")], &left_out, in_place),
    ] {
        let mut documents: Vec<String> = entries.iter().enumerate().map(|(at, it)| entry(at + 1, *it)).collect();
        documents.push(document("VirtualService", "n", "a", &format!("hosts: [h], http: [{{{ROUTE}}}]")));
        let router = compiled(&documents);
        let told: Vec<_> = router.notices().iter().map(|notice| (&notice.reason, notice.advice.as_str())).collect();
        assert_eq!(told, [(reason, advice)], "{entries:?}");
        // So it is where a destination misses it.
        let warnings: Vec<_> = router.warnings().map(|warning| warning.advice.as_str()).collect();
        assert_eq!(warnings, if entries.len() == 1 { vec![advice] } else { vec![] }, "{entries:?}");
    }
}

/// A DestinationRule that the gateway does not see is not for it, and one for a service that it does not see may be right.
#[test]
fn destination_rules_are_idle_by_what_the_gateway_sees() {
    let settings = |port: u16, more: &str| {
        let spec = format!(
            "host: {HOST}, trafficPolicy: {{portLevelSettings: [{{port: {{number: {port}}}, tls: {{}}}}]}}, {more}"
        );
        document("DestinationRule", "n", "r", &spec)
    };
    let route = document(
        "VirtualService",
        "n",
        "a",
        "hosts: [h], http: [{route: [{destination: {host: x.example, port: {number: 1}}}]}]",
    );
    let entries = |exports: &str| [entry(1, ("n", "a", "80 http", exports)), entry(2, ("n", "b", "81 other", exports))];
    for (exports, rule, told) in [
        ("", settings(80, ""), false),
        ("", settings(81, ""), false),
        ("", settings(82, ""), true),
        ("", settings(82, "exportTo: [.]"), false),
        ("exportTo: [.]", settings(82, ""), false),
        ("", settings(80, "exportTo: [.]").replace(HOST, "nowhere.example"), false),
        ("", settings(80, "").replace(HOST, "nowhere.example"), true),
        ("", settings(80, "").replace(HOST, "hidden.example"), false),
    ] {
        let [one, other] = entries(exports);
        // What only a VirtualService names that the gateway does not see may be for another.
        let hidden = "hosts: [h], exportTo: [.], http: [{route: [{destination: {host: hidden.example}}]}]";
        let hidden = document("VirtualService", "n", "hidden", hidden);
        let router = compiled(&[one, other, rule.clone(), route.clone(), hidden]);
        let said: Vec<_> = router.warnings().filter(|warning| warning.kind == "DestinationRule").collect();
        assert_eq!(said.len(), usize::from(told), "{exports} {rule}: {said:?}");
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
    // So do those of the service's namespace before Istio's, if any of them counts.
    assert_eq!(timeout(&[("n", ""), ("istio-system", "")]), 1);
    assert_eq!(timeout(&[("n", "exportTo: [other]"), ("istio-system", "")]), 2);
    // Of rules for one host those exported alike make one, and the last such set counts.
    assert_eq!(timeout(&[("n", ""), ("n", "")]), 1);
    assert_eq!(timeout(&[("n", ""), ("n", "exportTo: [gw]")]), 2);
}

/// Of rules of one host, each with a subset of the number of its place: the numbers of the subsets that are there, and the
/// number of the rule whose policy counts.
fn joined(exports: &[&str]) -> (Vec<usize>, Option<u64>) {
    let subset_of = |at: usize| {
        let route = format!("route: [{{destination: {{host: {HOST}, port: {{number: 80}}, subset: v{at}}}}}]");
        format!("{{match: [{{uri: {{exact: /{at}}}}}], {route}}}")
    };
    let routes: Vec<String> = (1..=exports.len()).map(subset_of).collect();
    let mut documents = vec![
        document("VirtualService", "n", "a", &format!("hosts: [h], http: [{}]", routes.join(", "))),
        entry(1, ("n", "e", "80 http", "")),
    ];
    documents.extend((1..).zip(exports).map(|(at, exports)| {
        let policy = format!("trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: {at}s}}}}}}");
        let spec = format!("host: {HOST}, {policy}, subsets: [{{name: v{at}}}], {exports}");
        document("DestinationRule", "n", &format!("r{at}"), &spec)
    }));
    let router = compiled(&documents);
    let there =
        router.backends().iter().filter_map(|backend| backend.subset.as_deref()?.strip_prefix('v')?.parse().ok());
    let policy = router.backends().first().map(|backend| backend.policy.connect_timeout.as_secs());
    (there.collect(), policy)
}

/// As in Istio's `mergeDestinationRule`.
#[test]
fn destination_rules_of_one_host_are_joined_as_in_istio() {
    let (all, us, others) = ("", "exportTo: [gw]", "exportTo: [other]");
    let (star, dot_and_us, own_and_us) = ("exportTo: ['*']", "exportTo: [., gw]", "exportTo: [n, gw]");
    let (both, both_and_more) = ("exportTo: [other, gw]", "exportTo: [gw, more, other]");
    for (exports, subsets, policy) in [
        (&[us, us][..], vec![1, 2], 1),
        // What is for more namespaces becomes part of what is for fewer, and is hidden with it.
        (&[us, both], vec![1, 2], 1),
        (&[both, us], vec![2], 2),
        (&[others, both], vec![], 0),
        (&[others, both, us], vec![3], 3),
        (&[us, others, both], vec![1, 3], 1),
        (&[us, both, both_and_more], vec![1, 2, 3], 1),
        (&[all, both], vec![2], 2),
        (&[us, all], vec![2], 2),
        // What is written counts, not what it means.
        (&[all, star], vec![2], 2),
        (&[star, all], vec![2], 2),
        (&[star, star], vec![1, 2], 1),
        (&[dot_and_us, own_and_us], vec![2], 2),
        (&[us, dot_and_us], vec![1, 2], 1),
        // Where the last set does not take it, it begins one, even if one before that does.
        (&[us, all, us], vec![3], 3),
        (&[us, others, us], vec![3], 3),
        (&[us, all, us, us], vec![3, 4], 3),
    ] {
        let policy = Some(policy).filter(|policy| *policy > 0);
        assert_eq!(joined(exports), (subsets, policy), "{exports:?}");
    }
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
