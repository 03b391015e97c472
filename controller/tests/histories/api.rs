//! An API server in memory: what a client's request means, what it does to the objects, and the answer as a real server
//! gives it, its refusals too. Pure but for the objects; faults are put around it by whoever delivers the requests.
//!
//! Left out is what no round of a controller asks for: watches (which are only hints), server-side apply, field
//! selectors beyond the name, and schemas.

pub(crate) mod defaults;
pub(crate) mod kinds;
pub(crate) mod refusal;
pub(crate) mod selector;
pub(crate) mod store;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::Method;
use kinds::{Kind, api_version};
use refusal::Refusal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Key, Part, Preconditions, Store};

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    pub(crate) kind: &'static Kind,
    group: String,
    version: String,
    pub(crate) namespace: Option<String>,
    /// Empty for a collection.
    pub(crate) name: String,
    pub(crate) part: Part,
    query: BTreeMap<String, String>,
    body: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Create,
    Replace,
    MergePatch,
    JsonPatch,
    Delete,
}

/// What a request that was accepted has changed.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    pub(crate) verb: Verb,
    pub(crate) key: Key,
    pub(crate) part: Part,
    pub(crate) before: Option<Arc<Value>>,
    pub(crate) after: Option<Arc<Value>>,
    /// It could only have been accepted for the version that the client had seen.
    pub(crate) is_guarded: bool,
}

/// The answer to a request that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) effect: Option<Effect>,
}

impl Verb {
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List)
    }
}

impl Request {
    /// Reads a request as `kube` sends it.
    pub(crate) fn read(parts: &http::request::Parts, body: &Bytes) -> Result<Self, Refusal> {
        let segments: Vec<&str> = parts.uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Refusal::no_such_resource()),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, name, part) = match rest {
            [plural] => (*plural, "", Part::Main),
            [plural, name] => (*plural, *name, Part::Main),
            [plural, name, "status"] => (*plural, *name, Part::Status),
            _ => return Err(Refusal::no_such_resource()),
        };
        let kind = Kind::find(group, version, plural).ok_or_else(Refusal::no_such_resource)?;
        if part == Part::Status && !kind.has_status {
            return Err(Refusal::no_such_resource());
        }
        let query = read_query(parts.uri.query().unwrap_or_default());
        let verb = verb_of(parts, kind, name, &query)?;
        let body = if body.is_empty() { Value::Null } else { read_json(body)? };
        let (group, version, name) = (group.to_owned(), version.to_owned(), name.to_owned());
        Ok(Self { verb, kind, group, version, namespace, name, part, query, body })
    }

    /// For traces.
    pub(crate) fn line(&self) -> String {
        let part = if self.part == Part::Status { "/status" } else { "" };
        let namespace = self.namespace.as_deref().unwrap_or("*");
        format!("{:?} {}{part} {namespace}/{}", self.verb, self.kind.plural, self.name)
    }

    /// Does it. Reads see the objects as they were at `as_of`.
    pub(crate) fn execute(&self, store: &mut Store, as_of: u64) -> Result<Accepted, Refusal> {
        match self.verb {
            Verb::Get => self.get(store, as_of),
            Verb::List => self.list(store, as_of),
            Verb::Create => self.create(store),
            Verb::Replace => self.replace(store),
            Verb::MergePatch | Verb::JsonPatch => self.patch(store),
            Verb::Delete => self.delete(store),
        }
    }

    fn key(&self) -> Result<Key, Refusal> {
        let namespace = self.namespace.as_deref().ok_or_else(Refusal::no_such_resource)?;
        Ok(Key::new(self.kind.plural, namespace, &self.name))
    }

    fn get(&self, store: &Store, as_of: u64) -> Result<Accepted, Refusal> {
        let key = self.key()?;
        let object = store.get_at(&key, as_of).ok_or_else(|| Refusal::not_found(self.kind, &self.name))?;
        Ok(Accepted { code: 200, body: self.in_version(object), effect: None })
    }

    /// A page of a list belongs to the revision at which the first page was asked for.
    fn list(&self, store: &Store, as_of: u64) -> Result<Accepted, Refusal> {
        let (as_of, skipped) = match self.query.get("continue") {
            Some(token) => read_token(token).ok_or_else(Refusal::expired)?,
            None => (as_of, 0),
        };
        let labels = selector::parse(self.query.get("labelSelector").map_or("", String::as_str))?;
        let fields = selector::parse(self.query.get("fieldSelector").map_or("", String::as_str))?;
        let is_selected = |object: &Value| {
            let field = |path: &str| object["metadata"][path.trim_start_matches("metadata.")].as_str();
            let label = |name: &str| object["metadata"]["labels"][name].as_str();
            labels.iter().all(|one| one.holds(label)) && fields.iter().all(|one| one.holds(field))
        };
        let found = store.list_at(self.kind.plural, self.namespace.as_deref(), as_of);
        let selected: Vec<_> = found.into_iter().filter(|(_, object)| is_selected(object)).skip(skipped).collect();
        let limit = self.query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        let page = limit.unwrap_or(selected.len()).min(selected.len());
        let mut metadata = json!({"resourceVersion": as_of.to_string()});
        if page < selected.len() {
            metadata["continue"] = json!(format!("{as_of}-{}", skipped + page));
            metadata["remainingItemCount"] = json!(selected.len() - page);
        }
        let body = json!({
            "apiVersion": api_version(&self.group, &self.version),
            "kind": format!("{}List", self.kind.kind),
            "metadata": metadata,
            "items": selected.iter().take(page).map(|(_, object)| self.as_item(object)).collect::<Vec<_>>(),
        });
        Ok(Accepted { code: 200, body, effect: None })
    }

    fn create(&self, store: &mut Store) -> Result<Accepted, Refusal> {
        let mut object = self.object(&self.body)?;
        let namespace = self.namespace.clone().ok_or_else(Refusal::no_such_resource)?;
        let name = match (object["metadata"]["name"].as_str(), object["metadata"]["generateName"].as_str()) {
            (Some(name), _) => name.to_owned(),
            (None, Some(prefix)) => format!("{prefix}{:05x}", store.revision()),
            (None, None) => return Err(Refusal::invalid(self.kind, "", "metadata.name: Required value")),
        };
        if object["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
            return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
        }
        object["metadata"]["name"] = json!(name);
        let key = Key { plural: self.kind.plural, namespace, name };
        let after = store.create(&key, object)?;
        Ok(self.changed(201, key, None, Some(after), true))
    }

    fn replace(&self, store: &mut Store) -> Result<Accepted, Refusal> {
        let key = self.key()?;
        let object = self.object(&self.body)?;
        if object["metadata"]["name"] != self.name {
            return Err(Refusal::bad_request("the name of the object does not match the name on the URL"));
        }
        let is_guarded = object["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty());
        let before = store.get(&key).cloned();
        let after = store.replace(&key, self.part, object)?;
        Ok(self.changed(200, key, before, Some(after), is_guarded))
    }

    fn patch(&self, store: &mut Store) -> Result<Accepted, Refusal> {
        let key = self.key()?;
        let before = store.get(&key).cloned().ok_or_else(|| Refusal::not_found(self.kind, &self.name))?;
        let mut object = (*before).clone();
        let is_guarded = if self.verb == Verb::MergePatch {
            json_patch::merge(&mut object, &self.body);
            self.body["metadata"]["resourceVersion"].is_string()
        } else {
            let patch: json_patch::Patch = serde_json::from_value(self.body.clone())
                .map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))?;
            json_patch::patch(&mut object, &patch).map_err(|_| Refusal::patch_does_not_apply())?;
            patch.0.iter().any(|operation| matches!(operation, json_patch::PatchOperation::Test(_)))
        };
        let object = self.object(&object)?;
        let after = store.replace(&key, self.part, object)?;
        Ok(self.changed(200, key, Some(before), Some(after), is_guarded))
    }

    fn delete(&self, store: &mut Store) -> Result<Accepted, Refusal> {
        let key = self.key()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let preconditions = &self.body["preconditions"];
        let required = Preconditions {
            uid: text(&preconditions["uid"]),
            resource_version: text(&preconditions["resourceVersion"]),
        };
        let before = store.get(&key).cloned();
        let waits_for_dependents = self.body["propagationPolicy"] == "Foreground";
        let after = store.delete(&key, &required, waits_for_dependents)?;
        let is_guarded = required.uid.is_some() && required.resource_version.is_some();
        let mut accepted = self.changed(200, key, before, after.clone(), is_guarded);
        if after.is_none() {
            accepted.body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        }
        Ok(accepted)
    }

    fn changed(
        &self,
        code: u16,
        key: Key,
        before: Option<Arc<Value>>,
        after: Option<Arc<Value>>,
        is_guarded: bool,
    ) -> Accepted {
        let body = after.as_ref().map_or(Value::Null, |after| self.in_version(after));
        Accepted {
            code,
            body,
            effect: Some(Effect { verb: self.verb, key, part: self.part, before, after, is_guarded }),
        }
    }

    /// The body as an object of the right kind.
    fn object(&self, body: &Value) -> Result<Value, Refusal> {
        let says = |field: &str, expected: &str| body[field].is_null() || body[field] == expected;
        let is_version = self.kind.versions.iter().any(|one| says("apiVersion", &api_version(&self.group, one)));
        if body.is_object() && body["metadata"].is_object() && says("kind", self.kind.kind) && is_version {
            return Ok(body.clone());
        }
        Err(Refusal::bad_request(format!("the object provided is no {}", self.kind.kind)))
    }

    fn in_version(&self, object: &Value) -> Value {
        let mut object = object.clone();
        object["apiVersion"] = json!(api_version(&self.group, &self.version));
        object
    }

    /// Lists of built-in kinds say the kind once, for all.
    fn as_item(&self, object: &Value) -> Value {
        let mut item = self.in_version(object);
        if !self.kind.is_custom {
            store::remove(&mut item, "apiVersion");
            store::remove(&mut item, "kind");
        }
        item
    }
}

fn verb_of(
    parts: &http::request::Parts,
    kind: &Kind,
    name: &str,
    query: &BTreeMap<String, String>,
) -> Result<Verb, Refusal> {
    if query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") {
        return Err(Refusal::new(405, "MethodNotAllowed", "watches are not served here"));
    }
    let content_type = parts.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Ok(match (&parts.method, name.is_empty()) {
        (&Method::GET, true) => Verb::List,
        (&Method::GET, false) => Verb::Get,
        (&Method::POST, true) => Verb::Create,
        (&Method::PUT, false) => Verb::Replace,
        (&Method::DELETE, false) => Verb::Delete,
        (&Method::PATCH, false) => match content_type.unwrap_or_default() {
            "application/json-patch+json" => Verb::JsonPatch,
            "application/merge-patch+json" => Verb::MergePatch,
            // For what the cast patches, these two do the same.
            "application/strategic-merge-patch+json" if !kind.is_custom => Verb::MergePatch,
            other => return Err(Refusal::unsupported_media_type(other)),
        },
        _ => {
            return Err(Refusal::new(405, "MethodNotAllowed", "the server does not allow this method on the resource"));
        }
    })
}

fn read_json(body: &Bytes) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("the body is no JSON: {error}")))
}

fn read_token(token: &str) -> Option<(u64, usize)> {
    let (revision, skipped) = token.split_once('-')?;
    Some((revision.parse().ok()?, skipped.parse().ok()?))
}

fn read_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

/// `application/x-www-form-urlencoded`.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (high, low) = (hex(rest.next()), hex(rest.next()));
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                bytes.extend(value.and_then(|value| u8::try_from(value).ok()));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
