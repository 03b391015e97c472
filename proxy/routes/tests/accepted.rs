//! What people have today is accepted: the sample's own documents in every version of the API, as written and as printed
//! by kubectl. Those of the recorded families are read where they are served, by the parity suite.

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

fn read(text: &str) -> Result<Parsed, Problems> {
    parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }])
}
