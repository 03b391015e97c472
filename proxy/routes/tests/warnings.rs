//! What Istio accepts with a warning is accepted here with one, at the rule or field that it is about.

use turnout_routes::{Severity, Source, parse};

/// The warnings of a VirtualService with these fields of `spec`, as `path: message`.
fn warnings(spec: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n  hosts: [a.com]\n{spec}"
    );
    warnings_of(&text)
}

fn warnings_of(text: &str) -> Vec<String> {
    let parsed = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).expect("accepted");
    assert!(parsed.warnings.iter().all(|warning| warning.severity == Severity::Warning));
    parsed.warnings.iter().map(|warning| format!("{}: {}", warning.path, warning.message)).collect()
}

/// Rules that all go to one destination; each is its `match`, or nothing.
fn rules(matches: &[&str]) -> Vec<String> {
    let rule = |entry: &&str| {
        let entry = if entry.is_empty() { String::new() } else { format!("match: {entry}, ") };
        format!("  - {{{entry}route: [{{destination: {{host: b}}}}]}}\n")
    };
    warnings(&format!("  http:\n{}", matches.iter().map(rule).collect::<String>()))
}

#[test]
fn a_rule_that_no_request_reaches_is_named() {
    let check = |matches: &[&str], expected: &[&str]| assert_eq!(rules(matches), expected, "{matches:?}");
    check(&["[{uri: {prefix: /a}}]", ""], &[]);
    check(
        &["", "[{uri: {prefix: /a}}]", ""],
        &[
            "spec.http[1]: never reached: an earlier rule has no match, so it takes every request",
            "spec.http[2]: never reached: an earlier rule has no match, so it takes every request",
        ],
    );
    let second = "spec.http[1]: match[0] is never used: http[0] takes all its requests";
    check(&["[{uri: {prefix: /a}}]", "[{uri: {prefix: /a}}]"], &[second]);
    check(&["[{uri: {prefix: /a}, name: one}]", "[{uri: {prefix: /a}, name: two}]"], &[second]);
    check(&["[{uri: {prefix: /a}}]", "[{uri: {prefix: /ab}}]"], &[second]);
    check(&["[{uri: {prefix: /a}}]", "[{uri: {exact: /a/b}}]"], &[second]);
    check(&["[{uri: {prefix: ''}}]", "[{uri: {exact: /}}]"], &[second]);
    check(&["[{headers: {x: {exact: a}}}]", "[{headers: {x: {exact: a}}}]"], &[second]);
    check(
        &["[{uri: {regex: a}}]", "[{uri: {prefix: /b}}, {uri: {regex: a}}]"],
        &["spec.http[1]: match[1] is never used: http[0] takes all its requests"],
    );
}

#[test]
fn a_rule_that_some_request_reaches_is_not() {
    let check = |matches: &[&str]| assert_eq!(rules(matches), [""; 0], "{matches:?}");
    check(&["[{uri: {prefix: /ab}}]", "[{uri: {prefix: /a}}]"]);
    check(&["[{uri: {exact: /a}}]", "[{uri: {prefix: /a}}]"]);
    check(&["[{uri: {exact: /a}}]", "[{uri: {exact: /a/b}}]"]);
    check(&["[{uri: {prefix: /a}, method: {exact: GET}}]", "[{uri: {prefix: /a/b}}]"]);
    check(&["[{uri: {prefix: /a}}]", "[{uri: {prefix: /A/b}, ignoreUriCase: true}]"]);
    check(&["[{uri: {prefix: /a}}, {uri: {prefix: /a/b}}]"]);
    check(&["[{uri: {prefix: /ä}}]", "[{uri: {prefix: /ö}}]"]);
}

#[test]
fn what_a_gateway_makes_of_it_is_said() {
    let direct = "  http: [{directResponse: {status: 200}, headers: {response: {set: {Content-Length: '1'}}}}]\n";
    let field = "spec.http[0].headers.response.set.Content-Length";
    let length = format!("{field}: does nothing: an answer of the gateway has the length of its body");
    assert_eq!(warnings(direct), [length]);
    let hosts = |hosts: &str, gateways: &str| {
        warnings_of(&format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec: {{hosts: [{hosts}], \
             gateways: [{gateways}], http: [{{directResponse: {{status: 200}}}}]}}\n"
        ))
    };
    let short = "spec.hosts: at a Gateway a stands for a.default.svc.cluster.local, as in Istio";
    assert_eq!(hosts("a, a.b, localhost, '*.c'", "gw"), [short]);
    assert_eq!(hosts("a", "mesh"), [""; 0]);
}

#[test]
fn what_is_not_offered_of_tls_is_said() {
    let check = |fields: &str, expected: &[&str]| {
        let seen = warnings_of(&format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: a}}\nspec:\n  servers:\n  \
             - {{port: {{number: 1, name: a, protocol: HTTPS}}, hosts: ['*'], tls: {{mode: SIMPLE, credentialName: a, {fields}}}}}\n"
        ));
        let expected: Vec<String> = expected.iter().map(|it| format!("spec.servers[0].tls.{it}")).collect();
        assert_eq!(seen, expected, "{fields}");
    };
    let old = "minProtocolVersion: clients of TLS 1.0 and 1.1 cannot connect: the gateway has TLS 1.2 and 1.3";
    check("minProtocolVersion: TLSV1_0", &[old]);
    check("minProtocolVersion: TLSV1_1", &[old]);
    check("minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_3", &[]);
    let good = "ECDHE-RSA-AES128-GCM-SHA256";
    check(&format!("cipherSuites: [{good}, ECDHE-ECDSA-CHACHA20-POLY1305]"), &[]);
    check(
        &format!("cipherSuites: [{good}, AES128-SHA, {good}, nonsense]"),
        &[
            "cipherSuites[1]: AES128-SHA is not offered: the gateway does not have it",
            "cipherSuites[2]: this cipher suite is there twice",
            "cipherSuites[3]: \"nonsense\" is no cipher suite that Istio knows",
        ],
    );
    check("cipherSuites: [nonsense]", &["cipherSuites[0]: \"nonsense\" is no cipher suite that Istio knows"]);
}

#[test]
fn what_is_doubtful_about_a_field_is_said() {
    let check = |spec: &str, expected: &str| {
        let rule = if spec.contains("http:") { "" } else { "  http: [{route: [{destination: {host: b}}]}]\n" };
        assert_eq!(warnings(&format!("{spec}{rule}")), [expected], "{spec}");
    };
    check("  gateways: [gw.istio-system]\n", "spec.gateways[0]: an old form of a Gateway's name");
    check("  gateways: [y]\n", "spec.gateways[0]: y without quotes is a boolean to some readers of YAML");
    check(
        &format!("  http: [{{directResponse: {{status: 200, body: {{string: {}}}}}}}]\n", "x".repeat(100 * 1024 + 1)),
        "spec.http[0].directResponse.body: a body of 102401 bytes is held by every gateway",
    );
}

#[test]
fn a_policy_that_does_less_than_it_says_is_named() {
    let check = |policy: &str, expected: &str| {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\n\
             spec: {{host: b, trafficPolicy: {{{policy}}}}}\n"
        );
        assert_eq!(warnings_of(&text), [format!("spec.trafficPolicy.{expected}")], "{policy}");
    };
    let mesh = "tls: the gateway has no certificate of the mesh: it speaks plain text to this service";
    check("tls: {mode: ISTIO_MUTUAL}", mesh);
    let shown = "tls: SIMPLE shows no certificate, as in Istio";
    check("tls: {mode: SIMPLE, clientCertificate: /a, privateKey: /b}", shown);
    check("outlierDetection: {consecutiveErrors: 3}", "outlierDetection.consecutiveErrors: does nothing, as in Istio");
    let warmup = "loadBalancer: warmup does nothing with this load balancer, as in Istio";
    check("loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}", warmup);
    check(
        "loadBalancer: {consistentHash: {minimumRingSize: 5}}",
        "loadBalancer.consistentHash.minimumRingSize: is of an older Istio",
    );
}

#[test]
fn a_gateway_that_no_client_can_use_is_named() {
    let gateway = |tls: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: a}}\nspec:\n  servers:\n\
             \x20 - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ['*'], tls: {{mode: SIMPLE, \
             credentialName: c, {tls}}}}}\n"
        )
    };
    let check = |tls: &str, expected: &str| assert_eq!(warnings_of(&gateway(tls)), [expected], "{tls}");
    check(
        "minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2",
        "spec.servers[0].tls: no version of TLS is left between the oldest and the newest",
    );
    check("httpsRedirect: true", "spec.servers[0].tls.httpsRedirect: does nothing on a port with TLS");
}

/// What is said of a document of this kind.
fn said(kind: &str, spec: &str) -> Vec<String> {
    warnings_of(&format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{{spec}}}\n"))
}

#[test]
fn what_is_left_to_others_is_named() {
    let check = |kind: &str, spec: &str, expected: &str| assert_eq!(said(kind, spec), [expected], "{spec}");
    let alone = "not served: the gateway has the http rules alone";
    let route = "route: [{destination: {host: b, port: {number: 1}}}]";
    for (field, routes) in [("tcp", format!("tcp: [{{{route}}}]")), ("tls", format!("tls: [{{match: [], {route}}}]"))] {
        check("VirtualService", &format!("hosts: [a.com], {routes}"), &format!("spec.{field}: {alone}"));
        let with_http = format!("hosts: [a.com], {routes}, http: [{{{route}}}]");
        check("VirtualService", &with_http, &format!("spec.{field}: {alone}"));
    }
    let not_served = "not served: the gateway has HTTP, and TLS that it ends itself, with its own certificates";
    let server = |protocol: &str, tls: &str| {
        format!("servers: [{{port: {{number: 1, name: a, protocol: {protocol}}}, hosts: ['*']{tls}}}]")
    };
    for (protocol, tls) in [
        ("TCP", ""),
        ("mongo", ""),
        ("MYSQL", ""),
        ("REDIS", ""),
        ("TLS", ", tls: {mode: SIMPLE, credentialName: a}"),
        ("TLS", ", tls: {mode: PASSTHROUGH}"),
        ("HTTPS", ", tls: {mode: PASSTHROUGH}"),
        ("HTTPS", ", tls: {mode: AUTO_PASSTHROUGH}"),
        ("HTTPS", ", tls: {mode: ISTIO_MUTUAL}"),
        // Istio takes a missing mode for PASSTHROUGH.
        ("HTTPS", ", tls: {credentialName: a}"),
    ] {
        check("Gateway", &server(protocol, tls), &format!("spec.servers[0]: {not_served}"));
    }
    let none = "spec: without endpoints, by resolution NONE: the gateway can send nothing there";
    check("ServiceEntry", "hosts: [a.com], resolution: NONE", none);
    check("ServiceEntry", "hosts: [a.com], ports: [{number: 443, name: tls, protocol: TLS}]", none);
    let wildcard = "spec.hosts: no rule can send anything to a host with a wildcard";
    check("ServiceEntry", "hosts: ['*.a.com'], resolution: STATIC", wildcard);
}

#[test]
fn what_decides_nothing_is_named() {
    let check = |kind: &str, spec: &str, expected: &str| {
        let said = said(kind, spec);
        let [said] = said.as_slice() else { panic!("{spec}: {said:?}") };
        assert!(said.starts_with(&format!("{expected}: decides nothing here: ")), "{spec}: {said}");
    };
    let rule = |fields: &str| format!("hosts: [a.com], http: [{{{fields}, route: [{{destination: {{host: b}}}}]}}]");
    check("VirtualService", &rule("match: [{statPrefix: a}]"), "spec.http[0].match[0].statPrefix");
    let setting = "spec.trafficPolicy.loadBalancer.localityLbSetting";
    for locality in
        ["enabled: true", "enabled: false", "distribute: [{from: a, to: {b: 100}}]", "failover: [{from: a}]"]
    {
        let policy = format!("host: b, trafficPolicy: {{loadBalancer: {{localityLbSetting: {{{locality}}}}}}}");
        check("DestinationRule", &policy, setting);
    }
    let server =
        "servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], defaultEndpoint: '127.0.0.1:1'}]";
    check("Gateway", server, "spec.servers[0].defaultEndpoint");
    check("ServiceEntry", "hosts: [a.com], resolution: DNS, addresses: [10.0.0.1]", "spec.addresses");
    let endpoint = "hosts: [a.com], resolution: DNS, endpoints: [{address: b.com, serviceAccount: a}]";
    check("ServiceEntry", endpoint, "spec.endpoints[0].serviceAccount");
}

/// Other documents of a file are left out, wherever they stand and whatever they hold; alone they are no routes.
#[test]
fn documents_of_others_are_left_out() {
    let others = [
        ("v1", "Service"),
        ("v1", "ConfigMap"),
        ("apps/v1", "Deployment"),
        ("networking.k8s.io/v1", "Ingress"),
        ("telemetry.istio.io/v1", "Telemetry"),
        ("security.istio.io/v1", "PeerAuthentication"),
        ("networking.istio.io/v1", "Sidecar"),
    ];
    let routes = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\n\
                  spec: {hosts: [a.com], resolution: DNS}\n";
    for (api_version, kind) in others {
        let other = format!(
            "apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: yes}}\nspec: {{a: &a {{x: 1}}, b: {{<<: *a, x: 1, x: 2}}}}\n"
        );
        let expected = [format!("kind: left out: {kind} is not for the gateway")];
        assert_eq!(warnings_of(&format!("{other}---\n{routes}")), expected);
        assert_eq!(warnings_of(&format!("{routes}---\n{other}")), expected);
        let problems = parse(&[Source { name: "routes.yaml", bytes: other.as_bytes() }]).expect_err("no routes");
        let found: Vec<_> = problems.as_slice().iter().map(|it| (it.severity, it.path.as_str(), it.line)).collect();
        assert_eq!(found, [(Severity::Warning, "kind", 2), (Severity::Error, "", 1)], "{kind}");
        assert_eq!(problems.as_slice()[1].message, "holds no document for the gateway");
    }
}
