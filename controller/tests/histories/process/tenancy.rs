//! Whose rollouts a release drives, and whose rules these may govern.

use super::scene::{Fate, Scene};
use super::{live, reaches_blue_50};
use crate::api::store::Key;
use crate::world::cast::{App, MODELS};
use serde_json::{Value, json};
use turnout_rollout::Backend;

const OTHER: &str = "other";

/// A rollout of another namespace that names the rule and the backends of this one's.
fn intruder(mode: &str) -> Value {
    let [green, blue] = Backend::BOTH.map(|backend| json!({"host": App(0).host(backend)}));
    json!({"spec": {
        "mode": mode, "route": {"virtualService": "model", "namespace": MODELS}, "green": green, "blue": blue,
        "revision": "v9", "target": "Green_100",
    }})
}

fn message(scene: &Scene, key: &Key) -> String {
    scene.object(key).map(|it| it["status"]["message"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

#[test]
fn a_rollout_governs_no_rule_of_another_namespace_that_is_not_shared() {
    for mode in ["Gateway", "Istio"] {
        live(async |scene| {
            scene.governs_too(OTHER);
            let key = Key::new("modelrollouts", OTHER, "intruder");
            scene.put(&key, intruder(mode));
            let written = format!("JsonPatch virtualservices {MODELS}/");
            scene.fate(move |_, asked| {
                assert!(!asked.starts_with(&written), "{asked}");
                Fate::Done
            });
            let [_first, _second] = scene.start_both().await;
            let refused = ["sharedRouteNamespaces", "is governed by rollout abtesting/model already"];
            let is_told = || refused.iter().any(|why| message(scene, &key).contains(why));
            scene.until("it is told", is_told).await;
            reaches_blue_50(scene).await;
            assert!(is_told(), "{}", message(scene, &key));
        });
    }
}

#[test]
fn the_rule_of_another_namespace_is_not_governed_where_nobody_governs_it_either() {
    live(async |scene| {
        scene.governs_too(OTHER);
        let key = Key::new("modelrollouts", OTHER, "intruder");
        scene.remove(&App(0).rollout());
        scene.put(&key, intruder("Gateway"));
        let [_first, _second] = scene.start_both().await;
        scene.until("it is told", || message(scene, &key).contains("sharedRouteNamespaces")).await;
        scene.minutes(2).await;
        let status = scene.object(&key).expect("it is there")["status"].clone();
        assert!(status["weights"].is_null() && status["candidate"].is_null(), "{status}");
    });
}

#[test]
fn a_rollout_governs_a_rule_of_another_namespace_that_is_shared() {
    live(async |scene| {
        scene.governs_too(OTHER);
        scene.is_told(|settings| settings.shared_route_namespaces = vec![MODELS.to_owned()]);
        let key = Key::new("modelrollouts", OTHER, "guest");
        scene.remove(&App(0).rollout());
        scene.put(&key, intruder("Gateway"));
        let [_first, _second] = scene.start_both().await;
        let governs = || scene.object(&key).is_some_and(|it| it["status"]["weights"].is_object());
        scene.until("it governs the rule", governs).await;
    });
}

#[test]
fn a_release_drives_the_rollouts_of_its_class_and_leaves_others_as_they_are() {
    live(async |scene| {
        let mut other = intruder("Gateway");
        other["spec"]["controller"] = json!("other");
        other["spec"]["route"] = json!({"virtualService": "model"});
        let key = Key::new("modelrollouts", MODELS, "of-another-class");
        scene.put(&key, other);
        let [first, _second] = scene.start_both().await;
        reaches_blue_50(scene).await;
        let seen = || scene.object(&key).expect("it is there");
        assert!(seen()["status"].is_null() && seen()["metadata"]["finalizers"].is_null(), "{}", seen());
        first.stop();
        first.ended().await.expect("it was told to");
    });
    live(async |scene| {
        scene.is_told(|settings| settings.class = Some("other".to_owned()));
        let mut own = intruder("Gateway");
        own["spec"]["controller"] = json!("other");
        own["spec"]["route"] = json!({"virtualService": "model"});
        let key = Key::new("modelrollouts", MODELS, "own");
        scene.put(&key, own);
        let [_first, _second] = scene.start_both().await;
        let is_driven = || scene.object(&key).is_some_and(|it| it["status"]["weights"].is_object());
        scene.until("that of its class is driven", is_driven).await;
        assert!(scene.status().is_empty(), "that without a class is not");
    });
}
