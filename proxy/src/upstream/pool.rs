//! One worker's side of the upstreams: its connections, and what it has in flight. Nothing here is shared between threads:
//! a connection is made, used and kept by one worker, so taking one costs no lock.

mod connecting;

use super::balance::{Current, PickContext};
use super::body::UpstreamBody;
use super::health::{CAUSES, TryOutcome};
use super::http1::SendFailure;
use super::in_flight::{InFlightCounter, WorkerCounters};
use super::keep::Keep;
use super::lease::{AtEndpoint, Connection, Lease};
use super::limits::{Full, Place, Usage};
use super::outgoing::Outgoing;
use super::stream::TlsPeer;
use super::{Endpoint, Upstream};
use crate::credentials::Credentials;
use crate::random::Random;
use crate::telemetry::metrics::{Counter, Metrics};
use crate::telemetry::record::Destination;
use connecting::Wanted;
use http::{Response, Version};
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

/// Where a try goes.
enum Chosen {
    Kept(Lease),
    ToConnect(AtEndpoint, Box<Wanted>),
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
    /// What the endpoint speaks has no word for the request's target.
    Target,
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
                    self.judge(lease.endpoint(), || TryOutcome::of(&response, outgoing.asks_for));
                    let request = outgoing.body.clone();
                    return Ok(response.map(|incoming| UpstreamBody::new(incoming, lease, request)));
                }
                Err(SendFailure::Untouched(head)) => {
                    outgoing.put_back(head);
                    if !is_reused {
                        self.judge(lease.endpoint(), || TryOutcome::NoAnswer);
                        return Err(SendError::Failed(Failure::Connect));
                    }
                }
                Err(SendFailure::Failed(failure)) => {
                    self.judge(lease.endpoint(), || TryOutcome::NoAnswer);
                    return Err(SendError::Failed(failure));
                }
                Err(SendFailure::Body) => return Err(SendError::Body),
                Err(SendFailure::Target) => return Err(SendError::Target),
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

    /// Takes note of what came of a try.
    fn judge(&self, endpoint: &Endpoint, outcome: impl FnOnce() -> TryOutcome) {
        if self.current.borrow().state.policy.outliers.is_none() {
            return;
        }
        if let Some(cause) = self.shared.judge(endpoint, outcome()) {
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
            self.judge(endpoint, || TryOutcome::NoAnswer);
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

    /// Whether one of so many copies takes nothing of its limits that those who are waited for might need: half of each is
    /// theirs.
    pub(crate) fn has_room_to_spare(&self, copies: u64) -> bool {
        let limits = &self.current.borrow().state.policy.limits;
        let most = [limits.connections, limits.pending, limits.requests].into_iter().flatten().min();
        most.is_none_or(|most| self.shared.in_flight() + copies <= u64::from(most / 2))
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
