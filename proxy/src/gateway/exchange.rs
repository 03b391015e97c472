//! The exchange with a backend: up to `1 + retries` tries, each on an endpoint of its own choice. The backend was chosen
//! before, so every try stays with the same version of the model.

use super::forward::expired;
use super::{Gateway, headers};
use crate::body::{Deadline, RequestBody, TryBody};
use crate::error::{Flag, Flags, GatewayError};
use crate::telemetry::record::Record;
use crate::upstream::{InFlight, Lease, LeaseError, SendFailure, WorkerUpstream};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rand::RngExt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use turnout_routes::router::{BackendPolicy, Failure, RetryPolicy};

/// The longest pause between two tries, as a multiple of the base (Envoy's default).
const LONGEST_BACKOFF: u32 = 10;

/// What an exchange needs.
pub(super) struct Exchange<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) upstream: &'a Rc<WorkerUpstream>,
    pub(super) policy: BackendPolicy,
    pub(super) retry: &'a RetryPolicy,
    pub(super) body: RequestBody,
    /// Whether a try may follow one that was sent: only then is the head copied for it.
    pub(super) keeps_head: bool,
    /// One for all tries, and for the pauses between them.
    pub(super) in_flight: InFlight,
}

/// The answer that is passed on, with what it takes to pass it on.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
    pub(super) in_flight: InFlight,
    pub(super) policy: BackendPolicy,
    pub(super) request_body: RequestBody,
    pub(super) deadline: Option<Deadline>,
    pub(super) flags: Flags,
}

/// How a try ended.
enum Tried {
    Answered(Response<Incoming>, Lease),
    Failed(Failure),
    /// No other try would fare better.
    Final(GatewayError),
}

impl Exchange<'_> {
    /// Tries until there is an answer to pass on. In an error, whether all tries were used up.
    pub(super) async fn run(self, head: Request<()>, record: &mut Record) -> Result<Answer, (GatewayError, bool)> {
        let mut head = Some(head);
        let mut tried: Vec<SocketAddr> = Vec::new();
        let mut attempt = 1;
        loop {
            let outcome = self.attempt(&mut head, attempt, &mut tried, record).await;
            let last = attempt > self.retry.retries;
            let possible = !last && head.is_some() && self.body.is_replayable();
            let cause = match outcome {
                Tried::Final(error) => return Err((error, false)),
                Tried::Failed(failure) => {
                    let covered = self.retry.covers_failure(failure);
                    if !(covered && possible) {
                        return Err((self.error(failure), covered && self.is_exhausted(attempt)));
                    }
                    cause(failure)
                }
                Tried::Answered(response, lease) => {
                    let covered = self.retry.covers_response(response.status(), response.headers());
                    if !(covered && possible) {
                        let retries_exhausted = covered && self.is_exhausted(attempt);
                        return Ok(self.answer(response, lease, retries_exhausted));
                    }
                    "status"
                }
            };
            self.count_retry(cause, record);
            self.back_off(attempt).await;
            attempt += 1;
        }
    }

    fn is_exhausted(&self, attempt: u32) -> bool {
        self.retry.retries > 0 && attempt > self.retry.retries
    }

    /// One try, within its own time-out.
    async fn attempt(
        &self,
        head: &mut Option<Request<()>>,
        attempt: u32,
        tried: &mut Vec<SocketAddr>,
        record: &mut Record,
    ) -> Tried {
        let sending = self.send(head, attempt, tried, record);
        match self.retry.per_try_timeout {
            None => sending.await,
            Some(limit) => tokio::select! {
                biased;
                tried = sending => tried,
                // As for the rule's time-out: it counts from the moment that the request has come whole.
                () = expired(self.body.clone(), limit) => Tried::Failed(Failure::PerTryTimeout),
            },
        }
    }

    /// Takes a connection and sends the request. A connection that hands it back untouched puts the head back: one that
    /// had been kept and ended meanwhile is nobody's failure, and another is taken; a new one counts as not made.
    async fn send(
        &self,
        head: &mut Option<Request<()>>,
        attempt: u32,
        tried: &mut Vec<SocketAddr>,
        record: &mut Record,
    ) -> Tried {
        loop {
            let mut lease = match self.lease(tried, record).await {
                Ok(lease) => lease,
                Err(tried) => return tried,
            };
            let Some(request) = self.next_request(head, attempt) else { return Tried::Failed(Failure::AfterRequest) };
            // Whatever becomes of it, another try goes elsewhere; a time-out leaves no moment to say so later.
            tried.push(lease.endpoint().address);
            return match lease.send(request).await {
                // Nobody asked for an upgrade.
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    Tried::Failed(Failure::Protocol)
                }
                Ok(response) => Tried::Answered(response, lease),
                Err(SendFailure::Untouched(request)) => {
                    *head = Some(request.map(drop));
                    if lease.is_reused() {
                        tried.pop();
                        continue;
                    }
                    Tried::Failed(Failure::Connect)
                }
                Err(SendFailure::Body) => Tried::Final(self.body.failure().unwrap_or(GatewayError::UpstreamReset)),
                Err(SendFailure::Failed(failure)) => Tried::Failed(failure),
            };
        }
    }

    async fn lease(&self, tried: &mut Vec<SocketAddr>, record: &mut Record) -> Result<Lease, Tried> {
        let avoided: &[SocketAddr] = if self.retry.avoid_previous_endpoints { tried } else { &[] };
        match self
            .upstream
            .lease(&self.gateway.random, avoided, &self.policy, self.gateway.settings.stall_timeout)
            .await
        {
            Ok(lease) => {
                if !lease.is_reused() {
                    self.count_connect("made");
                }
                record.endpoint = Some(lease.endpoint().address);
                record.workload = Some(Arc::clone(&lease.endpoint().workload));
                Ok(lease)
            }
            Err(LeaseError::NoEndpoints) => Err(Tried::Final(GatewayError::NoEndpoints)),
            Err(LeaseError::Connect(address)) => {
                self.count_connect("failed");
                record.endpoint = Some(address);
                tried.push(address);
                Err(Tried::Failed(Failure::Connect))
            }
        }
    }

    /// The request of this try. The head is used up by it, or copied where another try may follow.
    fn next_request(&self, head: &mut Option<Request<()>>, attempt: u32) -> Option<Request<TryBody>> {
        let mut head = if self.keeps_head { head.as_ref().map(copy_head) } else { head.take() }?;
        if self.gateway.settings.headers.envoy_headers {
            headers::set_attempt_count(head.headers_mut(), attempt);
        }
        Some(head.map(|()| self.body.next_try()))
    }

    fn answer(self, response: Response<Incoming>, lease: Lease, retries_exhausted: bool) -> Answer {
        let Self { policy, body: request_body, in_flight, .. } = self;
        let flags = Flags { flag: Flag::None, retries_exhausted };
        Answer { response, lease, in_flight, policy, request_body, deadline: None, flags }
    }

    fn error(&self, failure: Failure) -> GatewayError {
        match failure {
            Failure::Connect => GatewayError::Connect,
            Failure::AfterRequest => {
                // A client that broke its body off is the reason why the backend ended the connection.
                self.body.failure().unwrap_or(GatewayError::UpstreamReset)
            }
            Failure::PerTryTimeout => GatewayError::Timeout,
            Failure::Protocol => GatewayError::UpstreamProtocol,
        }
    }

    /// Exponential with full jitter (Envoy's): a pause of 0 up to `base * (2^n - 1)`, at most ten times the base. A
    /// connect failure has another endpoint to go to, and waits like any other.
    async fn back_off(&self, attempt: u32) {
        let factor = 2_u32.saturating_pow(attempt.min(16)).saturating_sub(1).min(LONGEST_BACKOFF);
        let longest = self.retry.backoff * factor;
        let share = self.gateway.random.borrow_mut().random_range(0.0..1.0);
        let pause = longest.mul_f64(share);
        if pause > Duration::ZERO {
            tokio::time::sleep(pause).await;
        }
    }

    fn count_retry(&self, cause: &str, record: &mut Record) {
        record.retries += 1;
        let metrics = self.gateway.telemetry.metrics.shared();
        metrics.retries.with_label_values(&[self.upstream.shared.name.as_str(), cause]).inc();
    }

    fn count_connect(&self, result: &str) {
        let metrics = self.gateway.telemetry.metrics.shared();
        metrics.upstream_connects.with_label_values(&[self.upstream.shared.name.as_str(), result]).inc();
    }
}

fn copy_head(head: &Request<()>) -> Request<()> {
    let mut copy = Request::new(());
    copy.method_mut().clone_from(head.method());
    copy.uri_mut().clone_from(head.uri());
    *copy.version_mut() = head.version();
    copy.headers_mut().clone_from(head.headers());
    copy
}

fn cause(failure: Failure) -> &'static str {
    match failure {
        Failure::Connect => "connect_failure",
        Failure::AfterRequest => "reset",
        Failure::PerTryTimeout => "per_try_timeout",
        Failure::Protocol => "protocol",
    }
}
