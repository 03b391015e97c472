//! The two backends of a rollout as the cluster has them: which endpoints are ready, and what they serve.
//!
//! What a pod serves stands on its label `turnout.dev/revision`. Where pods carry none, image IDs tell green and blue
//! apart: blue is where the candidate is tried, and a green with blue's image has it too.

use crate::names::REVISION;
use crate::view::View;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use turnout_rollout::{Backend, BackendObservation, BackendRef, ModelRollout, ServiceName, Stage, Target, full_host};
use turnout_routes::address_digest;

/// What stands behind one backend.
#[derive(Clone, Debug, Default)]
pub struct BackendView {
    /// There is at least one endpoint, ready or not.
    pub exists: bool,
    /// The ready ones, each once.
    pub ready: Vec<ReadyEndpoint>,
    /// Every Deployment of these pods has done what its spec says.
    settled: bool,
}

/// An endpoint that takes requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadyEndpoint {
    /// Where.
    pub address: SocketAddr,
    /// Its pod's UID, which a pod of the same name that comes later does not have.
    pub uid: String,
    revision: Option<String>,
    /// The image IDs of its containers.
    images: Vec<String>,
}

impl BackendView {
    /// Looks at one backend of a rollout.
    pub fn of(view: &View, rollout: &ModelRollout, backend: Backend) -> Self {
        let reference = rollout.spec.backend(backend);
        let Some(service) = ServiceName::of_host(&full_host(&reference.host, rollout.route_namespace())) else {
            return Self::default();
        };
        let subset = view.subset_labels(rollout, reference);
        let slices = view.slices.get(&service).map(Vec::as_slice).unwrap_or_default();
        let mut found = Self { settled: true, ..Self::default() };
        for slice in slices {
            let Some(port) = target_port(view, &service, reference, slice) else { continue };
            for endpoint in &slice.endpoints {
                let pod = pod_of(view, &service, endpoint);
                if !is_in_subset(pod, subset.as_ref()) {
                    continue;
                }
                found.exists = true;
                if let Some(ready) = ready_endpoint(endpoint, pod, port) {
                    found.ready.push(ready);
                    found.settled &= pod.is_none_or(|pod| has_settled(&view.deployments, pod));
                }
            }
        }
        found.ready.sort();
        found.ready.dedup_by(|one, other| one.address == other.address);
        found
    }

    /// Which addresses are ready, as gateways tell which they have.
    pub fn digest(&self) -> u64 {
        address_digest(self.ready.iter().map(|endpoint| endpoint.address.ip()))
    }

    /// What all ready endpoints say of themselves.
    fn label(&self) -> Option<String> {
        self.common(|endpoint| endpoint.revision.clone())
    }

    /// The images that all ready endpoints run.
    fn images(&self) -> Option<Vec<String>> {
        self.common(|endpoint| Some(endpoint.images.clone()).filter(|images| !images.is_empty()))
    }

    fn common<T: PartialEq>(&self, of: impl Fn(&ReadyEndpoint) -> Option<T>) -> Option<T> {
        let mut all = self.ready.iter().map(of);
        let first = all.next()??;
        all.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }

    /// None of the ready endpoints says what it serves.
    fn is_unlabelled(&self) -> bool {
        self.ready.iter().all(|endpoint| endpoint.revision.is_none())
    }

    fn observe(&self, revision: Option<String>, warmed: &BTreeSet<String>) -> BackendObservation {
        BackendObservation {
            exists: self.exists,
            ready_endpoints: u32::try_from(self.ready.len()).unwrap_or(u32::MAX),
            revision: revision.filter(|_| self.settled),
            warmed: self.ready.iter().all(|endpoint| warmed.contains(&endpoint.uid)),
        }
    }
}

/// Green and blue as a decision needs them; `warmed` are the UIDs of the pods that were warmed.
pub fn observe(
    rollout: &ModelRollout,
    green: &BackendView,
    blue: &BackendView,
    warmed: &BTreeSet<String>,
) -> [BackendObservation; 2] {
    let [green_revision, blue_revision] = revisions(rollout, green, blue);
    [green.observe(green_revision, warmed), blue.observe(blue_revision, warmed)]
}

fn revisions(rollout: &ModelRollout, green: &BackendView, blue: &BackendView) -> [Option<String>; 2] {
    let stable = rollout.status.stable_revision.clone();
    let candidate = rollout.status.candidate.as_ref().map(|candidate| candidate.revision.clone());
    let same = match (green.images(), blue.images()) {
        (Some(green), Some(blue)) => Some(green == blue),
        _ => None,
    };
    let of_green = match (green.is_unlabelled(), same) {
        (false, _) => green.label(),
        // Nobody has seen blue with the candidate yet, so that both have it is less likely than that neither has.
        (true, Some(true)) if is_at(rollout, Stage::BLUE_0) => stable.clone().or(candidate.clone()),
        (true, Some(true)) => candidate.clone().or(stable.clone()),
        // Without blue to compare with, green is what it was last known to be: on the way to its last stage the candidate.
        (true, None) if is_at(rollout, Stage::Green100) => green.images().and(candidate.clone().or(stable.clone())),
        (true, _) => green.images().and(stable.clone()),
    };
    let of_blue = match (blue.is_unlabelled(), same) {
        (false, _) => blue.label(),
        // While green has not been replaced, blue with green's image is still what green is.
        (true, Some(true)) if !green_may_have_the_candidate(rollout) => stable,
        (true, _) => blue.images().and(candidate),
    };
    [of_green, of_blue]
}

fn green_may_have_the_candidate(rollout: &ModelRollout) -> bool {
    stage_of(rollout).is_some_and(Stage::replaces_green)
}

fn is_at(rollout: &ModelRollout, stage: Stage) -> bool {
    stage_of(rollout) == Some(stage)
}

/// Where the rollout is, or where it was when it turned back.
fn stage_of(rollout: &ModelRollout) -> Option<Stage> {
    let from = rollout.status.rollback.as_ref().map(|rollback| rollback.from);
    rollout.status.position().and_then(Target::stage).or(from)
}

/// The number at which this slice's pods listen for the backend's port.
fn target_port(view: &View, service: &ServiceName, reference: &BackendRef, slice: &EndpointSlice) -> Option<u16> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let name = match reference.port {
        None => None,
        Some(number) => {
            let spec = view.services.get(service)?.spec.as_ref()?;
            let port = spec.ports.as_deref()?.iter().find(|port| port.port == i32::from(number))?;
            Some(port.name.clone().unwrap_or_default())
        }
    };
    let is_it = |candidate: &str| name.as_ref().is_none_or(|name| name == candidate);
    let port = ports.iter().find(|port| is_it(port.name.as_deref().unwrap_or_default()))?;
    u16::try_from(port.port?).ok()
}

fn pod_of<'a>(view: &'a View, service: &ServiceName, endpoint: &Endpoint) -> Option<&'a Pod> {
    let target = endpoint.target_ref.as_ref()?;
    let pod = view.pods.get(&(service.namespace.clone(), target.name.clone()?))?;
    (pod.uid() == target.uid || target.uid.is_none()).then_some(pod)
}

fn is_in_subset(pod: Option<&Pod>, subset: Option<&BTreeMap<String, String>>) -> bool {
    let Some(wanted) = subset else { return false };
    wanted.is_empty() || pod.is_some_and(|pod| wanted.iter().all(|(key, value)| pod.labels().get(key) == Some(value)))
}

fn ready_endpoint(endpoint: &Endpoint, pod: Option<&Pod>, port: u16) -> Option<ReadyEndpoint> {
    let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
    let address: IpAddr = endpoint.addresses.first().filter(|_| ready)?.parse().ok()?;
    let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_deref()).unwrap_or_default();
    Some(ReadyEndpoint {
        address: SocketAddr::new(address, port),
        uid: pod.and_then(Pod::uid).unwrap_or_else(|| address.to_string()),
        revision: pod.and_then(|pod| pod.labels().get(REVISION).cloned()),
        images: statuses.iter().map(|status| status.image_id.clone()).filter(|id| !id.is_empty()).collect(),
    })
}

/// A Deployment in the middle of its update has pods of both kinds, and fewer of the new ones than it is to have: what
/// the backend serves cannot be told yet.
fn has_settled(deployments: &[Deployment], pod: &Pod) -> bool {
    let selects = |deployment: &&Deployment| {
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.as_ref());
        deployment.namespace() == pod.namespace()
            && wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| pod.labels().get(key) == Some(value)))
    };
    deployments.iter().filter(selects).all(is_complete)
}

fn is_complete(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return false };
    status.observed_generation >= deployment.metadata.generation
        && status.updated_replicas.unwrap_or(0) >= wanted
        && status.ready_replicas.unwrap_or(0) >= wanted
        && status.replicas == status.updated_replicas
}
