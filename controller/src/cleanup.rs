//! What uninstalling runs before the release goes: it makes every controller stand still, takes the lease, and removes
//! what the controller made in other people's namespaces. Rollouts, documents and models stay: they are the users'.

use crate::documents::KINDS;
use crate::kube_api::{ApiError, istio_kind, list, list_dynamic, rollout_kind};
use crate::lease::{self, Leadership};
use crate::names::{FIELD_MANAGER, UNINSTALLING};
use crate::object_status;
use crate::rollouts::Rollouts;
use crate::settings::{DocumentSource, Settings};
use crate::twins;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use std::time::Duration;
use turnout_rollout::ServiceName;

/// How long the other controllers may take to stand still.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a write that met another one is tried.
const TRIES: usize = 5;

/// Why it stopped half-way. Run it again: what is done stays done.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// A request failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Somebody goes on leading.
    #[error("another controller still holds the lease {0} after {PATIENCE:?}")]
    StillLed(String),
}

/// Does all of it, and returns what was removed.
pub async fn run(client: &Client, settings: &Settings) -> Result<Vec<String>, CleanupError> {
    mark(client, settings).await?;
    lease::bar(client, &settings.namespace, &settings.lease).await?;
    let identity = format!("{}-cleanup", settings.identity);
    let mut leadership =
        Leadership::new(client.clone(), &settings.namespace, &settings.lease, &identity).of_uninstaller();
    let started = tokio::time::Instant::now();
    while leadership.leads_until().is_none() {
        if started.elapsed() > PATIENCE {
            return Err(CleanupError::StillLed(settings.lease.clone()));
        }
        leadership.step().await?;
        if leadership.leads_until().is_none() {
            tokio::time::sleep(lease::RETRY).await;
        }
    }
    let mut removed = remove_all(client, settings).await;
    for _ in 1..TRIES {
        match &removed {
            Err(error) if error.is_conflict() => removed = remove_all(client, settings).await,
            _ => break,
        }
    }
    let removed = removed?;
    // Until every replica has looked at the lease, and seen that it is barred.
    tokio::time::sleep(lease::RETRY * 2).await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.namespace);
    let place = format!("leases {}/{}", settings.namespace, settings.lease);
    if let Err(error) =
        leases.delete(&settings.lease, &DeleteParams::default()).await.map_err(ApiError::of("delete", place))
    {
        tracing::warn!("the lease stays, which holds nobody up: {error}");
    }
    Ok(removed)
}

/// From here on no round writes anything, whoever leads.
async fn mark(client: &Client, settings: &Settings) -> Result<(), ApiError> {
    if !settings.has_gateway() {
        return Ok(());
    }
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &settings.namespace);
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { UNINSTALLING: "true" } } }));
    let place = format!("configmaps {}/{}", settings.namespace, settings.routes_configmap);
    let marked = api.patch(&settings.routes_configmap, &PatchParams::apply(FIELD_MANAGER), &patch).await;
    match marked.map_err(ApiError::of("patch", place)) {
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(()),
    }
}

async fn remove_all(client: &Client, settings: &Settings) -> Result<Vec<String>, ApiError> {
    let mut removed = Vec::new();
    for mut one in Rollouts::read(client, settings).await?.readable {
        if one.has_finalizer() {
            one.set_finalizer(client, false).await?;
            removed.push(format!("finalizer of {} {}", rollout_kind().kind, one.rollout.id()));
        }
    }
    for namespace in &settings.namespaces {
        let api: Api<Service> = Api::namespaced(client.clone(), namespace);
        for service in list(&api, namespace, &kube::api::ListParams::default()).await? {
            if twins::is_twin(&service) {
                let name = ServiceName { namespace: namespace.clone(), name: service.name_any() };
                twins::remove(client, &name, &service).await?;
                removed.push(format!("Service {name}"));
            }
        }
        if settings.has_gateway() && settings.documents == DocumentSource::Objects {
            for (kind, plural) in KINDS {
                for mut object in list_dynamic(client, &istio_kind(kind, plural), namespace).await? {
                    object.types = Some(kube::api::TypeMeta {
                        api_version: "networking.istio.io/v1".to_owned(),
                        kind: kind.to_owned(),
                    });
                    if object_status::remove(client, &object).await? {
                        removed.push(format!("condition of {kind} {namespace}/{}", object.name_any()));
                    }
                }
            }
        }
    }
    Ok(removed)
}
