//! The record of one request: collected on the way, closed when the response ends or is dropped, whichever way that
//! happens; then counted, and handed to the access log.

use super::access_log::{AccessLog, Entry};
use super::cells::WorkerMetrics;
use super::metrics::{self, Protocol, Sizes};
use crate::error::{Flag, Flags, GatewayError};
use crate::evidence::{Outcome, Trial};
use crate::grpc_status;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use turnout_routes::router::{Rule, Workload};

/// Where records go; one per worker.
pub(crate) struct Telemetry {
    pub(crate) metrics: WorkerMetrics,
    pub(crate) access_log: AccessLog,
}

/// One request, from its head to the end of its response.
pub(crate) struct Record {
    telemetry: Rc<Telemetry>,
    started: Instant,
    is_head: bool,
    pub(crate) request_bytes: BytesCount,
    pub(crate) response_bytes: u64,
    upstream: UpstreamTime,
    status: StatusCode,
    flags: Flags,
    pub(crate) grpc: bool,
    /// What the answer to gRPC has said of that.
    grpc_status: Option<u8>,
    pub(crate) retries: u32,
    pub(crate) destination: Destination,
    /// Of a request that a policy governs.
    pub(crate) trial: Option<Trial>,
    /// What only the access log needs.
    pub(crate) detail: Option<Box<Detail>>,
}

/// Where a request went: the endpoint's names, else the backend's; none if it was not forwarded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destination {
    pub(crate) workload: Option<Arc<Workload>>,
    pub(crate) endpoint: Option<SocketAddr>,
}

/// How long a request has been at its backend, in nanoseconds; while a try goes on, that less the request's age, which is
/// less than nothing. Every request carries one, so it is small.
#[derive(Clone, Copy, Debug, Default)]
struct UpstreamTime(i64);

/// How much of a body has come.
#[derive(Clone, Debug)]
pub(crate) enum BytesCount {
    /// It is counted here.
    Known(u64),
    /// It is counted by whoever reads it.
    Streaming(Rc<Cell<u64>>),
}

impl BytesCount {
    pub(crate) fn get(&self) -> u64 {
        match self {
            Self::Known(bytes) => *bytes,
            Self::Streaming(bytes) => bytes.get(),
        }
    }
}

/// What only the access log needs of a request.
pub(crate) struct Detail {
    client: SocketAddr,
    method: Method,
    version: Version,
    pub(crate) authority: String,
    pub(crate) target: String,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) rule: Option<Arc<Rule>>,
}

impl Record {
    pub(crate) fn start(telemetry: &Rc<Telemetry>, client: SocketAddr, method: Method, version: Version) -> Self {
        let is_head = method == Method::HEAD;
        Self {
            detail: telemetry.access_log.is_on().then(|| Box::new(Detail::new(client, method, version))),
            telemetry: Rc::clone(telemetry),
            started: Instant::now(),
            is_head,
            request_bytes: BytesCount::Known(0),
            response_bytes: 0,
            upstream: UpstreamTime::default(),
            // No answer at all, as Envoy and Kiali write it, until there is one.
            status: NO_ANSWER,
            flags: Flags::of(Flag::DownstreamGone),
            grpc: false,
            grpc_status: None,
            retries: 0,
            destination: Destination::default(),
            trial: None,
        }
    }

    /// Since the head had come.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A try begins. One whose answer is passed on lasts as long as the record.
    pub(crate) fn begin_try(&mut self) {
        self.upstream.begin(self.elapsed());
    }

    /// The try is over, if there is one, and there is no answer to pass on.
    pub(crate) fn end_try(&mut self) {
        self.upstream.end(self.elapsed());
    }

    /// So it is, and another one follows.
    pub(crate) fn retry(&mut self) {
        self.end_try();
        self.retries += 1;
        if let Some(trial) = &mut self.trial {
            trial.settle();
        }
    }

    pub(crate) fn is_head(&self) -> bool {
        self.is_head
    }

    /// A rule has it wait.
    pub(crate) fn delay(&mut self) {
        self.flags.delayed = true;
    }

    /// What is said of it where its answer has these flags.
    pub(crate) fn flags(&self, flags: Flags) -> Flags {
        Flags { delayed: self.flags.delayed, ..flags }
    }

    /// The answer that the client gets.
    pub(crate) fn answer(&mut self, status: StatusCode, flags: Flags) {
        self.status = status;
        self.flags = self.flags(flags);
    }

    /// What the answer's head says of gRPC, or its trailers, which have the last word.
    pub(crate) fn read_grpc_status(&mut self, headers: &HeaderMap) {
        if self.grpc {
            self.grpc_status = grpc_status::said(headers).or(self.grpc_status);
        }
    }

    fn protocol(&self) -> Protocol {
        if !self.grpc {
            return Protocol::Http;
        }
        let of_http = (self.status != NO_ANSWER).then(|| grpc_status::of_http(self.status));
        Protocol::Grpc(self.grpc_status.or(of_http))
    }

    /// A try has brought this answer.
    pub(crate) fn conclude<T>(&mut self, answer: &Response<T>) {
        if let Some(trial) = &mut self.trial {
            let grpc_status = if self.grpc { grpc_status::said(answer.headers()) } else { None };
            trial.answered(answer.status(), answer.headers(), grpc_status);
        }
    }

    /// A try has brought none.
    pub(crate) fn conclude_error(&mut self, error: GatewayError) {
        if let (Some(trial), Some(outcome)) = (&mut self.trial, Outcome::of_error(error)) {
            trial.conclude(outcome);
        }
    }

    /// Its client waits for less long than its rule does.
    pub(crate) fn hurry(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.hurry();
        }
    }

    /// Its whole time is over without an answer.
    pub(crate) fn run_out(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.run_out();
        }
    }

    /// What the first try says of the model that got it, as far as it is known.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.trial.as_ref().and_then(Trial::outcome)
    }

    /// The answer was not finished.
    pub(crate) fn fail(&mut self, flag: Flag) {
        self.flags.flag = flag;
    }
}

impl Detail {
    fn new(client: SocketAddr, method: Method, version: Version) -> Self {
        Self { client, method, version, authority: String::new(), target: String::new(), request_id: None, rule: None }
    }
}

impl UpstreamTime {
    fn begin(&mut self, age: Duration) {
        self.0 = (self.0 - nanoseconds(age)).min(-1);
    }

    fn end(&mut self, age: Duration) {
        if self.0 < 0 {
            self.0 = (self.0 + nanoseconds(age)).max(0);
        }
    }

    fn at(mut self, age: Duration) -> Duration {
        self.end(age);
        Duration::from_nanos(self.0.unsigned_abs())
    }
}

/// 292 years fit.
fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Stands for "no answer": 1xx is never the status of a finished request. Written as 0.
const NO_ANSWER: StatusCode = StatusCode::CONTINUE;

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.elapsed();
        let code = if self.status == NO_ANSWER { 0 } else { self.status.as_u16() };
        let (request_bytes, response_bytes) = (self.request_bytes.get(), self.response_bytes);
        let sizes = Sizes { elapsed, upstream: self.upstream.at(elapsed), request_bytes, response_bytes };
        let outcome = metrics::Outcome { code, flags: self.flags, protocol: self.protocol() };
        self.telemetry.metrics.request(self.destination.workload.as_ref(), outcome, &sizes);
        if let Some(trial) = self.trial.take() {
            trial.close(self.flags.flag, self.grpc_status, sizes.upstream);
        }
        let Some(detail) = self.detail.take() else { return };
        self.telemetry.access_log.write(Entry {
            method: detail.method,
            version: detail.version,
            authority: detail.authority,
            target: detail.target,
            status: code,
            flags: self.flags,
            request_bytes,
            response_bytes,
            elapsed,
            retries: self.retries,
            client: detail.client,
            endpoint: self.destination.endpoint,
            workload: self.destination.workload.clone(),
            route: detail.rule.map(|rule| rule.origin.clone()),
            request_id: detail.request_id,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_at_the_backend_is_that_of_tries_and_not_of_what_is_between_them() {
        let ns = Duration::from_nanos;
        for head in [1, 1_000_000_000] {
            let mut time = UpstreamTime::default();
            assert_eq!(time.at(ns(head)), ns(0), "nothing was tried");
            time.begin(ns(head));
            assert_eq!((time.at(ns(head)), time.at(ns(head + 20))), (ns(0), ns(20)));
            time.end(ns(head + 20));
            time.end(ns(head + 60));
            assert_eq!(time.at(ns(head + 70)), ns(20), "a pause");
            time.begin(ns(head + 100));
            assert_eq!(time.at(ns(head + 200)), ns(120));
        }
    }
}
