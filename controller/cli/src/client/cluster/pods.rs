//! What keeps a pod from serving, in the words of whoever knows: the scheduler, kubelet, or the container's own end.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Event, Pod, PodCondition,
    PodStatus,
};
use kube::ResourceExt as _;

/// What a container waits for that is not yet a trouble.
const ON_THE_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// Of an Event that alone tells of a volume which cannot be mounted, as of a Secret that is not there.
const FAILED_MOUNT: &str = "FailedMount";
/// Of an Event that alone tells how a probe of a container that runs has failed.
const UNHEALTHY: &str = "Unhealthy";
/// As much of what the cluster says as one line can take.
const LONGEST: usize = 300;

/// As `pod NAME: REASON: MESSAGE`; none for a pod that is ready, has ended, or is simply on its way.
pub(crate) fn trouble(pod: &Pod) -> Option<String> {
    if has_ended(pod) || is_ready(pod) {
        return None;
    }
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let said = containers.into_iter().find_map(of_container);
    let said = said.or_else(|| unscheduled(status)).or_else(|| unhealthy(status))?;
    Some(format!("pod {}: {}", pod.name_any(), in_one_line(&said)))
}

/// The reason of the Events that say why a pod is not ready which itself says nothing of it; none of any other pod.
pub(super) fn told_by_events(pod: &Pod) -> Option<&'static str> {
    if has_ended(pod) || is_ready(pod) || trouble(pod).is_some() {
        return None;
    }
    let mut status = pod.status.clone()?;
    let is_being_created = waiting(&mut status).any(|waiting| is_on_the_way(waiting));
    if is_being_created { Some(FAILED_MOUNT) } else { readiness(&mut status).map(|_| UNHEALTHY) }
}

/// Lets such pods say what the newest of these Events says.
pub(super) fn say_why(pods: &mut [Pod], events: &[Event]) {
    for pod in pods {
        let Some(reason) = told_by_events(pod) else { continue };
        let is_its = |event: &&Event| {
            let (of, own) = (&event.involved_object, &pod.metadata);
            event.reason.as_deref() == Some(reason) && of.name == own.name && (of.uid == own.uid || of.uid.is_none())
        };
        let newest = events.iter().filter(is_its).max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
        let (Some(event), Some(status)) = (newest.cloned(), pod.status.as_mut()) else { continue };
        if let Some(waiting) = waiting(status).find(|waiting| is_on_the_way(waiting)) {
            (waiting.reason, waiting.message) = (event.reason, event.message);
        } else if let Some(condition) = readiness(status) {
            (condition.reason, condition.message) = (event.reason, event.message);
        }
    }
}

/// What to do about a trouble of a pod.
pub(crate) fn advice(pod: &Pod, trouble: &str) -> String {
    if ["ErrImage", "ImagePull", "InvalidImageName"].iter().any(|reason| trouble.contains(reason)) {
        return "push the image, correct its name, or let the cluster pull from its registry (imagePullSecrets; on AKS: \
                az aks update --attach-acr)"
            .to_owned();
    }
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    if trouble.contains("Unschedulable") {
        "add a node that can take it, or lower what it requests".to_owned()
    } else if trouble.contains("CreateContainerConfigError") || trouble.contains(FAILED_MOUNT) {
        format!("create what it names in namespace {namespace}")
    } else if trouble.contains("exit code") {
        format!("kubectl logs -n {namespace} {name} --previous")
    } else {
        format!("kubectl describe pod -n {namespace} {name}")
    }
}

/// It has ended or is being removed: it is no replica any more.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn waiting(status: &mut PodStatus) -> impl Iterator<Item = &mut ContainerStateWaiting> {
    let containers = status.init_container_statuses.iter_mut().chain(&mut status.container_statuses).flatten();
    containers.filter_map(|container| container.state.as_mut()?.waiting.as_mut())
}

/// Whether it is ready, as far as anything says it.
fn readiness(status: &mut PodStatus) -> Option<&mut PodCondition> {
    status.conditions.iter_mut().flatten().find(|condition| condition.type_ == "Ready")
}

fn is_on_the_way(waiting: &ContainerStateWaiting) -> bool {
    waiting.reason.as_deref().is_some_and(|reason| ON_THE_WAY.contains(&reason))
}

fn unscheduled(status: &PodStatus) -> Option<String> {
    let mut conditions = status.conditions.iter().flatten();
    let condition = conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
    Some(with(reason, condition.message.as_deref()))
}

/// Where an Event said it.
fn unhealthy(status: &PodStatus) -> Option<String> {
    let mut conditions = status.conditions.iter().flatten();
    let condition = conditions.find(|it| it.type_ == "Ready" && it.reason.as_deref() == Some(UNHEALTHY))?;
    Some(with(UNHEALTHY, condition.message.as_deref()))
}

fn of_container(container: &ContainerStatus) -> Option<String> {
    let ContainerState { waiting, terminated, .. } = container.state.as_ref()?;
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let name = &container.name;
    if let Some(waiting) = waiting {
        let reason = waiting.reason.as_deref().filter(|reason| !ON_THE_WAY.contains(reason))?;
        if let (Some(last), "CrashLoopBackOff") = (last, reason) {
            return Some(format!("{reason}: container {name} ended with {}", exit(last)));
        }
        let message = waiting.message.as_deref();
        // Some versions of kubelet name the image in the message, some do not.
        let is_named = !reason.contains("Image") || message.is_some_and(|message| message.contains(&container.image));
        let reason = if is_named { reason.to_owned() } else { format!("{reason}: {}", container.image) };
        return Some(with(&reason, message));
    }
    let ended = terminated.as_ref().or(last).filter(|ended| ended.exit_code != 0)?;
    Some(format!("container {name} ended with {}", exit(ended)))
}

fn exit(ended: &ContainerStateTerminated) -> String {
    let reason = ended.reason.as_deref().filter(|reason| *reason != "Error").map(|reason| format!(" ({reason})"));
    format!("exit code {}{}", ended.exit_code, reason.unwrap_or_default())
}

fn with(reason: &str, message: Option<&str>) -> String {
    match message.filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    }
}

fn in_one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use serde_json::{Value, json};

    fn check(status: &Value, expected: Option<&str>) {
        let pod = json!({"metadata": {"name": "p"}, "status": status});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(trouble(&pod).as_deref(), expected, "{status}");
    }

    fn container(state: &Value, last: &Value) -> Value {
        json!({
            "name": "c", "image": "host/model:2", "imageID": "", "ready": false, "restartCount": 1, "state": state,
            "lastState": last,
        })
    }

    #[test]
    fn each_trouble_is_told_in_the_words_of_who_knows() {
        let waiting = |reason: &str, message: Value| json!({"waiting": {"reason": reason, "message": message}});
        let ended = |code: i32, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});
        let of = |state: &Value, last: &Value, expected: Option<&str>| {
            check(&json!({"phase": "Pending", "containerStatuses": [container(state, last)]}), expected);
            check(&json!({"phase": "Pending", "initContainerStatuses": [container(state, last)]}), expected);
        };
        let running = json!({"running": {}});
        let none = json!({});
        let pull = waiting("ErrImagePull", json!("not\nfound"));
        of(&pull, &none, Some("pod p: ErrImagePull: host/model:2: not found"));
        let back_off = waiting("ImagePullBackOff", json!("Back-off pulling image \"host/model:2\""));
        of(&back_off, &none, Some("pod p: ImagePullBackOff: Back-off pulling image \"host/model:2\""));
        let config = waiting("CreateContainerConfigError", json!("secret \"s\" not found"));
        of(&config, &none, Some("pod p: CreateContainerConfigError: secret \"s\" not found"));
        let crash = waiting("CrashLoopBackOff", json!("back-off 10s"));
        let said = "pod p: CrashLoopBackOff: container c ended with exit code 137 (OOMKilled)";
        of(&crash, &ended(137, "OOMKilled"), Some(said));
        of(&ended(1, "Error"), &none, Some("pod p: container c ended with exit code 1"));
        of(&running, &ended(2, "Error"), Some("pod p: container c ended with exit code 2"));
        of(&waiting("ContainerCreating", Value::Null), &none, None);
        of(&running, &none, None);
        of(&running, &ended(0, "Completed"), None);
    }

    #[test]
    fn a_pod_that_no_node_takes_says_why_and_one_that_is_well_or_gone_says_nothing() {
        let unscheduled =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"});
        check(&json!({"phase": "Pending", "conditions": [unscheduled]}), Some("pod p: Unschedulable: 0/1 nodes"));
        check(&json!({"phase": "Pending"}), None);
        let crashed = container(&json!({"running": {}}), &json!({"terminated": {"exitCode": 1}}));
        let ready = json!({"type": "Ready", "status": "True"});
        check(&json!({"phase": "Running", "conditions": [ready], "containerStatuses": [crashed]}), None);
        check(&json!({"phase": "Failed", "containerStatuses": [crashed]}), None);
        let long = container(&json!({"waiting": {"reason": "Why", "message": "x".repeat(400)}}), &json!({}));
        let pod = json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [long]}});
        let said = trouble(&serde_json::from_value(pod).unwrap()).unwrap();
        assert!(said.ends_with("x…") && said.chars().count() < 320, "{said}");
    }
}
