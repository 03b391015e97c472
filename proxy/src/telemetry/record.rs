//! The record of one request: collected on the way, closed when the response ends or is dropped, whichever way that
//! happens; then counted, and handed to the access log.

use crate::downstream::serve::ConnectionInfo;
use crate::error::{Flag, Flags};
use crate::telemetry::access_log::{AccessLog, Entry};
use crate::telemetry::metrics::WorkerMetrics;
use http::{HeaderValue, Method, StatusCode, Version};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use turnout_routes::router::{Rule, Workload};

/// Where records go; one per worker.
pub(crate) struct Telemetry {
    pub(crate) metrics: WorkerMetrics,
    pub(crate) access_log: AccessLog,
}

/// One request, from its head to the end of its response.
pub(crate) struct Record {
    telemetry: Rc<Telemetry>,
    connection: Rc<ConnectionInfo>,
    started: Instant,
    method: Method,
    version: Version,
    pub(crate) request_bytes: Rc<Cell<u64>>,
    pub(crate) response_bytes: u64,
    pub(crate) status: StatusCode,
    pub(crate) flags: Flags,
    pub(crate) grpc: bool,
    pub(crate) retries: u32,
    /// Where it went: the endpoint's names, else the backend's; none if it was not forwarded.
    pub(crate) workload: Option<Arc<Workload>>,
    pub(crate) endpoint: Option<SocketAddr>,
    /// What only the access log needs.
    pub(crate) detail: Option<Box<Detail>>,
}

/// What only the access log needs of a request.
#[derive(Default)]
pub(crate) struct Detail {
    pub(crate) authority: String,
    pub(crate) target: String,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) rule: Option<Arc<Rule>>,
}

impl Record {
    pub(crate) fn start(
        telemetry: &Rc<Telemetry>,
        connection: &Rc<ConnectionInfo>,
        method: &Method,
        version: Version,
    ) -> Self {
        connection.begin_request();
        Self {
            detail: telemetry.access_log.is_on().then(Box::default),
            telemetry: Rc::clone(telemetry),
            connection: Rc::clone(connection),
            started: Instant::now(),
            method: method.clone(),
            version,
            request_bytes: Rc::default(),
            response_bytes: 0,
            // No answer at all, as Envoy and Kiali write it, until there is one.
            status: NO_ANSWER,
            flags: Flags { flag: Flag::DownstreamGone, retries_exhausted: false },
            grpc: false,
            retries: 0,
            workload: None,
            endpoint: None,
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// The answer that the client gets.
    pub(crate) fn answer(&mut self, status: StatusCode, flags: Flags) {
        self.status = status;
        self.flags = flags;
    }

    /// The answer was not finished.
    pub(crate) fn fail(&mut self, flag: Flag) {
        self.flags.flag = flag;
    }
}

/// Stands for "no answer": 1xx is never the status of a finished request. Written as 0.
const NO_ANSWER: StatusCode = StatusCode::CONTINUE;

impl Drop for Record {
    fn drop(&mut self) {
        let answered = self.status != NO_ANSWER;
        self.connection.end_request(answered);
        let elapsed = self.started.elapsed();
        let code = if answered { self.status.as_u16() } else { 0 };
        self.telemetry.metrics.request(
            self.workload.as_ref(),
            code,
            self.flags,
            self.grpc,
            &crate::telemetry::metrics::Sizes {
                elapsed,
                request_bytes: self.request_bytes.get(),
                response_bytes: self.response_bytes,
            },
        );
        let Some(detail) = self.detail.take() else { return };
        self.telemetry.access_log.write(Entry {
            method: self.method.clone(),
            version: self.version,
            authority: detail.authority,
            target: detail.target,
            status: code,
            flags: self.flags,
            request_bytes: self.request_bytes.get(),
            response_bytes: self.response_bytes,
            elapsed,
            retries: self.retries,
            client: self.connection.peer,
            endpoint: self.endpoint,
            workload: self.workload.clone(),
            route: detail.rule.map(|rule| rule.origin.clone()),
            request_id: detail.request_id,
        });
    }
}
