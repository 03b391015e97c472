//! What is counted: where a duration belongs, what a number adds.

use std::time::Duration;
use turnout_verdict::evidence::{Bias, Histogram};

const NANO: Duration = Duration::from_nanos(1);

#[test]
fn a_bucket_has_what_took_at_most_its_bound() {
    assert_eq!(Histogram::bucket(Duration::ZERO), 0);
    assert_eq!(Histogram::bound(0), Some(Duration::from_micros(100)));
    for bucket in 0..Histogram::BUCKETS - 1 {
        let bound = Histogram::bound(bucket).unwrap();
        assert_eq!((Histogram::bucket(bound), Histogram::bucket(bound + NANO)), (bucket, bucket + 1));
        // Each is 2^(1/8) times the one before it, but for what is less than a nanosecond of the first octave.
        let exact = 1e5 * 2_f64.powf(f64::from(u32::try_from(bucket).unwrap()) / 8.0);
        assert!((bound.as_secs_f64() * 1e9 / exact - 1.0).abs() < 1e-5, "{bucket}: {bound:?}");
    }
    let last = Histogram::BUCKETS - 1;
    assert_eq!((Histogram::bucket(Duration::MAX), Histogram::bound(last)), (last, None));
}

#[test]
fn a_histogram_tells_what_is_slow() {
    let mut histogram = Histogram::default();
    assert_eq!((histogram.total(), histogram.quantile(0.5)), (0, None));
    for (bucket, count) in [(10, 50), (20, 40), (30, 9), (1_000, 1), (40, 0)] {
        histogram.record(bucket, count);
    }
    let quantiles = [0.5, 0.501, 0.9, 0.99, 1.0].map(|part| histogram.quantile(part));
    assert_eq!(quantiles, [Some(10), Some(20), Some(20), Some(30), Some(160)]);
    assert_eq!([9, 10, 29, 30, 160].map(|bucket| histogram.slower_than(bucket)), [100, 50, 10, 1, 0]);
    assert_eq!(serde_json::to_string(&histogram).unwrap(), "[[10,50],[20,40],[30,9],[160,1]]");
}

/// What the pairs of live and candidate make of the mean, and how many of them count.
#[track_caller]
fn check(scale: f64, pairs: &[(f64, f64)], mean: f64, count: u64) {
    let mut bias = Bias::new(scale);
    let counted = pairs.iter().filter(|(live, candidate)| bias.record(*live, *candidate)).count();
    assert_eq!((bias.count(), counted as u64), (count, count));
    assert!((bias.mean() - mean).abs() < 1e-6, "{}", bias.mean());
}

#[test]
fn a_difference_is_in_units_of_the_scale_and_clipped() {
    check(2.0, &[(1.0, 2.0), (1.0, 1.0)], 0.25, 2);
    check(2.0, &[(1.0, 100.0), (1.0, -100.0), (0.0, -1.0)], -0.5 / 3.0, 3);
    check(0.0, &[(100.0, 101.0)], 1.0 / 101.0, 1);
    check(0.0, &[(0.0, 0.0), (-1.0, 1.0), (f64::MIN, f64::MAX)], 2.0 / 3.0, 3);
    check(1.0, &[(f64::NAN, 1.0), (1.0, f64::INFINITY), (1.0, 1.5)], 0.5, 1);
    check(1.0, &[], 0.0, 0);
}
