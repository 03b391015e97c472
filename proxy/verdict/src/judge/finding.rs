//! What one gate has found, in numbers and in a sentence.

use super::Decision;
use crate::latency::FIRST;
use crate::logarithms;
use crate::relative_risk::Interval;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Larger ones are no more convincing, and JSON has no infinity.
const LARGEST: f64 = 1e99;
/// Beyond so many times of what has been seen nothing is foreseen.
const FARTHEST: f64 = 10_000.0;

/// What a gate looks at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "subject", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Subject {
    /// Requests that fail, of the one and of the other.
    Failures {
        /// The part of the candidate's, 0 to 1, below which it does not matter how many of stable's fail.
        negligible: f64,
    },
    /// Requests that take longer than one of the boundaries: the one that tells most, once they are chosen.
    Latency {
        /// The boundary.
        slower_than_ms: Option<f64>,
    },
    /// Requests that fail, of the candidate.
    Absolute,
    /// Pairs in which a field differs.
    Agreement {
        /// JSON pointer.
        field: String,
    },
    /// Pairs in which a field differs, and those in which stable's second answer does.
    Excess {
        /// JSON pointer.
        field: String,
        /// The part of the pairs, 0 to 1, below which it does not matter how often stable's second answer does.
        negligible: f64,
    },
    /// By how much a number differs.
    Bias {
        /// JSON pointer.
        field: String,
        /// In units of the value; 0: the difference is relative.
        scale: f64,
        /// In units of `scale`.
        mean: f64,
    },
    /// Pairs whose shape differs.
    Schema,
}

/// One gate and what the evidence says of it; its text is a sentence for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it looks at.
    #[serde(flatten)]
    pub subject: Subject,
    /// Passed, failed or neither.
    pub decision: Decision,
    /// The part, 0 to 1, of the candidate's samples in which it happened.
    pub candidate: f64,
    /// Requests or pairs.
    pub candidate_samples: u64,
    /// The part of stable's, where it is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<f64>,
    /// Requests or pairs; 0 where it is not compared.
    pub stable_samples: u64,
    /// What has to be shown: how many times as often at most, or which part at most.
    pub limit: f64,
    /// How many times as often it happens to the candidate, with probability 1 - alpha.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Interval>,
    /// Evidence that the candidate is worse.
    pub e_value: f64,
    /// 1/`e_value`, at most 1.
    pub p: f64,
    /// Evidence that the limit is kept: at 1/alpha the gate is passed.
    pub e_value_passes: f64,
    /// So many requests or pairs more decide it if all goes on as so far; none where that cannot be told.
    pub to_go: Option<u64>,
}

pub(super) fn e_value(logarithm: f64) -> f64 {
    logarithm.exp().min(LARGEST)
}

/// How many samples more it takes until it is decided, if they are like those that there are.
pub(super) fn to_go(samples: u64, is_decided: impl Fn(f64) -> bool) -> Option<u64> {
    if is_decided(1.0) {
        return Some(0);
    }
    let (mut few, mut enough) = (1.0, 2.0);
    while !is_decided(enough) {
        (few, enough) = (enough, enough * 2.0);
        if samples == 0 || enough > FARTHEST {
            return None;
        }
    }
    let samples = logarithms::count(samples);
    while enough - few > 0.02 * (enough - 1.0) && (enough - few) * samples > 0.25 {
        let middle = f64::midpoint(few, enough);
        if is_decided(middle) {
            enough = middle;
        } else {
            few = middle;
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of floats ends at the limits")]
    Some(((enough - 1.0) * samples).round().max(1.0) as u64)
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.numbers(f)?;
        match self.decision {
            Decision::Promote => write!(f, "; shown: {}", self.wanted()),
            Decision::RollBack if self.e_value > 1e6 => f.write_str("; shown to be worse (e-value above a million)"),
            Decision::RollBack => write!(f, "; shown to be worse (e-value {:.0})", self.e_value),
            Decision::Inconclusive => {
                write!(f, "; not shown yet: {}", self.wanted())?;
                match self.to_go {
                    Some(more) => write!(f, "; about {} more {} decide it", number(two_digits(more)), self.unit()),
                    None => write!(f, "; how many more {} it takes cannot be told yet", self.unit()),
                }
            }
        }
    }
}

impl Finding {
    fn unit(&self) -> &'static str {
        match self.subject {
            Subject::Failures { .. } | Subject::Latency { .. } | Subject::Absolute => "requests",
            _ => "pairs",
        }
    }

    /// What was seen, on both sides.
    fn numbers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (samples, others) = (number(self.candidate_samples), number(self.stable_samples));
        let part = percent(self.candidate);
        let other = percent(self.stable.unwrap_or_default());
        match &self.subject {
            Subject::Failures { .. } => {
                write!(f, "{part} of the candidate's {samples} requests failed, {other} of stable's {others}")?;
                match self.ratio {
                    Some(Interval { low, high: Some(high) }) => write!(f, ": {low:.1} to {high:.1} times as often"),
                    Some(Interval { low, high: None }) if low > 0.0 => write!(f, ": {low:.1} times as often or more"),
                    _ => Ok(()),
                }
            }
            Subject::Latency { slower_than_ms: None } => {
                write!(f, "what is slow is told by stable's first {FIRST} requests, of which {others} have ended")
            }
            Subject::Latency { slower_than_ms: Some(bound) } => write!(
                f,
                "{part} of the candidate's {samples} requests took longer than {bound:.1} ms, {other} of stable's {others}"
            ),
            Subject::Absolute => write!(f, "{part} of the candidate's {samples} requests failed"),
            Subject::Agreement { field } => {
                write!(f, "{field} agreed in {} of {samples} pairs", percent(1.0 - self.candidate))
            }
            Subject::Excess { field, .. } => write!(
                f,
                "of {samples} pairs {field} differed in {part} from stable's answer, and stable's second answer in {other}"
            ),
            Subject::Bias { field, scale, mean } => {
                write!(f, "in {samples} pairs {field} differed by {} on average", difference(*mean, *scale))
            }
            Subject::Schema => write!(f, "the answer's shape differed in {part} of {samples} pairs"),
        }
    }

    fn wanted(&self) -> String {
        match &self.subject {
            Subject::Failures { negligible } if *negligible > 0.0 => {
                format!(
                    "less than {} times as often, or less than {} of its requests",
                    self.limit,
                    percent(*negligible)
                )
            }
            Subject::Excess { negligible, .. } => {
                format!(
                    "less than {} times as often, or in less than {} of the pairs",
                    self.limit,
                    percent(*negligible)
                )
            }
            Subject::Failures { .. } | Subject::Latency { .. } => format!("less than {} times as often", self.limit),
            Subject::Absolute | Subject::Schema => format!("at most {}", percent(self.limit)),
            Subject::Agreement { .. } => format!("at least {}", percent(1.0 - self.limit)),
            Subject::Bias { scale, .. } => format!("at most {} to either side", difference(self.limit, *scale)),
        }
    }
}

fn percent(part: f64) -> String {
    let rounded = format!("{:.2}", part * 100.0);
    format!("{} %", rounded.trim_end_matches('0').trim_end_matches('.'))
}

/// In units of the value, or in per cent where it is relative.
fn difference(scaled: f64, scale: f64) -> String {
    if scale > 0.0 { format!("{:.3}", scaled * scale) } else { percent(scaled) }
}

/// Two digits are all that a forecast is worth.
fn two_digits(number: u64) -> u64 {
    let unit = 10_u64.pow(number.checked_ilog10().unwrap_or(0).saturating_sub(1));
    number.div_ceil(unit).saturating_mul(unit)
}

/// With its thousands apart.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
