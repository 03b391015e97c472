//! How what a stage requires stands: each requirement is a pure function of the rollout, of what was observed, and of what
//! the status keeps.

use super::{Action, Draft, Question, Severity};
use crate::observation::Reply;
use crate::resource::{
    Approval, Leave, OnFailure, Plan, Requirement, RequirementState, RequirementStatus, WaitReason, Webhook, duration,
};
use crate::stage::{Stage, Target};
use crate::timestamp::Timestamp;
use serde_json::json;

/// How a requirement stands that somebody skipped.
const SKIPPED: &str = "skipped";
/// What a gate was in releases before `spec.steps`.
static GATE: [Requirement; 1] = [Requirement::Approval];

impl Draft<'_> {
    /// Says in the status how each requirement of the stage stands that is reached and not yet left.
    pub(super) fn report_requirements(&mut self, plan: &Plan) {
        let Some(stage) = self.status.stage.and_then(Target::stage).filter(|_| self.status.moving_to.is_none()) else {
            return;
        };
        let Leave::When(required) = self.when_left(plan, stage) else { return };
        self.status.requirements = required.iter().map(|one| self.stand(one, required, stage)).collect();
        let failed = self.status.requirements.iter().filter(|one| one.state == RequirementState::Failed);
        let was_told = |one: &RequirementStatus| self.before.requirements.contains(one);
        let news: Vec<_> = failed.filter(|one| !was_told(one)).map(|one| one.message.clone()).collect();
        for message in news {
            self.tell(Severity::Warning, "RequirementFailed", format!("{stage}: {message}"));
        }
    }

    fn stand(&self, one: &Requirement, required: &[Requirement], stage: Stage) -> RequirementStatus {
        let approval = self.approval(stage);
        let digest = match one {
            Requirement::Webhook(webhook) => Some(webhook.digest()),
            Requirement::Approval | Requirement::Pause { .. } => None,
        };
        let (state, message) = if approval.is_some_and(|approval| approval.skip_requirements) {
            (RequirementState::Open, SKIPPED.to_owned())
        } else {
            match one {
                Requirement::Approval if approval.is_some() => (RequirementState::Open, "approved".to_owned()),
                Requirement::Approval => {
                    (RequirementState::Waiting, "waiting for approval: promote to go on".to_owned())
                }
                // Where no approval is required, a promotion means that nobody needs the pause any longer.
                Requirement::Pause { .. } if approval.is_some() && !required.contains(&Requirement::Approval) => {
                    (RequirementState::Open, "ended by a promotion".to_owned())
                }
                Requirement::Pause { seconds } => self.pause(*seconds, stage),
                Requirement::Webhook(webhook) => self.answer(webhook, stage),
            }
        };
        RequirementStatus { requirement: one.to_string(), digest, state, message }
    }

    /// What decided it once is kept, so that nobody who leads later has to ask again.
    fn answer(&self, webhook: &Webhook, stage: Stage) -> (RequirementState, String) {
        let digest = Some(webhook.digest());
        let is_same_stay = self.is_same_place() && self.before.stage_since == self.status.stage_since;
        let kept = self.before.requirements.iter().filter(|_| is_same_stay).find(|one| one.digest == digest);
        if let Some(kept) = kept.filter(|one| one.state != RequirementState::Waiting && one.message != SKIPPED) {
            return (kept.state, kept.message.clone());
        }
        let place = webhook.place();
        let Some(reply) = self.observed.replies.get(&self.question_id(webhook, stage)) else {
            return (RequirementState::Waiting, format!("asking {place}"));
        };
        let (status, text) = match reply {
            Reply::None(why) => return (RequirementState::Waiting, format!("no answer from {place}: {why}")),
            Reply::Answer { status, text } => (*status, text),
        };
        let said = if text.is_empty() { String::new() } else { format!(": {text}") };
        match status {
            202 => (RequirementState::Waiting, format!("{place} says to wait (202){said}")),
            200..=299 => (RequirementState::Open, format!("{place} allows it ({status}){said}")),
            400..=499 if !matches!(status, 408 | 425 | 429) => {
                (RequirementState::Failed, format!("{place} refuses it ({status}){said}"))
            }
            _ => (RequirementState::Waiting, format!("{place} answers {status}, 200 is wanted{said}")),
        }
    }

    fn question_id(&self, webhook: &Webhook, stage: Stage) -> String {
        let (revision, attempt) =
            self.status.candidate.as_ref().map_or(("", 0), |it| (it.revision.as_str(), it.attempt));
        let since = self.status.stage_since.map(|since| since.to_string()).unwrap_or_default();
        format!("{} {revision} {attempt} {stage} {since}", webhook.digest())
    }

    /// The fields that Flagger sends to its confirmations, and where the rollout is.
    fn question(&self, webhook: &Webhook, stage: Stage) -> Question {
        let status = &self.status;
        let candidate = status.candidate.as_ref();
        let revision = candidate.map(|candidate| &candidate.revision);
        let body = json!({
            "name": self.rollout.metadata.name,
            "namespace": self.rollout.metadata.namespace,
            "phase": "Holding",
            "checksum": revision,
            "metadata": webhook.metadata,
            "revision": revision,
            "attempt": candidate.map(|candidate| candidate.attempt),
            "stableRevision": status.stable_revision,
            "stage": stage,
            "stageSince": status.stage_since,
            "weights": self.weights(),
        });
        Question { id: self.question_id(webhook, stage), webhook: webhook.clone(), body }
    }

    fn ask_those_that_wait(&mut self, required: &[Requirement], stage: Stage) {
        let is_waiting = |one: &RequirementStatus| one.state == RequirementState::Waiting;
        let waiting: Vec<bool> = self.status.requirements.iter().map(is_waiting).collect();
        for (one, is_waiting) in required.iter().zip(waiting) {
            if let (Requirement::Webhook(webhook), true) = (one, is_waiting) {
                self.actions.push(Action::Ask(self.question(webhook, stage)));
            }
        }
    }

    fn pause(&self, seconds: u64, stage: Stage) -> (RequirementState, String) {
        let pause = duration(seconds);
        match self.status.stage_since.map(|since| since.plus(seconds)) {
            Some(until) if self.observed.now < until => {
                (RequirementState::Waiting, format!("pausing {pause} after {stage} was reached, until {until}"))
            }
            _ => (RequirementState::Open, format!("{pause} are over")),
        }
    }

    /// Whether the stage may be left, as far as people and the spec have a say. The target lies behind it, or is not set.
    pub(super) fn may_leave(&mut self, plan: &Plan, stage: Stage, target: Option<Target>) -> bool {
        let Leave::When(required) = self.when_left(plan, stage) else {
            let is_asked = target.is_some() || self.approval(stage).is_some();
            if !is_asked {
                self.wait_for(WaitReason::Promotion, "promote to go on");
            }
            return is_asked;
        };
        let texts = |state: RequirementState| {
            let those = self.status.requirements.iter().filter(|one| one.state == state);
            those.map(|one| one.message.clone()).collect::<Vec<_>>().join("; ")
        };
        let (failed, waiting) = (texts(RequirementState::Failed), texts(RequirementState::Waiting));
        if !failed.is_empty() {
            self.wait_for(WaitReason::Failure, &failed);
        } else if !waiting.is_empty() {
            self.ask_those_that_wait(required, stage);
            self.wait_for(WaitReason::Requirements, &waiting);
        }
        failed.is_empty() && waiting.is_empty()
    }

    /// When the stage is left: where the spec says nothing, and a former release waits at its gate, when that is opened.
    fn when_left<'p>(&self, plan: &'p Plan, stage: Stage) -> Leave<'p> {
        match plan.leave(stage) {
            Leave::WhenPromoted if self.is_at_a_former_gate() => Leave::When(&GATE),
            leave => leave,
        }
    }

    /// Releases before `spec.steps` took a target for a bound alone. One that was written for them, and not touched since,
    /// opens no gate: they waited for requirements and listed none, and this one lists the gate from then on.
    fn is_at_a_former_gate(&self) -> bool {
        let generation = self.rollout.metadata.generation;
        let is_untouched = generation.is_some() && self.before.observed_generation == generation;
        let listed = &self.before.requirements;
        let waited = self.before.waiting.as_ref().is_some_and(|waiting| waiting.reason == WaitReason::Requirements);
        let is_listed = listed.iter().any(|one| one.requirement == Requirement::Approval.to_string());
        is_untouched && self.is_same_place() && (is_listed || waited && listed.is_empty())
    }

    /// The approval of this stage, for this candidate.
    fn approval(&self, stage: Stage) -> Option<&Approval> {
        let candidate = self.status.candidate.as_ref()?;
        self.spec.approval.as_ref().filter(|approval| {
            (&approval.revision, approval.attempt, approval.stage) == (&candidate.revision, candidate.attempt, stage)
        })
    }

    /// A requirement of where the rollout still is has failed, and the spec wants a rollback then.
    pub(super) fn has_failed(&self) -> bool {
        let is_failed = |one: &RequirementStatus| one.state == RequirementState::Failed;
        self.spec.on_failure == OnFailure::Rollback && self.status.requirements.iter().any(is_failed)
    }

    /// When the first pause is over that is still waited for.
    pub(super) fn end_of_pause(&self) -> Option<Timestamp> {
        let plan = Plan::of(self.rollout).ok()?;
        let (since, stage) = (self.status.stage_since?, self.status.stage.and_then(Target::stage)?);
        let Leave::When(required) = plan.leave(stage) else { return None };
        let ends = required.iter().zip(&self.status.requirements).filter_map(|(one, stands)| match one {
            Requirement::Pause { seconds } if stands.state == RequirementState::Waiting => Some(since.plus(*seconds)),
            Requirement::Pause { .. } | Requirement::Approval | Requirement::Webhook(_) => None,
        });
        ends.min()
    }
}
