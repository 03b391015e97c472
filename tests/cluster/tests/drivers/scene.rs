//! What the cases have in common: a namespace, the release that follows its objects, and a model that drivers roll out.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use turnout_cluster::scene::PRE_STOP_SECONDS;
use turnout_cluster::{Cluster, Driver, LoadProcess, LoadSpec, Model, RequestKind, SplitLoad, client, release};

/// The model, its workload, and the VirtualService.
pub(crate) const MODEL: &str = "model";
/// The Gateway.
pub(crate) const GATEWAY: &str = "scoring";
/// Far longer than any step takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_mins(4);

const VALUES: [&str; 2] = ["documents.source=objects", "crds.istio.install=true"];
/// The header that a rule for one version asks for.
const HEADER: &str = "x-api-version";
const ASKED: u64 = 500;
const REPLICAS: u32 = 2;

/// A namespace of its own, governed by the release.
pub(crate) struct Scene<'cluster> {
    pub(crate) cluster: &'cluster Cluster,
    pub(crate) namespace: &'static str,
}

impl<'cluster> Scene<'cluster> {
    pub(crate) fn new(cluster: &'cluster Cluster, namespace: &'static str) -> Result<Self> {
        cluster.create_namespace(namespace)?;
        release::install(cluster, namespace, &VALUES)?;
        let scene = Self { cluster, namespace };
        scene.apply(&json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "metadata": { "name": GATEWAY },
            "spec": {
                "selector": { "istio": "ingressgateway" },
                "servers": [{ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": [scene.host()] }],
            },
        }))?;
        Ok(scene)
    }

    /// The host that requests carry.
    pub(crate) fn host(&self) -> String {
        format!("{}.example", self.namespace)
    }

    pub(crate) fn apply(&self, object: &Value) -> Result<()> {
        self.cluster.apply(self.namespace, &object.to_string())
    }

    /// Load without end that any version may answer, as soon as one does.
    pub(crate) fn load(&self) -> Result<SplitLoad<'cluster>> {
        let (gateway, host) = (release::gateway(self.cluster)?, self.host());
        release::await_answers(self.cluster, "the model answers", |gateway| {
            let answer = client::request(gateway, "POST", "/score", &[("host", &host)], "{}")?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(())
        })?;
        SplitLoad::without_pins(self.cluster, gateway, &host)
    }

    /// Returns when all of many requests with the header are answered by this version; none may fail meanwhile.
    pub(crate) fn await_header_route(&self, when: &str, version: &str) -> Result<()> {
        let kind = RequestKind::pinned(version, HEADER, "blue").host(&self.host());
        let mut spec = LoadSpec::new(release::gateway(self.cluster)?).with(kind);
        spec.max_requests = ASKED;
        self.cluster.wait_until(&format!("{version} answers {HEADER}: blue"), DEADLINE, || {
            let seen = LoadProcess::start(self.cluster, &spec)?.wait_for(ASKED)?;
            println!("{when}: {HEADER}: blue: {:?}; {} of {} failed", seen.kinds, seen.failed, seen.sent);
            ensure!(seen.failed == 0 && seen.sent == ASKED && seen.pins_wrong == 0, "{seen:?}");
            Ok(())
        })
    }

    /// Returns when the status of an object is like this.
    pub(crate) fn await_status(&self, kind: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        self.cluster.wait_until(what, DEADLINE, || {
            let object = self.cluster.get(self.namespace, kind, MODEL)?;
            ensure!(is_so(&object["status"]), "{}", object["status"]);
            Ok(())
        })
    }

    /// Returns when the pods of the version that lost are gone, which is when a gateway that still knows them would fail.
    pub(crate) fn await_departure(&self) -> Result<()> {
        self.cluster.wait_until("the pods of one version alone are left", DEADLINE, || {
            let pods = self.cluster.list(self.namespace, "pods", "")?;
            ensure!(pods.len() == REPLICAS as usize, "there are {} pods", pods.len());
            Ok(())
        })
    }

    /// Takes the namespace away, so that the next case has the machine for itself.
    pub(crate) fn leave(self) -> Result<()> {
        self.cluster.delete_namespace(self.namespace)
    }
}

/// The model's Deployment, of which each version tells its name in its answers.
pub(crate) fn model(version: &str, delay_ms: u32) -> Value {
    let mut model = Model::new(MODEL, version, version, version);
    (model.is_labelled, model.pre_stop_seconds, model.delay_ms) = (false, PRE_STOP_SECONDS, delay_ms);
    model.replicas = REPLICAS;
    model.deployment()
}

/// Installs what a driver's authors publish to install it, with these changes to its container: this cluster has no
/// registry, and its image no shell. What is there already stays.
pub(crate) fn install(cluster: &Cluster, driver: Driver, namespace: &str, name: &str, container: &Value) -> Result<()> {
    if cluster.find(namespace, "deployment", name)?.is_some() {
        return Ok(());
    }
    driver.load(cluster)?;
    cluster.create_namespace(namespace)?;
    let manifests = driver.manifests()?.display().to_string();
    let apply = ["apply", "--server-side", "--force-conflicts", "--namespace", namespace, "--filename", &manifests];
    cluster.kubectl(&apply)?;
    let mut container = container.clone();
    container["name"] = json!(name);
    container["image"] = json!(driver.reference());
    container["imagePullPolicy"] = json!("IfNotPresent");
    let patch = json!({ "spec": { "template": { "spec": { "containers": [container] } } } }).to_string();
    cluster.kubectl(&["patch", "deployment", name, "--namespace", namespace, "--patch", &patch])?;
    cluster.wait_for_rollout(namespace, "deployment", name, DEADLINE)
}
