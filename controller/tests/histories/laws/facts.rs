//! What is true of the world at one moment, as far as a controller asks for it.

use crate::world::World;
use crate::world::cast::{App, GATEWAYS, SYSTEM, tag};
use crate::world::table::Table;
use serde_json::Value;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use turnout_rollout::{Backend, ModelRollout, Stage, Target, Weights};

/// One moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// By model and backend.
    backends: [[BackendFacts; 2]; App::COUNT],
    pub(crate) gateways: Vec<GatewayFacts>,
    pub(crate) published: Option<Rc<Table>>,
    /// The names of the twins.
    pub(crate) twins: BTreeSet<String>,
    managed: [ManagedFacts; App::COUNT],
    /// By model: the weights of its rule, those that its status wants, and when a controller changed them last.
    weights: [Option<Weights>; App::COUNT],
    wanted: [Option<Weights>; App::COUNT],
    patched_at: [u64; App::COUNT],
    in_istio_mode: [bool; App::COUNT],
    pub(crate) now: u64,
    /// How often somebody had published by hand.
    pub(crate) meddled: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct BackendFacts {
    /// Ready endpoints, as the EndpointSlices have them.
    pub(crate) ready: u64,
    /// What all of these run.
    pub(crate) runs: Option<String>,
    /// How many pods its Deployment is to have.
    pub(crate) replicas: Option<u64>,
}

/// A managed rollout.
#[derive(Clone, Debug, Default)]
pub(crate) struct ManagedFacts {
    /// The image of the spec's template.
    pub(crate) template: Option<String>,
    pub(crate) replicas: Option<u64>,
    pub(crate) stable: Option<String>,
    /// What its status names.
    pub(crate) named: Vec<String>,
    /// An end is reached, where blue goes.
    pub(crate) is_at_end: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct GatewayFacts {
    pub(crate) name: String,
    /// The EndpointSlices say that it takes new connections.
    pub(crate) serving: bool,
    /// By model and backend.
    loads: [[LoadFacts; 2]; App::COUNT],
    pub(crate) active: Option<String>,
    table: Option<Rc<Table>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoadFacts {
    pub(crate) weight: u32,
    pub(crate) known: u64,
    pub(crate) in_flight_by_split: u64,
}

impl Facts {
    pub(crate) fn of(world: &World) -> Self {
        let mut facts = Self { published: world.published(), meddled: world.meddled, ..Self::default() };
        (facts.now, facts.patched_at) = (world.store.now.0, world.patched_at);
        for app in world.apps() {
            facts.in_istio_mode[app.0] = world.model(app).is_in_istio_mode();
            facts.weights[app.0] = world.weights(app);
            facts.wanted[app.0] = world.status(app).weights;
            for backend in Backend::BOTH {
                facts.backends[app.0][backend.index()] = backend_facts(world, app, backend);
            }
            if let Some(rollout) = world.rollout(app).filter(|_| world.model(app).is_managed()) {
                facts.managed[app.0] = managed_facts(&rollout);
            }
        }
        facts.gateways = gateways(world);
        let services = world.model_objects("services").into_iter().map(|(key, _)| key.name);
        facts.twins = services.filter(|name| name.starts_with("turnout-")).collect();
        facts
    }

    pub(crate) fn backend(&self, app: App, backend: Backend) -> &BackendFacts {
        &self.backends[app.0][backend.index()]
    }

    pub(crate) fn is_ready(&self, app: App, backend: Backend) -> bool {
        self.backend(app, backend).ready > 0
    }

    pub(crate) fn managed(&self, app: App) -> &ManagedFacts {
        &self.managed[app.0]
    }

    pub(crate) fn gateway(&self, name: &str) -> Option<&GatewayFacts> {
        self.gateways.iter().find(|gateway| gateway.name == name)
    }

    /// The weights of a model's rule in what is published.
    pub(crate) fn weights(&self, app: App) -> Option<Weights> {
        self.weights[app.0]
    }

    pub(crate) fn wanted(&self, app: App) -> Option<Weights> {
        self.wanted[app.0]
    }

    pub(crate) fn patched_at(&self, app: App) -> u64 {
        self.patched_at[app.0]
    }

    pub(crate) fn is_in_istio_mode(&self, app: App) -> bool {
        self.in_istio_mode[app.0]
    }
}

impl GatewayFacts {
    /// It looks the name of this Service up.
    pub(crate) fn looks_up(&self, service: &str) -> bool {
        self.table.as_ref().is_some_and(|table| table.looks_up(service))
    }

    pub(crate) fn load(&self, app: App, backend: Backend) -> LoadFacts {
        self.loads[app.0][backend.index()]
    }
}

/// The weights that a table gives a model's backends.
pub(crate) fn weights(table: &Table, app: App) -> Weights {
    let [green, blue] = Backend::BOTH.map(|backend| table.weight(&app.upstream(backend)));
    Weights { green, blue }
}

fn managed_facts(rollout: &ModelRollout) -> ManagedFacts {
    let (spec, status) = (&rollout.spec, &rollout.status);
    let candidate = status.candidate.as_ref().map(|candidate| candidate.revision.clone());
    let is_end = matches!(status.stage, Some(Target::Rollback | Target::Stage(Stage::Green100)));
    ManagedFacts {
        template: spec.template.as_ref().and_then(tag),
        replicas: spec.replicas.map(u64::from),
        stable: status.stable_revision.clone(),
        named: candidate.into_iter().chain(status.stable_revision.clone()).collect(),
        is_at_end: is_end && status.moving_to.is_none(),
    }
}

fn backend_facts(world: &World, app: App, backend: Backend) -> BackendFacts {
    let deployment = world.store.get(&app.deployment(backend));
    let is_own = |deployment: &&Arc<Value>| {
        let owner = &deployment["metadata"]["ownerReferences"][0]["uid"];
        !world.model(app).is_managed() || owner.as_str().map(str::to_owned) == world.uid(app)
    };
    let replicas = deployment.filter(is_own).and_then(|deployment| deployment["spec"]["replicas"].as_u64());
    let slice =
        crate::api::store::Key::new("endpointslices", app.namespace(), &format!("{}-slice", app.service(backend).name));
    // Slices outlive their Service until garbage is collected, and mean nothing then.
    let slice = world.store.get(&slice).filter(|_| world.store.get(&app.service(backend)).is_some());
    let Some(slice) = slice else { return BackendFacts { replicas, ..BackendFacts::default() } };
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let ready: Vec<&Value> = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).collect();
    let image = |endpoint: &&Value| {
        let name = endpoint["targetRef"]["name"].as_str().unwrap_or_default();
        let pod = world.store.get(&crate::api::store::Key::new("pods", app.namespace(), name))?;
        let image = pod["status"]["containerStatuses"][0]["image"].as_str()?;
        Some(image.rsplit_once(':')?.1.to_owned())
    };
    let mut images = ready.iter().map(image);
    let first = images.next().flatten();
    let is_same = images.all(|other| other == first);
    BackendFacts { ready: ready.len() as u64, runs: first.filter(|_| is_same), replicas }
}

fn gateways(world: &World) -> Vec<GatewayFacts> {
    let slice = crate::api::store::Key::new("endpointslices", SYSTEM, &format!("{GATEWAYS}-slice"));
    let endpoints = world.store.get(&slice).and_then(|slice| slice["endpoints"].as_array());
    let serves = |name: &str| {
        endpoints
            .into_iter()
            .flatten()
            .any(|endpoint| endpoint["targetRef"]["name"] == name && endpoint["conditions"]["serving"] == true)
    };
    let load = |gateway: &crate::world::gateway::Gateway, app: App, backend: Backend| {
        let upstream = app.upstream(backend);
        let in_flight = gateway.in_flight(&upstream);
        LoadFacts {
            weight: gateway.weight(&upstream),
            known: gateway.known(&upstream),
            in_flight_by_split: in_flight.split,
        }
    };
    let facts = |gateway: &crate::world::gateway::Gateway| GatewayFacts {
        name: gateway.name.clone(),
        serving: serves(&gateway.name),
        loads: App::ALL.map(|app| Backend::BOTH.map(|backend| load(gateway, app, backend))),
        active: gateway.table.as_ref().map(|table| table.revision.clone()),
        table: gateway.table.clone(),
    };
    world.gateways.iter().map(facts).collect()
}
