//! A worker: one thread, one single-threaded runtime, its own connections on both sides. Workers share the snapshot, the
//! registry of upstreams and the counters, and nothing else.

use super::accepted::Accepted;
use super::local_thread;
use super::serve::Server;
use super::tls::TlsAcceptor;
use crate::credentials::Credentials;
use crate::drain::{Drain, Phase};
use crate::gateway::Gateway;
use crate::pairs::Pairs;
use crate::settings::{ConnectionSettings, RequestSettings};
use crate::snapshot::Snapshots;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::cells::WorkerMetrics;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::record::Telemetry;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How often a worker does what is not done for any request, and shows that it is alive.
const TICK: Duration = Duration::from_secs(1);
/// A worker that has not ticked for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// What all workers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) requests: Arc<RequestSettings>,
    pub(crate) connections: Arc<ConnectionSettings>,
    pub(crate) pairs: Arc<Pairs>,
}

/// The way to a worker from other threads.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    commands: mpsc::UnboundedSender<Command>,
    connections: Arc<AtomicUsize>,
    /// Milliseconds from `started` to the last tick.
    last_tick_ms: Arc<AtomicU64>,
    started: Instant,
}

enum Command {
    Serve(Accepted),
    FlushMetrics(oneshot::Sender<()>),
}

impl WorkerHandle {
    /// Starts a worker's thread.
    pub(crate) fn start(number: usize, shared: Shared) -> io::Result<(Self, JoinHandle<()>)> {
        let (commands, received) = mpsc::unbounded_channel();
        let handle =
            Self { commands, connections: Arc::default(), last_tick_ms: Arc::default(), started: Instant::now() };
        let own = handle.clone();
        let thread = local_thread::start(format!("worker-{number}"), move || own.run(received, shared))?;
        Ok((handle, thread))
    }

    /// How many connections the worker has.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether the worker takes connections: one whose thread has ended takes none.
    pub(crate) fn is_serving(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Hands a connection over. A worker that has ended drops it.
    pub(crate) fn serve(&self, accepted: Accepted) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        if self.commands.send(Command::Serve(accepted)).is_err() {
            self.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Asks the worker to add its cells to the shared series; returns when it has.
    pub(crate) async fn flush_metrics(&self) {
        let (done, flushed) = oneshot::channel();
        if self.commands.send(Command::FlushMetrics(done)).is_ok() {
            let _ = flushed.await;
        }
    }

    /// Whether the worker's thread still turns.
    pub(crate) fn is_alive(&self) -> bool {
        let last = Duration::from_millis(self.last_tick_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last) < STUCK_AFTER
    }

    async fn run(self, mut received: mpsc::UnboundedReceiver<Command>, shared: Shared) {
        let mut phases = shared.drain.phases();
        let server = Rc::new(Server::for_worker(&shared));
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                command = received.recv() => match command {
                    Some(Command::Serve(accepted)) => self.spawn(accepted, &server, &shared.metrics),
                    Some(Command::FlushMetrics(done)) => {
                        server.gateway.flush_metrics();
                        let _ = done.send(());
                    }
                    None => return,
                },
                _ = tick.tick() => {
                    let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.last_tick_ms.store(now_ms, Ordering::Relaxed);
                    server.gateway.tick();
                }
                changed = phases.changed() => {
                    let phase = *phases.borrow_and_update();
                    server.drain(phase);
                    if phase == Phase::Ended || changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn spawn(&self, accepted: Accepted, server: &Rc<Server>, metrics: &Arc<Metrics>) {
        let (server, metrics, connections) = (Rc::clone(server), Arc::clone(metrics), Arc::clone(&self.connections));
        tokio::task::spawn_local(async move {
            let _counted = Counted(connections);
            let (peer, place) = (accepted.peer, accepted.place);
            if let Err(error) = server.serve(accepted.stream, peer, accepted.gateway_port).await {
                tracing::debug!(%peer, %error, "connection ended");
                metrics.connection_errors.with_label_values(&[error.kind()]).inc();
            }
            drop(place);
        });
    }
}

/// A connection among a worker's, until it is dropped: also when serving it panics.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    fn for_worker(shared: &Shared) -> Self {
        let telemetry =
            Rc::new(Telemetry { metrics: WorkerMetrics::new(&shared.metrics), access_log: shared.access_log.clone() });
        let (drain, pairs) = (&shared.drain, &shared.pairs);
        let gateway = Gateway::new(&shared.requests, &shared.snapshots, &shared.credentials, &telemetry, drain, pairs);
        Self {
            gateway: Rc::new(gateway),
            snapshots: Arc::clone(&shared.snapshots),
            tls: TlsAcceptor::new(&shared.credentials, shared.connections.max_tls_handshakes),
            settings: Arc::clone(&shared.connections),
            requests: Arc::clone(&shared.requests),
            drain: Arc::clone(&shared.drain),
            clients: RefCell::default(),
        }
    }
}
