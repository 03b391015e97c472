//! The former release, and the rollouts that it has brought as far as the upgrade finds them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::scene::{DOCUMENTS, ROLLOUT, Scene, name};
use turnout_cluster::{Cluster, Former, Image, PORT, SplitLoad, probe, release};
use turnout_rollout::{RolloutStatus, WaitReason};

/// At `Blue_50`, by stages and gates of its own.
const GATED: &str = "upgrade-gated";
/// At `Blue_50`, with a gate alone.
const REFUSED: &str = "upgrade-refused";
/// At `Green_100`.
pub(crate) const COMPLETE: &str = "upgrade-complete";
/// At `Blue_50`, with models of the controller's and a target beyond the gate.
pub(crate) const MANAGED: &str = "upgrade-managed";

const DEADLINE: Duration = Duration::from_mins(4);

/// All of them under one release.
pub(crate) struct Rollouts<'cluster> {
    cluster: &'cluster Cluster,
    pub(crate) gated: Scene<'cluster>,
    pub(crate) refused: Scene<'cluster>,
    pub(crate) complete: Scene<'cluster>,
    pub(crate) managed: Scene<'cluster>,
    /// The former release's.
    pods: BTreeSet<String>,
}

impl<'cluster> Rollouts<'cluster> {
    pub(crate) fn begin(cluster: &'cluster Cluster, former: &Former) -> Result<Self> {
        let [gated, refused, complete] = [GATED, REFUSED, COMPLETE].map(|namespace| Scene::prepare(cluster, namespace));
        let managed = Scene::without_models(cluster, MANAGED)?;
        let mut all =
            Self { cluster, gated: gated?, refused: refused?, complete: complete?, managed, pods: BTreeSet::new() };
        let documents = all.each().map(|scene| scene.routes(100, 0)).join("---\n");
        all.gated.write_documents(&documents)?;
        install(cluster, former)?;
        let gateway = release::gateway(cluster)?;
        for scene in [&mut all.gated, &mut all.refused, &mut all.complete, &mut all.managed] {
            scene.gateway = gateway;
        }
        all.drive()?;
        all.pods = pods(cluster, release::NAMESPACE)?;
        Ok(all)
    }

    pub(crate) fn each(&self) -> [&Scene<'cluster>; 4] {
        [&self.gated, &self.refused, &self.complete, &self.managed]
    }

    /// As far as each goes, by specs alone: the former command line is not built.
    fn drive(&self) -> Result<()> {
        let manual = |stage: &str| json!({ "stage": stage, "type": "Manual" });
        let pause = json!({ "stage": "Blue_10", "type": "Pause", "seconds": 1 });
        begin(&self.gated, &json!({ "stages": [10, 50], "gates": [pause, manual("Blue_50")] }))?;
        begin(&self.refused, &json!({ "gates": [manual("Blue_50")] }))?;
        let open = ["Blue_50", "Blue_100", "Blue_Green"].map(|stage| json!({ "stage": stage, "type": "None" }));
        begin(&self.complete, &json!({ "gates": open }))?;
        begin_managed(&self.managed)?;
        for scene in [&self.gated, &self.refused, &self.managed] {
            scene.wait_for_status(&format!("{} waits at its gate", scene.namespace), is_held)?;
        }
        await_stage(&self.complete, "Blue_Green")?;
        self.complete.deploy("green", "r2")?;
        await_stage(&self.complete, "Green_100")?;
        change(&self.complete, &json!({ "gates": null }))
    }

    /// Blue has gone in the end.
    pub(crate) fn managed_load(&self) -> Result<SplitLoad<'cluster>> {
        SplitLoad::without_pins(self.cluster, self.managed.gateway, &self.managed.host())
    }

    /// The models' pods.
    pub(crate) fn models(&self) -> Result<BTreeSet<String>> {
        let pods = self.each().map(|scene| pods(self.cluster, scene.namespace));
        pods.into_iter().try_fold(BTreeSet::new(), |mut all, pods| {
            all.append(&mut pods?);
            Ok(all)
        })
    }

    /// Returns when nothing of the former release is left.
    pub(crate) fn await_new_pods(&self) -> Result<()> {
        self.cluster.wait_until("the former release's pods are gone", DEADLINE, || {
            let left: Vec<_> = pods(self.cluster, release::NAMESPACE)?.intersection(&self.pods).cloned().collect();
            ensure!(left.is_empty(), "{left:?} are left");
            Ok(())
        })
    }
}

/// As README said then.
fn install(cluster: &Cluster, former: &Former) -> Result<()> {
    let chart = former.chart();
    let namespaces = format!("namespaces={{{GATED},{REFUSED},{COMPLETE},{MANAGED}}}");
    let tags = ["gateway", "controller", "test"].map(|part| format!("{part}.image.tag={}", Former::TAG));
    let own = [
        namespaces,
        format!("documents.existingConfigMap={DOCUMENTS}"),
        format!("imageRegistry={}", Image::registry()),
        "managedWorkloads.enabled=true".to_owned(),
    ];
    let mut words = vec!["install", release::NAME, chart.to_str().context("a path is text")?];
    words.extend(["--namespace", release::NAMESPACE]);
    words.extend(own.iter().chain(&tags).flat_map(|value| ["--set", value.as_str()]));
    cluster.helm(&words)?;
    cluster.wait_for_rollout(release::NAMESPACE, "deployment", release::CONTROLLER, DEADLINE)
}

/// A rollout's manifest, without steps.
pub(crate) fn of(scene: &Scene<'_>) -> Value {
    let mut rollout = scene.rollout();
    rollout["spec"]["revision"] = json!("r2");
    rollout
}

fn begin(scene: &Scene<'_>, spec: &Value) -> Result<()> {
    for backend in ["green", "blue"] {
        scene.cluster.wait_for_rollout(scene.namespace, "deployment", &name(backend), DEADLINE)?;
    }
    let mut rollout = of(scene);
    for (field, value) in spec.as_object().context("a spec is an object")? {
        rollout["spec"][field] = value.clone();
    }
    scene.cluster.apply(scene.namespace, &rollout.to_string())
}

fn begin_managed(scene: &Scene<'_>) -> Result<()> {
    let mut rollout = scene.rollout();
    let spec = &mut rollout["spec"];
    (spec["workload"], spec["replicas"]) = (json!("Managed"), json!(2));
    spec["warmUp"] = json!({ "path": "/score", "requests": 5 });
    (spec["template"], spec["revision"]) = (template("r1"), json!("r1"));
    scene.cluster.apply(scene.namespace, &rollout.to_string())?;
    await_stage(scene, "Green_100")?;
    change(scene, &json!({ "template": template("r2"), "revision": "r2", "target": "Green_100" }))
}

fn change(scene: &Scene<'_>, spec: &Value) -> Result<()> {
    scene.cluster.patch(scene.namespace, "modelrollout", ROLLOUT, &json!({ "spec": spec }))
}

/// One template for both backends: its pods know by a label which they are.
fn template(revision: &str) -> Value {
    let backend = json!({ "fieldRef": { "fieldPath": "metadata.labels['turnout.dev/backend']" } });
    let container = json!({
        "name": "model",
        "image": Image::Model.reference(),
        "imagePullPolicy": "IfNotPresent",
        "args": ["--answer", format!("New Model {revision}"), "--revision", revision],
        "env": [{ "name": "MODEL_BACKEND", "valueFrom": backend }],
        "ports": [{ "name": "http", "containerPort": PORT }],
        "readinessProbe": probe(),
        "lifecycle": { "preStop": { "sleep": { "seconds": 7 } } },
    });
    json!({ "spec": { "containers": [container] } })
}

fn await_stage(scene: &Scene<'_>, stage: &str) -> Result<()> {
    scene.wait_for_status(&format!("{} is at {stage}", scene.namespace), |status| {
        status.stage.is_some_and(|reached| reached.to_string() == stage) && status.moving_to.is_none()
    })
}

/// What the former controller called a gate is a requirement.
fn is_held(status: &RolloutStatus) -> bool {
    let reason = status.waiting.as_ref().map(|waiting| waiting.reason);
    status.stage.is_some_and(|stage| stage.to_string() == "Blue_50") && reason == Some(WaitReason::Requirements)
}

fn pods(cluster: &Cluster, namespace: &str) -> Result<BTreeSet<String>> {
    let pods = cluster.list(namespace, "pods", "")?;
    let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned).context("a pod has a name");
    pods.iter().map(name).collect()
}
