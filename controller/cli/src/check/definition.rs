//! The definition of ModelRollouts: that it is there, and that it has the fields that this turnout writes. An older one
//! would let the API server drop them.

use super::report::Report;
use crate::client::cluster::{Cluster, Failure};
use http::Request;
use serde_json::Value;
use std::collections::BTreeSet;
use turnout_controller::crd::custom_resource_definition;
use turnout_controller::names::{GROUP, PLURAL, VERSION};

const DEFINITION: &str = "definition";
/// Most fields that are named.
const NAMED: usize = 5;

pub(super) async fn check(cluster: &Cluster, report: &mut Report) {
    let name = format!("{PLURAL}.{GROUP}");
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    match cluster.read_json(&path, &format!("read the CustomResourceDefinition {name}")).await {
        Ok(definition) => compare(&name, &definition, report),
        Err(failure) if failure.is_missing() => fail_as_missing(&name, report),
        Err(failure) if failure.is_forbidden() => check_served(cluster, &name, report).await,
        Err(failure) => report.fail(DEFINITION, failure.to_string(), "try again"),
    }
}

fn fail_as_missing(name: &str, report: &mut Report) {
    let text = format!("there is no CustomResourceDefinition {name}");
    report.fail(DEFINITION, text, "install the chart, whose value crds.modelRollout.install is true by default");
}

/// What everybody may ask: whether the API server serves the kind.
async fn check_served(cluster: &Cluster, name: &str, report: &mut Report) {
    match cluster.read_json(&format!("/apis/{GROUP}/{VERSION}"), "ask for the served kinds").await {
        Ok(_) => {
            let text = format!("{name} is there; you have no right to read it, so its fields were not compared");
            report.warn(DEFINITION, text, "ask somebody who may `get` customresourcedefinitions to run this");
        }
        Err(failure) if failure.code() == Some(404) => fail_as_missing(name, report),
        Err(failure) => report.fail(DEFINITION, failure.to_string(), "try again"),
    }
}

/// AKS's application routing is an Istio of its own, which does not start beside Istio's definitions.
pub(super) async fn check_application_routing(cluster: &Cluster, report: &mut Report) {
    const CLASS: &str = "approuting-istio";
    const ISTIOS: &str = "virtualservices.networking.istio.io";
    let class = format!("/apis/gateway.networking.k8s.io/v1/gatewayclasses/{CLASS}");
    let definition = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{ISTIOS}");
    // Who may not read either learns nothing of it, as on most clusters there is nothing to learn.
    let is_there = async |path: &str| cluster.read_json(path, "look for AKS's application routing").await.is_ok();
    if is_there(&class).await && is_there(&definition).await {
        let text = format!(
            "the GatewayClass {CLASS} is beside {ISTIOS}: AKS's application routing does not start beside Istio's definitions"
        );
        let hint = "take documents.source=configmap and crds.istio.install=false, and remove these definitions; or turn \
                    application routing by the Gateway API off";
        report.fail(DEFINITION, text, hint);
    }
}

fn compare(name: &str, definition: &Value, report: &mut Report) {
    let is_established = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
    if !array(&definition["status"]["conditions"]).iter().any(is_established) {
        let text = format!("{name} is there, and the API server does not serve it yet");
        report.fail(DEFINITION, text, "kubectl describe crd modelrollouts.turnout.dev says why");
        return;
    }
    let of_version = |versions: &Value| array(versions).iter().find(|version| version["name"] == VERSION).cloned();
    let Some(theirs) = of_version(&definition["spec"]["versions"]).filter(|version| version["served"] == true) else {
        let text = format!("{name} does not serve the version {VERSION}, which this turnout speaks");
        report.fail(DEFINITION, text, "use a turnout of the release's version");
        return;
    };
    let ours = of_version(&custom_resource_definition()["spec"]["versions"]).unwrap_or_default();
    let fields = |version: &Value| fields(&version["schema"]["openAPIV3Schema"]);
    let (ours, theirs) = (fields(&ours), fields(&theirs));
    let (missing, unknown) = (named(ours.difference(&theirs)), named(theirs.difference(&ours)));
    if !missing.is_empty() {
        let text = format!("{name} is older than this turnout: it lacks {missing}");
        report.fail(
            DEFINITION,
            text,
            "upgrade the release that owns the definition (`helm upgrade` brings the new one)",
        );
    } else if !unknown.is_empty() {
        let text = format!("{name} is newer than this turnout, which does not know {unknown}");
        report.warn(DEFINITION, text, "use a turnout of the release's version");
    } else {
        report.pass(DEFINITION, format!("{name} is there with {VERSION}, and has the fields that this turnout knows"));
    }
}

/// The paths of all fields of a schema, as `spec.steps[].stage`.
fn fields(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(schema, "", &mut found);
    found
}

fn collect(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    if schema["items"].is_object() {
        collect(&schema["items"], &format!("{path}[]"), found);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(field, &path, found);
        found.insert(path);
    }
}

/// The first few, in a sentence.
fn named<'a>(fields: impl Iterator<Item = &'a String>) -> String {
    let fields: Vec<&str> = fields.map(String::as_str).collect();
    let first = fields.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match fields.len().checked_sub(NAMED) {
        Some(more) if more > 0 => format!("{first} and {more} more"),
        _ => first,
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

impl Cluster {
    /// GET of any path, as JSON.
    pub(super) async fn read_json(&self, path: &str, doing: &str) -> Result<Value, Failure> {
        let failure = self.failure(doing);
        match Request::get(path).body(Vec::new()) {
            Ok(request) => self.client.request(request).await.map_err(failure),
            Err(error) => Err(failure(kube::Error::HttpError(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn served() -> Value {
        let mut definition = custom_resource_definition();
        definition["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
        definition
    }

    fn spec_of(definition: &mut Value) -> &mut Value {
        &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    }

    #[test]
    fn a_definition_is_compared_by_its_fields() {
        let check = |change: &dyn Fn(&mut Value), well: bool, expected: &str| {
            let mut definition = served();
            change(&mut definition);
            let mut report = Report::default();
            compare("modelrollouts.turnout.dev", &definition, &mut report);
            let text = report.to_json()["findings"][0]["text"].to_string();
            assert!(text.contains(expected) && report.is_well() == well, "{expected}: {text}");
        };
        check(&|_| {}, true, "has the fields that this turnout knows");
        let older = |definition: &mut Value| {
            let removed = spec_of(definition).as_object_mut().and_then(|spec| spec.remove("route"));
            assert!(removed.is_some());
        };
        check(&older, false, "is older than this turnout: it lacks spec.route, spec.route.http");
        check(&|definition| spec_of(definition)["later"] = json!({}), true, "does not know spec.later");
        check(&|definition| definition["status"] = json!({}), false, "does not serve it yet");
        check(
            &|definition| definition["spec"]["versions"][0]["name"] = json!("v2"),
            false,
            "does not serve the version",
        );
    }

    #[test]
    fn only_the_first_few_fields_are_named() {
        let names: Vec<String> = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec();
        assert_eq!(named(names.iter()), "a, b, c, d, e and 1 more");
        assert_eq!(named(names[..2].iter()), "a, b");
        assert_eq!(named(names[..0].iter()), "");
    }
}
