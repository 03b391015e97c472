//! Whose the weights are, where an upgrade meets a cluster: a real helm looks the objects up at an API server that
//! knows just these.

use super::{ASKED, NAMESPACE, only};
use crate::cases::{chart_of, documents, text};
use crate::helm::Helm;
use serde_json::{Value, json};
use turnout_tests::scripted::{Answer, ScriptedBackend};
use turnout_tests::wire::Head;

const VIRTUAL_SERVICE: &str = "mlmodel-virtualservice";

/// A rule that sends to these Services.
fn rule(weights: &[(&str, Option<u32>)]) -> Value {
    let route = |(service, weight): &(&str, Option<u32>)| {
        let mut route = json!({"destination": {"host": format!("{service}.{NAMESPACE}.svc.cluster.local")}});
        if let Some(weight) = weight {
            route["weight"] = json!(weight);
        }
        route
    };
    json!({"route": weights.iter().map(route).collect::<Vec<_>>()})
}

/// A VirtualService with the sample's pins and this split; none of its weights is the chart's default.
fn virtual_service(split: &Value) -> Value {
    let pin = |service| rule(&[(service, None)]);
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": of_the_release(VIRTUAL_SERVICE),
        "spec": {"http": [pin("model-svc-blue"), pin("model-svc-green"), split]},
    })
}

/// The metadata of an object that helm has made.
fn of_the_release(name: &str) -> Value {
    json!({
        "name": name,
        "namespace": NAMESPACE,
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {
            "meta.helm.sh/release-name": "abtest-istio",
            "meta.helm.sh/release-namespace": NAMESPACE,
        },
    })
}

fn rollout(route: &Value, mode: Option<&str>) -> Value {
    let mut rollout = json!({"metadata": of_the_release("model"), "spec": {"route": route}});
    if let Some(mode) = mode {
        rollout["spec"]["mode"] = json!(mode);
    }
    rollout
}

/// What the API server says at a path.
fn at(path: &str, live: Option<&Value>, rollouts: Option<&[Value]>) -> Option<Value> {
    let group = |name: &str, version: &str| {
        let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    let kinds = |version: &str, kinds: &[(&str, &str)]| {
        let kind = |(name, kind): &(&str, &str)| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get", "list"]});
        let resources: Vec<Value> = kinds.iter().map(kind).collect();
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
    };
    let istio = [("gateways", "Gateway"), ("virtualservices", "VirtualService")];
    match path {
        "/version" => Some(json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0"})),
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        "/apis" => {
            let mut groups = vec![group("networking.istio.io", "v1")];
            groups.extend(rollouts.map(|_| group("turnout.dev", "v1alpha1")));
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        "/api/v1" => Some(kinds("v1", &[("configmaps", "ConfigMap")])),
        "/apis/networking.istio.io/v1" => Some(kinds("networking.istio.io/v1", &istio)),
        "/apis/turnout.dev/v1alpha1" => Some(kinds("turnout.dev/v1alpha1", &[("modelrollouts", "ModelRollout")])),
        _ => {
            let (group, object) = path.strip_prefix("/apis/")?.split_once("/namespaces/")?;
            let (namespace, object) = object.split_once('/')?;
            match group {
                "turnout.dev/v1alpha1" => rollouts_at(rollouts?, namespace, object.strip_prefix("modelrollouts")?),
                _ => (object == format!("virtualservices/{VIRTUAL_SERVICE}")).then_some(live?.clone()),
            }
        }
    }
}

/// Those of a namespace, or the one of them of this name.
fn rollouts_at(rollouts: &[Value], namespace: &str, name: &str) -> Option<Value> {
    let kind = |kind: &str| json!({"apiVersion": "turnout.dev/v1alpha1", "kind": kind});
    let mut items = rollouts.iter().filter(|own| own["metadata"]["namespace"] == namespace).map(|own| {
        let mut item = kind("ModelRollout");
        item.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        item
    });
    if let Some(name) = name.strip_prefix('/') {
        return items.find(|item| item["metadata"]["name"] == name);
    }
    let mut all = kind("ModelRolloutList");
    all["items"] = items.collect();
    Some(all)
}

fn answer(head: &Head, live: Option<&Value>, rollouts: Option<&[Value]>) -> Answer {
    let path = head.target().split('?').next().unwrap_or_default();
    let (status, body) = match at(path, live, rollouts) {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", json!({"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404})),
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
    Answer { bytes: format!("{head}\r\n\r\n{body}").into_bytes(), closes: false }
}

/// What helm would do.
struct Upgrade {
    objects: Vec<Value>,
    notes: String,
    /// Whether it asked for rollouts, which takes the right to.
    asks: bool,
}

impl Upgrade {
    /// The weights that it would write, green and blue.
    fn weights(&self) -> [u64; 2] {
        let split = only(&self.objects, "VirtualService").pointer("/spec/http/2").unwrap();
        assert!(text(split, "/route/0/destination/host").starts_with("model-svc-green."));
        [0, 1].map(|index| split["route"][index]["weight"].as_u64().unwrap())
    }
}

/// What helm would do, or why not.
async fn upgrade(values: &str, live: Option<Value>, rollouts: Option<Vec<Value>>) -> Option<Result<Upgrade, String>> {
    let helm = Helm::find("what_an_upgrade_keeps")?;
    let api = ScriptedBackend::start(move |head| answer(head, live.as_ref(), rollouts.as_deref())).await.unwrap();
    let server = format!("http://{}", api.address());
    let values = values.to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        let chart = chart_of("abtest-istio");
        let install =
            ["install", "abtest-istio", chart.to_str().unwrap(), "--namespace", NAMESPACE, "--dry-run=server"];
        let here = ["--disable-openapi-validation", "--kube-apiserver", &server, "--set", &values];
        helm.run(&[&install[..], &here].concat())
    });
    let ran = ran.await.unwrap();
    let rollouts = format!("/apis/turnout.dev/v1alpha1/namespaces/{NAMESPACE}/modelrollouts");
    let asks = !api.connections_of(&rollouts).is_empty();
    Some(ran.map(|said| {
        let (manifest, notes) = said.split_once("\nMANIFEST:\n").unwrap().1.split_once("\nNOTES:\n").unwrap();
        Upgrade { objects: documents(manifest), notes: notes.to_owned(), asks }
    }))
}

#[tokio::test]
async fn an_upgrade_keeps_the_weights_of_a_rollout_in_istio_mode_and_of_no_other() {
    let split = |green, blue| rule(&[("model-svc-green", green), ("model-svc-blue", blue)]);
    let live = || Some(virtual_service(&split(Some(995), Some(5))));
    let route = json!({"virtualService": VIRTUAL_SERVICE, "http": "split"});
    let abroad = json!({"virtualService": VIRTUAL_SERVICE, "namespace": "elsewhere"});
    let other = json!({"virtualService": "other"});
    let mut shared = rollout(&json!({"virtualService": VIRTUAL_SERVICE, "namespace": NAMESPACE}), Some("Istio"));
    shared["metadata"]["namespace"] = json!("elsewhere");
    let named = "weight.green=50,weight.blue=50,weight.rolloutNamespaces={elsewhere}";
    let in_istio_mode = |route: &Value| Some(vec![rollout(route, Some("Istio"))]);
    let values = "weight.green=50,weight.blue=50";
    let never = "weight.green=50,weight.blue=50,weight.keep=false";
    let other_split = rule(&[("model-svc-green", Some(7)), ("other", Some(3))]);
    let table = [
        ("kept", values, live(), in_istio_mode(&route), [995, 5]),
        (
            "a weight that is left out is 0",
            values,
            Some(virtual_service(&split(None, Some(1)))),
            in_istio_mode(&route),
            [0, 1],
        ),
        ("not to be kept", never, live(), in_istio_mode(&route), [50, 50]),
        ("no definition of rollouts", values, live(), None, [50, 50]),
        ("no rollout", values, live(), Some(vec![]), [50, 50]),
        ("the gateway's weights are published", values, live(), Some(vec![rollout(&route, None)]), [50, 50]),
        ("of another rule", values, live(), in_istio_mode(&other), [50, 50]),
        ("of another namespace", values, live(), in_istio_mode(&abroad), [50, 50]),
        ("from a namespace that is named", named, live(), Some(vec![shared.clone()]), [995, 5]),
        ("from one that is not", values, live(), Some(vec![shared]), [50, 50]),
        ("nothing there yet", values, None, in_istio_mode(&route), [50, 50]),
        ("another split there", values, Some(virtual_service(&other_split)), in_istio_mode(&route), [50, 50]),
    ];
    for (case, values, live, rollouts, expected) in table {
        let there = rollouts.is_some();
        let Some(upgrade) = upgrade(values, live, rollouts).await else { return };
        let upgrade = upgrade.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(upgrade.weights(), expected, "{case}");
        let Upgrade { notes, asks, .. } = upgrade;
        assert_eq!(asks, there && values != never, "{case}");
        let said = notes.contains("/model: they were kept") || notes.contains("rollout model: they were kept");
        assert_eq!(said, expected != [50, 50], "{case}: {notes}");
        assert_eq!(notes.contains("the rollout model decides"), case.starts_with("the gateway's"), "{case}: {notes}");
        let governs = said || case.starts_with("the gateway's");
        assert_eq!(notes.contains("kubectl delete modelrollout"), governs, "{case}: {notes}");
    }
}

/// What helm is not given, it forgets; and what it meets after that, it does not change (its patch is between manifests).
#[tokio::test]
async fn a_rollout_stays_in_the_release_that_made_it() {
    let mut made = rollout(&json!({"virtualService": VIRTUAL_SERVICE, "http": "mine"}), Some("Istio"));
    made["metadata"]["name"] = json!("mine");
    made["spec"]["steps"] = json!([{"stage": "Blue_0"}]);
    made["spec"]["green"] = json!({"host": "other-green"});
    let mut live = made.clone();
    live["spec"].as_object_mut().unwrap().extend(ASKED.map(|field| (field.to_owned(), json!("somebody's"))));
    let of_another = |field: &str| {
        let mut other = live.clone();
        other["metadata"]["annotations"][field] = json!("another");
        other
    };
    // Of a release that went over to another model, and of a person's own.
    let mut second = live.clone();
    second["metadata"]["name"] = json!("second");
    let mut unowned = live.clone();
    unowned["metadata"] = json!({"name": "unowned", "namespace": NAMESPACE});
    let (mine, both) = ([live.clone()].to_vec(), [live.clone(), second, unowned].to_vec());
    let table: [(&str, Vec<Value>, &[&str]); 9] = [
        ("weight.green=50", mine.clone(), &["mine"]),
        ("as=configmap", mine.clone(), &["mine"]),
        ("weight.keep=false", mine.clone(), &[]),
        ("weight.green=50", vec![of_another("meta.helm.sh/release-name")], &[]),
        ("weight.green=50", vec![of_another("meta.helm.sh/release-namespace")], &[]),
        ("weight.green=50", both.clone(), &["mine", "second"]),
        ("virtualService.name=new", both.clone(), &["mine", "second"]),
        ("virtualService.name=new,rollout.enabled=true", both.clone(), &["mine", "model", "second"]),
        ("virtualService.name=new,rollout.enabled=true,rollout.name=second", both, &["mine", "second"]),
    ];
    for (values, live, expected) in table {
        let Some(upgrade) = upgrade(values, None, Some(live)).await else { return };
        let objects = upgrade.unwrap_or_else(|error| panic!("{values}: {error}")).objects;
        let rollouts: Vec<_> = objects.iter().filter(|object| object["kind"] == "ModelRollout").collect();
        let names: Vec<_> = rollouts.iter().map(|rollout| text(rollout, "/metadata/name")).collect();
        assert_eq!(names, expected, "{values}");
        let is_named = |name: &str| values.contains("enabled") && (name == "model" || values.contains(name));
        for rollout in rollouts {
            assert_eq!(rollout["metadata"]["annotations"], json!({"helm.sh/resource-policy": "keep"}), "{values}");
            let is_as_it_was = rollout["spec"] == made["spec"];
            assert_ne!(is_as_it_was, is_named(text(rollout, "/metadata/name")), "{values}: {rollout:#}");
        }
    }
}

/// An upgrade that forgets what was said of the rollout before.
#[tokio::test]
async fn a_rollout_that_is_there_keeps_what_no_value_names() {
    let live = |mode| Some(vec![rollout(&json!({"virtualService": VIRTUAL_SERVICE, "http": "split"}), mode)]);
    let more = json!({"steps": [{"stage": "Blue_0"}], "onFailure": "Rollback", "revision": "r2", "attempt": 1});
    let other = "rollout.name: the rollout model governs the rule already; name that one, or delete it first";
    let table = [
        ("", live(Some("Istio")), Ok("Istio")),
        ("", live(None), Ok("Gateway")),
        ("", Some(vec![]), Ok("Gateway")),
        (",rollout.mode=Gateway", live(Some("Istio")), Ok("Gateway")),
        (",rollout.mode=Istio", live(None), Ok("Istio")),
        (",rollout.spec.onFailure=Hold", live(None), Ok("Gateway")),
        (",rollout.name=other", live(None), Err(other)),
        (",rollout.name=other", live(Some("Istio")), Err(other)),
        (",as=configmap", live(Some("Istio")), Err("rollout.mode: Istio reads objects")),
    ];
    for (values, mut rollouts, expected) in table {
        let spec = rollouts.iter_mut().flatten().map(|rollout| rollout["spec"].as_object_mut().unwrap());
        spec.for_each(|spec| spec.extend(more.as_object().unwrap().clone()));
        let is_there = rollouts.iter().flatten().count() > 0;
        let Some(upgrade) = upgrade(&format!("rollout.enabled=true{values}"), None, rollouts).await else { return };
        match (upgrade, expected) {
            (Ok(upgrade), Ok(mode)) => {
                let rollout = only(&upgrade.objects, "ModelRollout");
                assert_eq!(text(rollout, "/spec/mode"), mode, "{values}");
                assert_eq!(rollout["metadata"]["annotations"], json!({"helm.sh/resource-policy": "keep"}));
                let [steps, failure, revision] =
                    ["steps", "onFailure", "revision"].map(|field| &rollout["spec"][field]);
                // What people have asked for is not the chart's to say.
                let is_named = values.contains("onFailure=Hold");
                let (seen, kept) = ((steps.is_array(), failure == "Rollback"), (is_there, is_there && !is_named));
                assert_eq!((seen, failure == "Hold", revision.is_null()), (kept, is_named, true), "{values}");
            }
            (Err(refusal), Err(named)) => assert!(refusal.contains(named), "{values}: {refusal}"),
            (upgrade, expected) => panic!("{values}: {:?}, not {expected:?}", upgrade.map(|own| own.objects)),
        }
    }
}
