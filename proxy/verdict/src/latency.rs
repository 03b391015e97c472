//! Whether the candidate is slower: "slower than a boundary" is a failure, and relative risk is asked at each of four. The
//! mean of their evidence is evidence, however much they depend on each other.
//!
//! The boundaries are stable's own: where half, 90, 95 and 99 per cent of its first 500 requests had ended. They are chosen
//! once, and only what came later counts, since evidence may not choose the question that it answers.

use crate::evidence::{Epoch, Histogram};
use crate::logarithms;
use crate::relative_risk::{Counts, SLOW, less_often, more_often};
use serde::{Deserialize, Serialize};

/// So many requests of stable choose the boundaries.
pub const FIRST: u64 = 500;
const PARTS: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// The boundaries and what had been counted when they were chosen: whoever judges keeps them between two verdicts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Boundaries {
    /// Each is the bound of that bucket.
    pub buckets: Vec<usize>,
    /// Of each epoch until then.
    before: Vec<Before>,
}

/// For each boundary those that were slower, until the boundaries were chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Before {
    revision: String,
    candidate_share: f64,
    candidate: Vec<u64>,
    stable: Vec<u64>,
}

impl Boundaries {
    /// None where stable has not had enough requests.
    pub fn choose(epochs: &[Epoch]) -> Option<Self> {
        let mut first = Histogram::default();
        for epoch in epochs {
            first.add(&epoch.stable.latency);
        }
        if first.total() < FIRST {
            return None;
        }
        let mut buckets: Vec<usize> = PARTS.iter().filter_map(|part| first.quantile(*part)).collect();
        buckets.dedup();
        let slower = |histogram: &Histogram| buckets.iter().map(|bucket| histogram.slower_than(*bucket)).collect();
        let before = epochs.iter().map(|epoch| Before {
            revision: epoch.revision.clone(),
            candidate_share: epoch.candidate_share,
            candidate: slower(&epoch.candidate.latency),
            stable: slower(&epoch.stable.latency),
        });
        Some(Self { before: before.collect(), buckets })
    }

    /// Those that were slower than the boundary, since it was chosen.
    pub fn counts(&self, boundary: usize, epochs: &[Epoch]) -> Vec<Counts> {
        let bucket = self.buckets[boundary];
        let since = |histogram: &Histogram, before: u64| {
            // A sum that has become less has lost a process, which is nobody's evidence.
            logarithms::count(histogram.slower_than(bucket).saturating_sub(before))
        };
        let counts = epochs.iter().map(|epoch| {
            // JSON may have changed the last digit.
            let is_same = |before: &&Before| {
                before.revision == epoch.revision && (before.candidate_share - epoch.candidate_share).abs() < 1e-9
            };
            let before = self.before.iter().find(is_same);
            // It comes from a status, which another version may have written.
            let of = |arm: fn(&Before) -> &Vec<u64>| before.and_then(|it| arm(it).get(boundary)).copied().unwrap_or(0);
            Counts {
                share: epoch.candidate_share,
                candidate: since(&epoch.candidate.latency, of(|before| &before.candidate)),
                stable: since(&epoch.stable.latency, of(|before| &before.stable)),
            }
        });
        counts.collect()
    }
}

/// Evidence that the candidate is slower, from the counts at each boundary.
pub fn slower(boundaries: &[Vec<Counts>]) -> f64 {
    let evidence: Vec<f64> = boundaries.iter().map(|counts| more_often(counts, 1.0, SLOW)).collect();
    logarithms::mean(&evidence)
}

/// Evidence that at no boundary it is slow `margin` times as often as stable: the least of all boundaries, without any
/// correction, since all of them must show it.
pub fn not_slower(boundaries: &[Vec<Counts>], margin: f64) -> f64 {
    boundaries.iter().map(|counts| less_often(counts, margin, SLOW)).reduce(f64::min).unwrap_or(0.0)
}
