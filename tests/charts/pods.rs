//! What every pod keeps to: what Pod Security calls restricted, no right that it does not need, probes that mean
//! different things, and an end that cuts no request.

use crate::cases::{PodOf, chart, documents, list, no_faults, renderings, text, title};
use crate::helm::Helm;
use serde_json::{Value, json};

/// Checks every pod of every rendering.
fn check(rule: impl Fn(&PodOf<'_>) -> Result<(), String>) {
    let mut faults = Vec::new();
    let mut pods = 0;
    for rendering in renderings() {
        for pod in rendering.pods() {
            pods += 1;
            faults.extend(rule(&pod).err().map(|fault| format!("{}: {}: {fault}", rendering.case, pod.title)));
        }
    }
    assert!(pods > 0, "no pod was found");
    no_faults(&faults);
}

fn ensure(holds: bool, fault: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault.into()) }
}

#[test]
fn every_pod_is_restricted() {
    check(|pod| {
        let security = &pod.spec["securityContext"];
        ensure(security["runAsNonRoot"] == true && security["runAsUser"] == 65532, "runs as root")?;
        ensure(security["seccompProfile"] == json!({"type": "RuntimeDefault"}), "has no seccomp profile")?;
        for field in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
            ensure(pod.spec.get(field).is_none(), format!("has {field}"))?;
        }
        let harmless = |volume: &Value| volume.get("configMap").is_some() || volume.get("secret").is_some();
        ensure(list(pod.spec, "/volumes").iter().all(harmless), "mounts more than ConfigMaps and Secrets")?;
        for container in pod.containers() {
            let expected = json!({
                "runAsNonRoot": true,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            });
            ensure(container["securityContext"] == expected, "its container is not restricted")?;
            ensure(container["resources"]["limits"]["memory"].is_string(), "has no memory limit")?;
        }
        Ok(())
    });
}

#[test]
fn only_the_controller_has_a_token() {
    check(|pod| {
        let of_controller = ["controller", "cleanup"].contains(&pod.component);
        ensure(pod.spec["automountServiceAccountToken"] == of_controller, "mounts a token, or lacks its own")
    });
    for rendering in renderings() {
        for account in rendering.of_kind("ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false, "{}", rendering.case);
        }
    }
}

#[test]
fn kubernetes_adds_no_variables_of_its_own() {
    check(|pod| {
        ensure(pod.spec["enableServiceLinks"] == false, "gets TURNOUT_... variables for the release's Services")
    });
}

#[test]
fn every_pod_goes_to_linux() {
    check(|pod| ensure(pod.spec["nodeSelector"]["kubernetes.io/os"] == "linux", "may go to a Windows node"));
    let rendering = crate::cases::rendering("aks");
    let selector = &rendering.pod("gateway").unwrap().spec["nodeSelector"];
    assert_eq!(*selector, json!({"agentpool": "ingress", "kubernetes.io/os": "linux"}), "beside the user's own");
    let Some(helm) = Helm::find("every_pod_goes_to_linux") else { return };
    let own = "controller.nodeSelector.kubernetes\\.io/os=own";
    let rendered = helm.template(&chart(), &["--set", own, "--show-only", "templates/controller/deployment.yaml"]);
    let selector = documents(&rendered.unwrap())[0].pointer("/spec/template/spec/nodeSelector").unwrap().clone();
    assert_eq!(selector, json!({"kubernetes.io/os": "own"}), "the user's own wins");
}

#[test]
fn directories_are_mounted_whole_and_followed() {
    check(|pod| {
        for mount in pod.containers().iter().flat_map(|container| list(container, "/volumeMounts")) {
            let whole = mount.get("subPath").is_none() && mount.get("subPathExpr").is_none();
            ensure(whole, "mounts by subPath, which never changes")?;
            ensure(mount["readOnly"] == true, "may write to a mount")?;
        }
        let annotations = pod.metadata["annotations"].as_object();
        let checksum = annotations.into_iter().flatten().any(|(key, _)| key.contains("checksum"));
        ensure(!checksum, "restarts when a file changes that it follows")
    });
}

#[test]
fn readiness_restarts_nothing() {
    check(|pod| {
        for container in pod.containers() {
            let path = |probe: &str| text(container, &format!("/{probe}/httpGet/path")).to_owned();
            if ["cleanup", "test"].contains(&pod.component) {
                continue;
            }
            ensure(path("livenessProbe") == "/livez" && path("startupProbe") == "/livez", "does not ask for /livez")?;
            ensure(path("readinessProbe") == "/readyz", "does not ask for /readyz")?;
            let ports: Vec<&str> = list(container, "/ports").iter().map(|port| text(port, "/name")).collect();
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                let port = text(container, &format!("/{probe}/httpGet/port")).to_owned();
                ensure(ports.contains(&port.as_str()), format!("{probe} asks a port that it does not have"))?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_gateway_ends_only_after_its_requests() {
    let mut gateways = 0;
    for rendering in renderings() {
        let Some(gateway) = rendering.pod("gateway") else { continue };
        gateways += 1;
        let milliseconds = |flag: &str| gateway.flag(flag)[0].parse::<u64>().unwrap();
        let slept = gateway.containers()[0].pointer("/lifecycle/preStop/sleep/seconds").and_then(Value::as_u64);
        let needed = slept.unwrap_or(0) * 1000 + milliseconds("shutdown-delay-ms") + milliseconds("drain-timeout-ms");
        let granted = gateway.spec["terminationGracePeriodSeconds"].as_u64().unwrap() * 1000;
        assert!(needed < granted, "{}: {needed} ms are needed, {granted} ms granted", rendering.case);
    }
    assert!(gateways > 1, "no gateway was found");
}

#[test]
fn no_pod_goes_before_its_successor_is_ready() {
    for rendering in renderings() {
        for deployment in rendering.of_kind("Deployment") {
            let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
            assert_eq!(deployment["spec"]["strategy"], strategy, "{}", rendering.case);
        }
    }
}

#[test]
fn replicas_are_spread_unless_that_is_disabled() {
    for rendering in renderings() {
        for deployment in rendering.of_kind("Deployment") {
            let constraints = list(deployment, "/spec/template/spec/topologySpreadConstraints");
            let expected = if rendering.case == "bare" { 0 } else { 2 };
            assert_eq!(constraints.len(), expected, "{}: {}", rendering.case, title(deployment));
            for constraint in constraints {
                let own = &deployment["spec"]["selector"]["matchLabels"];
                assert_eq!(constraint["labelSelector"]["matchLabels"], *own, "{}", rendering.case);
            }
        }
    }
}

#[test]
fn replicas_are_left_to_the_autoscaler() {
    for rendering in renderings() {
        let Some(gateway) = rendering.find("Deployment", "-gateway") else { continue };
        let scaled = rendering.of_kind("HorizontalPodAutoscaler").count() == 1;
        assert_eq!(gateway["spec"].get("replicas").is_none(), scaled, "{}", rendering.case);
    }
    assert_eq!(crate::cases::rendering("aks").of_kind("HorizontalPodAutoscaler").count(), 1);
}

#[test]
fn images_are_taken_by_digest_where_one_is_given() {
    let rendering = crate::cases::rendering("aks");
    let image = |component| rendering.pod(component).unwrap().containers()[0]["image"].as_str().unwrap().to_owned();
    assert!(image("gateway").starts_with("models.azurecr.io/turnout-proxy@sha256:"));
    assert_eq!(image("controller"), image("cleanup"));
    assert_eq!(image("test"), "models.azurecr.io/turnout:0.1.0");
}
