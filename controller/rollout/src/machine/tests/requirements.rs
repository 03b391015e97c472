//! What a stage requires: open, waiting and failed, and how they go together.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;
use crate::observation::Reply;
use crate::render::RouteSelectionError;
use crate::resource::RequirementState::{self, Failed, Open, Waiting};
use crate::resource::{RollbackReason, Webhook};

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
fn no_end_is_told_of_a_pause_that_nobody_waits_for_any_more() {
    let mut scene = requiring(json!([{"pause": "1h"}, {"webhook": {"url": "https://gate.example/"}}]));
    scene.settle();
    let until = |scene: &Scene| scene.rollout.status.waiting.as_ref().unwrap().until;
    assert!(until(&scene).is_some());
    scene.promote();
    scene.tick();
    assert_eq!((scene.states(), until(&scene)), (vec![Open, Waiting], None));
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

/// What a webhook is asked, if it is.
fn question(decision: &Decision) -> Option<crate::Question> {
    decision.actions.iter().find_map(|action| match action {
        Action::Ask(question) => Some(question.clone()),
        _ => None,
    })
}

impl Scene {
    fn asking(spec: &Value) -> Self {
        let require = json!([{"webhook": {"url": "https://a.example/allow?code=secret", "metadata": {"team": "x"}}}]);
        let mut all = json!({"steps": steps(&[(STAGE, require), ("Blue_100", json!([]))])});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Self::at(STAGE, &all)
    }

    /// The webhook answers what it is asked.
    fn reply(&mut self, reply: Reply) {
        let asked = question(&self.decide()).expect("it is asked");
        self.observed.replies.insert(asked.id, reply);
    }

    fn answer(&mut self, status: u16, text: &str) {
        self.reply(Reply::Answer { status, text: text.to_owned() });
    }
}

#[test]
fn a_webhook_is_asked_with_where_the_rollout_is() {
    let mut scene = Scene::asking(&json!({}));
    let asked = question(&scene.decide()).unwrap();
    let Webhook { url, timeout_seconds, interval_seconds, .. } = &asked.webhook;
    assert_eq!((url.as_str(), timeout_seconds, interval_seconds), ("https://a.example/allow?code=secret", &10, &10));
    let expected = json!({
        "name": "model", "namespace": "abtesting", "phase": "Holding", "checksum": "v2", "metadata": {"team": "x"},
        "revision": "v2", "attempt": 0, "stableRevision": "v1", "stage": STAGE,
        "stageSince": scene.observed.now, "weights": {"green": 50, "blue": 50},
    });
    assert_eq!(asked.body, expected);
    assert_eq!(scene.message(), "Blue_50: asking https://a.example/allow", "the query may hold a secret");
    assert_eq!(scene.rollout.status.requirements[0].requirement, "webhook https://a.example/allow");
}

#[test]
fn an_answer_of_a_webhook_opens_waits_or_fails() {
    let place = "https://a.example/allow";
    let check = |reply: Reply, state, message: &str| {
        let mut scene = Scene::asking(&json!({}));
        scene.reply(reply.clone());
        let decision = scene.decide();
        assert_eq!((scene.states(), scene.rollout.status.requirements[0].message.as_str()), (vec![state], message));
        assert_eq!(question(&decision).is_some(), state == Waiting, "{message}: it is asked on while it waits");
        scene.settle();
        assert_eq!(scene.stage() != STAGE, state == Open, "{message}");
        let phase = if state == Failed { Phase::Failed } else { Phase::Holding };
        assert!(state == Open || scene.phase() == phase, "{message}: {:?}", scene.phase());
    };
    let answer = |status, text: &str| Reply::Answer { status, text: text.to_owned() };
    check(answer(200, ""), Open, &format!("{place} allows it (200)"));
    check(answer(204, "go"), Open, &format!("{place} allows it (204): go"));
    check(answer(202, "soon"), Waiting, &format!("{place} says to wait (202): soon"));
    check(answer(403, "no"), Failed, &format!("{place} refuses it (403): no"));
    check(answer(404, ""), Failed, &format!("{place} refuses it (404)"));
    for status in [301, 408, 425, 429, 500, 503] {
        check(answer(status, "x"), Waiting, &format!("{place} answers {status}, 200 is wanted: x"));
    }
    check(Reply::None("timed out".to_owned()), Waiting, &format!("no answer from {place}: timed out"));
}

#[test]
fn what_a_webhook_decided_is_kept_and_is_of_that_stay_alone() {
    let mut scene = requiring(json!([{"webhook": {"url": "http://a/"}}, {"approval": {}}]));
    scene.answer(200, "");
    scene.decide();
    scene.observed.replies.clear();
    assert_eq!(question(&scene.decide()), None, "whoever leads later asks no more");
    assert_eq!(scene.states(), [Open, Waiting]);

    let mut scene = Scene::asking(&json!({}));
    scene.answer(403, "no");
    scene.decide();
    let mut other = scene.rollout.clone();
    let change = |rollout: &mut ModelRollout, url: &str| {
        let require = rollout.spec.steps.as_mut().unwrap()[0].require.as_mut().unwrap();
        require[0].webhook.as_mut().unwrap().url = url.to_owned();
    };
    change(&mut other, "https://a.example/allow?code=other");
    std::mem::swap(&mut scene.rollout, &mut other);
    assert!(question(&scene.decide()).is_some(), "one that is asked in another way is asked anew");
    scene.rollout = other;
    scene.rollout.status.stage_since = Some(scene.observed.now.plus(0));
    scene.rollout.spec.revision = Some("v3".to_owned());
    scene.observed.blue = serving("v3");
    scene.target(STAGE);
    scene.settle();
    scene.rollout.spec.target = None;
    assert!(question(&scene.decide()).is_some(), "and so is one for another revision");
}

/// The spec is misspelt for a while, or its rule is not there: that is no other stay.
#[test]
fn what_a_webhook_decided_outlasts_what_cannot_be_worked_with() {
    let not_there = RouteSelectionError::VirtualServiceNotFound("abtesting/model".to_owned());
    let breaks: [&dyn Fn(&mut Scene); 2] =
        [&|scene| scene.target("Blue_7"), &|scene| scene.observed.route = Err(not_there.clone())];
    for (status, state, make_bad) in
        [200, 403].into_iter().zip([Open, Failed]).flat_map(|(status, state)| breaks.map(|it| (status, state, it)))
    {
        let mut scene = requiring(json!([{"webhook": {"url": "http://a/"}}, {"approval": {}}]));
        let route = scene.observed.route.clone();
        scene.answer(status, "");
        scene.decide();
        make_bad(&mut scene);
        scene.observed.replies.clear();
        let told = scene.settle().events;
        assert_eq!((scene.phase(), scene.states(), told.len()), (Phase::Invalid, vec![state, Waiting], 0));
        (scene.rollout.spec.target, scene.observed.route) = (None, route);
        let decision = scene.decide();
        assert_eq!((question(&decision), scene.states()), (None, vec![state, Waiting]), "{status}");
        assert!(decision.events.iter().all(|event| event.reason != "RequirementFailed"), "it was told already");
    }
}

#[test]
fn a_requirement_that_fails_holds_or_turns_back() {
    let mut scene = Scene::asking(&json!({"onFailure": "Hold"}));
    scene.answer(403, "no");
    let decision = scene.decide();
    assert_eq!(decision.events.iter().filter(|event| event.reason == "RequirementFailed").count(), 1);
    let decision = scene.settle();
    assert_eq!(decision.events, [], "it is told once");
    assert_eq!((scene.stage().as_str(), scene.phase(), scene.weights()), (STAGE, Phase::Failed, (50, 50)));
    scene.rollout.promote(None, true).unwrap();
    scene.settle();
    assert_ne!(scene.stage(), STAGE, "somebody knows better");

    let mut scene = Scene::asking(&json!({"onFailure": "Rollback"}));
    scene.answer(403, "no");
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.weights()), ("Rollback", (100, 0)));
    assert_eq!(scene.rollout.status.rollback.as_ref().unwrap().reason, RollbackReason::RequirementFailed);

    let mut scene = Scene::asking(&json!({"onFailure": "Rollback"}));
    scene.rollout.status.stable_revision = None;
    scene.observed.green.revision = None;
    scene.answer(403, "no");
    scene.settle();
    assert_eq!((scene.stage().as_str(), scene.phase()), (STAGE, Phase::Failed), "there is nothing to go back to");
}

#[test]
fn a_webhook_is_not_asked_while_something_else_holds_the_rollout() {
    let check = |change: fn(&mut Scene)| {
        let mut scene = Scene::asking(&json!({}));
        change(&mut scene);
        assert_eq!(question(&scene.decide()), None, "{}", scene.message());
    };
    check(|scene| scene.rollout.spec.paused = true);
    check(|scene| scene.target(STAGE));
    check(|scene| scene.observed.blue = unready());
    check(|scene| scene.observed.gateways[0].active = None);
}

#[test]
fn an_approval_alone_opens_no_webhook() {
    let mut scene = Scene::asking(&json!({}));
    let error = scene.rollout.promote(None, false).unwrap_err().to_string();
    let expected = "Blue_50 requires no approval, but webhook https://a.example/allow: skip its requirements to go on";
    assert!(error.starts_with(expected), "{error}");
}
