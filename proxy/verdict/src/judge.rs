//! From evidence to a decision. Roll back when the weighted sum of the evidence against the candidate, weights summing to 1,
//! reaches 1/alpha: then at most alpha of all rollouts without a difference end so, whoever looks how often. Promote when
//! every gate has been passed, which takes no correction. Neither is inconclusive, and says what is missing.
//!
//! One process lives as long as the rollout: a test that began anew with each stage would be wrong once for each stage. So
//! all epochs are judged each time, and what is remembered beside them is [`State`].

mod finding;
mod gates;
mod question;
mod requirements;

pub use finding::{Finding, Subject};
pub use requirements::{
    AbsoluteRequirement, ComparisonRequirement, FailureRequirement, LatencyRequirement, Requirements,
};

use crate::evidence::Epoch;
use crate::latency::Boundaries;
use crate::logarithms;
use gates::Gate;
use serde::{Deserialize, Serialize};

/// What is to become of the candidate, as far as this evidence goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// Everything that is required has been shown.
    Promote,
    /// It has been shown to be worse.
    RollBack,
    /// Neither yet.
    Inconclusive,
}

/// What one verdict leaves to the next of the same rollout: whoever judges keeps it, and gives it back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct State {
    /// None until stable has had enough requests.
    pub latency: Option<Boundaries>,
    /// The logarithm of the most evidence against the candidate that there ever was: what has been shown stays shown.
    pub highest: f64,
}

/// A decision and its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Of all findings together.
    pub decision: Decision,
    /// The most evidence against the candidate that there ever was; 1/alpha of it rolls back.
    pub e_value: f64,
    /// At most so many rollouts without a difference, 0 to 1, ever show as much evidence.
    pub p: f64,
    /// One for each gate.
    pub findings: Vec<Finding>,
}

/// Judges all that one rollout has seen, in any order.
pub fn judge(requirements: &Requirements, state: &mut State, epochs: &[Epoch]) -> Verdict {
    let gates = gates_of(requirements, state, epochs);
    let wanted = -requirements.alpha.ln();
    look(state, &gates);
    let mut findings: Vec<Finding> = gates.iter().map(|gate| gate.finding(requirements)).collect();
    let is_worse = state.highest >= wanted;
    if is_worse && !findings.iter().any(|finding| finding.decision == Decision::RollBack) {
        // Together they show what none of them shows alone, or it was shown before: the first among them stands for it.
        let weighted = |gate: &Gate| gate.weight.ln() + gate.question.worse(1.0);
        let heaviest = (0..gates.len()).max_by(|a, b| weighted(&gates[*a]).total_cmp(&weighted(&gates[*b])));
        if let Some(heaviest) = heaviest {
            findings[heaviest].decision = Decision::RollBack;
        }
    }
    let decision = if is_worse {
        Decision::RollBack
    } else if !findings.is_empty() && findings.iter().all(|finding| finding.decision == Decision::Promote) {
        Decision::Promote
    } else {
        Decision::Inconclusive
    };
    Verdict { decision, e_value: finding::e_value(state.highest), p: (-state.highest).exp().min(1.0), findings }
}

/// The logarithm of the most evidence against the candidate so far, this look included: what [`judge`] decides by, without
/// its findings, for those who look often.
pub fn evidence_against(requirements: &Requirements, state: &mut State, epochs: &[Epoch]) -> f64 {
    let gates = gates_of(requirements, state, epochs);
    look(state, &gates);
    state.highest
}

fn gates_of(requirements: &Requirements, state: &mut State, epochs: &[Epoch]) -> Vec<Gate> {
    let epochs = crate::evidence::sorted(epochs);
    if requirements.latency.is_some() && state.latency.is_none() {
        state.latency = Boundaries::choose(&epochs);
    }
    gates::gates(requirements, state.latency.as_ref(), &epochs)
}

fn look(state: &mut State, gates: &[Gate]) {
    let evidence = gates.iter().map(|gate| gate.weight.ln() + gate.question.worse(1.0));
    let evidence: Vec<f64> = evidence.collect();
    if !evidence.is_empty() {
        state.highest = state.highest.max(logarithms::sum(evidence.iter().copied()));
    }
}
