//! The access log: one line a request on standard output, JSON for machines or text for people. The request path only
//! hands over a finished entry; a thread of its own formats and writes it through `tracing`. The queue is bounded: when
//! the writer cannot keep up, entries are dropped and counted, and requests go on.

use crate::error::Flags;
use crate::telemetry::metrics::Counter;
use http::{HeaderValue, Method, Version};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;
use turnout_routes::router::{Origin, Workload};

/// The tracing target of access log lines; everything else is the gateway's own log.
pub(crate) const TARGET: &str = "access";

/// Entries that may wait to be written.
const QUEUE: usize = 16_384;

/// Where entries are handed over. Cheap to clone; one per worker.
#[derive(Clone)]
pub(crate) struct AccessLog {
    queue: Option<SyncSender<Entry>>,
    dropped: Counter,
}

/// What is said of a request.
pub(crate) struct Entry {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) authority: String,
    pub(crate) target: String,
    /// 0 if there was no answer.
    pub(crate) status: u16,
    pub(crate) flags: Flags,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) elapsed: Duration,
    pub(crate) retries: u32,
    pub(crate) client: SocketAddr,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) workload: Option<Arc<Workload>>,
    pub(crate) route: Option<Origin>,
    pub(crate) request_id: Option<HeaderValue>,
}

impl AccessLog {
    /// A log that writes nothing.
    pub(crate) fn off(dropped: Counter) -> Self {
        Self { queue: None, dropped }
    }

    /// Starts the writer; it ends when every clone of the log is gone.
    pub(crate) fn start(dropped: Counter) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, entries) = mpsc::sync_channel::<Entry>(QUEUE);
        let writer = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            for entry in entries {
                entry.emit();
            }
        })?;
        Ok((Self { queue: Some(queue), dropped }, writer))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    pub(crate) fn write(&self, entry: Entry) {
        if let Some(queue) = &self.queue
            && let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(entry)
        {
            self.dropped.inc();
        }
    }
}

impl Entry {
    fn emit(&self) {
        let duration_ms = self.elapsed.as_secs_f64() * 1000.0;
        tracing::info!(
            target: TARGET,
            method = %self.method,
            authority = self.authority,
            path = self.target,
            protocol = ?self.version,
            status = self.status,
            flags = %self.flags,
            duration_ms,
            request_bytes = self.request_bytes,
            response_bytes = self.response_bytes,
            retries = self.retries,
            client = %self.client,
            endpoint = self.endpoint.map(tracing::field::display),
            service = self.workload.as_ref().map(|workload| workload.service.as_str()),
            version = self.workload.as_ref().map(|workload| workload.version.as_str()),
            route = self.route.as_ref().map(tracing::field::display),
            request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok()),
        );
    }
}
