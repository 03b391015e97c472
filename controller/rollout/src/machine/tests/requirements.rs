//! What a stage requires: open, waiting and failed, and how they go together.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;
use crate::resource::RequirementState::{self, Open, Waiting};

const STAGE: &str = "Blue_50";

fn requiring(require: Value) -> Scene {
    Scene::at(STAGE, &json!({"steps": steps(&[(STAGE, require), ("Blue_100", json!([]))])}))
}

impl Scene {
    fn states(&self) -> Vec<RequirementState> {
        self.rollout.status.requirements.iter().map(|one| one.state).collect()
    }

    fn promote(&mut self) {
        self.rollout.promote(None, false).unwrap();
    }

    fn after(&mut self, seconds: u64) {
        self.observed.now = self.rollout.status.stage_since.unwrap().plus(seconds);
    }
}

#[test]
fn an_approval_is_waited_for_and_given_by_a_promotion() {
    let mut scene = requiring(json!([{"approval": {}}]));
    scene.target("Green_100");
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.states()), (STAGE, vec![Waiting]), "a target is no approval");
    assert_eq!(scene.message(), "Blue_50: waiting for approval: promote to go on");
    assert_eq!((scene.waits_for(), scene.phase()), (Some(WaitReason::Requirements), Phase::Holding));
    scene.promote();
    scene.tick();
    assert_eq!(scene.states(), [Open]);
    scene.settle();
    assert_ne!(scene.stage(), STAGE);
}

#[test]
fn a_pause_lasts_from_the_moment_the_stage_was_reached() {
    let mut scene = requiring(json!([{"pause": "1m"}]));
    let reached = scene.observed.now;
    scene.settle();
    let waiting = scene.rollout.status.waiting.clone().unwrap();
    assert_eq!((waiting.reason, waiting.until), (WaitReason::Requirements, Some(reached.plus(60))));
    let message = format!("Blue_50: pausing 1m after Blue_50 was reached, until {}", reached.plus(60));
    assert_eq!((scene.message(), scene.phase()), (message.as_str(), Phase::Holding));
    scene.after(59);
    scene.settle();
    assert_eq!(scene.stage(), STAGE);
    scene.after(60);
    scene.settle();
    assert_ne!(scene.stage(), STAGE);
}

/// Each requirement alone and with the other one, in either order: the stage is left when all are open and not before.
#[test]
fn all_requirements_must_be_open() {
    let both = [json!({"pause": "1m"}), json!({"approval": {}})];
    for reversed in [false, true] {
        for (is_over, is_approved) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut require = both.to_vec();
            let mut expected = vec![if is_over { Open } else { Waiting }, if is_approved { Open } else { Waiting }];
            if reversed {
                require.reverse();
                expected.reverse();
            }
            let mut scene = requiring(json!(require));
            if is_over {
                scene.after(60);
            }
            if is_approved {
                scene.promote();
            }
            scene.tick();
            assert_eq!(scene.states(), expected, "{reversed} {is_over} {is_approved}");
            scene.settle();
            assert_eq!(scene.stage() != STAGE, is_over && is_approved, "{reversed} {is_over} {is_approved}");
        }
    }
}

#[test]
fn a_message_says_all_that_is_waited_for() {
    let mut scene = requiring(json!([{"approval": {}}, {"pause": "1h30m"}]));
    scene.settle();
    let until = scene.observed.now.plus(5_400);
    let approval = "waiting for approval: promote to go on";
    assert_eq!(scene.message(), format!("Blue_50: {approval}; pausing 1h30m after Blue_50 was reached, until {until}"));
}

#[test]
fn a_promotion_ends_a_pause_where_no_approval_is_required() {
    let mut scene = requiring(json!([{"pause": "1h"}]));
    scene.settle();
    scene.promote();
    scene.settle();
    assert_ne!(scene.stage(), STAGE);
}

#[test]
fn requirements_that_are_skipped_are_open() {
    let mut scene = requiring(json!([{"pause": "1h"}, {"approval": {}}]));
    scene.settle();
    assert_eq!(scene.states(), [Waiting, Waiting]);
    scene.rollout.promote(None, true).unwrap();
    scene.tick();
    assert_eq!(scene.states(), [Open, Open]);
    scene.settle();
    assert_ne!(scene.stage(), STAGE);
}

#[test]
fn a_stage_for_which_the_list_is_empty_is_left_at_once_and_the_target_still_stops_it() {
    let mut scene = requiring(json!([]));
    scene.target(STAGE);
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.waits_for()), (STAGE, Some(WaitReason::Promotion)));
    scene.rollout.spec.target = None;
    scene.settle();
    assert_ne!(scene.stage(), STAGE);
}

#[test]
fn requirements_are_those_of_the_stage_that_is_reached() {
    let mut scene = requiring(json!([{"approval": {}}]));
    scene.settle();
    scene.promote();
    scene.decide();
    assert_eq!(scene.rollout.status.requirements.len(), 1, "what let it go on stands there while it goes");
    scene.settle();
    assert_eq!(scene.rollout.status.requirements, []);
}
