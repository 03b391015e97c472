//! The kernel against rational numbers without rounding, over every sequence of up to twenty failures: a sequence counts by
//! how many of its failures are the candidate's, so that those that count alike are taken together.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, ToPrimitive, Zero};
use turnout_verdict::evidence::Bias;
use turnout_verdict::relative_risk::{self, Counts, FAILURES, alternatives};
use turnout_verdict::{absolute, pairs};

const FAILED: usize = 20;

fn rational(number: f64) -> BigRational {
    BigRational::from_float(number).unwrap()
}

fn whole(number: usize) -> BigRational {
    BigRational::from_integer(number.into())
}

/// The probability that a failure is the candidate's.
fn theta(share: &BigRational, ratio: &BigRational) -> BigRational {
    let own = share * ratio;
    &own / (&own + BigRational::one() - share)
}

/// Asserts what the kernel has computed, in logarithms, to nine digits.
fn is_exact(what: &str, logarithm: f64, exact: f64) {
    assert!((logarithm.exp() / exact - 1.0).abs() < 1e-9, "{what}: {} is not {exact}", logarithm.exp());
}

/// By what a failure of the candidate, and one of stable, changes the likelihood of each alternative.
fn factors(share: f64, ratio: f64, direction: f64) -> Vec<[BigRational; 2]> {
    let (share, base, one) = (rational(share), rational(ratio), BigRational::one());
    let null = theta(&share, &base);
    let factors = alternatives(FAILURES).map(|step| {
        let alternative = theta(&share, &(&base * rational((direction * step).exp())));
        [&alternative / &null, (&one - &alternative) / (&one - &null)]
    });
    factors.collect()
}

/// The e-value of so many failures of either under each share's factors. Each alternative is exact, and rounded once.
fn evidence(epochs: &[(&[[BigRational; 2]], usize, usize)]) -> f64 {
    let of = |alternative: usize| {
        let (mut numerator, mut denominator) = (BigInt::one(), BigInt::one());
        for (factors, candidate, stable) in epochs {
            for (factor, count) in factors[alternative].iter().zip([candidate, stable]) {
                let count = u32::try_from(*count).unwrap();
                numerator *= factor.numer().pow(count);
                denominator *= factor.denom().pow(count);
            }
        }
        BigRational::new_raw(numerator, denominator).to_f64().unwrap()
    };
    (0..16).map(of).sum::<f64>() / 16.0
}

fn counts(epochs: &[(f64, usize, usize)]) -> Vec<Counts> {
    let count = |(share, candidate, stable): &(f64, usize, usize)| Counts {
        share: *share,
        candidate: candidate.to_f64().unwrap(),
        stable: stable.to_f64().unwrap(),
    };
    epochs.iter().map(count).collect()
}

/// Asserts that the evidence reaches `wanted`, where each of twenty is the candidate's with `probability`, as rarely as it
/// may: the probability is exact.
fn reaches_rarely(what: &str, probability: &BigRational, wanted: u32, evidence: impl Fn(usize, usize) -> f64) {
    let mut alive = vec![BigRational::one()];
    let mut reached = BigRational::zero();
    for all in 1..=FAILED {
        let mut next = vec![BigRational::zero(); all + 1];
        for (own, part) in alive.iter().enumerate() {
            next[own + 1] += part * probability;
            next[own] += part * (BigRational::one() - probability);
        }
        for (own, part) in next.iter_mut().enumerate() {
            // What rounding leaves open counts against the evidence.
            if evidence(own, all - own) >= f64::from(wanted) * (1.0 - 1e-12) {
                reached += std::mem::take(part);
            }
        }
        alive = next;
    }
    println!("{what}: {:.4} reach {wanted}", reached.to_f64().unwrap());
    assert!(reached <= BigRational::new(1.into(), wanted.into()));
}

#[test]
fn every_sequence_of_twenty_failures_is_weighed_exactly() {
    for share in [0.5, 0.1, 0.05, 0.99] {
        for (ratio, direction) in [(1.0, 1.0), (2.0, -1.0), (1.5, 1.0)] {
            let factors = factors(share, ratio, direction);
            let row = |own| (0..=FAILED - own).map(|other| evidence(&[(&factors, own, other)])).collect();
            let table: Vec<Vec<f64>> = (0..=FAILED).map(row).collect();
            let what = format!("{share} against {ratio}");
            for (own, row) in table.iter().enumerate() {
                for (other, exact) in row.iter().enumerate() {
                    let counts = counts(&[(share, own, other)]);
                    let computed = if direction > 0.0 {
                        relative_risk::more_often(&counts, ratio, FAILURES)
                    } else {
                        relative_risk::less_often(&counts, ratio, FAILURES)
                    };
                    is_exact(&format!("{own} and {other} at {what}"), computed, *exact);
                }
            }
            let null = theta(&rational(share), &rational(ratio));
            for wanted in [20, 5, 2] {
                reaches_rarely(&what, &null, wanted, |own, other| table[own][other]);
            }
        }
    }
}

#[test]
fn epochs_of_different_shares_are_one_process() {
    let (low, half) = (factors(0.1, 1.0, 1.0), factors(0.5, 1.0, 1.0));
    for first in 0..=FAILED / 2 {
        for own in 0..=FAILED / 2 {
            let (others, other) = (FAILED / 2 - first, FAILED / 2 - own);
            let epochs = [(0.1, first, others), (0.5, own, other)];
            let computed = relative_risk::more_often(&counts(&epochs), 1.0, FAILURES);
            is_exact(&format!("{epochs:?}"), computed, evidence(&[(&low, first, others), (&half, own, other)]));
        }
    }
    // At a share of all or nothing, nothing is learned.
    let blind = counts(&[(1.0, 7, 0), (0.0, 0, 9)]);
    assert!(relative_risk::more_often(&blind, 1.0, FAILURES).abs() < 1e-12);
}

/// The integral of the likelihood ratio over all rates below the limit, term by term.
fn below_limit(failures: usize, requests: usize, limit: &BigRational) -> f64 {
    let successes = requests - failures;
    let (mut sum, mut binomial) = (BigRational::zero(), BigRational::one());
    for index in 0..=successes {
        let power = limit.pow(i32::try_from(failures + index + 1).unwrap());
        let term = &binomial * power / whole(failures + index + 1);
        sum = if index % 2 == 0 { sum + term } else { sum - term };
        binomial = binomial * whole(successes - index) / whole(index + 1);
    }
    let null = (BigRational::one() - limit).pow(i32::try_from(successes).unwrap());
    (sum / limit.pow(i32::try_from(failures + 1).unwrap()) / null).to_f64().unwrap()
}

#[test]
fn every_count_of_up_to_twenty_requests_is_weighed_exactly_against_a_limit() {
    for limit in [0.01, 0.1, 0.5, 0.9] {
        let exact = rational(limit);
        // More often than the limit is what succeeds less often than the rest.
        let beyond = BigRational::one() - &exact;
        let table = |limit: &BigRational| -> Vec<Vec<f64>> {
            (0..=FAILED).map(|all| (0..=all).map(|failed| below_limit(failed, all, limit)).collect()).collect()
        };
        let (below, above) = (table(&exact), table(&beyond));
        for requests in 0..=FAILED {
            for failures in 0..=requests {
                let what = format!("{failures} of {requests} against {limit}");
                let (own, all) = (failures.to_f64().unwrap(), requests.to_f64().unwrap());
                is_exact(&what, absolute::less_often(own, all, limit), below[requests][failures]);
                is_exact(&what, absolute::more_often(own, all, limit), above[requests][requests - failures]);
            }
        }
        for wanted in [20, 5, 2] {
            reaches_rarely(&format!("passed at {limit}"), &exact, wanted, |own, other| below[own + other][own]);
            reaches_rarely(&format!("failed at {limit}"), &exact, wanted, |own, other| above[own + other][other]);
        }
    }
}

#[test]
fn a_limit_is_weighed_alike_whatever_the_numbers() {
    // Both ways to compute it meet where the limit is what was observed.
    for requests in [1e2, 1e4, 1e6, 1e8] {
        let (below, above) = (0.01 - 1e-9, 0.01 + 1e-9);
        let near = [below, above].map(|limit| absolute::less_often(requests * 0.01, requests, limit));
        // The beta function is a difference of numbers that grow with the requests.
        assert!((near[0] - near[1]).abs() < 1e-11 * requests + 1e-5, "{requests}: {near:?}");
    }
    // The evidence against a limit grows with the limit.
    let grows: Vec<f64> =
        (1..100_u32).map(|limit| absolute::less_often(30.0, 3_000.0, f64::from(limit) / 100.0)).collect();
    assert!(grows.windows(2).all(|pair| pair[0] < pair[1]), "{grows:?}");
    assert!((0.015..0.02).contains(&absolute::upper_limit(30.0, 3_000.0, 0.05)));
}

fn biased(differences: impl IntoIterator<Item = f64>) -> Bias {
    let mut bias = Bias::new(1.0);
    for difference in differences {
        assert!(bias.record(0.0, difference));
    }
    bias
}

#[test]
fn the_sums_of_powers_tell_no_more_than_the_bets() {
    let mut random = fastrand::Rng::with_seed(5);
    for case in 0..200_u32 {
        let (spread, shift) = (random.f64(), random.f64() - 0.5);
        let differences: Vec<f64> =
            (0..80).map(|_| ((random.f64() * 2.0 - 1.0) * spread + shift).clamp(-1.0, 1.0)).collect();
        let margin = 0.05 + random.f64() / 2.0;
        let bets = |side: f64| {
            let capital = |stake: f64| {
                let kept = |d: &f64| 1.0 + stake * (margin - side * d) / (1.0 - margin);
                differences.iter().map(kept).product::<f64>()
            };
            [0.75, 0.375, 0.1875, 0.09375].into_iter().map(capital).sum::<f64>() / 4.0
        };
        let exact = bets(1.0).min(bets(-1.0)).ln();
        let computed = pairs::no_bias(&biased(differences.iter().copied()), margin, 1.0);
        assert!(computed <= exact, "{case}: {computed} is more than {exact}");
        if spread < 0.4 && (1.0..6.0).contains(&exact) {
            assert!(computed > 0.9 * exact, "{case}: {computed} is far from {exact}");
        }
    }
}

#[test]
fn a_bias_at_the_margin_passes_as_rarely_as_it_may() {
    // Every sequence of twenty differences that are each the largest or the least there is, with the mean at the margin.
    let (margin, probability) = (0.5, rational(0.75));
    let table = |evidence: &dyn Fn(&Bias) -> f64| -> Vec<Vec<f64>> {
        let of = |up, down| biased(std::iter::repeat_n(1.0, up).chain(std::iter::repeat_n(-1.0, down)));
        (0..=FAILED).map(|up| (0..=FAILED).map(|down| evidence(&of(up, down)).exp()).collect()).collect()
    };
    let passes = table(&|bias| pairs::no_bias(bias, margin, 1.0));
    let fails = table(&|bias| pairs::is_biased(bias, margin, 1.0));
    for wanted in [20, 5, 2] {
        reaches_rarely("unbiased", &probability, wanted, |up, down| passes[up][down]);
        reaches_rarely("biased", &probability, wanted, |up, down| fails[up][down]);
    }
}

#[test]
fn the_ratio_is_rarely_outside_of_its_interval() {
    for (share, ratio) in [(0.5, 1.0), (0.5, 3.0), (0.1, 2.0)] {
        let truth = theta(&rational(share), &rational(ratio));
        for (alpha, wanted) in [(0.05, 20), (0.5, 2)] {
            let is_outside = |own, other| {
                let interval = relative_risk::interval(&counts(&[(share, own, other)]), alpha, FAILURES);
                let is_inside = interval.low <= ratio && interval.high.is_none_or(|high| ratio <= high);
                if is_inside { 0.0 } else { f64::INFINITY }
            };
            reaches_rarely(&format!("interval of {ratio} at {share}"), &truth, wanted, is_outside);
        }
    }
    let known = relative_risk::interval(&counts(&[(0.5, 1_000, 1_000)]), 0.05, FAILURES);
    assert!(
        known.low > 0.8 && known.low < 1.0 && known.high.is_some_and(|high| high > 1.0 && high < 1.25),
        "{known:?}"
    );
    assert!(relative_risk::interval(&[], 0.05, FAILURES).low <= 0.0);
    assert_eq!(relative_risk::interval(&counts(&[(0.5, 9, 0)]), 0.05, FAILURES).high, None);
}
