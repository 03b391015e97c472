//! Figures that take a distribution of times or of numbers: simulated, with seeds that are always the same.

use crate::{repeats, within_a_tenth};
use std::time::Duration;
use turnout_verdict::evidence::{Bias, Epoch, Histogram};
use turnout_verdict::latency::{Boundaries, slower};
use turnout_verdict::pairs;

/// Of the normal distribution, by Box and Muller.
pub(crate) fn normal(random: &mut fastrand::Rng) -> f64 {
    (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos()
}

/// The requests of both, after the boundaries were chosen, until the candidate is shown to be slower; none within so many.
fn until_slower(seed: u64, longest: u32, took: &impl Fn(&mut fastrand::Rng, bool) -> f64) -> Option<u32> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut epoch = Epoch { candidate_share: 0.5, ..Epoch::default() };
    let record = |histogram: &mut Histogram, millis: f64| {
        histogram.record(Histogram::bucket(Duration::from_secs_f64(millis / 1e3)), 1);
    };
    for _ in 0..500 {
        record(&mut epoch.stable.latency, took(&mut random, false));
    }
    let boundaries = Boundaries::choose(std::slice::from_ref(&epoch)).unwrap();
    for request in 1..=longest {
        let is_candidate = random.bool();
        let millis = took(&mut random, is_candidate);
        record(if is_candidate { &mut epoch.candidate.latency } else { &mut epoch.stable.latency }, millis);
        if request % 10 == 0 {
            let epochs = std::slice::from_ref(&epoch);
            let counts: Vec<_> = (0..boundaries.buckets.len()).map(|index| boundaries.counts(index, epochs)).collect();
            if slower(&counts) >= 20_f64.ln() {
                return Some(request);
            }
        }
    }
    None
}

/// How many milliseconds a request takes: half of them at most 50, as it is with a model that does much the same each time.
fn usual(random: &mut fastrand::Rng, spread: f64) -> f64 {
    50.0 * (spread * normal(random)).exp()
}

fn mean_requests(took: impl Fn(&mut fastrand::Rng, bool) -> f64) -> f64 {
    let seeds = repeats(200, 1_000);
    let all: u32 = (0..seeds).map(|seed| until_slower(seed.into(), 50_000, &took).unwrap()).sum();
    f64::from(all) / f64::from(seeds)
}

#[test]
fn a_slower_candidate_is_stopped_after_so_many_requests() {
    let times = |factor: f64| {
        move |random: &mut fastrand::Rng, is_candidate: bool| {
            usual(random, 0.47) * if is_candidate { factor } else { 1.0 }
        }
    };
    within_a_tenth("20 % slower", mean_requests(times(1.2)), 570.0);
    within_a_tenth("10 % slower", mean_requests(times(1.1)), 2_560.0);
    let tail = |random: &mut fastrand::Rng, is_candidate: bool| {
        usual(random, 0.5) * if is_candidate && random.f64() < 0.02 { 5.0 } else { 1.0 }
    };
    within_a_tenth("2 % of the requests five times slower", mean_requests(tail), 2_510.0);
}

#[test]
fn an_equally_fast_candidate_is_rarely_stopped() {
    let equal = |random: &mut fastrand::Rng, _: bool| usual(random, 0.5);
    let seeds = repeats(200, 2_000);
    let stopped = (0..seeds).filter(|seed| until_slower((*seed).into(), 5_000, &equal).is_some()).count();
    println!("equally fast: {stopped} of {seeds} are stopped");
    assert!(stopped * 20 <= seeds as usize);
}

#[test]
fn no_bias_is_shown_after_so_many_pairs() {
    let seeds = repeats(500, 5_000);
    let until = |seed: u32| {
        let mut random = fastrand::Rng::with_seed(seed.into());
        let mut bias = Bias::new(1.0);
        (1..10_000_u32)
            .find(|_| {
                bias.record(0.0, 0.2 * normal(&mut random));
                pairs::no_bias(&bias, 0.1, 1.0) >= 20_f64.ln()
            })
            .unwrap()
    };
    let mean = f64::from((0..seeds).map(until).sum::<u32>()) / f64::from(seeds);
    within_a_tenth("a mean within 0.1 at a deviation of 0.2", mean, 75.0);
}
