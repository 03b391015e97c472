//! The charts of the sample's users, `abtest-model` and `abtest-istio`: the sample's own command lines make what they
//! made there, and each of its faults that a chart can have is the name of a test.

mod collection;
mod keeping;
mod model;
mod routes;

use crate::cases::{chart_of, documents, text};
use crate::golden::with_notes;
use crate::helm::Helm;
use serde_json::Value;
use std::collections::BTreeSet;

/// What people ask of a ModelRollout, which is none of the chart's.
const ASKED: [&str; 6] = ["revision", "attempt", "rollbackOf", "target", "paused", "approval"];

/// The sample's namespace.
const NAMESPACE: &str = "abtesting";

/// What a command line of the sample makes: `helm upgrade --install RELEASE CHART --namespace abtesting --set VALUES`.
fn rendered(helm: &Helm, release: &str, chart: &str, values: &str) -> Result<Vec<Value>, String> {
    let text = helm.template_as(release, NAMESPACE, &chart_of(chart), &["--set", values])?;
    Ok(documents(&text))
}

/// What it tells the user then.
fn notes(helm: &Helm, namespace: &str, chart: &str, values: &str) -> String {
    let copy = tempfile::tempdir().unwrap();
    let show = ["--set", values, "--show-only", "templates/notes.yaml"];
    let rendered = helm.template_as("release", namespace, &with_notes(copy.path(), chart), &show).unwrap();
    text(&documents(&rendered)[0], "/data/notes").to_owned()
}

/// The only object of a kind.
fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}: {found:?}");
    found[0]
}

#[test]
fn the_charts_pass_lint() {
    let Some(helm) = Helm::find("the_charts_pass_lint") else { return };
    for (chart, value) in [("abtest-model", "deployment.image.name=model:7"), ("abtest-istio", "rollout.enabled=true")]
    {
        let path = chart_of(chart);
        let lint = ["lint", "--strict", "--kube-version", "1.34.0", path.to_str().unwrap(), "--set", value];
        helm.run(&lint).unwrap_or_else(|error| panic!("{chart}: {error}"));
    }
}

#[test]
fn a_bad_value_is_refused_by_its_name() {
    let Some(helm) = Helm::find("a_bad_value_is_refused_by_its_name") else { return };
    let table = [
        ("abtest-model", "deployment.replicas=1", "deployment.image.name: no image is named"),
        ("abtest-model", "deployment.bluegreen=red", "'/deployment/bluegreen'"),
        ("abtest-model", "deployment.image.digest=sha256:1", "'/deployment/image/digest'"),
        ("abtest-model", "deployment.revision=-7", "'/deployment/revision'"),
        ("abtest-model", "deployment.container.port=0", "'/deployment/container/port'"),
        ("abtest-model", "deployment.drain.preStopSleepSeconds=0", "'/deployment/drain/preStopSleepSeconds'"),
        ("abtest-model", "deployment.resources.limits.memory=lots", "'/deployment/resources/limits/memory'"),
        ("abtest-model", "deployment.image.name=https://r/model:7", "https://r/model:7 is not the name of an image"),
        ("abtest-model", "deployment.image.name=r/model:7:8", "r/model:7:8 is not the name of an image"),
        ("abtest-model", "deployment.image.name=r//model", "r//model is not the name of an image"),
        ("abtest-model", "deployment.image.name=model:", "model: is not the name of an image"),
        ("abtest-model", "deployment.image.name=r/Model:7", "r/Model:7 is not the name of an image"),
        (
            "abtest-model",
            "deployment.image.name=model@sha256:3f2a61d09be4",
            "model@sha256:3f2a61d09be4 is not the name of an image",
        ),
        // From a file, or from the release that --reuse-values reads, it would be 20191220123456788.
        (
            "abtest-model",
            "deployment.image.name=model,deployment.image.tag=20191220123456789",
            "deployment.image.tag: it has too many digits",
        ),
        (
            "abtest-model",
            "deployment.image.name=model,deployment.revision=20191220123456789",
            "deployment.revision: it has too many digits",
        ),
        ("abtest-istio", "weight.green=-1", "'/weight/green'"),
        ("abtest-istio", "weight.green=0,weight.blue=0", "weight: green and blue are both 0"),
        ("abtest-istio", "weight.blue=120", "weight.green: the other one leaves nothing of 100"),
        ("abtest-istio", "weight.green=2000000", "'/weight/green'"),
        ("abtest-istio", "weight.green=50.5", "'/weight/green'"),
        ("abtest-istio", "uri.prefix=score", "'/uri/prefix'"),
        ("abtest-istio", "uri.prefix=", "'/uri/prefix'"),
        ("abtest-istio", "ingress.port=80000", "'/ingress/port'"),
        ("abtest-istio", "rollout.spec.mode=Istio", "'mode' not allowed"),
        ("abtest-istio", "rollout.spec.revision=r2", "'revision' not allowed"),
        ("abtest-istio", "rollout.spec.onFaliure=Hold", "'onFaliure' not allowed"),
        ("abtest-istio", "rollout.spec.steps[0].requier=1", "'requier' not allowed"),
        ("abtest-istio", "as=configmap,rollout.enabled=true,rollout.mode=Istio", "rollout.mode: Istio reads objects"),
    ];
    for (chart, values, named) in table {
        let refusal = rendered(&helm, "release", chart, values).expect_err(values);
        assert!(refusal.contains(named), "{values}: {refusal}");
    }
    let definition =
        documents(&std::fs::read_to_string(chart_of("turnout").join("files/modelrollout-crd.yaml")).unwrap());
    let name = "/spec/versions/0/schema/openAPIV3Schema/properties/metadata/properties/name/maxLength";
    let most = definition[0].pointer(name).and_then(Value::as_u64).unwrap();
    let named = |length| rendered(&helm, "release", "abtest-istio", &format!("rollout.name={}", "n".repeat(length)));
    let most = usize::try_from(most).unwrap();
    assert!(named(most).is_ok() && named(most + 1).unwrap_err().contains("'/rollout/name'"), "{most}");
    let digests = format!("deployment.image.name=a@sha256:{0},deployment.image.digest=sha256:{0}", "0".repeat(64));
    let refusal = rendered(&helm, "release", "abtest-model", &digests).unwrap_err();
    assert!(refusal.contains("deployment.image.digest: a@sha256:"), "{refusal}");
}

/// What is a number, a truth or nothing to YAML is a name to Kubernetes.
#[test]
fn a_name_is_a_text_whatever_it_looks_like() {
    let Some(helm) = Helm::find("a_name_is_a_text_whatever_it_looks_like") else { return };
    let (model, routes, turnout) = (
        ("abtest-model", "deployment.image.name=model"),
        ("abtest-istio", "rollout.enabled=true"),
        ("turnout", "monitoring.dashboard.enabled=true"),
    );
    let table = [
        (model, "namespace=NAME,appname=NAME,deployment.name=NAME,deployment.container.name=NAME"),
        (model, "namespace=,deployment.image.name=NAME,deployment.image.tag=NAME,deployment.revision=NAME"),
        (model, "deployment.image.name=NAME,imagePullSecrets[0].name=NAME"),
        (routes, "namespace=NAME,ingress.name=NAME,virtualService.name=NAME,ingress.hosts={NAME}"),
        (routes, "namespace=,servedByHeader=NAME,rollout.name=NAME"),
        (routes, "as=configmap,configMap.name=NAME,configMap.namespace=NAME,virtualService.name=NAME"),
        (turnout, "fullnameOverride=NAME,namespaces={NAME},sharedRouteNamespaces={NAME}"),
    ];
    for ((chart, value), values) in table {
        let rendered = |name: &str| {
            let values = ["--set", value, "--set-string", &values.replace("NAME", name)];
            let rendered = helm.template_as(name, name, &chart_of(chart), &values);
            Value::from(documents(&rendered.unwrap_or_else(|error| panic!("{values:?}: {error}"))))
        };
        let expected = rendered("plain").to_string();
        for name in ["7", "1e3", "0x10", "no", "true", "null"] {
            let text = expected.replace("plain", name);
            assert_eq!(rendered(name), serde_json::from_str::<Value>(&text).unwrap(), "{chart}: {values}: {name}");
        }
    }
}

/// What it does not know the API server drops without a word, and helm says that all is well.
#[test]
fn a_rollouts_fields_are_those_of_its_definition() {
    let read = |file: &str| serde_yaml::from_str::<Value>(&std::fs::read_to_string(chart_of(file)).unwrap()).unwrap();
    let (definition, schema) = (read("turnout/files/modelrollout-crd.yaml"), read("abtest-istio/values.schema.json"));
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let mut defined = fields(definition.pointer(spec).unwrap());
    let of_other_values = ["route", "green", "blue", "mode"];
    let refused = ["stages", "gates"];
    for name in of_other_values.into_iter().chain(refused).chain(ASKED) {
        let before = defined.len();
        defined.retain(|field| !format!("{field}.").starts_with(&format!(".{name}.")));
        assert!(defined.len() < before, "{name} is no field");
    }
    let values = fields(schema.pointer("/properties/rollout/properties/spec").unwrap());
    assert_eq!(values, defined);
}

/// The paths of all fields of a schema.
fn fields(schema: &Value) -> BTreeSet<String> {
    let named = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let mut all = BTreeSet::new();
    for (name, within) in named {
        all.insert(format!(".{name}"));
        all.extend(fields(within).into_iter().map(|field| format!(".{name}{field}")));
    }
    all.extend(schema.get("items").map(fields).into_iter().flatten());
    all
}

#[test]
fn a_namespace_other_than_the_releases_is_said() {
    let Some(helm) = Helm::find("a_namespace_other_than_the_releases_is_said") else { return };
    for (chart, value) in [("abtest-model", "deployment.image.name=model:7"), ("abtest-istio", "weight.blue=0")] {
        let warns =
            |namespace: &str, value: &str| notes(&helm, namespace, chart, value).contains("WARNING: the release");
        assert!(!warns(NAMESPACE, value), "{chart}");
        assert!(warns("scoring", value), "{chart}");
        assert!(!warns("scoring", &format!("{value},namespace=")), "{chart}");
    }
}
