//! What carries no request: the routes are reloaded, the gateway's state is shown on the status and admin ports. Runs on
//! the first thread, above everything that serves.

pub(crate) mod admin;
mod backends;
mod evidence;
mod gauges;
pub(crate) mod pages;
pub(crate) mod reload;
pub(crate) mod status;

use crate::credentials::Credentials;
use crate::downstream::worker::WorkerHandle;
use crate::drain::Drain;
use crate::evidence::Evidence;
use crate::pairs::Pairs;
use crate::snapshot::Snapshots;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Registry;
use pages::Pages;
use std::sync::Arc;

/// What the ports tell about.
pub(crate) struct Control {
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) evidence: Arc<Evidence>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) workers: Vec<WorkerHandle>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) pages: Pages,
    pub(crate) pairs: Arc<Pairs>,
}
