//! The real `turnout-proxy` as a process of its own, started over a routes directory and stopped by its id.
//!
//! The binary is built (or found fresh) by cargo once in each test process, with the profile of the tests. Every port
//! is chosen by the system and read from the file that `--addresses-file` names, so gateways never fight over one.

mod binary;
mod metrics;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use tempfile::TempDir;

use crate::client::{self, RawRequest, RawResponse};
use crate::eventually;
use crate::process::is_stopped;
pub use binary::proxy_binary;
pub use metrics::Metrics;

/// How long a gateway may take to bind its ports, to become ready, and to report a revision.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How a gateway is to be started.
#[derive(Clone, Debug)]
pub struct GatewayCommand {
    program: Option<PathBuf>,
    routes: PathBuf,
    arguments: Vec<String>,
}

impl GatewayCommand {
    /// A gateway over this routes file or directory, with status and admin ports and no listener yet.
    pub fn new(routes: &Path) -> Self {
        Self { program: None, routes: routes.to_owned(), arguments: Vec::new() }
    }

    /// Starts this program in place of the freshly built `turnout-proxy`.
    #[must_use]
    pub fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// Adds a listener for the Gateway servers with this port number; [`Gateway::address`] says where it listens.
    #[must_use]
    pub fn listen(self, gateway_port: u16) -> Self {
        self.args(&["--listen", &format!("{gateway_port}=127.0.0.1:0")])
    }

    /// Adds arguments as they are.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Starts the process and waits until it is ready to serve.
    pub async fn start(&self) -> anyhow::Result<Gateway> {
        let gateway = self.spawn().await?;
        gateway.wait_until_ready().await?;
        Ok(gateway)
    }

    /// Starts the process and waits until its ports are bound, whatever it thinks of its routes.
    pub async fn spawn(&self) -> anyhow::Result<Gateway> {
        let scratch = tempfile::tempdir()?;
        let addresses_file = scratch.path().join("addresses.json");
        let process = Process::start(self.command(&addresses_file)?, scratch)?;
        let addresses = process.wait_for("binds no ports", || ready(read_addresses(&addresses_file)));
        let addresses = addresses.await?;
        Ok(Gateway { process, addresses })
    }

    /// The command line. Settings that the tests' own environment holds for a gateway are kept from it.
    fn command(&self, addresses_file: &Path) -> anyhow::Result<Command> {
        let mut command = match &self.program {
            Some(program) => Command::new(program),
            None => Command::new(proxy_binary()?),
        };
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("TURNOUT_") {
                command.env_remove(variable);
            }
        }
        command.arg("--routes").arg(&self.routes).arg("--addresses-file").arg(addresses_file);
        command.args(["--status", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).args(&self.arguments);
        Ok(command)
    }
}

/// A running gateway. Dropping it kills the process.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    addresses: Addresses,
}

/// What the gateway says about the revisions of its routes.
#[derive(Clone, Debug, Deserialize)]
pub struct Revisions {
    /// The revision that serves, if there is one.
    pub active: Option<String>,
    /// The revision that was refused last, until a good one comes.
    pub rejected: Option<Rejected>,
}

/// A revision that changed nothing, and why.
#[derive(Clone, Debug, Deserialize)]
pub struct Rejected {
    /// The revision; absent where not even the bytes could be read.
    pub revision: Option<String>,
    /// What is wrong, with document and field path.
    pub reason: String,
}

impl Gateway {
    /// Where the listener for this Gateway port listens. Panics if there is none.
    pub fn address(&self, gateway_port: u16) -> SocketAddr {
        let address = self.addresses.listeners.get(&gateway_port);
        *address.unwrap_or_else(|| panic!("no listener for the Gateway port {gateway_port}"))
    }

    /// The status port.
    pub fn status_address(&self) -> SocketAddr {
        self.addresses.status
    }

    /// The admin port.
    pub fn admin_address(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id
    }

    /// What the process wrote to its standard output and error so far: for failure messages.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Asks the status port.
    pub async fn status(&self, path: &str) -> anyhow::Result<RawResponse> {
        get(self.addresses.status, path).await
    }

    /// Asks the admin port.
    pub async fn admin(&self, path: &str) -> anyhow::Result<RawResponse> {
        get(self.addresses.admin, path).await
    }

    /// Reads `/revision`.
    pub async fn revisions(&self) -> anyhow::Result<Revisions> {
        let response = self.status("/revision").await?;
        let revisions = serde_json::from_slice(&response.body);
        revisions.with_context(|| format!("/revision: {} {}", response.status, response.text()))
    }

    /// Reads `/metrics`.
    pub async fn metrics(&self) -> anyhow::Result<Metrics> {
        Ok(Metrics::parse(&self.status("/metrics").await?.text()))
    }

    /// Waits until `/readyz` answers 200.
    pub async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let ready = self.process.wait_for("is not ready", || async {
            let response = self.status("/readyz").await?;
            anyhow::ensure!(response.status == 200, "/readyz: {} {}", response.status, response.text());
            Ok(())
        });
        ready.await
    }

    /// Waits until a revision other than `before` serves, and returns it.
    pub async fn wait_for_revision_after(&self, before: Option<&str>) -> anyhow::Result<String> {
        let revision = self.process.wait_for("serves no other revision", || async {
            let revisions = self.revisions().await?;
            let other = revisions.active.clone().filter(|active| Some(active.as_str()) != before);
            other.with_context(|| format!("{revisions:?}"))
        });
        revision.await
    }

    /// Waits until the gateway reports a revision that it refused, and returns it.
    pub async fn wait_for_rejection(&self) -> anyhow::Result<Rejected> {
        let rejected = self.process.wait_for("refuses nothing", || async {
            let revisions = self.revisions().await?;
            revisions.rejected.clone().with_context(|| format!("{revisions:?}"))
        });
        rejected.await
    }

    /// Sends the process a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status()?;
        anyhow::ensure!(status.success(), "kill -s {name} ended with {status}");
        Ok(())
    }

    /// Stops the process (SIGSTOP), and returns when none of its threads runs any more: what comes for it from then on is
    /// found by all of them only after [`Gateway::resume`]. On Linux only, where the kernel tells.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.signal("STOP")?;
        eventually(DEADLINE, || async {
            anyhow::ensure!(is_stopped(self.id())?, "a thread of turnout-proxy still runs");
            anyhow::Ok(())
        })
        .await
    }

    /// Lets a stopped process go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    /// Waits until the process has ended by itself.
    pub async fn wait_until_exit(&self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let exit = eventually(deadline, || ready(self.process.exited().context("it runs")));
        exit.await.with_context(|| format!("turnout-proxy does not end. Its log:\n{}", self.log()))
    }
}

/// The file that the gateway writes when its ports are bound.
#[derive(Debug, Deserialize)]
struct AddressesFile {
    listeners: Vec<ListenerAddress>,
    status: SocketAddr,
    admin: SocketAddr,
}

#[derive(Debug, Deserialize)]
struct ListenerAddress {
    gateway_port: u16,
    address: SocketAddr,
}

#[derive(Debug)]
struct Addresses {
    listeners: BTreeMap<u16, SocketAddr>,
    status: SocketAddr,
    admin: SocketAddr,
}

fn read_addresses(file: &Path) -> anyhow::Result<Addresses> {
    let file: AddressesFile = serde_json::from_slice(&fs::read(file)?)?;
    let listeners = file.listeners.into_iter();
    let listeners = listeners.map(|listener| (listener.gateway_port, listener.address)).collect();
    Ok(Addresses { listeners, status: file.status, admin: file.admin })
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<RawResponse> {
    let request = RawRequest::new("GET", path).header("Host", &address.to_string());
    Ok(client::send(address, &request.header("Connection", "close")).await?)
}

/// The process and the directory that it writes to. Dropping it kills the process.
#[derive(Debug)]
struct Process {
    child: Mutex<Child>,
    id: u32,
    scratch: TempDir,
}

impl Process {
    fn start(mut command: Command, scratch: TempDir) -> anyhow::Result<Self> {
        let output = File::create(log_file(&scratch))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let id = child.id();
        Ok(Self { child: Mutex::new(child), id, scratch })
    }

    /// How the process ended, if it has.
    fn exited(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().expect("the process is a child of this one")
    }

    fn log(&self) -> String {
        let log = fs::read(log_file(&self.scratch)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Asks `probe` until it succeeds, the process ends or [`DEADLINE`] passes; the error then says what the gateway
    /// `lacks` and shows its log.
    async fn wait_for<T, F>(&self, lacks: &str, probe: impl Fn() -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let result = eventually(DEADLINE, || async {
            match self.exited() {
                Some(status) => Ok(Err(anyhow!("it ended with {status}"))),
                None => probe().await.map(Ok),
            }
        });
        let result = result.await.and_then(|result| result);
        result.with_context(|| format!("turnout-proxy {lacks}. Its log:\n{}", self.log()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn log_file(scratch: &TempDir) -> PathBuf {
    scratch.path().join("gateway.log")
}

#[cfg(test)]
mod tests;
