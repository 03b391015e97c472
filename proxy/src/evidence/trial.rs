//! One request that a policy governs, and what it says of the model that it was assigned to.
//!
//! | what became of it | counted as |
//! |---|---|
//! | the model answered 5xx, or with a status of gRPC that is one in HTTP | failure `status` |
//! | the gateway answered 502 or 503 for the backend, or the answer broke off | failure `gateway` |
//! | the rule's time, or a try's, was over | failure `timeout` |
//! | the model answered `x-ms-run-function-failed: True` and no 5xx | failure `reported` |
//! | any other answer, 4xx included: that is the client's mistake | no failure |
//! | anything else | `notEligible` |
//!
//! The first try counts, whatever a retry makes of it: retries would hide a model that fails now and then.
//!
//! *Not eligible* is what says nothing of the model, or was not the split's doing: copies, tunnels, which end when somebody
//! likes, faults that a rule injects, requests that the gateway refuses, clients that go away before their answer has ended,
//! and those of gRPC whose own patience is over before the rule's. Of these nobody knows what the answer would have been: to
//! call it a failure would charge the model with every closed window, and to call it a success would hide a model that hangs.
//! So that it is not hidden either, they are counted for each model: where one loses more clients than the other, it shows.
//! What another rule pins has no trial, and is counted nowhere.
//!
//! *Latency* is the time at the backend, in every try, to the last byte of the answer, as in
//! `turnout_upstream_duration_milliseconds`. From the request's head on it would hold how fast clients send their bodies, and
//! pauses that rules make, and so need more requests to show the same difference; up to the first byte it would not see a
//! model that streams slowly. Failures count, too: else a model that times out would be a fast one.

use super::WorkerEpoch;
use crate::error::{Flag, GatewayError};
use crate::grpc_status::{self, DEADLINE_EXCEEDED};
use http::{HeaderMap, HeaderName, StatusCode};
use std::rc::Rc;
use std::time::Duration;
use turnout_verdict::evidence::{Arm, Failures, Histogram};

/// By which a model says that it has failed, whatever its status (Azure Machine Learning's inference server).
const REPORTED: HeaderName = HeaderName::from_static("x-ms-run-function-failed");

/// A request that is under way, and what is known of its outcome.
#[derive(Debug)]
pub(crate) struct Trial {
    epoch: Rc<WorkerEpoch>,
    is_candidate: bool,
    /// Whether the split has assigned it.
    is_eligible: bool,
    /// Whether its client waits for less long than the rule does.
    is_hurried: bool,
    first: First,
}

/// What the first try has come to.
#[derive(Debug)]
enum First {
    Unknown,
    /// Unless its answer does not end as it began.
    Begun(Outcome),
    /// Whatever comes of the request. None: nobody will ever know.
    Settled(Option<Outcome>),
}

/// What a request says of its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    /// 5xx
    Status,
    /// The gateway had to answer for it.
    Gateway,
    Timeout,
    /// By the model itself.
    Reported,
}

impl Outcome {
    /// Of the head of a model's answer, without what it says of gRPC.
    pub(crate) fn of_answer(status: StatusCode, headers: &HeaderMap) -> Self {
        let is_reported = || headers.get(REPORTED).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
        match status {
            status if status.is_server_error() => Self::Status,
            _ if is_reported() => Self::Reported,
            _ => Self::Answered,
        }
    }

    /// Of what the gateway answers in place of a model. None: it is not about the model.
    pub(crate) fn of_error(error: GatewayError) -> Option<Self> {
        match (error, error.status()) {
            (GatewayError::Timeout, _) => Some(Self::Timeout),
            (_, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE) => Some(Self::Gateway),
            _ => None,
        }
    }

    /// Of an answer whose head was good, by how it ended.
    fn of_ending(flag: Flag) -> Option<Self> {
        match flag {
            Flag::Timeout => Some(Self::Timeout),
            Flag::UpstreamReset | Flag::StreamReset | Flag::UpstreamProtocol => Some(Self::Gateway),
            // The client has gone, or takes nothing.
            Flag::DownstreamGone | Flag::StreamIdle => None,
            _ => Some(Self::Answered),
        }
    }
}

impl Trial {
    pub(crate) fn new(epoch: &Rc<WorkerEpoch>, is_candidate: bool, is_eligible: bool) -> Self {
        Self { epoch: Rc::clone(epoch), is_candidate, is_eligible, is_hurried: false, first: First::Unknown }
    }

    /// The outcome of a try; the first one stays.
    pub(crate) fn conclude(&mut self, outcome: Outcome) {
        if matches!(self.first, First::Unknown) {
            self.first = First::Begun(outcome);
        }
    }

    /// A try has brought this head, which may say something of gRPC.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap, grpc_status: Option<u8>) {
        if let Some(outcome) = self.and_grpc(Outcome::of_answer(status, headers), grpc_status) {
            self.conclude(outcome);
        }
    }

    /// Another try follows: how that ends is not what counts.
    pub(crate) fn settle(&mut self) {
        if let First::Begun(outcome) = self.first {
            self.first = First::Settled(Some(outcome));
        }
    }

    /// Its client waits for less long than the rule does. When that is over nobody knows what it would have come to, and a
    /// client could say so of any model.
    pub(crate) fn hurry(&mut self) {
        self.is_hurried = true;
    }

    /// The whole time is over without an answer.
    pub(crate) fn run_out(&mut self) {
        match self.first {
            First::Unknown if self.is_hurried => self.first = First::Settled(None),
            _ => self.conclude(Outcome::Timeout),
        }
    }

    /// What the first try has come to, as far as it is known.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self.first {
            First::Unknown => None,
            First::Begun(outcome) => Some(outcome),
            First::Settled(outcome) => outcome,
        }
    }

    /// What an outcome is once gRPC's status is known, if there is one.
    fn and_grpc(&self, outcome: Outcome, status: Option<u8>) -> Option<Outcome> {
        match status {
            // It has been told how long its client waits.
            Some(DEADLINE_EXCEEDED) if self.is_hurried => None,
            Some(status) if grpc_status::to_http(status).is_server_error() => Some(Outcome::Status),
            _ => Some(outcome),
        }
    }

    /// The request has ended like this, after so long at its backend; of gRPC this was said in the end.
    pub(crate) fn close(self, flag: Flag, grpc_status: Option<u8>, took: Duration) {
        let outcome = match self.first {
            First::Begun(Outcome::Answered) => match Outcome::of_ending(flag) {
                Some(Outcome::Timeout) if self.is_hurried => None,
                Some(Outcome::Answered) => self.and_grpc(Outcome::Answered, grpc_status),
                ended => ended,
            },
            _ => self.outcome(),
        };
        let mut arms = self.epoch.arms.borrow_mut();
        let arm = if self.is_candidate { &mut arms.candidate } else { &mut arms.stable };
        match outcome.filter(|_| self.is_eligible) {
            Some(outcome) => count(arm, outcome, took),
            None => arm.not_eligible += 1,
        }
    }
}

/// Counts a request among a model's, after so long at its backend.
pub(crate) fn count(arm: &mut Arm, outcome: Outcome, took: Duration) {
    arm.requests += 1;
    arm.latency.record(Histogram::bucket(took), 1);
    let Failures { status, gateway, timeout, reported } = &mut arm.failures;
    let class = match outcome {
        Outcome::Answered => return,
        Outcome::Status => status,
        Outcome::Gateway => gateway,
        Outcome::Timeout => timeout,
        Outcome::Reported => reported,
    };
    *class += 1;
}
