//! The mark that an uninstaller sets on the published ConfigMap: while it is there, no round writes anything. It is set
//! before the one on the lease, and goes with the release. Without a gateway there is no such ConfigMap, and no mark.

use crate::kube_api::ApiError;
use crate::names::{FIELD_MANAGER, UNINSTALLING};
use crate::settings::Settings;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// The published ConfigMap, as far as its mark goes.
#[derive(Clone, Debug)]
pub struct Mark(Option<(Api<ConfigMap>, String)>);

impl Mark {
    /// Of this installation.
    pub fn new(client: &Client, settings: &Settings) -> Self {
        let api = Api::namespaced(client.clone(), &settings.namespace);
        Self(settings.has_gateway().then(|| (api, settings.routes_configmap.clone())))
    }

    /// From here on no round writes anything, whoever leads.
    pub async fn set(&self) -> Result<(), ApiError> {
        match self.patch(json!({ "annotations": { UNINSTALLING: "true" } })).await {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        }
    }

    /// The ConfigMap is there, without a mark: somebody took that away, or installed the release anew.
    pub async fn is_lifted(&self) -> Result<bool, ApiError> {
        Ok(self.routes().await?.is_some_and(|routes| !is_set(&routes)))
    }

    /// Takes it away, as it was read: the uninstall was given up.
    pub async fn lift(&self) -> Result<(), ApiError> {
        let Some(marked) = self.routes().await?.filter(is_set) else { return Ok(()) };
        let version = &marked.metadata.resource_version;
        self.patch(json!({ "resourceVersion": version, "annotations": { UNINSTALLING: null } })).await?;
        tracing::warn!("ConfigMap {} is not marked any more: the uninstall was given up", marked.name_any());
        Ok(())
    }

    async fn patch(&self, metadata: Value) -> Result<(), ApiError> {
        let Some((api, name)) = &self.0 else { return Ok(()) };
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let patched = api.patch(name, &PatchParams::apply(FIELD_MANAGER), &patch).await;
        patched.map(drop).map_err(ApiError::of("patch", format!("configmaps {name}")))
    }

    async fn routes(&self) -> Result<Option<ConfigMap>, ApiError> {
        let Some((api, name)) = &self.0 else { return Ok(None) };
        api.get_opt(name).await.map_err(ApiError::of("get", format!("configmaps {name}")))
    }
}

fn is_set(routes: &ConfigMap) -> bool {
    routes.annotations().contains_key(UNINSTALLING)
}
