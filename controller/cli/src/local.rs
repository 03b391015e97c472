//! `turnout local`: a gateway, two models and the stage machine over a directory, kept running. What it starts is also
//! what `turnout demo` measures: [`Local`] is both.

mod processes;
pub(crate) mod sample;
mod scratch;
pub(crate) mod site;
mod workloads;
mod world;

use crate::client::directory::{Directory, write_whole};
use crate::client::mount::{Mount, names_port};
use crate::output::{DONE, print, remark};
use anyhow::{Context as _, bail};
use clap::Args;
use notify::{RecursiveMode, Watcher as _};
use processes::Gateway;
pub(crate) use processes::{GatewayOptions, answer_of};
pub(crate) use scratch::Scratch;
use serde_json::json;
use site::Notice;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use turnout_rollout::{Backend, Severity};
use workloads::Workloads;

/// How long the first routes may take.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);
/// How often the gateway is looked after.
const HEALTH_TICK: Duration = Duration::from_millis(200);

/// Runs a gateway, two models and the stage machine on this machine, until Ctrl-C.
///
/// The directory holds documents/*.yaml (the routes), rollouts/model.yaml (the rollout, the same object as in a
/// cluster), status/model.json (what was reached), routes/ (what the gateway reads, laid out like a mounted ConfigMap)
/// and addresses.json. Edit the files, or use `turnout rollout ... --local DIR`. Started again over the same directory
/// it goes on where it was, also after it was killed, once its documents are right. Green and blue are scoring servers of its own: a revision R
/// answers "New Model R".
#[derive(Args)]
pub(crate) struct Arguments {
    /// The directory [default: a fresh one, removed at the end].
    #[arg(long, value_name = "DIR", env = "TURNOUT_DIR")]
    dir: Option<PathBuf>,

    /// Where the gateway serves; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", env = "TURNOUT_LOCAL_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Worker threads of the gateway; 0 is one per core.
    #[arg(long, value_name = "COUNT", env = "TURNOUT_WORKERS", default_value_t = 0)]
    workers: usize,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let scratch = arguments.dir.is_none().then(|| Scratch::new("turnout-local")).transpose()?;
    let root = match (&arguments.dir, &scratch) {
        (Some(dir), _) => dir.clone(),
        (None, Some(scratch)) => scratch.path().to_owned(),
        (None, None) => bail!("there is no directory"),
    };
    let options = GatewayOptions { listen: arguments.listen, workers: arguments.workers, ignore_environment: false };
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let (mut local, mut notices) = Local::start(&root, options).await?;
    local.record_addresses()?;
    print(&local.greeting())?;
    let outcome = tokio::select! {
        failed = local.watch_over() => failed,
        () = print_notices(&mut notices) => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminated.recv() => Ok(()),
    };
    local.end().await;
    outcome.map(|()| DONE)
}

async fn print_notices(notices: &mut mpsc::UnboundedReceiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Event { rollout, severity, reason, message } => {
                let mark = if severity == Severity::Warning { "warning: " } else { "" };
                remark(&format!("{rollout}: {mark}{reason}: {message}"));
            }
            Notice::Confirmed { after, .. } => {
                remark(&format!("gateway: confirmed in {:.1} ms", after.as_secs_f64() * 1000.0));
            }
            Notice::Problems(problems) if problems.is_empty() => remark("the files are all right again"),
            Notice::Problems(problems) => problems.iter().for_each(|problem| remark(&format!("problem: {problem}"))),
        }
    }
}

/// A gateway, two models and a driver over a directory.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) directory: Directory,
    gateway: Gateway,
    workloads: Workloads,
    driver: JoinHandle<()>,
    /// Hints the driver as long as it lives.
    _watcher: notify::RecommendedWatcher,
}

impl Local {
    /// Starts everything, in the order in which each needs the one before.
    pub(crate) async fn start(
        root: &std::path::Path,
        options: GatewayOptions,
    ) -> anyhow::Result<(Self, mpsc::UnboundedReceiver<Notice>)> {
        let directory = Directory::make(root)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let driver = site::driver(directory.clone(), sender)?;
        Gateway::forget_former(&directory)?;
        sample::write(&directory)?;
        let workloads = Workloads::start(&directory).await?;
        let changed = Arc::new(Notify::new());
        let watcher = watch(&directory, &changed)?;
        let driver = tokio::spawn(site::drive(driver, changed));
        wait_for_routes(&directory, &workloads).await.inspect_err(|_| driver.abort())?;
        let gateway = Gateway::start(&directory, options).await.inspect_err(|_| driver.abort())?;
        Ok((Self { directory, gateway, workloads, driver, _watcher: watcher }, receiver))
    }

    /// Where the gateway serves.
    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.address
    }

    /// While this is false no backend is removed.
    pub(crate) fn removal_switch(&self) -> Arc<AtomicBool> {
        self.workloads.removal_switch()
    }

    /// Does a pipeline's part of rollouts, and fails as soon as a process ends by itself.
    pub(crate) async fn watch_over(&mut self) -> anyhow::Result<()> {
        let Self { gateway, workloads, driver, .. } = self;
        let gateway_lives = async {
            loop {
                gateway.check()?;
                tokio::time::sleep(HEALTH_TICK).await;
            }
        };
        tokio::select! {
            failed = workloads.run() => failed,
            failed = gateway_lives => failed,
            ended = driver => {
                ended.context("the driver failed")?;
                bail!("the driver ended")
            }
        }
    }

    /// Ends everything, the gateway first.
    pub(crate) async fn end(self) {
        self.driver.abort();
        self.gateway.end().await;
        self.workloads.end().await;
        // The next driver forgets what cannot be removed.
        let _ = Gateway::forget_former(&self.directory);
        let _ = std::fs::remove_file(self.directory.root().join("addresses.json"));
    }

    /// For those who asked for port 0.
    fn record_addresses(&self) -> anyhow::Result<()> {
        let addresses = json!({
            "gateway": self.gateway.address,
            "status": self.gateway.addresses.status,
            "admin": self.gateway.addresses.admin,
            "green": self.workloads.address(Backend::Green),
            "blue": self.workloads.address(Backend::Blue),
        });
        write_whole(&self.directory.root().join("addresses.json"), format!("{addresses:#}\n").as_bytes())
    }

    fn greeting(&self) -> String {
        let (gateway, status) = (self.gateway.address, self.gateway.addresses.status);
        let directory = self.directory.root().display();
        format!(
            "Turnout runs over {directory} until Ctrl-C.\n\n\
             Score (curl, or POST in Postman):\n  \
             curl -s -d '{{\"data\": [1]}}' http://{gateway}/score\n  \
             curl -s -d '{{\"data\": [1]}}' -H 'x-api-version: blue' http://{gateway}/score\n\n\
             Roll out:\n  \
             export TURNOUT_LOCAL={directory}\n  \
             turnout rollout start --revision B --to Blue_50\n  \
             turnout wait --stage Blue_50 --timeout 30s\n  \
             turnout rollout status\n  \
             turnout rollout promote --to Green_100    (or: turnout rollout rollback)\n\n\
             Look:\n  \
             curl -s http://{status}/revision\n  \
             curl -s http://{}/routes\n",
            self.gateway.addresses.admin
        )
    }
}

/// Files that change hint the driver, so that it need not wait for its next tick.
fn watch(directory: &Directory, changed: &Arc<Notify>) -> anyhow::Result<notify::RecommendedWatcher> {
    let hint = Arc::clone(changed);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            hint.notify_one();
        }
    })
    .context("cannot watch files")?;
    for path in [directory.documents(), directory.rollouts()] {
        watcher
            .watch(&path, RecursiveMode::NonRecursive)
            .with_context(|| format!("cannot watch {}", path.display()))?;
    }
    Ok(watcher)
}

/// Waits until the driver has published routes to the models that run.
async fn wait_for_routes(directory: &Directory, workloads: &Workloads) -> anyhow::Result<()> {
    let mount = Mount::new(directory.routes());
    let models: Vec<SocketAddr> = Backend::BOTH.into_iter().filter_map(|backend| workloads.address(backend)).collect();
    let deadline = Instant::now() + PUBLISH_TIMEOUT;
    let mut told = Vec::new();
    loop {
        let text = mount.current()?.unwrap_or_default();
        if !text.is_empty() && models.iter().all(|model| names_port(&text, model.port())) {
            return Ok(());
        }
        let problems = directory.problems();
        if Instant::now() > deadline {
            bail!("no routes are published:\n{}", problems.join("\n"));
        }
        if told != problems {
            for problem in &problems {
                remark(&format!("problem: {problem}"));
            }
            remark("waiting for routes that can be published");
            told = problems;
        }
        tokio::time::sleep(LOOK).await;
    }
}
