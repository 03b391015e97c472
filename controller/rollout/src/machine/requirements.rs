//! How what a stage requires stands: each requirement is a pure function of the rollout, of what was observed, and of what
//! the status keeps. A kind that takes more than a line has a file.

mod evidence;
mod pause;
mod webhook;

pub(super) use evidence::Evidence;
use evidence::Stands;

use super::{Draft, Severity};
use crate::resource::{
    Approval, EvidenceRequirement, Leave, OnFailure, Plan, Requirement, RequirementState, RequirementStatus, WaitReason,
};
use crate::stage::{Stage, Target};

/// How a requirement stands that somebody skipped.
const SKIPPED: &str = "skipped";
/// What a gate was in releases before `spec.steps`.
static GATE: [Requirement; 1] = [Requirement::Approval];

impl Draft<'_> {
    /// Says in the status how each requirement of the stage stands that is reached and not yet left, and wherever the rollout
    /// is, what evidence refutes.
    pub(super) fn report_requirements(&mut self, plan: &Plan, evidence: &mut Evidence) {
        let reached = self.status.stage.and_then(Target::stage).filter(|_| self.status.moving_to.is_none());
        let required = reached.map_or(Leave::WhenPromoted, |stage| self.when_left(plan, stage));
        let (Some(stage), Leave::When(required)) = (reached, required) else {
            return self.report_refuted(plan, evidence);
        };
        let own: Vec<&EvidenceRequirement> = Requirement::evidence(required).collect();
        let mut judged = self.judge(&own, plan, stage, evidence).into_iter();
        let mut stand = |one: &Requirement| {
            let judged = if matches!(one, Requirement::Evidence(_)) { judged.next() } else { None };
            self.stand(one, required, stage, judged)
        };
        self.status.requirements = required.iter().map(&mut stand).collect();
        self.remember_shown(plan, evidence);
        self.tell_evidence(required, stage);
        if own.is_empty() { self.report_refuted(plan, evidence) } else { self.tell_failures(stage) }
    }

    /// Evidence against the candidate counts at once: while a stage is entered, while something is held, and where the stage
    /// asks for none and another does.
    pub(super) fn report_refuted(&mut self, plan: &Plan, evidence: &mut Evidence) {
        let Some(stage) = self.status.position().and_then(Target::stage) else { return };
        if !self.approval(stage).is_some_and(|approval| approval.skip_requirements) {
            for refuted in self.refuted(plan, stage, evidence) {
                self.status.requirements.retain(|one| one.digest != refuted.digest);
                self.status.requirements.push(refuted);
            }
        }
        self.tell_failures(stage);
    }

    fn tell_failures(&mut self, stage: Stage) {
        let failed = self.status.requirements.iter().filter(|one| one.state == RequirementState::Failed);
        let was_told = |one: &RequirementStatus| self.before.requirements.contains(one);
        let news: Vec<_> = failed.filter(|one| !was_told(one)).map(|one| one.message.clone()).collect();
        for message in news {
            self.tell(Severity::Warning, "RequirementFailed", format!("{stage}: {message}"));
        }
    }

    fn stand(
        &self,
        one: &Requirement,
        required: &[Requirement],
        stage: Stage,
        judged: Option<Stands>,
    ) -> RequirementStatus {
        let approval = self.approval(stage);
        let (digest, overdue) = match one {
            Requirement::Webhook(webhook) => (Some(webhook.digest()), false),
            Requirement::Evidence(evidence) => {
                (Some(evidence.digest.clone()), judged.as_ref().is_some_and(|judged| judged.overdue))
            }
            Requirement::Approval | Requirement::Pause { .. } => (None, false),
        };
        let requirement = one.to_string();
        if approval.is_some_and(|approval| approval.skip_requirements) {
            let (state, message) = (RequirementState::Open, SKIPPED.to_owned());
            return RequirementStatus { requirement, digest, state, message, overdue: false };
        }
        let (state, message) = match (one, judged) {
            (Requirement::Approval, _) if approval.is_some() => (RequirementState::Open, "approved".to_owned()),
            (Requirement::Approval, _) => {
                (RequirementState::Waiting, "waiting for approval: promote to go on".to_owned())
            }
            // Where no approval is required, a promotion means that nobody needs the pause any longer.
            (Requirement::Pause { .. }, _) if approval.is_some() && !required.contains(&Requirement::Approval) => {
                (RequirementState::Open, "ended by a promotion".to_owned())
            }
            (Requirement::Pause { seconds }, _) => self.pause(*seconds, stage),
            (Requirement::Webhook(webhook), _) => self.answer(webhook, stage),
            (Requirement::Evidence(_), Some(judged)) => (judged.state, judged.message),
            (Requirement::Evidence(evidence), None) => (RequirementState::Waiting, evidence.kind.to_string()),
        };
        RequirementStatus { requirement, digest, state, message, overdue }
    }

    /// How what has this digest stood before, in the same stay at the same stage.
    fn former(&self, digest: &str) -> Option<&RequirementStatus> {
        let is_same_stay = self.is_same_place() && self.before.stage_since == self.status.stage_since;
        self.before.requirements.iter().filter(|_| is_same_stay).find(|one| one.digest.as_deref() == Some(digest))
    }

    /// Whether the stage may be left, as far as people and the spec have a say. The target lies behind it, or is not set.
    pub(super) fn may_leave(&mut self, plan: &Plan, stage: Stage, target: Option<Target>) -> bool {
        let failed = self.failure();
        let Leave::When(required) = self.when_left(plan, stage) else {
            if !failed.is_empty() {
                self.wait_for(WaitReason::Failure, &failed);
                return false;
            }
            let is_asked = target.is_some() || self.approval(stage).is_some();
            if !is_asked {
                self.wait_for(WaitReason::Promotion, "promote to go on");
            }
            return is_asked;
        };
        let waiting = self.messages(RequirementState::Waiting);
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

    fn messages(&self, state: RequirementState) -> String {
        let those = self.status.requirements.iter().filter(|one| one.state == state);
        those.map(|one| one.message.clone()).collect::<Vec<_>>().join("; ")
    }

    /// What has failed, in one line.
    pub(super) fn failure(&self) -> String {
        self.messages(RequirementState::Failed)
    }
}
