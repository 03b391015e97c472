//! The statuses of rollouts: of those that were decided on, and of those on which nothing can be decided.

use super::Cluster;
use crate::kube_api::ApiError;
use crate::rollouts::RolloutObject;
use crate::view::{Unread, View};
use kube::Client;
use std::time::Duration;
use turnout_driver::{Look, Round};
use turnout_rollout::{ConditionStatus, ConditionType, Obstacle, RolloutStatus, Timestamp};

impl Cluster {
    /// What could not be read is said in every rollout that could; what was decided before stays as it is.
    pub(super) async fn cannot_look(&mut self, unread: Unread, round: &mut Round) -> Look<View> {
        let Unread { error, mut rollouts } = unread;
        let obstacle = error.obstacle();
        for one in rollouts.iter_mut().filter(|one| !one.departed) {
            self.tell_obstacle(one, &obstacle, round).await;
        }
        Look::Failed(obstacle, rollouts.iter().map(RolloutObject::uid).collect())
    }

    /// Rollouts of namespaces that cannot be read are told so, and keep what is published of their rules.
    pub(super) async fn tell_unread(&mut self, view: &mut View, round: &mut Round) {
        for (name, obstacle) in view.dark.iter().chain(&view.frozen) {
            round.fails(format!("namespace {name} stays as it is published: {}", obstacle.message));
        }
        for (one, obstacle) in view.apart.iter_mut().filter(|(one, _)| !one.departed) {
            self.tell_obstacle(one, obstacle, round).await;
        }
        let mut leaving = std::mem::take(&mut view.leaving);
        for one in leaving.iter_mut().filter(|one| one.has_finalizer() && view.may_go(one)) {
            if let Err(error) = one.remove_finalizer(&self.patient).await {
                round.problems.push(error.to_string());
            }
            round.pause = Duration::ZERO;
        }
        view.leaving = leaving;
    }

    /// Says in the status what keeps the rollout from being decided on.
    async fn tell_obstacle(&mut self, one: &mut RolloutObject, obstacle: &Obstacle, round: &mut Round) {
        let status = kept_from(&one.rollout.status, obstacle, self.now);
        if let Err(error) = write_status(&self.patient, one, &status).await {
            round.problems.push(error.to_string());
        }
        self.telemetry.is_kept_from(&one.rollout);
    }
}

/// A status that goes on, but says what keeps the rollout from it.
pub(super) fn kept_from(status: &RolloutStatus, obstacle: &Obstacle, now: Timestamp) -> RolloutStatus {
    let mut status = status.clone();
    let kind = ConditionType::Operational;
    status.set_condition(kind, ConditionStatus::False, obstacle.reason, obstacle.message.clone(), now);
    status.sum_up(now);
    status
}

/// Writes a status that differs from the one that was read.
pub(super) async fn write_status(
    client: &Client,
    one: &mut RolloutObject,
    next: &RolloutStatus,
) -> Result<bool, ApiError> {
    if one.has_finalizer() {
        one.remove_finalizer(client).await?;
    }
    if *next == one.rollout.status {
        return Ok(false);
    }
    one.write_status(client, next).await?;
    Ok(true)
}
