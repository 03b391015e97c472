//! One worker's connections to one endpoint. Those of HTTP/1 are kept while nothing is sent, and leased to one request at a
//! time; those of HTTP/2 are shared.

use super::Endpoint;
use super::http1::{Http1, UpstreamSocket};
use super::http2::{Http2, Http2Stream};
use super::keep::Keep;
use super::limits::{Connections, Place};
use super::stream::TlsPeer;
use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use turnout_routes::router::Http2Policy;

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
    /// Of HTTP/2.
    shared_connections: RefCell<Vec<Rc<Http2>>>,
    /// Others of HTTP/2 that are being made.
    awaited: RefCell<Vec<Rc<Awaited>>>,
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
            shared_connections: RefCell::default(),
            awaited: RefCell::default(),
        }
    }

    pub(super) fn load(&self) -> u32 {
        self.load.get()
    }

    /// The most recently used connection that is still open and has come to rest, of those that were made for that peer.
    pub(super) fn take_idle(&self, peer: Option<&TlsPeer>) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return None;
        }
        let now = Instant::now();
        let at = (0..idle.len()).rev().find(|at| {
            let Idle { connection, expires } = &mut idle[*at];
            now < *expires && connection.peer.as_deref() == peer && connection.is_ready()
        })?;
        Some(Connection::Own(idle.remove(at).connection))
    }

    /// A stream of a connection of HTTP/2 that was made for that peer, if one may have one more.
    pub(super) fn take_stream(&self, peer: Option<&TlsPeer>, policy: &Http2Policy) -> Option<Connection> {
        let mut shared = self.shared_connections.borrow_mut();
        if shared.is_empty() {
            return None;
        }
        let now = Instant::now();
        shared.retain(|connection| connection.is_open(now));
        let mut for_peer = shared.iter().filter(|connection| connection.peer.as_deref() == peer);
        for_peer.find_map(|connection| connection.begin(policy)).map(|stream| Connection::Stream(Box::new(stream)))
    }

    /// Lets others have streams of it.
    pub(super) fn share(&self, connection: &Rc<Http2>) {
        if !self.shared.is_retired() {
            self.shared_connections.borrow_mut().push(Rc::clone(connection));
        }
    }

    /// The connection of HTTP/2 that a request makes to that peer, if one does.
    pub(super) fn awaited(&self, peer: Option<&TlsPeer>) -> Option<Rc<Awaited>> {
        self.awaited.borrow().iter().find(|awaited| awaited.peer.as_ref() == peer).map(Rc::clone)
    }

    /// Closes one that is idle, of HTTP/1 the one that has been so for longest, and says whether there was one.
    pub(super) fn close_an_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            idle.remove(0);
            return true;
        }
        let mut shared = self.shared_connections.borrow_mut();
        let at = shared.iter().position(|connection| connection.is_idle());
        at.map(|at| shared.remove(at)).is_some()
    }

    /// Nobody will ask for them any more.
    pub(super) fn close_all_idle(&self) {
        self.idle.borrow_mut().clear();
        self.shared_connections.borrow_mut().clear();
    }

    /// Closes what has been idle for too long, and lets go of what the endpoint has closed.
    pub(super) fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain_mut(|idle| now < idle.expires && !idle.connection.is_closed());
        self.shared_connections.borrow_mut().retain(|connection| connection.is_open(now));
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

/// A request makes a connection of HTTP/2, until this is dropped. Others for the same peer wait for that.
pub(super) struct Making {
    endpoint: Rc<WorkerEndpoint>,
    awaited: Rc<Awaited>,
}

/// What they wait for.
pub(super) struct Awaited {
    peer: Option<TlsPeer>,
    over: Notify,
    has_failed: Cell<bool>,
}

impl Making {
    pub(super) fn new(endpoint: &Rc<WorkerEndpoint>, peer: Option<&TlsPeer>) -> Self {
        let awaited = Awaited { peer: peer.cloned(), over: Notify::new(), has_failed: Cell::new(false) };
        let making = Self { endpoint: Rc::clone(endpoint), awaited: Rc::new(awaited) };
        endpoint.awaited.borrow_mut().push(Rc::clone(&making.awaited));
        making
    }

    /// It cannot be made: whoever waits need not try it again.
    pub(super) fn fail(&self) {
        self.awaited.has_failed.set(true);
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.endpoint.awaited.borrow_mut().retain(|awaited| !Rc::ptr_eq(awaited, &self.awaited));
        self.awaited.over.notify_waiters();
        self.endpoint.connections.tell_freed();
    }
}

impl Awaited {
    /// Returns when it is made, or given up, and says whether it could be.
    pub(super) async fn is_made(&self) -> bool {
        self.over.notified().await;
        !self.has_failed.get()
    }
}

/// What one request has of the connections.
pub(super) enum Connection {
    /// All of one, over HTTP/1.
    Own(Box<Http1>),
    /// A stream of one, over HTTP/2. Boxed, since every request has room for either.
    Stream(Box<Http2Stream>),
}

impl Connection {
    /// Whether it has served another request before, so that its end is nobody's failure.
    pub(super) fn is_reused(&self) -> bool {
        match self {
            Self::Own(http1) => http1.was_kept,
            Self::Stream(stream) => stream.is_reused(),
        }
    }

    /// What a tunnel goes over, where it has been agreed on, and what has come behind the agreement.
    pub(super) fn take_socket(&mut self) -> Option<(UpstreamSocket, Bytes)> {
        match self {
            Self::Own(http1) => http1.take_socket(),
            Self::Stream(_) => None,
        }
    }

    /// One that is shared waits for the endpoint's word, and holds this until then.
    pub(super) fn settle(&self, making: Option<Making>, within: Duration) {
        if let Self::Stream(stream) = self {
            stream.settle(making, within);
        }
    }

    /// For how long it is kept without a request.
    pub(super) fn keep(&mut self, keep: Keep) {
        match self {
            Self::Own(http1) => http1.keep = keep,
            Self::Stream(stream) => stream.keep(keep),
        }
    }
}

/// A connection that one request uses. Dropped, it is closed, or its stream ended; [`Lease::give_back`] keeps it.
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) at: AtEndpoint,
}

impl Lease {
    /// A connection to where the request is.
    pub(super) fn new(connection: Connection, at: AtEndpoint) -> Self {
        Self { connection, at }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.at.endpoint.shared
    }

    /// Whether it is one of several uses of a connection.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.connection, Connection::Stream(_))
    }

    pub(super) fn poll_body(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.connection {
            Connection::Own(http1) => http1.poll_body(body, context),
            Connection::Stream(_) => Pin::new(body).poll_frame(context),
        }
    }

    /// Keeps the connection for another request: only to be called when the answer was read to its end and the request
    /// was sent to its end, since anything else leaves bytes of one request in the way of the next.
    pub(super) fn give_back(self) {
        let (mut connection, at) = match self {
            Self { connection: Connection::Own(connection), at } => (connection, at),
            Self { connection: Connection::Stream(stream), .. } => return stream.give_back(),
        };
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
