//! `turnout init` against an API server in this process, and over files: what it writes, and what it says is missing.

use crate::api::Api;
use crate::installation::{self, ROUTES};
use crate::support::{check, turnout, turnout_with_input};
use serde_json::{Value, json};

const OBJECT: &str = "/apis/networking.istio.io/v1/namespaces/ns/virtualservices/model";
const ISTIOD: &str = "/apis/apps/v1/namespaces/istio-system/deployments/istiod";

const WRITTEN: &str = "apiVersion: turnout.dev/v1alpha1
kind: ModelRollout
metadata:
  name: model
  namespace: ns
spec:
  route:
    virtualService: model
  green:    # serves the stable version; it has weight 50 now
    host: green
  blue:    # where a new version is tried; it has weight 50 now
    host: blue
";

/// The VirtualService as an object, with something that only Istio takes.
fn object() -> Value {
    let split = json!([
        {"destination": {"host": "model", "subset": "v1"}, "weight": 10},
        {"destination": {"host": "model", "subset": "v2"}, "weight": 90},
    ]);
    let retries = json!({"attempts": 2, "retryRemoteLocalities": true});
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "model", "namespace": "ns"},
        "spec": {"hosts": ["model"], "http": [{"name": "main", "retries": retries, "route": split}]},
    })
}

fn deployment(name: &str, image: &str, labels: &Value) -> Value {
    let pod = json!({"containers": [{"name": "c", "image": image}]});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "ns"},
        "spec": {"selector": {}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    })
}

fn put_deployment(api: &Api, name: &str, image: &str, labels: &Value) {
    api.put(&format!("/apis/apps/v1/namespaces/ns/deployments/{name}"), deployment(name, image, labels));
}

#[test]
fn a_document_that_gateways_have_becomes_a_rollout_and_bare_pods_get_their_command() {
    let (api, directory) = (Api::start(), tempfile::tempdir().unwrap());
    installation::put(&api);
    put_deployment(&api, "model-green", "host:5000/model:1.4", &json!({"app": "green"}));
    put_deployment(&api, "model-blue", "host:5000/model", &json!({"app": "blue", "turnout.dev/revision": "r2"}));
    put_deployment(&api, "other", "other:1", &json!({"app": "other"}));
    let ran = turnout(&["init", "model", "--kubeconfig", &api.kubeconfig(directory.path())]);
    check(&ran, 0, &[WRITTEN, "  # steps:\n  # - stage: Blue_0\n"]);
    let patch = r#"{"spec":{"template":{"metadata":{"labels":{"turnout.dev/revision":"1.4"}}}}}"#;
    let expected = format!(
        "turnout: both destinations have weight 50: green is the first, green; --green blue is the other way round\n\
         turnout: green: the pods of Deployment ns/model-green have no label turnout.dev/revision; this adds it, under a \
         name of yours, and restarts them:\n  kubectl patch deployment model-green -n ns --type merge -p '{patch}'\n"
    );
    assert_eq!(ran.stderr, expected);
}

/// Each would be called by the tag of its image, if the two were not the same then: no rollout could tell them apart.
#[test]
fn two_backends_never_get_one_name() {
    let bare = |name: &str| json!({ "app": name });
    let labelled = |revision: &str| json!({ "app": "blue", "turnout.dev/revision": revision });
    for (blue_image, blue_labels, expected) in [
        ("new:1", bare("blue"), ["r1", "r2"].as_slice()),
        ("new:2", bare("blue"), &["1", "2"]),
        ("new:2", labelled("1"), &["r1"]),
        ("new", bare("blue"), &["1", "r2"]),
    ] {
        let (api, directory) = (Api::start(), tempfile::tempdir().unwrap());
        installation::put(&api);
        put_deployment(&api, "model-green", "old:1", &bare("green"));
        put_deployment(&api, "model-blue", blue_image, &blue_labels);
        let ran = turnout(&["init", "model", "--kubeconfig", &api.kubeconfig(directory.path())]);
        let named = ran.stderr.split(r#""turnout.dev/revision":""#).skip(1).filter_map(|rest| rest.split('"').next());
        assert_eq!(named.collect::<Vec<_>>(), expected, "{blue_image} {blue_labels}: {ran:?}");
    }
}

#[test]
fn an_object_that_istio_serves_becomes_a_rollout_in_istio_mode() {
    let (api, directory) = (Api::start(), tempfile::tempdir().unwrap());
    let kubeconfig = api.kubeconfig(directory.path());
    api.put(OBJECT, object());
    api.put(
        "/apis/networking.istio.io/v1/namespaces/ns/destinationrules",
        json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [{
            "metadata": {"name": "model", "namespace": "ns"},
            "spec": {"host": "model", "subsets": [{"name": "v2", "labels": {"version": "v2"}}]},
        }]}),
    );
    let service = json!({"metadata": {"name": "model", "namespace": "ns"}, "spec": {"selector": {"app": "model"}}});
    api.put("/api/v1/namespaces/ns/services/model", service);
    put_deployment(&api, "two", "m:latest", &json!({"app": "model", "version": "v2"}));
    let init = ["init", "model", "--kubeconfig", &kubeconfig];
    let ran = turnout(&init);
    check(
        &ran,
        0,
        &[
            "    http: main\n  green:    # serves the stable version; it has weight 90 now\n    host: model\n    subset: v2\n",
        ],
    );
    assert!(!ran.stdout.contains("mode:"), "{}", ran.stdout);
    let refused = "the gateways would refuse the VirtualService: spec.http[0].retries.retryRemoteLocalities: not supported \
                   by the gateway; use";
    assert!(ran.stderr.contains(refused), "{}", ran.stderr);
    api.put(ISTIOD, json!({"metadata": {"name": "istiod", "namespace": "istio-system"}}));
    let ran = turnout(&init);
    check(&ran, 0, &["    subset: v1\n  mode: Istio\n"]);
    for said in [
        "Istio serves it, since there is a Deployment istio-system/istiod; --mode gateway",
        "kubectl patch deployment two -n ns --type merge -p '{\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"turnout.dev/revision\":\"r1\"",
        "blue: no DestinationRule for model.ns.svc.cluster.local has the subset v1 yet",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("would refuse"), "{}", ran.stderr);
    let ran = turnout(&[&init[..], &["--mode", "gateway"]].concat());
    assert!(ran.code == 0 && !ran.stdout.contains("mode:"), "{ran:?}");
}

#[test]
fn a_file_needs_no_cluster_and_what_is_not_there_is_named() {
    let ran = turnout_with_input(&["init", "model", "-f", "-"], ROUTES);
    check(&ran, 0, &[WRITTEN]);
    for backend in ["green", "blue"] {
        let said = format!("turnout: {backend}: the pods behind {backend}.ns.svc.cluster.local need the label");
        assert!(
            ran.stderr.contains(&said) && ran.stderr.contains("kubectl patch deployment DEPLOYMENT -n ns"),
            "{ran:?}"
        );
    }
    let ran = turnout_with_input(&["init", "model", "-f", "-", "-n", "other"], ROUTES);
    assert!(
        ran.code == 2 && ran.stderr.contains("there is no VirtualService model of namespace other in -"),
        "{ran:?}"
    );
    let (api, directory) = (Api::start(), tempfile::tempdir().unwrap());
    let ran = turnout(&["init", "model", "--kubeconfig", &api.kubeconfig(directory.path())]);
    assert!(ran.code == 2 && ran.stderr.contains("there is no VirtualService model in namespace ns of"), "{ran:?}");
    api.fail("GET", OBJECT, 403);
    let ran = turnout(&["init", "model", "--kubeconfig", &api.kubeconfig(directory.path())]);
    assert!(ran.code == 2 && ran.stderr.contains("cannot read the VirtualService ns/model: "), "{ran:?}");
}

#[test]
fn the_virtual_service_that_is_meant_is_found_in_whatever_kubectl_prints() {
    let of = |namespace: &str| {
        let mut object = object();
        object["metadata"]["namespace"] = json!(namespace);
        object
    };
    let mut other = of("ns");
    other["apiVersion"] = json!("gateway.solo.io/v1");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [other, of("ns"), of("second")]}).to_string();
    let documents = format!("null\n---\n[1]\n---\ntext\n---\n{}\n---\n{}\n---\n{other}", of("second"), of("ns"));
    let mut bare = of("ns");
    bare["metadata"].as_object_mut().unwrap().remove("namespace");
    let with_bare = format!("{bare}\n---\n{}", of("ns"));
    for text in [&list, &documents, &with_bare] {
        check(&turnout_with_input(&["init", "model", "-f", "-", "-n", "ns"], text), 0, &["  namespace: ns\n"]);
        let ran = turnout_with_input(&["init", "model", "-f", "-"], text);
        check(&ran, 2, &["there is VirtualService model in -, and 1 more of that name: name one by --namespace"]);
    }
    check(&turnout_with_input(&["init", "model", "-f", "-", "-n", "third"], &with_bare), 0, &["  namespace: third\n"]);
    let ran = turnout_with_input(&["init", "model", "-f", "-"], &other.to_string());
    check(&ran, 2, &["there is no VirtualService model in -"]);
}
