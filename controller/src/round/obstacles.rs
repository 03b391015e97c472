//! What keeps the controller from doing what was decided: whom it concerns, and where it is said.

use super::{Controller, Decided, RETRY, Round};
use crate::kube_api::{ApiError, title};
use crate::rollouts::{RolloutObject, Rollouts};
use crate::view::View;
use std::collections::BTreeSet;
use std::time::Duration;
use turnout_rollout::{ConditionStatus, ConditionType, Obstacle};

impl Controller {
    /// What could not be read is said in every rollout that can be; what was decided before stays as it is.
    pub(super) async fn cannot_look(&mut self, error: &ApiError) -> Round {
        let mut round = Round { pause: RETRY, problems: vec![error.to_string()], ..Round::default() };
        let Ok(rollouts) = Rollouts::read(&self.client, &self.settings.namespaces).await else { return round };
        let obstacle = error.obstacle();
        for mut one in rollouts.readable {
            self.tell_obstacle(&mut one, &obstacle, &mut round).await;
            self.obstacles.insert(one.uid(), obstacle.clone());
        }
        round
    }

    /// Says in the status what keeps the rollout from being decided on.
    pub(super) async fn tell_obstacle(&mut self, one: &mut RolloutObject, obstacle: &Obstacle, round: &mut Round) {
        let mut status = one.rollout.status.clone();
        let (kind, now) = (ConditionType::Operational, (self.clock)());
        status.set_condition(kind, ConditionStatus::False, obstacle.reason, obstacle.message.clone(), now);
        let problem = match self.write_in_time(one, &status).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(slow) => Some(slow.message),
        };
        round.problems.extend(problem);
        self.telemetry.is_kept_from(&one.rollout);
    }

    /// Rollouts of namespaces that cannot be read are told so, and keep what is published of their rules. One that is
    /// being deleted where the controller has no rights goes with its namespace, whose Roles went first.
    pub(super) async fn tell_apart(&mut self, view: &mut View, round: &mut Round) {
        for (name, obstacle) in view.dark.iter().chain(&view.frozen) {
            round.problems.push(format!("namespace {name} stays as it is published: {}", obstacle.message));
            round.pause = round.pause.min(RETRY);
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

    /// Which rollouts govern a rule of another namespace: those documents can be read while their rollouts cannot, and
    /// stay published all the same. Forgets what belongs to rollouts that have gone.
    pub(super) fn remember(&mut self, view: &View) {
        self.met.retain(|namespace, _| !view.listed.contains(namespace) && self.settings.governs(namespace));
        let all = view.rollouts.readable.iter().chain(view.apart.iter().map(|(one, _)| one));
        let mut uids = BTreeSet::new();
        for one in all {
            uids.insert(one.uid());
            let (rollout, namespace) = (&one.rollout, &one.rollout.metadata.namespace);
            if rollout.route_namespace() != namespace {
                self.met.entry(namespace.clone()).or_default().push(rollout.clone());
            }
        }
        self.slow.retain(|uid, _| uids.contains(uid));
    }

    /// A write did not get through. A conflict is no obstacle: somebody else wrote, so look again.
    pub(super) fn failed(&mut self, one: &RolloutObject, error: &ApiError, round: &mut Round) {
        if error.is_conflict() || error.is_missing() {
            tracing::info!(rollout = one.rollout.id(), "looking again: {error}");
            round.pause = Duration::ZERO;
            return;
        }
        self.hold(one, &error.obstacle(), round);
    }

    pub(super) fn all_failed(&mut self, decided: &[Decided], error: &ApiError, round: &mut Round) {
        if error.is_conflict() {
            tracing::info!("looking again: {error}");
            round.pause = Duration::ZERO;
            return;
        }
        self.hold_all(decided, &error.obstacle(), round);
    }

    /// A write in a namespace did not get through: that keeps nobody elsewhere.
    pub(super) fn failed_in(&mut self, decided: &[Decided], namespace: &str, error: &ApiError, round: &mut Round) {
        for one in decided.iter().filter(|one| one.is_in_gateway_mode() && one.fitted.route_namespace() == namespace) {
            self.failed(&one.rollout, error, round);
        }
        if error.is_conflict() {
            round.pause = Duration::ZERO;
        } else {
            round.problems.push(error.to_string());
            round.pause = round.pause.min(RETRY);
        }
    }

    pub(super) fn hold_all(&mut self, decided: &[Decided], obstacle: &Obstacle, round: &mut Round) {
        for one in decided.iter().filter(|one| one.is_in_gateway_mode()) {
            self.obstacles.insert(one.rollout.uid(), obstacle.clone());
        }
        round.problems.push(obstacle.message.clone());
        round.pause = round.pause.min(RETRY);
    }

    pub(super) fn hold(&mut self, one: &RolloutObject, obstacle: &Obstacle, round: &mut Round) {
        self.obstacles.insert(one.uid(), obstacle.clone());
        round.problems.push(format!("{}: {}", one.rollout.id(), obstacle.message));
        round.pause = round.pause.min(RETRY);
    }
}

pub(super) fn tell_of_unreadable(view: &View, round: &mut Round) {
    for (object, problem) in &view.rollouts.unreadable {
        let message = if RolloutObject::former(object).is_some() {
            "its rule stays as it is published"
        } else {
            "nothing is published meanwhile"
        };
        round.problems.push(format!("{} cannot be read, and {message}: {problem}", title(object)));
    }
    if let Some(problem) = view.documents.problems.first() {
        tracing::debug!(count = view.documents.problems.len(), "documents are refused, the first: {problem}");
    }
}
