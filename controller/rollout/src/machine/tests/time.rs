//! Clocks of machines that took over from each other, deadlines, and pauses.

use super::*;
use crate::resource::ConditionType;

fn pausing(seconds: u64) -> Scene {
    Scene::at("Blue_50", &json!({"steps": steps(&[("Blue_50", json!([{"pause": format!("{seconds}s")}]))])}))
}

#[test]
fn a_clock_that_was_ahead_makes_no_pause_and_no_deadline_longer_than_it_is() {
    let mut scene = pausing(10);
    let hour = scene.observed.now.plus(3600);
    scene.rollout.status.stage_since = Some(hour);
    scene.rollout.status.weights_since = Some(hour);
    scene.decide();
    assert_eq!(scene.stage(), "Blue_50");
    assert_eq!(scene.rollout.status.stage_since, Some(scene.observed.now));
    scene.observed.now = scene.observed.now.plus(10);
    scene.settle();
    assert_ne!(scene.stage(), "Blue_50");

    let mut scene = Scene::at("Blue_50", &json!({"target": "Green_100", "readyDeadlineSeconds": 60}));
    scene.observed.blue = unready();
    scene.decide();
    scene.rollout.status.waiting.as_mut().unwrap().since = hour;
    scene.observed.now = scene.observed.now.plus(1);
    scene.decide();
    scene.observed.now = scene.observed.now.plus(61);
    scene.decide();
    assert_eq!(scene.phase(), Phase::Stalled);
}

#[test]
fn whatever_hangs_on_the_way_back_counts_as_stalled() {
    let stalls = |scene: &mut Scene, reason: WaitReason| {
        scene.settle();
        assert_eq!((scene.waits_for(), scene.phase()), (Some(reason), Phase::RollingBack));
        scene.observed.now = scene.observed.now.plus(10_000);
        scene.decide();
        assert_eq!(scene.phase(), Phase::Stalled, "{reason:?}");
        assert_eq!(
            scene.rollout.status.condition(ConditionType::Progressing).map(|it| it.reason.as_str()),
            Some("DeadlineExceeded")
        );
    };
    let mut scene = Scene::at("Blue_Green", &json!({"target": "Rollback"}));
    scene.observed.green = serving("v2");
    stalls(&mut scene, WaitReason::StableImage);
    let mut scene = Scene::at("Blue_50", &json!({"target": "Rollback"}));
    scene.observed.green = unready();
    stalls(&mut scene, WaitReason::ReadyEndpoints);
    let mut scene = Scene::at("Blue_Green", &json!({"target": "Rollback", "workload": "Managed"}));
    scene.observed.green = serving("v2");
    scene.observed.gateways[0].green.in_flight_by_split = 1;
    scene.decide();
    assert_eq!(scene.waits_for(), Some(WaitReason::Drain));
}
