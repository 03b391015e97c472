//! Scenarios of the state machine: one behaviour each, driven as a driver drives it.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod backward;
mod drain;
mod evidence;
mod first;
mod forward;
mod laws;
mod managed;
mod requirements;
mod status;
mod time;

use super::{Action, Decision, decide};
use crate::observation::{Observation, Published};
use crate::resource::{Approval, ModelRollout, Phase, WaitReason};
use crate::stage::{Stage, Target};
use crate::testing::{gateway, observation, revision_of, rollout, serving, steps, unready};
use crate::weights::{Backend, Weights};
use serde_json::{Value, json};

/// A rollout and the world around it.
struct Scene {
    rollout: ModelRollout,
    observed: Observation,
}

impl Scene {
    /// `v1` is stable on green, `v2` is wanted and ready on blue, and nothing is required.
    fn new(spec: &Value) -> Self {
        let open = ["Blue_0", "Blue_50", "Blue_100", "Blue_Green"].map(|stage| (stage, json!([])));
        let mut all = json!({"revision": "v2", "steps": steps(&open)});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let mut rollout = rollout(all);
        rollout.status.stage = Some(Target::Stage(Stage::Green100));
        rollout.status.stable_revision = Some("v1".to_owned());
        Self { rollout, observed: observation(100, 0) }
    }

    /// The same, at a stage that `v2` has reached.
    fn at(stage: &str, spec: &Value) -> Self {
        let stage: Stage = stage.parse().unwrap();
        let mut scene = Self::new(spec);
        scene.rollout.status.stage = Some(Target::Stage(stage));
        scene.rollout.status.stage_since = Some(scene.observed.now);
        if stage == Stage::Green100 {
            scene.rollout.status.stable_revision = Some("v2".to_owned());
            scene.rollout.status.previous_revision = Some("v1".to_owned());
            scene.observed.green = serving("v2");
        } else {
            scene.rollout.status.candidate = serde_json::from_value(json!({"revision": "v2"})).unwrap();
        }
        scene.take(stage.weights());
        scene
    }

    /// These weights are published, and every gateway has them.
    fn take(&mut self, weights: Weights) {
        self.observed.published = Some(Published { revision: revision_of(weights), weights });
        self.observed.gateways = vec![gateway(0, weights), gateway(1, weights)];
    }

    /// Decides and writes the status. Nothing is published.
    fn decide(&mut self) -> Decision {
        let decision = decide(&self.rollout, &self.observed);
        self.rollout.status = decision.status.clone();
        decision
    }

    /// Decides, writes the status and publishes, and all gateways follow.
    fn tick(&mut self) -> Decision {
        let decision = self.decide();
        if let Some(weights) = decision.weights {
            self.take(weights);
        }
        decision
    }

    /// Ticks until nothing changes any more.
    fn settle(&mut self) -> Decision {
        for _ in 0..20 {
            let former = (self.rollout.status.clone(), self.observed.clone());
            let decision = self.tick();
            if former.0 == self.rollout.status && former.1 == self.observed {
                return decision;
            }
        }
        panic!("it does not settle: {:?}", self.rollout.status);
    }

    fn stage(&self) -> String {
        self.rollout.status.stage.map(|stage| stage.to_string()).unwrap_or_default()
    }

    /// Where it is, or where it goes.
    fn position(&self) -> String {
        self.rollout.status.position().map(|position| position.to_string()).unwrap_or_default()
    }

    fn weights(&self) -> (u32, u32) {
        let weights = self.rollout.status.weights.unwrap();
        (weights.green, weights.blue)
    }

    fn message(&self) -> &str {
        &self.rollout.status.message
    }

    fn waits_for(&self) -> Option<WaitReason> {
        self.rollout.status.waiting.as_ref().map(|waiting| waiting.reason)
    }

    fn phase(&self) -> Phase {
        self.rollout.status.phase
    }

    fn approve(&mut self, revision: &str, attempt: u32, stage: &str) {
        let stage = stage.parse().unwrap();
        let revision = revision.to_owned();
        self.rollout.spec.approval = Some(Approval { revision, attempt, stage, skip_requirements: false });
    }

    fn target(&mut self, target: &str) {
        self.rollout.spec.target = Some(target.parse().unwrap());
    }
}

fn deploy(backend: Backend, revision: &str) -> Action {
    Action::Deploy { backend, revision: revision.to_owned() }
}
