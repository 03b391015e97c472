//! Whole replicas, with lease, rounds and watches, against an API server that hangs, resets or is gone. One that does
//! nothing must not count as alive, nor keep the lease from the other one. The clock is tokio's, paused: it moves on when
//! nothing else can.

mod altered;
mod departing;
mod isolation;
mod mode;
mod scene;
mod tenancy;
mod uninstall;

use crate::world::Happening;
use crate::world::cast::App;
use scene::{Fate, Scene};
use turnout_rollout::{Backend, ConditionStatus, ConditionType, Stage, Target, WaitReason};

/// Lives in a scene with one model, on one thread.
fn live(test: impl AsyncFnOnce(&Scene)) {
    live_with(1, test);
}

fn live_with(models: usize, test: impl AsyncFnOnce(&Scene)) {
    live_in(&Scene::of(models), test);
}

fn live_in(scene: &Scene, test: impl AsyncFnOnce(&Scene)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            () = test(scene) => {}
            () = scene.serve() => {}
        }
    });
}

/// The first model's rollout goes from its start there.
async fn reaches_blue_50(scene: &Scene) {
    scene.happens(&Happening::Start(App(0), 2));
    let to = Target::Stage(Stage::BLUE_50);
    scene
        .until("Blue_50", || {
            scene.happens(&Happening::SomebodyDeploys(App(0), Backend::Blue, 2));
            scene.happens(&Happening::ClusterFollows);
            scene.happens(&Happening::Promote(App(0)));
            scene.status().history.iter().any(|step| step.to == to)
        })
        .await;
}

#[test]
fn a_round_that_panics_ends_the_process_and_the_other_one_leads() {
    live(async |scene| {
        let [first, second] = scene.start_both().await;
        scene.clock_panics(0, true);
        let error = first.ended().await.expect_err("it has failed");
        assert!(format!("{error:#}").starts_with("the rounds have ended: "), "{error:#}");
        assert_eq!(scene.holder(), None, "the lease is given back");
        scene.until("the second leads", || second.heart.is_leading()).await;
        scene.until_rounds_go_on(1).await;
    });
}

#[test]
fn a_leader_whose_rounds_never_end_ends_and_the_other_one_leads() {
    live(async |scene| {
        let [first, second] = scene.start_both().await;
        scene.pods_hang(0, true);
        let error = first.ended().await.expect_err("it has failed");
        assert_eq!(error.to_string(), "no round has ended for 150s");
        assert!(!first.heart.is_live());
        assert!(first.failed_rounds() >= 2, "each was given up, and the next one tried");
        assert_eq!(scene.holder(), None, "the lease is given back");
        scene.until("the second leads", || second.heart.is_leading()).await;
        scene.until_rounds_go_on(1).await;
    });
}

#[test]
fn a_round_that_is_slow_once_is_given_up_and_the_next_one_goes_on() {
    live(async |scene| {
        let [first, second] = scene.start_both().await;
        scene.pods_hang(0, true);
        let failed = first.failed_rounds();
        scene.until("it is given up", || first.failed_rounds() > failed).await;
        scene.pods_hang(0, false);
        scene.until_rounds_go_on(0).await;
        assert!(first.heart.is_live() && first.heart.is_leading() && !second.heart.is_leading());
    });
}

#[test]
fn a_list_that_hangs_is_said_and_changes_no_leader() {
    live(async |scene| {
        let [first, second] = scene.start_both().await;
        scene.fate(|_, line| if line.starts_with("List services") { Fate::Hangs } else { Fate::Done });
        let told = || {
            let status = scene.status();
            let condition = status.condition(ConditionType::Operational).cloned();
            condition.filter(|condition| condition.status == ConditionStatus::False).map(|condition| condition.message)
        };
        scene.until("it is said", || told().is_some()).await;
        let message = told().unwrap_or_default();
        assert!(message.contains("cannot list services in abtesting: no answer from the API server"), "{message}");
        scene.minutes(10).await;
        assert!(first.heart.is_live() && first.heart.is_leading() && !second.heart.is_leading());
        scene.fate(|_, _| Fate::Done);
        scene.until("it goes on", || told().is_none()).await;
    });
}

#[test]
fn a_leader_whose_renewal_hangs_stops_before_the_other_one_leads() {
    live(async |scene| {
        let [first, second] = scene.start_both().await;
        scene.fate(|from, line| if from == 0 && line.contains(" leases ") { Fate::Hangs } else { Fate::Done });
        scene.until("the second leads", || second.heart.is_leading()).await;
        let before = scene.requests_of(0);
        scene.until_rounds_go_on(1).await;
        scene.minutes(1).await;
        assert_eq!(scene.requests_of(0), before, "the first asks for nothing any more but the lease");
        scene.fate(|_, _| Fate::Done);
        scene.minutes(5).await;
        assert!(first.heart.is_live() && !first.heart.is_leading() && second.heart.is_leading());
    });
}

#[test]
fn connections_that_are_reset_at_each_request_end_the_lead_and_not_the_process() {
    live(async |scene| {
        let both = scene.start_both().await;
        scene.fate(|_, _| Fate::Reset);
        scene.until("nobody leads", || both.iter().all(|one| !one.heart.is_leading())).await;
        scene.fate(|_, _| Fate::Done);
        scene.until("one leads", || both.iter().any(|one| one.heart.is_leading())).await;
        assert!(both.iter().all(|one| one.heart.is_live()));
        scene.until_rounds_go_on(usize::from(both[1].heart.is_leading())).await;
    });
}

#[test]
fn an_api_server_that_is_gone_for_minutes_finds_them_again() {
    live(async |scene| {
        let both = scene.start_both().await;
        scene.fate(|_, _| Fate::Hangs);
        scene.until("nobody leads", || both.iter().all(|one| !one.heart.is_leading())).await;
        assert!(both.iter().all(|one| one.heart.is_live()), "a short while is no reason to restart");
        scene.minutes(10).await;
        assert!(both.iter().all(|one| !one.heart.is_live() && one.heart.is_ready()), "kubelet may restart them");
        scene.fate(|_, _| Fate::Done);
        scene.until("one leads", || both.iter().any(|one| one.heart.is_leading())).await;
        scene.until("both live", || both.iter().all(|one| one.heart.is_live())).await;
        let leaders = both.iter().filter(|one| one.heart.is_leading()).count();
        assert_eq!(leaders, 1);
        scene.until_rounds_go_on(usize::from(both[1].heart.is_leading())).await;
    });
}

#[test]
fn a_model_that_hangs_holds_no_round_up() {
    live(async |scene| {
        let [first, _second] = scene.start_both().await;
        scene.models_hang(true);
        scene.happens(&Happening::Start(App(0), 2));
        let waits_for_warm_up = || {
            scene.happens(&Happening::PipelineActs(App(0)));
            scene.happens(&Happening::ClusterFollows);
            scene.status().waiting.is_some_and(|waiting| waiting.reason == WaitReason::WarmUp)
        };
        scene.until("blue is to be warmed", waits_for_warm_up).await;
        scene.until_rounds_go_on(0).await;
        scene.minutes(3).await;
        assert!(first.heart.is_live() && first.heart.is_leading() && waits_for_warm_up());
        scene.fate(|_, line| if line.starts_with("List services") { Fate::Reset } else { Fate::Done });
        let failed = first.failed_rounds();
        scene.until("other things are seen meanwhile", || first.failed_rounds() > failed).await;
        scene.fate(|_, _| Fate::Done);
        // The next leader warms anew what the first one did not get done.
        first.stop();
        scene.models_hang(false);
        scene.until("blue is warm", || !waits_for_warm_up()).await;
    });
}

#[test]
fn whoever_is_told_to_stop_gives_the_lease_back() {
    live(async |scene| {
        let [first, second] = scene.start_both().await;
        first.stop();
        first.ended().await.expect("it was told to");
        assert_eq!(scene.holder(), None);
        scene.until("the second leads", || second.heart.is_leading()).await;
    });
}
