//! The way back.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;
use crate::testing::{absent, unready};

#[test]
fn up_to_blue_100_green_has_everything_at_once() {
    for stage in ["Blue_0", "Blue_50", "Blue_100"] {
        let mut scene = Scene::at(stage, &json!({"target": "Rollback", "workload": "Managed"}));
        let decision = scene.decide();
        assert_eq!(decision.weights, Some(Weights { green: 100, blue: 0 }), "{stage}");
        assert_eq!((scene.phase(), decision.actions), (Phase::RollingBack, vec![]), "{stage}");
        scene.tick();
        assert_eq!(scene.stage(), if stage == "Blue_0" { "Rollback" } else { stage }, "only confirmation reaches it");
        scene.tick();
        assert_eq!(scene.stage(), "Rollback");
        assert_eq!(scene.decide().actions, [Action::Remove { backend: Backend::Blue }], "then the candidate goes");
        scene.observed.blue = absent();
        scene.settle();
        assert_eq!(
            (scene.phase(), scene.message()),
            (Phase::RolledBack, "Rollback: green serves everything with revision v1")
        );
        assert_eq!(scene.rollout.status.stable_revision.as_deref(), Some("v1"));
    }
}

#[test]
fn the_candidate_stays_until_every_gateway_confirms_the_way_back() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Rollback", "workload": "Managed"}));
    scene.tick();
    scene.observed.gateways[1] = gateway(1, Weights { green: 50, blue: 50 });
    for _ in 0..3 {
        assert_eq!(scene.decide().actions, []);
    }
    assert_eq!(scene.stage(), "Blue_50");
}

#[test]
fn an_external_green_that_was_replaced_is_waited_for() {
    let mut scene = Scene::at("Blue_Green", &json!({"target": "Rollback"}));
    scene.observed.green = serving("v2");
    let decision = scene.settle();
    assert_eq!((scene.weights(), scene.phase()), ((0, 100), Phase::RollingBack));
    assert_eq!(scene.waits_for(), Some(WaitReason::StableImage));
    assert!(scene.rollout.status.is(crate::ConditionType::WaitingForStableImage));
    assert_eq!(decision.status.safe_to_remove, [Backend::Green]);
    scene.observed.green = unready();
    scene.settle();
    assert_eq!(scene.weights(), (0, 100));
    scene.observed.green = serving("v1");
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.weights(), scene.phase()), ("Rollback", (100, 0), Phase::RolledBack));
    assert!(!scene.rollout.status.is(crate::ConditionType::WaitingForStableImage));
}

#[test]
fn a_managed_green_that_was_replaced_is_restored() {
    let mut scene = Scene::at("Blue_Green", &json!({"target": "Rollback", "workload": "Managed"}));
    scene.observed.green = serving("v2");
    scene.observed.gateways[0].green.in_flight_by_split = 2;
    assert_eq!(scene.decide().actions, []);
    assert_eq!(scene.waits_for(), Some(WaitReason::Drain));
    scene.observed.gateways[0].green.in_flight_by_split = 0;
    assert_eq!(scene.decide().actions, [deploy(Backend::Green, "v1")]);
    scene.observed.green = unready();
    assert_eq!(scene.decide().actions, [deploy(Backend::Green, "v1")]);
    scene.observed.green = serving("v1");
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.weights()), ("Rollback", (100, 0)));
}

#[test]
fn a_green_that_was_not_replaced_yet_takes_over_at_once_from_blue_green_too() {
    let mut scene = Scene::at("Blue_Green", &json!({"target": "Rollback"}));
    scene.decide();
    assert_eq!(scene.weights(), (100, 0));
}

#[test]
fn a_switch_to_green_that_was_not_confirmed_is_taken_back() {
    let mut scene = Scene::at("Blue_Green", &json!({"workload": "Managed"}));
    scene.observed.green = serving("v2");
    scene.tick();
    assert_eq!(scene.weights(), (100, 0));
    scene.target("Rollback");
    let decision = scene.tick();
    assert_eq!((scene.weights(), decision.actions), ((0, 100), vec![]));
    assert_eq!(scene.tick().actions, [deploy(Backend::Green, "v1")]);
}

#[test]
fn a_rollback_once_begun_is_finished() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Rollback"}));
    scene.decide();
    scene.target("Green_100");
    scene.settle();
    assert_eq!(scene.stage(), "Rollback");
    scene.rollout.spec.attempt = 1;
    scene.settle();
    assert_eq!(scene.stage(), "Blue_Green", "another attempt begins anew and waits for the new green");
}

#[test]
fn a_newer_revision_waits_for_the_end_of_a_rollback() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Rollback"}));
    scene.decide();
    scene.rollout.start("v3", None).unwrap();
    scene.decide();
    assert_eq!((scene.weights(), scene.phase()), ((100, 0), Phase::RollingBack));
    assert!(scene.message().ends_with("; revision v3 is next"), "{}", scene.message());
    scene.settle();
    assert_eq!(scene.rollout.status.history[0].to, Target::Rollback);
    assert_eq!((scene.position().as_str(), scene.waits_for()), ("Blue_0", Some(WaitReason::CandidateReady)));
}

#[test]
fn a_withdrawn_revision_is_rolled_back() {
    for stage in ["Blue_50", "Blue_Green"] {
        let mut scene = Scene::at(stage, &json!({"revision": "v1"}));
        scene.settle();
        assert_eq!((scene.stage().as_str(), scene.phase()), ("Rollback", Phase::RolledBack));
        scene.rollout.spec.revision = Some("v2".to_owned());
        scene.rollout.spec.target = Some(Target::Stage(Stage::BLUE_50));
        scene.settle();
        assert_eq!(scene.stage(), "Blue_50", "and may come again");
    }
}

#[test]
fn after_green_100_a_rollback_is_a_new_rollout() {
    let mut scene = Scene::at("Green_100", &json!({"target": "Rollback"}));
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.phase()), ("Green_100", Phase::Complete));
    scene.rollout.roll_back().unwrap();
    scene.settle();
    assert_eq!((scene.position().as_str(), scene.waits_for()), ("Blue_0", Some(WaitReason::CandidateReady)));
    assert_eq!(scene.rollout.status.candidate.as_ref().unwrap().revision, "v1");
}

#[test]
fn a_rollback_after_green_100_comes_to_its_end_however_often_it_is_asked_for() {
    let mut scene = Scene::at("Green_100", &json!({}));
    let mut passed = Vec::new();
    for _ in 0..30 {
        scene.rollout.roll_back().unwrap();
        scene.tick();
        let position = scene.position();
        match position.as_str() {
            "Blue_0" => scene.observed.blue = serving("v1"),
            "Blue_Green" => scene.observed.green = serving("v1"),
            _ => {}
        }
        if passed.last() != Some(&position) {
            passed.push(position);
        }
    }
    assert_eq!(passed, ["Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100"]);
    assert_eq!(scene.rollout.status.stable_revision.as_deref(), Some("v1"));
}

#[test]
fn a_rollback_after_green_100_is_turned_round_by_a_start_of_what_it_replaces() {
    for stage in ["Blue_0", "Blue_50", "Blue_100", "Blue_Green"] {
        let mut scene = Scene::at("Green_100", &json!({}));
        scene.rollout.roll_back().unwrap();
        scene.observed.blue = serving("v1");
        for _ in 0..20 {
            if scene.position() != stage {
                scene.tick();
            }
        }
        assert_eq!(scene.position(), stage);
        scene.rollout.start("v2", None).unwrap();
        scene.settle();
        assert_eq!((scene.stage().as_str(), scene.weights()), ("Rollback", (100, 0)), "{stage}");
        assert_eq!(scene.rollout.status.stable_revision.as_deref(), Some("v2"), "{stage}");
    }
}

#[test]
fn no_new_revision_begins_while_the_target_is_a_rollback() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Rollback"}));
    scene.settle();
    scene.rollout.spec.revision = Some("v3".to_owned());
    scene.settle();
    assert_eq!(scene.stage(), "Rollback");
    assert!(
        scene.message().ends_with("revision v3 waits, since spec.target is Rollback: start it anew"),
        "{}",
        scene.message()
    );
    scene.rollout.start("v3", None).unwrap();
    scene.settle();
    assert_eq!(scene.position(), "Blue_0");
}

#[test]
fn a_lost_blue_rolls_back_if_the_spec_wants_it() {
    let mut scene = Scene::at("Blue_50", &json!({"onBackendLoss": "Rollback"}));
    scene.observed.blue = unready();
    let decision = scene.tick();
    assert_eq!(decision.events[0].message, "Blue_50: rolling back: blue lost its last ready endpoint");
    scene.observed.blue = serving("v2");
    scene.settle();
    assert_eq!(scene.stage(), "Rollback");
    let mut scene = Scene::at("Blue_0", &json!({"onBackendLoss": "Rollback"}));
    scene.observed.blue = unready();
    scene.settle();
    assert_eq!(scene.stage(), "Blue_0", "a blue without weight is not lost");
}

#[test]
fn whoever_asked_for_a_rollback_is_never_told_to_promote() {
    let kinds = [json!(null), json!([]), json!([{"approval": {}}]), json!([{"pause": "1m"}])];
    for stage in ["Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100"] {
        for (kind, stable) in kinds.iter().flat_map(|kind| [(kind, true), (kind, false)]) {
            let all = ["Blue_0", "Blue_50", "Blue_100", "Blue_Green"].map(|stage| (stage, kind.clone()));
            let mut scene = Scene::at(stage, &json!({"target": "Rollback", "steps": steps(&all)}));
            if !stable {
                scene.rollout.status.stable_revision = None;
            }
            for _ in 0..10 {
                scene.tick();
                assert!(!scene.message().contains("promote"), "{stage} {kind} {stable}: {}", scene.message());
            }
        }
    }
}
