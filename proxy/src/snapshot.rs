//! The route snapshot: one compiled table under its revision. Immutable and swapped whole; a request sees exactly one.
//! A request that begins after [`Snapshots::publish`] has returned is routed by the new one, on every worker.

use crate::evidence::SharedEpoch;
use crate::upstream::Upstream;
use arc_swap::ArcSwapOption;
use std::sync::{Arc, Mutex, PoisonError};
use turnout_routes::router::{Router, Tickets};

/// A compiled table and the upstreams that it names.
pub(crate) struct Snapshot {
    /// Lower-case hex SHA-256 of the sources, as [`turnout_routes::revision`] defines it.
    pub(crate) revision: String,
    pub(crate) router: Router,
    /// Of this table alone: each begins with new blocks.
    pub(crate) tickets: Tickets,
    /// By [`turnout_routes::router::BackendId`].
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// Where the requests of each of the router's policies are counted.
    pub(crate) evidence: Vec<Option<Arc<SharedEpoch>>>,
    /// What a person should know of the table, in words.
    pub(crate) warnings: Vec<String>,
    /// Gateway ports that no listener serves.
    pub(crate) unserved_ports: Vec<u16>,
}

/// The snapshot that serves, and what became of the newest routes file.
#[derive(Default)]
pub(crate) struct Snapshots {
    current: ArcSwapOption<Snapshot>,
    rejected: Mutex<Option<Rejected>>,
    unreadable: Mutex<Option<String>>,
}

/// A routes file that was not taken.
#[derive(Clone, Debug)]
pub(crate) struct Rejected {
    pub(crate) revision: String,
    /// One line for each problem.
    pub(crate) reason: String,
    /// Not even a key: nobody has published anything yet.
    pub(crate) is_nothing: bool,
}

impl Snapshots {
    /// Makes a snapshot the one that serves.
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        self.current.store(Some(Arc::new(snapshot)));
        self.set_rejected(None);
    }

    /// Remembers a refused routes file; what serves stays.
    pub(crate) fn reject(&self, rejected: Rejected) {
        self.set_rejected(Some(rejected));
    }

    /// The newest file is the one that serves again.
    pub(crate) fn clear_rejected(&self) {
        self.set_rejected(None);
    }

    fn set_rejected(&self, rejected: Option<Rejected>) {
        *self.rejected.lock().unwrap_or_else(PoisonError::into_inner) = rejected;
    }

    pub(crate) fn rejected(&self) -> Option<Rejected> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers why the routes cannot be read, or that they can; says whether that is news.
    pub(crate) fn set_unreadable(&self, why: Option<String>) -> bool {
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *unreadable != why;
        *unreadable = why;
        is_news
    }

    pub(crate) fn unreadable(&self) -> Option<String> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn current(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// Whether `snapshot` is the one that serves, without touching its count: workers ask this for every request.
    pub(crate) fn is_current(&self, snapshot: Option<&Arc<Snapshot>>) -> bool {
        let current = self.current.load();
        match (&*current, snapshot) {
            (Some(current), Some(snapshot)) => Arc::ptr_eq(current, snapshot),
            (None, None) => true,
            _ => false,
        }
    }
}
