//! Models in the images of the registry, by the charts and command lines of the canary sample, behind Turnout in its own
//! images, with the values that the charts come with.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use turnout_cluster::scene::{PRE_STOP_SECONDS, ROLLOUT};
use turnout_cluster::{Cluster, LoadSpec, Registry, RequestKind, Scene, SplitLoad, ToldBy, client, release};

/// Of the charts.
const PORT: u16 = 5001;
const DEADLINE: Duration = Duration::from_mins(3);
/// The sample's own.
const REQUESTS: usize = 10;
const RATE: NonZeroU32 = NonZeroU32::new(50).expect("50 is above 0");
const LOOKED_AT: u64 = 600;

pub(crate) struct Models<'cluster> {
    pub(crate) scene: Scene<'cluster>,
    pub(crate) registry: Registry,
}

impl<'cluster> Models<'cluster> {
    /// Green runs this image with these values, and a rollout of the routes is there that has not begun.
    pub(crate) fn set(
        cluster: &'cluster Cluster,
        namespace: &'static str,
        image: &str,
        values: &[&str],
    ) -> Result<Self> {
        let registry = Registry::serve(cluster)?;
        cluster.create_namespace(namespace)?;
        let own = ["documents.source=objects", "crds.istio.install=true"].map(str::to_owned);
        let release: Vec<String> = registry.values()?.into_iter().chain(own).collect();
        release::install(cluster, namespace, &release.iter().map(String::as_str).collect::<Vec<_>>())?;
        let gateway = release::gateway(cluster)?;
        let scene = Scene { cluster, namespace, gateway, pre_stop_seconds: PRE_STOP_SECONDS };
        let models = Self { scene, registry };
        models.deploy("green", image, values)?;
        models.await_rollout("green")?;
        models.routes()?;
        models.await_routes()?;
        Ok(models)
    }

    /// Until then a gateway serves those of the namespace before, which are for every host, too.
    fn await_routes(&self) -> Result<()> {
        let (cluster, backend) = (self.scene.cluster, format!("model-svc-green.{}.svc", self.scene.namespace));
        release::await_gateways(cluster, "green is known", |gateway| {
            let known = client::get((gateway, release::STATUS_PORT).into(), "/backends")?.json()?;
            let known = known["backends"].as_array().context("a gateway tells of no backends")?;
            let mut green = known.iter().filter(|known| known["backend"].to_string().contains(&backend));
            ensure!(green.any(|green| green["endpoints"] != 0), "{known:?}");
            Ok(())
        })
    }

    /// As the sample has it: helm does not wait.
    pub(crate) fn deploy(&self, colour: &str, image: &str, values: &[&str]) -> Result<()> {
        let (release, image) = (format!("model-{colour}"), self.registry.reference(image)?);
        let own = format!("deployment.name={release},deployment.bluegreen={colour},deployment.image.name={image}");
        self.upgrade(&release, "abtest-model", &[&[own.as_str()], values].concat())
    }

    pub(crate) fn await_rollout(&self, colour: &str) -> Result<()> {
        let (cluster, name) = (self.scene.cluster, format!("model-{colour}"));
        cluster.wait_for_rollout(self.scene.namespace, "deployment", &name, DEADLINE)
    }

    fn routes(&self) -> Result<()> {
        self.upgrade("abtest-istio", "abtest-istio", &["rollout.enabled=true"])
    }

    fn upgrade(&self, release: &str, chart: &str, values: &[&str]) -> Result<()> {
        let chart = repository().join("charts").join(chart);
        let chart = chart.to_str().context("a path is text")?;
        let namespace = self.scene.namespace;
        let own = format!("namespace={namespace}");
        let mut line = vec!["upgrade", "--install", release, chart, "--namespace", namespace, "--set", &own];
        line.extend(values.iter().flat_map(|value| ["--set", value]));
        self.scene.cluster.helm(&line).map(drop)
    }

    /// A verb of `turnout rollout`, which waits for what it has asked for.
    pub(crate) fn rollout(&self, words: &[&str]) -> Result<()> {
        let line = [&["rollout", words[0], ROLLOUT], &words[1..], &["--wait", "--timeout", "150s"]].concat();
        self.scene.turnout(&line).map(drop)
    }

    pub(crate) fn await_that(&self, words: &[&str]) -> Result<()> {
        self.scene.turnout(&[&["wait", ROLLOUT], words, &["--timeout", "150s"]].concat()).map(drop)
    }

    /// As the sample has it, once that costs no request; then a pin to blue is refused, and goes to nobody else.
    pub(crate) fn remove_blue(&self) -> Result<()> {
        self.await_that(&["--safe-to-remove", "blue"])?;
        self.scene.cluster.helm(&["delete", "model-blue", "--namespace", self.scene.namespace, "--wait"])?;
        release::await_answers(self.scene.cluster, "blue is gone", |gateway| {
            let answer = client::request(gateway, "POST", "/score", &[("x-api-version", "blue")], "{}")?;
            ensure!(answer.status == 503, "{answer:?}");
            Ok(())
        })
    }

    /// A load that a server of one worker can bear on a busy machine, of requests that any model may answer.
    pub(crate) fn load(&self, body: &str) -> Result<SplitLoad<'cluster>> {
        SplitLoad::of(self.scene.cluster, &self.requests(body).at_rate(RATE), LOOKED_AT)
    }

    /// The same without a rate.
    pub(crate) fn requests(&self, body: &str) -> LoadSpec {
        let kind = RequestKind { body: Some(body.to_owned()), ..RequestKind::split() };
        let told_by = ToldBy::Header("x-served-by-model".to_owned());
        LoadSpec { told_by, ..LoadSpec::new(self.scene.gateway) }.with(kind)
    }

    /// The sample's load: every answer is this one.
    pub(crate) fn load_test(&self, version: Option<&str>, wanted: &str) -> Result<()> {
        let url = format!("http://{}/score", self.scene.gateway);
        let mut command = Command::new(repository().join("charts/load_test.sh"));
        let ran = command.arg(REQUESTS.to_string()).arg(&url).args(version).output();
        let ran = ran.context("cannot run load_test.sh")?;
        let (said, summary) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        ensure!(ran.status.success(), "load_test.sh ended with {}: {summary}", ran.status);
        println!("{summary}");
        let answers: Vec<&str> = said.lines().collect();
        ensure!(answers == [wanted; REQUESTS], "{version:?} has answered {answers:?}");
        Ok(())
    }

    /// Where the server of a model listens, without a gateway.
    pub(crate) fn server(&self, colour: &str) -> Result<SocketAddr> {
        let selector = format!("model_version={colour}");
        let pods = self.scene.cluster.list(self.scene.namespace, "pods", &selector)?;
        let address = pods.first().and_then(|pod| pod["status"]["podIP"].as_str()).context("no pod has an address")?;
        Ok((address.parse::<IpAddr>()?, PORT).into())
    }
}

pub(crate) fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
