//! The statuses of rollouts: of those that were decided on, and of those on which nothing can be decided.

use super::{Cluster, failure};
use crate::kube_api::ApiError;
use crate::rollouts::RolloutObject;
use crate::view::{Unread, View};
use kube::Client;
use std::time::Duration;
use turnout_driver::{Failure, Look, Round, Subject as _};
use turnout_rollout::{ConditionStatus, ConditionType, Obstacle, RolloutStatus};

/// How long the others wait for the status of one rollout to be written, and for how long at most it is then left alone,
/// in seconds.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
const LONGEST_WAIT_SECONDS: u64 = 60;

impl Cluster {
    /// Writes a status, unless that takes so long that others would wait for it: then it is left alone for a while.
    /// Returns whether anything was written.
    pub(super) async fn write_in_time(
        &mut self,
        one: &mut RolloutObject,
        status: &RolloutStatus,
    ) -> Result<bool, Failure> {
        let uid = one.uid();
        let message = format!("modelrollouts/status {}: the API server takes long to answer", one.rollout.id());
        let slow = Failure::Kept(Obstacle { reason: "ApiFailure", message });
        let former = self.slow.get(&uid).copied();
        if former.is_some_and(|(until, _)| self.now < until) {
            return Err(slow);
        }
        if let Ok(written) = tokio::time::timeout(WRITE_PATIENCE, write_status(&self.client, one, status)).await {
            self.slow.remove(&uid);
            return written.map_err(|error| failure(&error));
        }
        let seconds = former.map_or(1, |(_, seconds)| (seconds * 2).min(LONGEST_WAIT_SECONDS));
        self.slow.insert(uid, (self.now.plus(seconds), seconds));
        Err(slow)
    }

    /// What could not be read is said in every rollout that could; what was decided before stays as it is.
    pub(super) async fn cannot_look(&mut self, unread: Unread, round: &mut Round) -> Look<View> {
        let Unread { error, mut rollouts } = unread;
        let obstacle = error.obstacle();
        for one in &mut rollouts {
            self.tell_obstacle(one, &obstacle, round).await;
        }
        Look::Failed(obstacle, rollouts.iter().map(RolloutObject::uid).collect())
    }

    /// Rollouts of namespaces that cannot be read are told so, and keep what is published of their rules. One that is
    /// being deleted where the controller has no rights goes with its namespace, whose Roles went first.
    pub(super) async fn tell_unread(&mut self, view: &mut View, round: &mut Round) {
        for (name, obstacle) in view.dark.iter().chain(&view.frozen) {
            round.fails(format!("namespace {name} stays as it is published: {}", obstacle.message));
        }
        for (one, obstacle) in &mut view.apart {
            if one.is_deleted() && obstacle.reason == "Forbidden" {
                if one.has_finalizer()
                    && let Err(error) = one.set_finalizer(&self.client, false).await
                {
                    round.problems.push(error.to_string());
                }
                continue;
            }
            self.tell_obstacle(one, obstacle, round).await;
        }
    }

    /// Says in the status what keeps the rollout from being decided on.
    async fn tell_obstacle(&mut self, one: &mut RolloutObject, obstacle: &Obstacle, round: &mut Round) {
        let mut status = one.rollout.status.clone();
        let kind = ConditionType::Operational;
        status.set_condition(kind, ConditionStatus::False, obstacle.reason, obstacle.message.clone(), self.now);
        match self.write_in_time(one, &status).await {
            Ok(_) => {}
            Err(Failure::Overtaken(why)) => round.problems.push(why),
            Err(Failure::Kept(slow)) => round.problems.push(slow.message),
        }
        self.telemetry.is_kept_from(&one.rollout);
    }
}

/// Writes a status that differs from the one that was read, and sees to the finalizer before.
async fn write_status(client: &Client, one: &mut RolloutObject, next: &RolloutStatus) -> Result<bool, ApiError> {
    if one.needs_finalizer() {
        one.set_finalizer(client, true).await?;
    }
    if *next == one.rollout.status {
        return Ok(false);
    }
    one.write_status(client, next).await?;
    Ok(true)
}
