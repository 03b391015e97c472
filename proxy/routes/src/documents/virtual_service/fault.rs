//! `fault`: what is done to some requests so that one can see how clients take it.

use super::url::status;
use crate::decode::{Decoded, Item, one_of, quoted};
use crate::documents::percent::Percent;
use crate::encode::{Fields, duration};
use http::StatusCode;
use serde_json::Value;
use std::time::Duration;

/// `fault`: at least one of the two was written. Of those that lack what they would do nothing is done, as in Istio.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Before anything else happens to the request.
    pub delay: Option<Delay>,
    /// After the delay.
    pub abort: Option<Abort>,
}

/// `fault.delay`.
#[derive(Clone, Debug, PartialEq)]
pub struct Delay {
    /// How long; none does nothing.
    pub fixed: Option<Duration>,
    /// Of how many requests; those of the abort are drawn apart from it.
    pub percent: Percent,
}

/// `fault.abort`.
#[derive(Clone, Debug, PartialEq)]
pub struct Abort {
    /// With what; none does nothing.
    pub with: Option<AbortWith>,
    /// Of how many requests.
    pub percent: Percent,
}

/// The answer to a request that is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortWith {
    /// `httpStatus`: 200 to 600.
    Http(StatusCode),
    /// `grpcStatus`, as its number.
    Grpc(u8),
}

/// gRPC's statuses, each at its number.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Fault {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let delay = object.field("delay", Delay::decode);
        let abort = object.field("abort", Abort::decode);
        object.finish();
        match (delay?, abort?) {
            (None, None) => Err(item.advise("neither a delay nor an abort", "add one of them, or leave fault out")),
            (delay, abort) => Ok(Self { delay, abort }),
        }
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new()
            .some("delay", self.delay.as_ref().map(Delay::encode))
            .some("abort", self.abort.as_ref().map(Abort::encode))
            .into()
    }
}

impl Delay {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let fixed = object.field("fixedDelay", Item::duration);
        let percentage = object.field("percentage", Percent::decode_of_fault);
        let whole = object.field_or_default("percent", Percent::decode_whole);
        object.refuse(&["exponentialDelay"]);
        object.finish();
        let (fixed, percent) = (fixed?, percentage?.unwrap_or(whole?));
        if fixed.is_none() {
            item.warn("a delay without fixedDelay does nothing", "add fixedDelay, or leave the delay out");
        }
        Ok(Self { fixed, percent })
    }

    fn encode(&self) -> Value {
        Fields::new().some("fixedDelay", self.fixed.map(duration)).field("percentage", self.percent.encode()).into()
    }
}

impl Abort {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let http = object.field("httpStatus", |item| Ok(AbortWith::Http(status(item.unsigned(200..=600)?, item)?)));
        let grpc = object.field("grpcStatus", |item| Ok(AbortWith::Grpc(grpc_status(item)?)));
        let percent = object.field_or_default("percentage", Percent::decode_of_fault);
        object.refuse(&["http2Error"]);
        object.finish();
        let with = match (http?, grpc?) {
            (Some(_), Some(_)) => return Err(item.error("httpStatus and grpcStatus exclude each other")),
            (with, None) | (None, with) => with,
        };
        if with.is_none() {
            let advice = "add httpStatus or grpcStatus, or leave the abort out";
            item.warn("an abort without a status does nothing", advice);
        }
        Ok(Self { with, percent: percent? })
    }

    fn encode(&self) -> Value {
        let fields = match self.with {
            Some(AbortWith::Http(status)) => Fields::new().field("httpStatus", status.as_u16()),
            Some(AbortWith::Grpc(number)) => Fields::new().field("grpcStatus", GRPC_STATUSES[usize::from(number)]),
            None => Fields::new(),
        };
        fields.field("percentage", self.percent.encode()).into()
    }
}

fn grpc_status(item: &Item<'_>) -> Decoded<u8> {
    let text = item.string()?;
    match (0_u8..).zip(GRPC_STATUSES).find(|(_, name)| *name == text) {
        Some((number, _)) => Ok(number),
        None => {
            Err(item
                .advise(format!("{} is no status of gRPC", quoted(text)), format!("write {}", one_of(GRPC_STATUSES))))
        }
    }
}
