//! What is written: the statuses first, since others act on what they say; then what gateways read.

use crate::obstacles::overtaken;
use crate::round::{Decided, Driver, Outcome, rollouts};
use crate::site::{Failure, Prepared, Publication, Refused, Rendered, Round, Site, Subject, View};
use std::collections::BTreeSet;
use std::time::Duration;
use turnout_rollout::{Obstacle, RenderError, freeze, governed_rule, keep_published, publish, route_weights};
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
                Outcome::Departs(_) => {
                    one.stored = true;
                    continue;
                }
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
        decided: &mut [Decided<S::Rollout>],
        round: &mut Round,
    ) -> Option<String> {
        let current = view.revision().map(str::to_owned);
        if !self.site.publishes() || view.is_uncertain() {
            return current;
        }
        let Prepared { mut documents, refused } = self.site.prepare(view).await;
        for Refused { namespace, failure } in refused {
            let is_its = |one: &Decided<_>| one.is_in_gateway_mode() && one.fitted.route_namespace() == namespace;
            self.failed_for(decided, is_its, &failure, round);
        }
        // Where somebody writes all the time, the others do not wait for a round in which nobody has: it is passed over,
        // and all that gateways know of it stays.
        let mut passed_over = BTreeSet::new();
        loop {
            keep_uncertain(&mut documents, view, decided);
            // Gateways refuse a text without documents, so the last one that they took stays.
            if documents.is_empty() {
                return current;
            }
            let Some(rendered) = self.render(view, &documents, decided, round) else { return current };
            match self.site.publish(view, &rendered, &rollouts(decided), &passed_over, round).await {
                Ok(Publication::Stands) => return current,
                Ok(Publication::Swapped(revision)) => {
                    round.pause = Duration::ZERO;
                    return revision;
                }
                Ok(Publication::Outdated(outdated)) => {
                    self.tell_outdated(decided, &outdated, round);
                    if !passed_over.is_empty() {
                        return current;
                    }
                    passed_over.extend(outdated.into_iter().map(|refused| refused.namespace));
                    for one in decided.iter_mut() {
                        one.is_outdated = passed_over.contains(one.namespace());
                    }
                    freeze(&mut documents, view.published(), |name| passed_over.contains(name));
                }
                Err(failure) => {
                    self.all_failed(decided, failure, round);
                    return current;
                }
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

/// Where what was decided is not to be published, or nobody knows what is wanted, the documents stay as they are published.
fn keep_uncertain<V: View>(documents: &mut Vec<Document>, view: &V, decided: &[Decided<V::Rollout>]) {
    let (withheld, published) = (view.withheld(), view.published());
    let named = withheld.iter().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
    // What was given to nobody yet is given as it stands.
    let is_behind = |one: &Decided<_>| one.is_behind() && route_weights(published, &one.fitted).is_ok();
    let uncertain = decided.iter().filter(|one| one.is_uncertain() || is_behind(one));
    for virtual_service in named.chain(uncertain.map(|one| one.fitted.virtual_service())) {
        keep_published(documents, published, virtual_service);
    }
}

/// The text with the weights that were decided. Where somebody deleted a rollout, the one that follows it comes first.
fn publish_governed<R: Subject>(documents: &[Document], decided: &[Decided<R>]) -> Result<String, RenderError> {
    let (gone, there): (Vec<_>, Vec<_>) = decided.iter().partition(|one| one.rollout.is_deleted());
    let mut places = BTreeSet::new();
    let mut rules = Vec::new();
    for one in there.into_iter().chain(gone) {
        let Some((rollout, weights)) = one.governs() else { continue };
        let Ok(place) = governed_rule(documents, &rollout) else { continue };
        if places.insert(place) || !one.rollout.is_deleted() {
            rules.push((rollout, weights));
        }
    }
    let rules: Vec<_> = rules.iter().map(|(rollout, weights)| (&**rollout, *weights)).collect();
    publish(documents, &rules)
}
