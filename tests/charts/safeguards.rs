//! The values for AKS Automatic, held to its deployment safeguards as Microsoft describes them: those of pods rule by
//! rule, each with what would break it, and those of what makes and finds the pods.

use crate::cases::{PodOf, Rendering, chart, documents, list, no_faults, text, title};
use crate::helm::Helm;
use serde_json::{Value, json};

/// What a pod keeps to: the rule, whether a template keeps it, and a place in the template whose value would break it.
type Rule = (&'static str, fn(&Value) -> bool, &'static str, &'static str);

const RULES: [Rule; 17] = [
    (
        "requests CPU, 100m at least",
        |pod| all(pod, |it| cpu(it, "requests") >= 100),
        "/resources/requests/cpu",
        "\"99m\"",
    ),
    (
        "requests memory, 100Mi at least",
        |pod| all(pod, |it| memory(it, "requests") >= 100),
        "/resources/requests/memory",
        "\"64Mi\"",
    ),
    (
        "limits CPU, at no less than it requests",
        |pod| all(pod, |it| cpu(it, "limits") >= cpu(it, "requests")),
        "/resources/limits/cpu",
        "null",
    ),
    (
        "limits memory, at no less than it requests",
        |pod| all(pod, |it| memory(it, "limits") >= memory(it, "requests")),
        "/resources/limits/memory",
        "null",
    ),
    ("has a readiness probe", |pod| all(pod, |it| it["readinessProbe"].is_object()), "/readinessProbe", "null"),
    ("has a liveness probe", |pod| all(pod, |it| it["livenessProbe"].is_object()), "/livenessProbe", "null"),
    ("names the version of its image", |pod| all(pod, has_version), "/image", "\"registry:5000/turnout:latest\""),
    ("shares no network with the node", |pod| pod["spec"]["hostNetwork"] != true, "spec/hostNetwork", "true"),
    ("shares no processes with the node", |pod| pod["spec"]["hostPID"] != true, "spec/hostPID", "true"),
    ("shares no memory with the node", |pod| pod["spec"]["hostIPC"] != true, "spec/hostIPC", "true"),
    ("takes no port of the node", |pod| all(pod, has_no_host_port), "/ports", r#"[{"hostPort": 80}]"#),
    (
        "cannot gain privileges",
        |pod| all(pod, |it| it["securityContext"]["allowPrivilegeEscalation"] == false && is_unprivileged(it)),
        "/securityContext/privileged",
        "true",
    ),
    (
        "drops all capabilities",
        |pod| all(pod, |it| it["securityContext"]["capabilities"] == json!({"drop": ["ALL"]})),
        "/securityContext/capabilities/add",
        r#"["NET_ADMIN"]"#,
    ),
    (
        "is not root",
        |pod| {
            all(pod, |it| it["securityContext"]["runAsNonRoot"] == true)
                && pod["spec"]["securityContext"]["runAsUser"] != 0
        },
        "/securityContext/runAsNonRoot",
        "null",
    ),
    (
        "has a seccomp profile",
        |pod| pod["spec"]["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault",
        "spec/securityContext/seccompProfile/type",
        "\"Unconfined\"",
    ),
    (
        "mounts nothing of the node",
        has_harmless_volumes,
        "spec/volumes",
        r#"[{"name": "a", "hostPath": {"path": "/"}}]"#,
    ),
    ("has no label of AKS", has_no_label_of_aks, "metadata/labels/kubernetes.azure.com~1mode", "\"system\""),
];

/// Whether it holds of every container.
fn all(pod: &Value, holds: fn(&Value) -> bool) -> bool {
    let containers = list(pod, "/spec/containers");
    !containers.is_empty() && containers.iter().all(holds) && pod["spec"].get("initContainers").is_none()
}

/// In thousandths; 0 where there is none.
fn cpu(container: &Value, kind: &str) -> u64 {
    let quantity = text(container, &format!("/resources/{kind}/cpu"));
    quantity.strip_suffix('m').and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// In Mi; 0 where there is none.
fn memory(container: &Value, kind: &str) -> u64 {
    let quantity = text(container, &format!("/resources/{kind}/memory"));
    quantity.strip_suffix("Mi").and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn has_version(container: &Value) -> bool {
    let name = text(container, "/image").rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_some_and(|(_, tag)| tag != "latest")
}

fn has_no_host_port(container: &Value) -> bool {
    list(container, "/ports").iter().all(|port| port.get("hostPort").is_none())
}

fn is_unprivileged(container: &Value) -> bool {
    ["privileged", "procMount", "seLinuxOptions", "appArmorProfile"]
        .iter()
        .all(|field| container["securityContext"].get(field).is_none())
}

fn has_harmless_volumes(pod: &Value) -> bool {
    let is_harmless = |volume: &Value| volume.get("configMap").is_some() || volume.get("secret").is_some();
    list(pod, "/spec/volumes").iter().all(is_harmless)
}

fn has_no_label_of_aks(pod: &Value) -> bool {
    let labels = pod["metadata"]["labels"].as_object().unwrap();
    !labels.keys().any(|key| key.starts_with("kubernetes.azure.com"))
}

/// A template with another value at a place, which is the first container's where it begins with a slash.
fn broken(template: &Value, place: &str, value: &str) -> Value {
    let place = if place.starts_with('/') { format!("/spec/containers/0{place}") } else { format!("/{place}") };
    let (parent, name) = place.rsplit_once('/').unwrap();
    let mut template = template.clone();
    template.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = serde_json::from_str(value).unwrap();
    template
}

fn rendered(test: &str) -> Option<Rendering> {
    let values = chart().join("values-aks-automatic.yaml");
    let rendered = Helm::find(test)?.template(&chart(), &["--values", values.to_str().unwrap()]).unwrap();
    Some(Rendering { case: "aks-automatic", objects: documents(&rendered) })
}

#[test]
fn every_pod_keeps_every_rule() {
    let Some(rendering) = rendered("every_pod_keeps_every_rule") else { return };
    let pods = rendering.pods();
    let mut components: Vec<&str> = pods.iter().map(|pod| pod.component).collect();
    components.sort_unstable();
    assert_eq!(components, ["cleanup", "controller", "gateway", "test"]);
    let check = |pod: &PodOf<'_>, (rule, holds, place, value): &Rule| {
        let template = json!({"metadata": pod.metadata, "spec": pod.spec});
        assert!(!holds(&broken(&template, place, value)), "{rule}: holds whatever the template says");
        (!holds(&template)).then(|| format!("{}: not so: {rule}", pod.title))
    };
    let faults: Vec<String> =
        pods.iter().flat_map(|pod| RULES.iter().filter_map(move |rule| check(pod, rule))).collect();
    no_faults(&faults);
}

#[test]
fn replicas_stand_apart_and_may_be_moved() {
    let Some(rendering) = rendered("replicas_stand_apart_and_may_be_moved") else { return };
    let deployments: Vec<&Value> = rendering.of_kind("Deployment").collect();
    assert_eq!(deployments.len(), 2);
    for deployment in deployments {
        assert!(deployment["spec"]["replicas"].as_u64() >= Some(2), "{}", title(deployment));
        assert!(!list(deployment, "/spec/template/spec/topologySpreadConstraints").is_empty(), "{}", title(deployment));
    }
    for budget in rendering.of_kind("PodDisruptionBudget") {
        assert_eq!(budget["spec"]["maxUnavailable"], 1, "{}", title(budget));
    }
}

/// Those of the chart differ anyway; a twin has the selector and the ports of the Service that it stands beside.
#[test]
fn no_service_has_the_selector_of_another_one() {
    let Some(rendering) = rendered("no_service_has_the_selector_of_another_one") else { return };
    let services: Vec<&Value> = rendering.of_kind("Service").collect();
    let is_alone = |service: &&Value| {
        services.iter().filter(|other| other["spec"]["selector"] == service["spec"]["selector"]).count() == 1
    };
    assert!(services.len() == 3 && services.iter().all(is_alone), "{services:?}");
    assert_eq!(rendering.pod("controller").unwrap().flag("registry"), ["cluster-ip"]);
}
