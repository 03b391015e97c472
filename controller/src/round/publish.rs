//! What gateways get: twins and the published ConfigMap, or, in Istio mode, two weights of a VirtualService.

use super::{Controller, Decided, Outcome, Round};
use crate::documents::freeze;
use crate::istio;
use crate::published::{PublishedRoutes, fence};
use crate::rollouts::{RolloutObject, Rollouts};
use crate::twins;
use crate::view::View;
use kube::api::DynamicObject;
use std::time::Duration;
use turnout_rollout::{Mode, Obstacle, Registry, RenderError, publish, route_weights};
use turnout_routes::documents::Document;

/// A text for gateways.
struct Wanted {
    text: String,
    /// What was made for all that it names; none where some of it stays as it was published, with twins of its own.
    registry: Option<Registry>,
}

impl Controller {
    /// Publishes what was decided, if that differs from what is published. Returns what is published then.
    pub(super) async fn publish(&mut self, view: &View, decided: &[Decided], round: &mut Round) -> PublishedRoutes {
        let current = view.published.clone();
        let cannot_hold = |(object, _): &(DynamicObject, String)| RolloutObject::former(object).is_none();
        let is_uncertain =
            view.rollouts.unreadable.iter().any(cannot_hold) || decided.iter().any(Decided::is_uncertain);
        if !self.settings.has_gateway() || is_uncertain {
            return current;
        }
        let Some(wanted) = self.wanted(view, decided, round).await else { return current };
        let mut fenced = as_written(view, decided);
        fenced.readable.retain(|one| one.rollout.spec.mode == Mode::Gateway);
        let fence = fence(&fenced);
        if current.is(&wanted.text, &fence) {
            if let Some(registry) = wanted.registry {
                self.tidy_twins(view, &registry, round).await;
            }
            return current;
        }
        if !self.is_newest(view, decided, round).await {
            return current;
        }
        match current.replace(&self.client, &self.settings, &wanted.text, fence).await {
            Ok(published) => {
                if published.revision != current.revision {
                    self.telemetry.published();
                }
                round.pause = Duration::ZERO;
                published
            }
            Err(error) => {
                self.all_failed(decided, &error, round);
                current
            }
        }
    }

    /// What is to be published, once the twins are there that it names; none if gateways would refuse it.
    async fn wanted(&mut self, view: &View, decided: &[Decided], round: &mut Round) -> Option<Wanted> {
        let registry = twins::registry(view, self.settings.registry);
        let current = &view.published.documents;
        let mut documents = registry.join(&view.documents.documents);
        let refused = twins::apply(&self.client, &self.settings, view, &registry).await;
        for (namespace, error) in &refused {
            self.failed_in(decided, namespace, error, round);
        }
        // What gateways know goes on, with other weights if need be: they must not look up what is not there.
        freeze(&mut documents, current, |name| view.is_frozen(name) || refused.contains_key(name));
        self.tell_notices(&registry.notices);
        // Gateways refuse a text without documents, so the last one that they took stays.
        if documents.is_empty() {
            return None;
        }
        match publish_governed(&documents, decided) {
            Ok(text) => {
                let is_whole = refused.is_empty() && view.dark.is_empty();
                Some(Wanted { text, registry: is_whole.then_some(registry) })
            }
            Err(error) => {
                let message = format!("{error}; until then changes of documents wait, and weights move as decided");
                self.hold_all(decided, &Obstacle { reason: "NotPublishable", message }, round);
                publish_governed(current, decided).ok().map(|text| Wanted { text, registry: None })
            }
        }
    }

    /// Reads the rollouts once more before anything follows from what they say: a list may be older than what another
    /// replica has done, or lack a rollout, and a status that need not be written proves nothing.
    pub(super) async fn is_newest(&mut self, view: &View, decided: &[Decided], round: &mut Round) -> bool {
        match Rollouts::read(&self.client, &view.listed).await {
            Ok(rollouts) => {
                let is_newest = rollouts.versions() == as_written(view, decided).versions();
                if !is_newest {
                    tracing::info!("looking again: a rollout has changed");
                    round.pause = Duration::ZERO;
                }
                is_newest
            }
            Err(error) => {
                self.all_failed(decided, &error, round);
                false
            }
        }
    }

    /// A gateway that has older routes may still look a twin up.
    pub(super) async fn tidy_twins(&self, view: &View, registry: &Registry, round: &mut Round) {
        let revision = view.published.revision.as_deref().unwrap_or_default();
        if view.gateways.iter().all(|gateway| gateway.has(revision))
            && let Err(error) = twins::remove_others(&self.client, view, registry).await
        {
            round.problems.push(error.to_string());
        }
    }

    /// Says what will not work, once.
    pub(super) fn tell_notices(&mut self, notices: &[String]) {
        for notice in notices.iter().filter(|notice| !self.notices.contains(notice)) {
            tracing::warn!("{notice}");
        }
        self.notices = notices.to_vec();
    }

    pub(super) async fn patch_istio(&mut self, view: &View, decided: &[Decided], round: &mut Round) {
        let refused_before = std::mem::take(&mut self.refused);
        for one in decided.iter().filter(|one| one.stored && !one.is_in_gateway_mode()) {
            let Outcome::Goes(decision) = &one.outcome else { continue };
            let Some(weights) = decision.weights else { continue };
            match istio::patch(&self.client, view, &one.rollout.rollout, weights).await {
                Ok(true) => round.pause = Duration::ZERO,
                Ok(false) => {}
                Err(error) if error.is_unprocessable() => {
                    let refused = (one.rollout.uid(), istio::resource_version(view, &one.rollout.rollout));
                    // Somebody changed the rule in between: look again, decide again. Where nobody did, a policy refuses.
                    if refused_before.contains(&refused) {
                        self.failed(&one.rollout, &error, round);
                    } else {
                        tracing::info!(rollout = one.rollout.rollout.id(), "planned anew: {error}");
                        round.pause = Duration::ZERO;
                    }
                    self.refused.insert(refused);
                }
                Err(error) => self.failed(&one.rollout, &error, round),
            }
        }
    }
}

/// The text with the weights that were decided.
pub(super) fn publish_governed(documents: &[Document], decided: &[Decided]) -> Result<String, RenderError> {
    let governed = decided.iter().filter_map(Decided::governs);
    let governed: Vec<_> = governed.filter(|(one, _)| route_weights(documents, one).is_ok()).collect();
    publish(documents, &governed)
}

/// The rollouts in the versions that were written over those that were read.
pub(super) fn as_written(view: &View, decided: &[Decided]) -> Rollouts {
    let apart = view.apart.iter().map(|(one, _)| one);
    let readable = decided.iter().map(|one| &one.rollout).chain(apart).cloned().collect();
    Rollouts { readable, unreadable: view.rollouts.unreadable.clone() }
}
