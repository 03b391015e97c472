//! The two backends of a rollout as the cluster has them: which endpoints are ready, and what shows what they serve: the
//! label `turnout.dev/revision` of the pods, or, of those without, the digests of their images and what their containers
//! are told to do. What follows from that is decided by [`identify`].

use crate::names::REVISION;
use crate::view::View;
use crate::{twins, workloads};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use turnout_driver::BackendView;
use turnout_rollout::{
    Backend, BackendObservation, BackendRef, Evidence, Fingerprint, Identity, ModelRollout, ServiceName, full_host,
    identify,
};
use turnout_routes::address_digest;

/// The pods behind one backend.
#[derive(Clone, Debug, Default)]
struct Pods {
    /// There is at least one endpoint, ready or not.
    exists: bool,
    /// The ready ones, each once.
    ready: Vec<ReadyEndpoint>,
    /// The Deployments of these pods have taken up what their specs say.
    is_updated: bool,
    /// One of them has fewer ready pods than it is to have.
    is_short: bool,
    /// How many pods the largest of them is to have.
    replicas: Option<u32>,
}

/// An endpoint that takes requests.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ReadyEndpoint {
    address: SocketAddr,
    /// Its pod's UID, which a pod of the same name that comes later does not have.
    uid: String,
    revision: Option<String>,
    runs: Option<Fingerprint>,
}

impl Pods {
    /// Looks at one backend of a rollout.
    fn of(view: &View, rollout: &ModelRollout, backend: Backend) -> Self {
        let reference = rollout.spec.backend(backend);
        let Some(service) = ServiceName::of_host(&full_host(&reference.host, rollout.route_namespace())) else {
            return Self::default();
        };
        let subset = view.subset_labels(rollout, reference);
        let slices = view.slices.get(&service).map(Vec::as_slice).unwrap_or_default();
        let family = twins::family(view, &service);
        let mut found = Self { is_updated: true, ..Self::default() };
        for slice in slices.iter().filter(|slice| family.is_none_or(|family| slice.address_type == family)) {
            let Some(port) = target_port(view, &service, reference, slice) else { continue };
            for endpoint in &slice.endpoints {
                let pod = pod_of(view, &service, endpoint);
                if !is_in_subset(pod, subset.as_ref()) {
                    continue;
                }
                found.exists = true;
                if let Some(ready) = ready_endpoint(endpoint, pod, port) {
                    found.ready.push(ready);
                    for deployment in
                        pod.into_iter().flat_map(|pod| deployments_of(view.deployments_in(&service.namespace), pod))
                    {
                        found.is_updated &= is_updated(deployment);
                        found.is_short |= !is_whole(deployment);
                        found.replicas = found.replicas.max(workloads::replicas_of(deployment));
                    }
                }
            }
        }
        found.ready.sort_by_key(|endpoint| endpoint.address);
        found.ready.dedup_by(|one, other| one.address == other.address);
        found
    }

    /// Which addresses are ready, as gateways tell which they have.
    fn digest(&self) -> u64 {
        address_digest(self.ready.iter().map(|endpoint| endpoint.address.ip()))
    }

    /// What its ready endpoints show of what they serve.
    fn evidence(&self) -> Evidence {
        let Some(first) = self.ready.first() else { return Evidence::Absent };
        let all_have = |same: &dyn Fn(&ReadyEndpoint) -> bool| self.ready.iter().all(same);
        let unclear = |why: &str| Evidence::Unclear(why.to_owned());
        if !self.is_updated {
            return unclear("its Deployment is being updated");
        }
        match (&first.revision, &first.runs) {
            (Some(revision), _) if all_have(&|one| one.revision == first.revision) => Evidence::Label(revision.clone()),
            (None, Some(runs)) if all_have(&|one| one.revision.is_none() && one.runs == first.runs) => {
                Evidence::Unlabelled(runs.clone())
            }
            (None, None) if all_have(&|one| one.revision.is_none()) => {
                unclear("its pods carry no label turnout.dev/revision, and their images are not known")
            }
            (None, Some(_)) if all_have(&|one| one.revision.is_none()) => {
                unclear("its pods carry no label turnout.dev/revision and are not alike")
            }
            _ => unclear("its pods carry different labels turnout.dev/revision"),
        }
    }

    fn view(self, identity: Identity, is_looked_up: bool) -> BackendView {
        let observed = BackendObservation {
            exists: self.exists,
            ready_endpoints: u32::try_from(self.ready.len()).unwrap_or(u32::MAX),
            revision: identity.revision,
            runs: identity.runs,
            doubt: identity.doubt,
            short: self.is_short,
            replicas: self.replicas,
            warmed: false,
        };
        let looked_up = is_looked_up.then(|| self.digest());
        let ready =
            self.ready.into_iter().map(|ready| turnout_driver::Endpoint { uid: ready.uid, address: ready.address });
        BackendView { observed, ready: ready.collect(), looked_up }
    }
}

/// Green and blue; `is_looked_up` where gateways look endpoints up by themselves.
pub fn look(view: &View, rollout: &ModelRollout, is_looked_up: bool) -> [BackendView; 2] {
    let [green, blue] = Backend::BOTH.map(|backend| Pods::of(view, rollout, backend));
    let [of_green, of_blue] = identify(&rollout.status, green.evidence(), blue.evidence());
    [green.view(of_green, is_looked_up), blue.view(of_blue, is_looked_up)]
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
    let address: IpAddr = endpoint.addresses.first().filter(|_| twins::is_ready(endpoint))?.parse().ok()?;
    Some(ReadyEndpoint {
        address: SocketAddr::new(address, port),
        uid: pod.and_then(Pod::uid).unwrap_or_else(|| address.to_string()),
        revision: pod.and_then(|pod| pod.labels().get(REVISION).cloned()),
        runs: pod.and_then(fingerprint),
    })
}

/// What the containers of a pod run; none while the images are not known.
fn fingerprint(pod: &Pod) -> Option<Fingerprint> {
    let statuses = pod.status.as_ref()?.container_statuses.as_deref().unwrap_or_default();
    let mut images: Vec<&str> = statuses.iter().map(|status| digest_of(&status.image_id)).collect();
    if images.is_empty() || images.contains(&"") {
        return None;
    }
    images.sort_unstable();
    let images = match images.as_slice() {
        [one] => (*one).to_owned(),
        several => short_hash(&json!(several)),
    };
    Some(Fingerprint { images, template: short_hash(&told(pod.spec.as_ref()?)) })
}

/// Of `registry/name@sha256:3f2a…` what follows the algorithm.
fn digest_of(image_id: &str) -> &str {
    image_id.rsplit_once("sha256:").map_or(image_id, |(_, digest)| digest)
}

/// What decides what the containers do, besides their images. Names, probes and resources do not; nor do the volumes
/// that the API server adds to every pod under a name of its own.
fn told(spec: &PodSpec) -> Value {
    let containers = spec.containers.iter().map(|it| json!([it.command, it.args, it.env, it.env_from]));
    let volumes = spec.volumes.iter().flatten().filter(|volume| volume.projected.is_none());
    json!([containers.collect::<Vec<_>>(), volumes.collect::<Vec<_>>()])
}

fn short_hash(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string());
    digest.iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Those Deployments of its namespace that the pod belongs to.
fn deployments_of<'a>(deployments: &'a [Deployment], pod: &'a Pod) -> impl Iterator<Item = &'a Deployment> {
    let labels = pod.labels();
    deployments.iter().filter(move |deployment| {
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.as_ref());
        wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
    })
}

/// It has taken up what its spec says, and its former pods have gone: in the middle of an update what its ready pods
/// show is not what it will be. A pod that cannot be scheduled is no update.
fn is_updated(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    status.observed_generation >= deployment.metadata.generation && status.replicas == status.updated_replicas
}

/// It has as many ready pods as it is to have.
fn is_whole(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    ready >= wanted
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    /// Green's Service has these address families, and two ready pods with an address of each.
    fn dual_stack(families: &[&str]) -> View {
        let name = ServiceName { namespace: "abtesting".to_owned(), name: "green".to_owned() };
        let service = json!({"metadata": {"name": "green"}, "spec": {"ipFamilies": families}});
        let slice = |family: &str, addresses: [&str; 2]| -> EndpointSlice {
            let endpoint = |address: &&str| json!({"addresses": [address], "conditions": {"ready": true}});
            let endpoints: Vec<Value> = addresses.iter().map(endpoint).collect();
            let slice = json!({
                "metadata": {"name": family}, "addressType": family, "ports": [{"port": 5001}], "endpoints": endpoints,
            });
            serde_json::from_value(slice).unwrap()
        };
        let slices = vec![slice("IPv6", ["fd00::1", "fd00::2"]), slice("IPv4", ["10.0.0.1", "10.0.0.2"])];
        let mut view = View::default();
        view.services.insert(name.clone(), serde_json::from_value(service).unwrap());
        view.slices.insert(name, slices);
        view
    }

    #[test]
    fn of_two_address_families_the_one_counts_in_which_gateways_find_the_pods() {
        let rollout: ModelRollout = serde_json::from_value(json!({
            "apiVersion": "turnout.dev/v1alpha1", "kind": "ModelRollout",
            "metadata": {"name": "model", "namespace": "abtesting"},
            "spec": {"route": {"virtualService": "model"}, "green": {"host": "green"}, "blue": {"host": "blue"}},
        }))
        .unwrap();
        let check = |families: &[&str], expected: &[&str]| {
            let found = Pods::of(&dual_stack(families), &rollout, Backend::Green);
            let ready: Vec<IpAddr> = found.ready.iter().map(|endpoint| endpoint.address.ip()).collect();
            let expected: Vec<IpAddr> = expected.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(ready, expected, "{families:?}");
            assert_eq!(found.digest(), address_digest(expected.into_iter()), "{families:?}");
        };
        check(&["IPv4", "IPv6"], &["10.0.0.1", "10.0.0.2"]);
        check(&["IPv6", "IPv4"], &["fd00::1", "fd00::2"]);
        check(&["IPv4"], &["10.0.0.1", "10.0.0.2"]);
    }
}
