//! What one gate asks of the evidence, and what is known on either side. Everything can be asked as if all had been seen
//! more often, which is how what is still missing is foreseen.

use crate::evidence::Bias;
use crate::relative_risk::{Counts, Interval};
use crate::{absolute, latency, logarithms, pairs, relative_risk};

/// Failures of requests, or whatever else counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) failures: u64,
    pub(super) requests: u64,
}

pub(super) enum Question {
    /// Which of the two fails more often?
    Ratio {
        counts: Vec<Counts>,
        /// Worse is more than so many times as often.
        ratio: f64,
        margin: f64,
        /// What passes without anything to compare: the candidate fails less often than that.
        negligible: (Rate, f64),
        /// At shares at which nothing can be compared: the candidate's failures, stable's rate, and the weight of it.
        blind: (Rate, f64, f64),
    },
    /// Which of the two is slow more often, at each boundary?
    Slow { boundaries: Vec<Vec<Counts>>, margin: f64 },
    /// Does it happen more often than the limit?
    Limit { rate: Rate, limit: f64 },
    /// Does a number differ to one side?
    Mean { bias: Bias, margin: f64 },
    /// Nothing is known to ask it of.
    Unknown,
}

impl Rate {
    pub(super) fn add(&mut self, failures: u64, requests: u64) {
        self.failures = self.failures.saturating_add(failures);
        self.requests = self.requests.saturating_add(requests);
    }

    /// 0 to 1.
    pub(super) fn part(self) -> f64 {
        if self.requests == 0 { 0.0 } else { logarithms::count(self.failures) / logarithms::count(self.requests) }
    }

    fn less_often(self, limit: f64, times: f64) -> f64 {
        absolute::less_often(times * logarithms::count(self.failures), times * logarithms::count(self.requests), limit)
    }

    fn more_often(self, limit: f64, times: f64) -> f64 {
        absolute::more_often(times * logarithms::count(self.failures), times * logarithms::count(self.requests), limit)
    }
}

fn seen(counts: &[Counts], times: f64) -> Vec<Counts> {
    let seen = |epoch: &Counts| Counts { candidate: epoch.candidate * times, stable: epoch.stable * times, ..*epoch };
    counts.iter().map(seen).collect()
}

fn seen_each(boundaries: &[Vec<Counts>], times: f64) -> Vec<Vec<Counts>> {
    boundaries.iter().map(|counts| seen(counts, times)).collect()
}

impl Question {
    /// The logarithm of the evidence that the candidate is worse, as if everything had been seen so many times.
    pub(super) fn worse(&self, times: f64) -> f64 {
        match self {
            Self::Ratio { counts, ratio, blind: (rate, limit, weight), .. } => {
                let compared = relative_risk::more_often(&seen(counts, times), *ratio, relative_risk::FAILURES);
                if *weight <= 0.0 {
                    return compared;
                }
                // Until there is anything to see, it is no evidence, and has its weight all the same.
                let beside = if rate.requests > 0 { rate.more_often(*limit, times) } else { 0.0 };
                logarithms::sum([(1.0 - weight).ln() + compared, weight.ln() + beside].into_iter())
            }
            Self::Slow { boundaries, .. } => latency::slower(&seen_each(boundaries, times)),
            Self::Limit { rate, limit } => rate.more_often(*limit, times),
            Self::Mean { bias, margin } => pairs::is_biased(bias, *margin, times),
            Self::Unknown => 0.0,
        }
    }

    /// The logarithm of the evidence that it is good enough, likewise.
    pub(super) fn passes(&self, times: f64) -> f64 {
        match self {
            Self::Ratio { counts, margin, negligible: (rate, limit), .. } => {
                let compared = relative_risk::less_often(&seen(counts, times), *margin, relative_risk::FAILURES);
                if *limit > 0.0 { logarithms::mean(&[compared, rate.less_often(*limit, times)]) } else { compared }
            }
            Self::Slow { boundaries, margin } => latency::not_slower(&seen_each(boundaries, times), *margin),
            Self::Limit { rate, limit } => rate.less_often(*limit, times),
            Self::Mean { bias, margin } => pairs::no_bias(bias, *margin, times),
            Self::Unknown => 0.0,
        }
    }

    /// How many times as often it fails, as far as that is asked.
    pub(super) fn interval(&self, alpha: f64) -> Option<Interval> {
        match self {
            Self::Ratio { counts, .. } => Some(relative_risk::interval(counts, alpha, relative_risk::FAILURES)),
            _ => None,
        }
    }
}
