//! The evidence as metrics, for people and dashboards: of each policy what all its revisions and salts have counted. What is
//! judged is the page `/evidence`, which keeps them apart.

use crate::evidence::Evidence;
use crate::telemetry::exposition::Exposition;
use turnout_verdict::evidence::{Arm, Failures, Histogram};

/// Every eighth bucket, a doubling each: 100 us, 200 us, ... 52 s.
const BOUNDS: [usize; 20] = {
    let mut bounds = [0; 20];
    let mut number = 0;
    while number < bounds.len() {
        bounds[number] = 8 * number;
        number += 1;
    }
    bounds
};

/// Writes the metrics.
pub(super) fn write(text: &mut Exposition, evidence: &Evidence) {
    let totals = evidence.totals();
    let arms: Vec<_> = totals
        .iter()
        .flat_map(|(policy, arms)| [(policy, "stable", &arms.stable), (policy, "candidate", &arms.candidate)])
        .collect();
    let classes = arms.iter().flat_map(|(policy, model, arm)| {
        classes(arm).map(move |(class, count)| ([policy.as_str(), model, class], count))
    });
    let help = "Requests that a SplitPolicy governs, at their end, by the model and by what became of them.";
    text.counters("turnout_evidence_requests_total", help, ["policy", "arm", "class"], classes);
    let buckets = arms.iter().flat_map(|(policy, model, arm)| {
        let row = move |(bound, count): (String, u64)| ([(*policy).clone(), (*model).to_owned(), bound], count);
        buckets(&arm.latency).map(row)
    });
    let help = "How long those took at their backend that are eligible.";
    text.buckets("turnout_evidence_duration_milliseconds", help, ["policy", "arm", "le"], buckets);
}

/// Each request is in one of them.
fn classes(arm: &Arm) -> [(&'static str, u64); 6] {
    let Failures { status, gateway, timeout, reported } = arm.failures;
    [
        ("ok", arm.requests.saturating_sub(arm.failures.total())),
        ("status", status),
        ("gateway", gateway),
        ("timeout", timeout),
        ("reported", reported),
        ("not_eligible", arm.not_eligible),
    ]
}

fn buckets(latency: &Histogram) -> impl Iterator<Item = (String, u64)> {
    let total = latency.total();
    let bounded = BOUNDS.into_iter().filter_map(move |bucket| {
        let bound_ms = Histogram::bound(bucket)?.as_secs_f64() * 1000.0;
        Some((bound_ms.to_string(), total - latency.slower_than(bucket)))
    });
    bounded.chain([("+Inf".to_owned(), total)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_request_is_in_one_class() {
        let failures = Failures { status: 1, gateway: 2, timeout: 3, reported: 4 };
        let arm = Arm { requests: 15, failures, not_eligible: 6, ..Arm::default() };
        let counts = classes(&arm).map(|(_, count)| count);
        assert_eq!(counts, [5, 1, 2, 3, 4, 6]);
    }

    #[test]
    fn a_bucket_holds_those_below_it() {
        let mut latency = Histogram::default();
        for took_us in [50, 100, 150, 3_000, 600_000_000] {
            latency.record(Histogram::bucket(Duration::from_micros(took_us)), 1);
        }
        let told: Vec<(String, u64)> = buckets(&latency).collect();
        let at = |bound: &str| told.iter().find(|(own, _)| own == bound).map(|(_, count)| *count);
        assert_eq!(["0.1", "0.2", "3.2", "52428.8", "+Inf"].map(at), [2, 3, 4, 4, 5].map(Some));
        assert!(told.is_sorted_by_key(|(_, count)| *count));
    }
}
