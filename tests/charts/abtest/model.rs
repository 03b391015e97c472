//! The chart `abtest-model`: one version, as a Deployment and a Service.

use super::{NAMESPACE, notes, only, rendered};
use crate::cases::{list, root, text};
use crate::helm::Helm;
use serde_json::{Value, json};
use std::process::Command;

const CHART: &str = "abtest-model";
const IMAGE: &str = "mlopspyciamlcr.azurecr.io/package:20191220123456";

/// The release of the green model with further values.
fn green(helm: &Helm, values: &str) -> Vec<Value> {
    rendered(helm, "model-green", CHART, &format!("deployment.image.name={IMAGE},{values}")).unwrap()
}

fn container(objects: &[Value]) -> &Value {
    let containers = list(only(objects, "Deployment"), "/spec/template/spec/containers");
    assert_eq!(containers.len(), 1);
    &containers[0]
}

fn pod_label<'a>(objects: &'a [Value], label: &str) -> &'a Value {
    &only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"][label]
}

/// The selector is the sample's to the letter: it cannot change, and so its releases can be taken over.
#[test]
fn the_lines_of_the_sample_make_its_deployments_and_services() {
    let Some(helm) = Helm::find("the_lines_of_the_sample_make_its_deployments_and_services") else { return };
    let image = format!("deployment.image.name={IMAGE}");
    let blue = "deployment.name=model-blue,deployment.bluegreen=blue";
    let green = "deployment.name=model-green,deployment.bluegreen=green";
    let older = "deployment.image.tag=1,deployment.image.name=acr.azurecr.io/scoring-7";
    let table = [
        ("blue", format!("{blue},{image}"), IMAGE),
        ("green", format!("{green},{image}"), IMAGE),
        ("blue", format!("{blue},{older}"), "acr.azurecr.io/scoring-7:1"),
        ("green", format!("{green},initialDeployment=true,{older}"), "acr.azurecr.io/scoring-7:1"),
    ];
    for (colour, values, image) in table {
        let release = format!("model-{colour}");
        let objects = rendered(&helm, &release, CHART, &values).unwrap_or_else(|error| panic!("{values}: {error}"));
        assert_eq!(objects.len(), 2, "{values}");
        let selector = json!({"app": "model", "model_version": colour});
        let deployment = only(&objects, "Deployment");
        assert_eq!(deployment["metadata"]["name"], release, "{values}");
        assert_eq!(deployment["spec"]["selector"], json!({"matchLabels": selector}), "{values}");
        assert_eq!(deployment["spec"]["replicas"], 1, "{values}");
        assert_eq!(container(&objects)["image"], image, "{values}");
        assert_eq!(container(&objects)["name"], "model", "{values}");
        let service = only(&objects, "Service");
        assert_eq!(service["metadata"]["name"], format!("model-svc-{colour}"), "{values}");
        assert_eq!(service["spec"]["selector"], selector, "{values}");
        assert_eq!(service["spec"]["ports"], json!([{"name": "http", "port": 5001, "targetPort": "http"}]), "{values}");
        assert_eq!(container(&objects)["ports"], json!([{"name": "http", "containerPort": 5001}]), "{values}");
        assert!(objects.iter().all(|object| object["metadata"]["namespace"] == NAMESPACE), "{values}");
    }
}

#[test]
fn every_name_and_port_can_be_another() {
    let Some(helm) = Helm::find("every_name_and_port_can_be_another") else { return };
    let values = "namespace=,appname=risk,svc.name=risk-svc,svc.port=80,deployment.container.name=server,\
                  deployment.container.port=8000";
    let objects = green(&helm, values);
    let service = only(&objects, "Service");
    assert_eq!(text(service, "/metadata/name"), "risk-svc-green");
    assert_eq!(service["spec"]["selector"]["app"], "risk");
    assert_eq!(service["spec"]["ports"][0]["port"], 80);
    assert_eq!(container(&objects)["name"], "server");
    assert_eq!(container(&objects)["ports"][0]["containerPort"], 8000);
    assert_eq!(*pod_label(&objects, "app"), "risk");
    assert!(objects.iter().all(|object| object["metadata"]["namespace"] == NAMESPACE), "the release's own");
}

/// Its Service would send requests to the other one's pods.
#[test]
fn a_second_model_has_pods_of_its_own() {
    let Some(helm) = Helm::find("a_second_model_has_pods_of_its_own") else { return };
    let table = [
        ("", "model"),
        ("svc.name=risk-svc", "risk"),
        ("svc.name=risk", "risk"),
        ("svc.name=risk-svc,appname=model", "model"),
        ("appname=risk", "risk"),
    ];
    for (values, app) in table {
        let objects = green(&helm, values);
        assert_eq!(*pod_label(&objects, "app"), app, "{values}");
        assert_eq!(only(&objects, "Service")["spec"]["selector"]["app"], app, "{values}");
        assert_eq!(only(&objects, "Deployment")["spec"]["selector"]["matchLabels"]["app"], app, "{values}");
    }
}

/// Of two entries of a name it depends on the way of an upgrade which one holds.
#[test]
fn a_variable_is_set_once() {
    let Some(helm) = Helm::find("a_variable_is_set_once") else { return };
    let more = "deployment.env[0].name=HOME,deployment.env[0].value=/home,deployment.env[1].name=A";
    for (values, expected) in [
        ("", json!([{"name": "TMPDIR", "value": "/tmp"}, {"name": "HOME", "value": "/tmp"}])),
        (more, json!([{"name": "TMPDIR", "value": "/tmp"}, {"name": "HOME", "value": "/home"}, {"name": "A"}])),
    ] {
        assert_eq!(container(&green(&helm, values))["env"], expected, "{values}");
    }
}

/// In the sample traffic went to a model that was still loading.
#[test]
fn no_request_goes_to_a_model_that_is_still_loading() {
    let Some(helm) = Helm::find("no_request_goes_to_a_model_that_is_still_loading") else { return };
    let objects = green(&helm, "deployment.startupSeconds=601");
    let probe = |name: &str| &container(&objects)[name];
    for name in ["startupProbe", "readinessProbe"] {
        assert_eq!(probe(name)["httpGet"], json!({"path": "/", "port": "http"}), "{name}");
    }
    let [period, failures] = ["periodSeconds", "failureThreshold"].map(|field| probe("startupProbe")[field].as_u64());
    assert_eq!(period.unwrap() * failures.unwrap(), 605, "no less than was asked for");
    let strategy = &only(&objects, "Deployment")["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(*strategy, json!({"maxUnavailable": 0, "maxSurge": 1}), "the former pods serve until then");
}

/// Its workers answer one request at a time, and the probe waits behind them.
#[test]
fn a_busy_model_is_not_restarted() {
    let Some(helm) = Helm::find("a_busy_model_is_not_restarted") else { return };
    let objects = green(&helm, "deployment.probeTimeoutSeconds=20");
    assert_eq!(container(&objects)["livenessProbe"]["tcpSocket"], json!({"port": "http"}));
    assert_eq!(container(&objects)["readinessProbe"]["timeoutSeconds"], 20);
}

#[test]
fn a_model_that_goes_serves_until_gateways_know() {
    let Some(helm) = Helm::find("a_model_that_goes_serves_until_gateways_know") else { return };
    let objects = green(&helm, "deployment.drain.timeoutSeconds=120");
    let sleep = container(&objects)["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    assert!(sleep > 30, "DNS answers are as old as that");
    let grace = &only(&objects, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    assert!(grace.as_u64().unwrap() > sleep + 120, "{grace}");
}

/// The sample's pods had `model_version` alone.
#[test]
fn kiali_tells_blue_from_green() {
    let Some(helm) = Helm::find("kiali_tells_blue_from_green") else { return };
    for colour in ["green", "blue"] {
        let objects = green(&helm, &format!("deployment.bluegreen={colour}"));
        for (label, expected) in [("app", "model"), ("version", colour), ("model_version", colour)] {
            assert_eq!(*pod_label(&objects, label), expected);
        }
    }
}

#[test]
fn the_revision_tells_images_apart() {
    let Some(helm) = Helm::find("the_revision_tells_images_apart") else { return };
    let digest = format!("sha256:3f2a61d09be4{}", "0".repeat(52));
    let long = format!("registry:5000/a/{}:1", "n".repeat(70));
    let table = [
        (format!("deployment.image.name={IMAGE}"), "package-20191220123456"),
        ("deployment.image.name=registry:5000/team/model".to_owned(), "model"),
        ("deployment.image.name=model:1.2_3-".to_owned(), "model-1.2_3"),
        ("deployment.image.name=model,deployment.image.tag=20191220123456".to_owned(), "model-20191220123456"),
        ("deployment.image.name=model:2,deployment.image.tag=1".to_owned(), "model-2"),
        (format!("deployment.image.name=a/model@{digest}"), "model-3f2a61d09be4"),
        (format!("deployment.image.name=a/model:7@{digest}"), "model-3f2a61d09be4"),
        (format!("deployment.image.name=a/model,deployment.image.digest={digest}"), "model-3f2a61d09be4"),
        ("deployment.image.name=model:7,deployment.revision=r2".to_owned(), "r2"),
        ("deployment.image.name=model:7,deployment.revision=20261129001".to_owned(), "20261129001"),
    ];
    for (values, expected) in table {
        let objects = rendered(&helm, "model-green", CHART, &values).unwrap();
        assert_eq!(*pod_label(&objects, "turnout.dev/revision"), expected, "{values}");
    }
    let long = rendered(&helm, "model-green", CHART, &format!("deployment.image.name={long}")).unwrap();
    let label = pod_label(&long, "turnout.dev/revision").as_str().unwrap();
    assert!(label.len() == 63 && label.starts_with("nnn"), "{label}");
}

/// The pipeline names the revision before there is a model.
#[test]
fn the_pipeline_calls_a_revision_as_the_chart_does() {
    let Some(helm) = Helm::find("the_pipeline_calls_a_revision_as_the_chart_does") else { return };
    let digest = format!("@sha256:3f2a61d09be4{}", "0".repeat(52));
    let long = [49, 50, 51, 70].map(|length| format!("registry:5000/a/{}", "n".repeat(length)));
    let others = ["a/model:7", "model", "a/my_model.v2", "registry.example.com/team/my__model"].map(str::to_owned);
    for image in others.into_iter().chain(long).map(|name| name + &digest) {
        let objects = rendered(&helm, "model-green", CHART, &format!("deployment.image.name={image}")).unwrap();
        let script = ". .pipelines/common.sh; need_image; say \"$REVISION\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, ".pipelines/by_hand"]).env("IMAGE", &image).env_remove("REVISION");
        let said = shell.current_dir(root()).output().unwrap();
        let revision = String::from_utf8(said.stdout).unwrap();
        assert_eq!(*pod_label(&objects, "turnout.dev/revision"), revision.trim_end(), "{image}");
    }
}

#[test]
fn an_image_by_its_digest_is_pulled_once() {
    let Some(helm) = Helm::find("an_image_by_its_digest_is_pulled_once") else { return };
    let digest = format!("deployment.image.digest=sha256:{}", "0".repeat(64));
    for (values, policy) in [("", "Always"), (&digest, "IfNotPresent"), ("deployment.image.pullPolicy=Never", "Never")]
    {
        assert_eq!(container(&green(&helm, values))["imagePullPolicy"], policy, "{values}");
    }
}

#[test]
fn a_model_is_restricted_unless_its_image_cannot_be() {
    let Some(helm) = Helm::find("a_model_is_restricted_unless_its_image_cannot_be") else { return };
    let spec = |objects: &[Value]| only(objects, "Deployment")["spec"]["template"]["spec"].clone();
    let objects = green(&helm, "");
    let expected = json!({
        "runAsNonRoot": true,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    });
    assert_eq!(container(&objects)["securityContext"], expected);
    let pod = spec(&objects);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["volumes"], json!([{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}]));
    assert_eq!(container(&objects)["volumeMounts"], json!([{"name": "tmp", "mountPath": "/tmp"}]));
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
    assert!(container(&objects)["resources"]["limits"]["memory"].is_string());

    let own_user = spec(&green(&helm, "deployment.runAsUser=0"));
    assert_eq!(own_user["securityContext"].get("runAsUser"), None);
    assert_eq!(own_user["securityContext"]["runAsNonRoot"], true);
    let objects = green(&helm, "deployment.restricted=false");
    assert_eq!(spec(&objects).get("securityContext"), None);
    assert_eq!(container(&objects).get("securityContext"), None);
}

#[test]
fn the_notes_name_the_revision_and_warn_of_an_image_that_may_change() {
    let Some(helm) = Helm::find("the_notes_name_the_revision_and_warn_of_an_image_that_may_change") else { return };
    let told = |values: &str| notes(&helm, NAMESPACE, CHART, values);
    let blue = told("deployment.bluegreen=blue,deployment.image.name=model:7");
    assert!(blue.contains("turnout rollout start -n abtesting NAME --revision model-7"), "{blue}");
    assert!(!blue.contains("WARNING"), "{blue}");
    let digest = format!("a/model@sha256:{}", "0".repeat(64));
    for (image, warns) in [("model", true), ("r:5000/model", true), ("model:latest", true), (&digest, false)] {
        let values = format!("deployment.image.name={image}");
        assert_eq!(told(&values).contains("may be another image tomorrow"), warns, "{image}");
        assert!(!told(&format!("{values},deployment.revision=7")).contains("tomorrow"), "{image}");
    }
}
