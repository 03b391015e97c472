//! From what was read to what is to become of each rollout: how the world looks to the state machine.

use super::{Controller, Decided, Outcome};
use crate::actions;
use crate::backends::{self, BackendView};
use crate::gateways::Gateway;
use crate::istio;
use crate::rollouts::RolloutObject;
use crate::settings::RegistryKind;
use crate::view::View;
use crate::workloads::{Workloads, parse_template};
use std::collections::BTreeMap;
use turnout_rollout::{
    Backend, Departure, Fitted, Mode, ModelRollout, Observation, Obstacle, Published, RouteSelectionError, Weights,
    Workload, decide, depart, fit, hold, route_weights,
};

/// A gateway whose endpoints differ from those that are ready for longer has them from elsewhere: no DNS answer is as old.
/// AKS keeps one for 30 seconds.
const DNS_SECONDS: u64 = 60;

impl Controller {
    pub(super) fn decide(&mut self, view: &View, fitted: Vec<Fitted>) -> Vec<Decided> {
        let mut decided = Vec::new();
        for (one, Fitted { rollout, route }) in view.rollouts.readable.iter().zip(fitted) {
            let fitted = RolloutObject { object: one.object.clone(), rollout };
            let backends = Backend::BOTH.map(|backend| self.look_at(view, &fitted, backend));
            let mut observed = self.observe(view, &fitted, route, &backends);
            for (backend, found) in Backend::BOTH.into_iter().zip(&backends) {
                self.discount_outdated(view, &fitted, backend, found, &mut observed);
            }
            let outcome = if one.is_deleted() {
                Outcome::Departs(self.depart(&fitted, &observed))
            } else {
                Outcome::Goes(Box::new(decide(&fitted.rollout, &observed)))
            };
            let published = observed.published.map(|published| published.weights);
            let (rollout, fitted) = (one.clone(), fitted.rollout);
            decided.push(Decided { rollout, fitted, backends, published, outcome, stored: false });
        }
        self.outdated.retain(|(uid, _), _| decided.iter().any(|one| one.rollout.uid() == *uid));
        decided
    }

    /// A managed backend is there as long as its Deployment is, with or without pods.
    pub(super) fn look_at(&self, view: &View, one: &RolloutObject, backend: Backend) -> BackendView {
        let mut found = BackendView::of(view, &one.rollout, backend);
        if one.rollout.spec.workload == Workload::Managed {
            found.exists |= Workloads::new(&self.client, view, one).exists(backend);
        }
        found
    }

    /// In Istio mode the weights stand in the user's own VirtualService, and stay there.
    pub(super) fn depart(&self, one: &RolloutObject, observed: &Observation) -> Departure {
        match one.rollout.spec.mode {
            Mode::Gateway if self.settings.has_gateway() => depart(&one.rollout, observed),
            _ => Departure { weights: None, done: true, message: "deleted".to_owned() },
        }
    }

    pub(super) fn observe(
        &self,
        view: &View,
        one: &RolloutObject,
        route: Result<Weights, RouteSelectionError>,
        backends: &[BackendView; 2],
    ) -> Observation {
        let rollout = &one.rollout;
        let (published, gateways) = match rollout.spec.mode {
            Mode::Istio => (istio::published(view, rollout), Vec::new()),
            Mode::Gateway => {
                let weights = route_weights(&view.published.documents, rollout).ok();
                let revision = view.published.revision.clone();
                let published = weights.zip(revision).map(|(weights, revision)| Published { revision, weights });
                let gateways = view.gateways.iter().map(|it| it.observe(&view.published.documents, rollout)).collect();
                (published, gateways)
            }
        };
        let [green, blue] = backends::observe(rollout, &backends[0], &backends[1], self.warm_ups.warmed());
        Observation {
            now: (self.clock)(),
            route,
            published,
            green,
            blue,
            gateways,
            template_revision: actions::template_revision(rollout),
            obstacle: self
                .obstacles
                .get(&one.uid())
                .cloned()
                .or_else(|| self.lacks_gateway(rollout))
                .or_else(|| lacks_documents(view, rollout))
                .or_else(|| lacks_template(rollout)),
        }
    }

    /// DNS answers lag behind: a gateway that knows only endpoints that have gone knows none, as far as new weight goes.
    pub(super) fn discount_outdated(
        &mut self,
        view: &View,
        one: &RolloutObject,
        backend: Backend,
        found: &BackendView,
        observed: &mut Observation,
    ) {
        let (rollout, key) = (&one.rollout, (one.uid(), backend));
        let is_looked_up = rollout.spec.mode == Mode::Gateway && self.settings.registry == RegistryKind::Twins;
        let digest = found.digest();
        let outdated: Vec<&Gateway> =
            view.gateways.iter().filter(|gateway| gateway.has_others(rollout, backend, digest)).collect();
        if !is_looked_up || outdated.is_empty() {
            self.outdated.remove(&key);
            return;
        }
        let since = *self.outdated.entry(key).or_insert(observed.now);
        if observed.now.seconds_since(since) >= DNS_SECONDS {
            return;
        }
        for gateway in observed.gateways.iter_mut().filter(|one| outdated.iter().any(|other| other.pod == one.id)) {
            gateway.load_mut(backend).endpoints = 0;
        }
    }

    pub(super) fn lacks_gateway(&self, rollout: &ModelRollout) -> Option<Obstacle> {
        let is_lacking = rollout.spec.mode == Mode::Gateway && !self.settings.has_gateway();
        is_lacking.then(|| Obstacle {
            reason: "NoGateway",
            message: "this controller publishes for no gateway: install one, or use spec.mode: Istio".to_owned(),
        })
    }
}

/// Finds the rule of each rollout, in the order in which they were read: of two with the same rule the older one governs
/// it. Where one does not fit the documents, these take the form back that is published.
pub(super) fn fit_rollouts(view: &mut View, met: &BTreeMap<String, Vec<ModelRollout>>) -> Vec<Fitted> {
    let is_held = |one: &&RolloutObject| one.rollout.spec.mode == Mode::Gateway && !one.is_deleted();
    let held: Vec<&ModelRollout> = view.rollouts.readable.iter().filter(is_held).map(|one| &one.rollout).collect();
    let (documents, published) = (&mut view.documents.documents, &view.published.documents);
    for former in view.rollouts.unreadable.iter().filter_map(|(object, _)| RolloutObject::former(object)) {
        hold(documents, published, &former);
    }
    let unlisted = met.iter().filter(|(namespace, _)| !view.listed.contains(namespace)).flat_map(|(_, met)| met);
    for rollout in unlisted.chain(view.apart.iter().map(|(one, _)| &one.rollout)) {
        hold(documents, published, rollout);
    }
    let mut fitted = fit(documents, published, &held).into_iter().peekable();
    let mut patched = BTreeMap::new();
    let mut fit_one = |one: &RolloutObject| {
        let rollout = one.rollout.clone();
        match rollout.spec.mode {
            Mode::Istio => Fitted { route: istio::claim(view, &rollout, &mut patched), rollout },
            // One that goes gives its rule back to the document.
            Mode::Gateway => fitted
                .next_if(|next| next.rollout.id() == rollout.id())
                .unwrap_or_else(|| Fitted { route: route_weights(&view.documents.documents, &rollout), rollout }),
        }
    };
    view.rollouts.readable.iter().map(&mut fit_one).collect()
}

pub(super) fn lacks_documents(view: &View, rollout: &ModelRollout) -> Option<Obstacle> {
    let in_gateway_mode = rollout.spec.mode == Mode::Gateway;
    let of_namespace = view.frozen.get(rollout.route_namespace());
    let Obstacle { reason, message } =
        view.documents.unreadable.as_ref().or(of_namespace).filter(|_| in_gateway_mode)?;
    let message = format!("{message}; the documents that are published stay until then");
    Some(Obstacle { reason, message })
}

/// A template from which no backend can be made is said before one is to be made of it.
pub(super) fn lacks_template(rollout: &ModelRollout) -> Option<Obstacle> {
    let template = rollout.spec.template.as_ref().filter(|_| rollout.spec.workload == Workload::Managed)?;
    let problems = parse_template(template).err()?;
    Some(Obstacle { reason: "InvalidTemplate", message: problems.to_string() })
}
