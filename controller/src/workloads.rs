//! Managed workloads: the Deployments of green and blue, made from the pod template of the rollout, and the templates of
//! the revisions that may have to be restored, kept in ControllerRevisions.
//!
//! What a Deployment is to be is computed without a cluster (`deployment`, `template`). What is written goes over what was
//! read in the same round, or not at all; a Deployment that the rollout does not own is never touched; and one that is as
//! it should be is not written again.

mod deployment;
mod difference;
mod template;
mod tend;

#[cfg(test)]
mod tests;

pub use deployment::{Labels, deployment, deployment_name, is_selected_by};
pub use template::{parse_template, stored_template, template_revision};

use crate::kube_api::ApiError;
use crate::names::FIELD_MANAGER;
use crate::namespaces::backend_services;
use crate::rollouts::RolloutObject;
use crate::view::View;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use template::stored_name;
use turnout_rollout::{API_VERSION, Action, Backend, InvalidRollout, KIND, ModelRollout, RolloutStatus};

/// Why a managed backend cannot be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The API server refused, or did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Somebody else's object has the name.
    #[error("{object} belongs to {owner} and is left alone: remove it, or give the rollout another name")]
    Foreign {
        /// Kind, namespace and name.
        object: String,
        /// Whose it is.
        owner: String,
    },
    /// The template, or what it is to be joined with.
    #[error("{0}")]
    Invalid(#[from] InvalidRollout),
    /// A revision that was never rolled out by this rollout, or too long ago.
    #[error("no pod template is stored for revision {0}: put it into spec.template, with spec.revision {0}")]
    NoTemplate(String),
    /// Pods are selected only within their own namespace.
    #[error("spec.{backend}.host: {host} is no Service in namespace {namespace}, where the pods would be: create it")]
    NoService {
        /// Green or blue.
        backend: Backend,
        /// Its host.
        host: String,
        /// The rollout's.
        namespace: String,
    },
    /// A request for one backend would reach the other.
    #[error("spec.{other}.host: its Service also selects the pods of {backend}: give each Service a label of its own")]
    Ambiguous {
        /// Whose pods.
        backend: Backend,
        /// Whose Service.
        other: Backend,
    },
}

impl WorkloadError {
    /// In one word, for a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api(error) if error.is_forbidden() => "Forbidden",
            Self::Api(_) => "ApiFailure",
            Self::Foreign { .. } => "NotOwned",
            Self::Invalid(_) => "InvalidTemplate",
            Self::NoTemplate(_) => "TemplateMissing",
            Self::NoService { .. } => "ServiceMissing",
            Self::Ambiguous { .. } => "AmbiguousService",
        }
    }

    /// What was read is no longer so: look again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(error) if error.is_conflict())
    }
}

/// What there is under the name of a backend's Deployment.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// Nothing.
    Absent,
    /// The rollout's own.
    Owned(&'a Deployment),
    /// Somebody else's.
    Foreign(&'a Deployment),
}

impl<'a> Found<'a> {
    /// Looks among the Deployments that were read.
    pub fn among(deployments: &'a [Deployment], rollout: &ModelRollout, owner_uid: &str, backend: Backend) -> Self {
        let name = deployment_name(rollout, backend);
        let namespace = &rollout.metadata.namespace;
        let is_it = |it: &&Deployment| it.metadata.namespace.as_ref() == Some(namespace) && it.name_any() == name;
        match deployments.iter().find(is_it) {
            None => Self::Absent,
            Some(live) if is_owned(&live.metadata, owner_uid) => Self::Owned(live),
            Some(live) => Self::Foreign(live),
        }
    }
}

/// The managed workloads of one rollout, as a round has read them.
#[derive(Clone, Copy)]
pub struct Workloads<'a> {
    client: &'a Client,
    view: &'a View,
    rollout: &'a ModelRollout,
    owner_uid: &'a str,
}

impl<'a> Workloads<'a> {
    /// Those of this rollout.
    pub fn new(client: &'a Client, view: &'a View, one: &'a RolloutObject) -> Self {
        let owner_uid = one.object.metadata.uid.as_deref().unwrap_or_default();
        Self { client, view, rollout: &one.rollout, owner_uid }
    }

    /// Keeps the template of whatever the next status names first: a candidate, or a stable revision that was served when
    /// the rollout began. It comes before that status is written: once a status names a revision there is a template for
    /// it, whatever becomes of the spec. One from which no backend can be made is not kept, so that it can be corrected.
    pub async fn keep_template(&self, next: &RolloutStatus) -> Result<(), WorkloadError> {
        let before = &self.rollout.status;
        let candidate = next.candidate.as_ref().filter(|_| next.candidate != before.candidate);
        let stable = next.stable_revision.as_ref().filter(|_| next.stable_revision != before.stable_revision);
        for revision in candidate.map(|candidate| &candidate.revision).into_iter().chain(stable) {
            match template_of_spec(self.rollout, next, revision) {
                Some(template) if parse_template(template).is_ok() => self.store(revision, template).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes or removes a backend. Returns whether something was written.
    pub async fn perform(&self, action: &Action) -> Result<bool, WorkloadError> {
        match action {
            Action::WarmUp { .. } | Action::Ask(_) => Ok(false),
            Action::Deploy { backend, revision } => self.deploy(*backend, revision).await,
            Action::Scale { backend, replicas } => self.scale_to(*backend, *replicas).await,
            Action::Remove { backend } => self.remove(*backend).await,
        }
    }

    /// Gives both backends as many pods as the rollout wants, if it says so. Returns whether something was written.
    pub async fn scale(&self) -> Result<bool, WorkloadError> {
        let Some(replicas) = self.rollout.spec.replicas else { return Ok(false) };
        let mut changed = false;
        for backend in Backend::BOTH {
            changed |= self.scale_to(backend, replicas).await?;
        }
        Ok(changed)
    }

    async fn scale_to(&self, backend: Backend, replicas: u32) -> Result<bool, WorkloadError> {
        let Found::Owned(live) = self.find(backend) else { return Ok(false) };
        if replicas_of(live) == Some(replicas) || is_leaving(live) {
            return Ok(false);
        }
        let patch = json!({
            "metadata": {"resourceVersion": live.metadata.resource_version},
            "spec": {"replicas": replicas},
        });
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let written = self.deployments().patch(&live.name_any(), &parameters, &Patch::Merge(patch)).await;
        written.map_err(ApiError::of("patch", title(live)))?;
        Ok(true)
    }

    fn find(&self, backend: Backend) -> Found<'a> {
        Found::among(self.view.deployments_in(&self.rollout.metadata.namespace), self.rollout, self.owner_uid, backend)
    }

    async fn deploy(&self, backend: Backend, revision: &str) -> Result<bool, WorkloadError> {
        let template = self.template(revision).await?;
        let selector = self.selector(backend)?;
        let mut wanted = deployment(self.rollout, self.owner_uid, backend, revision, &template, &selector)?;
        let other = backend.other();
        if self.selector(other).is_ok_and(|selector| is_selected_by(&wanted, &selector)) {
            return Err(WorkloadError::Ambiguous { backend, other });
        }
        let parameters = written_by_controller();
        match self.find(backend) {
            Found::Foreign(live) => Err(foreign(title(live), &live.metadata)),
            Found::Absent => {
                self.begin_as_large_as(other, &mut wanted);
                let place = title(&wanted);
                self.deployments().create(&parameters, &wanted).await.map_err(ApiError::of("create", place))?;
                Ok(true)
            }
            Found::Owned(live) if is_leaving(live) => Ok(false),
            Found::Owned(live) => {
                let Some(next) = deployment::changed(live, wanted) else { return Ok(false) };
                Ok(self.replace(&next).await?)
            }
        }
    }

    /// Over the version that was read, which it still has. Returns whether anything came of it: where a webhook makes it
    /// what it was, nothing does.
    async fn replace(&self, next: &Deployment) -> Result<bool, ApiError> {
        let written = self.deployments().replace(&next.name_any(), &written_by_controller(), next).await;
        let written = written.map_err(ApiError::of("update", title(next)))?;
        Ok(written.metadata.resource_version != next.metadata.resource_version)
    }

    /// Without a number in the spec a backend begins with as many pods as the other one has, whoever scaled that.
    fn begin_as_large_as(&self, other: Backend, wanted: &mut Deployment) {
        if let (Found::Owned(other), Some(spec)) = (self.find(other), &mut wanted.spec) {
            spec.replicas = spec.replicas.or(other.spec.as_ref().and_then(|spec| spec.replicas));
        }
    }

    /// The Deployment stays until its pods are gone, so that a new one of the same name never has old pods beside it.
    async fn remove(&self, backend: Backend) -> Result<bool, WorkloadError> {
        match self.find(backend) {
            Found::Absent => Ok(false),
            Found::Foreign(live) => Err(foreign(title(live), &live.metadata)),
            Found::Owned(live) if is_leaving(live) => Ok(false),
            Found::Owned(live) => {
                let parameters = DeleteParams::foreground().preconditions(as_read(&live.metadata));
                let deleted = self.deployments().delete(&live.name_any(), &parameters).await;
                unless_missing(deleted.map(|_| ()).map_err(ApiError::of("delete", title(live))))?;
                Ok(true)
            }
        }
    }

    /// The template of a revision: the stored one, else the spec's, which is stored then.
    async fn template(&self, revision: &str) -> Result<Value, WorkloadError> {
        let name = stored_name(self.rollout, revision, self.owner_uid);
        let place = format!("controllerrevisions {}/{name}", self.rollout.metadata.namespace);
        let found = self.stored().get_opt(&name).await.map_err(ApiError::of("get", &place))?;
        if let Some(stored) = found {
            if !is_owned(&stored.metadata, self.owner_uid) {
                return Err(foreign(place, &stored.metadata));
            }
            return stored.data.map(|data| data.0).ok_or_else(|| WorkloadError::NoTemplate(revision.to_owned()));
        }
        let of_spec = template_of_spec(self.rollout, &self.rollout.status, revision);
        let template = of_spec.ok_or_else(|| WorkloadError::NoTemplate(revision.to_owned()))?;
        parse_template(template)?;
        self.store(revision, template).await?;
        Ok(template.clone())
    }

    /// What is stored for a revision that is in use stays as it is: a revision has one template. What is left of one that
    /// nothing runs any more gives way to what the name means now. A former leader that comes late does no harm: what was
    /// stored since is of a later generation than the rollout that it has read.
    async fn store(&self, revision: &str, template: &Value) -> Result<(), WorkloadError> {
        let stored = stored_template(self.rollout, revision, template, self.owner_uid);
        let name = stored.name_any();
        let place = format!("controllerrevisions {}/{name}", self.rollout.metadata.namespace);
        let create = || async { self.stored().create(&written_by_controller(), &stored).await };
        let Err(taken) = create().await.map_err(ApiError::of("create", &place)) else { return Ok(()) };
        if !taken.is_conflict() {
            return Err(taken.into());
        }
        let left = self.stored().get_opt(&name).await.map_err(ApiError::of("get", &place))?;
        let Some(left) = left else { return Err(taken.into()) };
        if !is_owned(&left.metadata, self.owner_uid) {
            return Err(foreign(place, &left.metadata));
        }
        if self.rollout.status.is_in_use(revision) || (left.revision == stored.revision && left.data == stored.data) {
            return Ok(());
        }
        if left.revision >= stored.revision {
            return Err(taken.into());
        }
        let parameters = DeleteParams::background().preconditions(as_read(&left.metadata));
        let deleted = self.stored().delete(&name, &parameters).await.map(|_| ());
        unless_missing(deleted.map_err(ApiError::of("delete", &place)))?;
        create().await.map_err(ApiError::of("create", &place))?;
        Ok(())
    }

    /// The labels by which traffic finds the pods of a backend.
    fn selector(&self, backend: Backend) -> Result<Labels, WorkloadError> {
        let reference = self.rollout.spec.backend(backend);
        let namespace = &self.rollout.metadata.namespace;
        let missing =
            || WorkloadError::NoService { backend, host: reference.host.clone(), namespace: namespace.clone() };
        let [green, blue] = backend_services(self.rollout);
        let name = if backend == Backend::Green { green } else { blue };
        let name = name.filter(|name| name.namespace == *namespace).ok_or_else(missing)?;
        let service = self.view.services.get(&name).ok_or_else(missing)?;
        let mut labels = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        labels.extend(self.view.subset_labels(self.rollout, reference).unwrap_or_default());
        Ok(labels)
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.rollout.metadata.namespace)
    }

    fn stored(&self) -> Api<ControllerRevision> {
        Api::namespaced(self.client.clone(), &self.rollout.metadata.namespace)
    }
}

/// The spec's template, if that is what the revision stands for at this status: a name that somebody gave it comes first.
fn template_of_spec<'a>(rollout: &'a ModelRollout, status: &RolloutStatus, revision: &str) -> Option<&'a Value> {
    let template = rollout.spec.template.as_ref()?;
    let is_named = status.wanted_revision(&rollout.spec).map(|wanted| wanted == revision);
    is_named.unwrap_or_else(|| template_revision(template) == revision).then_some(template)
}

/// The rollout as the owner of what is made for it: it goes with the rollout.
fn owner(rollout: &ModelRollout, owner_uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        name: rollout.metadata.name.clone(),
        uid: owner_uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn is_owned(metadata: &ObjectMeta, owner_uid: &str) -> bool {
    controller_of(metadata).is_some_and(|owner| owner.uid == owner_uid)
}

fn foreign(object: String, metadata: &ObjectMeta) -> WorkloadError {
    let owner = controller_of(metadata).map(|owner| format!("{} {}", owner.kind, owner.name));
    WorkloadError::Foreign { object, owner: owner.unwrap_or_else(|| "somebody else".to_owned()) }
}

/// How many pods it is to have.
pub fn replicas_of(deployment: &Deployment) -> Option<u32> {
    u32::try_from(deployment.spec.as_ref()?.replicas?).ok()
}

/// It is being deleted, and waits for its pods.
fn is_leaving(deployment: &Deployment) -> bool {
    deployment.metadata.deletion_timestamp.is_some()
}

/// Only the object that was read, and only as it was.
fn as_read(metadata: &ObjectMeta) -> Preconditions {
    Preconditions { uid: metadata.uid.clone(), resource_version: metadata.resource_version.clone() }
}

fn unless_missing(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(()),
    }
}

fn written_by_controller() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn title(deployment: &Deployment) -> String {
    format!("deployments {}/{}", deployment.namespace().unwrap_or_default(), deployment.name_any())
}
