//! Backends that come and go while a stage holds.

use super::*;
use crate::testing::unready;

#[test]
fn a_lost_blue_gives_its_weight_to_green_and_gets_it_back() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Blue_100"}));
    scene.observed.blue = unready();
    let decision = scene.tick();
    assert_eq!((scene.weights(), scene.stage().as_str()), ((100, 0), "Blue_50"));
    assert_eq!(scene.message(), "Blue_50: waiting for ready endpoints of blue, whose weight is 50");
    assert_eq!(
        decision.events[0].message,
        "blue has 0 ready endpoints: green 100, blue 0 is in effect, green 50, blue 50 is wanted"
    );
    assert_eq!(scene.tick().events, [], "it is told once");
    scene.settle();
    assert_eq!(scene.stage(), "Blue_50", "a stage that cannot be held is not left");
    scene.observed.blue = serving("v2");
    scene.decide();
    scene.decide();
    assert_eq!((scene.weights(), scene.stage().as_str()), ((50, 50), "Blue_50"), "it is left only once it holds again");
    scene.settle();
    assert_eq!(scene.stage(), "Blue_100");
}

#[test]
fn weight_returns_only_when_every_gateway_sees_the_backend() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Blue_50"}));
    scene.take(Weights { green: 100, blue: 0 });
    scene.observed.gateways[1].blue.endpoints = 0;
    scene.decide();
    assert_eq!(scene.weights(), (100, 0));
    scene.observed.gateways[1].blue.endpoints = 1;
    scene.decide();
    assert_eq!(scene.weights(), (50, 50));
}

#[test]
fn a_gateway_that_sees_nothing_takes_no_weight_from_a_backend() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Blue_50"}));
    scene.observed.gateways[1].blue.endpoints = 0;
    scene.decide();
    assert_eq!(scene.weights(), (50, 50));
}

#[test]
fn every_stage_survives_the_loss_of_either_backend_and_of_both() {
    for stage in ["Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100"] {
        let mut scene = Scene::at(stage, &json!({"target": stage}));
        let own = scene.rollout.status.stage.and_then(Target::stage).map(Stage::weights);
        let check = |scene: &mut Scene, expected: (u32, u32)| {
            scene.tick();
            assert_eq!((scene.weights(), scene.stage().as_str()), (expected, stage));
        };
        let own = own.map(|weights| (weights.green, weights.blue)).unwrap_or_default();
        scene.observed.green = unready();
        check(&mut scene, (0, 100));
        scene.observed.blue = unready();
        check(&mut scene, own);
        scene.observed.green = serving("v1");
        check(&mut scene, (100, 0));
        scene.observed.blue = serving("v2");
        check(&mut scene, own);
    }
}

#[test]
fn a_lost_green_holds_the_stage_too() {
    let mut scene = Scene::at("Blue_50", &json!({}));
    scene.observed.green = unready();
    scene.settle();
    assert_eq!((scene.weights(), scene.stage().as_str()), ((0, 100), "Blue_50"));
    assert_eq!(scene.waits_for(), Some(WaitReason::ReadyEndpoints));
}

#[test]
fn a_blue_that_serves_something_else_is_not_promoted() {
    let mut scene = Scene::at("Blue_50", &json!({}));
    scene.observed.blue = serving("v9");
    scene.settle();
    assert_eq!(scene.stage(), "Blue_50");
    assert_eq!(scene.waits_for(), Some(WaitReason::CandidateReady));
}

#[test]
fn a_decision_made_again_is_the_same() {
    for stage in ["Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100"] {
        for workload in ["External", "Managed"] {
            for target in ["Blue_50", "Green_100", "Rollback"] {
                let scene = Scene::at(stage, &json!({"target": target, "workload": workload}));
                let first = decide(&scene.rollout, &scene.observed);
                assert_eq!(decide(&scene.rollout, &scene.observed), first);
                let mut rollout = scene.rollout.clone();
                for _ in 0..6 {
                    rollout.status = decide(&rollout, &scene.observed).status;
                }
                let settled = decide(&rollout, &scene.observed);
                assert_eq!(settled.status, rollout.status, "{stage} {workload} {target}");
                assert_eq!(settled.events, []);
            }
        }
    }
}
