//! What becomes of a rule whose rollout is gone, or seems to be.

use super::scene::Scene;
use super::{live, reaches_blue_50};
use crate::world::Happening;
use crate::world::cast::{App, published};
use serde_json::{Value, json};
use turnout_controller::names::GOVERNED_KEY;
use turnout_rollout::{Backend, Weights};

/// The document's.
const DOCUMENT: Weights = Weights { green: 70, blue: 30 };

/// The weights of a rollout that is under way.
async fn rolls_out(scene: &Scene) -> Option<Weights> {
    reaches_blue_50(scene).await;
    scene.minutes(1).await;
    let weights = scene.weights();
    assert_ne!(weights, Some(DOCUMENT));
    weights
}

#[test]
fn a_rule_whose_rollout_names_another_class_keeps_its_weights_until_the_rollout_is_deleted() {
    live(async |scene| {
        let [_first, _second] = scene.start_both().await;
        let weights = rolls_out(scene).await;
        let key = App(0).rollout();
        for class in [json!("turnuot"), Value::Null, json!("another")] {
            scene.edit(&key, |object| object["spec"]["controller"] = class.clone());
            scene.minutes(1).await;
            assert_eq!(scene.weights(), weights, "{class}");
        }
        scene.remove(&key);
        scene.until("the document decides", || scene.weights() == Some(DOCUMENT)).await;
    });
}

#[test]
fn a_rule_that_an_earlier_version_held_by_a_finalizer_is_held_without() {
    live(async |scene| {
        let both = scene.start_both().await;
        rolls_out(scene).await;
        for one in both {
            one.stop();
            one.ended().await.expect("it was told to");
        }
        let key = App(0).rollout();
        scene.edit(&published(), |object| {
            object["data"].as_object_mut().expect("it has some").remove(GOVERNED_KEY);
        });
        scene.edit(&key, |object| {
            object["metadata"]["finalizers"] = json!(["turnout.dev/weights"]);
            object["status"].as_object_mut().expect("it has one").remove("governs");
        });
        scene.remove(&key);
        scene.happens(&Happening::SomebodyScales(App(0), Backend::Green, 0));
        scene.happens(&Happening::ClusterFollows);
        let [_first, _second] = scene.start_both().await;
        scene.until("the object is gone", || scene.object(&key).is_none()).await;
        scene.minutes(2).await;
        assert_eq!(scene.weights(), Some(Weights::all(Backend::Blue)), "green, which the document names, is absent");
        scene.happens(&Happening::SomebodyScales(App(0), Backend::Green, 2));
        scene.happens(&Happening::ClusterFollows);
        scene.until("the document decides", || scene.weights() == Some(DOCUMENT)).await;
    });
}
