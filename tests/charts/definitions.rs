//! The objects that outlive what made them: definitions stay when the release goes, and the ConfigMap that the
//! controller writes is left alone by an upgrade.

use crate::cases::{CASES, chart, documents, list, rendering, renderings, text, title};
use crate::helm::Helm;
use serde_json::{Value, json};
use std::fs;

/// A kind of Istio: group, kind, plural, short name, versions (the first is stored), columns, whether anything reads it.
type Kind = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str], &'static str, bool);

const THREE: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const TWO: &[&str] = &["v1", "v1beta1"];
const ISTIO: [Kind; 14] = [
    ("networking", "VirtualService", "virtualservices", "vs", THREE, "Gateways Hosts", true),
    ("networking", "DestinationRule", "destinationrules", "dr", THREE, "Host", true),
    ("networking", "Gateway", "gateways", "gw", THREE, "", true),
    ("networking", "ServiceEntry", "serviceentries", "se", THREE, "Hosts Location Resolution", true),
    ("networking", "WorkloadEntry", "workloadentries", "we", THREE, "", false),
    ("networking", "WorkloadGroup", "workloadgroups", "wg", THREE, "", false),
    ("networking", "Sidecar", "sidecars", "", THREE, "", false),
    ("networking", "EnvoyFilter", "envoyfilters", "", &["v1alpha3"], "", false),
    ("networking", "ProxyConfig", "proxyconfigs", "", &["v1beta1"], "", false),
    ("security", "PeerAuthentication", "peerauthentications", "pa", TWO, "", false),
    ("security", "RequestAuthentication", "requestauthentications", "ra", TWO, "", false),
    ("security", "AuthorizationPolicy", "authorizationpolicies", "ap", TWO, "", false),
    ("telemetry", "Telemetry", "telemetries", "telemetry", &["v1alpha1", "v1"], "", false),
    ("extensions", "WasmPlugin", "wasmplugins", "", &["v1alpha1"], "", false),
];

/// Every definition in whole: that of a rollout is what the controller's types come to.
#[test]
fn definitions_are_the_controllers_own_and_istios() {
    let Some(helm) = Helm::find("definitions_are_the_controllers_own_and_istios") else { return };
    let generated = fs::read_to_string(chart().join("files/modelrollout-crd.yaml")).unwrap();
    for case in &CASES {
        let objects = documents(&helm.render(&chart(), case, &[]).unwrap());
        let (definitions, others): (Vec<Value>, Vec<Value>) =
            objects.into_iter().partition(|object| object["kind"] == "CustomResourceDefinition");
        let mut labels = others[0]["metadata"]["labels"].clone();
        labels["app.kubernetes.io/component"] = json!("crds");
        let definition = |name: &str, spec: &Value| {
            let annotations = json!({"helm.sh/resource-policy": "keep"});
            let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
            let kind = "CustomResourceDefinition";
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec})
        };
        let rollout = definition("modelrollouts.turnout.dev", &documents(&generated)[0]["spec"]);
        let istio = ISTIO.iter().map(|kind| definition(&format!("{}.{}.istio.io", kind.2, kind.0), &spec(kind)));
        let istio = istio.filter(|_| case.name == "managed");
        let mut expected: Vec<Value> = istio.chain((case.name != "bare").then_some(rollout)).collect();
        expected.sort_by_key(title);
        let mut found = definitions;
        found.sort_by_key(title);
        let titles = |objects: &[Value]| objects.iter().map(title).collect::<Vec<_>>();
        assert_eq!(titles(&found), titles(&expected), "{}", case.name);
        found.iter().zip(&expected).for_each(|(found, expected)| assert_eq!(found, expected, "{}", case.name));
    }
}

/// A misspelt field is to be reported, so every field is kept.
fn spec((group, kind, plural, short, versions, columns, is_read): &Kind) -> Value {
    let keeps_all = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut schema = keeps_all.clone();
    schema["properties"] = json!({"spec": keeps_all, "status": keeps_all});
    if !is_read {
        schema["description"] =
            json!("Turnout does not read it. It is there because Kiali lists all of Istio's kinds or shows nothing.");
    }
    let column =
        |name: &str| json!({"name": name, "type": "string", "jsonPath": format!(".spec.{}", name.to_lowercase())});
    let mut columns: Vec<Value> = columns.split_whitespace().map(column).collect();
    columns.push(json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}));
    let version = |name: &&str| {
        json!({
            "name": name,
            "served": true,
            "storage": *name == versions[0],
            "subresources": {"status": {}},
            "additionalPrinterColumns": columns,
            "schema": {"openAPIV3Schema": schema},
        })
    };
    let mut names = json!({
        "kind": kind,
        "listKind": format!("{kind}List"),
        "plural": plural,
        "singular": kind.to_lowercase(),
        "categories": ["istio-io", format!("{group}-istio-io")],
    });
    if !short.is_empty() {
        names["shortNames"] = json!([short]);
    }
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"group": format!("{group}.istio.io"), "scope": "Namespaced", "names": names, "versions": versions})
}

#[test]
fn nothing_else_stays() {
    for rendering in renderings() {
        for object in &rendering.objects {
            let annotation = text(object, "/metadata/annotations/helm.sh~1resource-policy");
            assert_eq!(annotation, "", "{}: {}", rendering.case, title(object));
        }
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

/// But the pod of the test, which stays for its logs until the next one.
#[test]
fn hooks_leave_nothing_behind() {
    for rendering in renderings() {
        for object in &rendering.objects {
            let annotation = |name: &str| text(object, &format!("/metadata/annotations/helm.sh~1{name}")).to_owned();
            if annotation("hook").is_empty() {
                continue;
            }
            let is_test = annotation("hook") == "test";
            let policy = if is_test { "before-hook-creation" } else { "before-hook-creation,hook-succeeded" };
            assert_eq!(annotation("hook-delete-policy"), policy, "{}", title(object));
            assert!(annotation("hook-output-log-policy").contains("hook-failed"), "{}", title(object));
        }
    }
}
