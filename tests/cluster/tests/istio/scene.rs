//! What the cases have in common: a namespace with the routes, the rollout, and the VirtualService as one reads and
//! compares it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::{Cluster, Model};
use turnout_rollout::{Mode, ModelRollout};

use crate::api::Api;

/// The VirtualService of `routes.yaml`.
pub(crate) const ROUTES: &str = "scoring";
/// The rule whose weights are governed.
pub(crate) const SPLIT: &str = "split";

/// The beginning of a line with the weight of a destination.
const WEIGHT: &str = r#"            "weight": "#;
/// The ModelRollout.
const ROLLOUT: &str = "model";
/// Models start within a second, and weights settle in fifteen.
const DEADLINE: Duration = Duration::from_mins(2);

/// A namespace with the routes for a host of its own.
#[derive(Debug)]
pub(crate) struct Scene<'cluster> {
    pub(crate) cluster: &'cluster Cluster,
    pub(crate) api: Api,
    pub(crate) namespace: &'static str,
}

impl<'cluster> Scene<'cluster> {
    pub(crate) fn new(cluster: &'cluster Cluster, namespace: &'static str) -> Result<Self> {
        let api = Api::start(cluster)?;
        cluster.create_namespace(namespace)?;
        let scene = Self { cluster, api, namespace };
        cluster.apply(namespace, &include_str!("routes.yaml").replace("HOST", &scene.host()))?;
        Ok(scene)
    }

    /// The host that requests of this scene carry.
    pub(crate) fn host(&self) -> String {
        format!("{}.example", self.namespace)
    }

    /// The VirtualService.
    pub(crate) fn routes(&self) -> Result<Value> {
        let text = self.api.virtual_service(self.namespace, ROUTES)?;
        serde_json::from_str(&text).context("the API server answers no JSON")
    }

    /// The lines of the VirtualService, byte for byte, but those of the two weights and of the API server's own notes.
    pub(crate) fn rest(&self) -> Result<String> {
        let text = self.api.virtual_service(self.namespace, ROUTES)?;
        rest(&text).with_context(|| format!("a VirtualService of another form:\n{text}"))
    }

    /// Of the VirtualService nothing but the two weights has changed.
    pub(crate) fn check_rest(&self, when: &str, before: &str) -> Result<()> {
        let after = self.rest()?;
        ensure!(after == before, "{when}: more than two weights have changed, from\n{before}\nto\n{after}");
        println!("{when}: {} lines beside the two weights are as they were", after.lines().count());
        Ok(())
    }

    /// Changes the VirtualService by a JSON Patch, as one of its authors.
    pub(crate) fn change_routes(&self, operations: &Value) -> Result<()> {
        let (status, text) = self.api.patch(self.namespace, ROUTES, operations)?;
        ensure!(status == 200, "{operations}: {status}: {text}");
        Ok(())
    }

    /// A rollout of the split that stops only where it is told to.
    pub(crate) fn rollout(&self, mode: Mode) -> Result<ModelRollout> {
        serde_json::from_value(self.rollout_object(mode)).context("the rollout of the test is wrong")
    }

    fn rollout_object(&self, mode: Mode) -> Value {
        json!({
            "apiVersion": turnout_rollout::API_VERSION,
            "kind": turnout_rollout::KIND,
            "metadata": {"name": ROLLOUT, "namespace": self.namespace},
            "spec": {
                "mode": mode,
                "route": {"virtualService": ROUTES, "http": SPLIT},
                "green": {"host": "model-svc-green"},
                "blue": {"host": "model-svc-blue"},
            },
        })
    }

    /// Lets a backend serve a revision, and returns when all its pods do.
    pub(crate) fn deploy(&self, backend: &str, revision: &str) -> Result<()> {
        let model = model(backend, revision);
        self.cluster.apply(self.namespace, &model.objects().to_string())?;
        self.cluster.wait_for_rollout(self.namespace, "deployment", &model.name, DEADLINE)
    }

    /// Takes a backend's pods away, and returns when they are gone.
    pub(crate) fn remove(&self, backend: &str) -> Result<()> {
        let name = model(backend, "none").name;
        let remove = ["delete", "deployment", &name, "--namespace", self.namespace, "--cascade=foreground"];
        self.cluster.kubectl(&remove).map(drop)
    }

    /// A backend with a Service and without pods.
    pub(crate) fn expose(&self, backend: &str) -> Result<()> {
        self.cluster.apply(self.namespace, &model(backend, "none").service().to_string())
    }

    /// Makes the rollout and lets it go as far as `target`.
    pub(crate) fn begin(&self, mode: Mode, revision: &str, target: &str) -> Result<()> {
        self.cluster.apply(self.namespace, &self.rollout_object(mode).to_string())?;
        self.roll_out(revision, target)
    }

    /// Rolls a revision out as far as `target`.
    pub(crate) fn roll_out(&self, revision: &str, target: &str) -> Result<()> {
        self.change(&json!({"revision": revision, "target": target}))?;
        self.await_stage(target)
    }

    /// Goes on as far as `target`.
    pub(crate) fn promote(&self, target: &str) -> Result<()> {
        self.change(&json!({"target": target}))?;
        self.await_stage(target)
    }

    /// Changes these fields of the rollout's spec.
    pub(crate) fn change(&self, spec: &Value) -> Result<()> {
        self.cluster.patch(self.namespace, "modelrollout", ROLLOUT, &json!({"spec": spec}))
    }

    /// Waits until a stage, or the end of a rollback, is reached.
    pub(crate) fn await_stage(&self, target: &str) -> Result<()> {
        self.await_status(&format!("{target} is reached"), |status| {
            status["stage"] == target && status["movingTo"].is_null()
        })
    }

    /// Waits until the owner of the workloads may remove or replace this backend, and no other.
    pub(crate) fn await_safe_to_remove(&self, backend: &str) -> Result<()> {
        self.await_status(&format!("{backend} is safe to remove"), |status| status["safeToRemove"] == json!([backend]))
    }

    /// Waits until the rollout's status answers its spec, and is like this.
    pub(crate) fn await_status(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        self.cluster.wait_until(what, DEADLINE, || {
            let rollout = self.cluster.get(self.namespace, "modelrollout", ROLLOUT)?;
            let status = &rollout["status"];
            let is_answered = status["observedGeneration"] == rollout["metadata"]["generation"];
            ensure!(is_answered && is_so(status), "{status}");
            Ok(())
        })
    }
}

/// Whether the status has this condition, with this reason.
pub(crate) fn has_condition(status: &Value, kind: &str, value: &str, reason: &str) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|it| it["type"] == kind && it["status"] == value && it["reason"] == reason)
}

fn model(backend: &str, revision: &str) -> Model {
    Model::new(&format!("model-svc-{backend}"), backend, &format!("New Model {revision}"), revision)
}

fn rest(text: &str) -> Result<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    for note in [r#"    "generation": "#, r#"    "resourceVersion": "#] {
        cut(&mut lines, 0, note, note)?;
    }
    cut(&mut lines, 0, r#"    "managedFields": ["#, "    ]")?;
    let split = position(&lines, 0, &format!(r#"        "name": "{SPLIT}""#))?;
    for _ in 0..2 {
        cut(&mut lines, split, WEIGHT, WEIGHT)?;
    }
    Ok(lines.join("\n"))
}

/// Takes away what lies, from this position on, between two lines that begin like this, and these two lines.
fn cut(lines: &mut Vec<&str>, from: usize, first: &str, last: &str) -> Result<()> {
    let first = position(lines, from, first)?;
    let last = position(lines, first, last)?;
    lines.drain(first..=last);
    Ok(())
}

fn position(lines: &[&str], from: usize, start: &str) -> Result<usize> {
    let found = lines[from..].iter().position(|line| line.starts_with(start));
    Ok(from + found.with_context(|| format!("no line begins with {start:?}"))?)
}

/// The governed rule.
pub(crate) fn split(routes: &mut Value) -> Result<&mut Value> {
    let rules = routes["spec"]["http"].as_array_mut().context("there are no rules")?;
    rules.iter_mut().find(|rule| rule["name"] == SPLIT).context("there is no split")
}
