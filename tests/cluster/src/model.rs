//! Scoring models for tests: the Deployment and the Service of one, whose pods run `cluster-model`.
//!
//! Every pod answers `/score`, has a readiness probe at `/ready`, and takes orders at `/control/`: see the program.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::build::Image;
use crate::client;
use crate::cluster::Cluster;

/// The port on which a model listens.
pub const PORT: u16 = 8080;
/// The port of README's models, and of the chart `abtest-model`.
const SCORING_PORT: u16 = 5001;

/// The lines of a container by which a manifest runs `cluster-model` in place of README's model `r1`.
pub(crate) fn manifest_lines() -> [String; 2] {
    [
        format!("image: {}", Image::Model.reference()),
        format!("args: [--revision, r1, --listen, '0.0.0.0:{SCORING_PORT}']"),
    ]
}

/// The values below `deployment` by which the chart `abtest-model` runs it, beside the image's name. Its revisions have one
/// image, so that they are named.
pub fn release_values(revision: &str, environment: &[(&str, &str)]) -> Value {
    let listen = format!("0.0.0.0:{SCORING_PORT}");
    let environment = [("MODEL_LISTEN", listen.as_str())].into_iter().chain(environment.iter().copied());
    json!({
        "revision": revision,
        "healthPath": "/ready",
        "image": { "pullPolicy": "IfNotPresent" },
        "env": environment.map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
    })
}

/// A model as a backend of a rollout: a Deployment and a Service of the same name.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name of the Deployment and the Service, such as `model-svc-green`; pods have it as their label `app`.
    pub name: String,
    /// Which backend it is, `green` or `blue`: the header `x-served-by`.
    pub backend: String,
    /// What it answers, such as `New Model A`.
    pub answer: String,
    /// What its pods run: [`Image::Model`] or [`Image::OtherModel`].
    pub image: Image,
    /// The header `x-revision`, and the label `turnout.dev/revision` of its pods.
    pub revision: String,
    /// Its pods have that label.
    pub is_labelled: bool,
    /// How many pods.
    pub replicas: u32,
    /// How long it takes to answer.
    pub delay_ms: u32,
    /// How long it takes to load, before it listens.
    pub startup_ms: u32,
    /// Seconds between the order to stop and SIGTERM, in which the pod serves and endpoints forget it.
    pub pre_stop_seconds: u32,
    /// How long it goes on serving after SIGTERM, when it is not ready and closes connections politely.
    pub linger_ms: u32,
}

impl Model {
    /// Two pods that start and answer at once and serve for two seconds after they are told to stop.
    pub fn new(name: &str, backend: &str, answer: &str, revision: &str) -> Self {
        Self {
            name: name.to_owned(),
            backend: backend.to_owned(),
            answer: answer.to_owned(),
            image: Image::Model,
            revision: revision.to_owned(),
            is_labelled: true,
            replicas: 2,
            delay_ms: 0,
            startup_ms: 0,
            pre_stop_seconds: 2,
            linger_ms: 1000,
        }
    }

    /// The Deployment and the Service (port 80, named `http`), to be applied.
    pub fn objects(&self) -> Value {
        json!({ "apiVersion": "v1", "kind": "List", "items": [self.deployment(), self.service()] })
    }

    /// The selector of its pods.
    pub fn selector(&self) -> String {
        format!("app={}", self.name)
    }

    /// The Deployment alone.
    pub fn deployment(&self) -> Value {
        let own = json!({ "app": self.name });
        let mut labels = own.clone();
        if self.is_labelled {
            labels["turnout.dev/revision"] = json!(self.revision);
        }
        let container = json!({
            "name": "model",
            "image": self.image.reference(),
            "imagePullPolicy": "IfNotPresent",
            "args": ["--backend", self.backend, "--answer", self.answer, "--revision", self.revision,
                "--delay-ms", self.delay_ms.to_string(), "--startup-ms", self.startup_ms.to_string(),
                "--linger-ms", self.linger_ms.to_string()],
            "env": [{ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
            "ports": [{ "name": "http", "containerPort": PORT }],
            "readinessProbe": probe(),
            "lifecycle": { "preStop": { "sleep": { "seconds": self.pre_stop_seconds } } },
        });
        // The default of 30 s would cut a longer preStop short.
        let grace = self.pre_stop_seconds + self.linger_ms.div_ceil(1000) + 20;
        let pod = json!({ "containers": [container], "terminationGracePeriodSeconds": grace });
        let spec = json!({
            "replicas": self.replicas,
            "selector": { "matchLabels": own },
            "strategy": { "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "template": { "metadata": { "labels": labels }, "spec": pod },
        });
        let metadata = json!({ "name": self.name, "labels": own });
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec })
    }

    /// The Service alone.
    pub fn service(&self) -> Value {
        let ports = json!([{ "name": "http", "port": 80, "targetPort": PORT }]);
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": self.name, "labels": { "app": self.name } },
            "spec": { "selector": { "app": self.name }, "ports": ports },
        })
    }
}

/// How kubelet asks whether a model is ready: what a test tells a model counts at once, and an answer that a busy machine
/// delays counts, too.
pub fn probe() -> Value {
    json!({
        "httpGet": { "path": "/ready", "port": PORT }, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1,
    })
}

impl Cluster {
    /// Where a pod's model listens; this machine reaches pods of a cluster that was started here.
    pub fn model_address(&self, namespace: &str, pod: &str) -> Result<SocketAddr> {
        let pod = self.get(namespace, "pod", pod)?;
        let address = pod["status"]["podIP"].as_str().context("the pod has no address yet")?;
        Ok(SocketAddr::new(address.parse().context("a pod's address is one")?, PORT))
    }

    /// Gives an order to the model in a pod, such as `ready?value=false`, and returns its answer.
    pub fn tell_model(&self, namespace: &str, pod: &str, order: &str) -> Result<Value> {
        let address = self.model_address(namespace, pod)?;
        client::request(address, "POST", &format!("/control/{order}"), &[], "")?.json()
    }
}
