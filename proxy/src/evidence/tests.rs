//! What is counted where, what is remembered for how long, and how the page is written.

use super::*;
use crate::error::{Flag, GatewayError};
use crate::testing::in_paused_time;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::rc::Rc;
use turnout_verdict::evidence::{Failures, total};

const TOOK: Duration = Duration::from_millis(3);

fn governed<'p>(policy: &'p str, salt: &'p str) -> Governed<'p> {
    Governed { index: 0, policy, salt, candidate_share: 0.25, has_shadow: false }
}

/// A process with one worker and a policy.
struct Scene {
    evidence: Evidence,
    worker: WorkerEvidence,
}

impl Scene {
    fn new() -> Self {
        Self { evidence: Evidence::new(), worker: WorkerEvidence::default() }
    }

    /// The worker's share of a new table's only epoch.
    fn publish(&self, revision: &str, governed: Governed<'_>) -> Rc<WorkerEpoch> {
        let mut own = self.worker.of(&self.evidence.adopt(revision, &[governed]));
        own.pop().flatten().expect("there are few")
    }

    /// Requests by policy, salt and revision, of both models.
    fn counted(&self) -> Vec<(String, String, String, u64)> {
        self.worker.flush();
        let policies = self.evidence.page().policies.into_iter();
        let told = policies.flat_map(|PolicyEvidence { policy, salt, epochs }| {
            epochs.into_iter().map(move |epoch| {
                (policy.clone(), salt.clone(), epoch.revision, epoch.stable.requests + epoch.candidate.requests)
            })
        });
        told.collect()
    }

    fn revisions(&self) -> Vec<(String, u64)> {
        self.counted().into_iter().map(|(_, _, revision, requests)| (revision, requests)).collect()
    }

    /// What metrics have of a policy.
    fn total(&self, policy: &str) -> Option<u64> {
        self.worker.flush();
        self.evidence.totals().get(policy).map(|arms| arms.stable.requests + arms.candidate.requests)
    }
}

fn answer(epoch: &Rc<WorkerEpoch>) {
    let mut trial = Trial::new(epoch, false, true);
    trial.conclude(Outcome::Answered);
    trial.close(Flag::None, None, TOOK);
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(revision, requests)| ((*revision).to_owned(), *requests)).collect()
}

#[test]
fn a_request_counts_under_the_revision_that_assigned_it_once_it_has_ended() {
    let scene = Scene::new();
    let first = scene.publish("b", governed("default/split", ""));
    let mut late = Trial::new(&first, true, true);
    late.conclude(Outcome::Answered);
    answer(&first);
    drop(first);
    let second = scene.publish("a", governed("default/split", ""));
    answer(&second);
    assert_eq!(scene.revisions(), pairs(&[("a", 1), ("b", 1)]));
    late.close(Flag::None, None, TOOK);
    assert_eq!(scene.revisions(), pairs(&[("a", 1), ("b", 2)]), "with its last request a worker's share is added up");
    // The routes before are back.
    answer(&scene.publish("b", governed("default/split", "")));
    answer(&second);
    assert_eq!(scene.revisions(), pairs(&[("a", 2), ("b", 3)]));
}

#[test]
fn an_outcome_is_in_one_class_of_one_model() {
    use Outcome::{Answered, Gateway, Reported, Status, Timeout};
    let check = |outcome: Option<Outcome>, flag: Flag, expected: Option<Failures>| {
        for is_candidate in [false, true] {
            let scene = Scene::new();
            let epoch = scene.publish("a", governed("default/split", ""));
            let mut trial = Trial::new(&epoch, is_candidate, true);
            if let Some(outcome) = outcome {
                trial.conclude(outcome);
            }
            trial.close(flag, None, TOOK);
            scene.worker.flush();
            let told = scene.evidence.page().policies[0].epochs[0].clone();
            let (arm, other) = if is_candidate { (told.candidate, told.stable) } else { (told.stable, told.candidate) };
            assert_eq!(other, Arm::default());
            let requests = u64::from(expected.is_some());
            let counts = (arm.requests, arm.not_eligible, arm.latency.total());
            assert_eq!(counts, (requests, 1 - requests, requests), "{outcome:?} {flag:?}");
            assert_eq!(arm.failures, expected.unwrap_or_default(), "{outcome:?} {flag:?}");
        }
    };
    let none = Failures::default();
    check(Some(Answered), Flag::None, Some(none));
    check(Some(Status), Flag::None, Some(Failures { status: 1, ..none }));
    check(Some(Gateway), Flag::ConnectFailure, Some(Failures { gateway: 1, ..none }));
    check(Some(Timeout), Flag::Timeout, Some(Failures { timeout: 1, ..none }));
    check(Some(Reported), Flag::None, Some(Failures { reported: 1, ..none }));
    // What ends after a good head.
    check(Some(Answered), Flag::Timeout, Some(Failures { timeout: 1, ..none }));
    check(Some(Answered), Flag::UpstreamProtocol, Some(Failures { gateway: 1, ..none }));
    check(Some(Answered), Flag::DownstreamGone, None);
    check(Some(Answered), Flag::StreamIdle, None);
    // What has failed has failed, whoever leaves.
    check(Some(Status), Flag::DownstreamGone, Some(Failures { status: 1, ..none }));
    // Nobody knows what it would have been.
    check(None, Flag::DownstreamGone, None);
    check(None, Flag::FaultInjected, None);
    check(None, Flag::DownstreamProtocol, None);
}

#[test]
fn the_first_try_counts() {
    let scene = Scene::new();
    let epoch = scene.publish("a", governed("default/split", ""));
    let mut trial = Trial::new(&epoch, true, true);
    trial.conclude(Outcome::Status);
    trial.conclude(Outcome::Answered);
    trial.close(Flag::None, None, TOOK);
    scene.worker.flush();
    let failures = scene.evidence.page().policies[0].epochs[0].candidate.failures;
    assert_eq!(failures, Failures { status: 1, ..Failures::default() });
}

/// What becomes of one request of the candidate's: counted, and failures of the class `status`, `gateway` and `timeout`.
fn closed(conclude: impl FnOnce(&mut Trial), flag: Flag, grpc_status: Option<u8>) -> (u64, [u64; 3]) {
    let scene = Scene::new();
    let mut trial = Trial::new(&scene.publish("a", governed("default/split", "")), true, true);
    conclude(&mut trial);
    trial.close(flag, grpc_status, TOOK);
    scene.worker.flush();
    let Arm { requests, not_eligible, failures, .. } = scene.evidence.page().policies[0].epochs[0].candidate.clone();
    assert_eq!(requests + not_eligible, 1);
    (requests, [failures.status, failures.gateway, failures.timeout])
}

#[test]
fn a_good_first_try_stays_good_where_another_breaks_off() {
    let retried = |trial: &mut Trial| {
        trial.conclude(Outcome::Answered);
        trial.settle();
        trial.conclude(Outcome::Answered);
    };
    for flag in [Flag::None, Flag::UpstreamProtocol, Flag::Timeout, Flag::DownstreamGone] {
        assert_eq!(closed(retried, flag, Some(14)), (1, [0; 3]), "{flag:?}");
    }
    let after_nothing = |trial: &mut Trial| {
        trial.settle();
        trial.conclude(Outcome::Answered);
    };
    assert_eq!(closed(after_nothing, Flag::UpstreamProtocol, None), (1, [0, 1, 0]), "nothing was said of it before");
}

#[test]
fn a_client_that_waits_for_less_long_than_the_rule_says_nothing_by_it() {
    let hurried = |then: fn(&mut Trial)| {
        move |trial: &mut Trial| {
            trial.hurry();
            then(trial);
        }
    };
    let run_out = |trial: &mut Trial| {
        trial.run_out();
        trial.conclude(Outcome::Timeout);
    };
    assert_eq!(closed(run_out, Flag::Timeout, Some(4)), (1, [0, 0, 1]));
    assert_eq!(closed(hurried(run_out), Flag::Timeout, Some(4)), (0, [0; 3]));
    assert_eq!(closed(hurried(|trial| trial.conclude(Outcome::Answered)), Flag::Timeout, None), (0, [0; 3]));
    assert_eq!(closed(hurried(|trial| trial.conclude(Outcome::Answered)), Flag::None, Some(4)), (0, [0; 3]));
    // What the model has said it has said.
    assert_eq!(closed(hurried(|trial| trial.conclude(Outcome::Answered)), Flag::None, Some(14)), (1, [1, 0, 0]));
    let failed_before = |trial: &mut Trial| {
        trial.conclude(Outcome::Gateway);
        trial.settle();
        trial.run_out();
    };
    assert_eq!(closed(hurried(failed_before), Flag::Timeout, None), (1, [0, 1, 0]));
}

#[test]
fn grpc_fails_by_its_own_status() {
    let of_head = |said: u8| move |trial: &mut Trial| trial.answered(StatusCode::OK, &HeaderMap::new(), Some(said));
    let unsaid = |trial: &mut Trial| trial.answered(StatusCode::OK, &HeaderMap::new(), None);
    for said in 0..=16 {
        // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS.
        let expected = (1, [u64::from([2, 4, 12, 13, 14, 15].contains(&said)), 0, 0]);
        assert_eq!(closed(of_head(said), Flag::None, Some(said)), expected, "{said} in the head");
        assert_eq!(closed(unsaid, Flag::None, Some(said)), expected, "{said} in trailers");
    }
    assert_eq!(closed(unsaid, Flag::UpstreamProtocol, Some(14)), (1, [0, 1, 0]));
}

#[test]
fn what_is_not_the_splits_doing_is_not_eligible() {
    let scene = Scene::new();
    let epoch = scene.publish("a", governed("default/split", ""));
    for outcome in [Outcome::Answered, Outcome::Status] {
        let mut trial = Trial::new(&epoch, true, false);
        trial.conclude(outcome);
        trial.close(Flag::None, None, TOOK);
    }
    scene.worker.flush();
    let candidate = scene.evidence.page().policies[0].epochs[0].candidate.clone();
    assert_eq!(candidate, Arm { not_eligible: 2, ..Arm::default() });
}

#[test]
fn a_models_answer_fails_by_its_status_or_by_its_own_word() {
    let check = |status: u16, reported: Option<&'static str>, expected: Outcome| {
        let name = HeaderName::from_static("x-ms-run-function-failed");
        let headers: HeaderMap = reported.map(|value| (name, HeaderValue::from_static(value))).into_iter().collect();
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(Outcome::of_answer(status, &headers), expected, "{status} {reported:?}");
    };
    check(200, None, Outcome::Answered);
    check(404, None, Outcome::Answered);
    check(429, Some("False"), Outcome::Answered);
    check(200, Some(""), Outcome::Answered);
    for value in ["True", "true", "TRUE"] {
        check(200, Some(value), Outcome::Reported);
    }
    check(400, Some("True"), Outcome::Reported);
    check(500, Some("True"), Outcome::Status);
    check(503, None, Outcome::Status);
}

#[test]
fn what_the_gateway_answers_is_the_models_failure_where_it_is_about_the_model() {
    for error in GatewayError::EACH {
        let expected = match error.status().as_u16() {
            502 | 503 => Some(Outcome::Gateway),
            504 => Some(Outcome::Timeout),
            _ => None,
        };
        assert_eq!(Outcome::of_error(error), expected, "{error:?}");
    }
}

#[test]
fn the_latest_revisions_are_remembered_and_those_that_are_held() {
    let scene = Scene::new();
    let held = scene.publish("000", governed("default/split", ""));
    for number in 1..=70 {
        answer(&scene.publish(&format!("{number:03}"), governed("default/split", "")));
    }
    let revisions = scene.revisions();
    assert_eq!((revisions.len(), &*revisions[0].0, &*revisions[1].0), (64, "000", "008"));
    assert_eq!(scene.total("default/split"), Some(70), "metrics do not go back");
    answer(&held);
    drop(held);
    scene.publish("071", governed("default/split", ""));
    scene.publish("072", governed("default/split", ""));
    assert_eq!(scene.revisions()[0].0, "009");
    assert_eq!(scene.total("default/split"), Some(71));
}

#[test]
fn a_policy_that_no_table_names_is_remembered_for_an_hour() {
    in_paused_time(async {
        let scene = Scene::new();
        answer(&scene.publish("a", governed("default/old", "1")));
        answer(&scene.publish("b", governed("default/old", "2")));
        answer(&scene.publish("c", governed("default/new", "")));
        let policies = |scene: &Scene| {
            scene.counted().into_iter().map(|(policy, salt, ..)| format!("{policy} {salt}")).collect::<Vec<_>>()
        };
        assert_eq!(policies(&scene), ["default/new ", "default/old 1", "default/old 2"]);
        tokio::time::advance(REMEMBERED / 2).await;
        answer(&scene.publish("b", governed("default/old", "2")));
        tokio::time::advance(REMEMBERED / 2).await;
        assert_eq!(policies(&scene), ["default/new ", "default/old 2"]);
        assert_eq!(scene.total("default/old"), Some(3), "while another salt has the name");
        scene.publish("d", governed("default/last", ""));
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(policies(&scene), ["default/last "]);
        assert_eq!(scene.total("default/old"), None);
    });
}

#[test]
fn there_are_at_most_a_thousand_policies() {
    let scene = Scene::new();
    scene.publish("a", governed("default/before", ""));
    let names: Vec<String> = (0..=POLICIES).map(|number| format!("default/{number:04}")).collect();
    let of = |(index, name)| Governed { index, ..governed(name, "") };
    let governed: Vec<_> = names.iter().map(String::as_str).enumerate().map(of).collect();
    let epochs = scene.evidence.adopt("b", &governed);
    let counted: Vec<bool> = epochs.iter().map(Option::is_some).collect();
    assert!(counted[..POLICIES].iter().all(|is_counted| *is_counted), "one that no table names makes room");
    assert!(!counted[POLICIES], "one that serves does not");
    assert_eq!(scene.evidence.page().policies.len(), POLICIES);
}

#[test]
fn the_page_is_what_others_read_and_the_pages_of_several_processes_add_up() {
    let pages = [1, 2].map(|requests| {
        let scene = Scene::new();
        let governed = Governed { has_shadow: true, ..governed("default/split", "uid-1") };
        let epoch = scene.publish("0f", governed);
        assert_eq!(scene.evidence.page().policies[0].epochs[0].shadow, Some(Shadow::default()), "from zero on");
        (0..requests).for_each(|_| answer(&epoch));
        let mut trial = Trial::new(&epoch, true, true);
        trial.conclude(Outcome::Reported);
        trial.close(Flag::None, None, TOOK);
        epoch.shared.shadow(|shadow| shadow.copies += 1);
        scene.worker.flush();
        scene.evidence.page()
    });
    assert_ne!(pages[0].instance, pages[1].instance);
    let none = serde_json::json!({ "status": 0, "gateway": 0, "timeout": 0, "reported": 0 });
    let told = serde_json::to_value(&pages[1]).expect("it is JSON");
    let epoch = &told["policies"][0]["epochs"][0];
    assert_eq!(told["policies"][0]["salt"], "uid-1");
    assert_eq!((&epoch["revision"], &epoch["candidateShare"]), (&"0f".into(), &0.25.into()));
    let stable = serde_json::json!({
        "requests": 2, "failures": none, "latency": [[40, 2]], "rescued": 0, "notEligible": 0,
    });
    assert_eq!(epoch["stable"], stable);
    assert_eq!(epoch["candidate"]["failures"]["reported"], 1);
    assert_eq!(serde_json::from_value::<Page>(told).expect("it is read back"), pages[1]);

    let added = total(&pages);
    let epoch = &added[0].epochs[0];
    let shadow = epoch.shadow.as_ref().expect("there is one");
    assert_eq!((added.len(), epoch.stable.requests, epoch.candidate.requests, shadow.copies), (1, 3, 2, 2));
    assert_eq!(added, total([&pages[1], &pages[0]]));
}
