//! The objects that outlive what made them: definitions stay when the release goes, and the ConfigMap that the
//! controller writes is left alone by an upgrade.

use crate::cases::{chart, documents, list, rendering, renderings, text, title};
use std::fs;

#[test]
fn definitions_stay_when_the_release_goes() {
    for rendering in renderings() {
        for definition in rendering.of_kind("CustomResourceDefinition") {
            let policy = text(definition, "/metadata/annotations/helm.sh~1resource-policy");
            assert_eq!(policy, "keep", "{}: {}", rendering.case, title(definition));
            let stored = list(definition, "/spec/versions").iter().filter(|version| version["storage"] == true);
            assert_eq!(stored.count(), 1, "{}", title(definition));
        }
    }
}

#[test]
fn nothing_else_stays() {
    for rendering in renderings() {
        for object in rendering.objects.iter().filter(|object| object["kind"] != "CustomResourceDefinition") {
            let annotation = text(object, "/metadata/annotations/helm.sh~1resource-policy");
            assert_eq!(annotation, "", "{}: {}", rendering.case, title(object));
        }
    }
}

#[test]
fn the_definition_of_a_rollout_is_the_controllers_own() {
    let generated = fs::read_to_string(chart().join("files/modelrollout-crd.yaml")).unwrap();
    let rendering = rendering("default");
    let rendered = rendering.find("CustomResourceDefinition", "modelrollouts.turnout.dev").unwrap();
    assert_eq!(rendered["spec"], documents(&generated)[0]["spec"]);
    assert!(crate::cases::rendering("bare").of_kind("CustomResourceDefinition").next().is_none());
}

#[test]
fn istios_kinds_keep_every_field_and_serve_every_version() {
    let rendering = rendering("managed");
    let check = |plural: &str, kind: &str, short: &str| {
        let definition = rendering.find("CustomResourceDefinition", &format!("{plural}.networking.istio.io")).unwrap();
        assert_eq!(text(definition, "/spec/names/kind"), kind);
        assert_eq!(text(definition, "/spec/names/shortNames/0"), short);
        let versions = list(definition, "/spec/versions");
        let names: Vec<&str> = versions.iter().map(|version| text(version, "/name")).collect();
        assert_eq!(names, ["v1", "v1beta1", "v1alpha3"]);
        assert_eq!(versions[0]["storage"], true);
        for version in versions {
            assert_eq!(version["served"], true);
            assert!(version["subresources"].get("status").is_some());
            let schema = &version["schema"]["openAPIV3Schema"];
            for part in [schema, &schema["properties"]["spec"], &schema["properties"]["status"]] {
                assert_eq!(part["x-kubernetes-preserve-unknown-fields"], true, "a misspelt field must be reported");
            }
        }
    };
    check("virtualservices", "VirtualService", "vs");
    check("destinationrules", "DestinationRule", "dr");
    check("gateways", "Gateway", "gw");
    check("serviceentries", "ServiceEntry", "se");
    let others = renderings().into_iter().filter(|other| other.case != "managed");
    for other in others {
        assert!(other.find("CustomResourceDefinition", "networking.istio.io").is_none(), "{}", other.case);
    }
}

#[test]
fn the_published_routes_are_not_the_charts() {
    for rendering in renderings() {
        let Some(gateway) = rendering.pod("gateway") else {
            assert!(rendering.find("ConfigMap", "-routes").is_none(), "{}", rendering.case);
            continue;
        };
        let routes = rendering.find("ConfigMap", "-routes").unwrap();
        assert!(routes.get("data").is_none(), "{}: an upgrade would take the controller's keys", rendering.case);
        let volume = list(gateway.spec, "/volumes").iter().find(|volume| volume["name"] == "routes").unwrap();
        assert_eq!(volume["configMap"]["name"], routes["metadata"]["name"], "{}", rendering.case);
    }
}

#[test]
fn documents_come_from_one_place() {
    let check = |case: &str, flag: &str, made: bool| {
        let rendering = rendering(case);
        assert_eq!(rendering.pod("controller").unwrap().flag("documents"), [flag], "{case}");
        assert_eq!(rendering.find("ConfigMap", "-documents").is_some(), made, "{case}");
    };
    check("default", "configmap:turnout-documents", true);
    check("two-namespaces", "configmap:scoring-documents", true);
    check("bare", "configmap:my-routes", false);
    check("managed", "objects", false);
    check("istio-only", "objects", false);
}

#[test]
fn hooks_leave_nothing_behind() {
    for rendering in renderings() {
        for object in &rendering.objects {
            let annotation = |name: &str| text(object, &format!("/metadata/annotations/helm.sh~1{name}")).to_owned();
            if annotation("hook").is_empty() {
                continue;
            }
            let policy = annotation("hook-delete-policy");
            assert!(policy.contains("before-hook-creation,hook-succeeded"), "{}: {policy}", title(object));
            assert!(annotation("hook-output-log-policy").contains("hook-failed"), "{}", title(object));
        }
    }
}
