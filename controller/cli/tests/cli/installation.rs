//! Turnout as it is installed in the API server of a test: one controller, one gateway, what is published, and the
//! models' pods. All is well with it.

use crate::api::Api;
use serde_json::{Value, json};
use turnout_routes::{Source, revision};

pub(crate) const CONTROLLER: &str = "/apis/apps/v1/namespaces/turnout/deployments/t-controller";
pub(crate) const GATEWAY: &str = "/apis/apps/v1/namespaces/turnout/deployments/t-gateway";
pub(crate) const GATEWAY_POD: &str = "/api/v1/namespaces/turnout/pods/gateway-0";
pub(crate) const PUBLISHED: &str = "/api/v1/namespaces/turnout/configmaps/t-routes";
pub(crate) const DOCUMENTS: &str = "/api/v1/namespaces/turnout/configmaps/t-documents";
pub(crate) const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/turnout/leases/t";
pub(crate) const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelrollouts.turnout.dev";
/// The gateway's status port, as the API server passes requests on to it.
const STATUS_PORT: &str = "/api/v1/namespaces/turnout/pods/gateway-0:9000/proxy";

/// What is published, and what the documents are as well.
pub(crate) const ROUTES: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: model, namespace: ns}
spec:
  hosts: [model.example]
  http:
  - route:
    - {destination: {host: green, port: {number: 5001}}, weight: 50}
    - {destination: {host: blue, port: {number: 5001}}, weight: 50}
";

/// Puts all of it.
pub(crate) fn put(api: &Api) {
    put_models(api);
    put_gateway(api);
    for path in [PUBLISHED, DOCUMENTS] {
        let configmap = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "t"}});
        api.put(path, configmap);
        put_routes(api, path, ROUTES);
    }
    let flags = [
        "run",
        "--namespaces=ns",
        "--gateway-service=t-gateway",
        "--routes-configmap=t-routes",
        "--documents=configmap:t-documents",
        "--lease=t",
    ];
    api.put(CONTROLLER, deployment("controller", &flags));
    api.put(GATEWAY, deployment("gateway", &[]));
    api.put(
        LEASE,
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "t"},
            "spec": {"holderIdentity": "t-controller-0", "renewTime": "2200-01-01T00:00:00.000000Z"},
        }),
    );
    let mut definition = turnout_controller::crd::custom_resource_definition();
    definition["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
    api.put(DEFINITION, definition);
    api.put(
        "/version",
        json!({
            "major": "1", "minor": "34", "gitVersion": "v1.34.4", "gitCommit": "", "gitTreeState": "", "buildDate": "",
            "goVersion": "", "compiler": "", "platform": "",
        }),
    );
}

/// Puts other routes into one of the ConfigMaps.
pub(crate) fn put_routes(api: &Api, path: &str, routes: &str) {
    api.edit(path, |configmap| configmap["data"] = json!({"routes.yaml": routes}));
}

/// Misspells a field of a ConfigMap's routes.
pub(crate) fn misspell_routes(api: &Api, path: &str) {
    put_routes(api, path, &ROUTES.replacen("weight", "weigth", 1));
}

/// What the gateway says of the routes that it has; `rejected` is why it refuses those that are published.
pub(crate) fn put_revision(api: &Api, active: &str, rejected: Option<&str>) {
    let rejected = rejected.map(|reason| json!({"revision": published(), "reason": reason}));
    let answer = json!({"active": active, "rejected": rejected, "language": 1});
    api.put(&format!("{STATUS_PORT}/revision"), Value::String(answer.to_string()));
    put_backends(api, active);
}

/// The gateway has what is published, and finds this doubtful.
pub(crate) fn put_warning(api: &Api, warning: &str) {
    let answer = json!({"active": published(), "rejected": null, "language": 1, "warnings": [warning]});
    api.put(&format!("{STATUS_PORT}/revision"), Value::String(answer.to_string()));
}

/// Publishes routes, and the gateway has them.
pub(crate) fn publish(api: &Api, routes: &str) {
    put_routes(api, PUBLISHED, routes);
    put_revision(api, &revision(&[Source { name: "routes.yaml", bytes: routes.as_bytes() }]), None);
}

/// The gateway does not answer any more.
pub(crate) fn silence_gateway(api: &Api) {
    api.fail("GET", &format!("{STATUS_PORT}/revision"), 503);
}

fn published() -> String {
    revision(&[Source { name: "routes.yaml", bytes: ROUTES.as_bytes() }])
}

/// The labels of a part of the release.
fn labels(component: &str) -> Value {
    json!({
        "app.kubernetes.io/part-of": "turnout", "app.kubernetes.io/component": component,
        "app.kubernetes.io/instance": "t", "app.kubernetes.io/version": env!("CARGO_PKG_VERSION"),
    })
}

/// A Deployment with the one pod that it wants.
fn deployment(component: &str, flags: &[&str]) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("t-{component}"), "namespace": "turnout", "labels": labels(component)},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels(component)},
            "template": {"spec": {"serviceAccountName": "t", "containers": [{"name": component, "args": flags}]}},
        },
        "status": {"availableReplicas": 1},
    })
}

fn put_gateway(api: &Api) {
    api.put(
        GATEWAY_POD,
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "gateway-0", "namespace": "turnout", "labels": labels("gateway")},
            "spec": {
                "containers": [{"name": "gateway", "ports": [{"name": "status", "containerPort": 9000}]}],
                "volumes": [{"name": "routes", "configMap": {"name": "t-routes"}}],
            },
            "status": {"phase": "Running"},
        }),
    );
    put_revision(api, &published(), None);
}

fn put_backends(api: &Api, revision: &str) {
    let backends = [("green", 2, 3), ("blue", 1, 4)].map(|(name, endpoints, in_flight)| {
        let route = "ns/model spec.http[0]";
        json!({
            "backend": format!("{name}.ns.svc.cluster.local:5001"), "endpoints": endpoints, "endpointsDigest": 1,
            "weights": [{"route": route, "weight": 50}], "inFlight": [{"route": route, "byWeight": true, "requests": in_flight}],
        })
    });
    let page = json!({"revision": revision, "backends": backends});
    api.put(&format!("{STATUS_PORT}/backends"), Value::String(page.to_string()));
}

/// Two pods of green, one of them ready, and one of blue.
fn put_models(api: &Api) {
    for color in ["green", "blue"] {
        api.put(
            &format!("/api/v1/namespaces/ns/services/{color}"),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": color, "namespace": "ns"},
                "spec": {"selector": {"app": color}},
            }),
        );
    }
    for (name, color, revision, ready) in
        [("green-0", "green", "v1", "True"), ("green-1", "green", "v1", "False"), ("blue-0", "blue", "v2", "True")]
    {
        api.put(&format!("/api/v1/namespaces/ns/pods/{name}"), json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "ns", "labels": {"app": color, "turnout.dev/revision": revision}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        }));
    }
}
