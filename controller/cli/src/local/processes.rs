//! The processes that `demo` and `local` run beside themselves: this same binary as a gateway or as a model. Each is
//! ended by its own id; and since its standard input is a pipe of ours, it ends by itself when this process is killed.

use crate::client::directory::{Directory, GatewayAddresses};
use crate::client::http;
use crate::client::observe::GATEWAYS;
use anyhow::{Context as _, bail};
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use turnout_rollout::Backend;

/// How long a process may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a process may take to end gently.
const END_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);
/// The gateway's name in `gateways/`.
const GATEWAY: &str = "gateway";

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Closing it tells the process to end.
    input: Option<ChildStdin>,
    log: PathBuf,
}

/// A model, listening.
#[derive(Debug)]
pub(crate) struct Model {
    process: Process,
    pub(crate) address: SocketAddr,
}

/// How to start the gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatewayOptions {
    pub(crate) listen: SocketAddr,
    /// 0 is one per core.
    pub(crate) workers: usize,
    /// Leave out what the environment says of gateways.
    pub(crate) ignore_environment: bool,
}

/// A gateway, serving.
#[derive(Debug)]
pub(crate) struct Gateway {
    process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) addresses: GatewayAddresses,
}

impl Process {
    /// Starts this binary with these arguments; what it says goes to a file of the directory.
    fn start(command: &mut Command, directory: &Directory, name: &str) -> anyhow::Result<Self> {
        let log = directory.root().join(format!("{name}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        // A group of its own: Ctrl-C is for this process alone, which ends the others in their order.
        command.process_group(0).stdin(Stdio::piped()).stderr(file).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start the {name} process"))?;
        let input = child.stdin.take();
        Ok(Self { child, input, log })
    }

    /// Fails if the process has ended, with what it said last.
    fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot look after a process")? {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(5)..].join("\n");
            bail!("a process ended by itself ({status}), {}:\n{last}", self.log.display());
        }
        Ok(())
    }

    /// Ends it: gently, and after a while not gently any more.
    async fn end(mut self) {
        drop(self.input.take());
        if tokio::time::timeout(END_TIMEOUT, self.child.wait()).await.is_err() {
            // It has ended by itself if this fails.
            let _ = self.child.kill().await;
        }
    }
}

impl Model {
    /// Starts a model that answers as this revision does.
    pub(crate) async fn start(directory: &Directory, backend: Backend, revision: &str) -> anyhow::Result<Self> {
        let mut command = own_binary()?;
        command
            .args(["model", "--name", &answer_of(revision), "--backend", &backend.to_string()])
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command, directory, &format!("model-{backend}"))?;
        let stdout = process.child.stdout.take().context("the model has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(START_TIMEOUT, lines.next_line()).await;
        let line = line.context("the model did not start in time")?.context("cannot read the model's address")?;
        let Some(line) = line else {
            process.child.wait().await.context("cannot wait for the model")?;
            process.check()?;
            bail!("the model did not tell its address");
        };
        let address = line.parse().with_context(|| format!("the model's address is `{line}`"))?;
        Ok(Self { process, address })
    }

    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.process.check()
    }

    pub(crate) async fn end(self) {
        self.process.end().await;
    }
}

impl Gateway {
    /// Starts a gateway over the directory's routes and waits until it serves them.
    pub(crate) async fn start(directory: &Directory, options: GatewayOptions) -> anyhow::Result<Self> {
        let addresses_file = directory.gateways().join(format!("{GATEWAY}.json"));
        let mut command = own_binary()?;
        if options.ignore_environment {
            let ours = std::env::vars_os().map(|(name, _)| name);
            ours.filter(|name| name.to_string_lossy().starts_with("TURNOUT_")).for_each(|name| {
                command.env_remove(name);
            });
        }
        command.arg("gateway").arg("--exit-with-parent").arg("--routes").arg(directory.routes());
        command.args(["--listen", &format!("80={}", options.listen), "--workers", &options.workers.to_string()]);
        command.args([
            "--namespace",
            GATEWAYS,
            "--status",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--shutdown-delay-ms",
            "0",
        ]);
        command.args(["--drain-timeout-ms", "3000"]).arg("--addresses-file").arg(&addresses_file);
        command.stdout(Stdio::null());
        let mut process = Process::start(&mut command, directory, GATEWAY)?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            process.check()?;
            if let Some(addresses) = serving(directory).await? {
                let address = addresses.listeners.first().context("the gateway has no listener")?.address;
                return Ok(Self { process, address, addresses });
            }
            if Instant::now() > deadline {
                bail!("the gateway does not serve after {START_TIMEOUT:?}: see {}", process.log.display());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Forgets the gateways of a driver that was killed; its processes have ended with it.
    pub(crate) fn forget_former(directory: &Directory) -> anyhow::Result<()> {
        for (name, _) in directory.gateway_addresses()? {
            let path = directory.gateways().join(format!("{name}.json"));
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.process.check()
    }

    pub(crate) async fn end(self) {
        self.process.end().await;
    }
}

/// The addresses of the gateway once it is ready.
async fn serving(directory: &Directory) -> anyhow::Result<Option<GatewayAddresses>> {
    for (name, addresses) in directory.gateway_addresses()? {
        if let Some(addresses) = addresses.filter(|_| name == GATEWAY) {
            let answer = http::get(&addresses.status.to_string(), "/readyz").await;
            return Ok(answer.is_ok_and(|(status, _)| status.is_success()).then_some(addresses));
        }
    }
    Ok(None)
}

/// What the model of a revision answers, as the sample's scoreA.py and scoreB.py do.
pub(crate) fn answer_of(revision: &str) -> String {
    format!("New Model {revision}")
}

fn own_binary() -> anyhow::Result<Command> {
    Ok(Command::new(std::env::current_exe().context("cannot find this program's own file")?))
}
