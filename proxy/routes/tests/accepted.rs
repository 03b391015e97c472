//! What people have today is accepted: the sample's own documents in every version of the API, and every document of the
//! recorded families that the gateway is to match Istio in.

use serde_yaml::Value;
use turnout_routes::documents::{Action, Document, StringMatch, ValueMatch, VirtualService};
use turnout_routes::{Parsed, Problems, Source, parse};

/// The sample's chart, rendered with its default values.
const SAMPLE: &str = r#"apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: abtest-gateway
  namespace: abtesting
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts:
    - "*"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: abtest-virtualservice
  namespace: abtesting
spec:
  hosts:
  - "*"
  gateways:
  - abtest-gateway
  http:
  - match:
    - uri:
        prefix: /score
      headers:
        x-api-version:
          exact: "blue"
    route:
    - destination:
        port:
          number: 5001
        host: model-svc-blue.abtesting.svc.cluster.local
  - match:
    - uri:
        prefix: /score
      headers:
        x-api-version:
          exact: "green"
    route:
    - destination:
        port:
          number: 5001
        host: model-svc-green.abtesting.svc.cluster.local
  - route:
    - destination:
        port:
          number: 5001
        host: model-svc-green.abtesting.svc.cluster.local
      weight: 50
    - destination:
        port:
          number: 5001
        host: model-svc-blue.abtesting.svc.cluster.local
      weight: 50
"#;

/// What `kubectl get -o yaml` adds to an object.
const KUBECTL_OUTPUT: &str = r#"apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"networking.istio.io/v1"}
    on: off
  creationTimestamp: "2026-01-31T12:00:00Z"
  finalizers: [a/b]
  generateName: scoring-
  generation: 3
  labels: {app.kubernetes.io/managed-by: Helm}
  managedFields: [{manager: helm, fieldsV1: {"f:spec": {}}}]
  name: scoring
  ownerReferences: [{kind: Deployment}]
  resourceVersion: "12345"
  selfLink: /apis
  uid: 7d8c
spec:
  hosts: [a.example.com]
  http:
  - route: [{destination: {host: model}}]
status: {observedGeneration: 3, conditions: []}
"#;

const FAMILIES: [(&str, &str); 12] = [
    ("seed-scenario", include_str!("../../../tests/parity/cases/seed-scenario.yaml")),
    ("match", include_str!("../../../tests/parity/cases/match.yaml")),
    ("weights", include_str!("../../../tests/parity/cases/weights.yaml")),
    ("destination", include_str!("../../../tests/parity/cases/destination.yaml")),
    ("order", include_str!("../../../tests/parity/cases/order.yaml")),
    ("headers", include_str!("../../../tests/parity/cases/headers.yaml")),
    ("rewrite", include_str!("../../../tests/parity/cases/rewrite.yaml")),
    ("redirect", include_str!("../../../tests/parity/cases/redirect.yaml")),
    ("direct-response", include_str!("../../../tests/parity/cases/direct-response.yaml")),
    ("timeout", include_str!("../../../tests/parity/cases/timeout.yaml")),
    ("retry", include_str!("../../../tests/parity/cases/retry.yaml")),
    ("gateway", include_str!("../../../tests/parity/cases/gateway.yaml")),
];

/// The one recorded case of these families that uses what the gateway refuses by name.
const REFUSED: (&str, &str) = ("match/delegate", "spec.http[0].delegate: not supported by the gateway");

#[test]
fn the_sample_is_accepted_in_every_version_of_the_api() {
    let first = read(SAMPLE).expect("the sample is accepted");
    assert_eq!(first.warnings, []);
    let [Document::Gateway(gateway), Document::VirtualService(scoring)] = first.documents.as_slice() else {
        panic!("a Gateway and a VirtualService, not {:?}", first.documents);
    };
    assert_eq!((gateway.servers[0].port, gateway.servers[0].hosts[0].host.to_string()), (80, "*".to_owned()));
    assert_eq!(override_header(scoring, 0), "blue");
    assert_eq!(override_header(scoring, 1), "green");
    assert_eq!(weights(scoring, 2), [50, 50]);
    for version in ["v1beta1", "v1alpha3"] {
        let other = SAMPLE.replace("networking.istio.io/v1", &format!("networking.istio.io/{version}"));
        assert_eq!(read(&other).expect("the version is accepted"), first, "{version}");
    }
}

fn override_header(document: &VirtualService, rule: usize) -> &str {
    match &document.http[rule].matches[0].headers["x-api-version"].1 {
        ValueMatch::Value(StringMatch::Exact(value)) => value,
        other => panic!("an exact value, not {other:?}"),
    }
}

fn weights(document: &VirtualService, rule: usize) -> Vec<u32> {
    match &document.http[rule].action {
        Action::Forward(forward) => forward.destinations.as_slice().iter().map(|to| to.weight).collect(),
        other => panic!("a route, not {other:?}"),
    }
}

#[test]
fn what_kubectl_prints_is_accepted() {
    let parsed = read(KUBECTL_OUTPUT).expect("accepted");
    let metadata = parsed.documents[0].metadata();
    assert_eq!((metadata.namespace.as_str(), metadata.name.as_str()), ("default", "scoring"));
    assert_eq!(metadata.creation_timestamp.as_deref(), Some("2026-01-31T12:00:00Z"));
    assert_eq!(metadata.labels["app.kubernetes.io/managed-by"], "Helm");
}

#[test]
fn every_document_of_the_recorded_families_is_accepted() {
    for (family, text) in FAMILIES {
        let file: Value = serde_yaml::from_str(text).expect("the family is YAML");
        let cases = file["cases"].as_sequence().expect("a list of cases");
        assert!(!cases.is_empty(), "{family} has cases");
        for case in cases {
            let name = format!("{family}/{}", case["name"].as_str().expect("a name"));
            match read(&documents(&file, case)) {
                Ok(_) => assert_ne!(name, REFUSED.0, "is listed as refused"),
                Err(problems) => {
                    assert_eq!(name, REFUSED.0, "is refused: {problems}");
                    assert!(problems.to_string().contains(REFUSED.1), "{name}: {problems}");
                }
            }
        }
    }
}

/// The used fragments and the case's own documents, with numbers and paths for the placeholders.
fn documents(file: &Value, case: &Value) -> String {
    let fragments = case["use"].as_sequence().into_iter().flatten().filter_map(|name| file["fragments"][name].as_str());
    let joined = fragments.chain(case["documents"].as_str()).collect::<Vec<_>>().join("\n---\n");
    let ports = ["GATEWAY", "GATEWAY2", "GATEWAY_TLS", "GREEN", "BLUE", "RED", "MIRROR", "MIRROR2", "DEAD"];
    let filled = (10_000..)
        .zip(ports)
        .fold(joined, |text, (port, name): (u16, _)| text.replace(&format!("${{{name}}}"), &port.to_string()));
    filled.replace("${CERTS}", "/certs").replace("${CLIENT_IP}", "127.0.0.1")
}

fn read(text: &str) -> Result<Parsed, Problems> {
    parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }])
}
