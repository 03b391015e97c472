//! Istio beside a cluster: istiod with its admission webhook, and an Envoy as its ingress gateway. They are what Istio
//! mode is tested against, and what leaving Istio is compared with.
//!
//! Both run as daemons of the node, not as pods. Envoy listens on the node's addresses, on the very ports that Gateways
//! with the selector `istio: ingressgateway` name, and reaches pods directly.

mod programs;
mod settings;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;

use crate::client::get;
use crate::cluster::Cluster;
use crate::control::{self, Order};
use crate::process::output_of_input;
use crate::step::reached;
use programs::Programs;

/// Far longer than any of the steps takes on a busy machine.
const DEADLINE: Duration = Duration::from_mins(2);

const ISTIOD: &str = "istiod";
const ENVOY: &str = "istio-envoy";

/// Makes its programs ready, which takes minutes the first time.
pub(crate) fn build() -> Result<()> {
    Programs::build().map(drop)
}

/// An Istio that is up. Dropping it ends it, and leaves its CRDs and whatever was made of them.
#[derive(Debug)]
pub struct Istio<'cluster> {
    cluster: &'cluster Cluster,
    is_up: bool,
}

impl<'cluster> Istio<'cluster> {
    /// Compiles and installs what it needs, which takes minutes the first time on a machine; [`Istio::up`] does it, too.
    pub fn build() -> Result<()> {
        Programs::build().map(drop)
    }

    /// Starts it on a cluster that this harness started, and returns when it serves what the cluster has.
    pub fn up(cluster: &'cluster Cluster) -> Result<Self> {
        let programs = Programs::build()?;
        let started = Instant::now();
        let istio = Self { cluster, is_up: true };
        istio.start(&programs, started).map_err(|error| error.context(istio.logs()))?;
        Ok(istio)
    }

    /// Where Envoy serves the Gateways of this port.
    pub fn gateway(&self, port: u16) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.node()?, port))
    }

    /// Stops istiod: the API server refuses each change of a document, since nobody agrees to it, and Envoy keeps what
    /// it has.
    pub fn stop_istiod(&self) -> Result<()> {
        control::ask(self.index()?, &Order::Stop { name: ISTIOD.to_owned() }).map(drop)
    }

    /// Starts istiod again, and returns when it agrees to changes.
    pub fn start_istiod(&self) -> Result<()> {
        control::ask(self.index()?, &Order::Start { name: ISTIOD.to_owned() })?;
        self.await_istiod()
    }

    /// Ends it. Documents can then be changed without its consent.
    pub fn down(mut self) -> Result<()> {
        self.end()
    }

    fn start(&self, programs: &Programs, started: Instant) -> Result<()> {
        let folder = self.cluster.logs()?.with_file_name("istio");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let certificate = self.write_files(&folder)?;
        self.cluster.create_namespace(settings::NAMESPACE)?;
        self.install_crds(&programs.crds())?;
        reached("the CRDs of Istio are established", started);

        let arguments = settings::istiod_arguments(self.cluster.kubeconfig(), &folder, self.node()?);
        self.run(ISTIOD, &settings::ISTIOD_ENVIRONMENT, &programs.istiod(), &arguments)?;
        self.cluster.apply(settings::NAMESPACE, &settings::webhook(&certificate).to_string())?;
        self.await_istiod()?;
        reached("istiod is ready", started);

        let bootstrap = folder.join("envoy.json").display().to_string();
        let arguments = ["--config-path", &bootstrap, "--concurrency", "2", "--disable-hot-restart"].map(str::to_owned);
        self.run(ENVOY, &[], &programs.envoy(), &arguments)?;
        self.cluster.wait_until("Envoy has its configuration", DEADLINE, || self.is_ready(settings::ENVOY_PORT))?;
        reached("the gateway of Istio is ready", started);
        Ok(())
    }

    /// Returns the certificate of istiod's webhook in base64.
    fn write_files(&self, folder: &Path) -> Result<String> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a key")?;
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&key)?;
        let files = [
            ("tls.crt", certificate.pem()),
            ("ca.crt", certificate.pem()),
            ("tls.key", key.serialize_pem()),
            ("mesh.json", settings::mesh(&folder.join("access.log")).to_string()),
            ("networks.json", json!({"networks": {}}).to_string()),
            ("envoy.json", settings::bootstrap(self.node()?).to_string()),
        ];
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut base64 = Command::new("base64");
        output_of_input(base64.arg("--wrap=0"), certificate.pem().as_bytes())
    }

    /// Server-side, because the definitions are longer than an annotation can be.
    fn install_crds(&self, crds: &Path) -> Result<()> {
        let crds = crds.to_str().context("the path of the CRDs is no text")?;
        self.cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", crds])?;
        self.cluster.kubectl(&["wait", "--for", "condition=Established", "--timeout", "60s", "--filename", crds])?;
        Ok(())
    }

    /// Runs a daemon of the node, or lets it come back if it has run before.
    fn run(&self, name: &str, environment: &[(&str, &str)], program: &Path, arguments: &[String]) -> Result<()> {
        let mut command = vec!["env".to_owned()];
        command.extend(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.push(program.display().to_string());
        command.extend_from_slice(arguments);
        let (name, index) = (name.to_owned(), self.index()?);
        if control::ask(index, &Order::Start { name: name.clone() }).is_err() {
            control::ask(index, &Order::Run { name, command })?;
        }
        Ok(())
    }

    fn await_istiod(&self) -> Result<()> {
        self.cluster.wait_until("istiod is ready", DEADLINE, || self.is_ready(settings::DEBUG_PORT))?;
        self.cluster.wait_until("istiod refuses what Istio refuses", DEADLINE, || self.refuses())
    }

    fn is_ready(&self, port: u16) -> Result<()> {
        let answer = get(SocketAddr::new(self.node()?, port), "/ready")?;
        ensure!(answer.status == 200, "it answers {}", answer.status);
        Ok(())
    }

    /// The webhook is asked about a document that only istiod refuses; nothing is stored.
    fn refuses(&self) -> Result<()> {
        let mut create = self.cluster.kubectl_command();
        create.args(["create", "--dry-run=server", "--filename", "-"]);
        match output_of_input(&mut create, settings::refused_service().to_string().as_bytes()) {
            Err(error) if error.to_string().contains("denied the request") => Ok(()),
            Err(error) => Err(error),
            Ok(_) => bail!("it is not asked yet"),
        }
    }

    fn end(&mut self) -> Result<()> {
        if !self.is_up {
            return Ok(());
        }
        self.is_up = false;
        // First: without istiod behind it, it would refuse every change of a document.
        let webhook = ["delete", "validatingwebhookconfiguration", settings::WEBHOOK, "--ignore-not-found"];
        let removed = self.cluster.kubectl(&webhook).map(drop);
        let index = self.index()?;
        // What never ran cannot be stopped.
        let _ = control::ask(index, &Order::Stop { name: ENVOY.to_owned() });
        let _ = control::ask(index, &Order::Stop { name: ISTIOD.to_owned() });
        removed
    }

    fn node(&self) -> Result<IpAddr> {
        Ok(self.cluster.addresses()?.node().into())
    }

    fn index(&self) -> Result<u8> {
        self.cluster.index().context("Istio is started only on a cluster that was started here")
    }

    /// The last of what istiod and Envoy have written.
    fn logs(&self) -> String {
        let last = |name: &str| {
            let log = self.cluster.logs().map(|logs| logs.join(format!("{name}.log")));
            let text = log.and_then(|log| Ok(fs::read_to_string(log)?)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- the log of {name}\n{}\n", lines[lines.len().saturating_sub(20)..].join("\n"))
        };
        [ISTIOD, ENVOY].map(last).concat()
    }
}

impl Drop for Istio<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("turnout-cluster: Istio did not end well: {error:#}");
        }
    }
}
