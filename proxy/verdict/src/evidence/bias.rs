//! By how much the candidate's numbers differ from stable's.
//!
//! Betting on differences one after the other would need their order, and its capital the margin and the error rate that a
//! gateway does not know. So what is kept are the sums of the first four powers of the differences: from them a lower bound
//! of the capital of any fixed bet follows, for any margin (`pairs`). They add up over replicas, restarts and epochs.

use serde::{Deserialize, Serialize};

/// One unit of a sum: powers are rounded to millionths, which `pairs` takes into account.
const UNIT: f64 = 1e6;

/// The differences of one number, candidate minus live answer, each divided by the scale and clipped to -1..1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Bias {
    /// In units of the value; 0: each difference is divided by the larger magnitude of its two values, so that 0.01 is one
    /// per cent.
    scale: f64,
    count: u64,
    /// In millionths: of the differences, their squares, third and fourth powers.
    sums: [i64; 4],
}

impl Bias {
    /// Of numbers that are compared in units of `scale`, or relatively where it is 0.
    pub fn new(scale: f64) -> Self {
        Self { scale, ..Self::default() }
    }

    /// In units of the value; 0: relative.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// How many pairs.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Counts a pair of numbers; what is not finite is not a number to compare, and `false` says that it was not counted.
    pub fn record(&mut self, live: f64, candidate: f64) -> bool {
        if !(live.is_finite() && candidate.is_finite()) {
            return false;
        }
        let unit = if self.scale > 0.0 { self.scale } else { live.abs().max(candidate.abs()) };
        let difference = if unit > 0.0 { ((candidate - live) / unit).clamp(-1.0, 1.0) } else { 0.0 };
        let mut power = 1.0;
        for sum in &mut self.sums {
            power *= difference;
            #[expect(clippy::cast_possible_truncation, reason = "at most a million")]
            let rounded = (power * UNIT).round() as i64;
            *sum = sum.saturating_add(rounded);
        }
        self.count = self.count.saturating_add(1);
        true
    }

    /// Adds another count of the same scale.
    pub fn add(&mut self, other: &Self) {
        if self.count == 0 {
            self.scale = other.scale;
        }
        self.count = self.count.saturating_add(other.count);
        for (own, other) in self.sums.iter_mut().zip(other.sums) {
            *own = own.saturating_add(other);
        }
    }

    /// Of the clipped differences, in units of the scale.
    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the last digits do not matter")]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sums[0] as f64 / UNIT / self.count as f64 }
    }

    /// The sums of the first four powers of the clipped differences. Each of them may be wrong by half a millionth for each
    /// pair.
    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the last digits do not matter")]
    pub(crate) fn sums(&self) -> [f64; 4] {
        self.sums.map(|sum| sum as f64 / UNIT)
    }
}
