//! What suites of the product begin with: a namespace with a green and a blue model, routes that split between them, one
//! rollout of these routes, and the release that serves and governs them.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use turnout_rollout::{ModelRollout, RolloutStatus, WaitReason};

use crate::build::Image;
use crate::client::{self, Response};
use crate::cluster::Cluster;
use crate::model::Model;
use crate::release;
use crate::split::SplitLoad;

/// The rollout.
pub const ROLLOUT: &str = "model";
/// The VirtualService.
pub const VIRTUAL_SERVICE: &str = "scoring";
/// The ConfigMap with the documents, unless they are objects.
pub const DOCUMENTS: &str = "scoring-documents";
/// The stages of a rollout, in order.
pub const STAGES: [&str; 5] = ["Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100"];

/// A little longer than the DNS answers of a test cluster live, unless it is told to keep them.
pub const PRE_STOP_SECONDS: u32 = 7;
/// Far longer than a stage takes, and less than the rollout's own deadlines.
const PATIENCE: &str = "150s";
const DEADLINE: Duration = Duration::from_mins(3);

/// A namespace of its own, and the release that governs it.
#[derive(Debug)]
pub struct Scene<'cluster> {
    /// The cluster.
    pub cluster: &'cluster Cluster,
    /// The namespace.
    pub namespace: &'static str,
    /// The gateway's load balancer.
    pub gateway: SocketAddr,
    /// How long a model's pod serves on after it was told to stop.
    pub pre_stop_seconds: u32,
}

impl<'cluster> Scene<'cluster> {
    /// Green serves `r1`, blue `r2`, the routes give all to green, and the rollout of `r2` is there and has not begun.
    /// `values` are the chart's.
    pub fn set(cluster: &'cluster Cluster, namespace: &'static str, values: &[&str]) -> Result<Self> {
        Self::prepare(cluster, namespace)?.begin(values)
    }

    /// What is the user's own: models and documents, without a release and a rollout.
    pub fn prepare(cluster: &'cluster Cluster, namespace: &'static str) -> Result<Self> {
        Self::prepare_patient(cluster, namespace, PRE_STOP_SECONDS)
    }

    /// The same with pods that serve on so long after they were told to stop.
    pub fn prepare_patient(cluster: &'cluster Cluster, namespace: &'static str, pre_stop_seconds: u32) -> Result<Self> {
        let mut scene = Self::empty(cluster, namespace)?;
        scene.pre_stop_seconds = pre_stop_seconds;
        scene.apply_models()?;
        scene.write_documents(&scene.routes(100, 0))?;
        Ok(scene)
    }

    /// The release with these values, and the rollout.
    pub fn begin(mut self, values: &[&str]) -> Result<Self> {
        let documents = format!("documents.existingConfigMap={DOCUMENTS}");
        let values: Vec<&str> = values.iter().copied().chain([documents.as_str()]).collect();
        release::install(self.cluster, self.namespace, &values)?;
        self.await_gateway()?;
        self.cluster.apply(self.namespace, &self.rollout().to_string())?;
        Ok(self)
    }

    /// The same without a rollout, and with objects as the documents: `values` have to say so.
    pub fn with_objects(cluster: &'cluster Cluster, namespace: &'static str, values: &[&str]) -> Result<Self> {
        let mut scene = Self::empty(cluster, namespace)?;
        scene.apply_models()?;
        release::install(cluster, namespace, values)?;
        cluster.apply(namespace, &scene.routes(100, 0))?;
        scene.await_gateway()?;
        Ok(scene)
    }

    /// Documents and empty Services, for models that a rollout or a case makes itself.
    pub fn without_models(cluster: &'cluster Cluster, namespace: &'static str) -> Result<Self> {
        let scene = Self::empty(cluster, namespace)?;
        for backend in ["green", "blue"] {
            cluster.apply(namespace, &scene.model(backend, "").service().to_string())?;
        }
        scene.write_documents(&scene.routes(100, 0))?;
        Ok(scene)
    }

    fn empty(cluster: &'cluster Cluster, namespace: &'static str) -> Result<Self> {
        cluster.create_namespace(namespace)?;
        cluster.create_namespace(release::NAMESPACE)?;
        Ok(Self {
            cluster,
            namespace,
            gateway: SocketAddr::from(([0, 0, 0, 0], 0)),
            pre_stop_seconds: PRE_STOP_SECONDS,
        })
    }

    fn apply_models(&self) -> Result<()> {
        for (backend, revision) in [("green", "r1"), ("blue", "r2")] {
            self.cluster.apply(self.namespace, &self.model(backend, revision).objects().to_string())?;
        }
        Ok(())
    }

    fn await_gateway(&mut self) -> Result<()> {
        for backend in ["green", "blue"] {
            self.cluster.wait_for_rollout(self.namespace, "deployment", &name(backend), DEADLINE)?;
        }
        self.gateway = release::gateway(self.cluster)?;
        ["green", "blue"].into_iter().try_for_each(|backend| self.await_answer_of(backend))
    }

    /// The host that requests of this scene carry.
    pub fn host(&self) -> String {
        format!("{}.example", self.namespace)
    }

    /// A backend's Deployment and Service.
    pub fn model(&self, backend: &str, revision: &str) -> Model {
        let model = Model::new(&name(backend), backend, &format!("New Model {revision}"), revision);
        Model { pre_stop_seconds: self.pre_stop_seconds, ..model }
    }

    /// The routes: pins by header, and the split with these weights.
    pub fn routes(&self, green: u32, blue: u32) -> String {
        let text = include_str!("scene/routes.yaml").replace("HOST", &self.host()).replace("NAMESPACE", self.namespace);
        text.replace("WEIGHT_OF_GREEN", &green.to_string()).replace("WEIGHT_OF_BLUE", &blue.to_string())
    }

    /// Makes this the documents.
    pub fn write_documents(&self, documents: &str) -> Result<()> {
        let metadata = json!({ "name": DOCUMENTS });
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "routes.yaml": documents },
        });
        self.cluster.apply(release::NAMESPACE, &object.to_string())
    }

    /// The rollout, of which each stage waits to be promoted.
    pub fn rollout(&self) -> Value {
        json!({
            "apiVersion": turnout_rollout::API_VERSION,
            "kind": turnout_rollout::KIND,
            "metadata": { "name": ROLLOUT },
            "spec": {
                "route": { "virtualService": VIRTUAL_SERVICE, "http": "split" },
                "green": { "host": name("green") },
                "blue": { "host": name("blue") },
            },
        })
    }

    /// Lets a backend serve a revision, and returns when all its pods do.
    pub fn deploy(&self, backend: &str, revision: &str) -> Result<()> {
        self.cluster.apply(self.namespace, &self.model(backend, revision).objects().to_string())?;
        self.cluster.wait_for_rollout(self.namespace, "deployment", &name(backend), DEADLINE)
    }

    /// Runs `turnout` in the scene's namespace, as a person or a pipeline would; fails if it fails.
    pub fn turnout(&self, arguments: &[&str]) -> Result<String> {
        let ran = self.run_turnout(arguments)?;
        let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
        if !ran.status.success() {
            let complaint = String::from_utf8_lossy(&ran.stderr);
            bail!("turnout {} ended with {}: {printed}{complaint}", arguments.join(" "), ran.status);
        }
        Ok(printed)
    }

    /// The same, whatever comes of it.
    pub fn run_turnout(&self, arguments: &[&str]) -> Result<Output> {
        self.turnout_command(arguments)?.output().context("cannot run turnout")
    }

    /// The same as a command, which may get another user's `KUBECONFIG`.
    pub fn turnout_command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(Image::CommandLine.program()?);
        command.args(arguments).args(["--namespace", self.namespace]).env("KUBECONFIG", self.cluster.kubeconfig());
        Ok(command)
    }

    /// The same, which ends with this code.
    pub fn turnout_ends_with(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let ran = self.run_turnout(arguments)?;
        let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&ran.stderr);
        ensure!(ran.status.code() == Some(code), "{arguments:?} ended with {}: {printed}{complaint}", ran.status);
        Ok(printed)
    }

    /// Begins the rollout of a revision, and returns when it is at its first stage.
    pub fn start(&self, revision: &str) -> Result<()> {
        self.turnout(&["rollout", "start", ROLLOUT, "--revision", revision, "--wait", "--timeout", PATIENCE]).map(drop)
    }

    /// Goes on to the next stage, and returns when it is reached.
    pub fn promote_to(&self, stage: &str) -> Result<()> {
        self.turnout(&["rollout", "promote", ROLLOUT])?;
        self.wait_for(stage)
    }

    /// Begins the rollout of `r2` and goes as far as this stage: green then serves `r2` from `Blue_Green` on.
    pub fn advance_to(&self, wanted: &str) -> Result<()> {
        self.start("r2")?;
        for pair in STAGES.windows(2) {
            if pair[0] == wanted {
                break;
            }
            if pair[0] == "Blue_Green" {
                self.deploy("green", "r2")?;
                self.wait_for_promotion()?;
            }
            self.promote_to(pair[1])?;
        }
        Ok(())
    }

    /// Returns when a stage is reached, or fails as `turnout wait` does.
    pub fn wait_for(&self, stage: &str) -> Result<()> {
        self.turnout(&["wait", ROLLOUT, "--stage", stage, "--timeout", PATIENCE]).map(drop)
    }

    /// Returns when the stage needs only a promotion to be left.
    pub fn wait_for_promotion(&self) -> Result<()> {
        self.wait_for_status("the stage may be left", |status| {
            status.waiting.as_ref().is_some_and(|waiting| waiting.reason == WaitReason::Promotion)
        })
    }

    /// Returns when the rollout has answered the present spec and its status is as wanted.
    pub fn wait_for_status(&self, what: &str, is_so: impl Fn(&RolloutStatus) -> bool) -> Result<()> {
        self.cluster.wait_until(what, DEADLINE, || {
            let rollout = self.read()?;
            let status = &rollout.status;
            ensure!(status.observed_generation == rollout.metadata.generation, "the spec is not answered yet");
            ensure!(is_so(status), "the status is {}", serde_json::to_string(status)?);
            Ok(())
        })
    }

    /// The rollout as it is.
    pub fn read(&self) -> Result<ModelRollout> {
        let object = self.cluster.get(self.namespace, "modelrollout", ROLLOUT)?;
        serde_json::from_value(object).context("the ModelRollout is not what it should be")
    }

    /// Its status.
    pub fn status(&self) -> Result<RolloutStatus> {
        Ok(self.read()?.status)
    }

    /// A request through the gateway's load balancer, pinned to a backend or to none.
    pub fn score(&self, pin: Option<&str>) -> Result<Response> {
        self.score_at(self.gateway, pin)
    }

    /// The same to the gateway at this address.
    pub fn score_at(&self, gateway: SocketAddr, pin: Option<&str>) -> Result<Response> {
        let host = self.host();
        let pin = pin.map(|backend| (crate::split::HEADER, backend));
        let headers: Vec<(&str, &str)> = [("host", host.as_str())].into_iter().chain(pin).collect();
        client::request(gateway, "POST", "/score", &headers, r#"{"data": [[1, 2, 3]]}"#)
    }

    /// Load on the split and on both pins.
    pub fn load(&self) -> Result<SplitLoad<'cluster>> {
        SplitLoad::start(self.cluster, self.gateway, &self.host())
    }

    /// Returns when every gateway reaches the backend.
    pub fn await_answer_of(&self, backend: &str) -> Result<()> {
        release::await_answers(self.cluster, &format!("{backend} answers"), |gateway| {
            let answer = self.score_at(gateway, Some(backend))?;
            ensure!(answer.header("x-served-by") == Some(backend), "{answer:?}");
            Ok(())
        })
    }
}

/// A backend's Deployment and Service.
pub fn name(backend: &str) -> String {
    format!("model-svc-{backend}")
}
