//! ModelRollout objects: read as the state machine knows them, written back only where the controller owns them (status
//! and one finalizer), and only over what was read.

use crate::kube_api::{ApiError, list_dynamic, rollout_kind};
use crate::names::{FIELD_MANAGER, FINALIZER, KIND};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams, TypeMeta};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use turnout_driver::Subject as _;
use turnout_rollout::{API_VERSION, Mode, ModelRollout, RolloutStatus};

/// A rollout with the object that it was read from.
#[derive(Clone, Debug)]
pub struct RolloutObject {
    /// As the API server has it.
    pub object: DynamicObject,
    /// As the state machine knows it.
    pub rollout: ModelRollout,
}

/// All rollouts of the governed namespaces.
#[derive(Clone, Debug, Default)]
pub struct Rollouts {
    /// The oldest first: where two govern the same rule, the older one does.
    pub readable: Vec<RolloutObject>,
    /// Objects that a newer or older CRD has let through, with the reason.
    pub unreadable: Vec<(DynamicObject, String)>,
}

impl Rollouts {
    /// Which objects there are, in which versions.
    pub fn versions(&self) -> Versions {
        versions(self.readable.iter().map(|one| &one.object), &self.unreadable)
    }

    /// Reads those of some namespaces that name this class; without one those that name none.
    pub async fn read(client: &Client, namespaces: &[String], class: Option<&str>) -> Result<Self, ApiError> {
        let kind = rollout_kind();
        let lists = namespaces.iter().map(|namespace| list_dynamic(client, &kind, namespace));
        let mut all = Self::default();
        let is_ours =
            |object: &DynamicObject| object.data.get("spec").and_then(|spec| spec.get("controller")?.as_str()) == class;
        for object in try_join_all(lists).await?.into_iter().flatten().filter(is_ours) {
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
            Ok(rollout) => Ok(Self { object, rollout }),
            Err(error) => Err(Box::new((object, error.to_string()))),
        }
    }

    /// As much of an object that cannot be read as is needed to leave its rule alone: what it governed last.
    pub fn former(object: &DynamicObject) -> Option<ModelRollout> {
        let metadata = json!({"name": object.name_any(), "namespace": object.namespace()});
        governor(&metadata, object.data.get("status")?.get("governs")?)
    }

    /// The VirtualService, by namespace and name, that an object names which cannot be read.
    pub fn named_virtual_service(object: &DynamicObject) -> Option<(String, String)> {
        let route = object.data.get("spec")?.get("route")?;
        let text = |field: &str| route.get(field).and_then(|value| value.as_str()).map(str::to_owned);
        Some((text("namespace").or_else(|| object.namespace())?, text("virtualService")?))
    }

    /// It holds the finalizer.
    pub fn has_finalizer(&self) -> bool {
        self.object.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
    }

    /// It needs the finalizer: its deletion changes weights that the controller publishes.
    pub fn needs_finalizer(&self) -> bool {
        self.rollout.spec.mode == Mode::Gateway && !self.is_deleted() && !self.has_finalizer()
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

    /// Adds the finalizer, or takes it away; nobody else's is touched.
    pub async fn set_finalizer(&mut self, client: &Client, present: bool) -> Result<(), ApiError> {
        let mut finalizers: Vec<&str> =
            self.object.finalizers().iter().map(String::as_str).filter(|finalizer| *finalizer != FINALIZER).collect();
        if present {
            finalizers.push(FINALIZER);
        }
        let patch = Patch::Merge(json!({
            "metadata": { "resourceVersion": self.object.resource_version(), "finalizers": finalizers },
        }));
        let written = self.api(client).patch(&self.object.name_any(), &PatchParams::apply(FIELD_MANAGER), &patch).await;
        match written.map_err(ApiError::of("patch", self.place())) {
            Ok(object) => self.take_over(object),
            Err(error) if error.is_missing() && !present => {}
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

/// The versions of these, those that cannot be read among them.
pub fn versions<'a>(
    readable: impl Iterator<Item = &'a DynamicObject>,
    unreadable: &'a [(DynamicObject, String)],
) -> Versions {
    let all = readable.chain(unreadable.iter().map(|(object, _)| object));
    all.map(|object| (object.uid(), object.resource_version())).collect()
}

/// A rollout of which nothing is known but what it governed last.
fn governor(metadata: &Value, governs: &Value) -> Option<ModelRollout> {
    let (spec, status) = (governs, json!({"governs": governs}));
    let rollout =
        json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec, "status": status});
    serde_json::from_value(rollout).ok()
}

/// Those that govern a rule of another namespace, as text for [`read_abroad`], if there are any.
pub fn write_abroad<'a>(rollouts: impl Iterator<Item = &'a ModelRollout>) -> Option<String> {
    let abroad = rollouts.filter_map(|rollout| {
        let former = rollout.as_it_governed()?;
        let metadata = json!({"name": rollout.metadata.name, "namespace": rollout.metadata.namespace});
        let is_abroad = former.route_namespace() != rollout.metadata.namespace;
        is_abroad.then(|| json!({"metadata": metadata, "governs": rollout.status.governs}))
    });
    let abroad: Vec<Value> = abroad.collect();
    (!abroad.is_empty()).then(|| Value::Array(abroad).to_string())
}

/// What [`write_abroad`] has written; what somebody else has put there says nothing.
pub fn read_abroad(text: &str) -> Vec<ModelRollout> {
    let listed: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    listed.iter().filter_map(|one| governor(&one["metadata"], &one["governs"])).collect()
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
