//! The Deployment of a backend: what it is to be, and what a live one has to be changed to. Pure.

use super::owner;
use super::template::parse_template;
use crate::names::{BACKEND, FIELD_MANAGER, MANAGED_BY, REVISION, ROLLOUT};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use turnout_rollout::{Backend, FieldError, InvalidRollout, ModelRollout};

/// The label by which Kiali and Istio's dashboards tell versions apart.
const VERSION: &str = "version";

/// The labels of a Service's pods, by name.
pub type Labels = BTreeMap<String, String>;

/// The name of a backend's Deployment.
pub fn deployment_name(rollout: &ModelRollout, backend: Backend) -> String {
    format!("{}-{backend}", rollout.metadata.name)
}

/// The Deployment that makes a backend serve a revision. Its pods have the template's labels and those of
/// `service_selector`: what the backend's Service selects, and the labels of its subset if it has one. Without
/// `spec.replicas` the number is left to the API server, and later to whoever scales.
pub fn deployment(
    rollout: &ModelRollout,
    owner_uid: &str,
    backend: Backend,
    revision: &str,
    template: &Value,
    service_selector: &Labels,
) -> Result<Deployment, InvalidRollout> {
    let mut template = parse_template(template)?;
    let selector = selector(rollout, backend);
    let mut own = selector.clone();
    own.insert(REVISION.to_owned(), revision.to_owned());
    let metadata = template.metadata.get_or_insert_default();
    let mut labels = metadata.labels.take().unwrap_or_default();
    labels.extend(selected(backend, service_selector, &own)?);
    labels.entry(VERSION.to_owned()).or_insert_with(|| backend.to_string());
    labels.extend(own.clone());
    metadata.labels = Some(labels);
    own.insert(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned());
    Ok(Deployment {
        metadata: ObjectMeta {
            name: Some(deployment_name(rollout, backend)),
            namespace: Some(rollout.metadata.namespace.clone()),
            labels: Some(own),
            owner_references: Some(vec![owner(rollout, owner_uid)]),
            ..ObjectMeta::default()
        },
        spec: Some(DeploymentSpec {
            replicas: rollout.spec.replicas.map(|replicas| i32::try_from(replicas).unwrap_or(i32::MAX)),
            selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
            template,
            strategy: Some(strategy()),
            progress_deadline_seconds: Some(i32::try_from(rollout.spec.ready_deadline_seconds).unwrap_or(i32::MAX)),
            // The templates of former revisions are stored elsewhere, where `kubectl rollout undo` does not reach.
            revision_history_limit: Some(0),
            ..DeploymentSpec::default()
        }),
        status: None,
    })
}

/// Whether the pods of a Deployment would be found by what selects those of the other backend.
pub fn is_selected_by(deployment: &Deployment, other_selector: &Labels) -> bool {
    let labels = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref());
    labels.is_some_and(|labels| other_selector.iter().all(|(name, value)| labels.get(name) == Some(value)))
}

/// What a live Deployment becomes; none if it has all that is wanted already. Fields that nobody wanted stay out of the
/// comparison: an API server fills them in, and an autoscaler owns the number of pods where the rollout names none.
pub(super) fn changed(live: &Deployment, mut wanted: Deployment) -> Option<Deployment> {
    let (live_spec, wanted_spec) = (live.spec.as_ref()?, wanted.spec.as_mut()?);
    wanted_spec.replicas = wanted_spec.replicas.or(live_spec.replicas);
    let compared = |deployment: &Deployment| json!({"labels": deployment.metadata.labels, "spec": deployment.spec});
    if super::difference::has_all(&compared(live), &compared(&wanted)) {
        return None;
    }
    let mut next = live.clone();
    next.metadata.labels.get_or_insert_default().extend(wanted.metadata.labels.unwrap_or_default());
    next.spec = wanted.spec;
    Some(next)
}

/// What tells the pods of a backend from all others, in every revision: it can never change.
fn selector(rollout: &ModelRollout, backend: Backend) -> Labels {
    let labels = [(ROLLOUT, rollout.metadata.name.clone()), (BACKEND, backend.to_string())];
    labels.map(|(name, value)| (name.to_owned(), value)).into()
}

/// What the Service wants of its pods, unless it cannot have it.
fn selected(backend: Backend, service_selector: &Labels, own: &Labels) -> Result<Labels, InvalidRollout> {
    let refuse =
        |message: String| Err(InvalidRollout(vec![FieldError { path: format!("spec.{backend}.host"), message }]));
    if service_selector.is_empty() {
        return refuse("its Service selects no pods: give it a selector".to_owned());
    }
    for (name, value) in service_selector {
        if let Some(other) = own.get(name).filter(|other| *other != value) {
            return refuse(format!(
                "its Service selects {name}={value}, these pods have {other}: select by other labels"
            ));
        }
    }
    Ok(service_selector.clone())
}

/// A new pod is ready before an old one goes.
fn strategy() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        }),
    }
}
