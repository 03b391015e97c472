//! How many requests a verdict takes, and how often it is wrong, where both follow from how likely a failure is the
//! candidate's: the whole distribution is computed, nothing is simulated.

use crate::within_a_tenth;
use turnout_verdict::relative_risk::{Counts, FAILURES, less_often, more_often};
use turnout_verdict::{absolute, pairs};

/// What becomes of all sequences of failures, one look after each.
struct Ends {
    /// That the evidence reaches 20 at all.
    reached: f64,
    /// The mean number of failures until then, of those that reach it.
    failures: f64,
}

/// Each failure is the candidate's with `probability`.
fn ends(probability: f64, longest: usize, evidence: impl Fn(f64, f64) -> f64) -> Ends {
    let wanted = 20_f64.ln();
    let mut alive = vec![1.0];
    let (mut reached, mut failures) = (0.0, 0.0);
    for all in 1..=longest {
        let mut next = vec![0.0; all + 1];
        for (own, part) in alive.iter().enumerate() {
            next[own + 1] += part * probability;
            next[own] += part * (1.0 - probability);
        }
        let mut own = 0.0;
        let all = f64::from(u32::try_from(all).unwrap());
        for part in &mut next {
            if *part > 1e-15 && evidence(own, all - own) >= wanted {
                reached += *part;
                failures += *part * all;
                *part = 0.0;
            }
            own += 1.0;
        }
        alive = next;
    }
    Ends { reached, failures: failures / reached }
}

fn worse(share: f64) -> impl Fn(f64, f64) -> f64 {
    move |candidate, stable| more_often(&[Counts { share, candidate, stable }], 1.0, FAILURES)
}

/// The requests of both until a verdict, on average, where stable and candidate fail that often.
fn requests(share: f64, stable: f64, candidate: f64, evidence: impl Fn(f64, f64) -> f64) -> f64 {
    let (own, other) = (share * candidate, (1.0 - share) * stable);
    let ends = ends(own / (own + other), 1_000, evidence);
    assert!(ends.reached > 0.999, "only {} are decided", ends.reached);
    ends.failures / (own + other)
}

#[test]
fn without_a_difference_few_are_rolled_back() {
    for (share, expected) in [(0.5, 0.033), (0.1, 0.029), (0.05, 0.021)] {
        // Ten thousand requests, of which one per cent fail, and twenty times as many.
        let figure = ends(share, 100, worse(share)).reached;
        within_a_tenth(&format!("false rollbacks at {share}"), figure, expected);
        let later = ends(share, 2_000, worse(share)).reached;
        println!("after twenty times as many: {later:.4}");
        assert!(later <= 0.05);
    }
}

#[test]
fn a_candidate_that_fails_more_often_is_stopped_after_so_many_requests() {
    within_a_tenth("1 % -> 2 % at 0.5", requests(0.5, 0.01, 0.02, worse(0.5)), 4_600.0);
    within_a_tenth("1 % -> 2 % at 0.1", requests(0.1, 0.01, 0.02, worse(0.1)), 12_300.0);
    within_a_tenth("1 % -> 5 % at 0.5", requests(0.5, 0.01, 0.05, worse(0.5)), 460.0);
    within_a_tenth("0.1 % -> 1 % at 0.1", requests(0.1, 0.001, 0.01, worse(0.1)), 3_900.0);
    within_a_tenth("1 % -> 50 % at 0.1", requests(0.1, 0.01, 0.5, worse(0.1)), 48.0);
}

#[test]
fn an_equal_candidate_is_promoted_after_so_many_requests() {
    let equal = |candidate, stable| less_often(&[Counts { share: 0.5, candidate, stable }], 2.0, FAILURES);
    within_a_tenth("not 2 times worse, 1 % at 0.5", requests(0.5, 0.01, 0.01, equal), 7_200.0);
}

#[test]
fn a_limit_is_shown_to_be_kept_after_so_many_requests() {
    let first = |failures: f64, limit: f64| {
        let passes = |requests: &u32| absolute::less_often(failures, f64::from(*requests), limit) >= 20_f64.ln();
        (1..10_000).find(passes).unwrap()
    };
    assert_eq!((first(0.0, 0.01), first(1.0, 0.01), first(0.0, 0.001)), (449, 683, 4_512));
}

#[test]
fn a_candidate_that_differs_more_than_the_noise_is_stopped_after_so_many_pairs() {
    let pairs_until = |noise: f64, candidate: f64| {
        let (own, other) = (candidate * (1.0 - noise), noise * (1.0 - candidate));
        let ends = ends(own / (own + other), 1_000, pairs::differs_more);
        ends.failures / (own + other)
    };
    within_a_tenth("noise 2 %, candidate 5 %", pairs_until(0.02, 0.05), 550.0);
    within_a_tenth("noise 0.1 %, candidate 1 %", pairs_until(0.001, 0.01), 830.0);
    within_a_tenth("no difference, of fifty discordant pairs", ends(0.5, 50, pairs::differs_more).reached, 0.03);
}
