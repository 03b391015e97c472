//! ModelRollout objects: read as the state machine knows them, written back only where the controller owns them (the
//! status), and only over what was read. And what is kept of them beside what is published, for the time when they are gone.

use crate::kube_api::{ApiError, list_dynamic, rollout_kind};
use crate::names::{FIELD_MANAGER, FINALIZER, KIND};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams, TypeMeta};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use turnout_rollout::{API_VERSION, Mode, ModelRollout, RolloutStatus};

/// A rollout with the object that it was read from.
#[derive(Clone, Debug)]
pub struct RolloutObject {
    /// As the API server has it.
    pub object: DynamicObject,
    /// As the state machine knows it.
    pub rollout: ModelRollout,
    /// The object is gone, or goes: nothing is known but what it governed, and there is no status to write.
    pub departed: bool,
}

/// All rollouts of the governed namespaces.
#[derive(Clone, Debug, Default)]
pub struct Rollouts {
    /// The oldest first: where two govern the same rule, the older one does.
    pub readable: Vec<RolloutObject>,
    /// Objects that a newer or older CRD has let through, with the reason.
    pub unreadable: Vec<(DynamicObject, String)>,
    /// The UIDs of those of other classes, which are other releases' to drive.
    pub of_others: BTreeSet<String>,
}

impl Rollouts {
    /// Which objects there are, in which versions.
    pub fn versions(&self) -> Versions {
        versions(self.readable.iter().map(|one| &one.object).chain(self.unreadable.iter().map(|(object, _)| object)))
    }

    /// Reads those of some namespaces that name this class; without one those that name none.
    pub async fn read(client: &Client, namespaces: &[String], class: Option<&str>) -> Result<Self, ApiError> {
        let kind = rollout_kind();
        let lists = namespaces.iter().map(|namespace| list_dynamic(client, &kind, namespace));
        let mut all = Self::default();
        let is_ours =
            |object: &DynamicObject| object.data.get("spec").and_then(|spec| spec.get("controller")?.as_str()) == class;
        let (ours, others): (Vec<_>, Vec<_>) = try_join_all(lists).await?.into_iter().flatten().partition(is_ours);
        all.of_others.extend(others.iter().filter_map(ResourceExt::uid));
        for object in ours {
            match RolloutObject::of(object) {
                Ok(rollout) => all.readable.push(rollout),
                Err(unreadable) => all.unreadable.push(*unreadable),
            }
        }
        all.sort();
        Ok(all)
    }

    /// Those of several namespaces together.
    pub fn join(all: impl IntoIterator<Item = Self>) -> Self {
        let mut joined = Self::default();
        for some in all {
            joined.readable.extend(some.readable);
            joined.unreadable.extend(some.unreadable);
            joined.of_others.extend(some.of_others);
        }
        joined.sort();
        joined
    }

    fn sort(&mut self) {
        let age =
            |one: &RolloutObject| (one.object.creation_timestamp(), one.object.namespace(), one.object.name_any());
        self.readable.sort_by_key(age);
    }
}

impl RolloutObject {
    /// Or the object, and why it cannot be read.
    fn of(mut object: DynamicObject) -> Result<Self, Box<(DynamicObject, String)>> {
        object.types = Some(TypeMeta { api_version: API_VERSION.to_owned(), kind: KIND.to_owned() });
        match serde_json::to_value(&object).and_then(serde_json::from_value) {
            Ok(rollout) => Ok(Self { object, rollout, departed: false }),
            Err(error) => Err(Box::new((object, error.to_string()))),
        }
    }

    /// As much of an object that cannot be read as is needed to leave its rule alone: what it governed last.
    pub fn former(object: &DynamicObject) -> Option<Self> {
        Self::governor(object.metadata.clone(), object.data.get("status")?.get("governs")?)
    }

    /// What an object with a finalizer governed: the versions of the controller that left it there did not write it down.
    pub fn by_finalizer(&self) -> Option<Self> {
        let is_its = self.has_finalizer() && self.rollout.spec.mode == Mode::Gateway;
        let governs = self.rollout.status.governs.clone();
        let governs = governs.or_else(|| self.rollout.status.position().map(|_| self.rollout.governs()));
        Self::governor(self.object.metadata.clone(), &serde_json::to_value(governs.filter(|_| is_its)?).ok()?)
    }

    /// A rollout of which nothing is known but what it governed last.
    fn governor(metadata: ObjectMeta, governs: &Value) -> Option<Self> {
        let (spec, status) = (governs, json!({"governs": governs}));
        let object = DynamicObject { types: None, metadata, data: json!({"spec": spec, "status": status}) };
        Self::of(object).ok()
    }

    /// The VirtualService, by namespace and name, that an object names which cannot be read.
    pub fn named_virtual_service(object: &DynamicObject) -> Option<(String, String)> {
        let route = object.data.get("spec")?.get("route")?;
        let text = |field: &str| route.get(field).and_then(|value| value.as_str()).map(str::to_owned);
        Some((text("namespace").or_else(|| object.namespace())?, text("virtualService")?))
    }

    /// Somebody deleted it. It stays until its finalizers have gone, which are other people's.
    pub fn is_leaving(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    /// An earlier version of the controller has left its finalizer there.
    pub fn has_finalizer(&self) -> bool {
        self.object.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
    }

    /// For Events.
    pub fn reference(&self) -> ObjectReference {
        reference(&self.object)
    }

    /// Its UID.
    pub fn uid(&self) -> String {
        self.object.uid().unwrap_or_default()
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &self.object.namespace().unwrap_or_default(), &rollout_kind())
    }

    fn place(&self) -> String {
        format!("modelrollouts {}", self.rollout.id())
    }

    /// Writes the status over the one that was read, and takes over what the API server made of it.
    pub async fn write_status(&mut self, client: &Client, status: &RolloutStatus) -> Result<(), ApiError> {
        let place = || format!("modelrollouts/status {}", self.rollout.id());
        let mut next = self.object.clone();
        let status = serde_json::to_value(status).map_err(kube::Error::SerdeError);
        next.data["status"] = status.map_err(ApiError::of("update", place()))?;
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let written = self.api(client).replace_status(&next.name_any(), &parameters, &next).await;
        self.take_over(written.map_err(ApiError::of("update", place()))?);
        Ok(())
    }

    /// Takes the controller's own finalizer away; nobody else's is touched.
    pub async fn remove_finalizer(&mut self, client: &Client) -> Result<(), ApiError> {
        let others: Vec<&String> =
            self.object.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
        let patch = Patch::Merge(json!({
            "metadata": { "resourceVersion": self.object.resource_version(), "finalizers": others },
        }));
        let written = self.api(client).patch(&self.object.name_any(), &PatchParams::apply(FIELD_MANAGER), &patch).await;
        match written.map_err(ApiError::of("patch", self.place())) {
            Ok(object) => self.take_over(object),
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What cannot be read of an answer was read before, and changes nothing.
    fn take_over(&mut self, object: DynamicObject) {
        if let Ok(next) = Self::of(object) {
            *self = next;
        }
    }
}

/// Objects by their UIDs, each in one version.
pub type Versions = BTreeSet<(Option<String>, Option<String>)>;

/// The versions of these.
pub fn versions<'a>(objects: impl Iterator<Item = &'a DynamicObject>) -> Versions {
    objects.map(|object| (object.uid(), object.resource_version())).collect()
}

/// What rollouts govern, as text for [`read_governed`]: the place where it stays known once they are gone.
pub fn write_governed<'a>(rollouts: impl Iterator<Item = &'a RolloutObject>) -> String {
    let governed = rollouts.filter_map(|one| {
        let governs = one.rollout.status.governs.as_ref().filter(|_| one.rollout.spec.mode == Mode::Gateway)?;
        let metadata = json!({
            "name": one.object.metadata.name, "namespace": one.object.metadata.namespace, "uid": one.object.metadata.uid,
        });
        Some((one.uid(), json!({"metadata": metadata, "governs": governs})))
    });
    let governed: BTreeMap<String, Value> = governed.collect();
    governed.into_values().collect::<Value>().to_string()
}

/// What [`write_governed`] has written; what somebody else has put there says nothing.
pub fn read_governed(text: &str) -> Vec<RolloutObject> {
    let listed: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let governor = |mut one: Value| {
        let metadata = serde_json::from_value(one["metadata"].take()).ok()?;
        RolloutObject::governor(metadata, &one["governs"])
    };
    listed.into_iter().filter_map(governor).collect()
}

/// What an Event is about.
pub fn reference(object: &DynamicObject) -> ObjectReference {
    ObjectReference {
        api_version: object.types.as_ref().map(|types| types.api_version.clone()),
        kind: object.types.as_ref().map(|types| types.kind.clone()),
        name: object.metadata.name.clone(),
        namespace: object.metadata.namespace.clone(),
        resource_version: object.metadata.resource_version.clone(),
        uid: object.metadata.uid.clone(),
        field_path: None,
    }
}
