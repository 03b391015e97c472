//! From what was found to what is to become of each rollout: how the world looks to the state machine.

use crate::round::{Decided, Driver, Outcome};
use crate::site::{BackendView, Endpoint, Site, Subject, View};
use std::collections::BTreeSet;
use turnout_rollout::{
    Backend, BackendObservation, Departure, Fitted, Mode, ModelRollout, Next, Observation, Published, RolloutRules,
    RouteSelectionError, Timestamp, Weights, decide, depart, fit, hold, route_weights,
};

/// A gateway whose endpoints differ from those that are ready for longer has them from elsewhere: no DNS answer is as old.
/// AKS keeps one for 30 seconds.
const DNS_SECONDS: u64 = 60;

impl<S: Site> Driver<S> {
    pub(crate) async fn decide(&mut self, view: &mut S::View) -> Vec<Decided<S::Rollout>> {
        let fitted = fit_rollouts(view, |rollout| self.site.may_govern(rollout));
        let view = &*view;
        if fitted.iter().any(|one| one.rollout.evidence_key().is_some()) {
            self.pages.ask(&self.outbound, view.gateways(), self.now).await;
        } else {
            self.pages.forget();
        }
        let mut decided = Vec::new();
        for (one, Fitted { rollout: fitted, route }) in view.rollouts().iter().zip(fitted) {
            let backends = self.site.backends(view, one, &fitted).await;
            let observed = self.observe(view, one, &fitted, route, &backends);
            let (outcome, published) = self.decide_on(view, one, &fitted, &backends, observed);
            decided.push(Decided {
                rollout: one.clone(),
                fitted,
                backends,
                published,
                outcome,
                stored: false,
                is_outdated: false,
            });
        }
        let is_known = |key: &String| decided.iter().any(|one: &Decided<S::Rollout>| one.rollout.key() == *key);
        self.outdated.retain(|(key, _), _| !view.is_whole() || is_known(key));
        decided
    }

    fn observe(
        &self,
        view: &S::View,
        one: &S::Rollout,
        fitted: &ModelRollout,
        route: Result<Weights, RouteSelectionError>,
        [green, blue]: &[BackendView; 2],
    ) -> Observation {
        let (published, gateways) = if let Some(elsewhere) = view.elsewhere(one) {
            (elsewhere.published, Vec::new())
        } else {
            let weights = route_weights(view.published(), fitted).ok();
            let published = weights.zip(view.revision());
            let published = published.map(|(weights, revision)| Published { revision: revision.to_owned(), weights });
            let rules = RolloutRules::of(view.published(), fitted);
            let gateways = view.gateways().iter().map(|gateway| gateway.report.observe(&rules, fitted));
            (published, gateways.collect())
        };
        Observation {
            now: self.now_of(one.rollout()),
            route,
            published,
            green: green.observe(|endpoint| self.warm_ups.is_warm(&one.key(), &endpoint.uid)),
            blue: blue.observe(|endpoint| self.warm_ups.is_warm(&one.key(), &endpoint.uid)),
            gateways,
            template_revision: self.site.template_revision(fitted),
            replies: self.webhooks.replies(&one.key()),
            evidence: fitted.evidence_key().map(|key| self.pages.of(&key)).unwrap_or_default(),
            obstacle: self.obstacles.get(&one.key()).cloned().or_else(|| self.site.obstacle(view, fitted)),
        }
    }

    /// When the round began; but what was written into a status while it looked does not lie in the future.
    fn now_of(&self, rollout: &ModelRollout) -> Timestamp {
        let written = rollout.status.last_time().filter(|time| *time <= self.looked);
        written.map_or(self.now, |time| time.max(self.now))
    }

    fn decide_on(
        &mut self,
        view: &S::View,
        one: &S::Rollout,
        fitted: &ModelRollout,
        backends: &[BackendView; 2],
        mut observed: Observation,
    ) -> (Outcome, Option<Weights>) {
        for backend in Backend::BOTH {
            self.discount_outdated(view, &one.key(), fitted, (backend, backends), &mut observed);
        }
        let outcome = match (one.is_deleted(), fitted.spec.mode) {
            (false, _) => Outcome::Goes(Box::new(decide(fitted, &observed))),
            (true, Mode::Gateway) if self.site.publishes() => Outcome::Departs(depart(fitted, &observed)),
            // The weights stand in the user's own object, and stay there.
            (true, _) => {
                Outcome::Departs(Departure { weights: None, next: Next::Nothing, message: "deleted".to_owned() })
            }
        };
        (outcome, observed.published.map(|published| published.weights))
    }

    /// DNS answers lag behind: a gateway that knows only endpoints that have gone knows none, as far as new weight goes.
    fn discount_outdated(
        &mut self,
        view: &S::View,
        key: &str,
        fitted: &ModelRollout,
        (backend, backends): (Backend, &[BackendView; 2]),
        observed: &mut Observation,
    ) {
        let digest = BackendView::of(backends, backend).looked_up.filter(|_| fitted.spec.mode == Mode::Gateway);
        let is_outdated = |digest: u64| {
            let outdated = view.gateways().iter().filter(move |it| it.has_others(fitted, backend, digest));
            outdated.map(|it| it.id.as_str()).collect::<BTreeSet<_>>()
        };
        let outdated = digest.map(is_outdated).unwrap_or_default();
        let key = (key.to_owned(), backend);
        if outdated.is_empty() {
            self.outdated.remove(&key);
            return;
        }
        let since = *self.outdated.entry(key).or_insert(observed.now);
        if observed.now.seconds_since(since) >= DNS_SECONDS {
            return;
        }
        for gateway in observed.gateways.iter_mut().filter(|one| outdated.contains(one.id.as_str())) {
            gateway.load_mut(backend).endpoints = 0;
        }
    }
}

/// Finds the rule of each rollout, in the order in which they were read: of two with the same rule the older one governs
/// it, unless it may not. Where one does not fit the documents, these take the form back that is published.
fn fit_rollouts<V: View>(view: &mut V, may_govern: impl Fn(&ModelRollout) -> bool) -> Vec<Fitted> {
    let mut documents = std::mem::take(view.documents());
    let is_held = |one: &&V::Rollout| one.rollout().spec.mode == Mode::Gateway && !one.is_deleted();
    for rollout in view.held() {
        hold(&mut documents, view.published(), &rollout);
    }
    let held: Vec<&ModelRollout> = view.rollouts().iter().filter(is_held).map(Subject::rollout).collect();
    let mut order: Vec<usize> = (0..held.len()).collect();
    order.sort_by_key(|index| !may_govern(held[*index]));
    let in_order: Vec<&ModelRollout> = order.iter().map(|index| held[*index]).collect();
    let fitted = fit(&mut documents, view.published(), &in_order).into_iter().map(|mut fitted| {
        if !may_govern(&fitted.rollout) && fitted.route.is_ok() {
            let namespace = fitted.rollout.route_namespace().to_owned();
            fitted.route = Err(RouteSelectionError::NotShared(namespace));
        }
        fitted
    });
    let mut fitted: Vec<(usize, Fitted)> = order.into_iter().zip(fitted).collect();
    fitted.sort_by_key(|(index, _)| *index);
    let mut fitted = fitted.into_iter().map(|(_, fitted)| fitted);
    let mut fit_one = |one: &V::Rollout| {
        if let Some(elsewhere) = view.elsewhere(one) {
            return Some(Fitted { rollout: one.rollout().clone(), route: elsewhere.route });
        }
        if is_held(&one) {
            return fitted.next();
        }
        // One that goes gives its rule back to the document.
        let rollout = one.rollout().clone();
        Some(Fitted { route: route_weights(&documents, &rollout), rollout })
    };
    let all = view.rollouts().iter().filter_map(&mut fit_one).collect();
    *view.documents() = documents;
    all
}

impl BackendView {
    fn observe(&self, is_warm: impl Fn(&Endpoint) -> bool) -> BackendObservation {
        let warmed = self.ready.iter().all(is_warm);
        BackendObservation { warmed, ..self.observed.clone() }
    }
}
