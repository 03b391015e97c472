//! Given a failure: whose was it? If the candidate fails `r` times as often as stable, and the split gives it the part `w`
//! of the requests, a failure is the candidate's with probability `w r / (w r + 1 - w)`, whatever the traffic and the rate
//! of failures do in the meantime. The evidence is the mean of the likelihood ratios of sixteen alternatives.
//!
//! Lindon and Malek, *Anytime-Valid Inference for Multinomial Count Data* (NeurIPS 2022); Kulldorff's MaxSPRT; Howard,
//! Ramdas et al., *Time-uniform confidence sequences* (Annals of Statistics 2021).

use crate::logarithms;
use serde::{Deserialize, Serialize};

/// How many times as often the farthest alternative fails.
pub const FAILURES: f64 = 32.0;
/// How many times as often the farthest alternative is slow.
pub const SLOW: f64 = 8.0;

const NEAREST: f64 = 1.05;
const ALTERNATIVES: usize = 16;
/// Halvings of an interval: the end of it is then exact to a millionth.
const HALVINGS: usize = 28;
/// Logarithm of the largest ratio that is looked at; 1 by it is the smallest.
const FARTHEST: f64 = 14.0;

/// Failures under one share: those of requests of which each was the candidate's with probability `share`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// 0 to 1.
    pub share: f64,
    /// The candidate's failures.
    pub candidate: f64,
    /// Stable's failures.
    pub stable: f64,
}

/// The ratios that evidence does not speak against: each of them is in it, at all times at once, with probability 1 - alpha.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// From so many times as often.
    pub low: f64,
    /// To so many times as often; none: without end.
    pub high: Option<f64>,
}

/// The logarithms of the sixteen alternatives, from 1.05 to the farthest in equal steps.
pub fn alternatives(farthest: f64) -> impl Iterator<Item = f64> + Clone {
    let (first, last) = (NEAREST.ln(), farthest.ln());
    let step = (last - first) / logarithms::count(ALTERNATIVES as u64 - 1);
    (0..ALTERNATIVES as u64).map(move |index| first + step * logarithms::count(index))
}

/// Evidence that the candidate fails more than `ratio` times as often as stable.
pub fn more_often(epochs: &[Counts], ratio: f64, farthest: f64) -> f64 {
    mixture(epochs, ratio, alternatives(farthest))
}

/// Evidence that the candidate fails less than `ratio` times as often as stable.
pub fn less_often(epochs: &[Counts], ratio: f64, farthest: f64) -> f64 {
    mixture(epochs, ratio, alternatives(farthest).map(|step| -step))
}

/// The ratios of which neither is shown at `alpha`.
pub fn interval(epochs: &[Counts], alpha: f64, farthest: f64) -> Interval {
    let is_refused = |logarithm: f64| {
        let ratio = logarithm.exp();
        let sides = [more_often(epochs, ratio, farthest), less_often(epochs, ratio, farthest)];
        logarithms::mean(&sides) >= -alpha.ln()
    };
    let likeliest = likeliest(epochs);
    Interval {
        low: end(likeliest, -FARTHEST, is_refused).map_or(0.0, f64::exp),
        high: end(likeliest, FARTHEST, is_refused).map(f64::exp),
    }
}

/// The logarithm of the mean likelihood ratio of alternatives that are each so far, in logarithms, from `ratio`.
fn mixture(epochs: &[Counts], ratio: f64, steps: impl Iterator<Item = f64>) -> f64 {
    let mut evidence = [0.0; ALTERNATIVES];
    for (evidence, step) in evidence.iter_mut().zip(steps) {
        let factor = step.exp();
        // All are the candidate's, or all stable's: that tells nothing.
        for epoch in epochs.iter().filter(|epoch| epoch.share > 0.0 && epoch.share < 1.0) {
            let (own, other) = (epoch.share * ratio, 1.0 - epoch.share);
            let shift = ((own * factor + other) / (own + other)).ln();
            *evidence += epoch.candidate * step - (epoch.candidate + epoch.stable) * shift;
        }
    }
    logarithms::mean(&evidence)
}

/// The logarithm of the ratio under which the failures are likeliest, as far as it is looked at.
fn likeliest(epochs: &[Counts]) -> f64 {
    let known = || epochs.iter().filter(|epoch| epoch.share > 0.0 && epoch.share < 1.0);
    let own: f64 = known().map(|epoch| epoch.candidate).sum();
    let (mut low, mut high) = (-FARTHEST, FARTHEST);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        let expected = |epoch: &Counts| {
            let odds = epoch.share * middle.exp();
            (epoch.candidate + epoch.stable) * odds / (odds + 1.0 - epoch.share)
        };
        if known().map(expected).sum::<f64>() < own {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Where, on the way from what is not refused to the farthest, it begins to be; none where it never does.
fn end(inside: f64, farthest: f64, is_refused: impl Fn(f64) -> bool) -> Option<f64> {
    if !is_refused(farthest) {
        return None;
    }
    let (mut inside, mut outside) = (inside, farthest);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(inside, outside);
        if is_refused(middle) {
            outside = middle;
        } else {
            inside = middle;
        }
    }
    Some(outside)
}
