//! The kernel against rational numbers without rounding, over every sequence of up to twenty failures: a sequence counts by
//! how many of its failures are the candidate's, so that those that count alike are taken together.

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
fn is_exact(what: &str, logarithm: f64, exact: &BigRational) {
    let exact = exact.to_f64().unwrap();
    assert!((logarithm.exp() / exact - 1.0).abs() < 1e-9, "{what}: {} is not {exact}", logarithm.exp());
}

/// The exact e-value of so many failures of either under each share.
fn evidence(epochs: &[(f64, usize, usize)], ratio: f64, direction: f64) -> BigRational {
    let base = rational(ratio);
    let mut sum = BigRational::zero();
    for step in alternatives(FAILURES) {
        let other = &base * rational((direction * step).exp());
        let mut product = BigRational::one();
        for (share, candidate, stable) in epochs {
            let share = rational(*share);
            let (null, alternative) = (theta(&share, &base), theta(&share, &other));
            let one = BigRational::one();
            product *= (&alternative / &null).pow(i32::try_from(*candidate).unwrap());
            product *= ((&one - alternative) / (one - null)).pow(i32::try_from(*stable).unwrap());
        }
        sum += product;
    }
    sum / whole(16)
}

fn counts(epochs: &[(f64, usize, usize)]) -> Vec<Counts> {
    let count = |(share, candidate, stable): &(f64, usize, usize)| Counts {
        share: *share,
        candidate: candidate.to_f64().unwrap(),
        stable: stable.to_f64().unwrap(),
    };
    epochs.iter().map(count).collect()
}

/// The exact probability that the evidence is ever `wanted`, where each of twenty is the candidate's with `probability`.
fn ever(probability: &BigRational, wanted: &BigRational, evidence: impl Fn(usize, usize) -> BigRational) -> BigRational {
    let mut alive = vec![BigRational::one()];
    let mut reached = BigRational::zero();
    for all in 1..=FAILED {
        let mut next = vec![BigRational::zero(); all + 1];
        for (own, part) in alive.iter().enumerate() {
            next[own + 1] += part * probability;
            next[own] += part * (BigRational::one() - probability);
        }
        for (own, part) in next.iter_mut().enumerate() {
            if evidence(own, all - own) >= *wanted {
                reached += std::mem::take(part);
            }
        }
        alive = next;
    }
    reached
}

#[test]
fn every_sequence_of_twenty_failures_is_weighed_exactly() {
    for share in [0.5, 0.1, 0.05, 0.99] {
        for (ratio, direction) in [(1.0, 1.0), (2.0, -1.0), (1.5, 1.0)] {
            let table: Vec<Vec<BigRational>> = (0..=FAILED)
                .map(|own| (0..=FAILED - own).map(|other| evidence(&[(share, own, other)], ratio, direction)).collect())
                .collect();
            for (own, row) in table.iter().enumerate() {
                for (other, exact) in row.iter().enumerate() {
                    let counts = counts(&[(share, own, other)]);
                    let computed = if direction > 0.0 {
                        relative_risk::more_often(&counts, ratio, FAILURES)
                    } else {
                        relative_risk::less_often(&counts, ratio, FAILURES)
                    };
                    is_exact(&format!("{own} and {other} at {share} against {ratio}"), computed, exact);
                }
            }
            for alpha in [20, 5, 2] {
                let null = theta(&rational(share), &rational(ratio));
                let false_alarms = ever(&null, &whole(alpha), |own, other| table[own][other].clone());
                println!("{share} against {ratio}: {:.4} reach {alpha}", false_alarms.to_f64().unwrap());
                assert!(false_alarms <= BigRational::one() / whole(alpha));
            }
        }
    }
}

#[test]
fn epochs_of_different_shares_are_one_process() {
    for first in 0..=FAILED / 2 {
        for own in 0..=FAILED / 2 {
            let epochs = [(0.1, first, FAILED / 2 - first), (0.5, own, FAILED / 2 - own)];
            let computed = relative_risk::more_often(&counts(&epochs), 1.0, FAILURES);
            is_exact(&format!("{epochs:?}"), computed, &evidence(&epochs, 1.0, 1.0));
        }
    }
    // At a share of all or nothing, nothing is learned.
    let blind = counts(&[(1.0, 7, 0), (0.0, 0, 9)]);
    assert!(relative_risk::more_often(&blind, 1.0, FAILURES).abs() < 1e-12);
}

/// The integral of the likelihood ratio over all rates below the limit, term by term.
fn below_limit(failures: usize, requests: usize, limit: &BigRational) -> BigRational {
    let successes = requests - failures;
    let (mut sum, mut binomial) = (BigRational::zero(), BigRational::one());
    for index in 0..=successes {
        let power = limit.pow(i32::try_from(failures + index + 1).unwrap());
        let term = &binomial * power / whole(failures + index + 1);
        sum = if index % 2 == 0 { sum + term } else { sum - term };
        binomial = binomial * whole(successes - index) / whole(index + 1);
    }
    let null = (BigRational::one() - limit).pow(i32::try_from(successes).unwrap());
    sum / limit.pow(i32::try_from(failures + 1).unwrap()) / null
}

#[test]
fn every_count_of_up_to_twenty_requests_is_weighed_exactly_against_a_limit() {
    for limit in [0.01, 0.1, 0.5, 0.9] {
        let exact = rational(limit);
        let beyond = BigRational::one() - &exact;
        for requests in 0..=FAILED {
            for failures in 0..=requests {
                let what = format!("{failures} of {requests} against {limit}");
                let (own, all) = (failures.to_f64().unwrap(), requests.to_f64().unwrap());
                let below = below_limit(failures, requests, &exact);
                is_exact(&what, absolute::less_often(own, all, limit), &below);
                // More often than the limit is what succeeds less often than the rest.
                let above = below_limit(requests - failures, requests, &beyond);
                is_exact(&what, absolute::more_often(own, all, limit), &above);
            }
        }
        for wanted in [20, 5, 2] {
            let passed = ever(&exact, &whole(wanted), |own, other| below_limit(own, own + other, &exact));
            let failed = ever(&exact, &whole(wanted), |own, other| below_limit(other, own + other, &beyond));
            assert!(passed <= BigRational::one() / whole(wanted), "{limit}: {passed}");
            assert!(failed <= BigRational::one() / whole(wanted), "{limit}: {failed}");
        }
    }
}

#[test]
fn a_limit_is_weighed_alike_whatever_the_numbers() {
    // Both ways to compute it meet where the limit is what was observed.
    for requests in [1e2, 1e4, 1e6, 1e8] {
        let (below, above) = (0.01 - 1e-9, 0.01 + 1e-9);
        let near = [below, above].map(|limit| absolute::less_often(requests * 0.01, requests, limit));
        assert!((near[0] - near[1]).abs() < 1e-4, "{requests}: {near:?}");
    }
    // The evidence against a limit grows with the limit.
    let grows: Vec<f64> = (1..100_u32).map(|limit| absolute::less_often(30.0, 3_000.0, f64::from(limit) / 100.0)).collect();
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
        if spread < 0.4 && exact > 1.0 {
            assert!(computed > 0.9 * exact, "{case}: {computed} is far from {exact}");
        }
    }
}

#[test]
fn a_bias_at_the_margin_passes_as_rarely_as_it_may() {
    // Every sequence of twenty differences that are each the largest or the least there is, with the mean at the margin.
    let margin = 0.5;
    let probability = rational(0.75);
    for wanted in [20, 5, 2] {
        let evidence = |up: usize, down: usize| {
            let differences = std::iter::repeat_n(1.0, up).chain(std::iter::repeat_n(-1.0, down));
            rational(pairs::no_bias(&biased(differences), margin, 1.0).exp())
        };
        let passed = ever(&probability, &whole(wanted), evidence);
        assert!(passed <= BigRational::one() / whole(wanted));
        let evidence = |up: usize, down: usize| {
            let differences = std::iter::repeat_n(1.0, up).chain(std::iter::repeat_n(-1.0, down));
            rational(pairs::is_biased(&biased(differences), margin, 1.0).exp())
        };
        let failed = ever(&probability, &whole(wanted), evidence);
        assert!(failed <= BigRational::one() / whole(wanted));
    }
}
