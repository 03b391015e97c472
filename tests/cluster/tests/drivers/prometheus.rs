//! A Prometheus that reads the gateways' metrics, for Flagger to ask.

use anyhow::Result;
use serde_json::json;
use turnout_cluster::{Cluster, Driver, release};

use crate::scene::DEADLINE;

const NAME: &str = "prometheus";
const PORT: u16 = 9090;

/// Its address inside the cluster.
pub(crate) fn url(namespace: &str) -> String {
    format!("http://{NAME}.{namespace}:{PORT}")
}

/// Returns when it runs.
pub(crate) fn install(cluster: &Cluster, namespace: &str) -> Result<()> {
    Driver::Prometheus.load(cluster)?;
    cluster.create_namespace(namespace)?;
    let gateways = format!("{}-metrics.{}.svc.cluster.local", release::GATEWAY, release::NAMESPACE);
    let configuration = json!({
        "global": { "scrape_interval": "2s" },
        "scrape_configs": [{
            "job_name": "turnout",
            "dns_sd_configs": [{ "names": [gateways], "type": "A", "port": release::STATUS_PORT, "refresh_interval": "2s" }],
        }],
    });
    let labels = json!({ "app": NAME });
    let container = json!({
        "name": NAME,
        "image": Driver::Prometheus.reference(),
        "imagePullPolicy": "IfNotPresent",
        "args": ["--config.file=/etc/prometheus/prometheus.yaml", "--storage.tsdb.path=/tmp/data"],
        "readinessProbe": { "httpGet": { "path": "/-/ready", "port": PORT }, "periodSeconds": 1 },
        "volumeMounts": [{ "name": "configuration", "mountPath": "/etc/prometheus" }],
    });
    let pod = json!({
        "containers": [container],
        "volumes": [{ "name": "configuration", "configMap": { "name": NAME } }],
    });
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME },
            "data": { "prometheus.yaml": configuration.to_string() },
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": NAME },
            "spec": { "selector": labels, "ports": [{ "port": PORT }] },
        },
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": NAME },
            "spec": {
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        },
    ]});
    cluster.apply(namespace, &objects.to_string())?;
    cluster.wait_for_rollout(namespace, "deployment", NAME, DEADLINE)
}
