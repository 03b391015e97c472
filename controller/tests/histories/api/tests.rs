//! What a `kube::Client` hears from the API in memory, for a table of its calls: as from a real server.

use super::store::{Key, Store};
use super::{Accepted, Refusal, Request};
use crate::wire::{Letter, Wire};
use bytes::Bytes;
use http_body_util::Full;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use std::future::Future;
use turnout_rollout::Timestamp;

fn respond(answer: Result<Accepted, Refusal>) -> http::Response<Full<Bytes>> {
    let (code, body) = match answer {
        Ok(accepted) => (accepted.code, accepted.body),
        Err(refusal) => (refusal.code, refusal.to_status()),
    };
    let body = Bytes::from(serde_json::to_vec(&body).unwrap());
    http::Response::builder().status(code).body(Full::new(body)).unwrap()
}

/// Runs a client's calls against the store.
fn run<T>(store: &mut Store, calls: impl Future<Output = T>) -> T
where
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut calls = Box::pin(calls);
        loop {
            tokio::select! {
                biased;
                result = &mut calls => return result,
                () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {}
            }
            let Some(Letter::Api { head, body, reply }) = WIRE.with(|wire| wire.take(0)) else { continue };
            let as_of = store.revision();
            let answer = Request::read(&head, &body).and_then(|request| request.execute(store, as_of));
            reply.send(Ok(respond(answer))).unwrap();
        }
    })
}

thread_local! {
    static WIRE: Wire = Wire::default();
}

fn client() -> kube::Client {
    WIRE.with(Wire::client)
}

fn api<K>() -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(client(), "ns")
}

fn rollouts() -> Api<DynamicObject> {
    let kind = ApiResource {
        group: "turnout.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "turnout.dev/v1alpha1".to_owned(),
        kind: "ModelRollout".to_owned(),
        plural: "modelrollouts".to_owned(),
    };
    Api::namespaced_with(client(), "ns", &kind)
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn config_map(data: &str) -> ConfigMap {
    object(json!({"metadata": {"name": "c"}, "data": {"key": data}}))
}

fn rollout() -> DynamicObject {
    object(json!({
        "apiVersion": "turnout.dev/v1alpha1", "kind": "ModelRollout",
        "metadata": {"name": "r", "finalizers": ["turnout.dev/weights"]},
        "spec": {"paused": false}, "status": {"phase": "Idle"},
    }))
}

/// Code and reason of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String) {
    match result.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("{other}"),
    }
}

fn is(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}

fn store() -> Store {
    Store::new(Timestamp(1_767_225_600))
}

#[test]
fn an_object_is_created_once_and_replaced_only_over_what_was_read() {
    let mut store = store();
    run(&mut store, async {
        let api = api::<ConfigMap>();
        let parameters = PostParams::default();
        assert_eq!(refusal(api.get("c").await), is(404, "NotFound"));
        assert!(api.get_opt("c").await.unwrap().is_none());
        let first = api.create(&parameters, &config_map("1")).await.unwrap();
        assert_eq!(first.metadata.namespace.as_deref(), Some("ns"));
        assert!(first.metadata.uid.is_some() && first.metadata.creation_timestamp.is_some());
        assert_eq!(refusal(api.create(&parameters, &config_map("2")).await), is(409, "AlreadyExists"));
        let mut second = first.clone();
        second.data = config_map("2").data;
        let second = api.replace("c", &parameters, &second).await.unwrap();
        assert_ne!(second.metadata.resource_version, first.metadata.resource_version);
        assert_eq!(refusal(api.replace("c", &parameters, &first).await), is(409, "Conflict"));
        let same = api.replace("c", &parameters, &second).await.unwrap();
        assert_eq!(same, second, "what changes nothing makes no new version");
        let mut recreated = second.clone();
        recreated.metadata.uid = Some("other".to_owned());
        assert_eq!(refusal(api.replace("c", &parameters, &recreated).await), is(409, "Conflict"));
        let unguarded = api.replace("c", &parameters, &config_map("3")).await.unwrap();
        assert_eq!(unguarded.data, config_map("3").data, "a built-in kind needs no resource version");
        assert_eq!(refusal(api.replace("d", &parameters, &config_map("1")).await), is(400, "BadRequest"));
    });
}

#[test]
fn an_immutable_config_map_keeps_its_data() {
    let mut store = store();
    run(&mut store, async {
        let api = api::<ConfigMap>();
        let mut fixed = config_map("1");
        fixed.immutable = Some(true);
        let mut fixed = api.create(&PostParams::default(), &fixed).await.unwrap();
        fixed.data = config_map("2").data;
        assert_eq!(refusal(api.replace("c", &PostParams::default(), &fixed).await), is(422, "Invalid"));
    });
}

#[test]
fn a_status_and_a_spec_are_written_apart() {
    let mut store = store();
    run(&mut store, async {
        let (api, parameters) = (rollouts(), PostParams::default());
        let mut first = api.create(&parameters, &rollout()).await.unwrap();
        assert!(first.data.get("status").is_none(), "nobody creates an object with a status");
        assert_eq!(first.metadata.generation, Some(1));
        first.data["status"] = json!({"phase": "Progressing"});
        first.data["spec"]["paused"] = json!(true);
        first.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        let second = api.replace_status("r", &parameters, &first).await.unwrap();
        assert_eq!(second.data, json!({"spec": {"paused": false}, "status": {"phase": "Progressing"}}));
        assert_eq!((second.metadata.generation, second.metadata.labels.clone()), (Some(1), None));
        let mut third = second.clone();
        third.data = json!({"spec": {"paused": true}, "status": {"phase": "Idle"}});
        let third = api.replace("r", &parameters, &third).await.unwrap();
        assert_eq!(third.data, json!({"spec": {"paused": true}, "status": {"phase": "Progressing"}}));
        assert_eq!(third.metadata.generation, Some(2));
        assert_eq!(refusal(api.replace_status("r", &parameters, &second).await), is(409, "Conflict"));
        let mut unguarded = third.clone();
        unguarded.metadata.resource_version = None;
        assert_eq!(refusal(api.replace("r", &parameters, &unguarded).await), is(422, "Invalid"));
    });
}

#[test]
fn patches_apply_whole_or_not_at_all() {
    let mut store = store();
    run(&mut store, async {
        let (api, parameters) = (rollouts(), PatchParams::default());
        api.create(&PostParams::default(), &rollout()).await.unwrap();
        let patch = |wanted: bool| {
            let operations = json!([
                {"op": "test", "path": "/spec/paused", "value": wanted},
                {"op": "replace", "path": "/spec/paused", "value": true},
            ]);
            Patch::Json::<()>(serde_json::from_value(operations).unwrap())
        };
        assert_eq!(refusal(api.patch("r", &parameters, &patch(true)).await), is(422, "Invalid"));
        let patched = api.patch("r", &parameters, &patch(false)).await.unwrap();
        assert_eq!(patched.data["spec"], json!({"paused": true}));
        let merge = |version: &str| {
            Patch::Merge(json!({"metadata": {"resourceVersion": version, "annotations": {"a": "b", "none": null}}}))
        };
        assert_eq!(refusal(api.patch("r", &parameters, &merge("1")).await), is(409, "Conflict"));
        let current = patched.metadata.resource_version.unwrap();
        let merged = api.patch("r", &parameters, &merge(&current)).await.unwrap();
        assert_eq!(merged.metadata.annotations, Some([("a".to_owned(), "b".to_owned())].into()));
        assert_eq!(merged.metadata.generation, Some(2), "annotations are no spec");
        assert_eq!(refusal(api.patch("s", &parameters, &patch(false)).await), is(404, "NotFound"));
        let strategic = Patch::Strategic(json!({"spec": {}}));
        assert_eq!(refusal(api.patch("r", &parameters, &strategic).await), is(415, "UnsupportedMediaType"));
    });
}

#[test]
fn what_is_deleted_in_the_foreground_waits_for_what_it_owns() {
    let mut store = store();
    run(&mut store, async {
        let api: Api<Deployment> = api();
        let object = json!({
            "metadata": {"name": "d"},
            "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "d"}}}},
        });
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        let marked = api.delete("d", &DeleteParams::foreground()).await.unwrap().left().unwrap();
        assert!(marked.metadata.deletion_timestamp.is_some());
        assert_eq!(marked.metadata.finalizers, Some(vec!["foregroundDeletion".to_owned()]));
        assert!(api.get("d").await.is_ok());
    });
}

#[test]
fn a_deletion_has_preconditions_and_waits_for_finalizers() {
    let mut store = store();
    run(&mut store, async {
        let api = rollouts();
        let created = api.create(&PostParams::default(), &rollout()).await.unwrap();
        let only = |uid: Option<&str>, version: Option<&str>| DeleteParams {
            preconditions: Some(Preconditions {
                uid: uid.map(str::to_owned),
                resource_version: version.map(str::to_owned),
            }),
            ..DeleteParams::default()
        };
        assert_eq!(refusal(api.delete("r", &only(Some("other"), None)).await), is(409, "Conflict"));
        assert_eq!(refusal(api.delete("r", &only(None, Some("0"))).await), is(409, "Conflict"));
        let uid = created.metadata.uid.as_deref();
        let marked = api.delete("r", &only(uid, None)).await.unwrap().left().unwrap();
        assert!(marked.metadata.deletion_timestamp.is_some());
        assert_eq!(marked.metadata.generation, Some(2));
        let again = api.delete("r", &only(uid, None)).await.unwrap().left().unwrap();
        assert_eq!(again, marked);
        let finalizers = |names: &[&str]| {
            let version = &marked.metadata.resource_version;
            Patch::Merge(json!({"metadata": {"resourceVersion": version, "finalizers": names}}))
        };
        let more = finalizers(&["turnout.dev/weights", "other"]);
        assert_eq!(refusal(api.patch("r", &PatchParams::default(), &more).await), is(422, "Invalid"));
        api.patch("r", &PatchParams::default(), &finalizers(&[])).await.unwrap();
        assert_eq!(refusal(api.get("r").await), is(404, "NotFound"));
        assert_eq!(refusal(api.delete("r", &DeleteParams::default()).await), is(404, "NotFound"));
    });
}

#[test]
fn a_list_has_pages_and_selectors() {
    let mut store = store();
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "z")] {
        store.put(&Key::new("pods", "ns", name), json!({"metadata": {"labels": {"app": app}}}));
    }
    store.put(&Key::new("pods", "other", "e"), json!({"metadata": {"labels": {"app": "x"}}}));
    let names = |pods: &[Pod]| pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>().join(" ");
    run(&mut store, async {
        let api = api::<Pod>();
        let check = async |selector: &str, expected: &str| {
            let listed = api.list(&ListParams::default().labels(selector)).await.unwrap();
            assert_eq!(names(&listed.items), expected, "{selector}");
        };
        check("", "a b c d").await;
        check("app=x", "a c").await;
        check("app==x,app!=y", "a c").await;
        check("app in (x, y)", "a b c").await;
        check("app notin (x,y)", "d").await;
        check("app,!none", "a b c d").await;
        check("none", "").await;
        let listed = api.list(&ListParams::default().fields("metadata.name=b")).await.unwrap();
        assert_eq!(names(&listed.items), "b");
        let everywhere = Api::<Pod>::all(client()).list(&ListParams::default().labels("app=x")).await.unwrap();
        assert_eq!(names(&everywhere.items), "a c e");
        let first = api.list(&ListParams::default().limit(3)).await.unwrap();
        let token = first.metadata.continue_.clone().unwrap();
        api.delete("d", &DeleteParams::default()).await.unwrap();
        let rest = api.list(&ListParams::default().limit(3).continue_token(&token)).await.unwrap();
        assert_eq!(names(&rest.items), "d", "a list is consistent over its pages");
        assert_eq!(rest.metadata.continue_, None);
        let expired = api.list(&ListParams::default().continue_token("old")).await;
        assert_eq!(refusal(expired), is(410, "Expired"));
    });
}

#[test]
fn a_stale_read_shows_what_was() {
    let mut store = store();
    let key = Key::new("configmaps", "ns", "c");
    store.put(&key, json!({"metadata": {}, "data": {"key": "1"}}));
    store.put(&Key::new("pods", "ns", "a"), json!({"metadata": {}}));
    store.put(&key, json!({"metadata": {}, "data": {"key": "2"}}));
    store.remove(&key);
    let data = |changes: usize| {
        let revision = store.revision_before_changes("configmaps", changes);
        store.get_at(&key, revision).map(|object| object["data"]["key"].clone())
    };
    assert_eq!([data(0), data(1), data(2), data(3), data(9)], [None, Some(json!("2")), Some(json!("1")), None, None]);
}

#[test]
fn what_belongs_to_nobody_any_more_is_collected() {
    let mut store = store();
    let owner = Key::new("services", "ns", "owner");
    let uid = store.put(&owner, json!({"metadata": {}, "spec": {}}))["metadata"]["uid"].clone();
    let twin = Key::new("services", "ns", "twin");
    store.put(&twin, json!({"metadata": {"ownerReferences": [{"uid": uid}]}, "spec": {}}));
    assert_eq!(store.collect_garbage(), 0);
    store.remove(&owner);
    assert_eq!(store.collect_garbage(), 1);
    assert!(store.get(&twin).is_none());
}

#[test]
fn a_service_gets_the_defaults_of_a_real_server() {
    let mut store = store();
    run(&mut store, async {
        let service: Service =
            object(json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}));
        let created = api::<Service>().create(&PostParams::default(), &service).await.unwrap();
        let spec = created.spec.unwrap();
        assert_eq!((spec.type_.as_deref(), spec.cluster_ips), (Some("ClusterIP"), Some(vec!["None".to_owned()])));
        assert_eq!(spec.ports.unwrap()[0].protocol.as_deref(), Some("TCP"));
    });
}

#[test]
fn what_is_not_served_is_not_found() {
    let mut store = store();
    run(&mut store, async {
        let secrets = api::<k8s_openapi::api::core::v1::Secret>().list(&ListParams::default()).await;
        assert_eq!(refusal(secrets), is(404, "NotFound"));
        let watched = api::<Pod>().watch(&kube::api::WatchParams::default(), "0").await;
        assert_eq!(refusal(watched.map(|_| ())), is(405, "MethodNotAllowed"));
    });
}
