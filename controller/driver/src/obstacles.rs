//! What keeps the driver from doing what was decided: whom it concerns, and where it is said.

use crate::round::{Decided, Driver};
use crate::site::{Failure, Refused, Round, Site, Subject};
use std::time::Duration;
use turnout_rollout::{ModelRollout, Obstacle};

impl<S: Site> Driver<S> {
    /// A write did not get through.
    pub(crate) fn failed(&mut self, one: &S::Rollout, failure: Failure, round: &mut Round) {
        match failure {
            Failure::Overtaken(why) => overtaken(one.rollout(), &why, round),
            Failure::Kept(obstacle) => self.hold(one, &obstacle, round),
        }
    }

    /// A write that concerns all did not get through.
    pub(crate) fn all_failed(&mut self, decided: &[Decided<S::Rollout>], failure: Failure, round: &mut Round) {
        match failure {
            Failure::Overtaken(why) => {
                tracing::info!("looking again: {why}");
                round.pause = Duration::ZERO;
            }
            Failure::Kept(obstacle) => self.hold_all(decided, &obstacle, round),
        }
    }

    /// What some of the rollouts need did not get through: that keeps no other one.
    pub(crate) fn failed_for(
        &mut self,
        decided: &[Decided<S::Rollout>],
        needs_it: impl Fn(&Decided<S::Rollout>) -> bool,
        failure: &Failure,
        round: &mut Round,
    ) {
        for one in decided.iter().filter(|one| needs_it(one)) {
            self.failed(&one.rollout, failure.clone(), round);
        }
        match failure {
            Failure::Overtaken(_) => round.pause = Duration::ZERO,
            Failure::Kept(obstacle) => round.fails(obstacle.message.clone()),
        }
    }

    /// Rollouts of some namespaces are no longer as they were read, or cannot be read again.
    pub(crate) fn tell_outdated(&mut self, decided: &[Decided<S::Rollout>], outdated: &[Refused], round: &mut Round) {
        for Refused { namespace, failure } in outdated {
            self.failed_for(decided, |one| one.namespace() == namespace, failure, round);
        }
    }

    pub(crate) fn hold_all(&mut self, decided: &[Decided<S::Rollout>], obstacle: &Obstacle, round: &mut Round) {
        for one in decided.iter().filter(|one| one.is_in_gateway_mode()) {
            self.obstacles.insert(one.rollout.key(), obstacle.clone());
        }
        round.fails(obstacle.message.clone());
    }

    pub(crate) fn hold(&mut self, one: &S::Rollout, obstacle: &Obstacle, round: &mut Round) {
        self.obstacles.insert(one.key(), obstacle.clone());
        round.fails(format!("{}: {}", one.rollout().id(), obstacle.message));
    }
}

/// Somebody else wrote since it was read: that is no obstacle.
pub(crate) fn overtaken(rollout: &ModelRollout, why: &str, round: &mut Round) {
    tracing::info!(rollout = rollout.id(), "looking again: {why}");
    round.pause = Duration::ZERO;
}
