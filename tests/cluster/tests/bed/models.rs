//! Models behind Services: what they answer, and how they come and go.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;
use turnout_cluster::{Cluster, LoadProcess, LoadSpec, Model, RequestKind, ToldBy, client};

use crate::{DEADLINE, NAMESPACE, RATE};

/// The Service of type LoadBalancer before the model.
pub(crate) const PUBLIC: &str = "model-public";

pub(crate) fn model(revision: &str) -> Model {
    Model::new("model", "green", "New Model A", revision)
}

pub(crate) fn models_roll_out_behind_a_service(cluster: &Cluster) -> Result<()> {
    cluster.create_namespace(NAMESPACE)?;
    cluster.apply(NAMESPACE, &model("r1").objects().to_string())?;
    cluster.wait_for_rollout(NAMESPACE, "deployment", "model", DEADLINE)?;
    assert_eq!(cluster.ready_pods(NAMESPACE, &model("r1").selector())?.len(), 2);
    wait_for_endpoints(cluster, 2)
}

pub(crate) fn a_load_balancer_answers_on_both_sides(cluster: &Cluster) -> Result<()> {
    let mut service = model("r1").service();
    service["metadata"]["name"] = json!(PUBLIC);
    service["spec"]["type"] = json!("LoadBalancer");
    cluster.apply(NAMESPACE, &service.to_string())?;
    let address = cluster.give_address(NAMESPACE, PUBLIC)?;
    assert_eq!(cluster.give_address(NAMESPACE, PUBLIC)?, address, "a Service keeps its address");
    let answer = cluster.wait_until("the load balancer's address answers", DEADLINE, || {
        client::request((address, 80).into(), "POST", "/score", &[], "{}")
    })?;
    assert_eq!((answer.status, answer.header("x-served-by")), (200, Some("green")));
    assert_eq!(answer.json()?["model"], "New Model A");

    let spec = LoadSpec::new((address, 80).into())
        .with(RequestKind::split())
        .with(RequestKind::pinned("green", "x-api-version", "green"))
        .with(RequestKind::pinned("blue", "x-api-version", "blue"));
    let mut load = LoadProcess::start(cluster, &spec)?;
    let report = load.wait_for(100)?;
    assert!(report.sent >= 100, "{report:?}");
    let report = load.finish()?;
    assert_eq!(report.failed, 0, "{report:?}");
    assert_eq!(report.by_backend.keys().collect::<Vec<_>>(), ["green"]);
    // Nothing routes here, so those for blue are answered by green.
    assert_eq!(report.pins_wrong, report.kinds["pinned blue"].sent);
    Ok(())
}

pub(crate) fn an_unready_model_leaves_its_service(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods(NAMESPACE, &model("r1").selector())?;
    cluster.tell_model(NAMESPACE, &pods[0], "ready?value=false")?;
    wait_for_endpoints(cluster, 1)?;
    assert_eq!(cluster.ready_pods(NAMESPACE, &model("r1").selector())?, pods[1..]);
    cluster.tell_model(NAMESPACE, &pods[0], "ready?value=true")?;
    wait_for_endpoints(cluster, 2)
}

pub(crate) fn a_rolling_update_under_load_loses_nothing(cluster: &Cluster) -> Result<()> {
    let address = cluster.give_address(NAMESPACE, PUBLIC)?;
    let mut spec = LoadSpec::new((address, 80).into()).at_rate(RATE).with(RequestKind::split());
    spec.told_by = ToldBy::Header("x-revision".to_owned());
    let mut load = LoadProcess::start(cluster, &spec)?;
    load.wait_for(100)?;
    cluster.apply(NAMESPACE, &model("r2").objects().to_string())?;
    cluster.wait_for_rollout(NAMESPACE, "deployment", "model", DEADLINE)?;
    cluster.wait_until("only the new pods are left", DEADLINE, || {
        let pods = cluster.list(NAMESPACE, "pods", &model("r2").selector())?;
        ensure!(pods.len() == 2, "there are {}", pods.len());
        Ok(())
    })?;
    load.lap()?;
    let so_far = load.so_far()?.sent;
    load.wait_for(so_far + 100)?;
    let after = load.lap()?;
    let report = load.finish()?;
    assert_eq!(report.failed, 0, "{report:?}");
    assert_eq!(report.by_backend.keys().collect::<Vec<_>>(), ["r1", "r2"]);
    assert_eq!(after.by_backend.keys().collect::<Vec<_>>(), ["r2"]);
    println!("{} requests, the slowest in {} us", report.sent, report.latency_max_us);
    Ok(())
}

pub(crate) fn a_nudge_refreshes_a_mounted_config_map(cluster: &Cluster) -> Result<()> {
    let config_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "routes" }, "data": { "routes.yaml": "first" },
    });
    cluster.apply(NAMESPACE, &config_map.to_string())?;
    let reader = Model { replicas: 1, ..Model::new("reader", "green", "New Model A", "r1") };
    let mut deployment = reader.deployment();
    let pod_spec = &mut deployment["spec"]["template"]["spec"];
    pod_spec["volumes"] = json!([{ "name": "routes", "configMap": { "name": "routes" } }]);
    pod_spec["containers"][0]["volumeMounts"] = json!([{ "name": "routes", "mountPath": "/routes" }]);
    cluster.apply(NAMESPACE, &deployment.to_string())?;
    cluster.wait_for_rollout(NAMESPACE, "deployment", "reader", DEADLINE)?;
    let pods = cluster.ready_pods(NAMESPACE, &reader.selector())?;
    let read = || -> Result<String> {
        let answer = cluster.tell_model(NAMESPACE, &pods[0], "file?value=/routes/routes.yaml")?;
        Ok(answer["text"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(read()?, "first");

    cluster.patch(NAMESPACE, "configmap", "routes", &json!({ "data": { "routes.yaml": "second" } }))?;
    let nudge = json!({ "metadata": { "annotations": { "turnout.dev/nudge": "second" } } });
    cluster.patch(NAMESPACE, "pod", &pods[0], &nudge)?;
    let nudged = Instant::now();
    cluster.wait_until("the mounted file is the new one", DEADLINE, || {
        let text = read()?;
        ensure!(text == "second", "it holds {text}");
        Ok(())
    })?;
    println!("the file changed {:.2} s after the nudge", nudged.elapsed().as_secs_f64());
    Ok(())
}

pub(crate) fn wait_for_endpoints(cluster: &Cluster, count: usize) -> Result<()> {
    cluster.wait_until(&format!("the Service has {count} ready endpoints"), DEADLINE, || {
        let slices = cluster.list(NAMESPACE, "endpointslices", "kubernetes.io/service-name=model")?;
        let endpoints = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten();
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).count();
        ensure!(ready == count, "it has {ready}");
        Ok(())
    })
}
