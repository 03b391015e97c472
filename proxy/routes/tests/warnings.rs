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
