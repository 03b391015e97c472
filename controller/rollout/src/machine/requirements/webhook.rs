//! A webhook is asked while nothing else is waited for, and its answer decides.

use super::SKIPPED;
use crate::machine::{Action, Draft, Question};
use crate::observation::Reply;
use crate::resource::{Requirement, RequirementState, RequirementStatus, Webhook};
use crate::stage::Stage;
use serde_json::json;

impl Draft<'_> {
    /// What decided it once is kept, so that nobody who leads later has to ask again.
    pub(super) fn answer(&self, webhook: &Webhook, stage: Stage) -> (RequirementState, String) {
        let kept = self.former(&webhook.digest());
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

    pub(super) fn ask_those_that_wait(&mut self, required: &[Requirement], stage: Stage) {
        let is_waiting = |one: &RequirementStatus| one.state == RequirementState::Waiting;
        let waiting: Vec<bool> = self.status.requirements.iter().map(is_waiting).collect();
        for (one, is_waiting) in required.iter().zip(waiting) {
            if let (Requirement::Webhook(webhook), true) = (one, is_waiting) {
                self.actions.push(Action::Ask(self.question(webhook, stage)));
            }
        }
    }
}
