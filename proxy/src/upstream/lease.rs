//! One worker's connections to one endpoint: kept while nothing is sent, and leased to one request at a time.

use super::Endpoint;
use super::http1::Http1;
use super::limits::{Connections, Place};
use super::stream::TlsPeer;
use bytes::Bytes;
use http_body::Frame;
use hyper::body::Incoming;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Connections that one worker keeps to one endpoint while nothing is sent.
const MAX_IDLE_PER_ENDPOINT: usize = 1024;

/// A worker's side of one endpoint.
pub(super) struct WorkerEndpoint {
    pub(super) shared: Arc<Endpoint>,
    /// This worker's requests there.
    load: Cell<u32>,
    /// When its next turn is, where endpoints take turns.
    pub(super) turn: Cell<f64>,
    /// Where their number is limited.
    pub(super) connections: Rc<Connections>,
    /// Most recently used last.
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    connection: Box<Http1>,
    expires: Instant,
}

impl WorkerEndpoint {
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self {
            shared: Arc::clone(endpoint),
            load: Cell::new(0),
            turn: Cell::new(0.0),
            connections: Rc::default(),
            idle: RefCell::default(),
        }
    }

    pub(super) fn load(&self) -> u32 {
        self.load.get()
    }

    /// The most recently used connection that is still open and has come to rest, of those that were made for that peer.
    pub(super) fn take_idle(&self, peer: Option<&TlsPeer>) -> Option<Box<Http1>> {
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return None;
        }
        let now = Instant::now();
        let at = (0..idle.len()).rev().find(|at| {
            let Idle { connection, expires } = &mut idle[*at];
            now < *expires && connection.peer.as_deref() == peer && connection.is_ready()
        })?;
        Some(idle.remove(at).connection)
    }

    /// Closes the one that has been idle for longest, and says whether there was one.
    pub(super) fn close_an_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let is_any = !idle.is_empty();
        if is_any {
            idle.remove(0);
        }
        is_any
    }

    /// Nobody will ask for them any more.
    pub(super) fn close_all_idle(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Closes what has been idle for too long, and lets go of what the endpoint has closed.
    pub(super) fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain_mut(|idle| now < idle.expires && !idle.connection.is_closed());
        // Places that other workers have freed are told to nobody.
        self.connections.tell_freed();
    }
}

/// Counts a request among its endpoint's until it is dropped.
pub(super) struct AtEndpoint {
    pub(super) endpoint: Rc<WorkerEndpoint>,
    /// Among the requests in flight, where they are limited and it has a connection.
    pub(super) place: Option<Place>,
}

impl AtEndpoint {
    pub(super) fn new(endpoint: &Rc<WorkerEndpoint>) -> Self {
        endpoint.load.set(endpoint.load.get() + 1);
        Self { endpoint: Rc::clone(endpoint), place: None }
    }
}

impl Drop for AtEndpoint {
    fn drop(&mut self) {
        self.endpoint.load.set(self.endpoint.load.get() - 1);
    }
}

/// A connection that one request uses. Dropped, it is closed; [`Lease::give_back`] keeps it.
pub(super) struct Lease {
    pub(super) connection: Box<Http1>,
    pub(super) at: AtEndpoint,
}

impl Lease {
    /// A connection to where the request is.
    pub(super) fn new(connection: Box<Http1>, at: AtEndpoint) -> Self {
        Self { connection, at }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.at.endpoint.shared
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
        let Self { mut connection, at } = self;
        let endpoint = &at.endpoint;
        let mut idle = endpoint.idle.borrow_mut();
        connection.rest();
        connection.was_kept = true;
        let Some(time_left) = connection.keep.time_left(connection.made, connection.requests) else { return };
        if connection.has_ended() || endpoint.shared.is_retired() {
            return;
        }
        if idle.len() >= MAX_IDLE_PER_ENDPOINT {
            idle.remove(0);
        }
        idle.push(Idle { connection, expires: Instant::now() + time_left });
        endpoint.connections.tell_freed();
    }
}
