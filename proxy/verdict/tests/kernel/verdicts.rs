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
    check(
        arm(500, 5),
        arm(500, 25),
        Decision::RollBack,
        "5 % of the candidate's 500 requests failed, 1 % of stable's 500: 1.3 to 32.2 times as often; \
         shown to be worse (e-value 446)",
    );
    check(
        arm(5_000, 50),
        arm(5_000, 50),
        Decision::Promote,
        "1 % of the candidate's 5,000 requests failed, 1 % of stable's 5,000: 0.5 to 2.0 times as often; \
         shown: less than 2 times as often, or less than 1 % of its requests",
    );
    check(
        arm(1_000, 10),
        arm(1_000, 12),
        Decision::Inconclusive,
        "1.2 % of the candidate's 1,000 requests failed, 1 % of stable's 1,000: 0.3 to 5.0 times as often; \
         not shown yet: less than 2 times as often, or less than 1 % of its requests; about 16,000 more requests decide it",
    );
    check(
        arm(600, 0),
        arm(600, 0),
        Decision::Promote,
        "0 % of the candidate's 600 requests failed, 0 % of stable's 600; \
         shown: less than 2 times as often, or less than 1 % of its requests",
    );
    check(
        arm(20, 0),
        arm(20, 0),
        Decision::Inconclusive,
        "0 % of the candidate's 20 requests failed, 0 % of stable's 20; \
         not shown yet: less than 2 times as often, or less than 1 % of its requests; about 1,100 more requests decide it",
    );
    check(
        arm(0, 0),
        arm(0, 0),
        Decision::Inconclusive,
        "0 % of the candidate's 0 requests failed, 0 % of stable's 0; \
         not shown yet: less than 2 times as often, or less than 1 % of its requests; \
         how many more requests it takes cannot be told yet",
    );
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
    let before = epoch(0.5, arm(9_000, 90), arm(9_000, 90));
    let after = |failures| epoch(1.0, arm(0, 0), arm(3_000, failures));
    let decision = |failed| judge(&failures(), &mut State::default(), &[before.clone(), after(failed)]).decision;
    assert_eq!(decision(30), Decision::Promote);
    assert_eq!(decision(150), Decision::RollBack);
    let told = judge(&failures(), &mut State::default(), &[epoch(0.0, arm(9_000, 90), arm(0, 0)), after(3_000)]);
    let said = told.findings[0].to_string();
    assert!(said.starts_with("100 % of the candidate's 3,000 requests failed, 1 % of stable's 9,000"), "{said}");
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
    let sentence = "10 % of the candidate's 400 requests failed, 1 % of stable's 400: 3.0 to 152.9 times as often; \
                    shown to be worse (e-value above a million)";
    check(&failures(), &[before], Decision::RollBack, &[sentence]);
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
    let good = [
        "the answer's shape differed in 0 % of 600 pairs; shown: at most 1 %",
        "/score agreed in 99.5 % of 600 pairs; shown: at least 95 %",
        "of 600 pairs /score differed in 0.5 % from stable's answer, and stable's second answer in 2 %; \
         shown: less than 2 times as often, or in less than 1 % of the pairs",
        "in 600 pairs /score differed by 0.000 on average; shown: at most 0.050 to either side",
    ];
    check(&requirements, &with(field(3, 0.0), 0), Decision::Promote, &good);
    let bad = [
        "the answer's shape differed in 100 % of 600 pairs; shown to be worse (e-value above a million)",
        "/score agreed in 90 % of 600 pairs; shown to be worse (e-value 7786)",
        "of 600 pairs /score differed in 10 % from stable's answer, and stable's second answer in 2 %; \
         shown to be worse (e-value above a million)",
        "in 600 pairs /score differed by 0.200 on average; shown to be worse (e-value above a million)",
    ];
    check(&requirements, &with(field(60, 0.2), 600), Decision::RollBack, &bad);
    let nothing = "the answer's shape differed in 0 % of 0 pairs; not shown yet: at most 1 %; \
                   how many more pairs it takes cannot be told yet";
    check(&requirements, &[], Decision::Inconclusive, &[nothing]);
}

#[test]
fn a_limit_and_slowness_decide() {
    let absolute = Requirements { absolute: Some(AbsoluteRequirement::default()), ..Requirements::default() };
    let check_one = |requirements, epoch, decision, sentence| check(requirements, &[epoch], decision, &[sentence]);
    let kept = "0 % of the candidate's 449 requests failed; shown: at most 1 %";
    check_one(&absolute, epoch(0.5, arm(449, 0), arm(449, 0)), Decision::Promote, kept);
    let one_more =
        "0 % of the candidate's 440 requests failed; not shown yet: at most 1 %; about 9 more requests decide it";
    check_one(&absolute, epoch(0.5, arm(440, 0), arm(440, 0)), Decision::Inconclusive, one_more);
    let broken = "2.5 % of the candidate's 1,000 requests failed; shown to be worse (e-value 38)";
    check_one(&absolute, epoch(0.5, arm(1_000, 0), arm(1_000, 25)), Decision::RollBack, broken);

    let latency = Requirements { latency: Some(LatencyRequirement::default()), ..Requirements::default() };
    let timed = |requests: u64, slow: u64| {
        let mut arm = arm(requests, 0);
        arm.latency.record(Histogram::bucket(Duration::from_millis(10)), requests - slow);
        arm.latency.record(Histogram::bucket(Duration::from_millis(100)), slow);
        arm
    };
    let early = "what is slow is told by stable's first 500 requests, of which 400 have ended; \
                 not shown yet: less than 2 times as often; how many more requests it takes cannot be told yet";
    check_one(&latency, epoch(0.5, timed(400, 4), timed(400, 40)), Decision::Inconclusive, early);
    let mut state = State::default();
    let mut judged = |stable, candidate| judge(&latency, &mut state, &[epoch(0.5, stable, candidate)]);
    // What chose the boundaries does not count.
    let first = judged(timed(500, 4), timed(500, 400));
    assert_eq!((first.decision, first.findings[0].e_value), (Decision::Inconclusive, 1.0));
    let second = judged(timed(1_000, 8), timed(1_000, 500));
    assert_eq!(second.decision, Decision::RollBack);
    let slow = "50 % of the candidate's 1,000 requests took longer than 10.8 ms, 0.8 % of stable's 1,000; \
                shown to be worse (e-value above a million)";
    assert_eq!(second.findings[0].to_string(), slow);
}

/// A bound without a sample is not met because the others are.
#[test]
fn each_bound_of_a_comparison_is_asked_for() {
    let asked = |excess, agreement, bias| Requirements {
        comparison: Some(ComparisonRequirement {
            schema: None,
            agreement,
            excess,
            bias,
            ..ComparisonRequirement::default()
        }),
        ..Requirements::default()
    };
    let field = |noise_compared| Field { path: "/a".to_owned(), compared: 2_000, noise_compared, ..Field::default() };
    let with = |fields: Vec<Field>| {
        let shadow = Shadow { fields, ..shadow(2_000) };
        Epoch { shadow: Some(shadow), ..epoch(0.0, arm(4_000, 0), arm(0, 0)) }
    };
    let decision = |requirements: &Requirements, epoch: Epoch| {
        let verdict = judge(requirements, &mut State::default(), &[epoch]);
        (verdict.decision, verdict.findings.last().map(ToString::to_string).unwrap_or_default())
    };
    let both = asked(Some(2.0), Some(0.9), None);
    assert_eq!(decision(&both, with(vec![field(2_000)])).0, Decision::Promote);
    let (decided, said) = decision(&both, with(vec![field(0)]));
    assert_eq!(decided, Decision::Inconclusive);
    assert!(said.starts_with("of 0 pairs every field differed"), "{said}");
    for (requirements, beginning) in [
        (asked(None, Some(0.9), None), "every field agreed in "),
        (asked(None, None, Some(0.1)), "in 0 pairs every number differed"),
    ] {
        let (decided, said) = decision(&requirements, with(Vec::new()));
        assert_eq!(decided, Decision::Inconclusive);
        assert!(said.starts_with(beginning), "{said}");
    }
}

/// As another version may have written it.
#[test]
fn a_state_that_fits_no_histogram_does_no_harm() {
    let text = r#"{"latency": {"buckets": [3, 18446744073709551615], "before": [{"revision": "0.5", "candidateShare": 0.5}]}}"#;
    let mut state: State = serde_json::from_str(text).expect("a state");
    let requirements = Requirements { latency: Some(LatencyRequirement::default()), ..Requirements::default() };
    assert_eq!(judge(&requirements, &mut state, &[epoch(0.5, arm(9, 0), arm(9, 0))]).decision, Decision::Inconclusive);
}
