//! What gateways have counted, and what follows from it.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;
use crate::observation::Gathered;
use crate::resource::RequirementState::{self, Failed, Open, Waiting};
use turnout_verdict::evidence::{Arm, Epoch, Failures, Shadow};

const STAGE: &str = "Blue_50";

/// Requests, and those of them that failed.
type Counts = (u64, u64);

fn arm((requests, failures): Counts) -> Arm {
    let failures = Failures { status: failures, ..Failures::default() };
    Arm { requests, failures, ..Arm::default() }
}

fn split(stable: Counts, candidate: Counts) -> Epoch {
    let (stable, candidate) = (arm(stable), arm(candidate));
    Epoch { revision: "routes-50-50".to_owned(), candidate_share: 0.5, stable, candidate, shadow: None }
}

fn pairs(pairs: u64, schema_changed: u64) -> Epoch {
    let shadow = Shadow { copies: pairs, pairs, schema_changed, candidate: arm((pairs, 0)), ..Shadow::default() };
    Epoch { revision: "routes-100-0".to_owned(), shadow: Some(shadow), ..Epoch::default() }
}

fn said(gateway: usize, instance: &str, epochs: &[Epoch]) -> Gathered {
    let (gateway, instance) = (format!("gateway-{gateway}"), instance.to_owned());
    Gathered { gateway, instance, is_current: true, epochs: epochs.to_vec() }
}

fn requiring(require: &Value, spec: &Value) -> Scene {
    let shadow = json!({"percent": 10, "methods": ["POST"]});
    let steps = json!([
        {"stage": "Blue_0", "shadow": shadow, "require": []},
        {"stage": STAGE, "shadow": shadow, "require": require},
        {"stage": "Blue_100", "require": []},
    ]);
    let mut all = json!({"steps": steps});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Scene::at(STAGE, &all)
}

/// No failure is compared by how long it took.
fn by_failures() -> Value {
    json!([{"verdict": {"failures": {}}}])
}

impl Scene {
    /// One of the two gateways has counted this since it began, and the other nothing.
    fn counts(&mut self, epochs: &[Epoch]) {
        self.observed.evidence = vec![said(0, "a", epochs), said(1, "b", &[])];
    }

    fn stand(&self) -> Vec<(RequirementState, &str)> {
        self.rollout.status.requirements.iter().map(|one| (one.state, one.message.as_str())).collect()
    }

    fn told(decision: &Decision, reason: &str) -> Vec<String> {
        let events = decision.events.iter().filter(|event| event.reason == reason);
        events.map(|event| event.message.clone()).collect()
    }

    /// The requests of stable and of the candidate that the status knows of.
    fn known(&self) -> (u64, u64) {
        let total = self.rollout.status.evidence.as_ref().unwrap().total();
        total.iter().fold((0, 0), |(stable, candidate), epoch| {
            (stable + epoch.stable.requests, candidate + epoch.candidate.requests)
        })
    }

    fn later(&mut self, seconds: u64) {
        self.observed.now = self.observed.now.plus(seconds);
    }
}

#[test]
fn evidence_opens_waits_or_fails() {
    let check = |require: Value, epochs: &[Epoch], state, message: &str| {
        let mut scene = requiring(&json!([require]), &json!({}));
        scene.counts(epochs);
        scene.decide();
        let found: Vec<_> = scene.stand();
        assert!(found[0].0 == state && found[0].1.contains(message), "{require} {message}: {found:?}");
        scene.settle();
        assert_eq!(scene.stage() != STAGE, state == Open, "{require}");
        let phase = if state == Failed { Phase::Failed } else { Phase::Holding };
        assert!(state == Open || scene.phase() == phase, "{require}: {:?}", scene.phase());
    };
    let failures = || json!({"verdict": {"failures": {}}});
    check(failures(), &[], Waiting, "0 % of the candidate's 0 requests failed");
    check(failures(), &[split((100, 1), (100, 1))], Waiting, "more requests decide it");
    check(failures(), &[split((5000, 0), (5000, 0))], Open, "0 % of the candidate's 5,000 requests failed");
    check(failures(), &[split((9000, 180), (9000, 180))], Open, "shown: less than 2 times as often");
    check(failures(), &[split((1000, 2), (1000, 100))], Failed, "10 % of the candidate's 1,000 requests failed");
    check(failures(), &[split((1000, 100), (1000, 2))], Open, "shown");
    let many = json!({"verdict": {"failures": {}, "minimumRequests": 6000}});
    check(many, &[split((5000, 0), (5000, 0))], Waiting, "not shown yet");
    check(
        json!({"verdict": {}}),
        &[split((5000, 0), (5000, 0))],
        Waiting,
        "what is slow is told by stable's first 500",
    );
    let absolute = || json!({"absolute": {}});
    check(absolute(), &[split((50, 0), (50, 0))], Waiting, "at most 1 %");
    check(absolute(), &[split((1000, 900), (1000, 0))], Open, "at most 1 %");
    check(absolute(), &[split((1000, 900), (1000, 100))], Failed, "10 % of the candidate's 1,000 requests failed");
    let comparison = || json!({"comparison": {}});
    check(comparison(), &[split((1000, 0), (1000, 0))], Waiting, "0 pairs");
    check(comparison(), &[pairs(1000, 0)], Open, "shape differed in 0 % of 1,000 pairs");
    check(comparison(), &[pairs(1000, 300)], Failed, "shape differed in 30 % of 1,000 pairs");
}

/// Nothing is written in any of them, and each is shown for itself; of how long the candidate takes copies say nothing.
#[test]
fn at_the_first_stage_copies_show_one_requirement_after_the_other() {
    let failing = |copies, failed| {
        let mut epoch = pairs(copies, 0);
        let shadow = epoch.shadow.as_mut().unwrap();
        shadow.candidate = arm((copies, failed));
        (shadow.only_candidate_failed, shadow.only_stable_failed) = (failed, failed);
        epoch
    };
    for (epoch, expected) in [
        (pairs(20, 0), [Waiting, Waiting, Waiting]),
        (failing(600, 4), [Open, Waiting, Waiting]),
        (pairs(600, 0), [Open, Open, Open]),
    ] {
        let shadow = json!({"percent": 10, "methods": ["POST"]});
        let require = json!([{"comparison": {}}, {"verdict": {}}, {"absolute": {}}]);
        let steps = json!([{"stage": "Blue_0", "shadow": shadow, "require": require}, {"stage": STAGE, "require": []}]);
        let mut scene = Scene::at("Blue_0", &json!({"steps": steps}));
        scene.counts(std::slice::from_ref(&epoch));
        scene.decide();
        let found: Vec<_> = scene.stand().into_iter().map(|(state, message)| (state, message.to_owned())).collect();
        assert_eq!(found.iter().map(|(state, _)| *state).collect::<Vec<_>>(), expected, "{found:?}");
        scene.settle();
        assert_eq!(scene.stage() != "Blue_0", expected == [Open; 3], "{found:?}");
    }
}

#[test]
fn a_verdict_that_fails_turns_back_at_once_with_its_evidence() {
    let worse = [split((1000, 2), (1000, 100))];
    let sentence = "10 % of the candidate's 1,000 requests failed";
    let holds: [fn(&mut Scene); 4] = [
        |_| {},
        |scene| scene.rollout.spec.paused = true,
        |scene| scene.target(STAGE),
        |scene| scene.observed.gateways[0].active = None,
    ];
    for hold in holds {
        let mut scene =
            requiring(&json!([{"approval": {}}, {"verdict": {"failures": {}}}]), &json!({"onFailure": "Rollback"}));
        hold(&mut scene);
        scene.counts(&worse);
        let decision = scene.decide();
        assert_eq!((scene.position().as_str(), decision.weights), ("Rollback", Some(Weights { green: 100, blue: 0 })));
        for reason in ["RequirementFailed", "RollingBack"] {
            assert!(Scene::told(&decision, reason)[0].contains(sentence), "{reason}: {:?}", decision.events);
        }
        scene.settle();
        assert_eq!((scene.stage().as_str(), &scene.rollout.status.evidence), ("Rollback", &None));
        assert!(scene.rollout.status.history.last().unwrap().reason.contains(sentence));
    }

    let mut scene = requiring(&by_failures(), &json!({"onFailure": "Hold"}));
    scene.counts(&worse);
    assert_eq!(Scene::told(&scene.decide(), "RequirementFailed").len(), 1);
    let failed = scene.rollout.status.requirements.clone();
    scene.counts(&[split((90_000, 180), (90_000, 180))]);
    scene.later(60);
    let decision = scene.settle();
    assert_eq!(
        (scene.phase(), &scene.rollout.status.requirements),
        (Phase::Failed, &failed),
        "what was shown stays shown"
    );
    assert_eq!(decision.events, []);
    scene.rollout.promote(None, true).unwrap();
    scene.settle();
    assert_ne!(scene.stage(), STAGE, "somebody knows better");
}

/// One gateway hangs and another gives weight to a model that fails; or the documents do not fit; or the stage asks for
/// nothing, and one before it did.
#[test]
fn a_candidate_that_fails_goes_back_from_wherever_it_is() {
    let places: [fn(&mut Scene); 4] = [
        |scene| {
            scene.rollout.status.stage = Some(Target::Stage(Stage::BLUE_0));
            scene.rollout.status.moving_to = Some(Target::Stage(Stage::BLUE_50));
            scene.observed.gateways[1].active = None;
        },
        |scene| {
            scene.rollout.status.moving_to = Some(Target::Stage(Stage::BLUE_100));
            scene.observed.gateways[1].active = None;
        },
        |scene| {
            scene.observed.route = Err(crate::render::RouteSelectionError::VirtualServiceNotFound("model".to_owned()));
        },
        |scene| scene.rollout.status.stage = Some(Target::Stage(Stage::BLUE_100)),
    ];
    for (index, place) in places.into_iter().enumerate() {
        for on_failure in ["Rollback", "Hold"] {
            let mut scene = requiring(&by_failures(), &json!({"onFailure": on_failure}));
            place(&mut scene);
            scene.rollout.status.stage_since = Some(scene.observed.now);
            scene.counts(&[split((1000, 1), (1000, 1))]);
            scene.decide();
            assert_ne!(scene.position(), "Rollback", "{index}: nothing is shown yet");
            scene.counts(&[split((1000, 2), (1000, 100))]);
            let decision = scene.decide();
            assert_eq!(Scene::told(&decision, "RequirementFailed").len(), 1, "{index}: {:?}", decision.events);
            assert_eq!(scene.position() == "Rollback", on_failure == "Rollback", "{index}");
            assert_eq!(scene.decide().events, [], "{index}: it is told once");
        }
    }
}

/// That it failed on its way to a stage holds that stage, until somebody knows better; also one that waits for a promotion.
#[test]
fn what_failed_on_the_way_holds_the_stage_that_is_reached() {
    let mut scene = requiring(
        &by_failures(),
        &json!({"onFailure": "Hold", "steps": [
            {"stage": STAGE, "require": [{"verdict": {"failures": {}}}]},
            {"stage": "Blue_90"},
        ]}),
    );
    scene.rollout.status.moving_to = Some("Blue_90".parse().unwrap());
    scene.counts(&[split((1000, 2), (1000, 100))]);
    scene.decide();
    scene.counts(&[split((90_000, 180), (90_000, 180))]);
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.phase()), ("Blue_90", Phase::Failed));
    scene.rollout.promote(None, false).unwrap();
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.phase()), ("Blue_90", Phase::Failed));
    scene.rollout.promote(None, true).unwrap();
    scene.settle();
    assert_ne!(scene.stage(), "Blue_90");
}

#[test]
fn evidence_for_the_candidate_is_that_of_all_gateways_and_evidence_against_it_that_of_any() {
    let mut scene = requiring(&by_failures(), &json!({}));
    scene.observed.evidence = vec![said(0, "a", &[split((5000, 0), (5000, 0))])];
    scene.decide();
    let (state, message) = scene.stand()[0];
    assert_eq!(state, Waiting);
    assert!(message.starts_with("waiting for what gateway-1 has counted, which says nothing: 0 % of"), "{message}");
    let mut hanging = scene.observed.evidence.clone();
    hanging.push(Gathered { is_current: false, ..said(1, "b", &[split((9, 0), (9, 0))]) });
    scene.observed.evidence = hanging;
    scene.decide();
    assert_eq!(scene.stand()[0].0, Waiting, "it hangs");
    scene.observed.evidence = vec![said(0, "a", &[split((5000, 2), (5000, 200))])];
    scene.decide();
    assert_eq!(scene.stand()[0].0, Failed);

    let mut scene = requiring(&by_failures(), &json!({}));
    scene.observed.gateways.clear();
    scene.decide();
    assert_eq!(scene.stand()[0].0, Waiting);
}

/// A gateway restarts, then whoever drives the rollout does, and then an answer of the former process comes late.
#[test]
fn nothing_is_forgotten_and_nothing_counts_twice() {
    let mut scene = requiring(&by_failures(), &json!({}));
    let (first, second) = ([split((100, 1), (99, 2))], [split((10, 0), (11, 0))]);
    scene.counts(&first);
    scene.decide();
    assert_eq!(scene.known(), (100, 99));
    scene.later(5);
    let late = Gathered { is_current: false, ..said(0, "a", &first) };
    let restarted = vec![said(0, "c", &second), said(1, "b", &[])];
    for evidence in [[vec![late.clone()], restarted.clone()].concat(), restarted.clone(), vec![late], restarted] {
        scene.observed.evidence = evidence;
        scene.decide();
        assert_eq!(scene.known(), (110, 110));
        scene.later(5);
    }
}

#[test]
fn many_restarts_take_little_room_and_leave_the_sums() {
    let mut scene = requiring(&by_failures(), &json!({}));
    for restart in 0..300 {
        scene.observed.evidence = vec![said(0, &restart.to_string(), &[split((2, 0), (1, 0))]), said(1, "b", &[])];
        scene.decide();
        scene.later(5);
        assert_eq!(scene.known(), (2 * (restart + 1), restart + 1));
    }
    let kept = scene.rollout.status.evidence.clone().unwrap();
    assert!(kept.instances.len() <= 21 && kept.gone_instances.len() <= 256 && kept.gone.len() == 1);
    scene.observed.evidence = vec![said(0, "299", &[split((2, 0), (1, 0))]), said(0, "250", &[split((2, 0), (1, 0))])];
    scene.decide();
    assert_eq!(scene.known(), (600, 300), "one that was added up comes late");
}

/// A gateway keeps the latest revisions alone.
#[test]
fn what_a_gateway_forgets_is_kept() {
    let mut scene = requiring(&by_failures(), &json!({}));
    let other = Epoch { revision: "routes-other".to_owned(), ..split((7, 0), (7, 0)) };
    scene.counts(&[split((100, 0), (100, 0)), other.clone()]);
    scene.decide();
    for _ in 0..3 {
        scene.later(5);
        scene.counts(std::slice::from_ref(&other));
        scene.decide();
        assert_eq!(scene.known(), (107, 107));
    }
}

/// Each status that is written wakes those who watch it.
#[test]
fn what_is_not_decided_is_written_down_now_and_then() {
    let mut scene = requiring(&by_failures(), &json!({}));
    scene.counts(&[split((10, 0), (10, 0))]);
    scene.settle();
    let written = scene.rollout.status.clone();
    for requests in 11..15 {
        scene.later(1);
        scene.counts(&[split((requests, 0), (requests, 0))]);
        scene.decide();
        assert_eq!(scene.rollout.status, written);
    }
    scene.later(1);
    scene.decide();
    assert_eq!(scene.known(), (14, 14));
    assert!(scene.message().contains("14 requests"), "{}", scene.message());
    let written = scene.rollout.status.clone();
    scene.later(60);
    scene.decide();
    assert_eq!(scene.rollout.status, written, "nothing came");
}

#[test]
fn what_is_not_decided_in_time_is_told_once_and_holds() {
    let mut scene =
        requiring(&json!([{"verdict": {"failures": {}, "deadline": "10m"}}]), &json!({"onFailure": "Rollback"}));
    scene.counts(&[]);
    scene.decide();
    scene.later(300);
    scene.counts(&[split((100, 1), (100, 1))]);
    scene.decide();
    scene.later(300);
    scene.counts(&[split((200, 2), (200, 2))]);
    let decision = scene.decide();
    let told = Scene::told(&decision, "Inconclusive");
    assert!(told.len() == 1 && told[0].contains("; not decided after 10m at Blue_50, about "), "{told:?}");
    scene.later(60);
    let decision = scene.settle();
    assert_eq!((decision.events, scene.phase(), scene.stage().as_str()), (vec![], Phase::Holding, STAGE));
    scene.counts(&[split((5000, 0), (5000, 0))]);
    let decision = scene.decide();
    assert_eq!(Scene::told(&decision, "RequirementFulfilled").len(), 1);
    scene.settle();
    assert_ne!(scene.stage(), STAGE, "it goes on when it is shown");
}

/// Requests that came before all gateways had the weights of the stage make the evidence weaker again, and no more comes.
#[test]
fn what_was_shown_at_one_stage_stands_at_each_later_one() {
    let verdict = || json!([{"verdict": {"failures": {}}}]);
    let of_copies = || json!({"percent": 10, "methods": ["POST"]});
    let mut scene = requiring(
        &json!([]),
        &json!({"steps": [
            {"stage": "Blue_0", "shadow": of_copies(), "require": verdict()},
            {"stage": STAGE, "require": verdict()},
            {"stage": "Blue_100", "require": verdict()},
            {"stage": "Blue_Green", "require": verdict()},
        ]}),
    );
    scene.target("Blue_100");
    scene.counts(&[split((5000, 0), (5000, 0))]);
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.stand()[0].0), ("Blue_100", Open));
    let shown = scene.stand()[0].1.to_owned();
    scene.later(5);
    scene.counts(&[split((5000, 30), (5400, 54))]);
    scene.target("Green_100");
    scene.observed.green = unready();
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.stand()), ("Blue_Green", vec![(Open, shown.as_str())]));

    let mut scene = Scene::at("Blue_0", &json!({"steps": scene.rollout.spec.steps, "target": "Blue_0"}));
    scene.counts(&[pairs(5000, 0)]);
    scene.settle();
    assert_eq!(scene.stand()[0].0, Open);
    scene.target(STAGE);
    scene.counts(&[pairs(5000, 0), split((50, 1), (50, 1))]);
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.stand()[0].0), (STAGE, Waiting), "copies are no requests");
}

#[test]
fn where_nothing_is_compared_any_more_no_requests_are_promised() {
    let mut scene = requiring(
        &by_failures(),
        &json!({"steps": [
            {"stage": STAGE, "require": by_failures()},
            {"stage": "Blue_100", "require": by_failures()},
        ]}),
    );
    scene.counts(&[split((100, 1), (100, 1))]);
    scene.rollout.promote(None, true).unwrap();
    scene.settle();
    let (state, message) = scene.stand()[0];
    assert_eq!((scene.stage().as_str(), state), ("Blue_100", Waiting));
    assert!(
        message.starts_with("nothing comes at Blue_100 that could show it, skip it or roll back: 1 % of"),
        "{message}"
    );
    assert!(
        message.ends_with("; not shown yet: less than 2 times as often, or less than 1 % of its requests"),
        "{message}"
    );
}

#[test]
fn all_stages_are_one_process_and_another_attempt_is_another() {
    let mut scene = requiring(&by_failures(), &json!({}));
    scene.counts(&[split((300, 0), (300, 0))]);
    scene.target(STAGE);
    scene.settle();
    let salt = scene.rollout.status.evidence.as_ref().unwrap().salt.clone();
    scene.rollout.spec.attempt = 1;
    let decision = scene.decide();
    assert_eq!((scene.stage().as_str(), decision.status.evidence.as_ref().map(|it| it.gone.len())), ("", Some(0)));
    scene.observed.evidence = Vec::new();
    scene.decide();
    let other = scene.rollout.status.evidence.as_ref().unwrap();
    assert!(other.salt != salt && other.total().is_empty(), "{other:?}");
}

/// Gateways still know what they counted of it then; also where all of it happens within a second.
#[test]
fn a_revision_that_comes_back_begins_anew() {
    let mut scene = requiring(&by_failures(), &json!({}));
    let mut salts = Vec::new();
    for revision in ["v3", "v2", "v3"] {
        scene.rollout.spec.revision = Some(revision.to_owned());
        scene.decide();
        scene.decide();
        salts.push(scene.rollout.evidence_key().unwrap().1);
        assert_eq!(scene.rollout.status.evidence.as_ref().map(|it| &it.salt), salts.last());
    }
    assert!(salts[0] != salts[1] && salts[1] != salts[2] && salts[0] != salts[2], "{salts:?}");
}

#[test]
fn the_very_first_rollout_has_nothing_to_be_compared_with() {
    let mut scene = requiring(&by_failures(), &json!({}));
    scene.rollout.status.stable_revision = None;
    scene.observed.green = crate::testing::absent();
    scene.take(Weights { green: 0, blue: 100 });
    scene.decide();
    assert_eq!(scene.stand(), [(Open, "there is no stable revision to compare with")]);
    assert_eq!(scene.rollout.status.evidence, None);
}

/// Whatever others do needs no other.
#[test]
fn of_the_very_first_rollout_it_is_judged_how_often_it_fails() {
    for (failures, state) in [(0, Open), (100, Failed)] {
        let mut scene = requiring(&json!([{"verdict": {}}, {"absolute": {}}]), &json!({"onFailure": "Rollback"}));
        scene.rollout.status.stable_revision = None;
        scene.observed.green = crate::testing::absent();
        scene.take(Weights { green: 0, blue: 100 });
        scene.decide();
        assert_eq!(scene.stand().iter().map(|one| one.0).collect::<Vec<_>>(), [Open, Waiting]);
        assert!(scene.rollout.evidence_key().is_some());
        scene.counts(&[Epoch { candidate_share: 1.0, ..split((0, 0), (1000, failures)) }]);
        scene.decide();
        scene.settle();
        assert_eq!(scene.stage() == STAGE, state == Failed, "{:?}", scene.stand());
        assert_ne!(scene.position(), "Rollback", "there is nothing to go back to");
    }
}

/// Green is there, and for a while it cannot be told what it serves.
#[test]
fn a_green_that_is_not_known_yet_is_waited_for() {
    let check = |change: fn(&mut crate::observation::BackendObservation), message: &str| {
        let mut scene = requiring(&by_failures(), &json!({}));
        scene.rollout.status.stable_revision = None;
        change(&mut scene.observed.green);
        scene.settle();
        assert_eq!((scene.stage().as_str(), scene.stand()), (STAGE, vec![(Waiting, message)]));
        scene.observed.green = serving("v1");
        scene.settle();
        assert_eq!((scene.stage().as_str(), scene.stand()[0].0), (STAGE, Waiting));
        assert_eq!(scene.rollout.status.stable_revision.as_deref(), Some("v1"));
        scene.counts(&[split((1000, 2), (1000, 100))]);
        scene.decide();
        assert_eq!(scene.stand()[0].0, Failed);
    };
    let waits = "waiting for green to say which revision is the stable one: ";
    check(|green| *green = unready(), &format!("{waits}it has no ready endpoints"));
    check(
        |green| (green.revision, green.doubt) = (None, Some("its Deployment is being updated".to_owned())),
        &format!("{waits}what its 2 ready endpoints serve is not known (its Deployment is being updated)"),
    );
}

/// A green that had no endpoints for a moment is back, and is not passed over.
#[test]
fn that_there_was_nothing_to_compare_with_is_not_kept() {
    let mut scene = requiring(&by_failures(), &json!({"paused": true}));
    scene.rollout.status.stable_revision = None;
    scene.observed.green = crate::testing::absent();
    scene.decide();
    assert_eq!(scene.stand()[0].0, Open);
    for green in [unready(), serving("v1")] {
        scene.observed.green = green;
        scene.decide();
        assert_eq!(scene.stand()[0].0, Waiting);
    }
}

#[test]
fn where_nothing_of_the_kind_is_required_nothing_is_kept() {
    let mut scene = requiring(&json!([{"approval": {}}]), &json!({}));
    scene.counts(&[split((300, 0), (300, 0))]);
    scene.settle();
    assert_eq!(scene.rollout.status.evidence, None);
}
