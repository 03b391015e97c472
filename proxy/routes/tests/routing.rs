//! From documents to decisions, without a gateway: what the parity suite shows over sockets for Istio's cases is shown
//! here for the rules of our own and for the corners that a recording cannot reach.

use std::collections::BTreeMap;
use turnout_routes::explain::{Explanation, Inquiry, explain};
use turnout_routes::router::{BackendPolicy, Identity, Missing, PortKind, Router, compile};
use turnout_routes::{Source, parse};

const GATEWAY: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
"#;

fn routers(documents: &str) -> Router {
    let source = Source { name: "routes.yaml", bytes: documents.as_bytes() };
    let parsed = parse(&[source]).unwrap_or_else(|problems| panic!("refused:\n{problems}"));
    let labels = BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]);
    compile(&parsed.documents, &Identity { labels, namespace: "istio-system".to_owned() })
}

/// A VirtualService of the namespace default on the Gateway `gw`, with these rules.
fn rules(rules: &str) -> String {
    let head = r#"{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v, namespace: default},
        spec: {hosts: ["*"], gateways: [gw], http: "#;
    format!("{GATEWAY}{head}{rules}}}}}")
}

/// Where a request goes: `backend=share ...`, `-> location`, or `none`.
fn ask(router: &Router, request: &str) -> String {
    let mut words = request.split(' ');
    let (method, url) = (words.next().expect("a method"), words.next().expect("a URL"));
    let inquiry = Inquiry::new(method, url, words).expect("a request");
    match explain(router, &inquiry) {
        Explanation::Forward { backends, .. } => {
            let shares = backends.iter().map(|share| format!("{}={}", share.backend, share.share));
            shares.collect::<Vec<_>>().join(" ")
        }
        Explanation::Redirect { location, status, .. } => format!("{status} -> {location}"),
        Explanation::DirectResponse { status, .. } => status.to_string(),
        Explanation::NoRoute { .. } => "none".to_owned(),
    }
}

#[test]
fn names_are_completed_and_looked_up_where_no_service_entry_has_them() {
    let router = routers(&rules(
        "[{match: [{uri: {prefix: /a}}], route: [{destination: {host: model, port: {number: 1}}}]},
          {match: [{uri: {prefix: /b}}], route: [{destination: {host: localhost, port: {number: 2}}}]},
          {route: [{destination: {host: model.example.com, port: {number: 3}}}]}]",
    ));
    assert_eq!(ask(&router, "GET /a"), "model.default.svc.cluster.local:1=1");
    assert_eq!(ask(&router, "GET /b"), "localhost:2=1");
    assert_eq!(ask(&router, "GET /c"), "model.example.com:3=1");
    let endpoints: Vec<usize> = router.backends().iter().map(|backend| backend.endpoints.len()).collect();
    assert_eq!(endpoints, [1, 1, 1]);
}

#[test]
fn a_destination_that_cannot_be_resolved_says_why_and_rejects_nothing() {
    let router = routers(&rules(
        "[{route: [{destination: {host: a.b}, weight: 1}, {destination: {host: a.b, subset: s, port: {number: 1}}, weight: 1}]}]",
    ));
    let (_, split) = router.splits().next().expect("a rule that forwards");
    let missing: Vec<_> = split.targets().iter().map(|target| (target.name.as_str(), target.backend.err())).collect();
    assert_eq!(missing, [("a.b", Some(Missing::Service)), ("a.b:1/s", Some(Missing::Subset))]);
}

#[test]
fn one_backend_named_twice_is_one_backend_with_both_weights() {
    let router = routers(
        &(rules(
            "[{match: [{uri: {prefix: /a}}], route: [{destination: {host: m, port: {number: 1}}, weight: 1},
                   {destination: {host: n, port: {number: 1}}, weight: 5},
                   {destination: {host: m.default.svc.cluster.local}, weight: 3}]},
              {route: [{destination: {host: m, port: {number: 1}}}]}]",
        ) + "
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: m},
 spec: {hosts: [m.default.svc.cluster.local], resolution: DNS, ports: [{number: 1, name: http, protocol: HTTP}]}}"),
    );
    assert_eq!(router.backends().len(), 2);
    assert_eq!(router.splits().next().expect("a split").1.targets().len(), 3);
    let weights: Vec<_> = router.weights().iter().map(|w| (w.route.as_str(), w.backend.as_str(), w.weight)).collect();
    let (m, n) = ("m.default.svc.cluster.local:1", "n.default.svc.cluster.local:1");
    assert_eq!(
        weights,
        [("default/v spec.http[0]", m, 4), ("default/v spec.http[0]", n, 5), ("default/v spec.http[1]", m, 1)]
    );
}

#[test]
fn without_a_gateway_document_everything_is_served_on_every_port() {
    let router = routers(
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v}, spec: {hosts: [a.example.com],
            http: [{match: [{port: 81}], directResponse: {status: 204}}, {directResponse: {status: 200}}]}}",
    );
    assert_eq!(router.port_kind(12345), PortKind::Plain);
    assert_eq!(ask(&router, "GET http://a.example.com:80/"), "200");
    assert_eq!(ask(&router, "GET http://a.example.com:81/"), "204");
    assert_eq!(ask(&router, "GET http://b.example.com/"), "none");
}

#[test]
fn a_gateway_of_others_is_left_out_with_a_warning_or_beside_our_own_with_a_notice() {
    let other = GATEWAY.replace("istio: ingressgateway", "istio: other");
    let router = routers(&rules("[{directResponse: {status: 200}}]").replace(GATEWAY, &other));
    assert_eq!(ask(&router, "GET /"), "none");
    assert_eq!(router.port_kind(80), PortKind::Unknown);
    assert!(router.warnings().all(|warning| warning.name == "gw") && router.notices().is_empty());
    let both = other.replace("name: gw,", "name: other,") + &rules("[{directResponse: {status: 200}}]");
    let router = routers(&both);
    assert_eq!((ask(&router, "GET /").as_str(), router.warnings().count()), ("200", 0));
    assert!(router.notices()[0].to_string().contains("default/other"), "{:?}", router.notices());
}

#[test]
fn the_gateway_is_matched_by_its_own_labels_and_namespace() {
    let router = routers(&rules(
        "[{match: [{sourceLabels: {istio: other}}], directResponse: {status: 201}},
          {match: [{sourceNamespace: elsewhere}], directResponse: {status: 202}},
          {match: [{uri: {exact: /}, sourceLabels: {istio: ingressgateway}, sourceNamespace: istio-system}],
           directResponse: {status: 203}},
          {match: [{gateways: [other], sourceNamespace: istio-system}], directResponse: {status: 204}},
          {match: [{gateways: [gw], sourceLabels: {istio: other}, sourceNamespace: elsewhere}], directResponse: {status: 205}}]",
    ));
    assert_eq!(ask(&router, "GET /"), "203");
    // Where Gateways are named, nothing else is looked at.
    assert_eq!(ask(&router, "GET /a"), "205");
}

/// In Istio it is no host of the listener at all.
#[test]
fn a_host_whose_rules_are_all_for_others_leaves_its_requests_to_a_wider_one() {
    let document = |name: &str, host: &str, rules: &str| {
        format!(
            "---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}, namespace: default}},
              spec: {{hosts: ['{host}'], gateways: [gw], http: [{rules}]}}}}\n"
        )
    };
    let others = "{match: [{port: 81}, {gateways: [other]}, {sourceNamespace: other}], directResponse: {status: 201}}";
    let check = |rules: &str, expected: &str| {
        let narrow = document("narrow", "a.example.com", rules);
        let wide = document("wide", "*.example.com", "{directResponse: {status: 202}}");
        let router = routers(&format!("{GATEWAY}{narrow}{wide}"));
        assert_eq!(ask(&router, "GET http://a.example.com/"), expected, "{rules}");
    };
    check(others, "202");
    check(&format!("{others}, {{match: [{{uri: {{prefix: /a}}}}], directResponse: {{status: 203}}}}"), "none");
}

/// It is no catch-all to Istio, and a rewrite replaces what it matches: nothing.
#[test]
fn an_empty_prefix_takes_every_path_and_stays_in_its_place() {
    let documents = rules(
        "[{match: [{uri: {prefix: ''}}], rewrite: {uri: /v2}, route: [{destination: {host: m, port: {number: 1}}}]}]",
    );
    let second =
        rules("[{match: [{uri: {prefix: /a}}], directResponse: {status: 201}}]").replace("name: v,", "name: w,");
    let router = routers(&format!("{documents}\n---\n{}", second.replace(GATEWAY, "")));
    let inquiry = Inquiry::new("GET", "/a?x", []).expect("a request");
    let Explanation::Forward { target, .. } = explain(&router, &inquiry) else { panic!("not forwarded") };
    assert_eq!(target, "/v2/a?x");
}

/// The rules of Istio's own namespace are for everybody; the gateway may be there, too.
#[test]
fn a_rule_of_the_root_namespace_counts_where_the_service_has_none() {
    let documents = rules(
        "[{match: [{uri: {prefix: /a}}], route: [{destination: {host: m, subset: own}}]},
          {match: [{uri: {prefix: /b}}], route: [{destination: {host: m, subset: root}}]},
          {match: [{uri: {prefix: /c}}], route: [{destination: {host: n, subset: root}}]}]",
    );
    let rule = |namespace: &str, host: &str, subset: &str| {
        format!(
            "\n---\n{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: r, namespace: {namespace}}},
              spec: {{host: '{host}', subsets: [{{name: {subset}}}]}}}}"
        )
    };
    let entry = |host: &str| {
        format!(
            "\n---\n{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: '{host}'}},
              spec: {{hosts: [{host}.default.svc.cluster.local], resolution: STATIC, endpoints: [{{address: 127.0.0.1}}],
                ports: [{{number: 1, name: http, protocol: HTTP}}]}}}}"
        )
    };
    let (own, root) = (rule("default", "m", "own"), rule("istio-system", "*.svc.cluster.local", "root"));
    let router = routers(&format!("{documents}{own}{root}{}{}", entry("m"), entry("n")));
    let found = router.splits().map(|(_, split)| (split.targets()[0].name.as_str(), split.targets()[0].backend.err()));
    let [m, n] = ["m", "n"].map(|name| format!("{name}.default.svc.cluster.local"));
    let expected = [format!("{m}:1/own"), format!("{m}/root"), format!("{n}:1/root")];
    let missing = [None, Some(Missing::Subset), None];
    assert_eq!(found.collect::<Vec<_>>(), expected.iter().map(String::as_str).zip(missing).collect::<Vec<_>>());
}

#[test]
fn a_rule_for_another_port_neither_matches_nor_ends_the_list() {
    let router =
        routers(&rules("[{match: [{port: 81}], directResponse: {status: 201}}, {directResponse: {status: 202}}]"));
    assert_eq!(ask(&router, "GET /"), "202");
}

#[test]
fn the_most_specific_tls_server_is_chosen_by_name() {
    let server = |name: &str, host: &str| {
        format!(
            r#"{{port: {{number: 443, name: {name}, protocol: HTTPS}}, hosts: ["{host}"], tls: {{mode: SIMPLE, credentialName: {name}}}}}"#
        )
    };
    let servers = [server("any", "*"), server("wild", "*.example.com"), server("exact", "a.example.com")].join(", ");
    let router = routers(&format!(
        "{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: gw}}, spec: {{servers: [{servers}]}}}}"
    ));
    let check = |name: Option<&str>, expected: &str| {
        let server = router.tls_server(443, name).expect("a server");
        let expected = turnout_routes::documents::Credential::Named(expected.to_owned());
        assert_eq!(server.credential, expected, "{name:?}");
    };
    check(Some("a.example.com"), "exact");
    check(Some("b.example.com"), "wild");
    check(Some("example.com"), "any");
    check(None, "any");
    assert!(router.tls_server(444, None).is_none());
    assert_eq!(router.port_kind(443), PortKind::Tls);
}

#[test]
fn redirects_and_rewrites_are_explained_as_they_would_be_done() {
    let router = routers(&rules(
        "[{match: [{uri: {prefix: /old}}], redirect: {prefixRewrite: /new, redirectCode: 302}},
          {match: [{uri: {prefix: /v1}}], rewrite: {uri: /v2}, route: [{destination: {host: m, port: {number: 1}}}]}]",
    ));
    assert_eq!(ask(&router, "GET http://a/old/x?y=1"), "302 -> http://a/new/x?y=1");
    let inquiry = Inquiry::new("GET", "/v1/score?x", []).expect("a request");
    let Explanation::Forward { target, route, .. } = explain(&router, &inquiry) else { panic!("not forwarded") };
    assert_eq!((target.as_str(), route.as_str()), ("/v2/score?x", "default/v spec.http[1]"));
}

/// A proxy in front of the gateway may have ended TLS: the connection is in clear text, the request is not.
#[test]
fn the_scheme_that_counts_is_the_one_that_the_client_asked_by() {
    let documents = rules(
        "[{match: [{uri: {prefix: /match}, scheme: {exact: https}}], directResponse: {status: 201}},
          {match: [{uri: {prefix: /redirect}}], redirect: {uri: /new}},
          {directResponse: {status: 200}}]",
    );
    let https_only = documents.replace(r#"hosts: ["*"]}]"#, r#"hosts: ["*"], tls: {httpsRedirect: true}}]"#);
    assert_ne!(documents, https_only);
    let check = |documents: &str, path: &str, by_http: &str, by_https: &str| {
        let router = routers(documents);
        let ask = |scheme: &str| ask(&router, &format!("GET {scheme}://a:80{path}"));
        assert_eq!((ask("http").as_str(), ask("https").as_str()), (by_http, by_https), "{path}");
    };
    check(&documents, "/", "200", "200");
    check(&documents, "/match", "200", "201");
    check(&documents, "/redirect", "301 -> http://a:80/new", "301 -> https://a:80/new");
    check(&https_only, "/", "301 -> https://a:80/", "200");
    check(&https_only, "/match", "301 -> https://a:80/match", "201");
    check(&https_only, "/redirect", "301 -> https://a:80/redirect", "301 -> https://a:80/new");
}

/// Every part of a policy has its own narrowest place, but what is set for the very port stands alone.
#[test]
fn each_part_of_a_policy_is_that_of_the_narrowest_place_that_has_it() {
    let documents = r"
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: m, namespace: default}
spec:
  host: m.example
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    outlierDetection: {consecutive5xxErrors: 7}
    tls: {mode: SIMPLE}
    retryBudget: {minRetryConcurrency: 4}
    portLevelSettings: [{port: {number: 80}, outlierDetection: {}}]
  subsets:
  - {name: balanced, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}
  - {name: plain, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, retryBudget: {minRetryConcurrency: 5}}}
  - name: port
    trafficPolicy:
      portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: ROUND_ROBIN}}]
---
";
    let check = |subset: &str, port: u16, expected: &str| {
        let destination = format!("{{host: m.example, port: {{number: {port}}}{subset}}}");
        let router =
            routers(&(documents.to_owned() + &rules(&format!("[{{route: [{{destination: {destination}}}]}}]"))));
        let BackendPolicy { balancing, outliers, tls, limits, .. } = &router.backends()[0].policy;
        let errors = outliers.map(|outliers| outliers.server_errors);
        let retries = limits.retry_budget.and_then(|budget| budget.min_concurrency);
        assert_eq!(format!("{balancing:?} {errors:?} {} {retries:?}", tls.is_some()), expected, "{destination}");
    };
    check("", 81, "Random Some(7) true Some(4)");
    check("", 80, "LeastRequest Some(5) false None");
    check(", subset: balanced", 81, "RoundRobin Some(7) true Some(4)");
    check(", subset: balanced", 80, "RoundRobin Some(5) false None");
    check(", subset: plain", 81, "Random Some(7) false Some(5)");
    check(", subset: port", 81, "RoundRobin None false Some(4)");
}

/// The connection pool of each destination, as its connect time-out and its requests per connection, is what Istio gives to
/// the same documents.
#[test]
fn the_pool_of_a_backend_is_that_of_the_narrowest_policy_and_not_inherited_by_a_port_with_settings() {
    let documents = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: m, namespace: default}
spec:
  hosts: [m.example]
  resolution: STATIC
  ports: [{number: 80, name: http-a, protocol: HTTP}, {number: 81, name: http-b, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: m, namespace: default}
spec:
  host: m.example
  trafficPolicy:
    connectionPool: {tcp: {connectTimeout: 3s}, http: {maxRequestsPerConnection: 7}}
    tls: {mode: DISABLE}
    portLevelSettings: [{port: {number: 80}, tls: {}}]
  subsets:
  - {name: plain, trafficPolicy: {tls: {mode: DISABLE}}}
  - {name: pool, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 5}}}}
  - {name: empty-pool, trafficPolicy: {connectionPool: {tcp: {}}}}
  - name: port
    trafficPolicy:
      connectionPool: {http: {maxRequestsPerConnection: 5}}
      portLevelSettings: [{port: {number: 81}, tls: {mode: DISABLE}}]
---
";
    let check = |subset: &str, port: u16, expected: (u64, u32)| {
        let destination = format!("{{host: m.example, port: {{number: {port}}}{subset}}}");
        let router =
            routers(&(documents.to_owned() + &rules(&format!("[{{route: [{{destination: {destination}}}]}}]"))));
        let policy = &router.backends()[0].policy;
        assert_eq!((policy.connect_timeout.as_secs(), policy.max_requests_per_connection), expected, "{destination}");
    };
    check("", 80, (10, 0));
    check("", 81, (3, 7));
    check(", subset: plain", 80, (10, 0));
    check(", subset: plain", 81, (3, 7));
    check(", subset: pool", 80, (10, 5));
    check(", subset: pool", 81, (10, 5));
    check(", subset: empty-pool", 81, (10, 0));
    check(", subset: port", 80, (10, 5));
    check(", subset: port", 81, (10, 0));
}

/// What does not decide where a request goes, and happens to it all the same.
#[test]
fn faults_and_copies_are_explained_beside_the_backends() {
    let check = |fields: &str, expected: &[&str]| {
        let router =
            routers(&rules(&format!("[{{route: [{{destination: {{host: m, port: {{number: 1}}}}}}], {fields}}}]")));
        let inquiry = Inquiry::new("GET", "http://a/", []).expect("a request");
        let Explanation::Forward { also, .. } = explain(&router, &inquiry) else { panic!("not forwarded") };
        assert_eq!(also, expected, "{fields}");
    };
    check("", &[]);
    check("fault: {delay: {fixedDelay: 1s, percent: 5}}", &["5 % of the requests wait 1s before"]);
    check(
        "fault: {abort: {httpStatus: 503, percentage: {value: 0.1}}}, mirror: {host: x.example, port: {number: 2}}",
        &["0.1 % of the requests are answered 503 by the gateway", "copies of 100 % of the requests go to x.example:2"],
    );
    let nowhere = "no ServiceEntry has x.default.svc.cluster.local, and a look-up by name needs a port";
    check(
        "mirrors: [{destination: {host: x}, percentage: {value: 12.5}}]",
        &[&format!("copies of 12.5 % of the requests go to x.default.svc.cluster.local ({nowhere})")],
    );
}
