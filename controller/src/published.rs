//! The published ConfigMap: what the gateways mount. It is an output: nobody else writes it, and the controller replaces
//! it whole, by the `resourceVersion` that it was read with.
//!
//! The fence: a rollout's position is hashed into an annotation, so every step of a rollout changes the ConfigMap's
//! `resourceVersion`, also one that changes no weight. A former leader that decided on an older position and sleeps
//! before it writes then meets a conflict, and never gives weight to a backend that somebody was told to remove.

use crate::kube_api::ApiError;
use crate::names::{FENCE, FIELD_MANAGER, ROUTES_KEY, UNINSTALLING};
use crate::settings::Settings;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use turnout_rollout::ModelRollout;
use turnout_routes::documents::Document;
use turnout_routes::{Source, parse};

/// What is published.
#[derive(Clone, Debug, Default)]
pub struct PublishedRoutes {
    /// The object as it was read; none if the chart's ConfigMap is gone.
    config_map: Option<ConfigMap>,
    /// Its documents; none while nothing has been published, or somebody else has written what is no routes file.
    pub documents: Vec<Document>,
    /// The revision that gateways report once they have it.
    pub revision: Option<String>,
}

impl PublishedRoutes {
    /// Reads it.
    pub async fn read(client: &Client, settings: &Settings) -> Result<Self, ApiError> {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &settings.namespace);
        let config_map = api.get_opt(&settings.routes_configmap).await.map_err(ApiError::of("get", name(settings)))?;
        Ok(Self::of(config_map))
    }

    fn of(config_map: Option<ConfigMap>) -> Self {
        let Some(config_map) = config_map else { return Self::default() };
        let data = config_map.data.as_ref();
        let sources: Vec<Source<'_>> =
            data.into_iter().flatten().map(|(name, text)| Source { name, bytes: text.as_bytes() }).collect();
        let revision = (!sources.is_empty()).then(|| turnout_routes::revision(&sources));
        let documents = parse(&sources).map(|parsed| parsed.documents).unwrap_or_default();
        Self { config_map: Some(config_map), documents, revision }
    }

    /// The release is being uninstalled: nobody writes anything any more.
    pub fn is_uninstalling(&self) -> bool {
        self.annotation(UNINSTALLING).is_some()
    }

    /// It holds exactly this, and was written after these positions were decided.
    pub fn is(&self, text: &str, fence: &str) -> bool {
        let data = self.config_map.as_ref().and_then(|config_map| config_map.data.as_ref());
        let holds = data.is_some_and(|data| data.len() == 1 && data.get(ROUTES_KEY).is_some_and(|held| held == text));
        holds && self.annotation(FENCE) == Some(fence)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.config_map.as_ref()?.annotations().get(key).map(String::as_str)
    }

    /// Replaces it, or makes it where it is gone. Returns what is published then.
    pub async fn replace(
        &self,
        client: &Client,
        settings: &Settings,
        text: String,
        fence: String,
    ) -> Result<Self, ApiError> {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &settings.namespace);
        let mut next = self.config_map.clone().unwrap_or_default();
        next.data = Some(BTreeMap::from([(ROUTES_KEY.to_owned(), text)]));
        next.binary_data = None;
        next.annotations_mut().insert(FENCE.to_owned(), fence);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let written = if self.config_map.is_some() {
            api.replace(&settings.routes_configmap, &parameters, &next)
                .await
                .map_err(ApiError::of("update", name(settings)))
        } else {
            next.metadata.name = Some(settings.routes_configmap.clone());
            api.create(&parameters, &next).await.map_err(ApiError::of("create", name(settings)))
        };
        Ok(Self::of(Some(written?)))
    }
}

fn name(settings: &Settings) -> String {
    format!("configmaps {}/{}", settings.namespace, settings.routes_configmap)
}

/// What changes with the position of every rollout.
pub fn fence<'a>(rollouts: impl Iterator<Item = &'a ModelRollout>) -> String {
    let mut hash = Sha256::new();
    for rollout in rollouts {
        let status = &rollout.status;
        let uid = rollout.metadata.other.get("uid");
        let rollback = status.rollback.is_some();
        // A Debug text is no format to store, but as good as any to tell two positions apart.
        let position = format!("{uid:?} {:?} {:?} {:?} {rollback}", status.stage, status.moving_to, status.candidate);
        hash.update((position.len() as u64).to_be_bytes());
        hash.update(position);
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout(stage: &str) -> ModelRollout {
        serde_json::from_value(json!({
            "apiVersion": "turnout.dev/v1alpha1", "kind": "ModelRollout",
            "metadata": {"name": "model", "namespace": "abtesting", "uid": "1"},
            "spec": {"route": {"virtualService": "model"}, "green": {"host": "g"}, "blue": {"host": "b"}},
            "status": {"stage": stage},
        }))
        .expect("a rollout")
    }

    #[test]
    fn every_position_has_its_own_fence_and_the_same_one_keeps_it() {
        let of = |stage: &str| fence([rollout(stage)].iter());
        assert_eq!(of("Blue_50"), of("Blue_50"));
        assert_ne!(of("Blue_100"), of("Blue_Green"), "which have the same weights");
        assert_ne!(of("Blue_100"), fence([].iter()));
    }

    #[test]
    fn what_somebody_else_wrote_is_replaced_whole() {
        let config_map = |data: serde_json::Value| {
            let object = json!({"metadata": {"name": "r", "annotations": {FENCE: "f"}}, "data": data});
            PublishedRoutes::of(Some(serde_json::from_value(object).expect("a ConfigMap")))
        };
        assert!(config_map(json!({ROUTES_KEY: "a"})).is("a", "f"));
        assert!(!config_map(json!({ROUTES_KEY: "a"})).is("a", "g"));
        assert!(!config_map(json!({ROUTES_KEY: "b"})).is("a", "f"));
        assert!(!config_map(json!({ROUTES_KEY: "a", "more.yaml": ""})).is("a", "f"));
        assert!(!PublishedRoutes::default().is("a", "f"));
    }
}
