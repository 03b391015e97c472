//! The way forward: order, work, confirmation, promotion.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;
use crate::testing::{absent, unready};

#[test]
fn the_stages_are_passed_in_order_and_each_is_confirmed() {
    let open = ["Blue_0", "Blue_0.5", "Blue_50", "Blue_100", "Blue_Green"].map(|stage| (stage, json!([])));
    let mut scene = Scene::new(&json!({"steps": steps(&open)}));
    let mut seen = Vec::new();
    for _ in 0..30 {
        scene.tick();
        if seen.last() != Some(&scene.stage()) {
            seen.push(scene.stage());
        }
        if scene.stage() == "Blue_Green" {
            scene.observed.green = serving("v2");
        }
    }
    assert_eq!(seen, ["Blue_0", "Blue_0.5", "Blue_50", "Blue_100", "Blue_Green", "Green_100"]);
    let status = &scene.rollout.status;
    assert_eq!((status.stable_revision.as_deref(), status.previous_revision.as_deref()), (Some("v2"), Some("v1")));
    assert_eq!(status.candidate, None);
    let steps: Vec<_> = status.history.iter().map(|step| (step.to.to_string(), step.routes_revision.clone())).collect();
    assert_eq!(steps[2], ("Blue_50".to_owned(), Some("routes-50-50".to_owned())));
    assert!(status.history.iter().all(|step| step.confirmed_by == ["gateway-0", "gateway-1"]));
    assert!(status.history.iter().all(|step| step.revision.as_deref() == Some("v2")));
}

#[test]
fn blue_gets_weight_only_when_it_serves_the_candidate_warm_and_everywhere() {
    let spec = json!({"warmUp": {"path": "/score"}});
    let check = |change: fn(&mut Observation), reason, message: &str| {
        let mut scene = Scene::at("Blue_0", &spec);
        change(&mut scene.observed);
        scene.tick();
        assert_eq!((scene.weights(), scene.waits_for()), ((100, 0), Some(reason)));
        assert_eq!(scene.message(), format!("Blue_0: {message}"));
        scene.observed = observation(100, 0);
        scene.tick();
        assert_eq!(scene.weights(), (50, 50), "{message}");
    };
    let ready = WaitReason::CandidateReady;
    let text = "waiting for blue to serve revision v2";
    check(|seen| seen.blue = absent(), ready, &format!("{text}: it does not exist"));
    check(|seen| seen.blue = unready(), ready, &format!("{text}: it has no ready endpoints"));
    check(|seen| seen.blue = serving("v0"), ready, &format!("{text}: its 2 ready endpoints serve v0"));
    check(|seen| seen.blue.revision = None, ready, &format!("{text}: what its 2 ready endpoints serve is not known"));
    check(|seen| seen.blue.warmed = false, WaitReason::WarmUp, "warming up blue");
    check(
        |seen| seen.gateways[1].blue.endpoints = 0,
        WaitReason::EndpointsSeen,
        "waiting until every gateway sees an endpoint of blue: gateway-1 sees none",
    );
}

#[test]
fn warming_is_asked_for_only_where_the_spec_has_requests_for_it() {
    let mut scene = Scene::at("Blue_0", &json!({"warmUp": {"path": "/score"}}));
    scene.observed.blue.warmed = false;
    assert_eq!(scene.tick().actions, [Action::WarmUp { backend: Backend::Blue }]);
    let mut scene = Scene::at("Blue_0", &json!({}));
    scene.observed.blue.warmed = false;
    assert_eq!(scene.tick().actions, []);
    assert_eq!(scene.weights(), (50, 50));
}

/// A status as releases before `spec.steps` wrote it, to which a target was a bound and no promotion.
#[test]
fn a_gate_that_was_waited_at_before_an_upgrade_is_opened_by_a_promotion() {
    for target in [Some("Blue_50"), Some("Blue_100"), Some("Green_100"), None] {
        let mut scene = Scene::at("Blue_50", &json!({"steps": null, "target": target}));
        let waiting = json!({"reason": "Gate", "since": scene.observed.now});
        scene.rollout.status.waiting = serde_json::from_value(waiting).unwrap();
        scene.rollout.status.observed_generation = scene.rollout.metadata.generation;
        scene.settle();
        assert_eq!((scene.stage().as_str(), scene.phase()), ("Blue_50", Phase::Holding), "{target:?}");
        // Whatever else it waits for meanwhile.
        let blue = std::mem::replace(&mut scene.observed.blue, unready());
        scene.settle();
        scene.observed.blue = blue;
        scene.settle();
        assert_eq!(scene.stage(), "Blue_50", "{target:?}");
        scene.rollout.promote(None, false).unwrap();
        scene.rollout.metadata.generation = Some(2);
        scene.settle();
        assert_eq!(scene.weights(), (0, 100), "{target:?}");
    }
}

#[test]
fn without_steps_each_stage_is_left_when_it_is_promoted_or_the_target_lies_behind_it() {
    for stage in ["Blue_0", "Blue_50", "Blue_100", "Blue_Green"] {
        let mut scene = Scene::at(stage, &json!({"steps": null}));
        if stage == "Blue_Green" {
            scene.observed.green = serving("v2");
        }
        scene.settle();
        assert_eq!((scene.stage().as_str(), scene.phase()), (stage, Phase::Holding));
        assert_eq!(scene.message(), format!("{stage}: promote to go on"));
        assert_eq!(scene.waits_for(), Some(WaitReason::Promotion));
        scene.target("Green_100");
        assert_ne!(
            scene.settle().status.stage,
            Some(Target::Stage(stage.parse().unwrap())),
            "the target lies behind it"
        );
    }
    let mut scene = Scene::at("Blue_0", &json!({"steps": null}));
    for (revision, attempt, stage) in
        [("v1", 0, "Blue_0"), ("v2", 1, "Blue_0"), ("v2", 0, "Blue_100"), ("v2", 0, "Blue_50")]
    {
        scene.approve(revision, attempt, stage);
        scene.settle();
        assert_eq!(scene.stage(), "Blue_0", "{revision} {attempt} {stage}");
    }
    scene.approve("v2", 0, "Blue_0");
    scene.settle();
    assert_eq!(scene.stage(), "Blue_50", "one promotion is of one stage");
}

#[test]
fn blue_0_is_reached_once_blue_is_there_ready_and_warm() {
    let mut scene = Scene::new(&json!({"steps": null, "warmUp": {"path": "/score"}}));
    let check = |scene: &mut Scene, blue, message: &str| {
        scene.observed.blue = blue;
        scene.settle();
        assert_eq!((scene.stage().as_str(), scene.message(), scene.phase()), ("", message, Phase::Progressing));
    };
    let waiting = "Blue_0: waiting for blue to serve revision v2";
    check(&mut scene, absent(), &format!("{waiting}: it does not exist"));
    check(&mut scene, unready(), &format!("{waiting}: it has no ready endpoints"));
    let cold = crate::BackendObservation { warmed: false, ..serving("v2") };
    check(&mut scene, cold, "Blue_0: warming up blue");
    scene.observed.blue = serving("v2");
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.message()), ("Blue_0", "Blue_0: promote to go on"));
}

#[test]
fn a_stage_is_reached_only_when_every_live_gateway_has_it() {
    let mut scene = Scene::at("Blue_0", &json!({}));
    scene.tick();
    scene.observed.gateways[1] = gateway(1, Weights { green: 100, blue: 0 });
    scene.tick();
    assert_eq!(scene.stage(), "Blue_0");
    scene.observed.gateways[1] = gateway(1, Weights { green: 100, blue: 0 });
    scene.decide();
    assert_eq!(
        scene.message(),
        "Blue_50: waiting for confirmation: 1 of 2 gateways report revision routes-5…, gateway-1 still has routes-1…"
    );
    scene.observed.gateways.clear();
    scene.decide();
    assert_eq!(scene.stage(), "Blue_0", "nobody confirms where nobody lives");
    scene.take(Weights { green: 50, blue: 50 });
    scene.decide();
    assert_eq!(scene.stage(), "Blue_50");
}

#[test]
fn the_target_is_where_it_stops() {
    let mut scene = Scene::new(&json!({"target": "Blue_0"}));
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.phase()), ("Blue_0", Phase::Holding));
    assert_eq!(scene.message(), "Blue_0: it is the target: promote to go on");
    scene.target("Blue_100");
    scene.settle();
    assert_eq!(scene.stage(), "Blue_100");
    scene.target("Blue_50");
    scene.settle();
    assert_eq!(scene.stage(), "Blue_100", "only a rollback goes back");
    assert_eq!(scene.message(), "Blue_100: the target Blue_50 lies before it: promote to go on, or roll back");
}

#[test]
fn a_pause_by_hand_stops_the_way_forward_and_nothing_else() {
    let mut scene = Scene::at("Blue_0", &json!({}));
    scene.tick();
    scene.rollout.spec.paused = true;
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.phase()), ("Blue_50", Phase::Paused), "what was begun is confirmed");
    scene.observed.blue = unready();
    scene.settle();
    assert_eq!(scene.weights(), (100, 0), "the laws go on");
    scene.target("Rollback");
    scene.settle();
    assert_eq!(scene.stage(), "Rollback", "and so does a rollback");
}

#[test]
fn green_takes_over_only_when_it_is_ready_on_the_new_image() {
    let check = |change: fn(&mut Observation)| {
        let mut scene = Scene::at("Blue_Green", &json!({"warmUp": {"path": "/score"}}));
        scene.observed.green = serving("v2");
        change(&mut scene.observed);
        scene.settle();
        assert_eq!((scene.stage().as_str(), scene.weights()), ("Blue_Green", (0, 100)));
        scene.observed.green = serving("v2");
        scene.settle();
        assert_eq!((scene.stage().as_str(), scene.weights()), ("Green_100", (100, 0)));
    };
    check(|seen| seen.green = absent());
    check(|seen| seen.green = unready());
    check(|seen| seen.green = serving("v1"));
    check(|seen| seen.green.revision = None);
    check(|seen| seen.green.warmed = false);
    check(|seen| seen.green.ready_endpoints = 0);
}

#[test]
fn green_is_replaced_only_when_nothing_needs_it() {
    let check = |change: fn(&mut Observation), why: &str| {
        for workload in ["Managed", "External"] {
            let mut scene = Scene::at("Blue_Green", &json!({"workload": workload}));
            change(&mut scene.observed);
            let decision = scene.decide();
            assert_eq!(decision.actions, [], "{why}");
            assert_eq!(decision.status.safe_to_remove, [], "{why}");
        }
    };
    check(|seen| seen.gateways[0].green.in_flight_by_split = 1, "requests in flight");
    check(|seen| seen.gateways[1].green.weight = 50, "weight at a gateway");
    check(|seen| seen.gateways[1].active = None, "a gateway that cannot be read");
    check(|seen| drain(&mut seen.gateways[1]).active = Some("older".to_owned()), "one that drains with older routes");
    check(|seen| drain(&mut seen.gateways[1]).answers = false, "one that drains and does not answer");
    check(|seen| drain(&mut seen.gateways[1]).green.in_flight_by_split = 1, "one that drains with a request");
    check(|seen| seen.blue = unready(), "blue cannot serve");
    check(|seen| seen.published = None, "nothing is published");
    let mut scene = Scene::at("Blue_Green", &json!({"workload": "Managed"}));
    assert_eq!(scene.decide().actions, [deploy(Backend::Green, "v2")]);
    let mut scene = Scene::at("Blue_Green", &json!({}));
    let decision = scene.decide();
    assert_eq!((decision.actions, decision.status.safe_to_remove), (vec![], vec![Backend::Green]));
}

#[test]
fn blue_goes_when_it_is_drained_and_green_can_serve() {
    let check = |change: fn(&mut Observation), reason| {
        let mut scene = Scene::at("Green_100", &json!({"workload": "Managed"}));
        change(&mut scene.observed);
        let decision = scene.decide();
        assert_eq!((decision.actions, scene.waits_for()), (vec![], Some(reason)));
    };
    check(|seen| seen.gateways[0].blue.in_flight_by_split = 3, WaitReason::Drain);
    check(|seen| seen.gateways[0].blue.weight = 1, WaitReason::Drain);
    check(|seen| seen.gateways[0].active = Some("older".to_owned()), WaitReason::Drain);
    check(|seen| seen.green = unready(), WaitReason::ReadyEndpoints);
    let mut scene = Scene::at("Green_100", &json!({"workload": "Managed"}));
    assert_eq!(scene.decide().actions, [Action::Remove { backend: Backend::Blue }]);
    scene.observed.blue = absent();
    assert!(!scene.rollout.status.is_idle());
    scene.settle();
    assert!(scene.rollout.status.is_idle());
    assert_eq!(
        (scene.phase(), scene.message()),
        (Phase::Complete, "Green_100: green serves everything with revision v2")
    );
    let mut scene = Scene::at("Green_100", &json!({}));
    let decision = scene.settle();
    assert_eq!((decision.actions, decision.status.safe_to_remove), (vec![], vec![Backend::Blue]));
    assert_eq!(scene.phase(), Phase::Complete);
}

#[test]
fn a_newer_revision_first_takes_the_weight_from_blue() {
    let mut scene = Scene::at("Blue_50", &json!({"workload": "Managed", "target": "Blue_0"}));
    scene.rollout.spec.revision = Some("v3".to_owned());
    let decision = scene.tick();
    assert_eq!((scene.weights(), decision.actions), ((100, 0), vec![]), "blue is not replaced while it has weight");
    assert_eq!(decision.events[0].message, "revision v3 takes the place of v2");
    scene.observed.gateways[0].blue.in_flight_by_split = 1;
    scene.decide();
    assert_eq!(scene.position(), "Blue_0");
    assert_eq!(scene.decide().actions, [], "nor while it answers requests");
    scene.observed.gateways[0].blue.in_flight_by_split = 0;
    assert_eq!(scene.decide().actions, [deploy(Backend::Blue, "v3")]);
    scene.observed.blue = serving("v3");
    scene.target("Blue_50");
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.weights()), ("Blue_50", (50, 50)));
}

#[test]
fn a_newer_revision_waits_while_green_is_being_replaced() {
    let mut scene = Scene::at("Blue_Green", &json!({"revision": "v3", "target": "Blue_0"}));
    scene.settle();
    assert_eq!(scene.stage(), "Blue_Green");
    assert!(scene.message().ends_with("; revision v3 is next"), "{}", scene.message());
    scene.observed.green = serving("v2");
    scene.settle();
    assert_eq!(scene.rollout.status.stable_revision.as_deref(), Some("v2"));
    assert_eq!(scene.position(), "Blue_0", "then v3 begins, up to its own target");
    assert_eq!(scene.rollout.status.candidate.as_ref().unwrap().revision, "v3");
}

#[test]
fn the_stable_revision_is_not_rolled_out_again() {
    let mut scene = Scene::new(&json!({"revision": "v1"}));
    let decision = scene.settle();
    assert_eq!((scene.stage().as_str(), scene.weights(), decision.events), ("Green_100", (100, 0), vec![]));
}

#[test]
fn a_template_starts_a_rollout_where_no_revision_is_named() {
    let mut scene = Scene::new(&json!({"workload": "Managed", "template": {}, "revision": null, "target": "Blue_0"}));
    scene.observed.template_revision = Some("v7".to_owned());
    scene.observed.blue = absent();
    scene.tick();
    assert_eq!(scene.decide().actions, [deploy(Backend::Blue, "v7")]);
}

#[test]
fn a_managed_backend_that_somebody_deleted_is_made_again() {
    let mut scene = Scene::at("Blue_50", &json!({"workload": "Managed"}));
    scene.observed.blue = absent();
    assert_eq!(scene.decide().actions, [deploy(Backend::Blue, "v2")]);
    scene.observed.blue = serving("v2");
    scene.observed.green = absent();
    assert_eq!(scene.decide().actions, [deploy(Backend::Green, "v1")]);
}

#[test]
fn the_list_of_stages_may_change_under_way() {
    let mut scene = Scene::at("Blue_25", &json!({"steps": null}));
    scene.approve("v2", 0, "Blue_25");
    scene.tick();
    assert_eq!(scene.rollout.status.moving_to, Some(Target::Stage(Stage::BLUE_50)));
}

fn drain(gateway: &mut crate::GatewayObservation) -> &mut crate::GatewayObservation {
    gateway.serving = false;
    gateway
}
