//! The Kubernetes API as the controller uses it: every failure says what was attempted on what, and every kind of object
//! has one way to be reached.

use crate::names::{GROUP, KIND, PLURAL, VERSION};
use k8s_openapi::Resource as KubernetesKind;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, ObjectList};
use kube::{Client, Error, ResourceExt as _};
use std::fmt;
use turnout_rollout::Obstacle;

/// A request to the API server that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {object}: {}", describe(source))]
pub struct ApiError {
    /// As roles call it.
    pub verb: &'static str,
    /// Kind, namespace and name.
    pub object: String,
    /// Why.
    #[source]
    pub source: Error,
}

impl ApiError {
    /// For `map_err`.
    pub fn of(verb: &'static str, object: impl fmt::Display) -> impl FnOnce(Error) -> Self {
        let object = object.to_string();
        move |source| Self { verb, object, source }
    }

    /// As a condition tells it.
    pub fn obstacle(&self) -> Obstacle {
        if self.is_forbidden() {
            let message = format!("a right is missing: {self}; `turnout check` lists what the controller needs");
            return Obstacle { reason: "Forbidden", message };
        }
        Obstacle { reason: "ApiFailure", message: self.to_string() }
    }

    fn code(&self) -> Option<u16> {
        match &self.source {
            Error::Api(status) => Some(status.code),
            _ => None,
        }
    }

    /// What was read is no longer so: look again.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// What was to be created is there. A conflict of another kind, such as that of two writers of a quota, is none of that.
    pub fn already_exists(&self) -> bool {
        matches!(&self.source, Error::Api(status) if status.reason == "AlreadyExists")
    }

    /// The API server understood and will not: a `test` of a JSON Patch failed, or a field is invalid.
    pub fn is_unprocessable(&self) -> bool {
        self.code() == Some(422)
    }

    /// There is no such object, or no such kind.
    pub fn is_missing(&self) -> bool {
        self.code() == Some(404)
    }

    /// The controller has no right to do it.
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }
}

/// The API server's own words where it answered; kube's else.
fn describe(error: &Error) -> String {
    match error {
        Error::Api(status) if !status.message.is_empty() => format!("{} ({})", status.message, status.code),
        Error::Api(status) => format!("{} ({})", status.reason, status.code),
        Error::Service(cause) => format!("no answer from the API server: {cause}"),
        other => other.to_string(),
    }
}

/// Everything of a kind in a namespace, straight from etcd: no `resourceVersion` is asked for, so nothing is served from
/// a cache that lags.
pub async fn list<K>(api: &Api<K>, namespace: &str, parameters: &ListParams) -> Result<Vec<K>, ApiError>
where
    K: KubernetesKind + Clone + fmt::Debug + serde::de::DeserializeOwned,
{
    let listed =
        api.list(parameters).await.map_err(ApiError::of("list", format!("{} in {namespace}", plural::<K>())))?;
    Ok(listed.items)
}

/// As [`list`], for kinds that are known only at run time.
pub async fn list_dynamic(
    client: &Client,
    kind: &ApiResource,
    namespace: &str,
) -> Result<Vec<DynamicObject>, ApiError> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, kind);
    let listed: ObjectList<DynamicObject> = api
        .list(&ListParams::default())
        .await
        .map_err(ApiError::of("list", format!("{} in {namespace}", kind.plural)))?;
    Ok(listed.items)
}

/// As roles name it.
fn plural<K: KubernetesKind>() -> String {
    format!("{}s", K::KIND.to_ascii_lowercase())
}

/// The kind [`KIND`].
pub fn rollout_kind() -> ApiResource {
    ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: KIND.to_owned(),
        plural: PLURAL.to_owned(),
    }
}

/// A kind of Istio's routing documents.
pub fn istio_kind(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: "networking.istio.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "networking.istio.io/v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// `Kind namespace/name`, for messages.
pub fn title(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str());
    format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
