//! What gateways get: the twins that the routes name, and the published ConfigMap.

use super::{Cluster, shared_failure};
use crate::published::fence;
use crate::rollouts::{RolloutObject, versions, write_governed};
use crate::twins;
use crate::view::View;
use std::collections::BTreeSet;
use turnout_driver::{Failure, Prepared, Publication, Refused, Rendered, Round, Site as _};
use turnout_rollout::{Mode, Registry, freeze};

impl Cluster {
    /// The documents with what gateways must know of Services, once the twins are there that they name.
    pub(super) async fn make_twins(&mut self, view: &mut View) -> Prepared {
        let registry = twins::registry(view, self.settings.registry);
        let mut documents = registry.join(&view.documents.documents);
        let refused = twins::apply(&self.patient, &self.settings, view, &registry).await;
        // What gateways know goes on, with other weights if need be: they must not look up what is not there.
        let published = &view.published.documents;
        freeze(&mut documents, published, |name| view.is_frozen(name) || refused.contains_key(name));
        self.tell_notices(&registry.notices);
        let is_whole = refused.is_empty() && view.dark.is_empty();
        view.registry = is_whole.then_some(registry);
        let refused =
            refused.into_iter().map(|(namespace, error)| Refused { namespace, failure: shared_failure(&error) });
        Prepared { documents, refused: refused.collect() }
    }

    pub(super) async fn replace_published(
        &mut self,
        view: &View,
        rendered: &Rendered,
        rollouts: &[&RolloutObject],
        passed_over: &BTreeSet<String>,
        round: &mut Round,
    ) -> Result<Publication, Failure> {
        let of_gateways = view.as_written(rollouts).filter(|one| one.rollout.spec.mode == Mode::Gateway);
        let unreadable = view.rollouts.unreadable.iter().map(|(object, _)| object);
        let fence = fence(&versions(of_gateways.map(|one| &one.object).chain(unreadable)));
        let governed = write_governed(view.governing(rollouts));
        // The fence is that of versions which are known to be old where a namespace is passed over.
        let wanted_fence = Some(fence.as_str()).filter(|_| passed_over.is_empty());
        if view.published.is(&rendered.text, &governed, wanted_fence) {
            if let Some(registry) = view.registry.as_ref().filter(|_| rendered.is_whole && passed_over.is_empty()) {
                self.tidy_twins(view, registry, round).await;
            }
            return Ok(Publication::Stands);
        }
        let listed = view.listed.iter().filter(|name| !passed_over.contains(*name)).map(String::as_str).collect();
        let outdated = self.outdated(view, rollouts, &listed).await;
        if !outdated.is_empty() {
            return Ok(Publication::Outdated(outdated));
        }
        let replaced = view.published.replace(&self.client, &self.settings, &rendered.text, governed, fence).await;
        let revision = Some(replaced.map_err(|error| shared_failure(&error))?);
        if revision != view.published.revision {
            self.telemetry.published();
        }
        Ok(Publication::Swapped(revision))
    }

    /// A gateway that has older routes may still look a twin up.
    async fn tidy_twins(&self, view: &View, registry: &Registry, round: &mut Round) {
        let revision = view.published.revision.as_deref().unwrap_or_default();
        if view.gateways.iter().all(|gateway| gateway.has(revision))
            && let Err(error) = twins::remove_others(&self.patient, view, registry).await
        {
            round.problems.push(error.to_string());
        }
    }

    /// Says what will not work, once.
    fn tell_notices(&mut self, notices: &[String]) {
        for notice in notices.iter().filter(|notice| !self.notices.contains(notice)) {
            tracing::warn!("{notice}");
        }
        self.notices = notices.to_vec();
    }
}
