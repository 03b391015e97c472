//! One worker's side of the upstreams: its connections, and what it has in flight. Nothing here is shared between threads:
//! a connection is made, used and kept by one worker, so taking one costs no lock.

use super::balance::{PickContext, pick};
use super::body::UpstreamBody;
use super::connect::connect;
use super::http1::SendFailure;
use super::in_flight::{InFlightCounter, WorkerCounters};
use super::lease::{AtEndpoint, Lease, WorkerEndpoint};
use super::outgoing::Outgoing;
use super::{Upstream, UpstreamState};
use crate::random::Random;
use crate::telemetry::metrics::{Counter, Metrics};
use crate::telemetry::record::Destination;
use http::Response;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use turnout_routes::router::{Failure, Rule};

/// Why a request may be tried again: a failure, or an answer by its status.
const RETRY_CAUSES: [&str; 4] = ["connect_failure", "reset", "per_try_timeout", "status"];

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
}

/// The newest state that a worker has seen.
struct Current {
    state: Arc<UpstreamState>,
    /// The worker's side of the state's endpoints, in their order.
    endpoints: Vec<Rc<WorkerEndpoint>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    NoEndpoints,
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
        idle_timeout: Duration,
        stall_timeout: Duration,
    ) -> Self {
        let common = Common { random: Rc::clone(random), metrics: Arc::clone(metrics), idle_timeout, stall_timeout };
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

impl WorkerUpstream {
    fn new(upstream: &Arc<Upstream>, common: &Rc<Common>) -> Self {
        let connects = |result| common.metrics.upstream_connects.with_label_values(&[upstream.name.as_str(), result]);
        // All are there from the start: the first event of a series that begins with it is in no rate.
        for cause in RETRY_CAUSES {
            common.metrics.retries.with_label_values(&[upstream.name.as_str(), cause]);
        }
        let state = upstream.state();
        Self {
            current: RefCell::new(Current::new(&state, &[])),
            common: Rc::clone(common),
            in_flight: WorkerCounters::default(),
            connects_made: connects("made"),
            connects_failed: connects("failed"),
            shared: Arc::clone(upstream),
        }
    }

    /// Takes up the newest state if it has changed.
    fn refresh(&self) {
        let newest = self.shared.state();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(&newest, &current.state) {
            *current = Current::new(&newest, &current.endpoints);
        }
    }

    /// Whether anybody is known who could be asked.
    pub(crate) fn has_endpoints(&self) -> bool {
        self.refresh();
        !self.current.borrow().endpoints.is_empty()
    }

    /// Makes one try: chooses an endpoint, takes a connection to it, sends, and returns its answer. `destination` is told
    /// where the try goes as soon as that is known, so that it says so even of one that is given up on the way.
    ///
    /// A connection that was kept and had ended is nobody's failure, and another is taken; a new one that ends before it
    /// has taken anything counts as not made.
    pub(crate) async fn send(
        &self,
        outgoing: &mut Outgoing,
        context: PickContext<'_>,
        destination: &mut Destination,
    ) -> Result<Response<UpstreamBody>, SendError> {
        loop {
            let mut lease = self.lease(context, destination).await?;
            let is_reused = lease.connection.requests > 0;
            match lease.connection.send(outgoing).await {
                Ok(response) => {
                    let request = outgoing.body.clone();
                    return Ok(response.map(|incoming| UpstreamBody::new(incoming, lease, request)));
                }
                Err(SendFailure::Untouched(head)) => {
                    outgoing.put_back(head);
                    if !is_reused {
                        return Err(SendError::Failed(Failure::Connect));
                    }
                }
                Err(SendFailure::Failed(failure)) => return Err(SendError::Failed(failure)),
                Err(SendFailure::Body) => return Err(SendError::Body),
            }
        }
    }

    /// Chooses an endpoint and takes a connection to it: one that is idle, or a new one.
    async fn lease(&self, context: PickContext<'_>, destination: &mut Destination) -> Result<Lease, SendError> {
        self.refresh();
        let (at, policy) = {
            let current = self.current.borrow();
            let picked = pick(&current.endpoints, &self.common.random, context).ok_or(SendError::NoEndpoints)?;
            (AtEndpoint::new(picked), current.state.policy)
        };
        let endpoint = &at.0.shared;
        destination.endpoint = Some(endpoint.address);
        let connection = match at.0.take_idle() {
            Some(connection) => connection,
            // Boxed, since most requests find a connection and should not carry the room for making one.
            None => match Box::pin(connect(endpoint, policy.connect_timeout, self.common.stall_timeout)).await {
                Ok(connection) => {
                    self.connects_made.inc();
                    connection
                }
                Err(error) => {
                    self.connects_failed.inc();
                    tracing::debug!(endpoint = %endpoint.address, %error, "connect failed");
                    return Err(SendError::Failed(Failure::Connect));
                }
            },
        };
        // Of an endpoint that nobody has reached the names say nothing.
        destination.workload = Some(Arc::clone(&endpoint.workload));
        Ok(Lease::new(connection, at, &policy, self.common.idle_timeout))
    }

    fn sweep(&self, now: Instant) {
        self.refresh();
        self.current.borrow().endpoints.iter().for_each(|endpoint| endpoint.sweep(now));
        self.in_flight.sweep(&self.shared.in_flight);
    }
}

impl Current {
    /// A state, with what the worker had already of each endpoint that is in it.
    fn new(state: &Arc<UpstreamState>, before: &[Rc<WorkerEndpoint>]) -> Self {
        let before: HashMap<u64, &Rc<WorkerEndpoint>> = before.iter().map(|known| (known.shared.id, known)).collect();
        let endpoints = state.endpoints.as_slice().iter().map(|endpoint| {
            let known = before.get(&endpoint.id).copied();
            known.map_or_else(|| Rc::new(WorkerEndpoint::new(endpoint)), Rc::clone)
        });
        Self { state: Arc::clone(state), endpoints: endpoints.collect() }
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
