//! What uninstalling runs before the release goes: it makes every controller stand still, takes the lease, and removes
//! what the controller made in other people's namespaces. Rollouts, documents and models stay: they are the users'.

use crate::documents::KINDS;
use crate::kube_api::{ApiError, istio_kind, list, list_dynamic};
use crate::lease::{self, Leadership};
use crate::mark::Mark;
use crate::object_status;
use crate::settings::{DocumentSource, Settings};
use crate::twins;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams};
use kube::{Client, ResourceExt as _};
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
    /// Somebody gave the uninstall up.
    #[error("the lease {0} was lost: the mark of the uninstall was removed meanwhile")]
    LostLease(String),
}

/// Does all of it, and returns what was removed.
pub async fn run(client: &Client, settings: &Settings) -> Result<Vec<String>, CleanupError> {
    let mark = Mark::new(client, settings);
    mark.set().await?;
    lease::bar(client, &settings.namespace, &settings.lease).await?;
    let identity = format!("{}-cleanup", settings.identity);
    let own = Settings { identity, ..settings.clone() };
    let mut leadership = Leadership::new(client.clone(), &own).of_uninstaller();
    take(&mut leadership, &settings.lease).await?;
    // A controller that took an older uninstall for given up may have removed it; from here on there is none.
    mark.set().await?;
    let removed = tokio::select! {
        removed = remove(client, settings) => removed?,
        () = lose(&mut leadership) => return Err(CleanupError::LostLease(settings.lease.clone())),
    };
    // Until every replica has looked at the lease, and seen that it is barred.
    tokio::time::sleep(lease::RETRY * 2).await;
    give_up_lease(client, settings).await;
    Ok(removed)
}

async fn take(leadership: &mut Leadership, name: &str) -> Result<(), CleanupError> {
    let started = tokio::time::Instant::now();
    loop {
        leadership.step().await?;
        if leadership.leads_until().is_some() {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(CleanupError::StillLed(name.to_owned()));
        }
        tokio::time::sleep(lease::RETRY).await;
    }
}

/// Renews the lease until that is not possible any more: one that stands still is an uninstall that was given up.
async fn lose(leadership: &mut Leadership) {
    while leadership.leads_until().is_some() {
        tokio::time::sleep(lease::RETRY).await;
        match tokio::time::timeout(lease::PATIENCE, leadership.step()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{error}"),
            Err(_) => tracing::warn!("the API server does not answer for the lease"),
        }
    }
}

/// What the controller has made or written in a governed namespace.
#[derive(Clone, Copy)]
enum Trace {
    Twins,
    Conditions,
}

/// Each namespace for itself: one that is being deleted has no Role any more, and keeps nobody else from being tidied.
async fn remove(client: &Client, settings: &Settings) -> Result<Vec<String>, CleanupError> {
    let (mut removed, mut left) = (Vec::new(), None);
    for namespace in &settings.namespaces {
        let there = Settings { namespaces: vec![namespace.clone()], ..settings.clone() };
        for trace in [Trace::Twins, Trace::Conditions] {
            let Err(error) = trace.remove(client, &there, &mut removed).await else { continue };
            tracing::warn!("namespace {namespace} is not tidy: {error}");
            // Who may not tidy will not be allowed to by another try.
            if !error.is_forbidden() {
                left.get_or_insert(error);
            }
        }
    }
    match left {
        None => Ok(removed),
        Some(error) => {
            for removed in &removed {
                tracing::info!("removed: {removed}");
            }
            Err(error.into())
        }
    }
}

impl Trace {
    /// From one namespace. A write that met another one is tried again.
    async fn remove(self, client: &Client, there: &Settings, removed: &mut Vec<String>) -> Result<(), ApiError> {
        for _ in 1..TRIES {
            match self.try_remove(client, there, removed).await {
                Err(error) if error.is_conflict() => {}
                ended => return ended,
            }
        }
        self.try_remove(client, there, removed).await
    }

    async fn try_remove(self, client: &Client, there: &Settings, removed: &mut Vec<String>) -> Result<(), ApiError> {
        match self {
            Self::Twins => remove_twins(client, &there.namespaces[0], removed).await,
            Self::Conditions if there.has_gateway() && there.documents == DocumentSource::Objects => {
                remove_conditions(client, &there.namespaces[0], removed).await
            }
            Self::Conditions => Ok(()),
        }
    }
}

async fn remove_twins(client: &Client, namespace: &str, removed: &mut Vec<String>) -> Result<(), ApiError> {
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    for service in list(&api, namespace, &kube::api::ListParams::default()).await? {
        if twins::is_twin(&service) {
            let name = ServiceName { namespace: namespace.to_owned(), name: service.name_any() };
            twins::remove(client, &name, &service).await?;
            removed.push(format!("Service {name}"));
        }
    }
    Ok(())
}

async fn remove_conditions(client: &Client, namespace: &str, removed: &mut Vec<String>) -> Result<(), ApiError> {
    for (kind, plural) in KINDS {
        for mut object in list_dynamic(client, &istio_kind(kind, plural), namespace).await? {
            let api_version = "networking.istio.io/v1".to_owned();
            object.types = Some(kube::api::TypeMeta { api_version, kind: kind.to_owned() });
            if object_status::remove(client, &object).await? {
                removed.push(format!("condition of {kind} {namespace}/{}", object.name_any()));
            }
        }
    }
    Ok(())
}

/// With its mark.
async fn give_up_lease(client: &Client, settings: &Settings) {
    let Settings { namespace, lease, .. } = settings;
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let deleted = leases.delete(lease, &DeleteParams::default()).await;
    if let Err(error) = deleted.map_err(ApiError::of("delete", format!("leases {namespace}/{lease}"))) {
        let waits = if settings.has_gateway() { "removes its mark" } else { "waits 5 minutes before it leads" };
        tracing::warn!(
            "the lease stays, and a controller that is installed anew {waits}: {error}; \
             remove it by `kubectl delete lease {lease} --namespace {namespace}`"
        );
    }
}
