//! A small API server in the test's process: objects by their paths, lists of them by namespace and label, merge patches
//! that count versions, watches that answer with the next change, and a record of what was asked. It knows no schema,
//! and refuses only what a test tells it to.

use crate::server::Server;
use crate::support::{eventually, write};
use crate::tls;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// The path of the rollout that tests drive, and of those beside it.
pub(crate) const ROLLOUT: &str = "/apis/turnout.dev/v1alpha1/namespaces/ns/modelrollouts/model";
pub(crate) const ROLLOUTS: &str = "/apis/turnout.dev/v1alpha1/namespaces/ns/modelrollouts";
/// Where rights are asked for: one's own, and those of others.
pub(crate) const YOUR_RIGHTS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
pub(crate) const RIGHTS_OF_OTHERS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
/// The kinds that can be listed.
const COLLECTIONS: [&str; 4] = ["modelrollouts", "pods", "deployments", "events"];

/// The server. It ends with the value.
pub(crate) struct Api {
    server: Server,
    store: Arc<Store>,
}

struct Store {
    content: Mutex<Content>,
    /// Counts changes, for those who watch.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Content {
    /// Objects and, as JSON strings, texts.
    answers: BTreeMap<String, Value>,
    /// Requests that fail, by method and path, and the code that they fail with; 0 for those that are never answered.
    failing: BTreeMap<(&'static str, String), u16>,
    /// What reviews say no to: where they are asked for, and `verb resource`.
    denied: Vec<(&'static str, &'static str)>,
    /// So many patches are answered with 409, and the object changes under them.
    conflicts: usize,
    requests: Vec<Request>,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
    /// By what it was known who asks.
    pub(crate) authorization: String,
}

impl Api {
    /// Has nothing yet.
    pub(crate) fn start() -> Self {
        let (store, router) = Store::start();
        Self { server: Server::start(router), store }
    }

    /// As [`tls::start`].
    pub(crate) fn start_with_tls(names: &[&str], closed: bool) -> (Self, [String; 2]) {
        let (store, router) = Store::start();
        let (server, identity) = tls::start(router, names, closed);
        (Self { server, store }, identity)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Changes what is there, and wakes who watches.
    fn change<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        let changed = change(&mut self.store.lock());
        self.store.changes.send_modify(|count| *count += 1);
        changed
    }

    /// What a path answers from here on: an object, or a text.
    pub(crate) fn put(&self, path: &str, answer: Value) {
        self.change(|content| content.answers.insert(path.to_owned(), answer));
    }

    /// The answer of a path.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.store.lock().answers[path].clone()
    }

    /// Changes an object.
    pub(crate) fn edit(&self, path: &str, edit: impl FnOnce(&mut Value)) {
        self.change(|content| edit(content.answers.get_mut(path).unwrap()));
    }

    /// Makes a path answer 404.
    pub(crate) fn remove(&self, path: &str) {
        self.change(|content| content.answers.remove(path).unwrap());
    }

    /// Such requests fail with this code from here on; 404 is then that of an unknown path, and 0 never comes.
    pub(crate) fn fail(&self, method: &'static str, path: &str, code: u16) {
        self.change(|content| content.failing.insert((method, path.to_owned()), code));
    }

    /// No request fails any more.
    pub(crate) fn mend(&self) {
        self.change(|content| content.failing.clear());
    }

    /// Reviews that are asked for there say no to `verb resource`.
    pub(crate) fn deny(&self, reviews: &'static str, right: &'static str) {
        self.change(|content| content.denied.push((reviews, right)));
    }

    /// The next patches meet somebody who was faster.
    pub(crate) fn conflict(&self, times: usize) {
        self.change(|content| content.conflicts = times);
    }

    /// What was asked since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.store.lock().requests)
    }

    /// Returns once somebody has begun to watch since the last call.
    pub(crate) fn wait_for_watch(&self) {
        eventually("a watch", || self.requests().iter().any(Request::is_watch).then_some(()));
    }

    /// A kubeconfig with this server in the context `test`, whose namespace is `ns`, and in `elsewhere`.
    pub(crate) fn kubeconfig(&self, directory: &Path) -> String {
        write(directory, "kubeconfig", &kubeconfig(&self.server.url()))
    }

    /// Puts a rollout with this spec, beside route and backends, and this status.
    pub(crate) fn put_rollout(&self, spec: &Value, status: &Value) {
        let mut whole = json!({
            "apiVersion": "turnout.dev/v1alpha1", "kind": "ModelRollout",
            "metadata": {
                "name": "model", "namespace": "ns", "generation": 1, "resourceVersion": "10",
                "labels": {"team": "scoring"}, "managedFields": [{"manager": "argocd"}],
            },
            "spec": {
                "route": {"virtualService": "model"},
                "green": {"host": "green", "port": 5001}, "blue": {"host": "blue", "port": 5001},
            },
            "status": {
                "phase": "Holding", "message": "waiting", "observedGeneration": 1, "stableRevision": "v1",
                "weights": {"green": 50, "blue": 50},
                "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        });
        merge(&mut whole, &json!({ "spec": spec, "status": status }));
        self.put(ROLLOUT, whole);
    }

    /// Changes the rollout's status, as a controller does.
    pub(crate) fn patch_status(&self, status: &Value) {
        self.edit(ROLLOUT, |rollout| {
            merge(&mut rollout["status"], status);
            raise(rollout);
        });
    }
}

/// A kubeconfig with a server in the contexts `test`, which is the current one, and `elsewhere`.
pub(crate) fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: '{server}'}}}}]
users: [{{name: test, user: {{token: secret}}}}]
contexts:
- {{name: test, context: {{cluster: test, user: test, namespace: ns}}}}
- {{name: elsewhere, context: {{cluster: test, user: test, namespace: other}}}}
"
    )
}

async fn answer(
    State(store): State<Arc<Store>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Request {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        authorization: headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap()).to_owned(),
    };
    let changes = store.changes.subscribe();
    store.lock().requests.push(request.clone());
    let code = store.lock().failing(&request);
    match code {
        Some(0) => std::future::pending().await,
        Some(404) => return (StatusCode::NOT_FOUND, "404 page not found").into_response(),
        Some(code) => return failure(code, &format!("{} is not for you", request.name())),
        None => {}
    }
    match method {
        Method::GET if request.is_watch() => store.next_change(&request, changes).await,
        Method::GET => store.lock().read(&request),
        Method::PATCH => {
            let answer = store.lock().patch(&request);
            store.changes.send_modify(|count| *count += 1);
            answer
        }
        Method::POST => store.lock().review(request),
        _ => failure(405, "there is no such method here"),
    }
}

impl Request {
    fn is_watch(&self) -> bool {
        self.parameter("watch").as_deref() == Some("true")
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.find_map(|(known, value)| (known == name).then_some(value))?;
        Some(value.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/"))
    }

    /// The last part of the path.
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }
}

impl Store {
    fn start() -> (Arc<Self>, Router) {
        let (changes, _) = watch::channel(0);
        let store = Arc::new(Self { content: Mutex::default(), changes });
        (Arc::clone(&store), Router::new().fallback(answer).with_state(store))
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    /// The rollout, once it is another than that of the version from which it is watched.
    async fn next_change(&self, request: &Request, mut changes: watch::Receiver<u64>) -> Response {
        let version = request.parameter("resourceVersion");
        loop {
            let rollout = self.lock().answers.get(ROLLOUT).cloned();
            let kind = match &rollout {
                Some(rollout) if rollout["metadata"]["resourceVersion"].as_str() == version.as_deref() => None,
                Some(_) => Some("MODIFIED"),
                None => Some("DELETED"),
            };
            if let Some(kind) = kind {
                let gone = || json!({"metadata": {"name": "model", "namespace": "ns"}});
                let event = json!({ "type": kind, "object": rollout.unwrap_or_else(gone) });
                return format!("{event}\n").into_response();
            }
            // An error is the end of the test.
            if changes.changed().await.is_err() {
                return failure(503, "the server ends");
            }
        }
    }
}

impl Content {
    fn failing(&self, request: &Request) -> Option<u16> {
        let is_it = |(method, path): &(&str, String)| *method == request.method && *path == request.path;
        self.failing.iter().find(|(failing, _)| is_it(failing)).map(|(_, code)| *code)
    }

    fn read(&self, request: &Request) -> Response {
        match self.answers.get(&request.path) {
            Some(Value::String(text)) => text.clone().into_response(),
            Some(object) => as_json(object),
            None if COLLECTIONS.contains(&request.name()) => as_json(&self.list(request)),
            None => failure(404, &format!("{} not found", request.name())),
        }
    }

    /// The objects below a path, or, where it names no namespace, those of all; with the labels that are asked for.
    fn list(&self, request: &Request) -> Value {
        let (group, plural) = request.path.rsplit_once('/').unwrap();
        let is_there = |path: &str| {
            let Some((folder, _)) = path.rsplit_once('/') else { return false };
            let of_any = folder.strip_prefix(&format!("{group}/namespaces/")).and_then(|rest| rest.split_once('/'));
            folder == request.path || of_any.is_some_and(|(_, kind)| kind == plural)
        };
        let labels = request.parameter("labelSelector").unwrap_or_default();
        let wanted: Vec<(&str, &str)> = labels.split(',').filter_map(|label| label.split_once('=')).collect();
        let has_labels =
            |object: &Value| wanted.iter().all(|(name, value)| object["metadata"]["labels"][name] == *value);
        let below = self.answers.iter().filter(|(path, object)| is_there(path) && has_labels(object));
        let items: Vec<&Value> = below.map(|(_, object)| object).collect();
        json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})
    }

    fn patch(&mut self, request: &Request) -> Response {
        let Some(object) = self.answers.get_mut(&request.path) else { return failure(404, "not found") };
        if self.conflicts > 0 {
            raise(object);
            self.conflicts -= 1;
        }
        if request.body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return failure(409, "the object has been modified");
        }
        if request.body["spec"]["revision"] == "refused" {
            return failure(422, "spec.revision: Invalid value");
        }
        merge(object, &request.body);
        raise(object);
        let generation = object["metadata"]["generation"].as_u64().unwrap();
        object["metadata"]["generation"] = json!(generation + 1);
        as_json(object)
    }

    /// Of SelfSubjectAccessReviews and SubjectAccessReviews.
    fn review(&self, request: Request) -> Response {
        let mut review = request.body;
        let wanted = &review["spec"]["resourceAttributes"];
        let right = format!("{} {}", wanted["verb"].as_str().unwrap(), wanted["resource"].as_str().unwrap());
        let is_denied = self.denied.contains(&(request.path.as_str(), right.as_str()));
        review["status"] = json!({ "allowed": !is_denied });
        as_json(&review)
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        match target.as_object_mut() {
            Some(target) if value.is_null() => drop(target.remove(name)),
            _ => merge(&mut target[name], value),
        }
    }
}

/// Gives an object its next version.
fn raise(object: &mut Value) {
    let version = &mut object["metadata"]["resourceVersion"];
    let number: u64 = version.as_str().unwrap().parse().unwrap();
    *version = json!((number + 1).to_string());
}

fn as_json(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn failure(code: u16, message: &str) -> Response {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        _ => "ServiceUnavailable",
    };
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (StatusCode::from_u16(code).unwrap(), as_json(&status)).into_response()
}
