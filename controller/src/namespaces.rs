//! The governed namespaces, each read for itself: one that is being deleted, or for which the API server has no answer,
//! keeps nobody else waiting. What is not read in time is read on beside the rounds, and taken when it has come.

use crate::documents;
use crate::kube_api::{ApiError, list};
use crate::rollouts::Rollouts;
use crate::settings::{DocumentSource, Settings};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use turnout_rollout::Obstacle;

/// How long a round waits for a namespace.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a namespace holds.
#[derive(Debug)]
pub struct Namespace {
    /// Its rollouts.
    pub rollouts: Rollouts,
    /// Everything else that decisions on them need.
    pub workloads: Result<Workloads, ApiError>,
    /// The objects that are documents; none where documents come from a ConfigMap.
    pub documents: Result<Vec<DynamicObject>, ApiError>,
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
}

/// A namespace that is being read.
type Reading = BoxFuture<'static, (String, Result<Namespace, ApiError>)>;

/// Reads namespaces.
#[derive(Default)]
pub struct Readers {
    /// Nobody else locks it: it makes the whole shareable between threads, which futures are not.
    running: Mutex<FuturesUnordered<Reading>>,
    names: BTreeSet<String>,
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
            running.push(Box::pin(async move {
                let read = read(&client, &settings, &name).await;
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
}

async fn read(client: &Client, settings: &Settings, name: &str) -> Result<Namespace, ApiError> {
    let rollouts = Rollouts::read(client, &[name.to_owned()]).await?;
    let reads_documents = settings.has_gateway() && settings.documents == DocumentSource::Objects;
    let documents = async { if reads_documents { documents::objects(client, name).await } else { Ok(Vec::new()) } };
    let (documents, workloads) = tokio::join!(documents, read_workloads(client, name));
    Ok(Namespace { rollouts, workloads, documents })
}

async fn read_workloads(client: &Client, namespace: &str) -> Result<Workloads, ApiError> {
    let all = ListParams::default();
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let (services, slices, deployments) = tokio::try_join!(
        list(&services, namespace, &all),
        list(&slices, namespace, &all),
        list(&deployments, namespace, &all)
    )?;
    Ok(Workloads { services, slices, deployments })
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("names", &self.names).finish_non_exhaustive()
    }
}
