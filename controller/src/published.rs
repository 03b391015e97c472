//! The published ConfigMap: what the gateways mount. It is an output: nobody else writes it, and the controller replaces
//! it whole, by the `resourceVersion` that it was read with.
//!
//! The fence: the versions of the rollouts that were decided on are hashed into an annotation, so whatever changes a
//! rollout changes the ConfigMap's `resourceVersion`, also what changes no weight, and also what only takes back a change
//! that was never published. A former leader that decided on an older version and sleeps before it writes then meets a
//! conflict, and never gives weight to a backend that somebody was told to remove.
//!
//! No text is published twice: its first line is a comment that names the version that it replaced. Else a gateway that
//! missed a change and its reversal would seem to have the newest routes, while kubelet may bring it those in between.

use crate::kube_api::ApiError;
use crate::names::{ABROAD, FENCE, FIELD_MANAGER, ROUTES_KEY, UNINSTALLING};
use crate::rollouts::{Versions, read_abroad};
use crate::settings::Settings;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use turnout_rollout::ModelRollout;
use turnout_routes::documents::Document;
use turnout_routes::{Source, parse};

/// Begins the first line of a published text; the version that it replaced follows.
const FOLLOWS: &str = "# Follows ";

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

    /// It holds exactly this, and was written after these versions were decided on.
    pub fn is(&self, text: &str, fence: &str) -> bool {
        self.text_of(text).is_some() && self.annotation(FENCE) == Some(fence)
    }

    /// The rollouts that governed a rule of another namespace than their own when it was written.
    pub fn abroad(&self) -> Vec<ModelRollout> {
        self.annotation(ABROAD).map(read_abroad).unwrap_or_default()
    }

    /// The text as it stands here with its first line, if it does and nothing else does.
    fn text_of(&self, text: &str) -> Option<&String> {
        let data = self.config_map.as_ref()?.data.as_ref().filter(|data| data.len() == 1)?;
        data.get(ROUTES_KEY)
            .filter(|held| held.starts_with(FOLLOWS) && held.split_once('\n').is_some_and(|(_, rest)| rest == text))
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.config_map.as_ref()?.annotations().get(key).map(String::as_str)
    }

    /// Replaces it, or makes it where it is gone. Returns the revision that is published then.
    pub async fn replace(
        &self,
        client: &Client,
        settings: &Settings,
        text: &str,
        fence: String,
        abroad: Option<String>,
    ) -> Result<String, ApiError> {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &settings.namespace);
        let mut next = self.config_map.clone().unwrap_or_default();
        let text = self.text_of(text).cloned().unwrap_or_else(|| {
            let replaced = next.metadata.resource_version.as_deref();
            format!("{FOLLOWS}{}\n{text}", replaced.unwrap_or(&fence))
        });
        let revision = turnout_routes::revision(&[Source { name: ROUTES_KEY, bytes: text.as_bytes() }]);
        next.data = Some(BTreeMap::from([(ROUTES_KEY.to_owned(), text)]));
        next.binary_data = None;
        next.annotations_mut().insert(FENCE.to_owned(), fence);
        next.annotations_mut().remove(ABROAD);
        next.annotations_mut().extend(abroad.map(|abroad| (ABROAD.to_owned(), abroad)));
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        if self.config_map.is_some() {
            api.replace(&settings.routes_configmap, &parameters, &next)
                .await
                .map_err(ApiError::of("update", name(settings)))?;
        } else {
            next.metadata.name = Some(settings.routes_configmap.clone());
            api.create(&parameters, &next).await.map_err(ApiError::of("create", name(settings)))?;
        }
        Ok(revision)
    }
}

fn name(settings: &Settings) -> String {
    format!("configmaps {}/{}", settings.namespace, settings.routes_configmap)
}

/// What changes with every version of every rollout.
pub fn fence(versions: &Versions) -> String {
    let mut hash = Sha256::new();
    for version in versions {
        // A Debug text is no format to store, but as good as any to tell two versions apart.
        let version = format!("{version:?}");
        hash.update((version.len() as u64).to_be_bytes());
        hash.update(version);
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_version_has_its_own_fence_and_the_same_one_keeps_it() {
        let of = |version: &str| fence(&Versions::from([(Some("1".to_owned()), Some(version.to_owned()))]));
        assert_eq!(of("7"), of("7"));
        assert_ne!(of("7"), of("8"), "whatever has changed");
        assert_ne!(of("7"), fence(&Versions::new()));
    }

    #[test]
    fn what_somebody_else_wrote_is_replaced_whole() {
        let config_map = |data: serde_json::Value| {
            let object = json!({"metadata": {"name": "r", "annotations": {FENCE: "f"}}, "data": data});
            PublishedRoutes::of(Some(serde_json::from_value(object).expect("a ConfigMap")))
        };
        assert!(config_map(json!({ROUTES_KEY: "# Follows 1\na"})).is("a", "f"));
        assert!(!config_map(json!({ROUTES_KEY: "# Follows 1\na"})).is("a", "g"));
        assert!(!config_map(json!({ROUTES_KEY: "# Follows 1\nb"})).is("a", "f"));
        assert!(!config_map(json!({ROUTES_KEY: "a"})).is("a", "f"), "nobody knows whether it was published before");
        assert!(!config_map(json!({ROUTES_KEY: "# Follows 1\na", "more.yaml": ""})).is("a", "f"));
        assert!(!PublishedRoutes::default().is("a", "f"));
    }
}
