//! What istiod, Envoy and the API server are told about each other. There is no mesh here: no certificates between
//! proxies, no sidecars, and xDS in plain text on the loopback interface of the node.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

/// Where istiod looks for what holds for the whole mesh, and where the gateway lives.
pub(super) const NAMESPACE: &str = "istio-system";

/// What registers istiod's admission webhook.
pub(super) const WEBHOOK: &str = "istio-validator-turnout-test";

/// On the node's address, so that the harness can ask whether they are ready. No pod has these ports: each has a network
/// namespace of its own.
pub(super) const DEBUG_PORT: u16 = 15080;
pub(super) const ENVOY_PORT: u16 = 15000;

/// On the node's loopback interface.
const XDS_PORT: u16 = 15010;
const MONITORING_PORT: u16 = 15014;
const WEBHOOK_PORT: u16 = 15017;

/// istiod's environment. What is turned off by the last two are extensions that only Istio's own build of Envoy has:
/// they exchange labels for telemetry and choose the protocol of mutual TLS, and decide nothing about a request.
pub(super) const ISTIOD_ENVIRONMENT: [(&str, &str); 11] = [
    ("POD_NAMESPACE", NAMESPACE),
    ("POD_NAME", "istiod-0"),
    ("CLUSTER_ID", "Kubernetes"),
    ("XDS_AUTH", "false"),
    ("PILOT_ENABLE_XDS_IDENTITY_CHECK", "false"),
    ("ENABLE_CA_SERVER", "false"),
    ("PILOT_CERT_PROVIDER", "none"),
    ("INJECTION_WEBHOOK_CONFIG_NAME", ""),
    ("VALIDATION_WEBHOOK_CONFIG_NAME", ""),
    ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
    ("PILOT_ENABLE_ALPN_FILTER", "false"),
];

/// istiod's arguments; the files are in `folder`.
pub(super) fn istiod_arguments(kubeconfig: &Path, folder: &Path, node: IpAddr) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let local = |port: u16| format!("127.0.0.1:{port}");
    let options = [
        ("--kubeconfig", kubeconfig.display().to_string()),
        ("--meshConfig", file("mesh.json")),
        ("--networksConfig", file("networks.json")),
        ("--domain", "cluster.local".to_owned()),
        ("--ctrlz_port", "0".to_owned()),
        // It refuses one file in two roles.
        ("--caCertFile", file("ca.crt")),
        ("--tlsCertFile", file("tls.crt")),
        ("--tlsKeyFile", file("tls.key")),
        ("--secureGRPCAddr", String::new()),
        ("--grpcAddr", local(XDS_PORT)),
        ("--httpAddr", format!("{node}:{DEBUG_PORT}")),
        ("--httpsAddr", local(WEBHOOK_PORT)),
        ("--monitoringAddr", local(MONITORING_PORT)),
    ];
    let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    std::iter::once("discovery".to_owned()).chain(options).collect()
}

/// What holds for the whole mesh.
pub(super) fn mesh(access_log: &Path) -> Value {
    json!({
        "rootNamespace": NAMESPACE,
        "enableAutoMtls": false,
        "accessLogFile": access_log,
    })
}

/// istiod's own check of every Istio document, registered as Istio's chart does it.
pub(super) fn webhook(certificate_base64: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": WEBHOOK},
        "webhooks": [{
            "name": "validation.istio.io",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail",
            "clientConfig": {
                "url": format!("https://127.0.0.1:{WEBHOOK_PORT}/validate"),
                "caBundle": certificate_base64,
            },
            "rules": [{
                "operations": ["CREATE", "UPDATE"],
                "apiGroups": ["networking.istio.io"],
                "apiVersions": ["*"],
                "resources": ["*"],
            }],
        }],
    })
}

/// A VirtualService that Istio's CRD accepts and only istiod refuses: a catch-all for the whole mesh.
pub(super) fn refused_service() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "refused", "namespace": NAMESPACE},
        "spec": {"hosts": ["*"], "http": [{"route": [{"destination": {"host": "nowhere"}}]}]},
    })
}

/// Envoy as Istio's agent starts an ingress gateway: who it is, where its routes come from, and the two runtime flags
/// that change what happens with a request.
pub(super) fn bootstrap(node: IpAddr) -> Value {
    let socket = |address: &str, port: u16| json!({"socket_address": {"address": address, "port_value": port}});
    let from_istiod = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    let http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({
        "node": {
            "id": format!("router~{node}~gateway-0.{NAMESPACE}~{NAMESPACE}.svc.cluster.local"),
            "cluster": format!("istio-ingressgateway.{NAMESPACE}"),
            "metadata": {
                "NAMESPACE": NAMESPACE,
                "NAME": "gateway-0",
                "CLUSTER_ID": "Kubernetes",
                "MESH_ID": "cluster.local",
                "INSTANCE_IPS": node,
                "ISTIO_VERSION": "1.31.0",
                "LABELS": {"istio": "ingressgateway", "app": "istio-ingressgateway"},
                "PROXY_CONFIG": {},
            },
        },
        "layered_runtime": {"layers": [{"name": "istio", "static_layer": {
            "re2.max_program_size.error_level": 32768,
            "envoy.reloadable_features.http_reject_path_with_fragment": false,
        }}]},
        "admin": {"address": socket(&node.to_string(), ENVOY_PORT)},
        "dynamic_resources": {
            "lds_config": from_istiod,
            "cds_config": from_istiod,
            "ads_config": {
                "api_type": "GRPC",
                "set_node_on_first_message_only": true,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "istiod"}}],
            },
        },
        "static_resources": {"clusters": [{
            "name": "istiod",
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                (http2): {
                    "@type": format!("type.googleapis.com/{http2}"),
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            },
            "load_assignment": {
                "cluster_name": "istiod",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket("127.0.0.1", XDS_PORT)}}]}],
            },
        }]},
    })
}
