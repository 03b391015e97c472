//! What the controller may publish.

use super::facts::weights;
use super::{Checked, Laws, Window, law};
use crate::api::Effect;
use crate::world::cast::App;
use crate::world::table::Table;
use crate::world::{World, governors, normal_form, table_of};
use turnout_rollout::{Backend, Weights, route_weights};
use turnout_routes::documents::{Document, EndpointAddress};

const GOOD: &str = "what is published is good, and holds the documents in a good form";
const READY: &str = "no weight is newly given to a backend without ready endpoints";
const DEPARTED: &str = "a rule whose rollout is gone gives no weight to a backend without ready endpoints";
const SEEN: &str = "no weight is newly given to a backend that a gateway does not see";
const HELD: &str = "a rule that a rollout governs stays, whatever becomes of its document";
const WRITTEN: &str = "the weights that are published were written down before";

impl Laws {
    pub(super) fn check_published(&mut self, world: &World, window: &Window, effect: &Effect) -> Checked {
        let Some(after) = effect.after.as_deref() else { return law(false, GOOD, || "it was deleted".to_owned()) };
        let table = table_of(after);
        law(table.is_some(), GOOD, || format!("gateways refuse {}", after["data"]))?;
        let Some(table) = table else { return Ok(()) };
        let before = effect.before.as_deref().and_then(table_of);
        check_forms(world, window, before.as_deref(), &table)?;
        check_twins(window, before.as_deref(), &table)?;
        for app in world.apps() {
            // From then on the document decides.
            if world.rollout(app).is_none() && governors(after, app).next().is_none() {
                self.last_governing[app.0] = None;
            }
            self.check_weights(world, window, app, before.as_deref(), &table)?;
        }
        self.unfenced.clear();
        self.seen.count("published");
        Ok(())
    }

    fn check_weights(
        &mut self,
        world: &World,
        window: &Window,
        app: App,
        before: Option<&Table>,
        table: &Table,
    ) -> Checked {
        if world.model(app).is_in_istio_mode() {
            return Ok(());
        }
        let former = before.map(|table| weights(table, app));
        let Some(rollout) = world.rollout(app) else { return self.check_departed(world, window, app, former, table) };
        let is_deleted = rollout.metadata.other.contains_key("deletionTimestamp");
        let governing = rollout.as_it_governed().filter(|_| rollout.status.position().is_some());
        self.last_governing[app.0] = governing.map(|rollout| (rollout, world.meddled));
        // Also of a document that does not fit the rollout any more.
        let rollout = rollout.as_it_governed().unwrap_or(rollout);
        let Ok(given) = route_weights(&table.documents, &rollout) else {
            let was_there = before.is_some_and(|before| route_weights(&before.documents, &rollout).is_ok());
            let is_lost = was_there && rollout.status.governs.is_some() && !is_deleted;
            return law(!is_lost, HELD, || app.name().to_owned());
        };
        law(given.green + given.blue > 0, "the sum of the weights is above 0", || app.name().to_owned())?;
        // Where no stage decides, the document does.
        if rollout.status.position().is_none() {
            return Ok(());
        }
        let was_written = window.was(&[], |facts| facts.wanted(app) == Some(given)) && self.unfenced.contains(&app);
        let is_written = was_written || Some(given) == rollout.status.weights || Some(given) == former || is_deleted;
        law(is_written, WRITTEN, || {
            format!("{}: {given}, was {former:?}, and the status says {:?}", app.name(), rollout.status.weights)
        })?;
        self.check_newly_given(window, app, former, given)
    }

    /// The rollout is gone: as long as its rule is remembered, weight goes only to what can serve.
    fn check_departed(
        &mut self,
        world: &World,
        window: &Window,
        app: App,
        former: Option<Weights>,
        table: &Table,
    ) -> Checked {
        let Some((last, meddled)) = &self.last_governing[app.0] else { return Ok(()) };
        let Ok(given) = route_weights(&table.documents, last) else { return Ok(()) };
        // Somebody who deletes what is published deletes what is known of rollouts that are gone.
        if Some(given) == former || *meddled != world.meddled {
            return Ok(());
        }
        self.seen.count("weights of rollouts that are gone");
        for backend in Backend::BOTH {
            if given.of(backend) > 0 && former.is_none_or(|former| former.of(backend) == 0) {
                let is_ready = window.was(&["endpointslices", "services"], |facts| facts.is_ready(app, backend));
                law(is_ready, DEPARTED, || format!("{}: {backend}", app.name()))?;
            }
        }
        self.check_newly_given(window, app, former, given)
    }

    fn check_newly_given(&mut self, window: &Window, app: App, former: Option<Weights>, given: Weights) -> Checked {
        for backend in Backend::BOTH {
            if given.of(backend) > 0 && former.is_none_or(|former| former.of(backend) == 0) {
                check_fit(window, app, backend, former)?;
                self.seen.count("weights newly given");
            }
        }
        Ok(())
    }
}

/// A backend newly gets weight.
pub(super) fn check_fit(window: &Window, app: App, backend: Backend, former: Option<Weights>) -> Checked {
    let other = backend.other();
    let is_fit = window
        .was(&["endpointslices", "services"], |facts| facts.is_ready(app, backend) || !facts.is_ready(app, other));
    law(is_fit, READY, || format!("{}: {backend}", app.name()))?;
    if former.is_none_or(|former| former.of(other) == 0) {
        return Ok(());
    }
    for gateway in window.gateways_of(app) {
        let is_seen = window.was(&["endpointslices", "services"], |facts| {
            let known = facts.gateway(gateway).map_or(0, |it| it.load(app, backend).known);
            known > 0 || !facts.is_ready(app, other)
        });
        law(is_seen, SEEN, || format!("{}: {backend} at {gateway}", app.name()))?;
    }
    Ok(())
}

/// Every VirtualService has some form that its author gave it; the rest is the controller's registry.
fn check_forms(world: &World, window: &Window, before: Option<&Table>, table: &Table) -> Checked {
    for document in &table.documents {
        let name = document.metadata().name.as_str();
        match document {
            Document::VirtualService(_) => {
                let app = world.apps().into_iter().find(|app| app.name() == name);
                let form = normal_form(document);
                let is_good = app.is_some_and(|app| world.good_forms[app.0].contains(&form));
                law(is_good, GOOD, || format!("VirtualService {name} never had the form {form:?}"))?;
            }
            Document::ServiceEntry(_) => {
                let labels = &document.metadata().labels;
                let is_own = labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == "turnout-controller");
                law(is_own, GOOD, || format!("ServiceEntry {name} is nobody's"))?;
            }
            other => law(false, GOOD, || format!("{} {name} is nobody's", other.kind()))?,
        }
    }
    // One that never had a good form cannot be published, and does not keep the others from it.
    let is_in = |table: &Table, app: App| table.documents.iter().any(|document| document.metadata().name == app.name());
    let mut lost =
        world.apps().into_iter().filter(|app| before.is_some_and(|before| is_in(before, *app)) && !is_in(table, *app));
    let lost = lost.find(|_| !window.is_stale(&["virtualservices", "configmaps"]));
    law(lost.is_none(), GOOD, || format!("VirtualService {lost:?} is not in it any more"))
}

/// A twin that the controller removes is looked up by no gateway.
pub(super) fn check_removed_twin(window: &Window, service: &str) -> Checked {
    for gateway in window.gateways() {
        let is_idle = window.was(&["services", "configmaps", "endpointslices"], |facts| {
            facts.gateway(gateway).is_some_and(|it| !it.looks_up(service))
        });
        law(is_idle, "a twin stays as long as a gateway looks it up", || format!("{service} at {gateway}"))?;
    }
    Ok(())
}

/// A name that gateways are newly told to look up exists.
fn check_twins(window: &Window, before: Option<&Table>, table: &Table) -> Checked {
    let is_known = |address: &EndpointAddress| {
        before.is_some_and(|before| before.upstreams.values().flatten().any(|known| known == address))
    };
    for address in table.upstreams.values().flatten().filter(|address| !is_known(address)) {
        let EndpointAddress::Name(name) = address else { continue };
        let service = name.split('.').next().unwrap_or_default();
        let is_there = window.was(&["services"], |facts| facts.twins.contains(service));
        law(is_there || !service.starts_with("turnout-"), "a twin is there before gateways look it up", || {
            name.clone()
        })?;
    }
    Ok(())
}
