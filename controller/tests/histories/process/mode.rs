//! From one gateway to the other: whichever serves, nobody is given the weights of a document in place of a rollout's.

use super::live;
use super::scene::Scene;
use crate::world::Happening;
use crate::world::cast::{App, Edit, published};
use serde_json::json;
use turnout_rollout::{Backend, ModelRollout, Stage, Target, Weights, route_weights};
use turnout_routes::{Source, parse};

const GREEN: Weights = Weights { green: 100, blue: 0 };

/// Goes on until the last step of the history is this one.
async fn reaches(scene: &Scene, to: Target) {
    scene
        .until(&to.to_string(), || {
            scene.happens(&Happening::SomebodyDeploys(App(0), Backend::Blue, 2));
            scene.happens(&Happening::ClusterFollows);
            scene.happens(&Happening::Promote(App(0)));
            scene.status().history.last().is_some_and(|step| step.to == to)
        })
        .await;
}

/// What Turnout's gateways are given.
fn given(scene: &Scene) -> Weights {
    let published = scene.object(&published()).expect("it is published");
    let text = published["data"]["routes.yaml"].as_str().unwrap_or_default();
    let documents = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).expect("they are good").documents;
    route_weights(&documents, &rollout(scene)).expect("the rule is there")
}

/// What Istio's are.
fn written(scene: &Scene) -> Weights {
    let object = scene.object(&App(0).virtual_service()).expect("it is there");
    turnout_rollout::istio::observe(&object, &rollout(scene)).expect("the rule is there")
}

fn rollout(scene: &Scene) -> ModelRollout {
    let object = scene.object(&App(0).rollout()).expect("it is there");
    serde_json::from_value((*object).clone()).expect("it is one")
}

#[test]
fn going_over_to_istio_gives_no_gateway_the_weights_of_a_document() {
    live(async |scene| {
        let [_first, _second] = scene.start_both().await;
        scene.happens(&Happening::Start(App(0), 2));
        reaches(scene, Target::Stage(Stage::BLUE_50)).await;
        scene.happens(&Happening::RollBack(App(0)));
        scene.until("green has everything", || scene.status().stage == Some(Target::Rollback)).await;
        // It counts for nothing while Turnout serves, nor afterwards.
        scene.happens(&Happening::Edit(App(0), Edit::Weights(70)));
        scene.until_rounds_go_on(0).await;
        assert_ne!(written(scene), GREEN);

        let settled = |mode: &str, what: &str| {
            scene.edit(&App(0).rollout(), |it| it["spec"]["mode"] = json!(mode));
            let what = what.to_owned();
            async move {
                scene
                    .until(&what, || {
                        assert_eq!(given(scene), GREEN, "{what}");
                        written(scene) == GREEN
                    })
                    .await;
                scene.until_rounds_go_on(0).await;
                assert_eq!((given(scene), written(scene)), (GREEN, GREEN), "{what}");
            }
        };
        settled("Istio", "the weights are written").await;
        // Whoever applies the document anew.
        scene.happens(&Happening::Edit(App(0), Edit::Weights(60)));
        settled("Istio", "they are written again").await;
        settled("Gateway", "Turnout has taken over").await;
    });
}
