//! What the measurements stand on: the folder with the configurations, the models, the programs, and who runs on which processor.

pub(crate) mod ask;
mod peer;
pub(crate) mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

pub(crate) use peer::Peer;

use crate::work;

/// The name that clients ask for.
pub(crate) const HOST: &str = "score.example.com";
/// The models. The relay knows only green.
pub(crate) const GREEN: SocketAddr = model(1);
const BLUE: SocketAddr = model(2);
const CONFIGURATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
/// So many requests open a connection to each model and use it again.
const SAMPLES: usize = 20;
/// Of whoever starts and ends; a program that counts instructions takes its time.
const PATIENCE: Duration = Duration::from_mins(1);

const fn model(last: u8) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(127, 0, 2, last), 9001))
}

/// Which processors and which programs.
#[derive(Args)]
pub(crate) struct Machine {
    /// The processor of the proxies.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    proxy_cpu: u32,
    /// The processor of the load and the models.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    load_cpu: u32,
    /// The gateway to measure; without it this checkout's is built.
    #[arg(long, value_name = "PATH")]
    turnout: Option<PathBuf>,
    /// Where Envoy is, unless it is in PATH.
    #[arg(long, value_name = "PATH", env = "ENVOY")]
    envoy: Option<PathBuf>,
}

pub(crate) struct Bed {
    pub(crate) folder: TempDir,
    pub(crate) certificate: CertificateDer<'static>,
    /// Who is measured, and the version of each.
    pub(crate) peers: BTreeMap<Peer, String>,
    /// Who is not, and why.
    pub(crate) missing: BTreeMap<Peer, String>,
    programs: BTreeMap<Peer, PathBuf>,
    proxy_cpu: u32,
    load_cpu: u32,
    _models: Proxy,
}

/// A process that ends with its handle.
pub(crate) struct Proxy {
    child: Child,
}

impl Bed {
    /// Starts the models, binds this process to the processor of the load, and looks for these proxies.
    pub(crate) async fn set(arguments: &Machine, peers: &[Peer]) -> Result<Self> {
        let Machine { proxy_cpu, load_cpu, .. } = *arguments;
        ensure!(proxy_cpu != load_cpu, "proxies and load need a processor each");
        let folder = tempfile::tempdir()?;
        let certificate = fill(folder.path())?;
        let mut programs = BTreeMap::new();
        let (mut found, mut missing) = (BTreeMap::new(), BTreeMap::new());
        for peer in peers.iter().copied() {
            let program = program(peer, arguments)?;
            match peer.version(&program) {
                Ok(version) => _ = found.insert(peer, version),
                Err(error) => _ = missing.insert(peer, format!("{error:#}")),
            }
            programs.insert(peer, program);
        }
        let own = [load_cpu, std::process::id()].map(|number| number.to_string());
        run(Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid"]).args(own))?;
        let limit = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).context("cannot open more files")?;
        for address in [GREEN, BLUE].into_iter().chain(found.keys().map(|peer| peer.plain())) {
            ensure!(TcpStream::connect(address).await.is_err(), "somebody serves {address} already: end it first");
        }
        let mut models = Command::new(std::env::current_exe()?);
        models.args(["models", &GREEN.to_string(), &BLUE.to_string()]);
        let models = Proxy::start(&models, &[load_cpu], folder.path()).context("cannot start the models")?;
        for model in [GREEN, BLUE] {
            await_listener(model).await.context("a model does not serve")?;
        }
        Ok(Self { folder, certificate, peers: found, missing, programs, proxy_cpu, load_cpu, _models: models })
    }

    pub(crate) fn program(&self, peer: Peer) -> &Path {
        &self.programs[&peer]
    }

    /// Starts a proxy on its processor, and returns when it accepts connections.
    pub(crate) async fn start(&self, peer: Peer, workers: u32) -> Result<Proxy> {
        let proxy = self.launch(peer, workers)?;
        await_listener(peer.plain()).await.with_context(|| format!("{} does not serve", peer.name()))?;
        if peer != Peer::Relay {
            does_the_same_work(peer).await.with_context(|| format!("{} does not do the work", peer.name()))?;
            let stream = TcpStream::connect(peer.secure()).await?;
            let agreed = work::secure(&work::tls(self, &work::SECURE)?, stream).await;
            agreed.with_context(|| format!("{} has other TLS", peer.name()))?;
        }
        Ok(proxy)
    }

    /// Starts Turnout with one worker under another program, and returns when it has its routes.
    pub(crate) async fn start_under(&self, program: &str, options: &[&str]) -> Result<Proxy> {
        let own = Peer::Turnout.command(self, 1);
        let mut command = Command::new(program);
        command.args(options).arg(own.get_program()).args(own.get_args());
        let proxy = Proxy::start(&command, &[self.proxy_cpu], self.folder.path())?;
        let started = Instant::now();
        while let Err(error) = ask::get(Peer::turnout_status(), "/readyz").await {
            ensure!(started.elapsed() < PATIENCE, "Turnout is not ready: {error:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(proxy)
    }

    /// Starts a proxy, whatever comes of it.
    pub(crate) fn launch(&self, peer: Peer, workers: u32) -> Result<Proxy> {
        // Two workers have both processors, and share one with the load.
        let cpus = if workers == 1 { vec![self.proxy_cpu] } else { vec![self.proxy_cpu, self.load_cpu] };
        let command = peer.command(self, workers);
        Proxy::start(&command, &cpus, self.folder.path()).with_context(|| format!("cannot start {}", peer.name()))
    }
}

async fn await_listener(address: SocketAddr) -> Result<()> {
    let started = Instant::now();
    while let Err(error) = TcpStream::connect(address).await {
        ensure!(started.elapsed() < PATIENCE, "cannot connect to {address}: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// It adds the headers that all of them add, and keeps its connections to the models.
async fn does_the_same_work(peer: Peer) -> Result<()> {
    let (mut reused, mut ids) = (0, BTreeSet::new());
    for _ in 0..SAMPLES {
        let answer = ask::get(peer.plain(), "/score/headers").await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("an answer has a body")?;
        let seen: Value = serde_json::from_str(body).with_context(|| body.to_owned())?;
        let is_there = |name: &str| seen[name].as_str().is_some_and(|value| !value.is_empty());
        ensure!(is_there("for") && seen["proto"] == "http" && is_there("id"), "a header is missing: {seen}");
        ids.insert(seen["id"].to_string());
        reused += usize::from(seen["requests"] != 1);
    }
    ensure!(ids.len() == SAMPLES, "of {SAMPLES} requests {} have an x-request-id of their own", ids.len());
    ensure!(reused >= SAMPLES / 2, "of {SAMPLES} requests {reused} reused a connection");
    Ok(())
}

impl Proxy {
    pub(crate) fn start(command: &Command, cpus: &[u32], folder: &Path) -> Result<Self> {
        let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
        // It does not outlive this process, however that ends.
        let mut bound = Command::new("setpriv");
        bound
            .args(["--pdeathsig", "TERM", "taskset", "--cpu-list", &cpus.join(",")])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            bound.env(name, value.unwrap_or_default());
        }
        let child = bound.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        Ok(Self { child })
    }

    /// Of the process that was started; workers of its own are its children.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Proxy {
    /// By SIGTERM, since nginx's workers outlive a master that is killed.
    fn drop(&mut self) {
        let told = run(Command::new("kill").arg(self.child.id().to_string()));
        let started = Instant::now();
        while told.is_ok() && started.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The source of a configuration.
pub(crate) fn configuration(name: &str) -> PathBuf {
    Path::new(CONFIGURATIONS).join(name)
}

/// The configurations, and a certificate.
fn fill(folder: &Path) -> Result<CertificateDer<'static>> {
    for entry in fs::read_dir(CONFIGURATIONS).context("the configurations are read from the sources")? {
        let entry = entry?;
        fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([HOST.to_owned()])?;
    let (certificate, key) = (cert.pem(), signing_key.serialize_pem());
    let credentials = folder.join("credentials/scoring");
    fs::create_dir_all(&credentials)?;
    for folder in [folder, &credentials] {
        fs::write(folder.join("tls.crt"), &certificate)?;
        fs::write(folder.join("tls.key"), &key)?;
    }
    fs::write(folder.join("tls.pem"), certificate + &key)?;
    // nginx's workers are not root.
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(folder))?;
    Ok(cert.der().clone())
}

fn program(peer: Peer, arguments: &Machine) -> Result<PathBuf> {
    Ok(match peer {
        Peer::Relay => std::env::current_exe()?,
        Peer::Turnout => match &arguments.turnout {
            Some(path) => path.canonicalize().with_context(|| format!("{} is not there", path.display()))?,
            None => build_turnout()?,
        },
        Peer::Haproxy => "haproxy".into(),
        Peer::Nginx => "nginx".into(),
        Peer::Envoy => match &arguments.envoy {
            Some(path) => path.canonicalize().with_context(|| format!("{} is not there", path.display()))?,
            None => "envoy".into(),
        },
    })
}

/// As it is released.
fn build_turnout() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).context("this program stands in a folder of targets")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--release", "--locked", "--package", "turnout-proxy"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    run(build.arg("--target-dir").arg(target))?;
    Ok(target.join("release/turnout-proxy"))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    Ok(())
}
