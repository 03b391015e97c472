//! A failure stays where it is: what cannot be read or written of one namespace or rollout keeps nobody else waiting.

use super::scene::{Fate, Scene};
use super::{live, live_with};
use crate::api::store::Key;
use crate::world::Happening;
use crate::world::cast::App;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;
use turnout_rollout::{Backend, ConditionStatus, ConditionType, Stage, Target};

const OTHER: &str = "other";
/// So long a step may take beside a failure: a round that waits for one namespace or write once, and the next.
const SOON: Duration = Duration::from_secs(5);

/// A rollout of the governed namespace goes from its start to a stage.
async fn reaches_blue_50(scene: &Scene, case: &str) {
    scene.happens(&Happening::Start(App(0), 2));
    let started = Instant::now();
    let to = Target::Stage(Stage::BLUE_50);
    let reached = || scene.status().history.iter().any(|step| step.to == to);
    while !reached() && started.elapsed() < SOON {
        scene.happens(&Happening::SomebodyDeploys(App(0), Backend::Blue, 2));
        scene.happens(&Happening::ClusterFollows);
        scene.happens(&Happening::Promote(App(0)));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(reached(), "{case}: after {:?}: {}", started.elapsed(), scene.status().message);
    let operational = scene.status().condition(ConditionType::Operational).map(|condition| condition.status);
    assert_ne!(operational, Some(ConditionStatus::False), "{}", scene.status().message);
}

#[test]
fn a_namespace_that_cannot_be_read_keeps_nobody_elsewhere() {
    let kinds = ["modelrollouts", "services", "endpointslices", "deployments", "virtualservices"];
    for (kind, fate) in kinds.into_iter().flat_map(|kind| [Fate::Forbidden, Fate::Hangs].map(|fate| (kind, fate))) {
        live(async |scene| {
            scene.governs_too(OTHER);
            let line = format!("List {kind} {OTHER}/");
            scene.fate(move |_, asked| if asked == line { fate } else { Fate::Done });
            let [_first, _second] = scene.start_both().await;
            reaches_blue_50(scene, &format!("{kind} {fate:?}")).await;
        });
    }
}

#[test]
fn a_rollout_goes_with_its_namespace_whose_rights_went_first() {
    live(async |scene| {
        scene.governs_too(OTHER);
        let key = Key::new("modelrollouts", OTHER, "model");
        scene.put(
            &key,
            json!({
                "metadata": {"finalizers": ["turnout.dev/weights"]},
                "spec": {"route": {"virtualService": "model"}, "green": {"host": "g"}, "blue": {"host": "b"}},
            }),
        );
        let in_other = format!(" {OTHER}/");
        let is_left = |asked: &str| asked.contains("modelrollouts");
        scene.fate(
            move |_, asked| if asked.contains(&in_other) && !is_left(asked) { Fate::Forbidden } else { Fate::Done },
        );
        let [_first, _second] = scene.start_both().await;
        scene.remove(&key);
        scene.until("it is gone", || scene.object(&key).is_none()).await;
        reaches_blue_50(scene, "").await;
    });
}

#[test]
fn a_status_that_the_api_server_does_not_take_keeps_no_other_rollout() {
    live_with(2, async |scene| {
        scene.fate(
            |_, asked| if asked.contains("modelrollouts/status abtesting/rank") { Fate::Hangs } else { Fate::Done },
        );
        let [_first, _second] = scene.start_both().await;
        reaches_blue_50(scene, "").await;
    });
}
