//! The statuses of rollouts: of those that were decided on, and of those on which nothing can be decided.

use super::Cluster;
use crate::kube_api::ApiError;
use crate::rollouts::RolloutObject;
use crate::view::{Unread, View};
use kube::Client;
use turnout_driver::{Look, Round, Subject as _};
use turnout_rollout::{ConditionStatus, ConditionType, Obstacle, RolloutStatus};

impl Cluster {
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
                    && let Err(error) = one.set_finalizer(&self.patient, false).await
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
        status.sum_up(self.now);
        if let Err(error) = write_status(&self.patient, one, &status).await {
            round.problems.push(error.to_string());
        }
        self.telemetry.is_kept_from(&one.rollout);
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
