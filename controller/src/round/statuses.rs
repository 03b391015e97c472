//! The statuses, which are written first: others act on what they say.

use super::{Controller, Decided, Outcome, Round};
use crate::actions;
use crate::kube_api::ApiError;
use crate::rollouts::RolloutObject;
use crate::view::View;
use crate::workloads::Workloads;
use kube::Client;
use std::time::Duration;
use turnout_rollout::{ConditionStatus, ConditionType, Obstacle, RolloutStatus, Workload};

/// How long the others wait for the status of one rollout to be written, and for how long at most it is then left alone,
/// in seconds.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
const LONGEST_WAIT_SECONDS: u64 = 60;

impl Controller {
    pub(super) async fn write_statuses(&mut self, view: &View, decided: &mut [Decided], round: &mut Round) {
        for one in decided {
            let mut next = one.rollout.rollout.status.clone();
            let mut events = Vec::new();
            match &one.outcome {
                Outcome::Goes(decision) => {
                    next = decision.status.clone();
                    events.clone_from(&decision.events);
                }
                Outcome::Departs(departure) => {
                    next.message.clone_from(&departure.message);
                    // The document may give weight to what was called safe to remove.
                    next.safe_to_remove.clear();
                    next.waiting = None;
                    let (kind, now) = (ConditionType::Progressing, (self.clock)());
                    next.set_condition(kind, ConditionStatus::False, "Deleted", departure.message.clone(), now);
                }
            }
            let about = one.rollout.reference();
            if let Err(obstacle) = self.keep_template(view, &one.rollout, &next).await {
                self.hold(&one.rollout, &obstacle, round);
                continue;
            }
            match self.write_in_time(&mut one.rollout, &next).await {
                Ok(Ok(changed)) => {
                    one.stored = true;
                    if changed {
                        round.pause = Duration::ZERO;
                    }
                }
                Ok(Err(error)) => self.failed(&one.rollout, &error, round),
                Err(obstacle) => self.hold(&one.rollout, &obstacle, round),
            }
            for event in events.iter().filter(|_| one.stored) {
                self.events.tell(&about, event.severity, event.reason, &event.message).await;
            }
        }
    }

    pub(super) async fn keep_template(
        &self,
        view: &View,
        one: &RolloutObject,
        next: &RolloutStatus,
    ) -> Result<(), Obstacle> {
        if one.rollout.spec.workload == Workload::External {
            return Ok(());
        }
        let kept = Workloads::new(&self.client, view, one).keep_template(next).await;
        kept.map_err(|error| actions::obstacle(&error))
    }

    /// Writes a status, unless that takes so long that others would wait for it: then it is left alone for a while.
    /// Returns whether anything was written.
    pub(super) async fn write_in_time(
        &mut self,
        one: &mut RolloutObject,
        status: &RolloutStatus,
    ) -> Result<Result<bool, ApiError>, Obstacle> {
        let (uid, now) = (one.uid(), (self.clock)());
        let message = format!("modelrollouts/status {}: the API server takes long to answer", one.rollout.id());
        let slow = Obstacle { reason: "ApiFailure", message };
        let former = self.slow.get(&uid).copied();
        if former.is_some_and(|(until, _)| now < until) {
            return Err(slow);
        }
        if let Ok(written) = tokio::time::timeout(WRITE_PATIENCE, write_status(&self.client, one, status)).await {
            self.slow.remove(&uid);
            return Ok(written);
        }
        let seconds = former.map_or(1, |(_, seconds)| (seconds * 2).min(LONGEST_WAIT_SECONDS));
        self.slow.insert(uid, (now.plus(seconds), seconds));
        Err(slow)
    }
}

/// Writes a status that differs from the one that was read, and sees to the finalizer before.
pub(super) async fn write_status(
    client: &Client,
    one: &mut RolloutObject,
    next: &RolloutStatus,
) -> Result<bool, ApiError> {
    if one.needs_finalizer() {
        one.set_finalizer(client, true).await?;
    }
    if *next == one.rollout.status {
        return Ok(false);
    }
    one.write_status(client, next).await?;
    Ok(true)
}
