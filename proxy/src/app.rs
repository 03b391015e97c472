//! Start, run, end: binds what is to be bound, starts the threads (listed in ARCHITECTURE.md), and takes them down in
//! order. What runs in this file runs on the first thread, which carries no requests.

use crate::control::pages::Pages;
use crate::control::reload::{Reloader, WARM_UP};
use crate::control::{Control, admin, status};
use crate::credentials::Credentials;
use crate::downstream::listener::{self, Acceptor, Listener};
use crate::downstream::local_thread;
use crate::downstream::places::Places;
use crate::downstream::worker::{Shared, WorkerHandle};
use crate::drain::{Drain, Phase};
use crate::evidence::Evidence;
use crate::pairs::{Comparing, Pairs};
use crate::settings::{AccessLogForm, DrainSettings, Settings};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::{Metrics, MetricsError, SourceNames};
use crate::upstream::{Registry, Resolver};
use serde_json::json;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;
use turnout_routes::router::Identity;

/// How long connections wait for the first table: a little longer than that waits for the names in it.
const FIRST_TABLE: Duration = WARM_UP.saturating_add(Duration::from_millis(500));
/// How long an idle HTTP/1 connection is left open after the gateway has stopped accepting, so that a request that is
/// on its way still finds it.
const IDLE_GRACE: Duration = Duration::from_secs(2);
/// How often the end looks whether the connections are gone.
const LOOK: Duration = Duration::from_millis(20);

/// How long the last entries of the access log may take to be written.
const LAST_ENTRIES: Duration = Duration::from_secs(2);

/// Why the gateway did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An address, thread or file that is needed was not to be had.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Metrics could not be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] MetricsError),
}

/// Runs the gateway until it is told to end. Returns once every connection is over.
pub(crate) fn run(settings: Settings) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anybody can know of the gateway: told to end, it ends in order from its first moment.
    let end = {
        let _context = runtime.enter();
        EndSignals::listen()?
    };
    runtime.block_on(App::start(settings)?.run(end))
}

/// The signals that tell the gateway to end.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// From now on the signals are kept until they are asked for. Must run inside a runtime.
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns when one of them has come since the last return.
    async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What is bound and started.
struct App {
    settings: Settings,
    shared: Shared,
    workers: Vec<WorkerHandle>,
    worker_threads: Vec<JoinHandle<()>>,
    log_thread: Option<JoinHandle<()>>,
    listeners: Vec<Listener>,
    status: TcpListener,
    admin: TcpListener,
    places: Arc<Places>,
    comparing: Comparing,
}

impl App {
    /// Binds everything first: a gateway that cannot have its ports has started nothing.
    fn start(settings: Settings) -> Result<Self, AppError> {
        let (listeners, status, admin) = bind_all(&settings)?;
        if let Some(path) = &settings.addresses_file {
            write_addresses(path, &listeners, &status, &admin)?;
        }
        let names = SourceNames { workload: settings.workload.clone(), namespace: settings.namespace.clone() };
        let metrics = Arc::new(Metrics::new(names)?);
        let (access_log, log_thread) = match settings.access_log {
            AccessLogForm::Off => (AccessLog::off(metrics.access_log_dropped.clone()), None),
            AccessLogForm::Json | AccessLogForm::Text => {
                let (log, thread) = AccessLog::start(metrics.access_log_dropped.clone())?;
                (log, Some(thread))
            }
        };
        let (pairs, comparing) = Pairs::new(&metrics);
        let shared = Shared {
            snapshots: Arc::default(),
            credentials: Arc::new(Credentials::new(settings.credentials.clone())),
            drain: Arc::new(Drain::new()),
            requests: Arc::new(settings.requests.clone()),
            connections: Arc::new(settings.connections.clone()),
            metrics,
            access_log,
            pairs,
        };
        let started: io::Result<Vec<_>> =
            (0..settings.workers.get()).map(|number| WorkerHandle::start(number, shared.clone())).collect();
        let (workers, worker_threads) = started?.into_iter().unzip();
        let places = Places::new(&shared.metrics);
        Ok(Self { settings, shared, workers, worker_threads, log_thread, listeners, status, admin, places, comparing })
    }

    async fn run(self, mut end: EndSignals) -> Result<(), AppError> {
        let registry = Arc::new(Registry::new(Resolver::new(self.settings.dns_server)));
        let evidence = Arc::new(Evidence::new());
        let control = self.control(&registry, &evidence);
        let (first, first_table) = oneshot::channel();
        let reloader = reloader(&self.settings, &self.shared, (registry, evidence), &self.listeners, first);
        let acceptor = self.acceptor();
        let Self { settings, shared, worker_threads, log_thread, listeners, status, admin, places, comparing, .. } =
            self;
        tokio::spawn(comparing.run());
        tokio::spawn(serve("status", status, status::status_routes(&control))?);
        tokio::spawn(serve("admin", admin, admin::admin_routes(&control))?);
        let mut reloading = pin!(reloader.run());
        // Until there is a table connections wait where the system keeps them; told to end, they still get an answer.
        let ends = tokio::select! {
            () = &mut reloading => false,
            _ = tokio::time::timeout(FIRST_TABLE, first_table) => false,
            () = end.come() => true,
        };
        if ends {
            // Before anybody is answered, so that all are told that it is the last answer.
            shared.drain.advance(Phase::Leaving);
        }
        let accept_thread = accept(acceptor, listeners)?;
        if !ends {
            tokio::select! {
                () = &mut reloading => {}
                () = end.come() => {}
            }
        }
        // From here on nothing reloads: the table that serves sees the gateway out.
        tokio::select! {
            () = leave(&shared.drain, &settings.drain, &places, &accept_thread) => {}
            () = end.come() => tracing::warn!("told twice: ending at once"),
        }
        let cut = places.taken();
        shared.drain.advance(Phase::Ended);
        if cut > 0 {
            tracing::warn!(connections = cut, "connections were cut");
        }
        join("accept", accept_thread);
        for thread in worker_threads {
            join("worker", thread);
        }
        // With the workers' clones gone, the log's writer ends after the last entry.
        drop(shared);
        if let Some(thread) = log_thread {
            join_log(thread).await;
        }
        Ok(())
    }

    fn control(&self, registry: &Arc<Registry>, evidence: &Arc<Evidence>) -> Arc<Control> {
        Arc::new(Control {
            snapshots: Arc::clone(&self.shared.snapshots),
            registry: Arc::clone(registry),
            evidence: Arc::clone(evidence),
            credentials: Arc::clone(&self.shared.credentials),
            metrics: Arc::clone(&self.shared.metrics),
            workers: self.workers.clone(),
            drain: Arc::clone(&self.shared.drain),
            pages: Pages::default(),
            pairs: Arc::clone(&self.shared.pairs),
        })
    }

    fn acceptor(&self) -> Acceptor {
        Acceptor {
            workers: self.workers.clone(),
            metrics: Arc::clone(&self.shared.metrics),
            settings: Arc::clone(&self.shared.connections),
            drain: Arc::clone(&self.shared.drain),
            places: Arc::clone(&self.places),
        }
    }
}

/// The listeners, the status port and the admin port; all that cannot be had are reported at once.
fn bind_all(settings: &Settings) -> io::Result<(Vec<Listener>, TcpListener, TcpListener)> {
    let listeners: Vec<_> = settings.listeners.iter().map(listener::bind).collect();
    let [status, admin] = [("--status", settings.status), ("--admin", settings.admin)]
        .map(|(flag, address)| listener::bind_socket(flag, address));
    let failed = listeners.iter().filter_map(|bound| bound.as_ref().err());
    let failed = failed.chain([&status, &admin].into_iter().filter_map(|bound| bound.as_ref().err()));
    let failed: Vec<String> = failed.map(ToString::to_string).collect();
    if failed.is_empty() {
        return Ok((listeners.into_iter().collect::<io::Result<_>>()?, status?, admin?));
    }
    Err(io::Error::other(failed.join("\n")))
}

fn reloader(
    settings: &Settings,
    shared: &Shared,
    (registry, evidence): (Arc<Registry>, Arc<Evidence>),
    listeners: &[Listener],
    first: oneshot::Sender<()>,
) -> Reloader {
    Reloader {
        path: settings.routes.clone(),
        max_bytes: settings.max_routes_bytes,
        identity: Identity { labels: settings.labels.clone(), namespace: settings.namespace.clone() },
        registry,
        evidence,
        snapshots: Arc::clone(&shared.snapshots),
        credentials: Arc::clone(&shared.credentials),
        metrics: Arc::clone(&shared.metrics),
        served_ports: listeners.iter().map(|listener| listener.gateway_port).collect(),
        last_read: None,
        first: Some(first),
    }
}

/// Starts the thread that accepts for every listener.
fn accept(acceptor: Acceptor, listeners: Vec<Listener>) -> io::Result<JoinHandle<()>> {
    local_thread::start("accept".to_owned(), move || async move {
        let acceptor = std::rc::Rc::new(acceptor);
        let accept = |listener: Listener| {
            tracing::info!(address = %listener.address, gateway_port = listener.gateway_port, "listening");
            let acceptor = std::rc::Rc::clone(&acceptor);
            tokio::task::spawn_local(async move {
                if let Err(error) = acceptor.run(listener).await {
                    tracing::error!(%error, "a listener failed");
                }
            })
        };
        for accepting in listeners.into_iter().map(accept).collect::<Vec<_>>() {
            // One that failed has said so.
            let _ = accepting.await;
        }
    })
}

fn serve(
    name: &'static str,
    listener: TcpListener,
    routes: axum::Router,
) -> io::Result<impl Future<Output = ()> + use<>> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, name, "port failed");
        }
    })
}

/// The phases of the end; returns when no connection is left, or when the time is over.
async fn leave(drain: &Drain, settings: &DrainSettings, places: &Places, accepting: &JoinHandle<()>) {
    tracing::info!(delay = ?settings.delay, "leaving: not ready any more, still accepting");
    drain.advance(Phase::Leaving);
    tokio::time::sleep(settings.delay).await;

    tracing::info!(connections = places.taken(), timeout = ?settings.timeout, "draining");
    drain.advance(Phase::Draining);
    let since = Instant::now();
    let close_idle_after = IDLE_GRACE.min(settings.timeout / 2);
    // The accept thread still hands over what had been waiting, so none may be left only after it has ended.
    while (!accepting.is_finished() || places.taken() > 0) && since.elapsed() < settings.timeout {
        if since.elapsed() >= close_idle_after {
            drain.advance(Phase::ClosingIdle);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells those who asked for port 0 which ports they got. Written whole or not at all.
fn write_addresses(path: &Path, listeners: &[Listener], status: &TcpListener, admin: &TcpListener) -> io::Result<()> {
    let listeners: Vec<_> =
        listeners.iter().map(|l| json!({ "gateway_port": l.gateway_port, "address": l.address.to_string() })).collect();
    let addresses = json!({
        "listeners": listeners,
        "status": status.local_addr()?.to_string(),
        "admin": admin.local_addr()?.to_string(),
    });
    let unfinished = path.with_extension("tmp");
    let written = std::fs::write(&unfinished, addresses.to_string()).and_then(|()| std::fs::rename(&unfinished, path));
    written.map_err(|error| io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display())))
}

/// Waits for the last entries to be written; one who takes none must not keep the process.
async fn join_log(thread: JoinHandle<()>) {
    let since = Instant::now();
    while !thread.is_finished() {
        if since.elapsed() > LAST_ENTRIES {
            tracing::warn!("nobody takes the access log: its last entries are lost");
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    join("access-log", thread);
}

fn join(name: &str, thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!(name, "a thread had panicked");
    }
}
