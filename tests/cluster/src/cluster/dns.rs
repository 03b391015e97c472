//! The cluster's DNS server, as an ordinary Deployment.

use serde_json::{Value, json};

use crate::addresses::Addresses;
use crate::build::Image;

/// The namespace and name of the Deployment.
pub(super) const NAMESPACE: &str = "kube-system";
pub(super) const NAME: &str = "coredns";

/// How old the DNS server's answers may be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Dns {
    /// As fresh as they can be: 5 seconds to live, and no cache in the server.
    #[default]
    Fresh,
    /// As on AKS: 30 seconds to live, and cached for as long in the server.
    Cached,
}

impl Dns {
    fn corefile(self) -> String {
        let (seconds, cache) = match self {
            Self::Fresh => (5, ""),
            Self::Cached => (30, "    cache 30\n"),
        };
        format!(
            ".:53 {{\n    errors\n    health\n    ready\n{cache}    kubernetes cluster.local in-addr.arpa {{\n        \
             ttl {seconds}\n    }}\n}}\n"
        )
    }
}

/// Everything that it needs, to be applied.
pub(super) fn objects(dns: Dns, addresses: Addresses) -> Value {
    let named = |name: &str| json!({ "name": name, "namespace": NAMESPACE });
    let read = |group: &str, resources: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": ["list", "watch"] });
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": "turnout:coredns" },
        "rules": [read("", &["services", "pods", "namespaces"]), read("discovery.k8s.io", &["endpointslices"])],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "turnout:coredns" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "turnout:coredns" },
        "subjects": [{ "kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE }],
    });
    let port = |name: &str, protocol: &str| json!({ "name": name, "port": 53, "protocol": protocol });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": named("kube-dns"),
        "spec": {
            "clusterIP": addresses.dns_service(),
            "selector": { "k8s-app": "kube-dns" },
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
        },
    });
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": named(NAME) });
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": named(NAME), "data": { "Corefile": dns.corefile() },
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": [account, role, binding, settings, deployment(), service] })
}

fn deployment() -> Value {
    let labels = json!({ "k8s-app": "kube-dns" });
    let container = json!({
        "name": NAME,
        "image": Image::CoreDns.reference(),
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": { "httpGet": { "path": "/ready", "port": 8181 }, "periodSeconds": 1 },
        "volumeMounts": [{ "name": "settings", "mountPath": "/etc/coredns" }],
    });
    let pod = json!({
        "serviceAccountName": NAME,
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "containers": [container],
        "volumes": [{ "name": "settings", "configMap": { "name": NAME } }],
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": NAME, "namespace": NAMESPACE },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::Dns;

    #[test]
    fn only_the_cached_kind_has_a_cache() {
        assert!(!Dns::Fresh.corefile().contains("cache"));
        assert!(Dns::Cached.corefile().contains("    cache 30\n"));
        assert!(Dns::Cached.corefile().contains("ttl 30\n"));
    }
}
