//! One worker's connections to the upstreams. Nothing here is shared between threads: a connection is made, used and
//! kept by one worker, so taking one costs no lock.

use super::endpoint::EndpointLoad;
use super::{Endpoint, InFlightCounter, Upstream, UpstreamState};
use crate::body::TryBody;
use crate::limited_io::{LimitedIo, Progress, ProgressLimits};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rand::rngs::SmallRng;
use socket2::{SockRef, TcpKeepalive};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use turnout_routes::router::{BackendPolicy, Failure};

/// A backend's answer head may be this large; Envoy's limit.
const MAX_RESPONSE_HEADER_BYTES: usize = 60 << 10;
const MAX_RESPONSE_HEADERS: usize = 100;
/// An attempt to connect that was given up after this long counts as failed.
const SLOW_CONNECT: Duration = Duration::from_millis(250);
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// For limits that a connection to a backend does not have.
const NEVER: Duration = Duration::from_hours(24 * 365);
/// Connections that one worker keeps to one endpoint while nothing is sent.
const MAX_IDLE_PER_ENDPOINT: usize = 1024;

/// A worker's side of all upstreams. Held by the worker's snapshot and by requests, only remembered here: what no table
/// names any more goes with the last request to it.
#[derive(Default)]
pub(crate) struct WorkerUpstreams {
    by_id: RefCell<HashMap<u64, Weak<WorkerUpstream>>>,
}

/// A worker's side of one upstream.
pub(crate) struct WorkerUpstream {
    pub(crate) shared: Arc<Upstream>,
    /// The newest set that this worker has seen, with its connections to each endpoint, index by index.
    current: RefCell<Option<(Arc<UpstreamState>, Vec<Rc<WorkerEndpoint>>)>>,
    /// This worker's own.
    in_flight: Arc<InFlightCounter>,
}

/// A worker's side of one endpoint.
struct WorkerEndpoint {
    shared: Arc<Endpoint>,
    /// Most recently used last.
    idle: RefCell<Vec<IdleConnection>>,
}

struct IdleConnection {
    connection: Connection,
    requests: u32,
    expires: Instant,
}

/// A connection, and the task that drives it: without one the other is of no use.
struct Connection {
    sender: SendRequest<TryBody>,
    task: AbortHandle,
}

impl Drop for Connection {
    /// The task may be in the middle of a body that nobody wants any more.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WorkerUpstreams {
    /// This worker's side of an upstream, made when it is first asked for.
    pub(crate) fn of(&self, upstream: &Arc<Upstream>) -> Rc<WorkerUpstream> {
        let mut by_id = self.by_id.borrow_mut();
        let known = by_id.entry(upstream.id).or_default();
        known.upgrade().unwrap_or_else(|| {
            let made = Rc::new(WorkerUpstream::new(upstream));
            *known = Rc::downgrade(&made);
            made
        })
    }

    /// Closes connections that have been idle for too long, or whose endpoint is gone, and forgets upstreams that are
    /// gone. Called about once a second.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.by_id
            .borrow_mut()
            .retain(|_, upstream| upstream.upgrade().inspect(|upstream| upstream.sweep(now)).is_some());
    }
}

impl WorkerUpstream {
    fn new(upstream: &Arc<Upstream>) -> Self {
        Self { shared: Arc::clone(upstream), current: RefCell::default(), in_flight: upstream.counter() }
    }

    /// Takes up the newest endpoints if they have changed.
    fn refresh(&self) {
        let newest = self.shared.state();
        let mut current = self.current.borrow_mut();
        if current.as_ref().is_some_and(|(state, _)| Arc::ptr_eq(&newest, state)) {
            return;
        }
        let older: HashMap<u64, &Rc<WorkerEndpoint>> =
            current.iter().flat_map(|(_, known)| known).map(|known| (known.shared.id, known)).collect();
        let endpoints = newest.endpoints.as_slice().iter().map(|endpoint| {
            let known = older.get(&endpoint.id).copied();
            known.map_or_else(|| Rc::new(WorkerEndpoint::new(endpoint)), Rc::clone)
        });
        let endpoints = endpoints.collect();
        *current = Some((Arc::clone(&newest), endpoints));
    }

    /// Chooses an endpoint and takes a connection to it: one that is idle, or a new one.
    pub(crate) async fn lease(
        &self,
        random: &RefCell<SmallRng>,
        tried: &[SocketAddr],
        policy: &BackendPolicy,
        stall_timeout: Duration,
    ) -> Result<Lease, LeaseError> {
        self.refresh();
        let endpoint = {
            let current = self.current.borrow();
            let (state, endpoints) = current.as_ref().ok_or(LeaseError::NoEndpoints)?;
            let picked = state.endpoints.pick(&mut random.borrow_mut(), tried);
            picked.and_then(|index| endpoints.get(index).cloned()).ok_or(LeaseError::NoEndpoints)?
        };
        let load = EndpointLoad::at(&endpoint.shared);
        let (connection, requests, reused) = match endpoint.take_idle() {
            Some(idle) => (idle.connection, idle.requests, true),
            None => match endpoint.connect(policy.connect_timeout, stall_timeout).await {
                Ok(connection) => (connection, 0, false),
                Err(error) => {
                    tracing::debug!(endpoint = %endpoint.shared.address, %error, "connect failed");
                    return Err(LeaseError::Connect(endpoint.shared.address));
                }
            },
        };
        Ok(Lease { connection, requests: requests + 1, reused, endpoint, _load: load })
    }

    fn sweep(&self, now: Instant) {
        self.refresh();
        for endpoint in self.current.borrow().iter().flat_map(|(_, endpoints)| endpoints) {
            endpoint.idle.borrow_mut().retain(|idle| now < idle.expires && !idle.connection.sender.is_closed());
        }
    }
}

/// Counts a request as in flight at its upstream until it is dropped. Each request has one, from the choice of its
/// backend to the end of the backend's answer, whatever it waits for in between and however often it is tried.
pub(crate) struct InFlight(Rc<WorkerUpstream>);

impl InFlight {
    pub(crate) fn at(upstream: &Rc<WorkerUpstream>) -> Self {
        upstream.in_flight.add();
        Self(Rc::clone(upstream))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.sub();
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseError {
    NoEndpoints,
    Connect(SocketAddr),
}

impl WorkerEndpoint {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self { shared: Arc::clone(endpoint), idle: RefCell::default() }
    }

    /// The most recently used connection that is still open. One that has not come to rest yet (its task has not seen
    /// the end of the last answer) is left for later.
    fn take_idle(&self) -> Option<IdleConnection> {
        let mut idle = self.idle.borrow_mut();
        let now = Instant::now();
        let ready = idle.iter().rposition(|idle| idle.connection.sender.is_ready() && now < idle.expires)?;
        Some(idle.remove(ready))
    }

    /// Connects. An endpoint that cannot be connected to is avoided for a while, also if whoever wanted it had not the
    /// patience to see it fail.
    async fn connect(&self, timeout: Duration, stall_timeout: Duration) -> Result<Connection, ConnectError> {
        let mut attempt = ConnectAttempt { endpoint: &self.shared, started: Instant::now(), outcome: None };
        let connected = tokio::time::timeout(timeout, TcpStream::connect(self.shared.address)).await;
        attempt.outcome = Some(matches!(connected, Ok(Ok(_))));
        let stream = connected??;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
        let limits = ProgressLimits { idle: NEVER, head: NEVER, stall: stall_timeout };
        let io = LimitedIo::new(TokioIo::new(stream), Progress::writing_only(), limits);
        let mut builder = http1::Builder::new();
        builder.max_headers(MAX_RESPONSE_HEADERS).max_header_size(MAX_RESPONSE_HEADER_BYTES);
        let (sender, connection) = builder.handshake(io).await?;
        let task = tokio::task::spawn_local(async move {
            // How a connection ends is told to the request that it ends under; an idle one just ends.
            let _ = connection.await;
        });
        Ok(Connection { sender, task: task.abort_handle() })
    }
}

/// Tells the endpoint how an attempt to connect ended, when it is dropped.
struct ConnectAttempt<'a> {
    endpoint: &'a Endpoint,
    started: Instant,
    /// Whether a connection was made; none if the attempt was given up.
    outcome: Option<bool>,
}

impl Drop for ConnectAttempt<'_> {
    fn drop(&mut self) {
        match self.outcome {
            Some(true) => self.endpoint.prefer_again(),
            Some(false) => self.endpoint.avoid_for_a_while(),
            // A client that leaves at once says nothing about the endpoint.
            None if self.started.elapsed() >= SLOW_CONNECT => self.endpoint.avoid_for_a_while(),
            None => {}
        }
    }
}

/// Notices a peer that has gone without a word, which a request that only waits would not.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY)
}

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("timed out")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
}

/// A connection that one request uses. Dropped, it is closed; [`Lease::give_back`] keeps it.
pub(crate) struct Lease {
    connection: Connection,
    requests: u32,
    reused: bool,
    endpoint: Rc<WorkerEndpoint>,
    _load: EndpointLoad,
}

/// Why a request on a leased connection brought no answer.
pub(crate) enum SendFailure {
    /// Nothing was sent: the connection had ended before. Here is the request again.
    Untouched(Box<Request<TryBody>>),
    /// The try failed.
    Failed(Failure),
    /// The request's own body failed; the upstream is not to blame.
    Body,
}

impl Lease {
    /// Sends a request. Dropped with its lease, it closes the connection.
    pub(crate) async fn send(&mut self, request: Request<TryBody>) -> Result<Response<Incoming>, SendFailure> {
        self.connection.sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
            Some(request) => SendFailure::Untouched(Box::new(request)),
            None => classify(error.error()),
        })
    }

    /// Whether the connection was kept from an earlier request.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint.shared
    }

    /// Keeps the connection for another request: only to be called when the answer was read to its end and the request
    /// was sent to its end, since anything else leaves bytes of one request in the way of the next.
    pub(crate) fn give_back(self, policy: &BackendPolicy, default_idle_timeout: Duration) {
        let limit = policy.max_requests_per_connection;
        let used_up = limit != 0 && self.requests >= limit;
        let mut idle = self.endpoint.idle.borrow_mut();
        if used_up
            || self.connection.sender.is_closed()
            || self.endpoint.shared.is_retired()
            || idle.len() >= MAX_IDLE_PER_ENDPOINT
        {
            return;
        }
        let expires = Instant::now() + policy.idle_timeout.unwrap_or(default_idle_timeout);
        idle.push(IdleConnection { connection: self.connection, requests: self.requests, expires });
    }
}

fn classify(error: &hyper::Error) -> SendFailure {
    if error.is_user() || error.is_body_write_aborted() {
        SendFailure::Body
    } else if error.is_parse() || error.is_parse_too_large() {
        SendFailure::Failed(Failure::Protocol)
    } else {
        SendFailure::Failed(Failure::AfterRequest)
    }
}
