//! What somebody else changes on a managed backend is put right.

use super::live_in;
use super::scene::{Fate, Scene};
use crate::api::store::{Key, is_deleted, uid_of};
use crate::world::cast::{App, Edit, image};
use crate::world::{Happening, Model};
use serde_json::{Value, json};
use turnout_rollout::{Backend, Stage, Target};

fn managed(replicas: Option<u32>) -> Scene {
    let mut spec = json!({"workload": "Managed"});
    if let Some(replicas) = replicas {
        spec["replicas"] = json!(replicas);
    }
    Scene::with(vec![Model { spec, green: Some(1), labelled: true, brings_services: false }])
}

async fn reach_green_100(scene: &Scene) {
    let reached = || {
        scene.happens(&Happening::ClusterFollows);
        scene.status().stage == Some(Target::Stage(Stage::Green100))
    };
    scene.until("green serves", reached).await;
}

type Change = (&'static str, fn(&mut Value));

#[test]
fn what_somebody_else_changes_on_a_managed_backend_is_put_right() {
    let changes: [Change; 6] = [
        ("another image", |it| {
            it["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image(App(0), "v7"));
        }),
        ("another revision on the pods", |it| {
            it["spec"]["template"]["metadata"]["labels"]["turnout.dev/revision"] = json!("v7");
        }),
        ("no probe", |it| it["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = Value::Null),
        ("a sidecar", |it| {
            let containers = it["spec"]["template"]["spec"]["containers"].as_array_mut();
            containers.unwrap().push(json!({"name": "more", "image": "registry/more:1"}));
        }),
        ("another strategy", |it| it["spec"]["strategy"] = json!({"type": "Recreate"})),
        ("another number of pods", |it| it["spec"]["replicas"] = json!(7)),
    ];
    for (what, change) in changes {
        live_in(&managed(Some(2)), async |scene| {
            let [_first, _second] = scene.start_both().await;
            reach_green_100(scene).await;
            let key = App(0).deployment(Backend::Green);
            let spec = || scene.object(&key).map(|object| object["spec"].clone());
            let before = spec();
            scene.edit(&key, change);
            assert_ne!(spec(), before, "{what}");
            scene.until(what, || spec() == before).await;
        });
    }
}

#[test]
fn the_number_of_pods_is_an_autoscalers_where_the_rollout_names_none() {
    live_in(&managed(None), async |scene| {
        let [_first, _second] = scene.start_both().await;
        reach_green_100(scene).await;
        let key = App(0).deployment(Backend::Green);
        scene.edit(&key, |it| it["spec"]["replicas"] = json!(7));
        scene.until_rounds_go_on(0).await;
        scene.until_rounds_go_on(0).await;
        assert_eq!(scene.object(&key).map(|it| it["spec"]["replicas"].clone()), Some(json!(7)));
    });
}

#[test]
fn a_deployment_of_somebody_else_is_left_alone_and_said() {
    live_in(&managed(None), async |scene| {
        let key: Key = App(0).deployment(Backend::Green);
        let theirs = json!({"metadata": {}, "spec": {"template": {"spec": {"containers": [{"name": "theirs"}]}}}});
        scene.put(&key, theirs);
        let before = scene.object(&key);
        let [_first, _second] = scene.start_both().await;
        let told = || scene.status().conditions.iter().any(|condition| condition.reason == "NotOwned");
        scene.until("it is said", told).await;
        assert_eq!(scene.object(&key), before);
        scene.remove(&key);
        let own = || scene.object(&key).is_some_and(|it| !is_deleted(&it));
        scene.until("the controller makes its own", own).await;
    });
}

#[test]
fn a_rollout_that_is_made_anew_keeps_the_template_of_what_it_meets() {
    live_in(&managed(None), async |scene| {
        let [_first, _second] = scene.start_both().await;
        reach_green_100(scene).await;
        let former = scene.object(&App(0).rollout()).map(|object| uid_of(&object));
        // Only where its document gives weight to what is there it goes.
        scene.happens(&Happening::Edit(App(0), Edit::Weights(0)));
        scene.remove(&App(0).rollout());
        scene.until("it is gone", || scene.object(&App(0).rollout()).is_none()).await;
        // The Deployment of the former one is not collected yet, and serves what the new one wants.
        scene.happens(&Happening::CreateRollout(App(0)));
        scene.until("green serves", || scene.status().stable_revision.is_some()).await;
        let owners = scene.owners("controllerrevisions");
        let uid = scene.object(&App(0).rollout()).map(|object| uid_of(&object));
        assert_ne!(uid, former);
        assert!(owners.contains(&uid), "{owners:?} and not {uid:?}");
    });
}

#[test]
fn what_could_not_be_written_down_is_not_done() {
    live_in(&managed(None), async |scene| {
        scene.fate(|_, asked| if asked.contains("modelrollouts/status") { Fate::Reset } else { Fate::Done });
        let [_first, _second] = scene.start_both().await;
        scene.until_rounds_go_on(0).await;
        scene.until_rounds_go_on(0).await;
        assert_eq!(scene.owners("deployments"), [], "no status says what they are to be");
        scene.fate(|_, _| Fate::Done);
        reach_green_100(scene).await;
    });
}
