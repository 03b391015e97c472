//! The governed namespaces, each read for itself: one that is being deleted, or for which the API server has no answer,
//! keeps nobody else waiting. What is not read in time is read on beside the rounds, and taken when it has come.
//!
//! Its rollouts are read first, so that what they are judged by is no older than they are. What those of other namespaces
//! want of it is known from the last round.

use crate::documents;
use crate::kube_api::{ApiError, istio_kind, list, list_dynamic};
use crate::rollouts::Rollouts;
use crate::settings::{DocumentSource, Settings};
use futures::StreamExt as _;
use futures::future::{BoxFuture, try_join_all};
use futures::stream::FuturesUnordered;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use turnout_rollout::{Backend, Mode, ModelRollout, Obstacle, ServiceName, full_host};

/// How long a round waits for a namespace.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many things of a namespace are asked for one by one, since others of their kind may live there in masses; more of them
/// by one list of all.
const FEW: usize = 4;

/// What rollouts want of a namespace, besides what is listed whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The Services whose pods say what they serve.
    services: BTreeSet<ServiceName>,
    /// Istio mode: the VirtualServices with the rules, by namespace and name.
    routes: BTreeSet<(String, String)>,
    /// Istio mode: where DestinationRules have the subsets of backends.
    subsets: BTreeSet<String>,
}

/// What a namespace holds.
#[derive(Debug)]
pub struct Namespace {
    /// Its rollouts.
    pub rollouts: Rollouts,
    /// Everything else that decisions on them need.
    pub workloads: Result<Workloads, ApiError>,
    /// The objects that are documents; none where documents come from a ConfigMap.
    pub documents: Result<Vec<DynamicObject>, ApiError>,
    /// What it was read for.
    pub wanted: Wanted,
}

/// What serves in a namespace.
#[derive(Debug, Default)]
pub struct Workloads {
    /// The Services.
    pub services: Vec<Service>,
    /// Their endpoints.
    pub slices: Vec<EndpointSlice>,
    /// The Deployments.
    pub deployments: Vec<Deployment>,
    /// The pods that wanted Services select: their labels and images say what they serve.
    pub pods: Vec<Pod>,
    /// The VirtualServices that rollouts in Istio mode want, as they are: they may hold what no gateway of ours takes.
    pub virtual_services: Vec<DynamicObject>,
    /// The DestinationRules beside them.
    pub destination_rules: Vec<DynamicObject>,
}

/// A namespace that is being read.
type Reading = BoxFuture<'static, (String, Result<Namespace, ApiError>)>;

/// Reads namespaces.
#[derive(Default)]
pub struct Readers {
    /// Nobody else locks it: it makes the whole shareable between threads, which futures are not.
    running: Mutex<FuturesUnordered<Reading>>,
    names: BTreeSet<String>,
    wanted: Wanted,
}

impl Wanted {
    /// What these rollouts want of the namespaces that are governed.
    pub fn of<'a>(rollouts: impl IntoIterator<Item = &'a ModelRollout>, settings: &Settings) -> Self {
        let mut wanted = Self::default();
        for rollout in rollouts {
            let services = backend_services(rollout).into_iter().flatten();
            wanted.services.extend(services.filter(|service| settings.governs(&service.namespace)));
            if rollout.spec.mode == Mode::Istio && settings.governs(rollout.route_namespace()) {
                wanted.routes.insert(route_key(rollout));
                if Backend::BOTH.iter().any(|backend| rollout.spec.backend(*backend).subset.is_some()) {
                    wanted.subsets.insert(rollout.route_namespace().to_owned());
                }
            }
        }
        wanted
    }

    /// All that either wants.
    pub fn join(&mut self, other: Self) {
        self.services.extend(other.services);
        self.routes.extend(other.routes);
        self.subsets.extend(other.subsets);
    }

    /// All that the other wants is wanted here, too.
    pub fn covers(&self, other: &Self) -> bool {
        other.services.is_subset(&self.services)
            && other.routes.is_subset(&self.routes)
            && other.subsets.is_subset(&self.subsets)
    }

    fn of_namespace(mut self, namespace: &str) -> Self {
        self.services.retain(|service| service.namespace == namespace);
        self.routes.retain(|(of, _)| of == namespace);
        self.subsets.retain(|of| of == namespace);
        self
    }
}

/// Namespace and name of the VirtualService that a rollout names.
pub(crate) fn route_key(rollout: &ModelRollout) -> (String, String) {
    (rollout.route_namespace().to_owned(), rollout.spec.route.virtual_service.clone())
}

/// The Services of green and blue.
pub(crate) fn backend_services(rollout: &ModelRollout) -> [Option<ServiceName>; 2] {
    Backend::BOTH
        .map(|backend| ServiceName::of_host(&full_host(&rollout.spec.backend(backend).host, rollout.route_namespace())))
}

impl Readers {
    /// What each of the governed namespaces holds, or why that is not known.
    pub async fn read(
        &mut self,
        client: &Client,
        settings: &Settings,
    ) -> BTreeMap<String, Result<Namespace, Obstacle>> {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        for name in settings.namespaces.iter().filter(|name| self.names.insert((*name).clone())) {
            let (client, settings, name) = (client.clone(), settings.clone(), name.clone());
            let wanted = self.wanted.clone().of_namespace(&name);
            running.push(Box::pin(async move {
                let read = read(&client, &settings, &name, wanted).await;
                (name, read)
            }));
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut found = BTreeMap::new();
        while let Ok(Some((name, read))) = tokio::time::timeout_at(deadline, running.next()).await {
            self.names.remove(&name);
            found.insert(name, read.map_err(|error| error.obstacle()));
        }
        for name in &self.names {
            let message = format!("the API server has not answered yet for namespace {name}");
            found.insert(name.clone(), Err(Obstacle { reason: "ApiFailure", message }));
        }
        found
    }

    /// From now on this is read besides what the rollouts of each namespace want of it themselves.
    pub fn want(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }
}

async fn read(client: &Client, settings: &Settings, name: &str, mut wanted: Wanted) -> Result<Namespace, ApiError> {
    let rollouts = Rollouts::read(client, &[name.to_owned()], settings.class.as_deref()).await?;
    wanted.join(Wanted::of(rollouts.readable.iter().map(|one| &one.rollout), settings).of_namespace(name));
    let reads_documents = settings.has_gateway() && settings.documents == DocumentSource::Objects;
    let documents = async { if reads_documents { documents::objects(client, name).await } else { Ok(Vec::new()) } };
    let (documents, workloads) = tokio::join!(documents, read_workloads(client, name, &wanted));
    Ok(Namespace { rollouts, workloads, documents, wanted })
}

async fn read_workloads(client: &Client, namespace: &str, wanted: &Wanted) -> Result<Workloads, ApiError> {
    let all = ListParams::default();
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let services = async {
        let services = list(&services, namespace, &all).await?;
        let pods = read_pods(client, namespace, &services, wanted).await?;
        Ok((services, pods))
    };
    let ((services, pods), slices, deployments, (virtual_services, destination_rules)) = tokio::try_join!(
        services,
        list(&slices, namespace, &all),
        list(&deployments, namespace, &all),
        read_istio(client, namespace, wanted),
    )?;
    Ok(Workloads { services, slices, deployments, pods, virtual_services, destination_rules })
}

async fn read_pods(
    client: &Client,
    namespace: &str,
    services: &[Service],
    wanted: &Wanted,
) -> Result<Vec<Pod>, ApiError> {
    let names: BTreeSet<&str> = wanted.services.iter().map(|service| service.name.as_str()).collect();
    let is_wanted = |service: &&Service| service.metadata.name.as_deref().is_some_and(|name| names.contains(name));
    let selectors: BTreeSet<String> = services.iter().filter(is_wanted).filter_map(selector).collect();
    let parameters: Vec<ListParams> = if selectors.len() > FEW {
        vec![ListParams::default()]
    } else {
        selectors.iter().map(|selector| ListParams::default().labels(selector)).collect()
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let lists = parameters.iter().map(|parameters| list(&pods, namespace, parameters));
    Ok(try_join_all(lists).await?.into_iter().flatten().collect())
}

/// VirtualServices and DestinationRules.
async fn read_istio(
    client: &Client,
    namespace: &str,
    wanted: &Wanted,
) -> Result<(Vec<DynamicObject>, Vec<DynamicObject>), ApiError> {
    let (kind, rules) =
        (istio_kind("VirtualService", "virtualservices"), istio_kind("DestinationRule", "destinationrules"));
    let routes = async {
        if wanted.routes.len() > FEW {
            list_dynamic(client, &kind, namespace).await
        } else {
            get_those(client, &kind, namespace, wanted.routes.iter().map(|(_, name)| name)).await
        }
    };
    let rules = async {
        if wanted.subsets.is_empty() { Ok(Vec::new()) } else { list_dynamic(client, &rules, namespace).await }
    };
    tokio::try_join!(routes, rules)
}

/// Those objects that there are.
async fn get_those<'a>(
    client: &Client,
    kind: &ApiResource,
    namespace: &str,
    names: impl Iterator<Item = &'a String>,
) -> Result<Vec<DynamicObject>, ApiError> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, kind);
    let reads = names.map(async |name| {
        let place = format!("{} {namespace}/{name}", kind.plural);
        api.get_opt(name).await.map_err(ApiError::of("get", place))
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

/// As a query; none for a Service whose endpoints somebody else writes.
fn selector(service: &Service) -> Option<String> {
    let wanted = service.spec.as_ref()?.selector.as_ref().filter(|wanted| !wanted.is_empty())?;
    Some(wanted.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","))
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("names", &self.names).finish_non_exhaustive()
    }
}
