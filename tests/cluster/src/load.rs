//! Load on a cluster: requests all the time from a process in the cluster's own network namespace, and an account of
//! every one of them.
//!
//! [`LoadProcess`] is the handle of such a process. It ends when the handle is dropped, and when the test ends however
//! that happens, because the process ends with the pipe that it hears orders from.

mod generator;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, own_program};

pub(crate) use generator::run as generate;

/// The body that requests carry where nothing else is said.
const BODY: &str = r#"{"data": [[1, 2, 3]]}"#;

/// The load that one process sends to one address.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LoadSpec {
    /// Where to connect: a load balancer's address, a cluster IP or a pod, with the port.
    pub target: SocketAddr,
    /// Keep-alive connections.
    pub connections: usize,
    /// A constant rate; without one each connection sends its next request when it has the last response.
    pub requests_per_second: Option<NonZeroU32>,
    /// It ends by itself after so many requests.
    pub max_requests: u64,
    /// It ends by itself after this time.
    pub max_seconds: u64,
    /// The longest that one request may take.
    pub timeout_seconds: u64,
    /// How an answer tells who gave it.
    pub told_by: ToldBy,
    /// The mix of requests.
    pub kinds: Vec<RequestKind>,
}

/// How an answer tells who gave it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToldBy {
    /// By the name of the model: the body is a JSON text, or an object with a text `model`.
    Model,
    /// By this header.
    Header(String),
}

/// One kind of request.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RequestKind {
    /// What the report calls it.
    pub name: String,
    /// How many of these there are, relative to the other kinds.
    pub share: u32,
    /// A body makes it a POST of JSON; without one it is a GET.
    pub body: Option<String>,
    /// The path and query.
    pub path: String,
    /// The host that it asks for; without one it is the target's address.
    pub host: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Who has to answer. An answer of anybody else counts in [`LoadReport::pins_wrong`].
    pub pinned_to: Option<String>,
}

/// What came of it, or of a part of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LoadReport {
    /// Requests that were sent and have finished, well or badly.
    pub sent: u64,
    /// Requests without a complete response, or with a status outside 200 to 399.
    pub failed: u64,
    /// Who answered the requests that are not pinned. An answer that does not tell counts as `none`.
    pub by_backend: BTreeMap<String, u64>,
    /// Pinned requests that somebody else answered. An answer that does not tell, such as an error, is not among them.
    pub pins_wrong: u64,
    /// Complete responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Failed requests by kind, in the words of [`turnout_bench::FailureKind`].
    pub errors: BTreeMap<String, u64>,
    /// The first few failures in full.
    pub first_failures: Vec<String>,
    /// Each kind of request by its name.
    pub kinds: BTreeMap<String, KindReport>,
    /// More than [`LoadSpec::connections`] means that connections were closed.
    pub connections_opened: u64,
    /// How long it took.
    pub seconds: f64,
    /// Microseconds that half of the complete responses did not exceed.
    pub latency_p50_us: u64,
    /// Microseconds that 99 % of the complete responses did not exceed.
    pub latency_p99_us: u64,
    /// Microseconds of the slowest complete response.
    pub latency_max_us: u64,
    /// Why it ended; none while it goes on.
    pub ended: Option<String>,
}

/// The account of one kind of request.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct KindReport {
    /// Requests that were sent and have finished, well or badly.
    pub sent: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Who answered.
    pub by_backend: BTreeMap<String, u64>,
    /// Complete responses by status.
    pub statuses: BTreeMap<u16, u64>,
}

impl LoadSpec {
    /// Requests without end to this address, on 8 connections, each as soon as the last is answered. They tell by the
    /// header `x-served-by` who answered; they are of no kind yet.
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            connections: 8,
            requests_per_second: None,
            max_requests: u64::MAX,
            max_seconds: 1800,
            timeout_seconds: 30,
            told_by: ToldBy::Header("x-served-by".to_owned()),
            kinds: Vec::new(),
        }
    }

    /// With this kind of request too.
    #[must_use]
    pub fn with(mut self, kind: RequestKind) -> Self {
        self.kinds.push(kind);
        self
    }

    /// With a constant rate, over all connections.
    #[must_use]
    pub fn at_rate(self, requests_per_second: NonZeroU32) -> Self {
        Self { requests_per_second: Some(requests_per_second), ..self }
    }
}

impl RequestKind {
    /// A POST to `/score` that any backend may answer, named `split`, with share 8.
    pub fn split() -> Self {
        Self {
            name: "split".to_owned(),
            share: 8,
            body: Some(BODY.to_owned()),
            path: "/score".to_owned(),
            host: None,
            headers: Vec::new(),
            pinned_to: None,
        }
    }

    /// A POST to `/score` with this header, which `backend` has to answer, named `pinned BACKEND`, with share 1.
    pub fn pinned(backend: &str, header: &str, value: &str) -> Self {
        Self {
            name: format!("pinned {backend}"),
            share: 1,
            headers: vec![(header.to_owned(), value.to_owned())],
            pinned_to: Some(backend.to_owned()),
            ..Self::split()
        }
    }

    /// The same with another share.
    #[must_use]
    pub fn share(self, share: u32) -> Self {
        Self { share, ..self }
    }

    /// The same for this host.
    #[must_use]
    pub fn host(self, host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..self }
    }
}

/// Load under way.
#[derive(Debug)]
pub struct LoadProcess {
    process: Child,
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
}

/// What the process is told, a line each.
const LAP: &str = "lap";
const SO_FAR: &str = "so far";
const WAIT_FOR: &str = "wait for ";

impl LoadProcess {
    /// Starts the load in the network namespace of the cluster; on an existing cluster it comes from this machine.
    pub fn start(cluster: &Cluster, spec: &LoadSpec) -> Result<Self> {
        let program = own_program()?;
        let mut command = if cluster.is_own() { cluster.network_command(program)? } else { Command::new(program) };
        command.arg("generate").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start the load")?;
        let orders = process.stdin.take();
        let reports = BufReader::new(process.stdout.take().context("a piped process has a standard output")?);
        let mut load = Self { process, orders, reports };
        let started = load.ask(&serde_json::to_string(spec)?).context("the load does not start")?;
        if started.ended.is_some() {
            bail!("the load ended at once");
        }
        Ok(load)
    }

    /// The account so far, of what has finished.
    pub fn so_far(&mut self) -> Result<LoadReport> {
        self.ask(SO_FAR)
    }

    /// The account so far, once at least so many requests have finished or the load has ended.
    pub fn wait_for(&mut self, requests: u64) -> Result<LoadReport> {
        self.ask(&format!("{WAIT_FOR}{requests}"))
    }

    /// The account of what has finished since the last call of this, or since the start.
    pub fn lap(&mut self) -> Result<LoadReport> {
        self.ask(LAP)
    }

    /// Sends no more; what is in flight finishes. Returns the account of everything.
    pub fn finish(mut self) -> Result<LoadReport> {
        self.orders = None;
        let report = self.read()?;
        let status = self.process.wait().context("cannot wait for the load")?;
        if !status.success() {
            bail!("the load ended with {status}");
        }
        Ok(report)
    }

    fn ask(&mut self, line: &str) -> Result<LoadReport> {
        let orders = self.orders.as_mut().context("the load has been told to finish")?;
        writeln!(orders, "{line}").context("the load is gone")?;
        self.read()
    }

    fn read(&mut self) -> Result<LoadReport> {
        let mut line = String::new();
        self.reports.read_line(&mut line).context("the load does not report")?;
        serde_json::from_str(&line).context("the load is gone")
    }
}

impl Drop for LoadProcess {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
