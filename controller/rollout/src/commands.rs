//! What people and pipelines ask of a rollout, as changes to its spec. A driver writes the changed spec and then waits
//! for the status to follow; whoever edits the spec by hand gets the same.

use crate::resource::{Approval, Candidate, InvalidRollout, Leave, ModelRollout, Plan, Requirement};
use crate::stage::{Stage, StagePlan, Target};

/// Why a request cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The spec cannot be worked with.
    #[error("the rollout is not valid: {0}")]
    Invalid(#[from] InvalidRollout),
    /// The stage is not in the plan.
    #[error("{stage} is not a stage of this rollout: it passes {stages}")]
    NotInPlan {
        /// The stage.
        stage: Stage,
        /// What there is.
        stages: StagePlan,
    },
    /// A revision needs a name.
    #[error("the revision is empty: name the image's revision")]
    EmptyRevision,
    /// No candidate.
    #[error("no rollout is in progress: start one first")]
    NothingInProgress,
    /// The status is older than the spec.
    #[error("revision {0} is not yet taken up: wait for the controller to answer")]
    NotTakenUp(String),
    /// It goes the other way.
    #[error("revision {0} is being rolled back, which cannot be undone: start it anew when that is over")]
    RollingBack(String),
    /// Promotion goes from a stage that was reached.
    #[error("no stage is reached yet: wait for Blue_0, then promote")]
    NoStageReached,
    /// Promotion only goes forward.
    #[error("{reached} is reached, {wanted} lies behind it: only a rollback goes back")]
    Behind {
        /// What was asked for.
        wanted: Stage,
        /// Where the rollout is.
        reached: Stage,
    },
    /// A promotion would change nothing.
    #[error("{stage} requires no approval, but {required}: skip its requirements to go on without that")]
    NothingToApprove {
        /// The stage.
        stage: Stage,
        /// What it requires.
        required: String,
    },
    /// A rollback needs something to go back to.
    #[error("there is no earlier revision to roll back to: the status knows of none")]
    NoEarlierRevision,
}

/// What a rollback turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollbackRequest {
    /// The candidate goes back.
    OfCandidate {
        /// Its revision.
        revision: String,
        /// What serves everything then.
        stable: String,
    },
    /// What waits for its turn does not begin.
    OfNext {
        /// Its revision.
        revision: String,
    },
    /// The candidate has gone back already, since the stable revision was started in its place.
    Done {
        /// What serves everything.
        stable: String,
    },
    /// Nothing was in progress: the revision before the stable one is rolled out anew, with all its stages.
    AsNewRollout {
        /// That revision.
        revision: String,
        /// The stable one, whose place it takes.
        replaced: String,
        /// It was asked for before: nothing is changed.
        is_asked: bool,
    },
}

impl ModelRollout {
    /// Rolls out `revision`, as far as `to`; without it, as far as requirements carry it. Asking again for what is in
    /// progress changes nothing but the target; asking for what was rolled back is a new attempt.
    pub fn start(&mut self, revision: &str, to: Option<Stage>) -> Result<(), CommandError> {
        if revision.is_empty() {
            return Err(CommandError::EmptyRevision);
        }
        let was_rolled_back = self.status.rollback.is_some();
        let candidate = self.status.candidate.as_ref();
        let former = candidate.filter(|candidate| candidate.revision == revision);
        let in_progress = former.is_some() && !was_rolled_back;
        let asked_for = self.spec.revision.as_deref() == Some(revision);
        let is_superseded = asked_for && self.wanted_revision() != self.spec.revision.as_ref();
        let mut changed = self.clone();
        if let Some(former) = former.filter(|_| was_rolled_back) {
            changed.spec.attempt = former.attempt + 1;
        } else if is_superseded {
            // What is written already is written anew.
            changed.spec.attempt = self.spec.attempt + 1;
        } else if !asked_for && !in_progress {
            changed.spec.attempt = 0;
        }
        changed.spec.revision = Some(revision.to_owned());
        changed.spec.rollback_of = None;
        if !in_progress {
            changed.spec.approval = None;
        }
        if !in_progress || to.is_some() {
            changed.spec.target = to.map(Target::Stage);
        }
        Plan::of(&changed).map_err(|invalid| not_in_plan(self, to, invalid))?;
        *self = changed;
        Ok(())
    }

    /// The revision that the newest spec wants, which the status does not know of yet.
    fn not_begun(&self) -> Option<String> {
        let wanted = self.wanted_revision().filter(|wanted| self.status.stable_revision.as_ref() != Some(wanted));
        wanted.filter(|_| self.metadata.generation != self.status.observed_generation).cloned()
    }

    /// Goes on: approves the stage that is reached, or skips what it requires, and moves the target to `to`, or at least
    /// to the next stage. What stages on the way to it require stays required. Returns where it goes.
    pub fn promote(&mut self, to: Option<Stage>, skip_requirements: bool) -> Result<Stage, CommandError> {
        let plan = Plan::of(self)?;
        let candidate = self.status.candidate.clone().filter(|_| self.status.in_progress());
        let candidate = candidate
            .ok_or_else(|| self.not_begun().map_or(CommandError::NothingInProgress, CommandError::NotTakenUp))?;
        if self.status.rollback.is_some() {
            return Err(CommandError::RollingBack(candidate.revision));
        }
        let reached = self.status.stage.and_then(Target::stage);
        let is_other = |wanted: &String| *wanted != candidate.revision || self.spec.attempt != candidate.attempt;
        let newer = self.wanted_revision().cloned().filter(is_other);
        let (reached, target) = match (newer, reached) {
            // The newer revision waits for the end of this one, and the target is already its own.
            (Some(_), Some(reached)) if reached.replaces_green() => (reached, None),
            (Some(newer), _) => return Err(CommandError::NotTakenUp(newer)),
            (None, None) => return Err(CommandError::NoStageReached),
            (None, Some(reached)) => (reached, Some(promoted_target(&plan, reached, to)?)),
        };
        if !skip_requirements {
            check_approval(&plan, reached)?;
        }
        let Candidate { revision, attempt, .. } = candidate;
        self.spec.approval = Some(Approval { revision, attempt, stage: reached, skip_requirements });
        if let Some(target) = target {
            self.spec.target = target.map(Target::Stage);
        }
        let next = plan.stages().after(reached).unwrap_or(reached);
        Ok(target.map_or(Stage::Green100, |target| target.unwrap_or(next)))
    }

    /// What the spec wants to be rolled out: [`RolloutStatus::wanted_revision`](crate::RolloutStatus::wanted_revision).
    pub fn wanted_revision(&self) -> Option<&String> {
        self.status.wanted_revision(&self.spec)
    }

    /// Nothing goes forward until it is resumed.
    pub fn pause(&mut self) {
        self.spec.paused = true;
    }

    /// Goes on after a pause.
    pub fn resume(&mut self) {
        self.spec.paused = false;
    }

    /// Goes back: the candidate if one is in progress, else to the revision before the stable one, through the stages to
    /// the last; what they require stays required. Asking twice is asking once, until something is started.
    pub fn roll_back(&mut self) -> Result<RollbackRequest, CommandError> {
        let stable = self.status.stable_revision.clone().ok_or(CommandError::NoEarlierRevision)?;
        let (of, previous) = (self.spec.rollback_of.clone(), self.status.previous_revision.clone());
        let (wanted, newer) = (self.wanted_revision().cloned(), self.not_taken_up(&stable));
        let status = &self.status;
        if let Some(revision) = wanted.clone().filter(|_| of.as_ref() == Some(&stable) && wanted == previous) {
            // It has not begun, or is on its way; unless it went back itself.
            return match status.rollback {
                Some(_) if newer.is_none() && status.in_progress() => Err(CommandError::RollingBack(revision)),
                Some(_) if newer.is_none() => self.roll_out_previous(stable),
                _ => Ok(RollbackRequest::AsNewRollout { revision, replaced: stable, is_asked: true }),
            };
        }
        // It has come to its end.
        if let Some(replaced) = of.filter(|of| previous.as_ref() == Some(of) && wanted.as_ref() == Some(&stable)) {
            return Ok(RollbackRequest::AsNewRollout { revision: stable, replaced, is_asked: true });
        }
        let (in_progress, must_end_first) = (status.in_progress(), status.must_end_first());
        let candidate = status.candidate.clone().map(|candidate| candidate.revision);
        if in_progress || newer.is_some() {
            self.spec.target = Some(Target::Rollback);
        }
        match (newer, candidate) {
            (Some(revision), _) if !in_progress || must_end_first => Ok(RollbackRequest::OfNext { revision }),
            (Some(revision), _) | (None, Some(revision)) => Ok(RollbackRequest::OfCandidate { revision, stable }),
            // Nobody who asks twice means what was there before that.
            (None, None) if self.status.stage == Some(Target::Rollback) => Ok(RollbackRequest::Done { stable }),
            (None, None) => self.roll_out_previous(stable),
        }
    }

    /// The revision that the spec wants to begin, if it is neither the stable one nor on its way.
    fn not_taken_up(&self, stable: &str) -> Option<String> {
        let is_candidate = |wanted: &&String| {
            let candidate = self.status.candidate.as_ref();
            candidate.is_some_and(|it| it.revision == **wanted && it.attempt == self.spec.attempt)
        };
        self.wanted_revision().filter(|wanted| *wanted != stable && !is_candidate(wanted)).cloned()
    }

    fn roll_out_previous(&mut self, stable: String) -> Result<RollbackRequest, CommandError> {
        let revision = self.status.previous_revision.clone().ok_or(CommandError::NoEarlierRevision)?;
        self.start(&revision, Some(Stage::Green100))?;
        self.spec.rollback_of = Some(stable.clone());
        Ok(RollbackRequest::AsNewRollout { revision, replaced: stable, is_asked: false })
    }
}

/// The target after a promotion; none if there was none, and the stages after the next one wait for theirs.
fn promoted_target(plan: &Plan, reached: Stage, to: Option<Stage>) -> Result<Option<Stage>, CommandError> {
    let Some(target) = to else {
        let next = plan.stages().after(reached).unwrap_or(reached);
        return Ok(plan.target().and_then(Target::stage).map(|former| former.max(next)));
    };
    if !plan.stages().contains(target) {
        return Err(CommandError::NotInPlan { stage: target, stages: plan.stages().clone() });
    }
    if target <= reached {
        return Err(CommandError::Behind { wanted: target, reached });
    }
    Ok(Some(target))
}

/// A promotion ends a pause, too; what else is required is not a person's to give.
fn check_approval(plan: &Plan, stage: Stage) -> Result<(), CommandError> {
    let Leave::When(required) = plan.leave(stage) else { return Ok(()) };
    let takes_it = |one: &Requirement| matches!(one, Requirement::Approval | Requirement::Pause { .. });
    if required.is_empty() || required.iter().any(takes_it) {
        return Ok(());
    }
    let required: Vec<String> = required.iter().map(Requirement::to_string).collect();
    Err(CommandError::NothingToApprove { stage, required: required.join(", ") })
}

/// A stage that the caller named is the caller's mistake and not the spec's.
fn not_in_plan(rollout: &ModelRollout, to: Option<Stage>, invalid: InvalidRollout) -> CommandError {
    let mut without_target = rollout.clone();
    without_target.spec.target = None;
    match (Plan::of(&without_target), to) {
        (Ok(plan), Some(stage)) if !plan.stages().contains(stage) => {
            CommandError::NotInPlan { stage, stages: plan.stages().clone() }
        }
        _ => CommandError::Invalid(invalid),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::testing::rollout;
    use serde_json::{Value, json};

    /// A rollout with this spec and this status.
    fn with(spec: Value, status: Value) -> ModelRollout {
        let mut rollout = rollout(spec);
        rollout.status = serde_json::from_value(status).unwrap();
        rollout
    }

    fn at(stage: &str, spec: Value) -> ModelRollout {
        with(spec, json!({"stage": stage, "stableRevision": "v1", "candidate": {"revision": "v2"}}))
    }

    fn stage(name: &str) -> Stage {
        name.parse().unwrap()
    }

    #[test]
    fn a_start_names_the_revision_and_forgets_what_the_last_one_was_told() {
        let old = json!({"revision": "v1", "target": "Rollback", "approval": {"revision": "v1", "stage": "Blue_50"}});
        let mut rollout = with(old, json!({"stage": "Green_100", "stableRevision": "v1"}));
        rollout.start("v2", None).unwrap();
        assert_eq!(rollout.spec.revision.as_deref(), Some("v2"));
        assert_eq!((rollout.spec.target, rollout.spec.approval.clone()), (None, None));
        rollout.start("v3", Some(Stage::BLUE_0)).unwrap();
        assert_eq!(rollout.spec.target, Some(Target::Stage(Stage::BLUE_0)));
    }

    #[test]
    fn starting_what_is_in_progress_changes_nothing_but_the_target() {
        let mut rollout = at("Blue_50", json!({"revision": "v2", "target": "Blue_50", "attempt": 3}));
        let before = rollout.clone();
        rollout.start("v2", None).unwrap();
        assert_eq!(rollout, before);
        rollout.start("v2", Some(Stage::BLUE_100)).unwrap();
        assert_eq!((rollout.spec.target, rollout.spec.attempt), (Some(Target::Stage(Stage::BLUE_100)), 3));
    }

    #[test]
    fn starting_what_was_rolled_back_is_a_new_attempt() {
        let status = json!({
            "stage": "Rollback",
            "stableRevision": "v1",
            "candidate": {"revision": "v2", "attempt": 1},
            "rollback": {"from": "Blue_50", "reason": "Requested", "since": "2026-01-01T00:00:00Z"},
        });
        let mut rollout = with(json!({"revision": "v2", "attempt": 1, "target": "Rollback"}), status);
        for _ in 0..2 {
            rollout.start("v2", None).unwrap();
            assert_eq!((rollout.spec.attempt, rollout.spec.target), (2, None), "asking twice is one attempt");
        }
    }

    #[test]
    fn a_start_that_cannot_be_is_refused_and_changes_nothing() {
        let check = |revision: &str, to: Option<&str>, expected: &str| {
            let mut rollout = at("Blue_50", json!({"revision": "v2"}));
            let before = rollout.clone();
            let error = rollout.start(revision, to.map(stage)).unwrap_err();
            assert_eq!((error.to_string().as_str(), rollout), (expected, before));
        };
        check("", None, "the revision is empty: name the image's revision");
        let all = "Blue_0, Blue_50, Blue_100, Blue_Green, Green_100";
        check("v3", Some("Blue_5"), &format!("Blue_5 is not a stage of this rollout: it passes {all}"));
    }

    #[test]
    fn a_promotion_approves_the_reached_stage_and_moves_a_target_that_is_there() {
        let check = |reached: &str, spec: Value, to: Option<&str>, goes_to: &str, target: Option<&str>| {
            let mut rollout = at(reached, spec);
            rollout.spec.revision = Some("v2".to_owned());
            assert_eq!(rollout.promote(to.map(stage), false).unwrap(), stage(goes_to));
            assert_eq!(rollout.spec.target, target.map(|target| Target::Stage(stage(target))));
            let approval = rollout.spec.approval.unwrap();
            assert_eq!(
                (approval.revision.as_str(), approval.stage, approval.skip_requirements),
                ("v2", stage(reached), false)
            );
        };
        check("Blue_0", json!({}), None, "Blue_50", None);
        check("Blue_0", json!({"target": "Blue_0"}), None, "Blue_50", Some("Blue_50"));
        check("Blue_50", json!({"target": "Blue_50"}), None, "Blue_100", Some("Blue_100"));
        check("Blue_50", json!({"target": "Green_100"}), None, "Green_100", Some("Green_100"));
        check("Blue_50", json!({"target": "Rollback"}), None, "Blue_100", None);
        check("Blue_50", json!({}), Some("Blue_100"), "Blue_100", Some("Blue_100"));
        check("Blue_50", json!({"target": "Blue_0"}), Some("Green_100"), "Green_100", Some("Green_100"));
        let required = json!({"steps": [{"stage": "Blue_50", "require": [{"pause": "1h"}]}]});
        check("Blue_50", required, None, "Blue_100", None);
    }

    #[test]
    fn a_promotion_that_cannot_be_is_refused_with_the_reason() {
        let check = |mut rollout: ModelRollout, to: Option<&str>, expected: &str| {
            assert_eq!(rollout.promote(to.map(stage), false).unwrap_err().to_string(), expected);
        };
        let idle = with(json!({"revision": "v1"}), json!({"stage": "Green_100", "stableRevision": "v1"}));
        check(idle.clone(), None, "no rollout is in progress: start one first");
        let mut started = idle;
        started.spec.revision = Some("v2".to_owned());
        check(started.clone(), None, "revision v2 is not yet taken up: wait for the controller to answer");
        started.status.observed_generation = started.metadata.generation;
        check(started, None, "no rollout is in progress: start one first");
        let next = at("Blue_50", json!({"revision": "v3"}));
        check(next, None, "revision v3 is not yet taken up: wait for the controller to answer");
        let again = at("Blue_50", json!({"revision": "v2", "attempt": 1}));
        check(again, None, "revision v2 is not yet taken up: wait for the controller to answer");
        let fresh = with(json!({"revision": "v2"}), json!({"movingTo": "Blue_0", "candidate": {"revision": "v2"}}));
        check(fresh, None, "no stage is reached yet: wait for Blue_0, then promote");
        let behind = at("Blue_100", json!({"revision": "v2"}));
        check(behind, Some("Blue_50"), "Blue_100 is reached, Blue_50 lies behind it: only a rollback goes back");
        let mut back = at("Blue_50", json!({"revision": "v2"}));
        let rollback = json!({"from": "Blue_50", "reason": "Requested", "since": "2026-01-01T00:00:00Z"});
        back.status.rollback = serde_json::from_value(rollback).unwrap();
        check(back, None, "revision v2 is being rolled back, which cannot be undone: start it anew when that is over");
    }

    #[test]
    fn a_promotion_approves_what_must_end_first() {
        let steps = json!([{"stage": "Blue_Green", "require": [{"approval": {}}]}]);
        let mut rollout = at("Blue_Green", json!({"revision": "v3", "target": "Blue_0", "steps": steps}));
        assert_eq!(rollout.promote(None, false), Ok(Stage::Green100));
        assert_eq!(rollout.spec.target, Some(Target::Stage(Stage::BLUE_0)), "which is the target of v3");
        assert_eq!(rollout.spec.approval.unwrap().revision, "v2");
    }

    fn of_candidate(revision: &str) -> RollbackRequest {
        RollbackRequest::OfCandidate { revision: revision.to_owned(), stable: "v1".to_owned() }
    }

    #[test]
    fn a_rollback_is_of_the_candidate_or_of_what_has_not_begun() {
        let rollback = json!({"from": "Blue_50", "reason": "Requested", "since": "2026-01-01T00:00:00Z"});
        let next = || Ok(RollbackRequest::OfNext { revision: "v3".to_owned() });
        for stage in ["Blue_0", "Blue_50", "Blue_100", "Blue_Green"] {
            let check = |wanted: &str, rollback: &Value, expected: Result<RollbackRequest, CommandError>| {
                let mut rollout = at(stage, json!({"revision": wanted}));
                rollout.status.rollback = serde_json::from_value(rollback.clone()).unwrap();
                for _ in 0..2 {
                    assert_eq!(rollout.roll_back(), expected, "{stage} {wanted} {rollback}");
                    assert_eq!(rollout.spec.target, Some(Target::Rollback), "{stage} {wanted} {rollback}");
                }
            };
            check("v2", &Value::Null, Ok(of_candidate("v2")));
            check("v2", &rollback, Ok(of_candidate("v2")));
            // What takes the place of the candidate goes back itself, where it need not wait for the candidate's end.
            check("v3", &Value::Null, if stage == "Blue_Green" { next() } else { Ok(of_candidate("v3")) });
            check("v3", &rollback, next());
        }
        let idle = json!({"stage": "Green_100", "stableRevision": "v1"});
        let back =
            json!({"stage": "Rollback", "stableRevision": "v1", "candidate": {"revision": "v2"}, "rollback": rollback});
        let check = |wanted: &str, status: &Value, expected: Result<RollbackRequest, CommandError>, target: bool| {
            let mut rollout = with(json!({"revision": wanted}), status.clone());
            assert_eq!(rollout.roll_back(), expected, "{wanted} {status}");
            assert_eq!(rollout.spec.target, Some(Target::Rollback).filter(|_| target), "{wanted} {status}");
        };
        check("v3", &idle, next(), true);
        check("v3", &back, next(), true);
        check("v2", &back, Ok(of_candidate("v2")), false);
        let given_up =
            json!({"stage": "Rollback", "stableRevision": "v1", "previousRevision": "v0", "rollback": rollback});
        check("v1", &given_up, Ok(RollbackRequest::Done { stable: "v1".to_owned() }), false);
        check("v3", &given_up, next(), true);
        check("v1", &idle, Err(CommandError::NoEarlierRevision), false);
        let first = json!({"movingTo": "Blue_0", "candidate": {"revision": "v1"}});
        check("v1", &first, Err(CommandError::NoEarlierRevision), false);
    }

    #[test]
    fn a_rollback_after_green_100_is_a_new_rollout_however_often_it_is_asked_for() {
        let anew = |is_asked| {
            let (revision, replaced) = ("v1".to_owned(), "v2".to_owned());
            Ok(RollbackRequest::AsNewRollout { revision, replaced, is_asked })
        };
        let complete = json!({"stage": "Green_100", "stableRevision": "v2", "previousRevision": "v1"});
        let under_way = |more: Value| {
            let mut status = json!({"stableRevision": "v2", "previousRevision": "v1", "candidate": {"revision": "v1"}});
            more.as_object().unwrap().iter().for_each(|(name, value)| status[name] = value.clone());
            status
        };
        let mut asked = with(json!({"revision": "v2"}), complete.clone());
        assert_eq!(asked.roll_back(), anew(false));
        let spec = &asked.spec;
        assert_eq!((spec.revision.as_deref(), spec.rollback_of.as_deref()), (Some("v1"), Some("v2")));
        assert_eq!(spec.target, Some(Target::Stage(Stage::Green100)));
        let statuses = [
            complete,
            under_way(json!({"movingTo": "Blue_0"})),
            under_way(json!({"stage": "Blue_0"})),
            under_way(json!({"stage": "Blue_0", "movingTo": "Blue_50"})),
            under_way(json!({"stage": "Blue_50"})),
            under_way(json!({"stage": "Blue_100"})),
            under_way(json!({"stage": "Blue_Green"})),
            under_way(json!({"stage": "Blue_Green", "movingTo": "Green_100"})),
            json!({"stage": "Green_100", "stableRevision": "v1", "previousRevision": "v2"}),
        ];
        for status in statuses {
            let at = with(json!({}), status.clone()).status;
            let before = ModelRollout { status: at.clone(), ..asked.clone() };
            let mut again = before.clone();
            assert_eq!(again.roll_back(), anew(true), "{status}");
            assert_eq!(again, before, "{status}");
            // What somebody has started is no rollback, be it of the same revision.
            again.start("v1", None).unwrap();
            assert_eq!(again.spec.rollback_of, None, "{status}");
            let started = with(json!({"revision": "v1", "target": "Green_100"}), status.clone()).roll_back().unwrap();
            assert!(!matches!(started, RollbackRequest::AsNewRollout { is_asked: true, .. }), "{status}: {started:?}");
        }
        // That it went back itself is another matter: then it is asked for anew.
        let rollback = json!({"from": "Blue_50", "reason": "BackendLost", "since": "2026-01-01T00:00:00Z"});
        let status = under_way(json!({"stage": "Blue_50", "movingTo": "Rollback", "rollback": rollback}));
        let mut back = ModelRollout { status: with(json!({}), status).status, ..asked };
        assert_eq!(back.roll_back(), Err(CommandError::RollingBack("v1".to_owned())));
        back.status.stage = Some(Target::Rollback);
        assert_eq!(back.roll_back(), anew(false));
        assert_eq!(back.spec.attempt, 1);
        assert_eq!((back.roll_back(), back.spec.attempt), (anew(true), 1));
    }

    #[test]
    fn a_pause_is_ended_by_resuming() {
        let mut rollout = at("Blue_50", json!({}));
        rollout.pause();
        assert!(rollout.spec.paused);
        rollout.resume();
        assert!(!rollout.spec.paused);
    }
}
