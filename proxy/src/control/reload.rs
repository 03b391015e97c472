//! The way of a reload, in reading order: an event is only a hint; then read, compare, parse, compile, warm, publish.
//! Whatever goes wrong on the way leaves the table that serves as it is.

mod source;
mod watch;

use crate::downstream::tls::Credentials;
use crate::snapshot::{Rejected, Snapshot, Snapshots};
use crate::telemetry::metrics::Metrics;
use crate::upstream::Registry;
use source::{Sources, read_sources};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use turnout_routes::router::{Identity, Router, compile};
use turnout_routes::{parse, revision};
use watch::Watch;

/// How long a new table waits for the first answers to the names in it.
const WARM_UP: Duration = Duration::from_secs(2);
/// Looks without a hint, in case one was lost.
const LOOK_ANYWAY: Duration = Duration::from_secs(10);
/// Looks where the system has no more watches to give.
const LOOK_UNWATCHED: Duration = Duration::from_secs(1);

/// Keeps the route snapshot as the files say.
pub(crate) struct Reloader {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) registry: Arc<Registry>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) metrics: Arc<Metrics>,
    /// The Gateway ports that the listeners serve.
    pub(crate) served_ports: BTreeSet<u16>,
    /// What was read last, taken or not.
    pub(crate) last_read: Option<String>,
}

impl Reloader {
    /// Reloads whenever something changes, for as long as it is polled.
    pub(crate) async fn run(mut self) {
        let mut watch = Watch::new(&self.path);
        loop {
            self.reload().await;
            if let Some(snapshot) = self.snapshots.current() {
                self.credentials.load(&snapshot.router, &self.metrics);
                watch.refresh(&self.credentials.folders(&snapshot.router));
            }
            // A time-out is as good as a hint.
            let look_anyway = if watch.is_complete() { LOOK_ANYWAY } else { LOOK_UNWATCHED };
            let _ = tokio::time::timeout(look_anyway, watch.hint()).await;
        }
    }

    async fn reload(&mut self) {
        let sources = match read_sources(&self.path).await {
            Ok(sources) => sources,
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "routes cannot be read: the last good table keeps serving");
                self.count("unreadable");
                return;
            }
        };
        let revision = revision(&sources.as_sources());
        if self.last_read.as_ref() == Some(&revision) {
            return;
        }
        self.last_read = Some(revision.clone());
        if self.snapshots.current().is_some_and(|current| current.revision == revision) {
            tracing::info!(revision, "the routes that serve are back");
            self.snapshots.clear_rejected();
            self.metrics.rejected.set(0);
            return;
        }
        match self.parse(sources).await {
            Ok(router) => self.publish(revision, router).await,
            Err(reason) => self.reject(revision, reason),
        }
    }

    /// Off this thread: a large file takes a while, and the status port is served here, too.
    async fn parse(&self, sources: Sources) -> Result<Router, String> {
        let identity = self.identity.clone();
        let parsed = tokio::task::spawn_blocking(move || {
            let parsed = parse(&sources.as_sources()).map_err(|problems| problems.to_string())?;
            for warning in &parsed.warnings {
                tracing::warn!("{warning}");
            }
            Ok(compile(&parsed.documents, &identity))
        });
        parsed.await.unwrap_or_else(|error| Err(format!("the parser failed: {error}")))
    }

    async fn publish(&self, revision: String, router: Router) {
        for notice in router.notices() {
            tracing::info!("{notice}");
        }
        self.metrics.listener_unserved.reset();
        for port in router.ports().filter(|port| !self.served_ports.contains(port)) {
            tracing::warn!(port, "no --listen serves this Gateway port");
            self.metrics.listener_unserved.with_label_values(&[&port.to_string()]).set(1);
        }
        let prepared = self.registry.prepare(router.backends());
        // One limit for all of them: a name that does not resolve must not keep a table away.
        let _ = tokio::time::timeout(WARM_UP, prepared.warmed()).await;
        self.credentials.load(&router, &self.metrics);
        let upstreams = prepared.commit();
        tracing::info!(revision, backends = upstreams.len(), "routes in effect");
        self.snapshots.publish(Snapshot { revision, router, upstreams });
        self.metrics.rejected.set(0);
        self.count("published");
    }

    fn reject(&self, revision: String, reason: String) {
        tracing::error!(revision, "routes refused: the last good table keeps serving\n{reason}");
        self.snapshots.reject(Rejected { revision, reason });
        self.metrics.rejected.set(1);
        self.count("rejected");
    }

    fn count(&self, result: &str) {
        self.metrics.reloads.with_label_values(&[result]).inc();
    }
}
