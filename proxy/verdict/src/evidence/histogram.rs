//! How long requests took, in buckets that are the same everywhere and for ever, so that counts add up.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// 100 us times 2^(i/8), in nanoseconds; each octave is the one before it, doubled.
const OCTAVE: [u64; 8] = [100_000, 109_051, 118_921, 129_684, 141_421, 154_221, 168_179, 183_401];

const BOUNDS: [u64; Histogram::BUCKETS] = {
    let mut bounds = [u64::MAX; Histogram::BUCKETS];
    let mut index = 0;
    while index < Histogram::BUCKETS - 1 {
        bounds[index] = OCTAVE[index % 8] << (index / 8);
        index += 1;
    }
    bounds
};

/// Counts in buckets. In JSON only those that are not empty: `[[bucket, count], ...]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(usize, u64)>", into = "Vec<(usize, u64)>")]
pub struct Histogram {
    /// No count is 0.
    counts: BTreeMap<usize, u64>,
}

impl Histogram {
    /// Bucket `i` has what took at most 100 us * 2^(i/8) and longer than the one before it; the last one, all above 96 s.
    pub const BUCKETS: usize = 161;

    /// Where a request belongs that took so long.
    pub fn bucket(took: Duration) -> usize {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        BOUNDS.partition_point(|bound| *bound < nanos)
    }

    /// The upper bound of a bucket; the last has none.
    pub fn bound(bucket: usize) -> Option<Duration> {
        BOUNDS[..Self::BUCKETS - 1].get(bucket).copied().map(Duration::from_nanos)
    }

    /// Counts requests in a bucket; one beyond the last is the last.
    pub fn record(&mut self, bucket: usize, count: u64) {
        if count > 0 {
            let own = self.counts.entry(bucket.min(Self::BUCKETS - 1)).or_default();
            *own = own.saturating_add(count);
        }
    }

    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.counts {
            self.record(*bucket, *count);
        }
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many took longer than the bound of that bucket.
    pub fn slower_than(&self, bucket: usize) -> u64 {
        self.counts.range(bucket.saturating_add(1)..).fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The first bucket at whose bound at least that part of the requests, 0 to 1, had ended; none if there are no requests.
    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the last digits do not matter")]
    pub fn quantile(&self, part: f64) -> Option<usize> {
        let total = self.total() as f64;
        let mut ended = 0.0;
        self.counts.iter().find_map(|(bucket, count)| {
            ended += *count as f64;
            (ended >= total * part).then_some(*bucket)
        })
    }
}

impl From<Vec<(usize, u64)>> for Histogram {
    fn from(counts: Vec<(usize, u64)>) -> Self {
        let mut histogram = Self::default();
        for (bucket, count) in counts {
            histogram.record(bucket, count);
        }
        histogram
    }
}

impl From<Histogram> for Vec<(usize, u64)> {
    fn from(histogram: Histogram) -> Self {
        histogram.counts.into_iter().collect()
    }
}
