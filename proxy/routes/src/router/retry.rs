//! When a failed try is made again: Istio's default policy, or the rule's own.

use crate::documents::{Retries, RetryCondition};
use http::{HeaderMap, StatusCode};
use std::borrow::Cow;
use std::time::Duration;

/// Why a try brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or one that ended before anything of the request was written to it.
    Connect,
    /// The connection ended after some of the request may have been written.
    AfterRequest,
    /// The endpoint ended the request's stream.
    StreamReset,
    /// The same, or its farewell, before anybody has looked at the request.
    Refused,
    /// The try's own time ran out.
    PerTryTimeout,
    /// What came was not HTTP, or its head was too large. Never tried again.
    Protocol,
}

/// How often and when to try again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Tries after the first.
    pub retries: u32,
    /// For each try.
    pub per_try_timeout: Option<Duration>,
    /// Base of the exponential back-off.
    pub backoff: Duration,
    /// Whether a try goes to an endpoint that has not failed, while there is one; by default it does, unless a hash chooses.
    pub avoid_previous_endpoints: Option<bool>,
    conditions: Cow<'static, [RetryCondition]>,
}

/// Istio's default: 2 retries on what cannot have reached the application.
const DEFAULT_RETRIES: u32 = 2;
const DEFAULT_CONDITIONS: [RetryCondition; 5] = [
    RetryCondition::ConnectFailure,
    RetryCondition::RefusedStream,
    RetryCondition::Grpc(14),
    RetryCondition::Grpc(1),
    RetryCondition::RetriableStatusCodes,
];
const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);

impl RetryPolicy {
    pub(super) fn compile(retries: Option<&Retries>) -> Self {
        let default = Self {
            retries: DEFAULT_RETRIES,
            per_try_timeout: None,
            backoff: DEFAULT_BACKOFF,
            avoid_previous_endpoints: None,
            conditions: Cow::Borrowed(&DEFAULT_CONDITIONS),
        };
        match retries {
            None => default,
            Some(Retries::Off) => Self { retries: 0, ..default },
            Some(Retries::On { attempts, per_try_timeout, retry_on, backoff, ignore_previous_hosts }) => Self {
                retries: attempts.get(),
                per_try_timeout: *per_try_timeout,
                backoff: backoff.unwrap_or(DEFAULT_BACKOFF),
                avoid_previous_endpoints: *ignore_previous_hosts,
                conditions: if retry_on.is_empty() { default.conditions } else { retry_on.iter().copied().collect() },
            },
        }
    }

    /// Whether a try that brought no answer is made again.
    pub fn covers_failure(&self, failure: Failure) -> bool {
        use RetryCondition as On;
        let any_reset = self.has_any(&[On::ServerError, On::GatewayError, On::Reset]);
        match failure {
            Failure::Protocol => false,
            Failure::Connect => any_reset || self.has_any(&[On::ConnectFailure, On::ResetBeforeRequest]),
            Failure::Refused => any_reset || self.has_any(&[On::RefusedStream]),
            Failure::AfterRequest | Failure::StreamReset | Failure::PerTryTimeout => any_reset,
        }
    }

    /// Whether an answer is thrown away for another try. By default only the answer to a gRPC request, which `grpc` says, is
    /// looked at for a gRPC status: nothing has to be kept of other requests then.
    pub fn covers_response(&self, status: StatusCode, headers: &HeaderMap, grpc: bool) -> bool {
        let code = status.as_u16();
        self.conditions.iter().any(|condition| match condition {
            RetryCondition::ServerError => status.is_server_error(),
            RetryCondition::GatewayError => (502..=504).contains(&code),
            RetryCondition::Retriable4xx => code == 409,
            RetryCondition::Status(wanted) => code == *wanted,
            RetryCondition::EnvoyRatelimited => headers.contains_key("x-envoy-ratelimited"),
            RetryCondition::Grpc(wanted) => {
                let status = || headers.get("grpc-status")?.to_str().ok()?.parse::<u8>().ok();
                (grpc || self.names_conditions()) && status() == Some(*wanted)
            }
            // About tries that brought no answer, or never true of an answer over HTTP/1.1.
            RetryCondition::Reset
            | RetryCondition::ResetBeforeRequest
            | RetryCondition::ConnectFailure
            | RetryCondition::RefusedStream
            | RetryCondition::RetriableStatusCodes
            | RetryCondition::RetriableHeaders
            | RetryCondition::Http3PostConnectFailure => false,
        })
    }

    /// Whether a try may be made again after it was given to a connection, so that what was given must be kept. gRPC
    /// statuses are left out by default, unless it is a gRPC request, which `grpc` says, and streams that are refused unless
    /// the backend is spoken to over HTTP/2.
    pub fn may_send_again(&self, grpc: bool, http2: bool) -> bool {
        let only_before_sending = |condition: &RetryCondition| match condition {
            RetryCondition::RefusedStream => !http2,
            RetryCondition::ConnectFailure
            | RetryCondition::RetriableStatusCodes
            | RetryCondition::RetriableHeaders
            | RetryCondition::Http3PostConnectFailure => true,
            RetryCondition::Grpc(_) => !grpc && !self.names_conditions(),
            RetryCondition::ServerError
            | RetryCondition::GatewayError
            | RetryCondition::Reset
            | RetryCondition::ResetBeforeRequest
            | RetryCondition::Retriable4xx
            | RetryCondition::EnvoyRatelimited
            | RetryCondition::Status(_) => false,
        };
        self.retries > 0 && !self.conditions.iter().all(only_before_sending)
    }

    /// Whether the rule does, and not Istio's default.
    fn names_conditions(&self) -> bool {
        matches!(self.conditions, Cow::Owned(_))
    }

    fn has_any(&self, conditions: &[RetryCondition]) -> bool {
        conditions.iter().any(|condition| self.conditions.contains(condition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::testing::{headers, rule};

    fn policy(fields: &str) -> RetryPolicy {
        RetryPolicy::compile(rule(&format!("{fields}route: [{{destination: {{host: m}}}}]")).retries.as_ref())
    }

    fn on(conditions: &str) -> RetryPolicy {
        policy(&format!("retries: {{attempts: 3, retryOn: '{conditions}'}}, "))
    }

    #[test]
    fn what_the_rule_leaves_open_is_istios_default() {
        let check = |fields: &str, retries: u32, backoff_ms: u128, avoids: Option<bool>| {
            let policy = policy(fields);
            let got = (policy.retries, policy.backoff.as_millis(), policy.avoid_previous_endpoints);
            assert_eq!(got, (retries, backoff_ms, avoids), "{fields}");
        };
        check("", 2, 25, None);
        check("retries: {attempts: 0}, ", 0, 25, None);
        check("retries: {attempts: 5}, ", 5, 25, None);
        check("retries: {attempts: 1, backoff: 2s, retryIgnorePreviousHosts: false}, ", 1, 2000, Some(false));
    }

    #[test]
    fn a_failure_is_covered_by_the_conditions_that_mean_it() {
        const ALL: [Failure; 6] = [
            Failure::Connect,
            Failure::AfterRequest,
            Failure::StreamReset,
            Failure::Refused,
            Failure::PerTryTimeout,
            Failure::Protocol,
        ];
        let check = |policy: &RetryPolicy, expected: &[Failure]| {
            let covered: Vec<_> = ALL.into_iter().filter(|failure| policy.covers_failure(*failure)).collect();
            assert_eq!(covered, expected, "{policy:?}");
        };
        check(&policy(""), &[Failure::Connect, Failure::Refused]);
        check(&on("connect-failure"), &[Failure::Connect]);
        check(&on("reset-before-request"), &[Failure::Connect]);
        check(&on("refused-stream,retriable-4xx,503"), &[Failure::Refused]);
        for any in ["5xx", "gateway-error", "reset"] {
            check(&on(any), &ALL[..5]);
        }
    }

    #[test]
    fn an_answer_is_covered_by_the_conditions_that_mean_it() {
        let check = |policy: &RetryPolicy, status: u16, lines: &[&str], expected: bool| {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(
                policy.covers_response(status, &headers(lines), true),
                expected,
                "{policy:?}, {status}, {lines:?}"
            );
        };
        for (status, by_5xx, by_gateway) in
            [(499, false, false), (500, true, false), (502, true, true), (505, true, false)]
        {
            check(&on("5xx"), status, &[], by_5xx);
            check(&on("gateway-error"), status, &[], by_gateway);
            check(&policy(""), status, &[], false);
        }
        check(&on("retriable-4xx"), 409, &[], true);
        check(&on("retriable-4xx"), 408, &[], false);
        check(&on("418,retriable-status-codes"), 418, &[], true);
        check(&on("retriable-status-codes"), 503, &[], false);
        check(&on("envoy-ratelimited"), 429, &["x-envoy-ratelimited: true"], true);
        check(&on("envoy-ratelimited"), 429, &[], false);
        check(&policy(""), 200, &["grpc-status: 14"], true);
        check(&policy(""), 200, &["grpc-status: 13"], false);
        check(&on("internal"), 200, &["grpc-status: 13"], true);
        // By default an answer to somebody else's request is not looked at for it.
        let of_others =
            |policy: &RetryPolicy| policy.covers_response(StatusCode::OK, &headers(&["grpc-status: 14"]), false);
        assert_eq!((of_others(&policy("")), of_others(&on("unavailable"))), (false, true));
    }

    #[test]
    fn what_was_sent_is_kept_only_if_it_may_be_sent_again() {
        let check = |policy: &RetryPolicy, expected: [bool; 3]| {
            let asked = [(false, false), (true, false), (false, true)];
            assert_eq!(asked.map(|(grpc, http2)| policy.may_send_again(grpc, http2)), expected, "{policy:?}");
        };
        check(&policy(""), [false, true, true]);
        check(&policy("retries: {attempts: 0}, "), [false; 3]);
        check(&on("connect-failure"), [false; 3]);
        check(&on("connect-failure,refused-stream"), [false, false, true]);
        check(&on("unavailable"), [true; 3]);
        for sent in
            ["5xx", "gateway-error", "reset", "reset-before-request", "retriable-4xx", "envoy-ratelimited", "503"]
        {
            check(&on(sent), [true; 3]);
        }
    }
}
