//! A failure stays where it is: what cannot be read or written of one namespace or rollout keeps nobody else waiting.

use super::scene::{Fate, Scene};
use super::{live, live_with};
use crate::api::store::Key;
use crate::world::Happening;
use crate::world::cast::{App, MODELS, published};
use serde_json::{Value, json};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;
use turnout_controller::names::GOVERNED_KEY;
use turnout_rollout::{Backend, ConditionStatus, ConditionType, Stage, Target};
use turnout_routes::documents::Document;
use turnout_routes::{Source, parse};

const OTHER: &str = "other";
/// So long a step may take beside a failure: a round that waits for one namespace or write once, and the next.
const SOON: Duration = Duration::from_secs(5);
/// So long a round may be idle: watches are not served here.
const IDLE: Duration = Duration::from_secs(15);

/// A rollout of the governed namespace goes from its start to a stage.
async fn reaches_blue_50(scene: &Scene, case: &str) {
    reaches_blue_50_within(SOON, scene, case).await;
}

async fn reaches_blue_50_within(limit: Duration, scene: &Scene, case: &str) {
    scene.happens(&Happening::Start(App(0), 2));
    let started = Instant::now();
    let to = Target::Stage(Stage::BLUE_50);
    let reached = || scene.status().history.iter().any(|step| step.to == to);
    while !reached() && started.elapsed() < limit {
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

/// A rollout of another namespace, beside its route and its Services, with this added to its spec.
fn put_another(scene: &Scene, added: &Value) {
    scene.governs_too(OTHER);
    let ports = json!([{"port": 5001}]);
    for name in ["g", "b"] {
        let service = json!({"metadata": {}, "spec": {"selector": {"app": name}, "ports": ports}});
        scene.put(&Key::new("services", OTHER, name), service);
        let endpoint = json!({"addresses": ["10.9.0.1"], "conditions": {"ready": true}});
        let labels = json!({"kubernetes.io/service-name": name});
        let slice =
            json!({"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": [endpoint], "ports": ports});
        scene.put(&Key::new("endpointslices", OTHER, name), slice);
    }
    let half = |host: &str| json!({"destination": {"host": host}, "weight": 50});
    let spec = json!({"hosts": ["m.example.com"], "http": [{"route": [half("g"), half("b")]}]});
    scene.put(&Key::new("virtualservices", OTHER, "model"), json!({"spec": spec}));
    let mut spec = json!({"route": {"virtualService": "model"}, "green": {"host": "g"}, "blue": {"host": "b"}});
    spec.as_object_mut().expect("it is one").extend(added.as_object().expect("it is one").clone());
    scene.put(&Key::new("modelrollouts", OTHER, "model"), json!({"spec": spec}));
}

/// A request of another namespace's rollout has this fate, and the rollout here goes on.
fn keeps_nobody_elsewhere(request: &'static str, fate: Fate, spec: &Value) {
    live(async |scene| {
        put_another(scene, spec);
        let asked_for = Rc::new(Cell::new(false));
        let seen = asked_for.clone();
        scene.fate(move |_, asked| {
            let is_it = asked.starts_with(request);
            seen.set(seen.get() || is_it);
            if is_it { fate } else { Fate::Done }
        });
        let [_first, _second] = scene.start_both().await;
        reaches_blue_50(scene, &format!("{request} {fate:?}")).await;
        assert!(asked_for.get(), "{request} {fate:?}");
    });
}

/// What is read for its own rollouts alone.
#[test]
fn a_namespace_whose_pods_or_routes_cannot_be_read_keeps_nobody_elsewhere() {
    for fate in [Fate::Forbidden, Fate::Hangs] {
        keeps_nobody_elsewhere("List pods other/", fate, &json!({}));
        keeps_nobody_elsewhere("Get virtualservices other/", fate, &json!({"mode": "Istio"}));
    }
}

/// A spec, but for what all have.
fn managed() -> Value {
    let probe = json!({"httpGet": {"path": "/", "port": 5001}});
    let ports = json!([{"containerPort": 5001}]);
    let containers = json!([{"name": "model", "image": "model:1", "ports": ports, "readinessProbe": probe}]);
    json!({"workload": "Managed", "template": {"spec": {"containers": containers}}})
}

/// Whatever is written there: a webhook of somebody else may hold it up for as long as it likes.
#[test]
fn a_namespace_that_takes_no_write_keeps_nobody_elsewhere() {
    let (gateway, istio, managed) = (json!({}), json!({"mode": "Istio", "revision": "2"}), managed());
    let cases = [
        (&gateway, "Replace modelrollouts/status other/"),
        (&gateway, "Create services other/"),
        (&istio, "JsonPatch virtualservices other/"),
        (&managed, "List controllerrevisions other/"),
        (&managed, "Create controllerrevisions other/"),
        (&managed, "Create deployments other/"),
    ];
    for (spec, request) in cases {
        for fate in [Fate::Forbidden, Fate::Hangs] {
            keeps_nobody_elsewhere(request, fate, spec);
        }
    }
}

/// What is published of that namespace stays whole: its rules, and where the Services are that these name.
#[test]
fn a_namespace_in_which_somebody_writes_all_the_time_keeps_nobody_elsewhere() {
    live(async |scene| {
        put_another(scene, &json!({}));
        let [route, service] =
            [("virtualservices", "model"), ("services", "extra")].map(|(kind, name)| Key::new(kind, OTHER, name));
        scene.put(&service, json!({"metadata": {}, "spec": {"selector": {"app": "extra"}, "ports": [{"port": 5001}]}}));
        let extra = json!({"match": [{"uri": {"prefix": "/extra"}}], "route": [{"destination": {"host": "extra"}}]});
        scene.edit(&route, |it| it["spec"]["http"].as_array_mut().expect("it has some").insert(0, extra));
        let [_first, _second] = scene.start_both().await;
        let publishes = |what: &str| {
            let published = scene.object(&published()).expect("it is published");
            published["data"]["routes.yaml"].as_str().is_some_and(|text| text.contains(what))
        };
        scene.until("the Service is published", || publishes("turnout-extra")).await;
        let writes = async {
            for number in 0.. {
                let annotations = json!({"note": number.to_string()});
                scene
                    .edit(&Key::new("modelrollouts", OTHER, "model"), |it| it["metadata"]["annotations"] = annotations);
                assert!(!publishes("/extra") || publishes("turnout-extra"), "a rule without its Service");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        scene.edit(&route, |it| drop(it["spec"]["http"].as_array_mut().expect("it has some").remove(0)));
        tokio::select! {
            // A round may have been idle before.
            () = reaches_blue_50_within(IDLE + SOON, scene, "") => {}
            () = writes => {}
        }
    });
}

/// A webhook that always takes longer than a round waits for it.
#[test]
fn what_is_written_slowly_is_written_in_the_end() {
    for request in ["Replace modelrollouts/status abtesting/", "Create services abtesting/"] {
        live(async |scene| {
            let asked_for = Rc::new(Cell::new(false));
            let seen = asked_for.clone();
            scene.fate(move |_, asked| {
                let is_it = asked.starts_with(request);
                seen.set(seen.get() || is_it);
                if is_it { Fate::Slow(Duration::from_millis(1_200)) } else { Fate::Done }
            });
            let [_first, _second] = scene.start_both().await;
            super::reaches_blue_50(scene).await;
            assert!(asked_for.get(), "{request}");
        });
    }
}

#[test]
fn a_managed_rollout_whose_template_cannot_be_kept_says_so() {
    live(async |scene| {
        put_another(scene, &managed());
        let request = "Create controllerrevisions other/";
        scene.fate(move |_, asked| if asked.starts_with(request) { Fate::Forbidden } else { Fate::Done });
        let [_first, _second] = scene.start_both().await;
        let status =
            || scene.object(&Key::new("modelrollouts", OTHER, "model")).expect("it is there")["status"].clone();
        scene
            .until("it is told", || status()["conditions"].to_string().contains("cannot create controllerrevisions"))
            .await;
        assert!(status()["candidate"].is_null(), "nobody acts on what was not kept: {}", status());
    });
}

#[test]
fn a_rollout_that_cannot_be_read_keeps_nobody_else_and_its_rule_unpublished() {
    live(async |scene| {
        put_another(scene, &json!({"stepz": []}));
        let [_first, _second] = scene.start_both().await;
        // Nothing fails, so that a round may have been idle before.
        reaches_blue_50_within(IDLE + SOON, scene, "").await;
        let published = scene.object(&published()).expect("it is published");
        let text = published["data"]["routes.yaml"].as_str().unwrap_or_default();
        assert!(text.contains("namespace: \"abtesting\"") && !text.contains("m.example.com"), "{text}");
    });
}

#[test]
fn a_rollout_whose_namespace_cannot_be_read_is_told_so_with_and_without_a_gateway() {
    for has_gateway in [true, false] {
        live(async |scene| {
            scene.has_gateway(has_gateway);
            scene.fate(|_, asked| if asked == "List services abtesting/" { Fate::Forbidden } else { Fate::Done });
            let [_first, _second] = scene.start_both().await;
            let told = || scene.status().condition(ConditionType::Operational).map(|it| it.reason.clone());
            scene.until(&format!("gateway {has_gateway}: it is told"), || told().as_deref() == Some("Forbidden")).await;
        });
    }
}

#[test]
fn what_all_share_and_cannot_be_read_is_told_at_once_in_every_namespace_that_can_be() {
    for fate in [Fate::Forbidden, Fate::Hangs] {
        live(async |scene| {
            scene.governs_too(OTHER);
            let [_first, _second] = scene.start_both().await;
            let of_other = format!("List modelrollouts {OTHER}/");
            let shared = "Get configmaps turnout-system/turnout-routes";
            scene.fate(move |_, asked| match asked {
                _ if asked == of_other => fate,
                _ if asked == shared => Fate::Forbidden,
                _ => Fate::Done,
            });
            let started = Instant::now();
            let told = || scene.status().condition(ConditionType::Operational).map(|it| it.reason.clone());
            scene.until("it is told", || told().as_deref() == Some("Forbidden")).await;
            // A round that is idle, and the one that fails.
            assert!(started.elapsed() < IDLE + SOON, "{fate:?}: {:?}", started.elapsed());
        });
    }
}

#[test]
fn events_that_nobody_takes_keep_no_rollout() {
    live(async |scene| {
        scene.fate(|_, asked| if asked.starts_with("Create events") { Fate::Hangs } else { Fate::Done });
        let [_first, _second] = scene.start_both().await;
        // Nothing fails, so that a round may have been idle before.
        reaches_blue_50_within(IDLE + SOON, scene, "").await;
    });
}

#[test]
fn a_rollout_that_was_left_in_a_namespace_whose_rights_went_first_keeps_no_other_one() {
    live(async |scene| {
        scene.governs_too(OTHER);
        let key = Key::new("modelrollouts", OTHER, "model");
        scene.put(
            &key,
            json!({"spec": {"route": {"virtualService": "model"}, "green": {"host": "g"}, "blue": {"host": "b"}}}),
        );
        let in_other = format!(" {OTHER}/");
        scene.fate(move |_, asked| if asked.contains(&in_other) { Fate::Forbidden } else { Fate::Done });
        let [_first, _second] = scene.start_both().await;
        scene.remove(&key);
        assert_eq!(scene.object(&key), None);
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

/// A rollout of another namespace governs the rule of the second model.
#[test]
fn a_rule_stays_as_it_is_published_while_its_rollout_in_another_namespace_cannot_be_read_whoever_leads() {
    for (kind, fate) in
        [("modelrollouts", Fate::Forbidden), ("modelrollouts", Fate::Hangs), ("services", Fate::Forbidden)]
    {
        live_with(2, async |scene| {
            scene.governs_too(OTHER);
            scene.is_told(|settings| settings.shared_route_namespaces = vec![MODELS.to_owned()]);
            let rank = App(1);
            let (abroad, of_rank) = (Key::new("modelrollouts", OTHER, "rank"), rank.rollout());
            let [green, blue] = Backend::BOTH.map(|backend| json!({"host": rank.host(backend)}));
            let route = json!({"virtualService": "rank", "namespace": MODELS});
            scene.remove(&of_rank);
            scene.put(&abroad, json!({"spec": {"route": route, "green": green, "blue": blue}}));
            let [first, second] = scene.start_both().await;
            let governs =
                || scene.object(&published()).is_some_and(|it| it["data"][GOVERNED_KEY].to_string().contains(OTHER));
            scene.until("it governs its rule", governs).await;
            let line = format!("List {kind} {OTHER}/");
            scene.fate(move |_, asked| if asked == line { fate } else { Fate::Done });
            first.stop();
            first.ended().await.expect("it was told to");
            scene.until("the second leads", || second.heart.is_leading()).await;
            let rule = || {
                let published = scene.object(&published()).expect("it is published");
                let text = published["data"]["routes.yaml"].as_str().unwrap_or_default().to_owned();
                let parsed =
                    parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).expect("gateways take it");
                let mut documents = parsed.documents.into_iter();
                documents.find(|it| matches!(it, Document::VirtualService(it) if it.metadata.name == "rank"))
            };
            let before = rule();
            assert!(before.is_some(), "{kind} {fate:?}");
            scene.edit(&rank.virtual_service(), |document| {
                document["spec"]["http"] = json!([{"route": [{"destination": {"host": rank.host(Backend::Blue)}}]}]);
            });
            reaches_blue_50(scene, &format!("{kind} {fate:?}")).await;
            assert_eq!(rule(), before, "{kind} {fate:?}");
        });
    }
}
