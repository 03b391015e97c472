//! Reading and writing what is in a cluster, as JSON.

use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Cluster;
use crate::process::output_of_input;

impl Cluster {
    /// Applies documents in YAML or JSON to a namespace; one that names another namespace is refused.
    pub fn apply(&self, namespace: &str, documents: &str) -> Result<()> {
        self.apply_with(&["--namespace", namespace], documents)
    }

    /// Applies documents in YAML or JSON, each to the namespace that it names.
    pub fn apply_as_named(&self, documents: &str) -> Result<()> {
        self.apply_with(&[], documents)
    }

    fn apply_with(&self, arguments: &[&str], documents: &str) -> Result<()> {
        let mut command = self.kubectl_command();
        command.args(["apply", "--filename", "-"]).args(arguments);
        output_of_input(&mut command, documents.as_bytes()).map(drop)
    }

    /// Makes a namespace, unless it is there.
    pub fn create_namespace(&self, name: &str) -> Result<()> {
        if self.find("default", "namespace", name)?.is_some() {
            return Ok(());
        }
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let namespace = serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.apply_as_named(&namespace.to_string())
    }

    /// Removes a namespace with all that is in it, and returns when it is gone.
    pub fn delete_namespace(&self, name: &str) -> Result<()> {
        self.kubectl(&["delete", "namespace", name, "--ignore-not-found", "--timeout", "120s"]).map(drop)
    }

    pub(super) fn delete_own_namespaces(&self) -> Result<()> {
        let names = std::mem::take(&mut *self.namespaces.lock().unwrap_or_else(PoisonError::into_inner));
        names.iter().try_for_each(|name| self.delete_namespace(name))
    }

    /// One object; fails if it is not there.
    pub fn get(&self, namespace: &str, kind: &str, name: &str) -> Result<Value> {
        json(&self.kubectl(&["get", kind, name, "--namespace", namespace, "--output", "json"])?)
    }

    /// One object, or none.
    pub fn find(&self, namespace: &str, kind: &str, name: &str) -> Result<Option<Value>> {
        let arguments = ["get", kind, name, "--namespace", namespace, "--output", "json", "--ignore-not-found"];
        let printed = self.kubectl(&arguments)?;
        if printed.trim().is_empty() { Ok(None) } else { json(&printed).map(Some) }
    }

    /// All objects of a kind whose labels the selector accepts; an empty one accepts all.
    pub fn list(&self, namespace: &str, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let arguments = ["get", kind, "--namespace", namespace, "--selector", selector, "--output", "json"];
        let mut list = json(&self.kubectl(&arguments)?)?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("kubectl printed no list of {kind}"),
        }
    }

    /// The answer of the API server at this path, such as `/apis/apps/v1/namespaces/default/deployments`.
    pub fn raw(&self, path: &str) -> Result<Value> {
        json(&self.kubectl(&["get", "--raw", path])?)
    }

    /// Changes an object by a merge patch (RFC 7396).
    pub fn patch(&self, namespace: &str, kind: &str, name: &str, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        self.kubectl(&["patch", kind, name, "--namespace", namespace, "--type", "merge", "--patch", &patch]).map(drop)
    }

    /// The names of the pods whose labels the selector accepts, that are ready and are not on their way out.
    pub fn ready_pods(&self, namespace: &str, selector: &str) -> Result<Vec<String>> {
        let pods = self.list(namespace, "pods", selector)?;
        let ready = pods.iter().filter(|pod| is_ready(pod));
        Ok(ready.filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect())
    }

    /// Waits until a Deployment, StatefulSet or DaemonSet runs what it should: the new pods, all of them, and no others.
    pub fn wait_for_rollout(&self, namespace: &str, kind: &str, name: &str, deadline: Duration) -> Result<()> {
        self.wait_until(&format!("{kind} {name} in {namespace} is rolled out"), deadline, || {
            self.is_rolled_out(namespace, kind, name)
        })
    }

    pub(super) fn is_rolled_out(&self, namespace: &str, kind: &str, name: &str) -> Result<()> {
        // Without a time-out it would wait by itself, and with one it would not say how far it got.
        let said = self.kubectl(&["rollout", "status", kind, name, "--namespace", namespace, "--watch=false"])?;
        if said.contains("successfully rolled out") || said.contains("roll out complete") {
            return Ok(());
        }
        bail!("{}", said.trim())
    }
}

fn json(printed: &str) -> Result<Value> {
    serde_json::from_str(printed).context("kubectl printed no JSON")
}

/// As an EndpointSlice would have it.
fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut ready = conditions.into_iter().flatten().filter(|condition| condition["type"] == "Ready");
    pod["metadata"]["deletionTimestamp"].is_null() && ready.any(|condition| condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_on_its_way_out_is_not_ready() {
        let check = |pod: &Value, expected: bool| assert_eq!(is_ready(pod), expected, "{pod}");
        let ready = json!({ "conditions": [{ "type": "Initialized", "status": "False" }, { "type": "Ready", "status": "True" }] });
        check(&json!({ "metadata": {}, "status": ready.clone() }), true);
        check(&json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" }, "status": ready }), false);
        check(&json!({ "metadata": {}, "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }), false);
        check(&json!({ "metadata": {}, "status": {} }), false);
    }
}
