//! The node, the DNS server and the tools.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use turnout_cluster::{Cluster, Model};

use crate::{DEADLINE, NAMESPACE};

pub(crate) fn the_node_is_ready_and_is_kubernetes_1_34(cluster: &Cluster) -> Result<()> {
    let nodes = cluster.list("default", "nodes", "")?;
    assert!(!nodes.is_empty(), "a cluster has a node");
    for node in &nodes {
        let version = node["status"]["nodeInfo"]["kubeletVersion"].as_str().context("a kubelet has a version")?;
        if cluster.is_own() {
            assert!(version.starts_with("v1.34."), "{version}");
        }
        let conditions = node["status"]["conditions"].as_array().context("a node has conditions")?;
        let ready =
            conditions.iter().find(|condition| condition["type"] == "Ready").context("it says if it is ready")?;
        assert_eq!(ready["status"], "True", "{ready}");
    }
    let version = cluster.raw("/version")?;
    if cluster.is_own() {
        assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("34")));
    }
    Ok(())
}

pub(crate) fn cluster_dns_has_the_ready_pods(cluster: &Cluster) -> Result<()> {
    let headless = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "headless" },
        "spec": { "clusterIP": "None", "selector": { "app": "model" }, "ports": [{ "name": "http", "port": 8080 }] },
    });
    cluster.apply(NAMESPACE, &headless.to_string())?;
    let expected = pod_addresses(cluster)?;
    assert_eq!(expected.len(), 2, "the model has two pods");
    cluster.wait_until("DNS has the addresses of both pods", DEADLINE, || {
        let found = cluster.resolve("headless.bed.svc.cluster.local")?;
        ensure!(found == expected, "it has {found:?}, and the pods are at {expected:?}");
        Ok(())
    })?;
    let service = cluster.get(NAMESPACE, "service", "model")?;
    let found = cluster.resolve("model.bed.svc.cluster.local")?;
    assert_eq!(json!(found), json!([service["spec"]["clusterIP"]]));
    assert_eq!(cluster.resolve("nobody.bed.svc.cluster.local")?, Vec::<Ipv4Addr>::new());
    Ok(())
}

fn pod_addresses(cluster: &Cluster) -> Result<Vec<Ipv4Addr>> {
    let selector = Model::new("model", "green", "New Model A", "r1").selector();
    let mut addresses = Vec::new();
    for pod in cluster.list(NAMESPACE, "pods", &selector)? {
        addresses.push(pod["status"]["podIP"].as_str().context("a ready pod has an address")?.parse()?);
    }
    addresses.sort_unstable();
    Ok(addresses)
}

pub(crate) fn helm_installs_and_removes_a_chart(cluster: &Cluster) -> Result<()> {
    let chart = tempfile::tempdir()?;
    fs::create_dir(chart.path().join("templates"))?;
    fs::write(chart.path().join("Chart.yaml"), "apiVersion: v2\nname: greeting\nversion: 1.0.0\n")?;
    let template =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {text: {{ .Values.text }}}\n";
    fs::write(chart.path().join("templates/greeting.yaml"), template)?;
    let path = chart.path().to_string_lossy().into_owned();
    let greeting = |text: &str| -> Result<()> {
        let found = cluster.get(NAMESPACE, "configmap", "hello")?;
        assert_eq!(found["data"]["text"], text);
        Ok(())
    };
    cluster.helm(&["install", "hello", &path, "--namespace", NAMESPACE, "--set", "text=hi", "--wait"])?;
    greeting("hi")?;
    cluster.helm(&["upgrade", "hello", &path, "--namespace", NAMESPACE, "--set", "text=hello", "--wait"])?;
    greeting("hello")?;
    cluster.helm(&["rollback", "hello", "1", "--namespace", NAMESPACE, "--wait"])?;
    greeting("hi")?;
    cluster.helm(&["uninstall", "hello", "--namespace", NAMESPACE, "--wait"])?;
    assert!(cluster.find(NAMESPACE, "configmap", "hello")?.is_none());
    Ok(())
}
