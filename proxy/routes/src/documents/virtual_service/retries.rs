//! `retries`: when and how often a request is tried again.

use crate::decode::{Decoded, Item, quoted};
use crate::encode::{Fields, duration};
use serde_json::Value;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

/// What Istio has and the gateway has not.
const UNSUPPORTED: [&str; 1] = ["retryRemoteLocalities"];

/// The conditions that have names, as Envoy calls them.
const CONDITIONS: [(&str, RetryCondition); 16] = [
    ("5xx", RetryCondition::ServerError),
    ("gateway-error", RetryCondition::GatewayError),
    ("reset", RetryCondition::Reset),
    ("reset-before-request", RetryCondition::ResetBeforeRequest),
    ("connect-failure", RetryCondition::ConnectFailure),
    ("refused-stream", RetryCondition::RefusedStream),
    ("retriable-4xx", RetryCondition::Retriable4xx),
    ("retriable-status-codes", RetryCondition::RetriableStatusCodes),
    ("envoy-ratelimited", RetryCondition::EnvoyRatelimited),
    ("retriable-headers", RetryCondition::RetriableHeaders),
    ("http3-post-connect-failure", RetryCondition::Http3PostConnectFailure),
    ("cancelled", RetryCondition::Grpc(1)),
    ("deadline-exceeded", RetryCondition::Grpc(4)),
    ("resource-exhausted", RetryCondition::Grpc(8)),
    ("internal", RetryCondition::Grpc(13)),
    ("unavailable", RetryCondition::Grpc(14)),
];

/// `retries`.
#[derive(Clone, Debug, PartialEq)]
pub enum Retries {
    /// `attempts: 0`.
    Off,
    /// Tries again.
    On {
        /// Tries after the first.
        attempts: NonZeroU32,
        /// For each try; whole milliseconds, at least 1.
        per_try_timeout: Option<Duration>,
        /// When to; empty means Istio's default conditions.
        retry_on: BTreeSet<RetryCondition>,
        /// The base of the exponential back-off; 25 ms if absent.
        backoff: Option<Duration>,
        /// `retryIgnorePreviousHosts`: whether an endpoint that failed is avoided; true if absent.
        ignore_previous_hosts: Option<bool>,
    },
}

/// When a try is made again (Envoy's `x-envoy-retry-on`, the conditions that an HTTP/1.1 upstream can meet, and gRPC's
/// which are accepted as Istio does).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RetryCondition {
    /// `5xx`: a status of 500 to 599, or no answer at all.
    ServerError,
    /// `gateway-error`: 502, 503 or 504.
    GatewayError,
    /// `reset`: no answer at all.
    Reset,
    /// `reset-before-request`: no answer, and nothing of the request was sent.
    ResetBeforeRequest,
    /// `connect-failure`: no connection.
    ConnectFailure,
    /// `refused-stream`: HTTP/2 REFUSED_STREAM.
    RefusedStream,
    /// `retriable-4xx`: 409.
    Retriable4xx,
    /// `retriable-status-codes`: the codes that are listed beside it.
    RetriableStatusCodes,
    /// `envoy-ratelimited`: x-envoy-ratelimited is in the answer.
    EnvoyRatelimited,
    /// `retriable-headers`: none can be listed, so it never holds.
    RetriableHeaders,
    /// `http3-post-connect-failure`: never holds.
    Http3PostConnectFailure,
    /// A gRPC status: `cancelled` 1, `deadline-exceeded` 4, `resource-exhausted` 8, `internal` 13, `unavailable` 14.
    Grpc(u8),
    /// A status code in the list.
    Status(u16),
}

impl Retries {
    /// One more try, and on what.
    pub(crate) fn once(retry_on: BTreeSet<RetryCondition>) -> Self {
        let (per_try_timeout, backoff, ignore_previous_hosts) = (None, None, None);
        Self::On { attempts: NonZeroU32::MIN, per_try_timeout, retry_on, backoff, ignore_previous_hosts }
    }

    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let attempts = object.field_or_default("attempts", |item| item.unsigned::<u32>(0..=i64::from(i32::MAX)));
        let per_try_timeout = object.field("perTryTimeout", Item::duration);
        let retry_on = object.field_or_default("retryOn", decode_conditions);
        let backoff = object.field("backoff", Item::duration);
        let ignore_previous_hosts = object.field("retryIgnorePreviousHosts", Item::boolean);
        object.refuse(&UNSUPPORTED);
        object.finish();
        let (attempts, per_try_timeout, retry_on) = (attempts?, per_try_timeout?, retry_on?);
        let (backoff, ignore_previous_hosts) = (backoff?, ignore_previous_hosts?);
        let Some(attempts) = NonZeroU32::new(attempts) else {
            if per_try_timeout.is_some() || !retry_on.is_empty() {
                let message = "perTryTimeout and retryOn mean nothing without attempts";
                return Err(item.advise(message, "write attempts: 1 or more, or leave them out"));
            }
            return Ok(Self::Off);
        };
        Ok(Self::On { attempts, per_try_timeout, retry_on, backoff, ignore_previous_hosts })
    }

    pub(super) fn encode(&self) -> Value {
        match self {
            Self::Off => Fields::new().field("attempts", 0).into(),
            Self::On { attempts, per_try_timeout, retry_on, backoff, ignore_previous_hosts } => {
                let conditions: Vec<String> = retry_on.iter().map(|condition| condition.encode()).collect();
                Fields::new()
                    .field("attempts", attempts.get())
                    .some("perTryTimeout", per_try_timeout.map(duration))
                    .some("retryOn", (!conditions.is_empty()).then(|| conditions.join(",")))
                    .some("backoff", backoff.map(duration))
                    .some("retryIgnorePreviousHosts", *ignore_previous_hosts)
                    .into()
            }
        }
    }
}

/// Names and status codes, with commas between them and nothing else.
fn decode_conditions(item: &Item<'_>) -> Decoded<BTreeSet<RetryCondition>> {
    let Some(text) = item.filled()? else {
        return Ok(BTreeSet::new());
    };
    let conditions: Vec<_> = text.split(',').map(|name| RetryCondition::decode(name, item)).collect();
    conditions.into_iter().collect()
}

impl RetryCondition {
    fn decode(name: &str, item: &Item<'_>) -> Decoded<Self> {
        if let Some((_, condition)) = CONDITIONS.iter().find(|(known, _)| *known == name) {
            return Ok(*condition);
        }
        match name.parse() {
            Ok(code) if name.len() == 3 && is_known_status(code) => return Ok(Self::Status(code)),
            _ => {}
        }
        let message = format!("{} is neither a condition of a retry nor a status code", quoted(name));
        let advice = if name.trim() == name {
            "write names such as 5xx, reset, connect-failure, gateway-error, or codes such as 503, with commas between them"
        } else {
            "leave out the spaces"
        };
        Err(item.advise(message, advice))
    }

    fn encode(self) -> String {
        if let Self::Status(code) = self {
            return code.to_string();
        }
        let name = CONDITIONS.iter().find(|(_, condition)| *condition == self).map(|(name, _)| *name);
        name.unwrap_or_default().to_owned()
    }
}

/// The status codes that have a registered meaning, as Go's `net/http` knows them and Istio asks it.
fn is_known_status(code: u16) -> bool {
    matches!(
        code,
        100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451 | 500..=508 | 510 | 511
    )
}
