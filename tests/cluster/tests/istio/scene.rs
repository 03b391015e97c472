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

/// The ModelRollout.
const ROLLOUT: &str = "model";
/// Models start within a second, and weights settle in fifteen.
const DEADLINE: Duration = Duration::from_mins(2);

/// A namespace with the routes for a host of its own.
#[derive(Debug)]
pub(crate) struct Scene<'cluster> {
    cluster: &'cluster Cluster,
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
        self.api.virtual_service(self.namespace, ROUTES)
    }

    /// A rollout of the split that stops only where it is told to.
    pub(crate) fn rollout(&self, mode: Mode) -> Result<ModelRollout> {
        serde_json::from_value(self.rollout_object(mode)).context("the rollout of the test is wrong")
    }

    fn rollout_object(&self, mode: Mode) -> Value {
        let gates =
            ["Blue_0", "Blue_50", "Blue_100", "Blue_Green"].map(|stage| json!({"stage": stage, "type": "None"}));
        json!({
            "apiVersion": turnout_rollout::API_VERSION,
            "kind": turnout_rollout::KIND,
            "metadata": {"name": ROLLOUT, "namespace": self.namespace},
            "spec": {
                "mode": mode,
                "route": {"virtualService": ROUTES, "http": SPLIT},
                "green": {"host": "model-svc-green"},
                "blue": {"host": "model-svc-blue"},
                "gates": gates,
            },
        })
    }

    /// Lets a backend serve a revision, and returns when all its pods do.
    pub(crate) fn deploy(&self, backend: &str, revision: &str) -> Result<()> {
        let model = model(backend, revision);
        self.cluster.apply(self.namespace, &model.objects().to_string())?;
        self.cluster.wait_for_rollout(self.namespace, "deployment", &model.name, DEADLINE)
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
        self.change(&json!({"spec": {"revision": revision, "target": target}}), target)
    }

    /// Goes on as far as `target`.
    pub(crate) fn promote(&self, target: &str) -> Result<()> {
        self.change(&json!({"spec": {"target": target}}), target)
    }

    fn change(&self, patch: &Value, target: &str) -> Result<()> {
        self.cluster.patch(self.namespace, "modelrollout", ROLLOUT, patch)?;
        self.cluster.wait_until(&format!("{target} is reached"), DEADLINE, || {
            let rollout = self.cluster.get(self.namespace, "modelrollout", ROLLOUT)?;
            let status = &rollout["status"];
            let is_answered = status["observedGeneration"] == rollout["metadata"]["generation"];
            ensure!(is_answered && status["stage"] == target && status["movingTo"].is_null(), "{status}");
            Ok(())
        })
    }
}

fn model(backend: &str, revision: &str) -> Model {
    Model::new(&format!("model-svc-{backend}"), backend, &format!("New Model {revision}"), revision)
}

/// Everything of a VirtualService but the two weights and the API server's own notes about changes, as text.
pub(crate) fn rest(routes: &Value) -> Result<String> {
    let mut rest = routes.clone();
    for entry in split(&mut rest)?["route"].as_array_mut().context("the split has no route")? {
        entry.as_object_mut().context("a destination is an object")?.remove("weight");
    }
    let metadata = rest["metadata"].as_object_mut().context("there is no metadata")?;
    for note in ["generation", "managedFields", "resourceVersion"] {
        metadata.remove(note);
    }
    Ok(rest.to_string())
}

/// The governed rule.
pub(crate) fn split(routes: &mut Value) -> Result<&mut Value> {
    let rules = routes["spec"]["http"].as_array_mut().context("there are no rules")?;
    rules.iter_mut().find(|rule| rule["name"] == SPLIT).context("there is no split")
}
