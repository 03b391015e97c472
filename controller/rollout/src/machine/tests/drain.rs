//! What is waited for before a backend is replaced or removed: requests that a weight sent there, and, before blue goes,
//! those that ask for it by name.

use super::*;
use crate::observation::Load;

/// So many requests in flight at both gateways.
fn in_flight(by_name: u64, by_split: u64) -> impl Fn(&mut Load) {
    move |load| (load.in_flight, load.in_flight_by_split) = (by_name + by_split, by_split)
}

fn at_green(scene: &mut Scene, set: impl Fn(&mut Load)) {
    scene.observed.gateways.iter_mut().for_each(|gateway| set(&mut gateway.green));
}

fn at_blue(scene: &mut Scene, set: impl Fn(&mut Load)) {
    scene.observed.gateways.iter_mut().for_each(|gateway| set(&mut gateway.blue));
}

fn wait(scene: &mut Scene, seconds: u64) -> Decision {
    scene.observed.now = scene.observed.now.plus(seconds);
    scene.decide()
}

#[test]
fn a_replacement_waits_for_what_the_weight_sent_and_not_for_what_asks_by_name() {
    for workload in ["External", "Managed"] {
        let mut scene = Scene::at("Blue_Green", &json!({"workload": workload}));
        let may_go = |decision: &Decision| {
            !decision.actions.is_empty() || decision.status.safe_to_remove.contains(&Backend::Green)
        };
        at_green(&mut scene, in_flight(20, 1));
        assert!(!may_go(&scene.decide()), "{workload}");
        assert_eq!(scene.waits_for(), Some(WaitReason::Drain), "{workload}");
        let message = scene.message();
        assert!(message.ends_with("green has requests in flight that its weight sent there"), "{message}");
        at_green(&mut scene, in_flight(20, 0));
        assert!(may_go(&scene.decide()), "{workload}");
        assert_eq!(scene.waits_for(), Some(WaitReason::CandidateReady), "{workload}");
    }
}

#[test]
fn blue_goes_after_everybody_or_as_the_user_chose_when_the_deadline_is_over() {
    for (workload, choice) in [("External", "Hold"), ("External", "Remove"), ("Managed", "Hold"), ("Managed", "Remove")]
    {
        let case = format!("{workload} {choice}");
        let spec = json!({"workload": workload, "onDrainDeadline": choice, "drainDeadlineSeconds": 60});
        let mut scene = Scene::at("Green_100", &spec);
        let goes = |decision: &Decision| {
            let is_removed = decision.actions.contains(&Action::Remove { backend: Backend::Blue });
            is_removed || decision.status.safe_to_remove.contains(&Backend::Blue)
        };
        at_blue(&mut scene, in_flight(9, 0));
        assert!(!goes(&scene.decide()), "{case}");
        assert!(!goes(&wait(&mut scene, 60)), "{case}");
        let overdue = wait(&mut scene, 1);
        assert_eq!((scene.phase(), goes(&overdue)), (Phase::Stalled, false), "{case}: it is told first");
        let told = &overdue.events[0].message;
        assert!(
            told.ends_with("gateway-0 has 9, 0 of them by weight; gateway-1 has 9, 0 of them by weight"),
            "{case}: {told}"
        );
        let after = wait(&mut scene, 1);
        assert_eq!(goes(&after), choice == "Remove", "{case}");
        let later = wait(&mut scene, 1);
        assert_eq!(goes(&later), choice == "Remove", "{case}: nor does it begin anew");
    }
}

#[test]
fn what_is_in_flight_stands_in_no_status() {
    for (spec, stage) in [("External", "Green_100"), ("Managed", "Green_100"), ("Managed", "Blue_Green")] {
        let mut scene = Scene::at(stage, &json!({"workload": spec}));
        let mut statuses = Vec::new();
        for requests in [3, 2, 7] {
            at_blue(&mut scene, in_flight(requests, requests));
            at_green(&mut scene, in_flight(requests, requests));
            statuses.push(scene.decide().status);
        }
        assert!(statuses.windows(2).all(|pair| pair[0] == pair[1]), "{spec} {stage}: {statuses:#?}");
    }
}

#[test]
fn what_was_called_safe_to_remove_stays_so_though_somebody_asks_for_it() {
    let mut scene = Scene::at("Green_100", &json!({}));
    assert_eq!(scene.decide().status.safe_to_remove, [Backend::Blue]);
    at_blue(&mut scene, in_flight(1, 0));
    assert_eq!(scene.decide().status.safe_to_remove, [Backend::Blue]);
    scene.observed.gateways[0].blue.weight = 1;
    assert_eq!(scene.decide().status.safe_to_remove, [], "unless it may get requests by weight");
}

#[test]
fn a_gateway_that_is_lost_holds_a_removal_up_until_the_deadline() {
    let spec = json!({"workload": "Managed", "onDrainDeadline": "Remove", "drainDeadlineSeconds": 60});
    let mut scene = Scene::at("Green_100", &spec);
    (scene.observed.gateways[1].serving, scene.observed.gateways[1].answers) = (false, false);
    assert_eq!((scene.decide().actions, scene.waits_for()), (vec![], Some(WaitReason::Drain)));
    wait(&mut scene, 61);
    assert_eq!(wait(&mut scene, 1).actions, [Action::Remove { backend: Backend::Blue }]);
    let mut scene = Scene::at("Green_100", &spec);
    (scene.observed.gateways[1].active, scene.observed.gateways[1].answers) = (None, false);
    scene.decide();
    wait(&mut scene, 61);
    assert_eq!(wait(&mut scene, 1).actions, [], "one that serves and does not answer may give it weight");
}
