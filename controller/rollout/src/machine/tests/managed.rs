//! Managed workloads: which template is rolled out, and how many pods of it.

use super::*;
use crate::testing::absent;

/// The stable revision `stable` came from a template; the spec has this revision and the template of this name.
fn with_template(revision: Option<&str>, template: &str, stable: &str) -> Scene {
    let mut scene = Scene::at("Green_100", &json!({"workload": "Managed", "template": {}, "revision": revision}));
    scene.rollout.status.stable_revision = Some(stable.to_owned());
    scene.observed.green = serving(stable);
    scene.observed.blue = absent();
    scene.observed.template_revision = Some(template.to_owned());
    scene.settle();
    scene
}

fn candidate(scene: &Scene) -> Option<&str> {
    scene.rollout.status.candidate.as_ref().map(|candidate| candidate.revision.as_str())
}

#[test]
fn of_revision_and_template_what_changed_last_is_rolled_out() {
    let check = |from: (Option<&str>, &str), to: (Option<&str>, &str), expected: Option<&str>, note: &str| {
        let mut scene = with_template(from.0, from.1, "v2");
        scene.rollout.spec.revision = to.0.map(str::to_owned);
        scene.observed.template_revision = Some(to.1.to_owned());
        scene.settle();
        assert_eq!(candidate(&scene), expected, "{from:?} {to:?}");
        assert!(scene.message().ends_with(note), "{from:?} {to:?}: {}", scene.message());
    };
    let keeps =
        |revision: &str| format!("spec.revision {revision} keeps its stored template, until spec.template changes");
    let counts = |revision: &str| format!("the template, t3, is newer than spec.revision {revision} and counts");
    // By the template alone.
    check((None, "v2"), (None, "v2"), None, "revision v2");
    check((None, "v2"), (None, "t3"), Some("t3"), "");
    // By name.
    check((Some("v2"), "t2"), (Some("v3"), "t3"), Some("v3"), "");
    check((Some("v2"), "t2"), (Some("v3"), "t2"), Some("v3"), "");
    check((Some("v2"), "t2"), (Some("v2"), "t3"), Some("t3"), &counts("v2"));
    // A name that is in use has its template already, whatever comes with it.
    check((None, "v2"), (Some("v1"), "v2"), Some("v1"), &keeps("v1"));
    check((Some("v2"), "t2"), (Some("v1"), "t3"), Some("v1"), &keeps("v1"));
    check((Some("v3"), "t3"), (Some("v2"), "t4"), None, &keeps("v2"));
    check((Some("v2"), "t2"), (Some("v2"), "t2"), None, "revision v2");
}

#[test]
fn after_a_rollback_by_name_the_next_template_is_rolled_out_and_stays() {
    let mut scene = with_template(None, "v2", "v2");
    scene.rollout.roll_back().unwrap();
    scene.observed.blue = serving("v1");
    scene.settle();
    assert_eq!((candidate(&scene), scene.stage().as_str()), (Some("v1"), "Blue_Green"));
    scene.observed.green = serving("v1");
    scene.settle();
    scene.observed.blue = absent();
    scene.settle();
    assert_eq!(scene.rollout.status.stable_revision.as_deref(), Some("v1"));
    assert!(scene.message().contains("keeps its stored template"), "{}", scene.message());

    scene.observed.template_revision = Some("t3".to_owned());
    scene.observed.blue = serving("t3");
    scene.settle();
    assert_eq!((candidate(&scene), scene.stage().as_str()), (Some("t3"), "Blue_Green"));
    assert_eq!(scene.rollout.promote(None, false), Ok(Stage::Green100), "the old name is nothing that waits");
    scene.observed.green = serving("t3");
    scene.settle();
    assert_eq!(scene.rollout.status.stable_revision.as_deref(), Some("t3"));

    // The name that is to be gone back to stands in the spec already.
    scene.rollout.roll_back().unwrap();
    assert_eq!((scene.rollout.spec.revision.as_deref(), scene.rollout.spec.attempt), (Some("v1"), 1));
    scene.settle();
    assert_eq!(candidate(&scene), Some("v1"));
}

#[test]
fn a_template_from_which_nothing_is_made_changes_nothing() {
    let mut scene = with_template(Some("v2"), "t2", "v2");
    scene.observed.template_revision = None;
    scene.settle();
    assert_eq!(candidate(&scene), None);
    scene.observed.template_revision = Some("t3".to_owned());
    scene.settle();
    assert_eq!(candidate(&scene), Some("t3"), "once it is corrected it is the newest");
}

/// Green, or blue, has `has` pods; the other one has 5.
fn sized(stage: &str, backend: Backend, has: Option<u32>, spec: &Value) -> Scene {
    let mut all = json!({"workload": "Managed"});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut scene = Scene::at(stage, &all);
    if stage == "Blue_Green" {
        scene.observed.green = serving("v2");
    }
    let Observation { green, blue, .. } = &mut scene.observed;
    (green.replicas, blue.replicas) = if backend == Backend::Green { (has, Some(5)) } else { (Some(5), has) };
    scene
}

#[test]
fn a_backend_has_as_many_pods_as_the_other_before_it_gets_more_weight() {
    let check = |stage: &str, backend: Backend, has: Option<u32>, spec: Value, expected: Option<u32>| {
        let mut scene = sized(stage, backend, has, &spec);
        let decision = scene.decide();
        let scaled = expected.map(|replicas| Action::Scale { backend, replicas });
        assert_eq!(decision.actions, scaled.into_iter().collect::<Vec<_>>(), "{stage} {has:?} {spec}");
        let waits = expected.is_some();
        assert_eq!(scene.waits_for() == Some(WaitReason::CandidateReady), waits, "{stage}: {}", scene.message());
        assert_eq!(scene.rollout.status.moving_to.is_none(), waits, "{stage}: {}", scene.message());
    };
    for (stage, backend) in [("Blue_0", Backend::Blue), ("Blue_50", Backend::Blue), ("Blue_Green", Backend::Green)] {
        check(stage, backend, Some(1), json!({}), Some(5));
        check(stage, backend, Some(5), json!({}), None);
        check(stage, backend, Some(9), json!({}), None);
        check(stage, backend, None, json!({}), None);
        check(stage, backend, Some(1), json!({"replicas": 2}), None);
        check(stage, backend, Some(1), json!({"workload": "External"}), None);
    }
    check("Blue_100", Backend::Blue, Some(1), json!({}), None);
}

#[test]
fn a_stage_that_is_the_target_scales_nothing() {
    let mut scene = sized("Blue_0", Backend::Blue, Some(1), &json!({"target": "Blue_0"}));
    assert_eq!(scene.decide().actions, []);
    assert_eq!(scene.waits_for(), Some(WaitReason::Promotion));
}

#[test]
fn going_back_scales_green_and_does_not_wait_for_it() {
    let mut scene = sized("Blue_100", Backend::Green, Some(1), &json!({}));
    scene.target("Rollback");
    let decision = scene.decide();
    assert_eq!(decision.actions, [Action::Scale { backend: Backend::Green, replicas: 5 }]);
    assert_eq!(decision.weights, Some(Weights::all(Backend::Green)));

    let mut scene = sized("Blue_Green", Backend::Green, Some(1), &json!({}));
    scene.target("Rollback");
    let restored = deploy(Backend::Green, "v1");
    assert_eq!(scene.decide().actions, [Action::Scale { backend: Backend::Green, replicas: 5 }, restored]);
}
