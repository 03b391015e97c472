//! The gates that requirements make of the evidence at hand.

use super::Decision;
use super::finding::{self, Finding, Subject};
use super::question::{Question, Rate};
use super::requirements::{
    AbsoluteRequirement, ComparisonRequirement, FailureRequirement, LatencyRequirement, Requirements,
};
use crate::evidence::{Arm, Epoch, Field, Histogram, Shadow};
use crate::latency::{Boundaries, FIRST};
use crate::relative_risk::Counts;
use crate::{absolute, logarithms, pairs};

/// Above this share the candidate is compared with stable's failures before, too.
const BLIND: f64 = 0.95;
/// The part of alpha within which stable's rate before may be above what is taken for its limit.
const OF_ALPHA: f64 = 0.1;

pub(super) struct Gate {
    pub(super) question: Question,
    /// Of all gates together 1.
    pub(super) weight: f64,
    subject: Subject,
    candidate: Rate,
    stable: Option<Rate>,
    limit: f64,
}

pub(super) fn gates(requirements: &Requirements, boundaries: Option<&Boundaries>, epochs: &[Epoch]) -> Vec<Gate> {
    let mut gates = Vec::new();
    if let Some(failures) = &requirements.failures {
        gates.push(failure_gate(failures, requirements.alpha, epochs));
    }
    if let Some(latency) = &requirements.latency {
        gates.push(latency_gate(latency, boundaries, epochs));
    }
    if let Some(absolute) = &requirements.absolute {
        gates.push(absolute_gate(absolute, epochs));
    }
    if let Some(comparison) = &requirements.comparison {
        gates.extend(comparison_gates(comparison, epochs));
    }
    let sum: f64 = gates.iter().map(|gate| gate.weight).sum();
    for gate in &mut gates {
        gate.weight /= sum;
    }
    gates
}

fn of_arm(rate: &mut Rate, arm: &Arm) {
    rate.add(arm.failures.total(), arm.requests);
}

fn is_split(epoch: &Epoch) -> bool {
    epoch.candidate_share > 0.0 && epoch.candidate_share < 1.0
}

/// While the candidate is given no requests, its failures are those of copies. Later they are those of its requests alone:
/// a request of stable's that has a copy would else be counted twice.
fn failure_gate(requirement: &FailureRequirement, alpha: f64, epochs: &[Epoch]) -> Gate {
    let mut counts = Vec::new();
    let (mut candidate, mut stable, mut copies, mut originals) = Default::default();
    let (mut blind, mut before, mut alone) = (Rate::default(), Rate::default(), Rate::default());
    for epoch in epochs {
        if epoch.candidate_share >= 1.0 {
            of_arm(&mut alone, &epoch.candidate);
        }
        if epoch.candidate_share > BLIND {
            of_arm(&mut blind, &epoch.candidate);
        } else {
            of_arm(&mut before, &epoch.stable);
        }
        if is_split(epoch) {
            of_arm(&mut candidate, &epoch.candidate);
            of_arm(&mut stable, &epoch.stable);
            counts.push(Counts {
                share: epoch.candidate_share,
                candidate: logarithms::count(epoch.candidate.failures.total()),
                stable: logarithms::count(epoch.stable.failures.total()),
            });
        } else if let (Some(shadow), true) = (&epoch.shadow, epoch.candidate_share <= 0.0) {
            of_copies(shadow, &mut copies, &mut originals);
            counts.extend(pairs::discordant(
                logarithms::count(shadow.only_candidate_failed),
                logarithms::count(shadow.only_stable_failed),
            ));
        }
    }
    candidate.add(alone.failures, alone.requests);
    let mut all = copies;
    all.add(candidate.failures, candidate.requests);
    if candidate.requests == 0 {
        (candidate, stable) = (copies, originals);
    } else if stable.requests == 0 {
        stable = before;
    }
    let (failed, of) = (logarithms::count(before.failures), logarithms::count(before.requests));
    // It takes a while to find, and is not asked for before there are such shares.
    let usual = if blind.requests > 0 { absolute::upper_limit(failed, of, alpha * OF_ALPHA) } else { 1.0 };
    Gate {
        question: Question::Ratio {
            counts,
            ratio: requirement.ratio,
            margin: requirement.margin,
            negligible: (all, requirement.negligible),
            blind: (blind, (usual * requirement.ratio).min(1.0), requirement.blind),
        },
        weight: requirement.weight,
        subject: Subject::Failures { negligible: requirement.negligible },
        candidate,
        stable: Some(stable),
        limit: requirement.margin,
    }
}

fn of_copies(shadow: &Shadow, copies: &mut Rate, originals: &mut Rate) {
    of_arm(copies, &shadow.candidate);
    let both = shadow.candidate.failures.total().saturating_sub(shadow.only_candidate_failed);
    originals.add(both.saturating_add(shadow.only_stable_failed), shadow.candidate.requests);
}

fn latency_gate(requirement: &LatencyRequirement, boundaries: Option<&Boundaries>, epochs: &[Epoch]) -> Gate {
    let split: Vec<&Epoch> = epochs.iter().filter(|epoch| is_split(epoch)).collect();
    let mut question = Question::Unknown;
    // Until there are boundaries, what is awaited is told.
    let mut subject = Subject::Latency { slower_than_ms: None };
    let has: u64 = epochs.iter().map(|epoch| epoch.stable.latency.total()).fold(0, u64::saturating_add);
    let mut candidate = Rate { failures: 0, requests: 0 };
    let mut stable = Rate { failures: 0, requests: has.min(FIRST) };
    if let Some(boundaries) = boundaries {
        let counts: Vec<_> = (0..boundaries.buckets.len()).map(|index| boundaries.counts(index, epochs)).collect();
        let worst = |index: &usize| crate::latency::slower(&counts[*index..=*index]);
        let worst = (0..counts.len()).max_by(|a, b| worst(a).total_cmp(&worst(b))).unwrap_or(0);
        let bucket = boundaries.buckets[worst];
        subject = Subject::Latency { slower_than_ms: Histogram::bound(bucket).map(|bound| bound.as_secs_f64() * 1e3) };
        (candidate, stable) = Default::default();
        for epoch in split {
            let of = |rate: &mut Rate, arm: &Arm| rate.add(arm.latency.slower_than(bucket), arm.latency.total());
            of(&mut candidate, &epoch.candidate);
            of(&mut stable, &epoch.stable);
        }
        question = Question::Slow { boundaries: counts, margin: requirement.margin };
    }
    Gate { question, weight: requirement.weight, subject, candidate, stable: Some(stable), limit: requirement.margin }
}

fn absolute_gate(requirement: &AbsoluteRequirement, epochs: &[Epoch]) -> Gate {
    let mut rate = Rate::default();
    for epoch in epochs {
        of_arm(&mut rate, &epoch.candidate);
        if let Some(shadow) = &epoch.shadow {
            of_arm(&mut rate, &shadow.candidate);
        }
    }
    limit_gate(Subject::Absolute, rate, requirement.at_most, requirement.weight)
}

fn limit_gate(subject: Subject, rate: Rate, limit: f64, weight: f64) -> Gate {
    Gate { question: Question::Limit { rate, limit }, weight, subject, candidate: rate, stable: None, limit }
}

fn comparison_gates(requirement: &ComparisonRequirement, epochs: &[Epoch]) -> Vec<Gate> {
    let mut all = Shadow::default();
    for shadow in epochs.iter().filter_map(|epoch| epoch.shadow.as_ref()) {
        all.add(shadow);
    }
    let mut gates = Vec::new();
    if let Some(limit) = requirement.schema {
        let rate = Rate { failures: all.schema_changed, requests: all.pairs };
        gates.push(limit_gate(Subject::Schema, rate, limit, 1.0));
    }
    // A field counts from its first pair on: those of an answer are there together.
    for field in &all.fields {
        if let Some(agreement) = requirement.agreement {
            let rate = Rate { failures: field.differ, requests: field.compared };
            gates.push(limit_gate(Subject::Agreement { field: field.path.clone() }, rate, 1.0 - agreement, 1.0));
        }
        if let Some(margin) = requirement.excess.filter(|_| field.noise_compared > 0) {
            gates.push(excess_gate(field, margin));
        }
        if let Some(margin) = requirement.bias.filter(|_| field.bias.count() > 0) {
            gates.push(Gate {
                question: Question::Mean { bias: field.bias, margin },
                weight: 1.0,
                subject: Subject::Bias {
                    field: field.path.clone(),
                    scale: field.bias.scale(),
                    mean: field.bias.mean(),
                },
                candidate: Rate { failures: 0, requests: field.bias.count() },
                stable: None,
                limit: margin,
            });
        }
    }
    gates.extend(unseen_gate(requirement, &all, gates.is_empty()));
    let parts = logarithms::count(gates.len() as u64);
    for gate in &mut gates {
        gate.weight = requirement.weight / parts;
    }
    gates
}

/// What is asked for and was seen in no pair cannot be shown, however good the rest is: each by its own name.
fn unseen_gate(requirement: &ComparisonRequirement, all: &Shadow, is_alone: bool) -> Option<Gate> {
    let field = || "every field".to_owned();
    let has_noise = all.fields.iter().any(|field| field.noise_compared > 0);
    let without_noise = requirement.excess.filter(|_| !has_noise && (is_alone || !all.fields.is_empty()));
    let (subject, limit) = match (without_noise, requirement.agreement, requirement.bias) {
        (Some(margin), ..) => {
            let negligible = FailureRequirement::default().negligible;
            (Subject::Excess { field: field(), negligible }, margin)
        }
        (None, Some(agreement), _) if is_alone => (Subject::Agreement { field: field() }, 1.0 - agreement),
        (None, None, Some(margin)) if is_alone => {
            (Subject::Bias { field: "every number".to_owned(), scale: 0.0, mean: 0.0 }, margin)
        }
        _ => return None,
    };
    Some(Gate { question: Question::Unknown, ..limit_gate(subject, Rate::default(), limit, 1.0) })
}

fn excess_gate(field: &Field, margin: f64) -> Gate {
    let [candidate, noise] = [field.discordant_candidate, field.discordant_noise].map(logarithms::count);
    let of = |failures: u64| Rate { failures, requests: field.noise_compared };
    let negligible = FailureRequirement::default().negligible;
    Gate {
        question: Question::Ratio {
            counts: pairs::discordant(candidate, noise).to_vec(),
            ratio: 1.0,
            margin,
            negligible: (of(field.discordant_candidate), negligible),
            blind: (Rate::default(), 1.0, 0.0),
        },
        weight: 1.0,
        subject: Subject::Excess { field: field.path.clone(), negligible },
        candidate: of(field.discordant_candidate),
        stable: Some(of(field.discordant_noise)),
        limit: margin,
    }
}

impl Gate {
    pub(super) fn finding(&self, requirements: &Requirements) -> Finding {
        let wanted = -requirements.alpha.ln();
        let minimum = logarithms::count(requirements.minimum);
        let seen = logarithms::count(self.candidate.requests);
        let decide = |times: f64| {
            if self.question.worse(times) + self.weight.ln() >= wanted {
                Decision::RollBack
            } else if seen * times >= minimum && self.question.passes(times) >= wanted {
                Decision::Promote
            } else {
                Decision::Inconclusive
            }
        };
        let decision = decide(1.0);
        let worse = self.question.worse(1.0);
        let samples = self.candidate.requests.saturating_add(self.stable.map_or(0, |rate| rate.requests));
        // The pairs of a field are the same for either.
        let samples = if matches!(self.subject, Subject::Excess { .. }) { self.candidate.requests } else { samples };
        Finding {
            subject: self.subject.clone(),
            decision,
            candidate: self.candidate.part(),
            candidate_samples: self.candidate.requests,
            stable: self.stable.map(Rate::part),
            stable_samples: self.stable.map_or(0, |rate| rate.requests),
            limit: self.limit,
            ratio: self.question.interval(requirements.alpha),
            e_value: finding::e_value(worse),
            p: (-worse).exp().min(1.0),
            e_value_passes: finding::e_value(self.question.passes(1.0)),
            to_go: finding::to_go(samples, |times| decide(times) != Decision::Inconclusive),
        }
    }
}
