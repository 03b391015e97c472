//! The users' documents: that they are there, and that the routes take them.

use super::controller::Controller;
use super::report::Report;
use crate::client::cluster::Cluster;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;
use turnout_controller::documents::KINDS;
use turnout_controller::kube_api::istio_kind;
use turnout_controller::object_status::CONDITION;

pub(super) const DOCUMENTS: &str = "documents";
const AS_BEFORE: &str = "correct it; what was published before is served until then";

pub(super) async fn check(cluster: &Cluster, controller: &Controller, report: &mut Report) {
    if !controller.settings.has_gateway() {
        // Whether Istio takes its documents is for Istio to say.
        return;
    }
    match controller.documents_configmap() {
        Some(name) => check_configmap(cluster, &controller.settings.namespace, name, report).await,
        None => {
            for namespace in &controller.settings.namespaces {
                check_objects(cluster, namespace, report).await;
            }
        }
    }
}

/// All keys are one text, which is taken or refused whole.
async fn check_configmap(cluster: &Cluster, namespace: &str, name: &str, report: &mut Report) {
    let configmap = match cluster.published_in(namespace, name).await {
        Ok(Some(configmap)) => configmap,
        Ok(None) => {
            let text = format!("there is no ConfigMap {namespace}/{name}, where the documents come from");
            report.fail(DOCUMENTS, text, "make it, or name another one in documents.existingConfigMap of the chart");
            return;
        }
        Err(failure) => {
            report.warn(DOCUMENTS, failure.to_string(), "the documents were not looked at");
            return;
        }
    };
    match configmap.parse() {
        Ok(parsed) => {
            let count = parsed.documents.len();
            report.pass(DOCUMENTS, format!("the {count} documents of ConfigMap {} are accepted", configmap.title));
        }
        Err(problems) => {
            for problem in problems.as_slice() {
                report.fail(DOCUMENTS, format!("ConfigMap {}: {problem}", configmap.title), AS_BEFORE);
            }
        }
    }
}

/// Each object is taken or refused by itself, and its status says so.
async fn check_objects(cluster: &Cluster, namespace: &str, report: &mut Report) {
    let (mut accepted, mut refused) = (0, 0);
    for (kind, plural) in KINDS {
        let kind = istio_kind(kind, plural);
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &kind);
        let doing = format!("list {plural} in {namespace}");
        let objects = match api.list(&ListParams::default()).await.map_err(cluster.failure(doing)) {
            Ok(objects) => objects.items,
            Err(failure) if failure.is_unknown_kind() => {
                let text = format!("the cluster does not know {plural}.networking.istio.io");
                report.fail(DOCUMENTS, text, "install Istio's definitions, or the chart with crds.istio.install=true");
                return;
            }
            Err(failure) => {
                report.warn(DOCUMENTS, failure.to_string(), "the documents were not looked at");
                return;
            }
        };
        for object in &objects {
            match refusal(object) {
                Some(problem) => {
                    let text = format!("{} {namespace}/{}: {problem}", kind.kind, object.name_any());
                    report.fail(DOCUMENTS, text, AS_BEFORE);
                    refused += 1;
                }
                None => accepted += 1,
            }
        }
    }
    if refused == 0 {
        report.pass(DOCUMENTS, format!("none of {accepted} documents in {namespace} is refused"));
    }
}

/// What the controller says is wrong with an object.
fn refusal(object: &DynamicObject) -> Option<String> {
    let conditions = object.data.get("status")?.get("conditions")?.as_array()?;
    let is_it = |condition: &&Value| condition["type"] == CONDITION && condition["status"] == "False";
    let condition = conditions.iter().find(is_it)?;
    Some(condition["message"].as_str().unwrap_or("refused").to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_refused_when_the_controller_says_so() {
        let check = |conditions: Value, expected: Option<&str>| {
            let object = json!({"metadata": {"name": "m"}, "status": {"conditions": conditions}});
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            assert_eq!(refusal(&object).as_deref(), expected);
        };
        let ours = |status: &str| json!({"type": CONDITION, "status": status, "message": "bad"});
        check(json!([{"type": "Reconciled", "status": "False"}, ours("False")]), Some("bad"));
        check(json!([ours("True")]), None);
        check(json!([]), None);
    }
}
