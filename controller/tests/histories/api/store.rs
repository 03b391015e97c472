//! What etcd and the generic registry of an API server do: objects with uid, resource version, generation, finalizers and
//! owners, and every version that they ever had, so that a list can be answered as it was a while ago.
//!
//! The world's other inhabitants write with [`Store::put`] and [`Store::edit`], which nothing refuses.

use super::kinds::{Kind, api_version, kind};
use super::refusal::Refusal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use turnout_rollout::Timestamp;

/// The finalizer that keeps an object until those that it owns are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

/// Names an object. Plurals are unique among the kinds that are served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) plural: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Which part of an object a request writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status, where that is a subresource.
    Main,
    Status,
}

/// What a deletion requires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// The objects of a cluster.
#[derive(Debug)]
pub(crate) struct Store {
    /// By key, each with all its versions, the oldest first; none is an object that is gone.
    objects: BTreeMap<Key, Vec<Version>>,
    revision: u64,
    next_uid: u64,
    pub(crate) now: Timestamp,
}

#[derive(Debug)]
struct Version {
    revision: u64,
    object: Option<Arc<Value>>,
}

impl Key {
    pub(crate) fn new(plural: &'static str, namespace: &str, name: &str) -> Self {
        Self { plural, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn kind(&self) -> &'static Kind {
        kind(self.plural)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.plural, self.namespace, self.name)
    }
}

impl Store {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { objects: BTreeMap::new(), revision: 0, next_uid: 0, now }
    }

    /// Counts every change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.get_at(key, self.revision)
    }

    pub(crate) fn get_at(&self, key: &Key, revision: u64) -> Option<&Arc<Value>> {
        let versions = self.objects.get(key)?;
        versions.iter().rev().find(|version| version.revision <= revision)?.object.as_ref()
    }

    pub(crate) fn list(&self, plural: &'static str, namespace: &str) -> Vec<(&Key, &Arc<Value>)> {
        self.list_at(plural, Some(namespace), self.revision)
    }

    /// In all namespaces if none is named.
    pub(crate) fn list_at(
        &self,
        plural: &'static str,
        namespace: Option<&str>,
        revision: u64,
    ) -> Vec<(&Key, &Arc<Value>)> {
        let first = Key::new(plural, namespace.unwrap_or_default(), "");
        let range = self.objects.range(first..).take_while(|(key, _)| {
            key.plural == plural && namespace.is_none_or(|namespace| namespace == key.namespace)
        });
        range.filter_map(|(key, _)| Some((key, self.get_at(key, revision)?))).collect()
    }

    /// The revision just before the last changes of a collection, so many of them.
    pub(crate) fn revision_before_changes(&self, plural: &'static str, changes: usize) -> u64 {
        let of_kind = self.objects.iter().filter(|(key, _)| key.plural == plural);
        let mut revisions: Vec<u64> =
            of_kind.flat_map(|(_, versions)| versions.iter().map(|version| version.revision)).collect();
        revisions.sort_unstable();
        let at = revisions.len().saturating_sub(changes);
        revisions.get(at).map_or(self.revision, |revision| revision - 1)
    }

    /// The client's verb `create`.
    pub(crate) fn create(&mut self, key: &Key, mut object: Value) -> Result<Arc<Value>, Refusal> {
        if self.get(key).is_some() {
            return Err(Refusal::already_exists(key.kind(), &key.name));
        }
        if key.kind().has_status && key.kind().is_custom {
            remove(&mut object, "status");
        }
        super::defaults::complete(key.plural, &mut object);
        Ok(self.insert(key, object))
    }

    /// The client's verbs `replace` and `patch`, once it is known what the object is to be.
    pub(crate) fn replace(&mut self, key: &Key, part: Part, mut object: Value) -> Result<Arc<Value>, Refusal> {
        let kind = key.kind();
        let old = Arc::clone(self.get(key).ok_or_else(|| Refusal::not_found(kind, &key.name))?);
        match object["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty()) {
            None if kind.is_custom => {
                let problem = "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update";
                return Err(Refusal::invalid(kind, &key.name, problem));
            }
            Some(version) if old["metadata"]["resourceVersion"] != version => {
                return Err(Refusal::modified(kind, &key.name));
            }
            _ => {}
        }
        let uid = &object["metadata"]["uid"];
        if uid.is_string() && *uid != old["metadata"]["uid"] {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", uid_of(&old));
            return Err(Refusal::conflict(kind, &key.name, &why));
        }
        if old["immutable"] == true && (object["data"] != old["data"] || object["immutable"] != true) {
            let problem = "data: Forbidden: field is immutable when `immutable` is set";
            return Err(Refusal::invalid(kind, &key.name, problem));
        }
        keep_other_part(&old, &mut object, part, kind.has_status);
        super::defaults::complete(key.plural, &mut object);
        check_finalizers(key, &old, &object)?;
        Ok(self.update(key, &old, object))
    }

    /// The client's verb `delete`. Returns the object if finalizers keep it, none if it is gone. In the foreground the
    /// object waits for those that it owns.
    pub(crate) fn delete(
        &mut self,
        key: &Key,
        required: &Preconditions,
        in_foreground: bool,
    ) -> Result<Option<Arc<Value>>, Refusal> {
        let kind = key.kind();
        let old = Arc::clone(self.get(key).ok_or_else(|| Refusal::not_found(kind, &key.name))?);
        let checks =
            [("UID", &required.uid, "uid"), ("ResourceVersion", &required.resource_version, "resourceVersion")];
        for (what, wanted, field) in checks {
            let current = old["metadata"][field].as_str().unwrap_or_default();
            if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != current) {
                let why = format!(
                    "the {what} in the precondition ({wanted}) does not match the {what} in record ({current}). \
                     The object might have been deleted and then recreated"
                );
                return Err(Refusal::conflict(kind, &key.name, &why));
            }
        }
        if in_foreground && !is_deleted(&old) {
            self.edit(key, |object| {
                let mut all: Vec<String> = finalizers(object).into_iter().map(str::to_owned).collect();
                all.push(FOREGROUND.to_owned());
                object["metadata"]["finalizers"] = json!(all);
            });
        }
        Ok(self.remove(key))
    }

    /// Creates or replaces an object whole, whoever wrote it.
    pub(crate) fn put(&mut self, key: &Key, mut object: Value) -> Arc<Value> {
        super::defaults::complete(key.plural, &mut object);
        match self.get(key).map(Arc::clone) {
            Some(old) => self.update(key, &old, object),
            None => self.insert(key, object),
        }
    }

    /// Changes an object, if it exists; status and spec alike.
    pub(crate) fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        if let Some(old) = self.get(key).map(Arc::clone) {
            let mut object = (*old).clone();
            change(&mut object);
            self.update(key, &old, object);
        }
    }

    /// Deletes an object, or marks it if finalizers keep it; then it is returned.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        if finalizers(self.get(key)?).is_empty() {
            self.write(key, None);
            return None;
        }
        self.mark_deleted(key)
    }

    /// Marks an object as being deleted, as a pod is while it terminates.
    pub(crate) fn mark_deleted(&mut self, key: &Key) -> Option<Arc<Value>> {
        let old = Arc::clone(self.get(key)?);
        if old["metadata"]["deletionTimestamp"].is_string() {
            return Some(old);
        }
        let mut object = (*old).clone();
        object["metadata"]["deletionTimestamp"] = json!(self.now.to_string());
        object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        if key.kind().counts_generation {
            let generation = old["metadata"]["generation"].as_u64().unwrap_or_default();
            object["metadata"]["generation"] = json!(generation + 1);
        }
        self.write(key, Some(object))
    }

    /// Removes the objects whose owners are all gone, until there are none. Returns how many.
    pub(crate) fn collect_garbage(&mut self) -> usize {
        let mut count = 0;
        loop {
            let live = self.objects.values().filter_map(|versions| versions.last()?.object.as_deref());
            let uids: BTreeSet<String> = live.map(uid_of).collect();
            let is_orphan = |object: &Value| {
                let owners = object["metadata"]["ownerReferences"].as_array();
                owners.is_some_and(|owners| {
                    !owners.is_empty()
                        && owners.iter().all(|owner| owner["uid"].as_str().is_none_or(|uid| !uids.contains(uid)))
                })
            };
            let is_garbage = |versions: &Vec<Version>| {
                versions.last().and_then(|last| last.object.as_deref()).is_some_and(is_orphan)
            };
            let garbage: Vec<Key> =
                self.objects.iter().filter(|(_, v)| is_garbage(v)).map(|(key, _)| key.clone()).collect();
            let removed = garbage.iter().filter(|key| self.remove(key).is_none()).count();
            if removed == 0 {
                return count;
            }
            count += removed;
        }
    }

    fn insert(&mut self, key: &Key, mut object: Value) -> Arc<Value> {
        self.next_uid += 1;
        let kind = key.kind();
        object["apiVersion"] = json!(api_version(kind.group, kind.versions[0]));
        object["kind"] = json!(kind.kind);
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(key.name);
        metadata["namespace"] = json!(key.namespace);
        metadata["uid"] = json!(format!("uid-{}", self.next_uid));
        metadata["creationTimestamp"] = json!(self.now.to_string());
        remove(metadata, "deletionTimestamp");
        if kind.counts_generation {
            metadata["generation"] = json!(1);
        }
        self.write(key, Some(object)).expect("it was just written")
    }

    fn update(&mut self, key: &Key, old: &Arc<Value>, mut object: Value) -> Arc<Value> {
        object["apiVersion"] = old["apiVersion"].clone();
        object["kind"] = old["kind"].clone();
        for field in
            ["name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp"]
        {
            match old["metadata"].get(field) {
                Some(value) => object["metadata"][field] = value.clone(),
                None => remove(&mut object["metadata"], field),
            }
        }
        drop_empty(&mut object["metadata"]);
        if object == **old {
            return Arc::clone(old);
        }
        if key.kind().counts_generation && !is_same_spec(&object, old) {
            let generation = old["metadata"]["generation"].as_u64().unwrap_or_default();
            object["metadata"]["generation"] = json!(generation + 1);
        }
        let was_kept = old["metadata"]["deletionTimestamp"].is_string() && !finalizers(old).is_empty();
        let is_gone = was_kept && finalizers(&object).is_empty();
        if is_gone {
            self.write(key, None);
            return Arc::new(object);
        }
        self.write(key, Some(object)).expect("it was just written")
    }

    fn write(&mut self, key: &Key, object: Option<Value>) -> Option<Arc<Value>> {
        self.revision += 1;
        let object = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = json!(resource_version(self.revision));
            Arc::new(object)
        });
        let version = Version { revision: self.revision, object: object.clone() };
        self.objects.entry(key.clone()).or_default().push(version);
        object
    }
}

/// A resource version says nothing to anybody but its server: not even which of two is newer.
fn resource_version(revision: u64) -> String {
    (revision.wrapping_mul(2_654_435_761) % (1 << 32)).to_string()
}

pub(crate) fn uid_of(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn is_deleted(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    let finalizers = object["metadata"]["finalizers"].as_array();
    finalizers.into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(crate) fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove(field);
    }
}

/// Nothing but the metadata and the status differs.
fn is_same_spec(one: &Value, other: &Value) -> bool {
    spec_of(one).eq(spec_of(other))
}

/// All but the metadata and the status, by name.
fn spec_of(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let fields: BTreeMap<&String, &Value> = object.as_object().into_iter().flatten().collect();
    fields.into_iter().filter(|(name, _)| !["metadata", "status", "apiVersion", "kind"].contains(&name.as_str()))
}

/// As the server leaves them out.
fn drop_empty(metadata: &mut Value) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let is_empty = match &metadata[field] {
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            other => other.is_null(),
        };
        if is_empty {
            remove(metadata, field);
        }
    }
}

fn keep_other_part(old: &Value, object: &mut Value, part: Part, has_status: bool) {
    match part {
        Part::Main if has_status => match old.get("status") {
            Some(status) => object["status"] = status.clone(),
            None => remove(object, "status"),
        },
        Part::Main => {}
        Part::Status => {
            let status = object.get("status").cloned();
            *object = old.clone();
            match status {
                Some(status) => object["status"] = status,
                None => remove(object, "status"),
            }
        }
    }
}

fn check_finalizers(key: &Key, old: &Value, object: &Value) -> Result<(), Refusal> {
    if !old["metadata"]["deletionTimestamp"].is_string() {
        return Ok(());
    }
    let former = finalizers(old);
    if finalizers(object).iter().all(|one| former.contains(one)) {
        return Ok(());
    }
    let problem =
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted".to_owned();
    Err(Refusal::invalid(key.kind(), &key.name, &problem))
}
