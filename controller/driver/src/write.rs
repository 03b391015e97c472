//! What is written: the statuses first, since others act on what they say; then what gateways read.

use crate::obstacles::overtaken;
use crate::round::{Decided, Driver, Outcome, rollouts};
use crate::site::{Failure, Prepared, Publication, Refused, Rendered, Round, Site, Subject, View};
use std::time::Duration;
use turnout_rollout::{
    ConditionStatus, ConditionType, Departure, Obstacle, RenderError, RolloutStatus, Timestamp, keep_published,
    publish, route_weights,
};
use turnout_routes::documents::Document;

impl<S: Site> Driver<S> {
    pub(crate) async fn write_statuses(
        &mut self,
        view: &S::View,
        decided: &mut [Decided<S::Rollout>],
        round: &mut Round,
    ) {
        for one in decided {
            let next = match &one.outcome {
                Outcome::Goes(decision) => decision.status.clone(),
                Outcome::Departs(departure) => departing(one.rollout.rollout().status.clone(), departure, self.now),
            };
            match self.site.write_status(view, &mut one.rollout, &next).await {
                Ok(changed) => {
                    one.stored = true;
                    if changed {
                        round.pause = Duration::ZERO;
                    }
                }
                Err(failure) => self.failed(&one.rollout, failure, round),
            }
        }
    }

    /// Publishes what was decided, if that differs from what is published. Returns the revision that is published then.
    pub(crate) async fn publish(
        &mut self,
        view: &mut S::View,
        decided: &[Decided<S::Rollout>],
        round: &mut Round,
    ) -> Option<String> {
        let current = view.revision().map(str::to_owned);
        if !self.site.publishes() || view.is_uncertain() {
            return current;
        }
        let Prepared { mut documents, refused } = self.site.prepare(view).await;
        for Refused { namespace, failure } in refused {
            self.failed_in(decided, &namespace, &failure, round);
        }
        let withheld = view.withheld();
        let named = withheld.iter().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
        let uncertain = decided.iter().filter(|one| one.is_uncertain()).map(|one| one.fitted.virtual_service());
        for virtual_service in named.chain(uncertain) {
            keep_published(&mut documents, view.published(), virtual_service);
        }
        // Gateways refuse a text without documents, so the last one that they took stays.
        if documents.is_empty() {
            return current;
        }
        let Some(rendered) = self.render(view, &documents, decided, round) else { return current };
        match self.site.publish(view, &rendered, &rollouts(decided), round).await {
            Ok(Publication::Stands) => current,
            Ok(Publication::Swapped(revision)) => {
                round.pause = Duration::ZERO;
                revision
            }
            Ok(Publication::Outdated) => {
                round.pause = Duration::ZERO;
                current
            }
            Err(failure) => {
                self.all_failed(decided, failure, round);
                current
            }
        }
    }

    fn render(
        &mut self,
        view: &S::View,
        documents: &[Document],
        decided: &[Decided<S::Rollout>],
        round: &mut Round,
    ) -> Option<Rendered> {
        match publish_governed(documents, decided) {
            Ok(text) => Some(Rendered { text, is_whole: true }),
            Err(error) => {
                let message = format!("{error}; until then changes of documents wait, and weights move as decided");
                self.hold_all(decided, &Obstacle { reason: "NotPublishable", message }, round);
                publish_governed(view.published(), decided).ok().map(|text| Rendered { text, is_whole: false })
            }
        }
    }

    pub(crate) async fn set_elsewhere(&mut self, view: &S::View, decided: &[Decided<S::Rollout>], round: &mut Round) {
        for one in decided.iter().filter(|one| one.stored && !one.is_in_gateway_mode()) {
            let Outcome::Goes(decision) = &one.outcome else { continue };
            let Some(weights) = decision.weights else { continue };
            match self.site.set_elsewhere(view, &one.rollout, weights).await {
                Ok(true) => round.pause = Duration::ZERO,
                Ok(false) => {}
                Err(Failure::Overtaken(why)) => overtaken(one.rollout.rollout(), &why, round),
                Err(failure) => self.failed(&one.rollout, failure, round),
            }
        }
    }
}

/// The text with the weights that were decided.
fn publish_governed<R: Subject>(documents: &[Document], decided: &[Decided<R>]) -> Result<String, RenderError> {
    let governed = decided.iter().filter_map(Decided::governs);
    let governed: Vec<_> = governed.filter(|(one, _)| route_weights(documents, one).is_ok()).collect();
    publish(documents, &governed)
}

/// The status of a rollout that somebody deleted.
fn departing(mut status: RolloutStatus, departure: &Departure, now: Timestamp) -> RolloutStatus {
    status.message.clone_from(&departure.message);
    // The document may give weight to what was called safe to remove.
    status.safe_to_remove.clear();
    status.waiting = None;
    let kind = ConditionType::Progressing;
    status.set_condition(kind, ConditionStatus::False, "Deleted", departure.message.clone(), now);
    status
}
