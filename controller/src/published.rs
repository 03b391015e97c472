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
use crate::names::{FENCE, FIELD_MANAGER, GOVERNED_KEY, ROUTES_KEY, UNINSTALLING};
use crate::rollouts::{RolloutObject, Versions, read_governed};
use crate::settings::Settings;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
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
        let routes = data.into_iter().flatten().filter(|(name, _)| *name != GOVERNED_KEY);
        let sources: Vec<Source<'_>> = routes.map(|(name, text)| Source { name, bytes: text.as_bytes() }).collect();
        let revision = (!sources.is_empty()).then(|| turnout_routes::revision(&sources));
        let documents = parse(&sources).map(|parsed| parsed.documents).unwrap_or_default();
        Self { config_map: Some(config_map), documents, revision }
    }

    /// The release is being uninstalled: nobody writes anything any more.
    pub fn is_uninstalling(&self) -> bool {
        self.annotation(UNINSTALLING).is_some()
    }

    /// It holds exactly this, and was written after these versions were decided on, if that is asked for.
    pub fn is(&self, text: &str, governed: &str, fence: Option<&str>) -> bool {
        let is_governed = self.key(GOVERNED_KEY).is_some_and(|held| held == governed);
        let is_fenced = fence.is_none_or(|fence| self.annotation(FENCE) == Some(fence));
        self.text_of(text).is_some() && is_governed && is_fenced
    }

    /// The rollouts that governed a rule when it was written.
    pub fn governed(&self) -> Vec<RolloutObject> {
        self.key(GOVERNED_KEY).map(|text| read_governed(text)).unwrap_or_default()
    }

    fn key(&self, key: &str) -> Option<&String> {
        self.config_map.as_ref()?.data.as_ref()?.get(key)
    }

    /// The text as it stands here with its first line, if it does and nothing else does.
    fn text_of(&self, text: &str) -> Option<&String> {
        let is_own = |key: &String| [ROUTES_KEY, GOVERNED_KEY].contains(&key.as_str());
        self.config_map.as_ref()?.data.as_ref().filter(|data| data.keys().all(is_own))?;
        self.key(ROUTES_KEY)
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
        governed: String,
        fence: String,
    ) -> Result<String, ApiError> {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &settings.namespace);
        let mut next = self.config_map.clone().unwrap_or_default();
        let text = self.text_of(text).cloned().unwrap_or_else(|| {
            let replaced = next.metadata.resource_version.as_deref();
            format!("{FOLLOWS}{}\n{text}", replaced.unwrap_or(&fence))
        });
        let revision = turnout_routes::revision(&[Source { name: ROUTES_KEY, bytes: text.as_bytes() }]);
        next.data = Some(BTreeMap::from([(ROUTES_KEY.to_owned(), text), (GOVERNED_KEY.to_owned(), governed)]));
        next.binary_data = None;
        next.annotations_mut().insert(FENCE.to_owned(), fence);
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
        let held = |text: &str| json!({ROUTES_KEY: text, GOVERNED_KEY: "[]"});
        assert!(config_map(held("# Follows 1\na")).is("a", "[]", Some("f")));
        assert!(config_map(held("# Follows 1\na")).is("a", "[]", None));
        assert!(!config_map(held("# Follows 1\na")).is("a", "[]", Some("g")));
        assert!(!config_map(held("# Follows 1\na")).is("a", "[1]", Some("f")));
        assert!(!config_map(held("# Follows 1\nb")).is("a", "[]", Some("f")));
        assert!(!config_map(held("a")).is("a", "[]", Some("f")), "nobody knows whether it was published before");
        assert!(!config_map(json!({ROUTES_KEY: "# Follows 1\na"})).is("a", "[]", Some("f")));
        assert!(!config_map(json!({ROUTES_KEY: "# Follows 1\na", GOVERNED_KEY: "[]", "more.yaml": ""})).is(
            "a",
            "[]",
            Some("f")
        ));
        assert!(!PublishedRoutes::default().is("a", "[]", Some("f")));
    }
}
