//! Latencies as a histogram: exact counts, values to three significant digits, any range, a few kilobytes.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// A day: what bounds the memory of a histogram.
const MAX_US: u64 = 86_400_000_000;

/// A histogram of latencies in microseconds, to three significant digits. Of nothing, every value is 0.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        Self { histogram: Histogram::new(3).expect("a histogram may have 0 to 5 significant digits") }
    }
}

impl Latency {
    /// A latency above a day counts as a day.
    pub(super) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).min(MAX_US);
        self.histogram.record(micros).expect("a histogram up to a day fits into any memory");
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("a histogram that grows as needed takes every value of another");
    }

    /// How many latencies were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency in microseconds that this share of the requests, from 0 to 1, did not exceed.
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }

    /// The median in microseconds.
    pub fn p50_us(&self) -> u64 {
        self.quantile_us(0.5)
    }

    /// The 90th percentile in microseconds.
    pub fn p90_us(&self) -> u64 {
        self.quantile_us(0.9)
    }

    /// The 99th percentile in microseconds.
    pub fn p99_us(&self) -> u64 {
        self.quantile_us(0.99)
    }

    /// The longest in microseconds.
    pub fn max_us(&self) -> u64 {
        self.histogram.max()
    }
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Latency", 5)?;
        fields.serialize_field("count", &self.count())?;
        fields.serialize_field("p50", &self.p50_us())?;
        fields.serialize_field("p90", &self.p90_us())?;
        fields.serialize_field("p99", &self.p99_us())?;
        fields.serialize_field("max", &self.max_us())?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_recorded_values() {
        let mut latency = Latency::default();
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        assert_eq!((latency.p50_us(), latency.p90_us(), latency.p99_us(), latency.max_us()), (500, 900, 990, 1000));
    }

    #[test]
    fn of_nothing_every_value_is_zero() {
        let latency = Latency::default();
        assert_eq!((latency.count(), latency.p50_us(), latency.max_us()), (0, 0, 0));
    }

    #[test]
    fn any_latency_up_to_a_day_is_kept() {
        let check = |recorded, expected: Duration| {
            let mut latency = Latency::default();
            latency.record(recorded);
            let mut merged = Latency::default();
            merged.merge(&latency);
            let off_us = u128::from(merged.max_us()).abs_diff(expected.as_micros());
            assert!(off_us * 1000 <= expected.as_micros(), "{recorded:?}: {}", merged.max_us());
        };
        check(Duration::ZERO, Duration::ZERO);
        check(Duration::from_hours(1), Duration::from_hours(1));
        check(Duration::MAX, Duration::from_hours(24));
    }
}
