//! Objects have their place and their names: within the release's namespace or a governed one, under the release's own
//! name, short enough for Kubernetes, with the labels by which tools group them.

use crate::cases::{NAMESPACE, RELEASE, chart, documents, renderings, text, title};
use crate::helm::Helm;
use serde_json::Value;

/// Kinds without a namespace.
const WHOLE_CLUSTER: [&str; 3] = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];

#[test]
fn every_object_is_named_placed_and_labelled() {
    for rendering in renderings() {
        let full_name = if rendering.case == "two-namespaces" { "scoring" } else { RELEASE };
        for object in &rendering.objects {
            let place = format!("{}: {}", rendering.case, title(object));
            let label = |name: &str| object["metadata"]["labels"][format!("app.kubernetes.io/{name}")].as_str();
            assert_eq!(label("instance"), Some(RELEASE), "{place}");
            assert_eq!(label("managed-by"), Some("Helm"), "{place}");
            assert!(label("component").is_some(), "{place}");
            assert!(text(object, "/metadata/name").starts_with(full_name), "{place}");
            if WHOLE_CLUSTER.contains(&text(object, "/kind")) {
                assert!(object["metadata"].get("namespace").is_none(), "{place}");
                continue;
            }
            let governed = text(object, "/metadata/name").ends_with("-rollouts");
            assert!(governed || text(object, "/metadata/namespace") == NAMESPACE, "{place}");
        }
    }
}

#[test]
fn nothing_is_of_the_whole_cluster_but_definitions_and_the_right_to_drive_rollouts() {
    let not = ["Namespace", "PriorityClass", "ValidatingWebhookConfiguration"];
    for rendering in renderings() {
        for object in &rendering.objects {
            assert!(!not.contains(&text(object, "/kind")), "{}: {}", rendering.case, title(object));
        }
        // Two releases of one name must not share it.
        for kind in ["ClusterRole", "ClusterRoleBinding"] {
            for object in rendering.of_kind(kind) {
                assert!(text(object, "/metadata/name").ends_with(NAMESPACE), "{}: {}", rendering.case, title(object));
            }
        }
    }
}

#[test]
fn the_longest_release_name_fits() {
    let Some(helm) = Helm::find("the_longest_release_name_fits") else { return };
    let release = "r".repeat(53);
    let chart = chart();
    let rendered = helm.run(&["template", &release, chart.to_str().unwrap(), "--kube-version", "1.34.0"]).unwrap();
    let mut longest = 0;
    for object in documents(&rendered) {
        let name = text(&object, "/metadata/name");
        longest = longest.max(name.len());
        // A Service's name is a DNS label, and a Job's becomes the value of one.
        let most = if WHOLE_CLUSTER.contains(&text(&object, "/kind")) { 253 } else { 63 };
        assert!(name.len() <= most, "{name}");
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object).unwrap();
        assert!(labels.values().all(|value| value.as_str().unwrap().len() <= 63), "{name}");
    }
    assert!(longest > 40, "the name was not long");
}
