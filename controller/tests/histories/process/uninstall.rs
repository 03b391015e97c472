//! An uninstall makes every controller stand still, for as long as it goes on and no longer.

use super::live;
use super::scene::{Fate, Scene};
use crate::api::store::Key;
use crate::world::cast::{App, MODELS, SYSTEM, published};
use serde_json::json;
use turnout_controller::lease::{self, ABANDONED};
use turnout_controller::names::GOVERNED_KEY;

const MARK: &str = "turnout.dev/uninstalling";

fn lease() -> Key {
    Key::new("leases", SYSTEM, "turnout-controller")
}

fn marks(scene: &Scene) -> [bool; 2] {
    [lease(), published()].map(|key| {
        let object = scene.object(&key);
        object.is_some_and(|object| object["metadata"]["annotations"][MARK].is_string())
    })
}

fn mark(scene: &Scene, key: &Key, present: bool) {
    let value = if present { json!("true") } else { json!(null) };
    scene.edit(key, |object| {
        json_patch::merge(object, &json!({"metadata": {"annotations": {MARK: value}}}));
    });
}

#[test]
fn an_uninstall_stops_who_leads_and_nobody_leads_after_it() {
    live(async |scene| {
        let both = scene.start_both().await;
        let removed = scene.clean_up().await.expect("nothing is in its way");
        assert_eq!(removed.len(), 2, "two twins: {removed:?}");
        assert!(both.iter().all(|one| !one.heart.is_leading()));
        scene.remove(&published());
        scene.minutes(4).await;
        assert_eq!(scene.object(&lease()), None);
        assert!(both.iter().all(|one| one.heart.is_live()));
    });
}

#[test]
fn an_uninstall_bars_while_it_lives_and_lets_a_controller_lead_again_when_it_is_given_up() {
    for has_gateway in [true, false] {
        live(async |scene| {
            scene.has_gateway(has_gateway);
            let both = scene.start_both().await;
            let mut uninstaller = scene.uninstaller();
            for key in [published(), lease()] {
                mark(scene, &key, true);
            }
            let nobody_leads = || both.iter().all(|one| !one.heart.is_leading());
            scene.until("nobody leads", nobody_leads).await;
            for _ in 0..10 * 30 {
                uninstaller.step().await.expect("the API server is there");
                scene.pause(lease::RETRY).await;
                assert!(nobody_leads() && (uninstaller.leads_until().is_some() || !has_gateway));
            }
            assert!(uninstaller.leads_until().is_some());
            scene.pause(ABANDONED / 2).await;
            assert!(nobody_leads() && marks(scene) == [true, true], "the Job may be tried again");
            scene.until("one leads", || !nobody_leads()).await;
            assert_eq!(marks(scene), [false, !has_gateway], "whose ConfigMap it is not is left alone");
            scene.until_rounds_go_on(usize::from(both[1].heart.is_leading())).await;
        });
    }
}

#[test]
fn a_mark_that_was_removed_by_hand_bars_no_more() {
    live(async |scene| {
        let both = scene.start_both().await;
        for key in [published(), lease()] {
            mark(scene, &key, true);
        }
        scene.until("nobody leads", || both.iter().all(|one| !one.heart.is_leading())).await;
        mark(scene, &published(), false);
        scene.until("one leads", || both.iter().any(|one| one.heart.is_leading())).await;
        assert_eq!(marks(scene), [false, false]);
        mark(scene, &lease(), true);
        scene.until("the mark is gone", || marks(scene) == [false, false]).await;
    });
}

#[test]
fn a_mark_that_an_uninstaller_left_on_the_routes_alone_does_not_stop_rounds_for_ever() {
    live(async |scene| {
        let [first, _second] = scene.start_both().await;
        mark(scene, &published(), true);
        scene.pause(ABANDONED / 2).await;
        assert_eq!(marks(scene), [false, true]);
        scene.until("the mark is gone", || marks(scene) == [false, false]).await;
        scene.until_rounds_go_on(0).await;
        assert!(first.heart.is_leading());
    });
}

#[test]
fn a_controller_that_is_installed_anew_leads_though_the_lease_was_left_behind() {
    live(async |scene| {
        scene.fate(|_, line| if line.starts_with("Delete leases") { Fate::Reset } else { Fate::Done });
        let [first, second] = scene.start_both().await;
        scene.clean_up().await.expect("that the lease stays is no failure");
        for one in [first, second] {
            one.stop();
            one.ended().await.expect("its Deployment is gone");
        }
        assert_eq!(marks(scene), [true, true]);
        scene.remove(&published());
        scene.put_routes();
        let began = tokio::time::Instant::now();
        let [_, _] = scene.start_both().await;
        assert!(began.elapsed() < ABANDONED, "it need not wait until the uninstall counts as given up");
        assert_eq!(marks(scene), [false, false]);
    });
}

#[test]
fn a_namespace_that_cannot_be_tidied_keeps_no_other_from_it() {
    live(async |scene| {
        let _both = scene.start_both().await;
        scene.fate(|_, line| if line.contains(" services gone/") { Fate::Forbidden } else { Fate::Done });
        let removed = scene.clean_up_of(&["gone", MODELS]).await.expect("nobody can tidy it any more");
        assert_eq!(removed.len(), 2, "two twins: {removed:?}");
        assert_eq!(scene.object(&lease()), None);
    });
}

/// Nothing waits for a controller that is gone: neither what it has made, nor what an earlier version of it has left.
#[test]
fn a_rollout_can_be_deleted_when_its_controller_is_gone_without_having_tidied_up() {
    live(async |scene| {
        let key = App(0).rollout();
        scene.edit(&key, |object| object["metadata"]["finalizers"] = json!(["turnout.dev/weights", "other"]));
        let [first, second] = scene.start_both().await;
        let finalizers = || scene.object(&key).map(|object| object["metadata"]["finalizers"].clone());
        scene.until("its own finalizer is gone", || finalizers() == Some(json!(["other"]))).await;
        scene.edit(&key, |object| object["metadata"]["finalizers"] = json!([]));
        let governs =
            || scene.object(&published()).is_some_and(|it| it["data"][GOVERNED_KEY].to_string().contains(MODELS));
        scene.until("it governs its rule", governs).await;
        for one in [first, second] {
            one.stop();
            one.ended().await.expect("it was told to");
        }
        scene.remove(&key);
        assert_eq!(scene.object(&key), None);
    });
}
