//! The way of a reload, in reading order: an event is only a hint; then read, compare, parse, compile, warm, publish.
//! Whatever goes wrong on the way leaves the table that serves as it is.

mod source;
mod watch;

use crate::credentials::Credentials;
use crate::evidence::{Evidence, Governed};
use crate::random::Random;
use crate::snapshot::{Rejected, Snapshot, Snapshots};
use crate::telemetry::metrics::Metrics;
use crate::upstream::{Registry, Upstream};
use source::{Sources, read_sources};
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use turnout_routes::router::{Identity, Router, Split, compile};
use turnout_routes::{locate, parse_up_to, revision};
use watch::Watch;

/// How long a new table waits for the first answers to the names in it.
pub(crate) const WARM_UP: Duration = Duration::from_secs(2);
/// Warnings of one table that are logged.
const LOGGED_WARNINGS: usize = 50;
/// Looks without a hint, in case one was lost.
const LOOK_ANYWAY: Duration = Duration::from_secs(10);
/// Looks where the system has no more watches to give.
const LOOK_UNWATCHED: Duration = Duration::from_secs(1);

/// Between two looks: of a file that is written beside the routes, a log perhaps, each line is a hint.
const REST: Duration = Duration::from_millis(20);

/// Keeps the route snapshot as the files say.
pub(crate) struct Reloader {
    pub(crate) path: PathBuf,
    /// How much they may hold.
    pub(crate) max_bytes: usize,
    pub(crate) identity: Identity,
    pub(crate) registry: Arc<Registry>,
    pub(crate) evidence: Arc<Evidence>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) metrics: Arc<Metrics>,
    /// The Gateway ports that the listeners serve.
    pub(crate) served_ports: BTreeSet<u16>,
    /// What was read last, taken or not.
    pub(crate) last_read: Option<String>,
    /// Told when the first file that could be read was taken or refused.
    pub(crate) first: Option<oneshot::Sender<()>>,
}

/// A table that is not published yet.
struct Table {
    revision: String,
    router: Router,
    warnings: Vec<String>,
}

impl Reloader {
    /// Reloads whenever something changes, for as long as it is polled.
    pub(crate) async fn run(mut self) {
        let mut watch = Watch::new(&self.path);
        loop {
            self.look(&mut watch).await;
            tokio::time::sleep(REST).await;
            // A time-out is as good as a hint.
            let look_anyway = if watch.is_complete() { LOOK_ANYWAY } else { LOOK_UNWATCHED };
            let _ = tokio::time::timeout(look_anyway, watch.hint()).await;
        }
    }

    /// Looks once, and takes what is there.
    async fn look(&mut self, watch: &mut Watch) {
        if let Some(table) = self.next_table().await {
            self.publish(table, watch).await;
        } else if let Some(snapshot) = self.snapshots.current() {
            self.load_credentials(&snapshot.router, watch);
        }
    }

    /// The table in the files, if it is good and not the one that serves.
    async fn next_table(&mut self) -> Option<Table> {
        let sources = match read_sources(&self.path, self.max_bytes).await {
            Ok(sources) => sources,
            Err(error) => {
                self.cannot_read(&error.to_string());
                return None;
            }
        };
        self.snapshots.set_unreadable(None);
        let revision = revision(&sources.as_sources());
        if self.last_read.as_ref() == Some(&revision) {
            return None;
        }
        self.last_read = Some(revision.clone());
        if self.snapshots.current().is_some_and(|current| current.revision == revision) {
            tracing::info!(revision, "the routes that serve are back");
            self.snapshots.clear_rejected();
            self.metrics.rejected.set(0);
            return None;
        }
        let is_nothing = sources.as_sources().is_empty();
        match self.parse(sources).await {
            Ok((router, warnings)) => Some(Table { revision, router, warnings }),
            Err(reason) => {
                self.reject(Rejected { revision, reason, is_nothing });
                None
            }
        }
    }

    /// Off this thread: a large file takes a while, and the status port is served here, too.
    async fn parse(&self, sources: Sources) -> Result<(Router, Vec<String>), String> {
        let (identity, max_bytes) = (self.identity.clone(), self.max_bytes);
        let parsed = tokio::task::spawn_blocking(move || {
            let parsed = parse_up_to(&sources.as_sources(), max_bytes).map_err(|problems| problems.to_string())?;
            let router = compile(&parsed.documents, &identity);
            let of_documents = parsed.warnings.iter().map(ToString::to_string);
            let of_names = locate(&sources.as_sources(), router.warnings());
            let warnings = of_documents.chain(of_names.iter().map(ToString::to_string)).collect();
            Ok((router, warnings))
        });
        parsed.await.unwrap_or_else(|error| Err(format!("the parser failed: {error}")))
    }

    /// Everything that the table needs is made ready beside the one that serves; then both of them, the upstreams and
    /// the table, are exchanged.
    async fn publish(&mut self, table: Table, watch: &mut Watch) {
        let Table { revision, router, mut warnings } = table;
        let unserved_ports: Vec<u16> = router.ports().filter(|port| !self.served_ports.contains(port)).collect();
        warnings.extend(unserved_ports.iter().map(|port| {
            format!("no listener serves the Gateway port {port}: start the gateway with --listen {port}=ADDR:PORT")
        }));
        for notice in router.notices() {
            tracing::info!("{notice}");
        }
        for warning in warnings.iter().take(LOGGED_WARNINGS) {
            tracing::warn!("{warning}");
        }
        if warnings.len() > LOGGED_WARNINGS {
            tracing::warn!(warnings = warnings.len(), "/revision on the status port has them all");
        }
        let prepared = self.registry.prepare(router.backends());
        // One limit for all of them: a name that does not resolve must not keep a table away.
        let _ = tokio::time::timeout(WARM_UP, prepared.warmed()).await;
        self.load_credentials(&router, watch);
        self.count_splits_from_zero(&router);
        let upstreams = prepared.commit();
        self.await_new_weight(&router, &upstreams);
        tracing::info!(revision, backends = upstreams.len(), "routes in effect");
        let tickets = router.tickets(&revision, Random::new().next_u64());
        let policies = router.rules().iter().filter_map(|rule| rule.policy.as_deref());
        let evidence = self.evidence.adopt(&revision, &policies.map(Governed::from).collect::<Vec<_>>());
        self.snapshots.publish(Snapshot { revision, router, tickets, upstreams, evidence, warnings, unserved_ports });
        self.metrics.rejected.set(0);
        self.count("published");
        self.tell_first();
    }

    /// Said once: whoever looks often would say little else, and if the log is beside the routes each line of it is a
    /// hint to look again.
    fn cannot_read(&mut self, error: &str) {
        self.count("unreadable");
        if self.snapshots.set_unreadable(Some(error.to_owned())) {
            let path = self.path.display();
            tracing::error!(%path, error, "routes cannot be read: {}", self.what_serves());
        }
    }

    fn what_serves(&self) -> &'static str {
        match self.snapshots.current() {
            Some(_) => "the last good table keeps serving",
            None => "nothing is served until they are corrected",
        }
    }

    fn reject(&mut self, rejected: Rejected) {
        let Rejected { revision, reason, is_nothing } = &rejected;
        if *is_nothing && self.snapshots.current().is_none() {
            tracing::info!("no routes are published yet");
        } else {
            tracing::error!(revision, "routes refused: {}\n{reason}", self.what_serves());
            self.metrics.rejected.set(1);
            self.count("rejected");
        }
        self.snapshots.reject(rejected);
        self.tell_first();
    }

    /// Watched first, so that no change falls between the two.
    fn load_credentials(&self, router: &Router, watch: &mut Watch) {
        watch.refresh(&self.credentials.folders(router));
        self.credentials.load(router);
    }

    fn tell_first(&mut self) {
        if let Some(first) = self.first.take() {
            // Whoever waited may have lost patience.
            let _ = first.send(());
        }
    }

    /// What weights give is counted from the first request on: a rate is of two readings.
    fn count_splits_from_zero(&self, router: &Router) {
        for (origin, split) in router.splits().filter(|(_, split)| split.is_by_weight()) {
            let route = origin.to_string();
            for target in split.targets() {
                self.metrics.split(&target.name, &route);
            }
        }
    }

    /// Who had no weight and gets some may be ahead of what DNS says of it. A table without a predecessor says nothing of
    /// when it got it.
    fn await_new_weight(&self, router: &Router, upstreams: &[Arc<Upstream>]) {
        let Some(current) = self.snapshots.current() else { return };
        let before: HashSet<u64> = weighted(&current.router, &current.upstreams).map(|upstream| upstream.id).collect();
        let new = weighted(router, upstreams).filter(|upstream| !before.contains(&upstream.id));
        new.for_each(|upstream| upstream.await_addresses());
    }

    fn count(&self, result: &str) {
        self.metrics.reloads.with_label_values(&[result]).inc();
    }
}

/// To whom weights give requests.
fn weighted<'a>(router: &'a Router, upstreams: &'a [Arc<Upstream>]) -> impl Iterator<Item = &'a Arc<Upstream>> {
    let splits = router.splits().map(|(_, split)| split).filter(|split| split.is_by_weight());
    let backends = splits.flat_map(Split::targets).filter_map(|target| target.backend.ok());
    backends.map(|backend| &upstreams[backend.0])
}

#[cfg(test)]
mod tests;
