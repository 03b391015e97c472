//! All that may happen beside the controllers, each as data: a history is a list of these that can be told again.

use super::bar::Bar;
use super::cast::{self, App, Edit, published};
use super::{World, cluster, people};
use crate::api::store::{Key, Store};
use crate::laws::Checked;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use turnout_rollout::{Backend, Stage, Target, Weights};

/// What may happen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Happening {
    /// One step of the Deployments' controller.
    DeploymentsAct,
    /// EndpointSlices say what pods are.
    SlicesFollow,
    /// Everything of the cluster's own, to the end.
    ClusterFollows,
    PodsFail(App, Backend),
    PodsStart(App, Backend),
    /// One pod of a backend is deleted, and terminates.
    PodDeleted(App, Backend),
    /// Terminating pods are gone, and garbage is collected.
    PodsGo,
    /// Kubelet brings a gateway what is published: after a nudge, or by itself.
    KubeletSyncs {
        gateway: usize,
        by_itself: bool,
    },
    GatewayReloads(usize),
    GatewayLooksUp(usize),
    /// All of them, all of that.
    GatewaysFollow,
    GatewayJoins,
    GatewayRestarts(usize),
    GatewayLeaves(usize),
    GatewayGoes,
    GatewayRefuses(usize, bool),
    GatewayIsSilent(usize, bool),
    /// Requests are under way: by the weights, and pinned to one backend.
    Requests {
        gateway: usize,
        app: App,
        pinned: Option<Backend>,
    },
    RequestsEnd(usize),
    SecondsPass(u64),
    /// What a pipeline does when it reads the status.
    PipelineActs(App),
    Promote(App),
    PromoteTo(App, Stage),
    Retarget(App, Option<Target>),
    Pause(App, bool),
    RollBack(App),
    Start(App, u8),
    Revision(App, Option<u8>),
    Attempt(App),
    Steps(App, Vec<&'static str>),
    Edit(App, Edit),
    Rubbish(bool),
    DeleteRollout(App),
    CreateRollout(App),
    /// Whoever should not, puts something onto a backend.
    SomebodyDeploys(App, Backend, u8),
    /// An autoscaler, or somebody, gives a managed backend so many pods.
    SomebodyScales(App, Backend, u32),
    /// Somebody deletes the Deployment of a managed backend.
    SomebodyUndeploys(App, Backend),
    /// Somebody writes into the published ConfigMap: other weights for a model, or what is no routes file.
    SomebodyPublishes(App, Option<u32>),
    SomebodyDeletesThePublished,
    SomebodyDeletesATwin,
    /// Controllers are kept from the namespace of a model, or no more.
    Bar(App, Option<Bar>),
    /// Somebody annotates everything that the controller writes to.
    SomebodyAnnotates(u8),
}

impl Happening {
    /// The model whose objects it changes.
    pub(super) fn app(&self) -> Option<App> {
        match self {
            Self::PodsFail(app, _)
            | Self::PodsStart(app, _)
            | Self::PodDeleted(app, _)
            | Self::PipelineActs(app)
            | Self::Promote(app)
            | Self::PromoteTo(app, _)
            | Self::Retarget(app, _)
            | Self::Pause(app, _)
            | Self::RollBack(app)
            | Self::Start(app, _)
            | Self::Revision(app, _)
            | Self::Attempt(app)
            | Self::Steps(app, _)
            | Self::Edit(app, _)
            | Self::DeleteRollout(app)
            | Self::CreateRollout(app)
            | Self::SomebodyDeploys(app, ..)
            | Self::SomebodyScales(app, ..)
            | Self::SomebodyUndeploys(app, _) => Some(*app),
            _ => None,
        }
    }
}

pub(super) fn happens(world: &mut World, happening: &Happening) -> Checked {
    match happening {
        Happening::PipelineActs(app) => return people::pipeline_acts(world, *app),
        Happening::DeploymentsAct => drop(cluster::deployments_act(&mut world.store, &mut world.next_pod)),
        Happening::SlicesFollow => {
            world.probe_gateways();
            cluster::slices_follow(&mut world.store);
        }
        Happening::ClusterFollows => world.cluster_follows(),
        Happening::PodsFail(app, backend) => set_ready(world, *app, *backend, false),
        Happening::PodsStart(app, backend) => set_ready(world, *app, *backend, true),
        Happening::PodDeleted(app, backend) => {
            if let Some((key, _)) = world.model_pods(Some((*app, *backend))).first() {
                world.store.mark_deleted(key);
            }
        }
        Happening::PodsGo => world.pods_go(),
        Happening::SecondsPass(seconds) => world.store.now = world.store.now.plus(*seconds),
        Happening::Requests { gateway, app, pinned } => {
            if let Some(gateway) = pick(world, *gateway) {
                world.gateways[gateway].serve(*app, *pinned);
            }
        }
        Happening::Edit(app, edit) => {
            world.drafts[app.0].edit(*edit);
            world.write_document(*app);
        }
        Happening::Rubbish(present) => world.write_rubbish(*present),
        Happening::SomebodyDeploys(..) | Happening::SomebodyScales(..) | Happening::SomebodyUndeploys(..) => {
            somebody_changes_a_deployment(world, happening);
        }
        Happening::SomebodyPublishes(app, blue) => somebody_publishes(world, *app, *blue),
        Happening::SomebodyDeletesThePublished => {
            world.void_claims();
            world.store.remove(&published());
        }
        Happening::SomebodyDeletesATwin => somebody_deletes_a_twin(world),
        Happening::Bar(app, bar) => world.bar(*app, *bar),
        Happening::SomebodyAnnotates(value) => annotate(&mut world.store, *value),
        Happening::Promote(_)
        | Happening::PromoteTo(..)
        | Happening::Retarget(..)
        | Happening::Pause(..)
        | Happening::RollBack(_)
        | Happening::Start(..)
        | Happening::Revision(..)
        | Happening::Attempt(_)
        | Happening::Steps(..)
        | Happening::DeleteRollout(_)
        | Happening::CreateRollout(_) => people::steer(world, happening),
        gateway => gateway_happens(world, gateway),
    }
    Ok(())
}

fn somebody_changes_a_deployment(world: &mut World, happening: &Happening) {
    match happening {
        Happening::SomebodyDeploys(app, backend, number) => {
            if world.model(*app).is_managed() {
                let image = cast::image(*app, &super::revision_name(*number));
                let edit =
                    |object: &mut Value| object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
                world.store.edit(&app.deployment(*backend), edit);
            } else {
                world.deploy(*app, *backend, &super::revision_name(*number));
            }
        }
        Happening::SomebodyScales(app, backend, replicas) => {
            world.store.edit(&app.deployment(*backend), |object| object["spec"]["replicas"] = json!(replicas));
        }
        Happening::SomebodyUndeploys(app, backend) => {
            world.store.remove(&app.deployment(*backend));
            for (pod, _) in world.model_pods(Some((*app, *backend))) {
                world.store.mark_deleted(&pod);
            }
        }
        _ => {}
    }
}

fn somebody_deletes_a_twin(world: &mut World) {
    let services = world.model_objects("services").into_iter();
    let twin = services.map(|(key, _)| key).find(|key| key.name.starts_with("turnout-"));
    twin.map(|twin| world.store.remove(&twin));
}

fn pick(world: &World, chosen: usize) -> Option<usize> {
    (!world.gateways.is_empty()).then(|| chosen % world.gateways.len())
}

fn gateway_happens(world: &mut World, happening: &Happening) {
    let chosen = |number: &usize| pick(world, *number);
    match happening {
        Happening::KubeletSyncs { gateway, by_itself } => {
            if let Some(gateway) = chosen(gateway) {
                world.gateways[gateway].sync(&world.store, *by_itself);
            }
        }
        Happening::GatewayReloads(gateway) => on(world, *gateway, super::gateway::Gateway::reload),
        Happening::GatewayRestarts(gateway) => on(world, *gateway, super::gateway::Gateway::restart),
        Happening::GatewayRefuses(gateway, refuses) => on(world, *gateway, |it| it.refuses = *refuses),
        Happening::GatewayIsSilent(gateway, silent) => on(world, *gateway, |it| {
            // One that takes no connections and is on its way out has closed its listeners.
            it.silent = *silent || (it.silent && it.leaving);
        }),
        Happening::RequestsEnd(gateway) => on(world, *gateway, super::gateway::Gateway::finish),
        Happening::GatewayLooksUp(gateway) => {
            if let Some(gateway) = chosen(gateway) {
                world.gateways[gateway].look_up(&world.store);
            }
        }
        Happening::GatewaysFollow => world.gateways_follow(),
        Happening::GatewayJoins if world.has_gateways() && world.gateways.len() < 4 => world.gateway_joins(),
        Happening::GatewayLeaves(gateway) if world.gateways.iter().filter(|it| !it.leaving).count() > 1 => {
            on(world, *gateway, |it| it.leaving = true);
            let leaving: Vec<Key> =
                world.gateways.iter().filter(|it| it.leaving).map(super::gateway::Gateway::pod).collect();
            for pod in &leaving {
                world.store.mark_deleted(pod);
            }
        }
        Happening::GatewayGoes => {
            let gone: Vec<Key> =
                world.gateways.iter().filter(|it| it.leaving).map(super::gateway::Gateway::pod).collect();
            world.gateways.retain(|it| !it.leaving);
            for pod in &gone {
                world.store.remove(pod);
            }
        }
        _ => {}
    }
}

/// Something happens to one gateway, and its readiness probe sees it.
fn on(world: &mut World, gateway: usize, change: impl FnOnce(&mut super::gateway::Gateway)) {
    if let Some(gateway) = pick(world, gateway) {
        change(&mut world.gateways[gateway]);
        world.probe_gateways();
    }
}

fn set_ready(world: &mut World, app: App, backend: Backend, ready: bool) {
    for (key, _) in world.model_pods(Some((app, backend))) {
        cluster::set_ready(&mut world.store, &key, ready);
    }
    world.requests_die();
}

fn somebody_publishes(world: &mut World, app: App, blue: Option<u32>) {
    world.void_claims();
    let text = match blue {
        None => Some("kind: [".to_owned()),
        Some(blue) => world.published().zip(world.rollout(app)).and_then(|(table, rollout)| {
            let weights = Weights { green: 100 - blue, blue };
            turnout_rollout::publish(&table.documents, &[(&rollout, weights)]).ok()
        }),
    };
    if let Some(text) = text {
        world.store.edit(&published(), |object| object["data"] = json!(BTreeMap::from([("routes.yaml", text)])));
    }
}

fn annotate(store: &mut Store, value: u8) {
    for plural in ["modelrollouts", "virtualservices", "services", "configmaps", "pods", "deployments"] {
        for namespace in cast::NAMESPACES {
            let keys: Vec<Key> = store.list(plural, namespace).into_iter().map(|(key, _)| key.clone()).collect();
            for key in keys {
                store.edit(&key, |object: &mut Value| {
                    object["metadata"]["annotations"]["example.com/note"] = json!(value.to_string());
                });
            }
        }
    }
}
