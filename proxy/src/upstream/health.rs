//! What is known of one endpoint's failures: counted in a row, by their kind, and shared by all workers.

use super::clock::clock_ms;
use super::outgoing::Asked;
use crate::grpc_status;
use http::{Response, StatusCode};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use turnout_routes::router::Outliers;

/// However often it happens again (Envoy's default).
const LONGEST_EJECTION: Duration = Duration::from_mins(5);

/// What an endpoint is ejected for.
pub(super) const CAUSES: [&str; 3] = ["server_errors", "gateway_errors", "local_failures"];

/// What is known of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Failures in a row, by their kind.
    server_errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_failures: AtomicU32,
    /// On [`clock_ms`]; 0 is never.
    ejected_until_ms: AtomicU64,
    /// By how much the next ejection is longer. Only written by whoever decides on one.
    ejections: AtomicU32,
}

/// What came of a try.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TryOutcome {
    Answer(StatusCode),
    /// No answer: it could not be connected to, it broke off, it took too long.
    NoAnswer,
}

impl TryOutcome {
    /// Of an answer to gRPC what its head says of that, as a status of HTTP; what trailers say is not waited for (both as
    /// Envoy has it).
    pub(super) fn of<B>(answer: &Response<B>, asked: Asked) -> Self {
        let of_grpc = if asked == Asked::GrpcAnswer { grpc_status::said(answer.headers()) } else { None };
        Self::Answer(of_grpc.map_or(answer.status(), grpc_status::to_http))
    }
}

impl Health {
    pub(super) fn is_ejected(&self, now_ms: u64) -> bool {
        self.ejected_until_ms.load(Ordering::Relaxed) > now_ms
    }

    /// Counts an outcome, and says for what the endpoint is to be ejected, if it is. What comes while it is ejected counts
    /// for nothing.
    pub(super) fn count(&self, outcome: TryOutcome, policy: &Outliers) -> Option<&'static str> {
        if self.ejected_until_ms.load(Ordering::Relaxed) != 0 && self.is_ejected(clock_ms()) {
            return None;
        }
        let code = match outcome {
            TryOutcome::Answer(status) => status.as_u16(),
            TryOutcome::NoAnswer => match policy.local_failures {
                Some(most) => return reaches(&self.local_failures, true, most).then_some("local_failures"),
                // As the client will see it, or nearly.
                None => 503,
            },
        };
        if policy.local_failures.is_some() {
            reaches(&self.local_failures, false, 0);
        }
        let too_many = reaches(&self.server_errors, (500..600).contains(&code), policy.server_errors);
        let too_many_of_gateways = reaches(&self.gateway_errors, (502..=504).contains(&code), policy.gateway_errors);
        if too_many_of_gateways { Some("gateway_errors") } else { too_many.then_some("server_errors") }
    }

    pub(super) fn eject(&self, policy: &Outliers, now_ms: u64) -> Duration {
        let until = self.ejected_until_ms.load(Ordering::Relaxed);
        let interval_ms = millis(policy.interval).max(1);
        let forgiven = if until == 0 { 0 } else { now_ms.saturating_sub(until) / interval_ms };
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        let ejections = self.ejections.load(Ordering::Relaxed).saturating_sub(forgiven).saturating_add(1);
        self.ejections.store(ejections, Ordering::Relaxed);
        let longest = LONGEST_EJECTION.max(policy.base_ejection_time);
        let duration = policy.base_ejection_time.saturating_mul(ejections).min(longest);
        self.ejected_until_ms.store(now_ms + millis(duration), Ordering::Relaxed);
        duration
    }
}

/// Counts failures in a row, and says whether this one makes the number full; it then begins anew. 0 is never full.
fn reaches(in_a_row: &AtomicU32, failed: bool, most: u32) -> bool {
    if !failed || most == 0 {
        // Nearly always it is 0 already, and no other worker's cache is disturbed.
        if in_a_row.load(Ordering::Relaxed) != 0 {
            in_a_row.store(0, Ordering::Relaxed);
        }
        return false;
    }
    let full = in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= most;
    if full {
        in_a_row.store(0, Ordering::Relaxed);
    }
    full
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::upstream) const POLICY: Outliers = Outliers {
        server_errors: 3,
        gateway_errors: 2,
        local_failures: None,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_percent: 100,
        min_health_percent: 0,
    };

    /// What each outcome in turn makes of an endpoint; 0 is no answer.
    fn verdicts(policy: &Outliers, codes: &[u16]) -> Vec<Option<&'static str>> {
        let health = Health::default();
        let outcome = |code: u16| match StatusCode::from_u16(code) {
            Ok(status) => TryOutcome::Answer(status),
            Err(_) => TryOutcome::NoAnswer,
        };
        codes.iter().map(|code| health.count(outcome(*code), policy)).collect()
    }

    #[test]
    fn only_failures_in_a_row_count_each_among_its_kind() {
        assert_eq!(verdicts(&POLICY, &[500, 500, 500]), [None, None, Some("server_errors")]);
        assert_eq!(verdicts(&POLICY, &[500, 500, 404, 500, 500, 500])[..5], [None; 5]);
        assert_eq!(verdicts(&POLICY, &[503, 503]), [None, Some("gateway_errors")]);
        assert_eq!(verdicts(&POLICY, &[503, 500, 503]), [None, None, Some("server_errors")]);
        assert_eq!(verdicts(&POLICY, &[0, 0]), [None, Some("gateway_errors")]);
        let neither = Outliers { server_errors: 0, gateway_errors: 0, ..POLICY };
        assert_eq!(verdicts(&neither, &[503; 9]), [None; 9]);
        let split = Outliers { local_failures: Some(2), ..POLICY };
        assert_eq!(verdicts(&split, &[503, 0, 503]), [None, None, Some("gateway_errors")]);
        assert_eq!(verdicts(&split, &[0, 0]), [None, Some("local_failures")]);
        assert_eq!(verdicts(&split, &[0, 200, 0]), [None; 3]);
    }

    #[test]
    fn an_answer_to_grpc_counts_as_what_its_head_says() {
        let check = |is_grpc: bool, said: Option<&'static str>, expected: u16| {
            let mut answer = Response::new(());
            if let Some(said) = said {
                answer.headers_mut().insert("grpc-status", http::HeaderValue::from_static(said));
            }
            let outcome = TryOutcome::of(&answer, if is_grpc { Asked::GrpcAnswer } else { Asked::Answer });
            assert!(matches!(outcome, TryOutcome::Answer(status) if status == expected), "{said:?}: {outcome:?}");
        };
        check(true, None, 200);
        check(false, Some("14"), 200);
        let codes = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        for (said, code) in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"]
            .into_iter()
            .zip(codes)
        {
            check(true, Some(said), code);
        }
        check(true, Some("17"), 500);
    }

    #[test]
    fn an_ejection_is_longer_each_time_and_shorter_again_when_it_was_long_ago() {
        let health = Health::default();
        let eject = |at_s: u64| health.eject(&POLICY, 1 + at_s * 1000).as_secs();
        assert_eq!(eject(0), 30);
        assert_eq!(eject(31), 60, "right after the first");
        assert_eq!(eject(91 + 15), 60, "one interval later");
        assert_eq!(eject(166 + 100), 30, "long after");
        assert_eq!((0..20).map(|n| eject(1000 + n)).max(), Some(300), "there is a longest");
    }
}
