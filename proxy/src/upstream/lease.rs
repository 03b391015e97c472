//! One worker's connections to one endpoint: kept while nothing is sent, and leased to one request at a time.

use super::Endpoint;
use super::http1::Http1;
use bytes::Bytes;
use http_body::Frame;
use hyper::body::Incoming;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use turnout_routes::router::BackendPolicy;

/// Connections that one worker keeps to one endpoint while nothing is sent.
const MAX_IDLE_PER_ENDPOINT: usize = 1024;

/// A worker's side of one endpoint.
pub(super) struct WorkerEndpoint {
    pub(super) shared: Arc<Endpoint>,
    /// This worker's requests there.
    load: Cell<u32>,
    /// Most recently used last.
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    connection: Box<Http1>,
    expires: Instant,
}

impl WorkerEndpoint {
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self { shared: Arc::clone(endpoint), load: Cell::new(0), idle: RefCell::default() }
    }

    pub(super) fn load(&self) -> u32 {
        self.load.get()
    }

    /// The most recently used connection that is still open and has come to rest.
    pub(super) fn take_idle(&self) -> Option<Box<Http1>> {
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return None;
        }
        let now = Instant::now();
        let at = (0..idle.len()).rev().find(|at| now < idle[*at].expires && idle[*at].connection.is_ready())?;
        Some(idle.remove(at).connection)
    }

    /// Closes what has been idle for too long, and lets go of what the endpoint has closed.
    pub(super) fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain_mut(|idle| now < idle.expires && !idle.connection.is_closed());
    }
}

/// Counts a request among its endpoint's until it is dropped.
pub(super) struct AtEndpoint(pub(super) Rc<WorkerEndpoint>);

impl AtEndpoint {
    pub(super) fn new(endpoint: &Rc<WorkerEndpoint>) -> Self {
        endpoint.load.set(endpoint.load.get() + 1);
        Self(Rc::clone(endpoint))
    }
}

impl Drop for AtEndpoint {
    fn drop(&mut self) {
        self.0.load.set(self.0.load.get() - 1);
    }
}

/// A connection that one request uses. Dropped, it is closed; [`Lease::give_back`] keeps it.
pub(super) struct Lease {
    pub(super) connection: Box<Http1>,
    keep: Keep,
    at: AtEndpoint,
}

/// How long a connection is kept.
#[derive(Clone, Copy)]
struct Keep {
    idle_timeout: Duration,
    /// None is without limit.
    max_requests: Option<u32>,
}

impl Keep {
    fn new(policy: &BackendPolicy, default_idle_timeout: Duration) -> Self {
        let max_requests = Some(policy.max_requests_per_connection).filter(|max| *max != 0);
        Self { idle_timeout: policy.idle_timeout.unwrap_or(default_idle_timeout), max_requests }
    }
}

impl Lease {
    /// A connection to where the request is, to be kept as the policy says.
    pub(super) fn new(
        connection: Box<Http1>,
        at: AtEndpoint,
        policy: &BackendPolicy,
        default_idle_timeout: Duration,
    ) -> Self {
        Self { connection, keep: Keep::new(policy, default_idle_timeout), at }
    }

    pub(super) fn poll_body(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.connection.poll_body(body, context)
    }

    /// Keeps the connection for another request: only to be called when the answer was read to its end and the request
    /// was sent to its end, since anything else leaves bytes of one request in the way of the next.
    pub(super) fn give_back(self) {
        let Self { mut connection, keep, at } = self;
        let mut idle = at.0.idle.borrow_mut();
        let is_used_up = keep.max_requests.is_some_and(|max| connection.requests >= max);
        connection.rest();
        if is_used_up || connection.has_ended() || at.0.shared.is_retired() || idle.len() >= MAX_IDLE_PER_ENDPOINT {
            return;
        }
        idle.push(Idle { connection, expires: Instant::now() + keep.idle_timeout });
    }
}
