//! What an API server fills in where a client left it out. A controller that compares what it wants with what is stored,
//! and does not know of these, writes for ever.

use serde_json::{Value, json};

/// Fills in the defaults of Services and Deployments; other kinds of the cast have none that matter.
pub(crate) fn complete(plural: &str, object: &mut Value) {
    match plural {
        "services" => complete_service(&mut object["spec"]),
        "deployments" => complete_deployment(&mut object["spec"]),
        _ => {}
    }
}

fn default(object: &mut Value, field: &str, value: Value) {
    if object[field].is_null() {
        object[field] = value;
    }
}

fn complete_service(spec: &mut Value) {
    let is_headless = spec["clusterIP"] == "None";
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    default(spec, "internalTrafficPolicy", json!("Cluster"));
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", json!("SingleStack"));
    let address = if is_headless { "None" } else { "10.215.0.10" };
    default(spec, "clusterIP", json!(address));
    default(spec, "clusterIPs", json!([address]));
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        let number = port["port"].clone();
        default(port, "protocol", json!("TCP"));
        default(port, "targetPort", number);
    }
}

fn complete_deployment(spec: &mut Value) {
    default(spec, "replicas", json!(1));
    default(spec, "revisionHistoryLimit", json!(10));
    default(spec, "progressDeadlineSeconds", json!(600));
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    default(spec, "strategy", rolling);
    let pod = &mut spec["template"]["spec"];
    default(pod, "restartPolicy", json!("Always"));
    default(pod, "dnsPolicy", json!("ClusterFirst"));
    default(pod, "schedulerName", json!("default-scheduler"));
    default(pod, "terminationGracePeriodSeconds", json!(30));
    default(pod, "securityContext", json!({}));
    for container in pod["containers"].as_array_mut().into_iter().flatten() {
        default(container, "imagePullPolicy", json!("IfNotPresent"));
        default(container, "terminationMessagePath", json!("/dev/termination-log"));
        default(container, "terminationMessagePolicy", json!("File"));
        default(container, "resources", json!({}));
        // Quantities are stored in one way of writing them.
        if container["resources"]["limits"]["cpu"] == "0.5" {
            container["resources"]["limits"]["cpu"] = json!("500m");
        }
        if container["readinessProbe"].is_object() {
            default(&mut container["readinessProbe"], "periodSeconds", json!(10));
        }
        for port in container["ports"].as_array_mut().into_iter().flatten() {
            default(port, "protocol", json!("TCP"));
        }
    }
}
