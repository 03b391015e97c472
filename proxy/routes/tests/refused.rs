//! Each name in the README's table of what is refused has a document that is refused for it, and each name in the code's lists
//! of what is refused stands in that table. Names are compared, and not what the table says of them.

use std::collections::BTreeSet;
use std::path::Path;
use turnout_routes::{Source, parse};

const README: &str = include_str!("../../../README.md");

/// As the README has it, with a piece of a document that has it.
const REFUSED: [(&str, &str, &str); 39] = [
    ("HTTP_PROXY", "Gateway", "servers: [{port: {number: 1, name: a, protocol: HTTP_PROXY}, hosts: ['*']}]"),
    ("UDP", "Gateway", "servers: [{port: {number: 1, name: a, protocol: UDP}, hosts: ['*']}]"),
    ("bind", "Gateway", "servers: [{port: {number: 1, name: a, protocol: HTTP}, hosts: ['*'], bind: 0.0.0.0}]"),
    ("caCertCredentialName", "tls", "caCertCredentialName: a"),
    ("caCrl", "tls", "caCrl: /a"),
    ("ALL", "tls", "cipherSuites: [ALL]"),
    ("credentialNames", "tls", "credentialNames: [a]"),
    ("insecureSkipVerify", "tls", "insecureSkipVerify: true"),
    ("subjectAltNames", "tls", "subjectAltNames: [a]"),
    ("tlsCertificates", "tls", "tlsCertificates: []"),
    ("verifyCertificateHash", "tls", "verifyCertificateHash: [a]"),
    ("verifyCertificateSpki", "tls", "verifyCertificateSpki: [a]"),
    ("TLSV1_0", "tls", "maxProtocolVersion: TLSV1_0"),
    ("TLSV1_1", "tls", "maxProtocolVersion: TLSV1_1"),
    ("@request.auth.claims", "rule", "match: [{headers: {'@request.auth.claims.a': {exact: b}}}]"),
    (":path", "rule", "match: [{headers: {':path': {exact: b}}}]"),
    ("exponentialDelay", "rule", "fault: {delay: {fixedDelay: 1s, exponentialDelay: 1s}}"),
    ("retryRemoteLocalities", "rule", "retries: {attempts: 1, retryRemoteLocalities: true}"),
    ("connection", "rule", "headers: {request: {set: {connection: a}}}"),
    ("content-length", "rule", "headers: {request: {add: {content-length: '1'}}}"),
    ("transfer-encoding", "rule", "headers: {response: {set: {transfer-encoding: a}}}"),
    ("http2Error", "rule", "fault: {abort: {httpStatus: 500, http2Error: a}}"),
    ("PASSTHROUGH", "policy", "loadBalancer: {simple: PASSTHROUGH}"),
    ("zoneAwareLbSetting", "policy", "loadBalancer: {zoneAwareLbSetting: {}}"),
    ("failoverPriority", "policy", "loadBalancer: {localityLbSetting: {failoverPriority: [a]}}"),
    ("budgetInterval", "policy", "retryBudget: {budgetInterval: 1s}"),
    ("caCrl", "policy", "tls: {mode: SIMPLE, caCrl: /a}"),
    ("outlierDetectionHttpErrorCodes", "policy", "outlierDetection: {outlierDetectionHttpErrorCodes: ['5xx']}"),
    ("proxyProtocol", "policy", "proxyProtocol: {}"),
    ("tunnel", "policy", "tunnel: {}"),
    ("HTTP_PROXY", "port", "HTTP_PROXY"),
    ("UDP", "port", "UDP"),
    ("DNS_ROUND_ROBIN", "ServiceEntry", "hosts: [a.com], resolution: DNS_ROUND_ROBIN"),
    ("DYNAMIC_DNS", "ServiceEntry", "hosts: [a.com], resolution: DYNAMIC_DNS"),
    ("workloadSelector", "ServiceEntry", "hosts: [a.com], resolution: STATIC, workloadSelector: {}"),
    ("locality", "endpoint", "address: 10.0.0.1, locality: a"),
    ("network", "endpoint", "address: 10.0.0.1, network: a"),
    ("unix://", "endpoint", "address: unix:///a"),
    ("EnvoyFilter", "EnvoyFilter", ""),
];
/// Kinds of other groups.
const OTHERS: [(&str, &str); 2] =
    [("AuthorizationPolicy", "security.istio.io/v1"), ("HTTPRoute", "gateway.networking.k8s.io/v1")];

/// The kind and the `spec` of which it is a piece.
fn document(place: &str, piece: &str) -> (String, String) {
    let (kind, spec) = match place {
        "tls" => (
            "Gateway",
            format!(
                "servers: [{{port: {{number: 1, name: a, protocol: HTTPS}}, hosts: ['*'], \
                 tls: {{mode: SIMPLE, credentialName: a, {piece}}}}}]"
            ),
        ),
        "rule" => {
            ("VirtualService", format!("hosts: [a.com], http: [{{{piece}, route: [{{destination: {{host: b}}}}]}}]"))
        }
        "policy" => ("DestinationRule", format!("host: b, trafficPolicy: {{{piece}}}")),
        "port" => (
            "ServiceEntry",
            format!("hosts: [a.com], resolution: DNS, ports: [{{number: 1, name: a, protocol: {piece}}}]"),
        ),
        "endpoint" => ("ServiceEntry", format!("hosts: [a.com], resolution: STATIC, endpoints: [{{{piece}}}]")),
        kind => (kind, piece.to_owned()),
    };
    (kind.to_owned(), spec)
}

/// What is said of the one thing that is wrong.
fn refusal(api_version: &str, kind: &str, spec: &str) -> String {
    let text = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{{spec}}}\n");
    let problems = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).expect_err(&text);
    let [problem] = problems.as_slice() else { panic!("{text}{problems}") };
    problem.message.clone()
}

#[test]
fn what_the_readme_says_is_refused() {
    for (name, place, piece) in REFUSED {
        let (kind, spec) = document(place, piece);
        let message = refusal("networking.istio.io/v1", &kind, &spec);
        let expected = if kind == name { "is not known" } else { "not supported by the gateway" };
        assert!(message.contains(expected), "{name}: {message}");
    }
    for (kind, api_version) in OTHERS {
        assert!(refusal(api_version, kind, "").contains("is not known"), "{kind}");
    }
    let named = REFUSED.iter().map(|(name, ..)| *name).chain(OTHERS.map(|(kind, _)| kind));
    let (places, fields) = (BTreeSet::from(["fault", "tls"]), in_the_readme());
    assert_eq!(fields.difference(&places).copied().collect::<BTreeSet<_>>(), named.collect());
}

/// What stands in the code's lists of what it refuses, stands in the README.
#[test]
fn what_is_refused_is_in_the_readme() {
    let documented = in_the_readme();
    let mut listed = BTreeSet::new();
    collect(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/documents")), &mut listed);
    assert!(listed.len() > 25, "{listed:?}");
    let missing: Vec<_> = listed.iter().filter(|name| !documented.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
}

/// The names in the README's table.
fn in_the_readme() -> BTreeSet<&'static str> {
    let (_, table) = README.split_once("| of | refused |\n").expect("the table is there");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect()
}

/// The texts of the constants `UNSUPPORTED` and their like, and of what is given to `refuse`.
fn collect(folder: &Path, listed: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, listed);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a text");
        let constants =
            text.split("const UNSUPPORTED").skip(1).filter_map(|rest| rest.split_once(" =")?.1.split_once("];"));
        let arguments = text.split("refuse(&[").skip(1).filter_map(|rest| rest.split_once(']'));
        for (list, _) in constants.chain(arguments) {
            listed.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
}
