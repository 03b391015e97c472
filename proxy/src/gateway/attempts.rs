//! Up to `1 + retries` tries, each on an endpoint of its own choice. The backend was chosen before, so every try stays with
//! the same version of the model.

use super::deadline::{deadline, within};
use super::{Gateway, headers};
use crate::error::{Flags, GatewayError};
use crate::telemetry::record::{Destination, Record};
use crate::upstream::{Outgoing, Place, SendError, UpstreamBody, WorkerUpstream};
use http::Response;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use turnout_routes::router::{Failure, RetryPolicy};

/// The longest pause between two tries, as a multiple of the base (Envoy's default).
const LONGEST_BACKOFF: u32 = 10;

const NOT_OVER_HTTP2: &str = "the target is none that a backend of HTTP/2 can be sent";

/// Why there is no answer to pass on.
pub(super) struct Failed {
    pub(super) error: GatewayError,
    /// Whether all tries were used up.
    pub(super) retries_exhausted: bool,
}

impl From<GatewayError> for Failed {
    fn from(error: GatewayError) -> Self {
        Self { error, retries_exhausted: false }
    }
}

impl Gateway {
    /// Tries until there is an answer to pass on.
    pub(super) async fn attempts(
        &self,
        upstream: &WorkerUpstream,
        retry: &RetryPolicy,
        outgoing: &mut Outgoing,
        record: &mut Record,
    ) -> Result<(Response<UpstreamBody>, Flags), Failed> {
        // Whom a hash chooses, it chooses again.
        let avoids_previous = retry.avoid_previous_endpoints.unwrap_or_else(|| !upstream.hashes());
        // Among the retries, where they are limited.
        let mut place = None;
        let mut tried: Vec<SocketAddr> = Vec::new();
        let mut number = 1;
        loop {
            // Of the first try it was said before the rule had its word.
            if self.settings.headers.envoy_headers
                && number > 1
                && let Some(headers) = outgoing.headers_mut()
            {
                headers::set_attempt_count(headers, number);
            }
            let avoided: &[SocketAddr] = if avoids_previous { &tried } else { &[] };
            let is_last = number > retry.retries;
            let is_exhausted = retry.retries > 0 && is_last;
            record.begin_try();
            // An answer that is not passed on is let go in here: its backend does not have to wait for the next try.
            let cause = match attempt(upstream, retry, outgoing, avoided, &mut record.destination).await {
                Ok(response) => {
                    let covered = retry.covers_response(response.status(), response.headers(), record.grpc);
                    if !covered || is_last || !may_be_another(upstream, outgoing, &mut place) {
                        let retries_exhausted = covered && is_exhausted;
                        return Ok((response, Flags { retries_exhausted, ..Flags::NONE }));
                    }
                    record.conclude(&response);
                    "status"
                }
                Err(SendError::NoEndpoints) => return Err(GatewayError::NoEndpoints.into()),
                Err(SendError::Overflow) => return Err(GatewayError::Overflow.into()),
                Err(SendError::Target) => return Err(GatewayError::BadRequest(&NOT_OVER_HTTP2).into()),
                Err(SendError::Body) => {
                    return Err(outgoing.body.failure().unwrap_or(GatewayError::UpstreamReset).into());
                }
                Err(SendError::Failed(failure)) => {
                    if failure == Failure::PerTryTimeout {
                        upstream.gave_up(outgoing, record.destination.endpoint);
                    }
                    let covered = retry.covers_failure(failure);
                    let error = error(failure, outgoing);
                    if !covered || is_last || !may_be_another(upstream, outgoing, &mut place) {
                        return Err(Failed { error, retries_exhausted: covered && is_exhausted });
                    }
                    record.conclude_error(error);
                    cause(failure)
                }
            };
            record.retry();
            tried.extend(record.destination.endpoint);
            let retries = &self.telemetry.metrics.shared().retries;
            retries.with_label_values(&[upstream.shared.name.as_str(), cause]).inc();
            self.back_off(retry, number).await;
            number += 1;
        }
    }

    /// Exponential with full jitter (Envoy's): a pause of 0 up to `base * (2^n - 1)`, at most ten times the base. A
    /// connect failure has another endpoint to go to, and waits like any other.
    async fn back_off(&self, retry: &RetryPolicy, number: u32) {
        let factor = 2_u32.saturating_pow(number.min(16)).saturating_sub(1).min(LONGEST_BACKOFF);
        let pause = (retry.backoff * factor).mul_f64(self.random.share());
        if pause > Duration::ZERO {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Whether another try can be made, and its place among the retries.
fn may_be_another(upstream: &WorkerUpstream, outgoing: &Outgoing, place: &mut Option<Place>) -> bool {
    if !outgoing.may_be_sent_again() {
        return false;
    }
    *place = None;
    upstream.retry().map(|taken| *place = taken).is_ok()
}

/// One try, within its own time-out.
async fn attempt(
    upstream: &WorkerUpstream,
    retry: &RetryPolicy,
    outgoing: &mut Outgoing,
    tried: &[SocketAddr],
    destination: &mut Destination,
) -> Result<Response<UpstreamBody>, SendError> {
    let mut limit = retry.per_try_timeout.map(|timeout| deadline(&outgoing.body, timeout));
    let sending = pin!(upstream.send(outgoing, tried, destination));
    within(&mut limit, sending).await.unwrap_or(Err(SendError::Failed(Failure::PerTryTimeout)))
}

fn error(failure: Failure, outgoing: &Outgoing) -> GatewayError {
    match failure {
        Failure::Connect => GatewayError::Connect,
        // A client that broke its body off is the reason why the backend ended the connection.
        Failure::AfterRequest => outgoing.body.failure().unwrap_or(GatewayError::UpstreamReset),
        Failure::Refused | Failure::StreamReset => GatewayError::StreamReset,
        Failure::PerTryTimeout => GatewayError::Timeout,
        Failure::Protocol => GatewayError::UpstreamProtocol,
    }
}

fn cause(failure: Failure) -> &'static str {
    match failure {
        Failure::Connect => "connect_failure",
        Failure::AfterRequest | Failure::StreamReset => "reset",
        Failure::Refused => "refused_stream",
        Failure::PerTryTimeout => "per_try_timeout",
        Failure::Protocol => "protocol",
    }
}
