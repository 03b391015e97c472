//! What a cluster's own controllers do, one step at a time: Deployments make and replace pods, EndpointSlices follow pods.

use super::cast::{BROKEN, NAMESPACES};
use crate::api::store::{Key, Store, is_deleted, uid_of};
use serde_json::{Value, json};
use std::sync::Arc;

/// Every Deployment makes one step. Returns whether anything changed.
pub(crate) fn deployments_act(store: &mut Store, next_pod: &mut u16) -> bool {
    let before = store.revision();
    let all = NAMESPACES.into_iter().flat_map(|namespace| store.list("deployments", namespace));
    let deployments: Vec<Key> = all.map(|(key, _)| key.clone()).collect();
    for key in deployments {
        deployment_acts(store, &key, next_pod);
    }
    store.revision() != before
}

fn deployment_acts(store: &mut Store, key: &Key, next_pod: &mut u16) {
    let Some(deployment) = store.get(key).cloned() else { return };
    let generation = deployment["metadata"]["generation"].clone();
    if is_deleted(&deployment) {
        let (new, old) = pods_of(store, &deployment);
        new.iter().chain(&old).for_each(|(pod, _)| drop(store.mark_deleted(pod)));
    } else if deployment["status"]["observedGeneration"] == generation {
        let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
        let (new, old) = pods_of(store, &deployment);
        let is_ready = |(_, pod): &(Key, Arc<Value>)| is_ready(pod);
        if (new.len() as u64) < wanted {
            *next_pod += 1;
            make_pod(store, &deployment, *next_pod);
        } else if let Some((surplus, _)) = old.first().filter(|_| new.iter().all(is_ready)) {
            store.mark_deleted(surplus);
        } else if new.len() as u64 > wanted {
            store.mark_deleted(&new[0].0);
        }
    }
    report(store, key);
}

type Pods = Vec<(Key, Arc<Value>)>;

/// The pods of its present template and those of former ones; those that terminate count as gone.
fn pods_of(store: &Store, deployment: &Value) -> (Pods, Pods) {
    let uid = uid_of(deployment);
    let namespace = deployment["metadata"]["namespace"].as_str().unwrap_or_default();
    let pods = store.list("pods", namespace).into_iter().filter(|(_, pod)| {
        pod["metadata"]["ownerReferences"][0]["uid"] == uid && !pod["metadata"]["deletionTimestamp"].is_string()
    });
    let pods = pods.map(|(key, pod)| (key.clone(), Arc::clone(pod)));
    pods.partition(|(_, pod)| {
        pod["metadata"]["labels"] == deployment["spec"]["template"]["metadata"]["labels"]
            && pod["spec"] == deployment["spec"]["template"]["spec"]
    })
}

fn report(store: &mut Store, key: &Key) {
    let Some(deployment) = store.get(key).cloned() else { return };
    let (new, old) = pods_of(store, &deployment);
    let ready = new.iter().chain(&old).filter(|(_, pod)| is_ready(pod)).count();
    store.edit(key, |object| {
        object["status"] = json!({
            "observedGeneration": object["metadata"]["generation"],
            "replicas": new.len() + old.len(),
            "updatedReplicas": new.len(),
            "readyReplicas": ready,
            "availableReplicas": ready,
        });
    });
}

fn make_pod(store: &mut Store, deployment: &Value, number: u16) {
    let namespace = deployment["metadata"]["namespace"].as_str().unwrap_or_default();
    let template = &deployment["spec"]["template"];
    let name = format!("{}-{number}", deployment["metadata"]["name"].as_str().unwrap_or_default());
    let image = template["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let [high, low] = number.to_be_bytes();
    let pod = json!({
        "metadata": {
            "labels": template["metadata"]["labels"],
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "controller": true,
                "name": deployment["metadata"]["name"], "uid": deployment["metadata"]["uid"],
            }],
        },
        "spec": template["spec"],
        "status": {
            "phase": "Running",
            "podIP": format!("10.0.{high}.{low}"),
            "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [{
                "name": "model", "image": image, "imageID": image_id(image), "ready": false,
                "restartCount": 0,
            }],
        },
    });
    store.put(&Key::new("pods", namespace, &name), pod);
}

/// A digest that differs from others in its first letters.
pub(crate) fn image_id(image: &str) -> String {
    let letters = image.bytes().rev().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("{image}@sha256:{letters:0<64}")
}

/// Deployments that wait for their pods go with the last one.
pub(crate) fn deployments_go(store: &mut Store) {
    let all = NAMESPACES.into_iter().flat_map(|namespace| store.list("deployments", namespace));
    let leaving = all.filter(|(_, deployment)| is_deleted(deployment));
    let leaving: Vec<(Key, Arc<Value>)> = leaving.map(|(key, it)| (key.clone(), Arc::clone(it))).collect();
    for (key, deployment) in leaving {
        let uid = uid_of(&deployment);
        let pods = store.list("pods", &key.namespace).into_iter();
        if !pods.map(|(_, pod)| pod).any(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == uid) {
            store.edit(&key, |object| object["metadata"]["finalizers"] = json!([]));
        }
    }
}

/// The image of a model that does not start.
pub(crate) fn is_broken(pod: &Value) -> bool {
    super::cast::tag(pod) == Some(super::cast::revision_name(BROKEN))
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True"
}

pub(crate) fn set_ready(store: &mut Store, pod: &Key, ready: bool) {
    store.edit(pod, |pod| {
        let ready = ready && !is_broken(pod);
        pod["status"]["conditions"][0]["status"] = json!(if ready { "True" } else { "False" });
        if pod["status"]["containerStatuses"].is_array() {
            pod["status"]["containerStatuses"][0]["ready"] = json!(ready);
        }
    });
}

/// The EndpointSlices of all Services say what their pods are by now.
pub(crate) fn slices_follow(store: &mut Store) {
    for namespace in NAMESPACES {
        let services = store.list("services", namespace).into_iter();
        let services: Vec<(Key, Arc<Value>)> =
            services.map(|(key, service)| (key.clone(), Arc::clone(service))).collect();
        for (key, service) in services.iter().filter(|(_, service)| service["spec"]["selector"].is_object()) {
            let slice = slice_of(store, key, service);
            store.put(&Key::new("endpointslices", namespace, &format!("{}-slice", key.name)), slice);
        }
    }
}

fn slice_of(store: &Store, key: &Key, service: &Value) -> Value {
    let selector = service["spec"]["selector"].as_object();
    let is_selected =
        |pod: &Value| selector.into_iter().flatten().all(|(name, value)| pod["metadata"]["labels"][name] == *value);
    let pods = store.list("pods", &key.namespace).into_iter().filter(|(_, pod)| is_selected(pod));
    let endpoint = |(key, pod): (&Key, &Arc<Value>)| {
        let terminating = pod["metadata"]["deletionTimestamp"].is_string();
        let serving = is_ready(pod);
        json!({
            "addresses": [pod["status"]["podIP"]],
            "conditions": {"ready": serving && !terminating, "serving": serving, "terminating": terminating},
            "targetRef": {
                "kind": "Pod", "name": key.name, "namespace": key.namespace, "uid": pod["metadata"]["uid"],
            },
        })
    };
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = |port: &Value| {
        let name = port["name"].as_str().unwrap_or_default();
        json!({"name": name, "port": port["targetPort"], "protocol": port["protocol"]})
    };
    json!({
        "metadata": {
            "labels": {"kubernetes.io/service-name": key.name},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": key.name, "uid": service["metadata"]["uid"],
            }],
        },
        "addressType": "IPv4",
        "endpoints": pods.map(endpoint).collect::<Vec<_>>(),
        "ports": ports.map(port).collect::<Vec<_>>(),
    })
}
