//! What the status tells: deadlines, conditions, drift, refusals, Istio.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;
use crate::observation::{GatewayObservation, Obstacle, Rejection};
use crate::render::RouteSelectionError;
use crate::resource::{ConditionStatus, ConditionType};
use crate::testing::unready;

fn condition(scene: &Scene, kind: ConditionType) -> (ConditionStatus, &str) {
    let condition = scene.rollout.status.condition(kind).unwrap();
    (condition.status, &condition.reason)
}

#[test]
fn while_a_rollout_is_under_way_its_status_lists_what_each_live_gateway_gives() {
    let mut scene = Scene::at("Blue_0", &json!({}));
    scene.tick();
    scene.observed.gateways[1] = gateway(1, Weights { green: 100, blue: 0 });
    let mut silent = gateway(2, Weights { green: 0, blue: 0 });
    silent.answers = false;
    let drained = GatewayObservation { serving: false, ..gateway(3, Weights { green: 50, blue: 50 }) };
    scene.observed.gateways.extend([drained, silent]);
    scene.observed.gateways[0].rejected =
        Some(Rejection { revision: "routes-50-50".to_owned(), reason: "document 2: bad".to_owned() });
    scene.decide();
    let listed = scene.rollout.status.gateways.clone();
    let told: Vec<_> = listed.iter().map(|it| (it.name.as_str(), it.weights, it.problem.as_deref())).collect();
    let green = Some(Weights { green: 100, blue: 0 });
    let refuses = Some("it refuses what is published: document 2: bad");
    assert_eq!(
        told,
        [
            ("gateway-0", Some(Weights { green: 50, blue: 50 }), refuses),
            ("gateway-1", green, None),
            ("gateway-2", None, Some("it does not answer"))
        ]
    );
    let mut complete = Scene::at("Green_100", &json!({}));
    complete.tick();
    assert_eq!(complete.rollout.status.gateways, []);
}

#[test]
fn a_gateway_that_does_not_confirm_in_time_stalls_the_rollout_until_it_does() {
    let mut scene = Scene::at("Blue_0", &json!({"confirmDeadlineSeconds": 180}));
    scene.decide();
    let begun = scene.observed.now;
    scene.decide();
    scene.observed.now = begun.plus(180);
    assert_eq!((scene.decide().events, scene.phase()), (vec![], Phase::Progressing));
    scene.observed.now = begun.plus(181);
    assert_eq!(scene.decide().events[0].reason, "DeadlineExceeded");
    assert_eq!((scene.decide().events, scene.phase()), (vec![], Phase::Stalled), "it is told once");
    assert_eq!(condition(&scene, ConditionType::Progressing), (ConditionStatus::False, "DeadlineExceeded"));
    scene.take(Weights { green: 50, blue: 50 });
    scene.decide();
    assert_eq!(scene.stage(), "Blue_50");
    assert_eq!(condition(&scene, ConditionType::Progressing), (ConditionStatus::True, "Progressing"));
}

#[test]
fn a_candidate_that_does_not_become_ready_in_time_stalls_the_rollout() {
    let mut scene = Scene::at("Blue_0", &json!({"readyDeadlineSeconds": 600}));
    scene.observed.blue = unready();
    scene.settle();
    scene.observed.now = scene.observed.now.plus(601);
    scene.settle();
    assert_eq!((scene.phase(), scene.stage().as_str()), (Phase::Stalled, "Blue_0"));
}

#[test]
fn a_refusing_gateway_is_named_with_its_reason() {
    let mut scene = Scene::at("Blue_0", &json!({}));
    scene.tick();
    let former = gateway(1, Weights { green: 100, blue: 0 });
    let rejected = Rejection { revision: "routes-50-50".to_owned(), reason: "unknown field".to_owned() };
    scene.observed.gateways[1] = crate::GatewayObservation { rejected: Some(rejected), ..former };
    let decision = scene.decide();
    assert_eq!(decision.events.iter().map(|event| event.reason).collect::<Vec<_>>(), ["RoutesRejected"]);
    assert_eq!(
        scene.message(),
        "Blue_50: waiting for confirmation: 1 of 2 gateways report revision routes-5…, gateway-1 refuses it (unknown field)"
    );
    assert_eq!(condition(&scene, ConditionType::Confirmed), (ConditionStatus::False, "Rejected"));
    assert_eq!(scene.decide().events, []);
}

#[test]
fn a_condition_keeps_its_time_while_its_status_stays() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Blue_50"}));
    let since = |scene: &Scene| scene.rollout.status.condition(ConditionType::Healthy).unwrap().last_transition_time;
    scene.settle();
    let first = scene.observed.now;
    scene.observed.now = first.plus(10);
    scene.settle();
    assert_eq!(since(&scene), first);
    scene.observed.blue = unready();
    scene.settle();
    assert_eq!(since(&scene), first.plus(10));
    assert_eq!(condition(&scene, ConditionType::Healthy), (ConditionStatus::False, "WeightMoved"));
}

#[test]
fn weights_that_somebody_else_published_are_put_back() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Blue_50"}));
    scene.settle();
    scene.take(Weights { green: 20, blue: 80 });
    let decision = scene.tick();
    assert_eq!(decision.weights, Some(Weights { green: 50, blue: 50 }));
    assert_eq!(
        decision.events[0].message,
        "green 20, blue 80 was published by somebody else, green 50, blue 50 is right and is put back"
    );
    assert_eq!(scene.tick().events, []);
}

#[test]
fn an_invalid_spec_changes_nothing_and_is_told_once() {
    let mut scene = Scene::at("Blue_50", &json!({}));
    scene.rollout.spec.confirm_deadline_seconds = 0;
    let decision = scene.decide();
    assert_eq!((decision.weights, scene.phase()), (Some(Weights { green: 50, blue: 50 }), Phase::Invalid));
    assert!(scene.message().starts_with("Blue_50: spec.confirmDeadlineSeconds: must"), "{}", scene.message());
    assert_eq!((decision.events.len(), scene.decide().events.len()), (1, 0));
    assert_eq!(condition(&scene, ConditionType::Accepted), (ConditionStatus::False, "Invalid"));
    scene.observed.blue = unready();
    scene.decide();
    assert_eq!(scene.weights(), (100, 0), "the laws go on");
    scene.observed.blue = serving("v2");
    scene.rollout.spec.confirm_deadline_seconds = 180;
    scene.settle();
    assert_eq!(
        (scene.stage().as_str(), condition(&scene, ConditionType::Accepted).0),
        ("Blue_Green", ConditionStatus::True)
    );
}

fn lose_the_rule(scene: &mut Scene) {
    scene.observed.route = Err(RouteSelectionError::VirtualServiceNotFound("abtesting/model".to_owned()));
}

#[test]
fn a_rule_that_is_not_there_is_a_condition_and_what_is_published_of_it_keeps_its_weights() {
    let mut scene = Scene::at("Blue_50", &json!({}));
    lose_the_rule(&mut scene);
    for _ in 0..3 {
        let decision = scene.decide();
        assert_eq!((decision.weights, scene.stage().as_str()), (Some(Weights { green: 50, blue: 50 }), "Blue_50"));
        assert_eq!((scene.phase(), scene.waits_for()), (Phase::Invalid, Some(WaitReason::Route)));
    }
    assert_eq!(condition(&scene, ConditionType::Accepted), (ConditionStatus::False, "RouteNotFound"));
    scene.observed.blue = unready();
    scene.decide();
    assert_eq!(scene.weights(), (100, 0), "the laws go on");
    scene.observed.published = None;
    assert_eq!(scene.decide().weights, None, "what was never published has no weights");
}

#[test]
fn going_back_needs_nothing_but_what_is_published() {
    for stage in ["Blue_0", "Blue_50", "Blue_100", "Blue_Green"] {
        for reason in ["RouteNotFound", "Invalid"] {
            let mut scene = Scene::at(stage, &json!({}));
            scene.target("Rollback");
            match reason {
                "Invalid" => scene.rollout.spec.confirm_deadline_seconds = 0,
                _ => lose_the_rule(&mut scene),
            }
            scene.settle();
            assert_eq!((scene.stage().as_str(), scene.weights()), ("Rollback", (100, 0)), "{stage} {reason}");
            assert_eq!(
                (scene.phase(), scene.rollout.status.safe_to_remove.as_slice()),
                (Phase::RolledBack, [Backend::Blue].as_slice())
            );
            assert!(scene.message().starts_with("Rollback: green serves everything with revision v1, and blue may be"));
            assert_eq!(condition(&scene, ConditionType::Accepted), (ConditionStatus::False, reason), "{stage}");
        }
    }
}

#[test]
fn a_backend_that_is_renamed_keeps_its_weight_until_gateways_know_the_new_name() {
    for (renamed, stage, weights) in [("green", "Green_100", (100, 0)), ("blue", "Blue_50", (50, 50))] {
        let mut scene = Scene::at(stage, &json!({"target": stage}));
        scene.settle();
        let spec = &mut scene.rollout.spec;
        let backend = if renamed == "green" { &mut spec.green } else { &mut spec.blue };
        backend.host = "another".to_owned();
        scene.observed.published = None;
        for gateway in &mut scene.observed.gateways {
            let load = if renamed == "green" { &mut gateway.green } else { &mut gateway.blue };
            *load = crate::Load::default();
        }
        scene.decide();
        assert_eq!(scene.weights(), weights, "{renamed}");
    }
}

#[test]
fn a_rule_that_another_rollout_governs_is_left_alone() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Rollback"}));
    let (place, by) = ("VirtualService abtesting/model spec.http[0]".to_owned(), "abtesting/older".to_owned());
    scene.observed.route = Err(RouteSelectionError::AlreadyGoverned { place, by });
    let decision = scene.decide();
    assert_eq!((decision.weights, decision.status.rollback, scene.phase()), (None, None, Phase::Invalid));
}

#[test]
fn istio_is_given_time_to_settle() {
    let mut scene = Scene::at("Blue_0", &json!({"mode": "Istio", "target": "Blue_50"}));
    let tick = |scene: &mut Scene, seconds| {
        scene.observed.now = scene.observed.now.plus(seconds);
        scene.tick();
        scene.observed.gateways.clear();
    };
    scene.observed.gateways.clear();
    scene.rollout.status.weights = Some(Weights { green: 100, blue: 0 });
    scene.rollout.status.weights_since = Some(scene.observed.now);
    tick(&mut scene, 14);
    assert_eq!(scene.weights(), (100, 0), "a stage is left only once it has settled");
    tick(&mut scene, 1);
    assert_eq!(scene.weights(), (50, 50));
    tick(&mut scene, 1);
    tick(&mut scene, 14);
    assert_eq!(scene.stage(), "Blue_0");
    assert_eq!(
        scene.message(),
        "Blue_50: waiting for confirmation: Istio reports nothing, so weights count as settled 15 s after they were \
         published"
    );
    tick(&mut scene, 1);
    assert_eq!(scene.stage(), "Blue_50");
    assert_eq!(condition(&scene, ConditionType::Confirmed), (ConditionStatus::Unknown, "Settled"));
    assert!(scene.rollout.status.history[0].confirmed_by.is_empty());
}

#[test]
fn the_history_is_bounded() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Blue_50"}));
    for round in 0..100 {
        scene.rollout.spec.attempt = round;
        scene.settle();
    }
    assert_eq!(scene.rollout.status.history.len(), 50);
}

#[test]
fn the_status_answers_a_generation_and_survives_being_written() {
    let mut scene = Scene::at("Blue_50", &json!({"steps": steps(&[("Blue_50", json!([{"pause": "5s"}]))])}));
    scene.rollout.metadata.generation = Some(7);
    scene.settle();
    assert_eq!(scene.rollout.status.observed_generation, Some(7));
    let written = serde_json::to_string(&scene.rollout).unwrap();
    assert_eq!(serde_json::from_str::<ModelRollout>(&written).unwrap(), scene.rollout);
}

#[test]
fn reached_means_passed_too() {
    let mut scene = Scene::at("Blue_50", &json!({"target": "Blue_50"}));
    let reached =
        |scene: &Scene, revision: &str, stage: &str| scene.rollout.status.has_reached(revision, stage.parse().unwrap());
    assert!(reached(&scene, "v2", "Blue_0") && reached(&scene, "v2", "Blue_50"));
    assert!(!reached(&scene, "v2", "Blue_100") && !reached(&scene, "v3", "Blue_0"));
    assert!(reached(&scene, "v1", "Green_100"));
    scene.target("Rollback");
    scene.decide();
    assert!(!reached(&scene, "v2", "Blue_50"), "what goes back has reached nothing");
}

#[test]
fn tools_that_know_of_no_rollouts_see_ready_reconciling_or_stalled() {
    use ConditionType::{Ready, Reconciling, Stalled};
    let check = |scene: &Scene, expected: ConditionType| {
        for kind in [Ready, Reconciling, Stalled] {
            let status = condition(scene, kind).0;
            assert_eq!(status == ConditionStatus::True, kind == expected, "{kind:?}: {}", scene.message());
        }
    };
    let mut scene = Scene::at("Blue_50", &json!({"target": "Blue_50"}));
    scene.settle();
    check(&scene, Ready);
    scene.target("Blue_100");
    scene.decide();
    check(&scene, Reconciling);
    scene.settle();
    check(&scene, Ready);
    scene.observed.obstacle = Some(Obstacle { reason: "Forbidden", message: "a right is missing".to_owned() });
    scene.decide();
    check(&scene, Stalled);
    scene.observed.obstacle = None;
    scene.rollout.spec.confirm_deadline_seconds = 0;
    scene.decide();
    check(&scene, Stalled);
    scene.rollout.spec.confirm_deadline_seconds = 180;
    scene.target("Rollback");
    scene.decide();
    check(&scene, Reconciling);
    scene.settle();
    check(&scene, Ready);
    let mut scene = Scene::at("Green_100", &json!({}));
    scene.settle();
    check(&scene, Ready);
}
