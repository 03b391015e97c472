//! The very first rollout, and a rollout whose status was lost.

use super::*;
use crate::resource::RolloutStatus;
use crate::testing::{absent, unready};

fn first(spec: &Value) -> Scene {
    let mut scene = Scene::new(spec);
    scene.rollout.status = RolloutStatus::default();
    scene.observed.green = absent();
    scene.observed.blue = absent();
    scene
}

#[test]
fn managed_goes_straight_to_green() {
    let mut scene = first(&json!({"workload": "Managed"}));
    assert_eq!(scene.tick().actions, [deploy(Backend::Green, "v2")]);
    scene.observed.green = unready();
    scene.settle();
    assert_eq!(scene.stage(), "");
    scene.observed.green = serving("v2");
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.weights(), scene.phase()), ("Green_100", (100, 0), Phase::Complete));
    assert_eq!(scene.rollout.status.stable_revision.as_deref(), Some("v2"));
}

#[test]
fn a_first_image_that_never_becomes_ready_is_replaced_by_the_next() {
    let mut scene = first(&json!({"workload": "Managed"}));
    scene.settle();
    scene.observed.green = unready();
    scene.rollout.spec.revision = Some("v3".to_owned());
    assert_eq!(scene.tick().actions, [deploy(Backend::Green, "v3")]);
    scene.observed.green = serving("v3");
    scene.settle();
    assert_eq!(scene.rollout.status.stable_revision.as_deref(), Some("v3"));
}

#[test]
fn external_blue_takes_everything_until_green_exists() {
    let mut scene = first(&json!({}));
    scene.settle();
    assert_eq!((scene.position().as_str(), scene.weights()), ("Blue_0", (100, 0)));
    scene.observed.blue = serving("v2");
    for _ in 0..20 {
        scene.tick();
        assert_eq!(scene.weights(), (0, 100));
    }
    assert_eq!(scene.stage(), "Blue_Green");
    scene.observed.green = serving("v2");
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.weights(), scene.phase()), ("Green_100", (100, 0), Phase::Complete));
}

/// A pipeline goes to Blue_Green, makes green, waits until it is ready, and asks for an approval.
#[test]
fn a_first_green_that_is_made_at_blue_green_waits_there_like_any_other() {
    let check = |change: fn(&mut Observation), reason| {
        let mut scene = first(&json!({"target": "Blue_Green", "warmUp": {"path": "/score"}}));
        scene.observed.blue = serving("v2");
        scene.settle();
        assert_eq!(scene.stage(), "Blue_Green");
        scene.observed.green = serving("v2");
        change(&mut scene.observed);
        scene.decide();
        assert_eq!((scene.position().as_str(), scene.waits_for()), ("Blue_Green", Some(reason)));
        scene.observed.green = serving("v2");
        scene.settle();
        assert_eq!((scene.stage().as_str(), scene.waits_for()), ("Blue_Green", Some(WaitReason::Promotion)));
        assert_eq!(scene.weights(), (0, 100));
        scene.target("Green_100");
        scene.settle();
        assert_eq!((scene.stage().as_str(), scene.weights(), scene.phase()), ("Green_100", (100, 0), Phase::Complete));
    };
    check(|seen| seen.green.warmed = false, WaitReason::WarmUp);
    check(|seen| seen.gateways[1].green.endpoints = 0, WaitReason::EndpointsSeen);
}

#[test]
fn a_first_blue_that_is_lost_holds_the_stage() {
    let mut scene = first(&json!({}));
    scene.observed.blue = serving("v2");
    for _ in ["publishes", "reaches Blue_0", "leaves it"] {
        scene.tick();
    }
    assert_eq!(scene.rollout.status.moving_to, Some(Target::Stage(Stage::BLUE_50)));
    scene.observed.blue = unready();
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.waits_for()), ("Blue_0", Some(WaitReason::ReadyEndpoints)));
    scene.observed.blue = serving("v2");
    scene.settle();
    assert_eq!(scene.stage(), "Blue_Green");
}

#[test]
fn external_green_that_serves_the_candidate_already_is_taken() {
    let mut scene = first(&json!({}));
    scene.observed.green = serving("v2");
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.phase()), ("Green_100", Phase::Complete));
}

#[test]
fn a_green_that_serves_another_revision_is_the_stable_one() {
    for workload in ["External", "Managed"] {
        let mut scene = first(&json!({"workload": workload}));
        scene.observed.green = serving("v1");
        scene.settle();
        assert_eq!(scene.position(), "Blue_0");
        assert_eq!(scene.rollout.status.stable_revision.as_deref(), Some("v1"));
        scene.target("Rollback");
        scene.settle();
        assert_eq!(scene.stage(), "Rollback");
    }
}

#[test]
fn without_a_stable_revision_nothing_rolls_back() {
    let mut scene = first(&json!({"onBackendLoss": "Rollback"}));
    scene.observed.blue = serving("v2");
    scene.settle();
    scene.target("Rollback");
    scene.settle();
    assert_eq!(scene.weights(), (0, 100));
    assert!(scene.message().ends_with("; there is no stable revision to roll back to"), "{}", scene.message());
}

#[test]
fn without_a_revision_the_documents_keep_their_weights() {
    let mut scene = first(&json!({"revision": null}));
    let decision = scene.decide();
    assert_eq!((decision.weights, scene.phase()), (None, Phase::Idle));
    assert!(scene.message().starts_with("nothing to roll out: spec.revision is not set"), "{}", scene.message());
}

#[test]
fn a_lost_status_costs_the_way_and_breaks_nothing() {
    for (stage, green, expected) in [("Blue_50", "v1", "Blue_Green"), ("Blue_Green", "v2", "Green_100")] {
        let mut scene = Scene::at(stage, &json!({}));
        scene.rollout.status = RolloutStatus::default();
        scene.observed.green = serving(green);
        scene.settle();
        assert_eq!(scene.stage(), expected);
    }
}
