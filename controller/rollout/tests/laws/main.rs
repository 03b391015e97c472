//! The laws of a rollout as properties: random histories of a small world, with fixed seeds. After every step no law is
//! broken as gateways see it, and when the disturbances end the rollout arrives where it is wanted.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod counting;
mod world;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use serde_json::{Value, json};
use std::cell::RefCell;
use turnout_rollout::{Backend, ModelRollout, Stage, Target};
use world::{Happening, Seen, World};

const HISTORIES: u32 = 7000;
/// Five stages with a new attempt after a rollback take fewer.
const ROUNDS_TO_REST: usize = 100;

/// How a history begins.
#[derive(Clone, Debug)]
struct Beginning {
    spec: Value,
    /// What green serves already.
    green: Option<u8>,
}

fn beginning() -> impl Strategy<Value = Beginning> {
    let asking = json!([{"webhook": {"url": "https://a/allow"}}]);
    let require = prop_oneof![
        2 => Just(json!([])),
        2 => Just(json!([{"approval": {}}])),
        2 => (1u64..90).prop_map(|seconds| json!([{"pause": format!("{seconds}s")}])),
        1 => (1u64..90).prop_map(|seconds| json!([{"pause": format!("{seconds}s")}, {"approval": {}}])),
        4 => Just(asking.clone()),
        4 => Just(json!([{"verdict": {"failures": {}}}])),
    ];
    let required = vec(option::weighted(0.8, require), 4);
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), required, option::weighted(0.8, 0u8..3)).prop_map(
        move |(managed, rollback, warm_up, many, required, green)| {
            let mut spec = json!({
                "route": {"virtualService": "model"},
                "green": {"host": "green"},
                "blue": {"host": "blue"},
                "revision": "v1",
                "workload": if managed { "Managed" } else { "External" },
                "onBackendLoss": if rollback { "Rollback" } else { "Hold" },
                "onFailure": if rollback { "Rollback" } else { "Hold" },
            });
            if warm_up {
                spec["warmUp"] = json!({"path": "/score"});
            }
            let stages = ["Blue_0", "Blue_50", "Blue_100", "Blue_Green"];
            let is_verdict =
                |require: &Option<Value>| require.as_ref().is_some_and(|it| it[0].get("verdict").is_some());
            let is_split_judged = is_verdict(&required[1]);
            let mut steps: Vec<Value> = stages
                .iter()
                .zip(required)
                .map(|(stage, require)| {
                    // Nothing is split but at Blue_50, which is asked before the later ones.
                    let is_shown = *stage == "Blue_50" || *stage != "Blue_0" && is_split_judged;
                    let require = if is_verdict(&require) && !is_shown { Some(asking.clone()) } else { require };
                    require.map_or(json!({"stage": stage}), |it| json!({"stage": stage, "require": it}))
                })
                .collect();
            if many {
                steps.insert(1, json!({"stage": "Blue_0.5"}));
            }
            spec["steps"] = json!(steps);
            Beginning { spec, green }
        },
    )
}

fn target() -> impl Strategy<Value = Option<Target>> {
    let stage = |name: &str| Target::Stage(name.parse().unwrap());
    prop_oneof![
        4 => Just(None),
        1 => Just(Some(stage("Blue_0"))),
        2 => Just(Some(stage("Blue_50"))),
        1 => Just(Some(stage("Blue_100"))),
        1 => Just(Some(stage("Blue_Green"))),
        1 => Just(Some(stage("Green_100"))),
        1 => Just(Some(Target::Rollback)),
    ]
}

fn backend() -> impl Strategy<Value = Backend> {
    prop_oneof![Just(Backend::Green), Just(Backend::Blue)]
}

/// Rounds of the driver are most of it: else nothing gets far enough to be disturbed.
fn happening() -> impl Strategy<Value = Happening> {
    let round = (prop_oneof![3 => Just(usize::MAX), 2 => 0usize..4], any::<bool>());
    prop_oneof![
        40 => round.prop_map(|(crash_after, gateways_follow)| Happening::Round { crash_after, gateways_follow }),
        10 => (0usize..3).prop_map(Happening::GatewayFollows),
        2 => (0usize..3).prop_map(Happening::GatewayRestarts),
        1 => Just(Happening::GatewayJoins),
        1 => (0usize..3).prop_map(Happening::GatewayLeaves),
        2 => (0usize..3, prop::bool::weighted(0.3)).prop_map(|(gateway, refuses)| Happening::GatewayRefuses(gateway, refuses)),
        4 => (0usize..3, option::weighted(0.3, backend())).prop_map(|(gateway, pinned)| Happening::Requests { gateway, pinned }),
        8 => (0usize..3).prop_map(Happening::RequestsEnd),
        22 => (0usize..3, prop::bool::weighted(0.8)).prop_map(|(gateway, fails)| Happening::Counts { gateway, fails }),
        5 => backend().prop_map(Happening::PodsDie),
        14 => backend().prop_map(Happening::PodsStart),
        6 => (1u64..60).prop_map(Happening::SecondsPass),
        1 => Just(Happening::DocumentsChange),
        1 => (0u32..=100).prop_map(Happening::SomebodyPublishes),
        1 => (0u8..4).prop_map(Happening::SomebodyReplacesBlue),
        12 => Just(Happening::PipelineActs),
        10 => Just(Happening::Promote),
        1 => Just(Happening::PromoteTo(Stage::BLUE_100)),
        2 => target().prop_map(Happening::Retarget),
        2 => prop::bool::weighted(0.3).prop_map(Happening::Pause),
        1 => Just(Happening::RollBack),
        8 => prop_oneof![2 => Just(200u16), 1 => Just(202), 3 => Just(403), 1 => Just(503)].prop_map(Happening::WebhookSays),
        2 => (0u8..4).prop_map(Happening::Start),
        1 => option::weighted(0.8, 0u8..4).prop_map(Happening::Revision),
        1 => Just(Happening::Attempt),
        1 => prop_oneof![Just(vec!["Blue_50"]), Just(vec!["Blue_0.5", "Blue_50"]), Just(vec![])].prop_map(Happening::Steps),
    ]
}

fn rollout(spec: &Value) -> ModelRollout {
    let object = json!({
        "apiVersion": "turnout.dev/v1alpha1", "kind": "ModelRollout", "metadata": {"name": "model"}, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn live(beginning: &Beginning, history: &[Happening]) -> Result<Seen, String> {
    let mut world = World::new(rollout(&beginning.spec), beginning.green);
    for (step, happening) in history.iter().enumerate() {
        world.happens(happening).map_err(|broken| format!("step {step}, {happening:?}: {broken}"))?;
    }
    world.calm_down(ROUNDS_TO_REST)?;
    world.check_end()?;
    Ok(world.seen)
}

/// Lives many histories and adds up what they have shown.
fn live_many(seed: u64, histories: u32) -> Seen {
    let config =
        Config { cases: histories, failure_persistence: None, rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let total = RefCell::new(Seen::default());
    let result = TestRunner::new(config).run(&(beginning(), vec(happening(), 1..200)), |(beginning, history)| {
        let seen = live(&beginning, &history).map_err(TestCaseError::fail)?;
        let mut total = total.borrow_mut();
        total.reached.extend(seen.reached);
        total.removed += seen.removed;
        total.replaced += seen.replaced;
        total.weights_moved += seen.weights_moved;
        total.crashes += seen.crashes;
        total.approvals += seen.approvals;
        total.promotions += seen.promotions;
        total.webhooks += seen.webhooks;
        total.refusals += seen.refusals;
        total.verdicts += seen.verdicts;
        total.failed_verdicts += seen.failed_verdicts;
        total.pauses += seen.pauses;
        total.automatic_rollbacks += seen.automatic_rollbacks;
        total.superseded += seen.superseded;
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    total.into_inner()
}

#[test]
fn no_history_breaks_a_law_and_every_history_arrives() {
    let seen = live_many(20_260_101, HISTORIES);
    for stage in ["Blue_0", "Blue_0.5", "Blue_50", "Blue_100", "Blue_Green", "Green_100", "Rollback"] {
        assert!(seen.reached.contains(stage), "no history reaches {stage}: {seen:?}");
    }
    let counts = [
        ("removals", seen.removed),
        ("replacements", seen.replaced),
        ("moved weights", seen.weights_moved),
        ("crashes", seen.crashes),
        ("approvals", seen.approvals),
        ("promotions", seen.promotions),
        ("webhooks", seen.webhooks),
        ("refusals of webhooks", seen.refusals),
        ("verdicts", seen.verdicts),
        ("verdicts that fail", seen.failed_verdicts),
        ("pauses", seen.pauses),
        ("automatic rollbacks", seen.automatic_rollbacks),
        ("superseded rollouts", seen.superseded),
    ];
    for (what, count) in counts {
        assert!(count >= 100, "the histories show only {count} {what}");
    }
}
