//! What is decided, and the sentences in which it is said.

use std::time::Duration;
use turnout_verdict::evidence::{Arm, Bias, Epoch, Failures, Field, Histogram, Shadow};
use turnout_verdict::judge::{
    AbsoluteRequirement, ComparisonRequirement, Decision, FailureRequirement, LatencyRequirement, Requirements, State,
    judge,
};

fn arm(requests: u64, failures: u64) -> Arm {
    Arm { requests, failures: Failures { status: failures, ..Failures::default() }, ..Arm::default() }
}

fn epoch(share: f64, stable: Arm, candidate: Arm) -> Epoch {
    Epoch { revision: share.to_string(), candidate_share: share, stable, candidate, shadow: None }
}

fn failures() -> Requirements {
    Requirements { failures: Some(FailureRequirement::default()), ..Requirements::default() }
}

/// The decision and the sentences.
#[track_caller]
fn check(requirements: &Requirements, epochs: &[Epoch], decision: Decision, sentences: &[&str]) {
    let verdict = judge(requirements, &mut State::default(), epochs);
    let said: Vec<String> = verdict.findings.iter().map(ToString::to_string).collect();
    assert_eq!(said, sentences);
    assert_eq!(verdict.decision, decision);
}

#[test]
fn failures_decide() {
    let check = |stable, candidate, decision, sentence| {
        check(&failures(), &[epoch(0.5, stable, candidate)], decision, &[sentence]);
    };
    check(arm(500, 5), arm(500, 25), Decision::RollBack, "");
    check(arm(5_000, 50), arm(5_000, 50), Decision::Promote, "");
    check(arm(1_000, 10), arm(1_000, 12), Decision::Inconclusive, "");
    check(arm(600, 0), arm(600, 0), Decision::Promote, "");
    check(arm(20, 0), arm(20, 0), Decision::Inconclusive, "");
    check(arm(0, 0), arm(0, 0), Decision::Inconclusive, "");
}

#[test]
fn what_was_shown_once_stays_shown() {
    let mut state = State::default();
    assert_eq!(judge(&failures(), &mut state, &[epoch(0.5, arm(500, 5), arm(500, 25))]).decision, Decision::RollBack);
    let later = [epoch(0.5, arm(50_000, 505), arm(50_000, 525))];
    let verdict = judge(&failures(), &mut state, &later);
    assert_eq!(verdict.decision, Decision::RollBack);
    assert_eq!(verdict.findings[0].decision, Decision::RollBack);
    assert_eq!(judge(&failures(), &mut State::default(), &later).decision, Decision::Promote);
}

#[test]
fn at_a_hundred_per_cent_the_candidate_is_compared_with_stable_before() {
    let before = epoch(0.5, arm(3_000, 30), arm(3_000, 30));
    let after = |failures| epoch(1.0, arm(0, 0), arm(3_000, failures));
    let decision = |failed| judge(&failures(), &mut State::default(), &[before.clone(), after(failed)]).decision;
    assert_eq!(decision(30), Decision::Promote);
    assert_eq!(decision(150), Decision::RollBack);
    // Without anything to compare with, nobody can tell.
    assert_eq!(judge(&failures(), &mut State::default(), &[after(150)]).decision, Decision::Inconclusive);
}

fn shadow(pairs: u64) -> Shadow {
    Shadow { copies: pairs, pairs, candidate: arm(pairs, 0), ..Shadow::default() }
}

#[test]
fn copies_decide_while_the_candidate_is_given_no_requests() {
    let failing = Shadow { candidate: arm(400, 40), only_candidate_failed: 39, only_stable_failed: 3, ..shadow(400) };
    let mut before = epoch(0.0, arm(4_000, 40), arm(0, 0));
    before.shadow = Some(failing);
    check(&failures(), &[before], Decision::RollBack, &[""]);
}

#[test]
fn answers_are_compared() {
    let comparison = ComparisonRequirement { agreement: Some(0.95), excess: Some(2.0), ..Default::default() };
    let requirements = Requirements { comparison: Some(comparison), ..Requirements::default() };
    let field = |differ: u64, shift: f64| {
        let mut bias = Bias::new(0.5);
        for pair in 0..600_u32 {
            let noise = if pair.is_multiple_of(2) { 0.05 } else { -0.05 };
            assert!(bias.record(0.25, 0.25 + shift + noise));
        }
        Field {
            path: "/score".to_owned(),
            compared: 600,
            differ,
            noise_compared: 600,
            noise_differ: 12,
            discordant_candidate: differ,
            discordant_noise: 12,
            bias,
        }
    };
    let with = |field: Field, changed: u64| {
        let mut before = epoch(0.0, arm(6_000, 0), arm(0, 0));
        before.shadow = Some(Shadow { fields: vec![field], schema_changed: changed, ..shadow(600) });
        [before]
    };
    check(&requirements, &with(field(10, 0.0), 0), Decision::Promote, &[""]);
    check(&requirements, &with(field(60, 0.2), 600), Decision::RollBack, &[""]);
    check(&requirements, &[], Decision::Inconclusive, &[""]);
}

#[test]
fn a_limit_and_slowness_decide() {
    let absolute = Requirements { absolute: Some(AbsoluteRequirement::default()), ..Requirements::default() };
    check(&absolute, &[epoch(0.5, arm(451, 0), arm(451, 0))], Decision::Promote, &[""]);
    check(&absolute, &[epoch(0.5, arm(451, 0), arm(451, 30))], Decision::RollBack, &[""]);

    let latency = Requirements { latency: Some(LatencyRequirement::default()), ..Requirements::default() };
    let timed = |requests: u64, slow: u64| {
        let mut arm = arm(requests, 0);
        arm.latency.record(Histogram::bucket(Duration::from_millis(10)), requests - slow);
        arm.latency.record(Histogram::bucket(Duration::from_millis(100)), slow);
        arm
    };
    check(&latency, &[epoch(0.5, timed(400, 4), timed(400, 40))], Decision::Inconclusive, &[""]);
    let mut state = State::default();
    let mut judged = |stable, candidate| judge(&latency, &mut state, &[epoch(0.5, stable, candidate)]);
    // What chose the boundaries does not count.
    let first = judged(timed(500, 4), timed(500, 400));
    assert_eq!((first.decision, first.findings[0].e_value), (Decision::Inconclusive, 1.0));
    let second = judged(timed(1_000, 8), timed(1_000, 500));
    assert_eq!(second.decision, Decision::RollBack);
    assert_eq!(second.findings[0].to_string(), "");
}
