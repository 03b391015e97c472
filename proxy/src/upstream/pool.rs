//! One worker's side of the upstreams: its connections, and what it has in flight. Nothing here is shared between threads:
//! a connection is made, used and kept by one worker, so taking one costs no lock.

use super::balance::{Current, PickContext};
use super::body::UpstreamBody;
use super::connect::{ConnectError, connect};
use super::health::{CAUSES, TryOutcome};
use super::http1::{Http1, SendFailure};
use super::http2::Http2;
use super::in_flight::{InFlightCounter, WorkerCounters};
use super::keep::Keep;
use super::lease::{AtEndpoint, Connection, Lease, Making, WorkerEndpoint};
use super::limits::{Full, Leave, Place, Usage};
use super::outgoing::Outgoing;
use super::stream::TlsPeer;
use super::{Endpoint, Upstream};
use crate::credentials::Credentials;
use crate::random::Random;
use crate::telemetry::metrics::{Counter, Metrics};
use crate::telemetry::record::Destination;
use http::{Response, Version};
use rustls::ClientConfig;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use turnout_routes::documents::{Balancing, HashKey};
use turnout_routes::router::{BackendPolicy, Failure, HttpVersion, Limits, Rule};

/// Why a request may be tried again: a failure, or an answer by its status.
const RETRY_CAUSES: [&str; 5] = ["connect_failure", "reset", "refused_stream", "per_try_timeout", "status"];

/// A worker's side of all upstreams. Held by the worker's snapshot and by requests, only remembered here: what no table
/// names any more goes with the last request to it.
pub(crate) struct WorkerUpstreams {
    common: Rc<Common>,
    by_id: RefCell<HashMap<u64, Weak<WorkerUpstream>>>,
}

/// What all of them need.
struct Common {
    random: Rc<Random>,
    metrics: Arc<Metrics>,
    credentials: Arc<Credentials>,
    idle_timeout: Duration,
    stall_timeout: Duration,
}

/// A worker's side of one upstream.
pub(crate) struct WorkerUpstream {
    pub(crate) shared: Arc<Upstream>,
    common: Rc<Common>,
    current: RefCell<Current>,
    in_flight: WorkerCounters,
    connects_made: Counter,
    connects_failed: Counter,
    handshakes_failed: Counter,
    handshake_told: Cell<Option<Instant>>,
}

const HANDSHAKES_TOLD_EVERY: Duration = Duration::from_mins(1);

/// Where a try goes.
enum Chosen {
    Kept(Lease),
    ToConnect(AtEndpoint, Box<Wanted>),
}

/// What a connection is to be.
struct Wanted {
    is_http2: bool,
    /// One of HTTP/1 that the request will keep to itself.
    needs_new: bool,
    peer: Option<Box<TlsPeer>>,
}

/// What a request that may not just connect comes to.
enum Found {
    /// To make one, where their number is limited with the leave for it, and of HTTP/2 as the only one who does.
    Leave(Option<Leave>, Option<Making>),
    Kept(Connection),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    NoEndpoints,
    /// As much is asked of it as may be.
    Overflow,
    /// The try failed.
    Failed(Failure),
    /// The request's own body failed; the upstream is not to blame.
    Body,
}

impl WorkerUpstreams {
    /// Connections are kept for `idle_timeout`, unless an upstream's policy says otherwise, and are given up when the
    /// endpoint takes nothing of what it is sent for `stall_timeout`.
    pub(crate) fn new(
        random: &Rc<Random>,
        metrics: &Arc<Metrics>,
        credentials: &Arc<Credentials>,
        idle_timeout: Duration,
        stall_timeout: Duration,
    ) -> Self {
        let common = Common {
            random: Rc::clone(random),
            metrics: Arc::clone(metrics),
            credentials: Arc::clone(credentials),
            idle_timeout,
            stall_timeout,
        };
        Self { common: Rc::new(common), by_id: RefCell::default() }
    }

    /// This worker's side of an upstream, made when it is first asked for.
    pub(crate) fn of(&self, upstream: &Arc<Upstream>) -> Rc<WorkerUpstream> {
        let mut by_id = self.by_id.borrow_mut();
        let known = by_id.entry(upstream.id).or_default();
        known.upgrade().unwrap_or_else(|| {
            let made = Rc::new(WorkerUpstream::new(upstream, &self.common));
            *known = Rc::downgrade(&made);
            made
        })
    }

    /// Tells what weights have sent to upstreams.
    pub(crate) fn flush_metrics(&self) {
        self.by_id.borrow().values().filter_map(Weak::upgrade).for_each(|upstream| upstream.in_flight.flush());
    }

    /// Closes connections that have been idle for too long, or whose endpoint is gone, and forgets upstreams and rules
    /// that are gone. Called about once a second.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.by_id
            .borrow_mut()
            .retain(|_, upstream| upstream.upgrade().inspect(|upstream| upstream.sweep(now)).is_some());
    }
}

impl Common {
    /// What can be known in advance is counted from zero on.
    fn announce(&self, name: &str, policy: &BackendPolicy) {
        if policy.limits != Limits::default() {
            for limit in Usage::LIMITS {
                self.metrics.overflows.with_label_values(&[name, limit]);
            }
        }
        if policy.outliers.is_some() {
            for cause in CAUSES {
                self.metrics.ejections.with_label_values(&[name, cause]);
            }
        }
    }
}

impl WorkerUpstream {
    fn new(upstream: &Arc<Upstream>, common: &Rc<Common>) -> Self {
        let connects = |result| common.metrics.upstream_connects.with_label_values(&[upstream.name.as_str(), result]);
        // All are there from the start: the first event of a series that begins with it is in no rate.
        for cause in RETRY_CAUSES {
            common.metrics.retries.with_label_values(&[upstream.name.as_str(), cause]);
        }
        let state = upstream.state();
        common.announce(&upstream.name, &state.policy);
        Self {
            current: RefCell::new(Current::new(&state, None, &common.random)),
            common: Rc::clone(common),
            in_flight: WorkerCounters::default(),
            connects_made: connects("made"),
            connects_failed: connects("failed"),
            handshakes_failed: connects("tls_failed"),
            handshake_told: Cell::new(None),
            shared: Arc::clone(upstream),
        }
    }

    /// Takes up the newest state if it has changed.
    fn refresh(&self) {
        let newest = self.shared.state();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(&newest, &current.state) {
            self.common.announce(&self.shared.name, &newest.policy);
            let next = Current::new(&newest, Some(&current), &self.common.random);
            let before = std::mem::replace(&mut *current, next);
            // Some may live on under a request, and their connections would hold places.
            before.endpoints.iter().filter(|endpoint| endpoint.shared.is_retired()).for_each(|e| e.close_all_idle());
        }
    }

    /// Whether anybody is known who could be asked.
    pub(crate) fn has_endpoints(&self) -> bool {
        self.refresh();
        !self.current.borrow().endpoints.is_empty()
    }

    /// Makes one try: chooses an endpoint, not one of `tried` if it can, takes a connection to it, sends, and returns its
    /// answer. `destination` is told where the try goes as soon as that is known, so that it says so even of one that is
    /// given up on the way.
    ///
    /// A connection that was kept and had ended is nobody's failure, and another is taken; a new one that ends before it
    /// has taken anything counts as not made.
    pub(crate) async fn send(
        &self,
        outgoing: &mut Outgoing,
        tried: &[SocketAddr],
        destination: &mut Destination,
    ) -> Result<Response<UpstreamBody>, SendError> {
        loop {
            let mut lease = match self.choose(outgoing, tried, destination)? {
                Chosen::Kept(lease) => lease,
                // Boxed, since most requests find a connection and should not carry the room for making one.
                Chosen::ToConnect(at, wanted) => Box::pin(self.connect(at, wanted)).await?,
            };
            // Of an endpoint that nobody has reached the names say nothing.
            destination.workload = Some(Arc::clone(&lease.endpoint().workload));
            let is_reused = lease.connection.is_reused();
            outgoing.is_under_way = true;
            let sent = match &mut lease.connection {
                Connection::Own(http1) => http1.send(outgoing).await,
                // Boxed, since every request would carry the room for it.
                Connection::Stream(stream) => Box::pin(stream.send(outgoing, lease.at.endpoint.shared.address)).await,
            };
            outgoing.is_under_way = false;
            match sent {
                Ok(response) => {
                    self.judge(lease.endpoint(), TryOutcome::Answer(response.status()));
                    let request = outgoing.body.clone();
                    return Ok(response.map(|incoming| UpstreamBody::new(incoming, lease, request)));
                }
                Err(SendFailure::Untouched(head)) => {
                    outgoing.put_back(head);
                    if !is_reused {
                        self.judge(lease.endpoint(), TryOutcome::NoAnswer);
                        return Err(SendError::Failed(Failure::Connect));
                    }
                }
                Err(SendFailure::Failed(failure)) => {
                    self.judge(lease.endpoint(), TryOutcome::NoAnswer);
                    return Err(SendError::Failed(failure));
                }
                Err(SendFailure::Body) => return Err(SendError::Body),
            }
        }
    }

    /// Chooses an endpoint, and takes a connection to it that is kept, if there is one.
    fn choose(
        &self,
        outgoing: &Outgoing,
        tried: &[SocketAddr],
        destination: &mut Destination,
    ) -> Result<Chosen, SendError> {
        self.refresh();
        let current = self.current.borrow();
        let context = PickContext { tried, hash: outgoing.hash };
        let picked = current.pick(&self.common.random, &context).ok_or(SendError::NoEndpoints)?;
        let policy = &current.state.policy;
        let at = AtEndpoint::new(picked);
        destination.endpoint = Some(picked.shared.address);
        let peer = policy.tls.as_ref().map(|tls| TlsPeer::new(tls, &outgoing.authority, &picked.shared));
        let is_http2 = speaks_http2(policy, outgoing.client_version);
        let needs_new = outgoing.asks_tunnel();
        // Where connections are limited, whoever waits was here first.
        let is_awaited = policy.limits.connections.is_some() && picked.connections.are_awaited();
        let kept = match is_awaited {
            true => None,
            false if is_http2 => picked.take_stream(peer.as_ref(), &policy.http2),
            false if needs_new => None,
            false => picked.take_idle(peer.as_ref()),
        };
        Ok(match kept {
            Some(connection) => Chosen::Kept(self.lease(connection, at, policy)?),
            None => Chosen::ToConnect(at, Box::new(Wanted { is_http2, needs_new, peer: peer.map(Box::new) })),
        })
    }

    /// Where requests in flight are limited, it is counted from here on.
    fn lease(&self, mut connection: Connection, at: AtEndpoint, policy: &BackendPolicy) -> Result<Lease, SendError> {
        connection.keep(Keep::new(policy, self.common.idle_timeout));
        let mut lease = Lease::new(connection, at);
        match self.shared.usage.requests.take_within(policy.limits.requests) {
            Ok(place) => {
                lease.at.place = place;
                Ok(lease)
            }
            Err(full) => {
                lease.give_back();
                Err(self.overflow(full))
            }
        }
    }

    /// A new connection, or, where no more may be opened, one that another request has done with or shares.
    async fn connect(&self, at: AtEndpoint, wanted: Box<Wanted>) -> Result<Lease, SendError> {
        let state = Arc::clone(&self.current.borrow().state);
        let policy = &state.policy;
        let (leave, _making, _pending) = if policy.limits.connections.is_none() && !wanted.is_http2 {
            (None, None, self.wait_in_place(policy)?)
        } else {
            // Their number limits how many are being made.
            match self.leave_or_kept(&at, &wanted, policy).await? {
                Found::Leave(leave, making) => (leave, making, None),
                Found::Kept(connection) => return self.lease(connection, at, policy),
            }
        };
        let tls = match wanted.peer {
            None => None,
            Some(peer) => match self.common.credentials.client_config(&peer.policy) {
                Some(config) if wanted.is_http2 => Some((peer, speaking_http2(&config))),
                Some(config) => Some((peer, config)),
                // Said when they were loaded.
                None => return Err(SendError::Failed(Failure::Connect)),
            },
        };
        match self.make(&at.endpoint, policy, tls, leave, wanted.is_http2).await {
            Ok(connection) => {
                self.connects_made.inc();
                self.lease(connection, at, policy)
            }
            Err(error) => {
                self.tell_failure(&at.endpoint, &error);
                Err(SendError::Failed(Failure::Connect))
            }
        }
    }

    async fn make(
        &self,
        endpoint: &WorkerEndpoint,
        policy: &BackendPolicy,
        tls: Option<(Box<TlsPeer>, Arc<ClientConfig>)>,
        leave: Option<Leave>,
        is_http2: bool,
    ) -> Result<Connection, ConnectError> {
        let (stream, peer) = connect(&endpoint.shared, policy, tls).await?;
        let stall_timeout = self.common.stall_timeout;
        if !is_http2 {
            let mut http1 = Box::new(Http1::handshake(stream, stall_timeout).await?);
            (http1.peer, http1.leave) = (peer, leave);
            return Ok(Connection::Own(http1));
        }
        let keep = Keep::new(policy, self.common.idle_timeout);
        let of = (&endpoint.connections, leave);
        let http2 = Rc::new(Http2::handshake((stream, peer), &policy.http2, keep, stall_timeout, of).await?);
        endpoint.share(&http2);
        Ok(Connection::Stream(Box::new(http2.first())))
    }

    /// Takes note of a connection that could not be made.
    fn tell_failure(&self, endpoint: &WorkerEndpoint, error: &ConnectError) {
        self.judge(&endpoint.shared, TryOutcome::NoAnswer);
        if let ConnectError::Tls(reason) = error {
            self.handshakes_failed.inc();
            self.tell_handshake(&endpoint.shared, reason);
        } else {
            self.connects_failed.inc();
            // Whoever waits need not. Of a handshake the name may be to blame that a client asked for.
            endpoint.connections.tell_unreachable();
        }
        tracing::debug!(endpoint = %endpoint.shared.address, %error, "connect failed");
    }

    /// What it takes to go on where not every request may just connect: waited for, if it must be.
    async fn leave_or_kept(
        &self,
        at: &AtEndpoint,
        wanted: &Wanted,
        policy: &BackendPolicy,
    ) -> Result<Found, SendError> {
        let (endpoint, connections) = (&at.endpoint, &at.endpoint.connections);
        let peer = wanted.peer.as_deref();
        let kept = || match wanted {
            Wanted { is_http2: true, .. } => endpoint.take_stream(peer, &policy.http2),
            Wanted { needs_new: true, .. } => None,
            Wanted { .. } => endpoint.take_idle(peer),
        };
        let leave = || match policy.limits.connections {
            None => Some(None),
            Some(most) => connections.leave(&self.shared.usage.connections, most).ok().map(Some),
        };
        let found = || {
            if let Some(connection) = kept() {
                return Some(Found::Kept(connection));
            }
            // All who wait share what one of them makes, unless it is for one request only.
            let is_shared = wanted.is_http2 && policy.max_requests_per_connection != 1;
            if is_shared && endpoint.is_making() {
                return None;
            }
            // One that is idle and not for this request makes room for one that is.
            let leave = leave().or_else(|| endpoint.close_an_idle().then(leave).flatten())?;
            Some(Found::Leave(leave, is_shared.then(|| Making::new(endpoint))))
        };
        if policy.limits.connections.is_some() && connections.are_awaited() {
            // Who was here first may have one now: places that other workers have freed are told to nobody.
            connections.tell_freed();
        } else if let Some(found) = found() {
            return Ok(found);
        }
        let _pending = self.wait_in_place(policy)?;
        connections.wait_for(found).await.ok_or(SendError::Failed(Failure::Connect))
    }

    /// A place among the requests that wait for a connection, if their number is limited.
    fn wait_in_place(&self, policy: &BackendPolicy) -> Result<Option<Place>, SendError> {
        self.shared.usage.pending.take_within(policy.limits.pending).map_err(|full| self.overflow(full))
    }

    /// Only the log can say why: clients are not told. Once a minute, since each request may try.
    fn tell_handshake(&self, endpoint: &Endpoint, reason: &std::io::Error) {
        let now = Instant::now();
        if self.handshake_told.get().is_none_or(|told| now >= told + HANDSHAKES_TOLD_EVERY) {
            self.handshake_told.set(Some(now));
            let (upstream, endpoint) = (self.shared.name.as_str(), endpoint.address);
            tracing::warn!(upstream, %endpoint, %reason, "no TLS with the endpoint");
        }
    }

    /// Takes note of what came of a try.
    fn judge(&self, endpoint: &Endpoint, outcome: TryOutcome) {
        if self.current.borrow().state.policy.outliers.is_none() {
            return;
        }
        if let Some(cause) = self.shared.judge(endpoint, outcome) {
            self.common.metrics.ejections.with_label_values(&[self.shared.name.as_str(), cause]).inc();
        }
    }

    /// Takes note of a try that was given up: the endpoint is to blame if it had the request.
    pub(crate) fn gave_up(&self, outgoing: &mut Outgoing, address: Option<SocketAddr>) {
        if !std::mem::take(&mut outgoing.is_under_way) {
            return;
        }
        let current = self.current.borrow();
        let is_it = |endpoint: &&Arc<Endpoint>| Some(endpoint.address) == address;
        if let Some(endpoint) = current.state.endpoints.as_slice().iter().find(is_it) {
            self.judge(endpoint, TryOutcome::NoAnswer);
        }
    }

    /// A place for a retry, if there may be one more.
    pub(crate) fn retry(&self) -> Result<Option<Place>, SendError> {
        let place = self.shared.retry(&self.current.borrow().state.policy.limits);
        place.map_err(|full| self.overflow(full))
    }

    fn overflow(&self, Full(limit): Full) -> SendError {
        self.common.metrics.overflows.with_label_values(&[self.shared.name.as_str(), limit]).inc();
        SendError::Overflow
    }

    /// Whether it is spoken to over HTTP/2 for a client who speaks this.
    pub(crate) fn speaks_http2(&self, client: Version) -> bool {
        speaks_http2(&self.current.borrow().state.policy, client)
    }

    /// Whether a hash chooses the endpoint.
    pub(crate) fn hashes(&self) -> bool {
        matches!(self.current.borrow().state.policy.balancing, Balancing::Hash(_))
    }

    /// What `of` makes of what is to be hashed, if a hash chooses the endpoint.
    pub(crate) fn hash(&self, of: impl FnOnce(&HashKey) -> Option<u64>) -> Option<u64> {
        self.refresh();
        match &self.current.borrow().state.policy.balancing {
            Balancing::Hash(hash) => of(hash.key.as_ref()?),
            Balancing::LeastRequest | Balancing::RoundRobin | Balancing::Random => None,
        }
    }

    fn sweep(&self, now: Instant) {
        self.refresh();
        self.current.borrow().endpoints.iter().for_each(|endpoint| endpoint.sweep(now));
        self.in_flight.sweep(&self.shared.in_flight);
    }
}

/// Whether a backend is spoken to over HTTP/2 for a client who speaks this.
fn speaks_http2(policy: &BackendPolicy, client: Version) -> bool {
    match policy.version {
        HttpVersion::Http1 => false,
        HttpVersion::Http2 => true,
        HttpVersion::Clients => client == Version::HTTP_2,
    }
}

fn speaking_http2(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Counts a request as in flight at its upstream, and as sent there by its rule, until it is dropped. Each request has
/// one, from the choice of its backend to the end of the backend's answer, whatever it waits for in between and however
/// often it is tried.
pub(crate) struct InFlight {
    counter: Arc<InFlightCounter>,
    /// What is in flight keeps its upstream, whatever the tables say.
    _upstream: Rc<WorkerUpstream>,
}

impl InFlight {
    pub(crate) fn at(upstream: &Rc<WorkerUpstream>, rule: &Arc<Rule>) -> Self {
        let (metrics, shared) = (&upstream.common.metrics, &upstream.shared);
        let counter = upstream.in_flight.of(rule, &shared.in_flight, |route| metrics.split(&shared.name, route));
        counter.add();
        Self { counter, _upstream: Rc::clone(upstream) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counter.sub();
    }
}

#[cfg(test)]
mod tests;
