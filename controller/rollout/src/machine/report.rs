//! The end of every decision: what the status says, and what people hear of.

use super::confirm::Confirmation;
use super::{Decision, Draft, Severity};
use crate::observation::{GatewayObservation, Obstacle};
use crate::resource::{ConditionStatus, ConditionType, GatewayStatus, Mode, Phase, WaitReason, Waiting};
use crate::stage::Target;
use crate::timestamp::Timestamp;
use crate::weights::{Backend, Weights};

/// So many gateways are listed in a status.
const LISTED_GATEWAYS: usize = 100;

impl Draft<'_> {
    pub(super) fn finish(mut self) -> Decision {
        let weights = self.weights();
        self.report_drift();
        self.status.weights_since = self.weights_since(weights);
        self.status.weights = weights;
        self.status.waiting = self.waiting();
        self.status.gateways = self.gateways();
        self.report_phase();
        self.report_conditions(weights);
        self.status.observed_generation = self.rollout.metadata.generation;
        let governs = self.governs();
        Decision {
            weights: weights.filter(|_| governs),
            status: self.status,
            actions: self.actions,
            events: self.events,
        }
    }

    /// Nothing that changes by itself: what rollouts elsewhere have published, and requests in flight, are no part of it. Of
    /// a rollout that is not under way nothing is said, since a gateway that comes or goes would change all of them.
    fn gateways(&self) -> Vec<GatewayStatus> {
        if self.spec.mode != Mode::Gateway || !self.status.in_progress() {
            return Vec::new();
        }
        let revision = self.observed.published.as_ref().map(|published| published.revision.as_str());
        let mut all: Vec<_> = self.observed.gateways.iter().filter(|gateway| gateway.serving).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        let status = |gateway: &&GatewayObservation| {
            let weights = Weights { green: gateway.green.weight, blue: gateway.blue.weight };
            let refused = gateway.rejected.as_ref().filter(|rejected| Some(rejected.revision.as_str()) == revision);
            let problem = match refused {
                _ if !gateway.answers => Some("it does not answer".to_owned()),
                Some(rejected) => Some(format!("it refuses what is published: {}", rejected.reason)),
                None => None,
            };
            let has_rule = gateway.answers && weights.green + weights.blue > 0;
            GatewayStatus { name: gateway.id.clone(), weights: has_rule.then_some(weights), problem }
        };
        all.iter().take(LISTED_GATEWAYS).map(status).collect()
    }

    /// Somebody else changed weights that were in effect.
    fn report_drift(&mut self) {
        let published = self.observed.published.as_ref().map(|published| published.weights);
        let was_published = self.before.weights.filter(|_| self.before.weights_since.is_some());
        if let (Some(published), Some(former)) = (published, was_published)
            && published != former
        {
            let message = format!("{published} was published by somebody else, {former} is right and is put back");
            self.tell(Severity::Warning, "WeightsChanged", message);
        }
    }

    fn weights_since(&self, weights: Option<Weights>) -> Option<Timestamp> {
        let published = self.observed.published.as_ref().map(|published| published.weights);
        if weights.is_none() || published != weights {
            return None;
        }
        let unchanged = self.before.weights == weights;
        Some(self.before.weights_since.filter(|_| unchanged).unwrap_or(self.observed.now))
    }

    fn waiting(&mut self) -> Option<Waiting> {
        let (reason, _) = self.wait.as_ref()?;
        let reason = *reason;
        let is_same = self.is_same_place() && self.before.weights == self.status.weights;
        let former = self.before.waiting.as_ref().filter(|former| is_same && former.reason == reason);
        let since = former.map_or(self.observed.now, |former| former.since);
        let deadline = self.deadline_seconds(reason).map(|seconds| since.plus(seconds));
        let overdue = deadline.is_some_and(|deadline| self.observed.now > deadline);
        let was_overdue = former.is_some_and(|former| former.overdue);
        if overdue && !was_overdue {
            let left = self.left.as_ref().map(|left| format!("; {left}")).unwrap_or_default();
            self.tell(Severity::Warning, "DeadlineExceeded", format!("{}{left}", self.line()));
        }
        let pauses = reason == WaitReason::Requirements;
        let until = deadline.or_else(|| if pauses { self.end_of_pause() } else { None });
        Some(Waiting { reason, since, until, overdue })
    }

    fn deadline_seconds(&self, reason: WaitReason) -> Option<u64> {
        match reason {
            WaitReason::Confirmation | WaitReason::EndpointsSeen => Some(self.spec.confirm_deadline_seconds),
            WaitReason::CandidateReady
            | WaitReason::WarmUp
            | WaitReason::ReadyEndpoints
            | WaitReason::StableImage
            | WaitReason::Removal => Some(self.spec.ready_deadline_seconds),
            WaitReason::Drain => Some(self.spec.drain_deadline_seconds),
            // What somebody has to decide or to correct may take as long as it takes.
            WaitReason::ValidSpec
            | WaitReason::Route
            | WaitReason::Requirements
            | WaitReason::Failure
            | WaitReason::Promotion
            | WaitReason::Resume => None,
        }
    }

    fn report_phase(&mut self) {
        self.status.phase = self.phase();
        self.status.message = self.line();
    }

    fn phase(&self) -> Phase {
        let overdue = self.status.waiting.as_ref().is_some_and(|waiting| waiting.overdue);
        let reason = self.wait.as_ref().map(|(reason, _)| *reason);
        match (self.status.position(), reason) {
            _ if self.refusal.is_some() && !self.goes_back() => Phase::Invalid,
            (None, _) => Phase::Idle,
            (Some(Target::Rollback), _) if self.done => Phase::RolledBack,
            _ if self.done => Phase::Complete,
            _ if overdue => Phase::Stalled,
            (Some(Target::Rollback), _) => Phase::RollingBack,
            (_, Some(WaitReason::Resume)) => Phase::Paused,
            (_, Some(WaitReason::Failure)) => Phase::Failed,
            (_, Some(WaitReason::Requirements | WaitReason::Promotion)) => Phase::Holding,
            _ => Phase::Progressing,
        }
    }

    /// In one line, what goes on and why.
    fn line(&self) -> String {
        let text = match (&self.wait, self.status.position()) {
            (Some((_, text)), _) => text.clone(),
            (None, None) => {
                "nothing to roll out: spec.revision is not set (`turnout rollout start --revision` sets it)".to_owned()
            }
            (None, Some(_)) if self.done => self.end_line(),
            (None, Some(_)) => "reached".to_owned(),
        };
        let place = self.status.position().map(|position| format!("{position}: ")).unwrap_or_default();
        let note = self.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
        format!("{place}{text}{note}")
    }

    fn end_line(&self) -> String {
        let revision = self.status.stable_revision.as_deref().unwrap_or("unknown");
        let blue = if self.observed.blue.exists { ", and blue may be removed" } else { "" };
        format!("green serves everything with revision {revision}{blue}")
    }

    fn report_conditions(&mut self, weights: Option<Weights>) {
        match self.refusal.clone() {
            Some((WaitReason::Route, problem)) => self.report_refusal("RouteNotFound", problem),
            Some((_, problem)) => self.report_refusal("Invalid", problem),
            None => {
                let message = "the spec and its route are valid".to_owned();
                self.set(ConditionType::Accepted, ConditionStatus::True, "Accepted", message);
            }
        }
        if let Some(weights) = weights {
            self.report_confirmation(weights);
            self.report_health(weights);
        }
        self.report_progress();
        self.report_obstacle();
        self.status.sum_up(self.observed.now);
        let waits = matches!(self.wait, Some((WaitReason::StableImage, _)));
        if waits {
            let text = self.line();
            self.set(ConditionType::WaitingForStableImage, ConditionStatus::True, "StableImageMissing", text);
        } else if self.before.condition(ConditionType::WaitingForStableImage).is_some() {
            let text = "nothing waits for the stable image".to_owned();
            self.set(ConditionType::WaitingForStableImage, ConditionStatus::False, "NotWaiting", text);
        }
    }

    /// A driver that was never kept from anything has no such condition.
    fn report_obstacle(&mut self) {
        if let Some(Obstacle { reason, message }) = &self.observed.obstacle {
            let former = self.before.condition(ConditionType::Operational);
            if former.is_none_or(|former| former.message != *message) {
                self.tell(Severity::Warning, reason, message.clone());
            }
            self.set(ConditionType::Operational, ConditionStatus::False, reason, message.clone());
        } else if self.before.condition(ConditionType::Operational).is_some() {
            let text = "what was decided is done".to_owned();
            self.set(ConditionType::Operational, ConditionStatus::True, "Working", text);
        }
    }

    fn report_refusal(&mut self, reason: &'static str, problem: String) {
        let former = self.before.condition(ConditionType::Accepted);
        if former.is_none_or(|former| former.message != problem) {
            self.tell(Severity::Warning, reason, problem.clone());
        }
        self.set(ConditionType::Accepted, ConditionStatus::False, reason, problem);
    }

    fn report_confirmation(&mut self, weights: Weights) {
        let (status, reason, message) = match self.confirmation(weights) {
            Confirmation::Confirmed(by) => {
                let message = format!("{} of {} gateways have {weights}", by.len(), by.len());
                (ConditionStatus::True, "EveryGateway", message)
            }
            Confirmation::Settled => {
                let message = format!("{weights} is published and settled, Istio reports no confirmation");
                (ConditionStatus::Unknown, "Settled", message)
            }
            Confirmation::Pending(message) => (ConditionStatus::False, "Pending", message),
            Confirmation::Rejected(message) => (ConditionStatus::False, "Rejected", message),
        };
        let was_rejected =
            self.before.condition(ConditionType::Confirmed).is_some_and(|former| former.reason == "Rejected");
        if reason == "Rejected" && !was_rejected {
            self.tell(Severity::Warning, "RoutesRejected", message.clone());
        }
        self.set(ConditionType::Confirmed, status, reason, message);
    }

    fn report_health(&mut self, weights: Weights) {
        let wanted = self.wanted_weights().unwrap_or(weights);
        let lost = Backend::BOTH.into_iter().find(|&backend| {
            wanted.of(backend) > 0
                && (weights.share(backend) < wanted.share(backend) || !self.observed.backend(backend).is_ready())
        });
        let was_lost =
            self.before.condition(ConditionType::Healthy).is_some_and(|former| former.status == ConditionStatus::False);
        let Some(backend) = lost else {
            let message = format!("{weights} as wanted");
            if was_lost {
                self.tell(Severity::Normal, "WeightReturned", message.clone());
            }
            return self.set(ConditionType::Healthy, ConditionStatus::True, "EndpointsReady", message);
        };
        let ready = self.observed.backend(backend).ready_endpoints;
        let message = format!("{backend} has {ready} ready endpoints: {weights} is in effect, {wanted} is wanted");
        let reason = if weights == wanted { "NoReadyEndpoints" } else { "WeightMoved" };
        if !was_lost {
            self.tell(Severity::Warning, reason, message.clone());
        }
        self.set(ConditionType::Healthy, ConditionStatus::False, reason, message);
    }

    fn report_progress(&mut self) {
        let overdue = self.status.waiting.as_ref().is_some_and(|waiting| waiting.overdue);
        let moves = matches!(self.status.phase, Phase::Progressing | Phase::RollingBack);
        let status = if moves && !overdue { ConditionStatus::True } else { ConditionStatus::False };
        let reason = if overdue { "DeadlineExceeded" } else { self.status.phase.as_str() };
        let message = self.status.message.clone();
        self.set(ConditionType::Progressing, status, reason, message);
    }

    /// Sets a condition; its time changes only with its status.
    fn set(&mut self, kind: ConditionType, status: ConditionStatus, reason: &str, message: String) {
        self.status.set_condition(kind, status, reason, message, self.observed.now);
    }
}
