//! What is read from VirtualServices as they stand in clusters, and that a patch changes two numbers or nothing.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;
use crate::testing::rollout;
use proptest::prelude::*;

const GREEN: &str = "model-svc-green";
const BLUE: &str = "model-svc-blue";

/// A VirtualService `model` in the namespace `abtesting` with these rules.
fn service(http: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "model", "namespace": "abtesting", "resourceVersion": "7"},
        "spec": {"hosts": ["*"], "http": http},
    })
}

fn entry(host: &str, weight: u32) -> Value {
    json!({"destination": {"host": host}, "weight": weight})
}

fn named(name: &str, route: &[Value]) -> Value {
    json!({"name": name, "route": route})
}

fn weights(green: u32, blue: u32) -> Weights {
    Weights { green, blue }
}

fn apply(object: &Value, operations: &Value) -> Result<Value, json_patch::PatchError> {
    let patch: json_patch::Patch = serde_json::from_value(operations.clone()).unwrap();
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch)?;
    Ok(patched)
}

#[test]
fn an_absent_weight_is_0_beside_another_destination() {
    let check = |green: Value, blue: Value, expected: Weights| {
        let route = [("model-svc-green", green), ("model-svc-blue", blue)].map(|(host, weight)| {
            let mut entry = json!({"destination": {"host": host}});
            if weight != json!("absent") {
                entry["weight"] = weight;
            }
            entry
        });
        for (first, second) in [(0, 1), (1, 0)] {
            let object = service(&json!([named("a", &[route[first].clone(), route[second].clone()])]));
            assert_eq!(observe(&object, &rollout(json!({}))), Ok(expected), "{object}");
        }
    };
    check(json!(70), json!(30), weights(70, 30));
    check(json!(1), json!(2_147_483_647), weights(1, 2_147_483_647));
    check(json!(100), json!("absent"), weights(100, 0));
    check(json!("absent"), json!(100), weights(0, 100));
    check(json!(null), json!(5), weights(0, 5));
    check(json!(-5), json!(5), weights(0, 5));
    check(json!("absent"), json!("absent"), weights(0, 0));
}

#[test]
fn a_backend_is_told_by_host_subset_and_port() {
    let check = |destination: Value, backend: Value, expected: bool| {
        let object =
            service(&json!([named("a", &[json!({"destination": destination, "weight": 1}), entry("other", 1)])]));
        let found = observe(&object, &rollout(json!({"green": backend, "blue": {"host": "other"}})));
        assert_eq!(found.is_ok(), expected, "{destination}: {found:?}");
    };
    check(json!({"host": "m"}), json!({"host": "m"}), true);
    check(json!({"host": "m"}), json!({"host": "M.abtesting.svc.cluster.local"}), true);
    check(json!({"host": "m.abtesting.svc.cluster.local"}), json!({"host": "m"}), true);
    check(json!({"host": "m.elsewhere.svc.cluster.local"}), json!({"host": "m"}), false);
    check(json!({"host": "m", "port": {"number": 80}}), json!({"host": "m"}), true);
    check(json!({"host": "m", "port": {"number": 80}}), json!({"host": "m", "port": 80}), true);
    check(json!({"host": "m", "port": {"number": 80}}), json!({"host": "m", "port": 81}), false);
    check(json!({"host": "m"}), json!({"host": "m", "port": 80}), false);
    check(json!({"host": "m", "subset": "a"}), json!({"host": "m", "subset": "a"}), true);
    check(json!({"host": "m", "subset": "a"}), json!({"host": "m", "subset": "b"}), false);
    check(json!({"host": "m", "subset": "a"}), json!({"host": "m"}), false);
    check(json!({"host": "m", "subset": ""}), json!({"host": "m"}), true);
    check(json!({"subset": "a"}), json!({"host": "m"}), false);
    check(json!("m"), json!({"host": "m"}), false);
}

#[test]
fn a_rule_that_is_not_exactly_the_split_is_refused_in_the_words_of_a_published_one() {
    let split = |name| named(name, &[entry(GREEN, 9), entry(BLUE, 1)]);
    let route = |http: &str| json!({"route": {"virtualService": "model", "http": http}});
    let check = |http: Value, spec: Value, expected: &str| {
        let rollout = rollout(spec);
        let object = service(&http);
        let error = observe(&object, &rollout).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(patch(&object, &rollout, weights(50, 50)), Err(error.clone()));
        assert_eq!(governed_rule(&object, &rollout), Err(error));
    };
    let both = "split between green (model-svc-green) and blue (model-svc-blue)";
    let neither = "as its only two destinations: correct spec.green, spec.blue or the rule";
    let found = |found: &str| format!("VirtualService abtesting/model spec.http[0] does not {both}: it has {found}");
    let none = format!("VirtualService abtesting/model has 0 http rules that {both}, {neither}");
    check(
        json!([split("a")]),
        json!({"route": {"virtualService": "other"}}),
        "VirtualService abtesting/other is not among the documents: \
         correct spec.route.virtualService or spec.route.namespace",
    );
    check(
        json!([split("a"), split("b"), split("b")]),
        route("b"),
        "VirtualService abtesting/model has 2 http rules named `b`: spec.route.http must name exactly one",
    );
    check(
        json!([split("a"), split("b")]),
        json!({}),
        &format!("VirtualService abtesting/model has 2 http rules that {both}: name one of them in spec.route.http"),
    );
    check(json!([named("a", &[entry(GREEN, 1)])]), json!({}), &none);
    check(json!("no list"), json!({}), &none);
    check(
        json!([named("a", &[json!({"destination": {"host": GREEN, "port": {"number": 80}}})])]),
        route("a"),
        &found("model-svc-green:80"),
    );
    let subset = json!({"destination": {"host": BLUE, "subset": "s"}});
    check(
        json!([named("a", &[entry(GREEN, 1), subset, entry("c", 1)])]),
        route("a"),
        &found("model-svc-green and model-svc-blue subset s and c"),
    );
    for other in ["redirect", "directResponse", "delegate"] {
        let mut rule = split("a");
        rule[other] = json!({"any": "thing"});
        check(json!([rule]), route("a"), &found("no destinations"));
    }
}

#[test]
fn a_governed_rule_is_told_by_its_place() {
    let split = |name| named(name, &[entry(GREEN, 9), entry(BLUE, 1)]);
    let object = service(&json!([split("a"), split("b")]));
    let rollout = rollout(json!({"route": {"virtualService": "model", "http": "b"}}));
    assert_eq!(governed_rule(&object, &rollout).unwrap(), "VirtualService abtesting/model spec.http[1]");
}

#[test]
fn a_patch_pins_the_rule_and_names_only_weights_that_differ() {
    let first = json!({"match": [{"uri": {"prefix": "/score"}}], "route": [entry(BLUE, 0)]});
    let check = |route: Value, wanted, expected: Value| {
        let rule = json!({"name": "a", "route": route});
        let object = service(&json!([first, rule]));
        let operations = patch(&object, &rollout(json!({})), wanted).unwrap();
        let expected = expected.as_array().map(|changes| {
            let mut operations = vec![json!({"op": "test", "path": "/spec/http/1", "value": rule})];
            operations.extend(changes.iter().cloned());
            Value::Array(operations)
        });
        assert_eq!(operations, expected, "{rule}");
    };
    let change = |op: &str, position: u32, value: u32| json!({"op": op, "path": format!("/spec/http/1/route/{position}/weight"), "value": value});
    let bare = |host: &str| json!({"destination": {"host": host}});
    let (green, blue) = (entry(GREEN, 70), entry(BLUE, 30));
    check(json!([green, blue]), weights(70, 30), json!(null));
    check(json!([green, blue]), weights(50, 50), json!([change("replace", 0, 50), change("replace", 1, 50)]));
    check(json!([blue, green]), weights(0, 100), json!([change("replace", 1, 0), change("replace", 0, 100)]));
    check(json!([green, blue]), weights(0, 30), json!([change("replace", 0, 0)]));
    check(json!([green, bare(BLUE)]), weights(70, 0), json!(null));
    check(json!([bare(GREEN), bare(BLUE)]), weights(50, 50), json!([change("add", 0, 50), change("add", 1, 50)]));
    let refused = json!({"destination": {"host": BLUE}, "weight": -5});
    check(json!([green, refused]), weights(70, 0), json!([change("replace", 1, 0)]));
}

#[test]
fn what_go_spells_differently_is_not_compared_and_all_beside_it_is() {
    let check = |value: Value, expected: &[(&str, Value)]| {
        let expected: Vec<_> =
            expected.iter().map(|(path, value)| json!({"op": "test", "path": path, "value": value})).collect();
        assert_eq!(pin::tests(&value, ""), expected, "{value}");
    };
    for alike in [
        json!({"a": [1, -1, true, {}], "b": {"c": "\"\\/ ü \u{1F600} `~!@#$%^*()_+-={}[]|:;',.?"}}),
        json!(2_147_483_647),
        json!({"<": {"&": ""}}),
    ] {
        check(alike.clone(), &[("", alike)]);
    }
    for other in [
        json!(0.1),
        json!(1e-7),
        json!(null),
        json!("(?P<a>.)"),
        json!("a>b"),
        json!("a&b"),
        json!("a\nb"),
        json!("\u{8}"),
        json!("\u{2028}"),
        json!("\u{2029}"),
    ] {
        check(other.clone(), &[]);
        check(json!({"a/b~c": [other, 1], "d": {"e": "f"}}), &[("/a~1b~0c/1", json!(1)), ("/d", json!({"e": "f"}))]);
    }
}

/// A random VirtualService whose one split is at a random place among foreign rules.
#[derive(Clone, Debug)]
struct Scene {
    object: Value,
    index: usize,
    /// Which entry of the route is green.
    green: usize,
}

impl Scene {
    fn route(&mut self) -> &mut Value {
        &mut self.object["spec"]["http"][self.index]["route"]
    }
}

/// Anything that a document may hold, with the characters that are written in more than one way.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-z<>&/~ü\\n\"\\\\]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[x-z/~<]{1,2}", inner, 0..3).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// A rule of somebody else: it may be anything but the split.
fn foreign_rule() -> impl Strategy<Value = Value> {
    prop_oneof![
        anything(),
        (anything(), 0..200u32).prop_map(|(found, weight)| json!({"match": found, "route": [entry(GREEN, weight)]})),
        anything()
            .prop_map(|found| json!({"redirect": found, "route": [entry(GREEN, 1), entry(BLUE, 1)]}))
            .prop_filter("a redirect", |rule| !rule["redirect"].is_null()),
    ]
}

fn split_entry(host: &'static str) -> impl Strategy<Value = Value> {
    (prop::option::of(0..200u32), prop::option::of(anything())).prop_map(move |(weight, headers)| {
        let mut entry = json!({});
        if let Some(headers) = headers {
            entry["headers"] = headers;
        }
        entry["destination"] = json!({"host": host, "port": {"number": 5001}});
        if let Some(weight) = weight {
            entry["weight"] = weight.into();
        }
        entry
    })
}

fn scene() -> impl Strategy<Value = Scene> {
    let split = (split_entry(GREEN), split_entry(BLUE), 0..2usize, anything(), anything());
    let foreign = || prop::collection::vec(foreign_rule(), 0..3);
    (split, foreign(), foreign(), anything(), anything()).prop_map(|(split, before, after, annotations, tls)| {
        let (green, blue, position, found, retries) = split;
        let route = if position == 0 { json!([green, blue]) } else { json!([blue, green]) };
        let index = before.len();
        let mut http = before;
        http.push(json!({"match": found, "route": route, "retries": retries}));
        http.extend(after);
        let mut object = service(&Value::Array(http));
        object["metadata"]["annotations"] = annotations;
        object["spec"]["tls"] = tls;
        Scene { object, index, green: position }
    })
}

fn wanted() -> impl Strategy<Value = Weights> {
    (0..=100u32).prop_map(|blue| weights(100 - blue, blue))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn only_the_two_weights_change_and_the_rest_stays_byte_for_byte(scene in scene(), wanted in wanted()) {
        let rollout = rollout(json!({}));
        let mut scene = scene;
        let patched = match patch(&scene.object, &rollout, wanted).unwrap() {
            Some(operations) => apply(&scene.object, &operations).unwrap(),
            None => scene.object.clone(),
        };
        prop_assert_eq!(observe(&patched, &rollout), Ok(wanted));
        prop_assert_eq!(patch(&patched, &rollout, wanted), Ok(None));
        let green = scene.green;
        for (position, weight) in [(green, wanted.green), (1 - green, wanted.blue)] {
            let entry = &mut scene.route()[position];
            if weight != 0 || entry.get("weight").is_some() {
                entry["weight"] = weight.into();
            }
        }
        prop_assert_eq!(patched.to_string(), scene.object.to_string());
    }

    #[test]
    fn a_patch_fails_where_its_rule_has_changed_or_moved(scene in scene(), pick in any::<prop::sample::Index>()) {
        let Some(operations) = patch(&scene.object, &rollout(json!({})), weights(201, 202)).unwrap() else {
            panic!("no scene has these weights");
        };
        let tests: Vec<_> = operations.as_array().unwrap().iter().filter(|one| one["op"] == "test").collect();
        let mut changed = scene.object.clone();
        *changed.pointer_mut(pick.get(&tests)["path"].as_str().unwrap()).unwrap() = json!("changed");
        prop_assert!(apply(&changed, &operations).is_err());
        let mut moved = scene.object.clone();
        moved["spec"]["http"].as_array_mut().unwrap().insert(0, json!({"route": [entry(GREEN, 1)]}));
        prop_assert!(apply(&moved, &operations).is_err());
        let mut gone = scene.object;
        gone["spec"]["http"].as_array_mut().unwrap().remove(scene.index);
        prop_assert!(apply(&gone, &operations).is_err());
    }

    #[test]
    fn changes_elsewhere_are_no_conflict(scene in scene(), other in anything(), wanted in wanted()) {
        let rollout = rollout(json!({}));
        let Some(operations) = patch(&scene.object, &rollout, wanted).unwrap() else {
            return Ok(());
        };
        let mut changed = scene.object;
        changed["metadata"]["resourceVersion"] = json!("8");
        changed["metadata"]["annotations"] = other.clone();
        changed["spec"]["tls"] = other.clone();
        changed["spec"]["http"].as_array_mut().unwrap().push(json!({"match": other, "route": [entry(GREEN, 1)]}));
        prop_assert_eq!(observe(&apply(&changed, &operations).unwrap(), &rollout), Ok(wanted));
    }

    #[test]
    fn anything_else_is_refused_and_never_panics(object in anything(), http in anything(), spec in anything()) {
        let rollout = rollout(json!({}));
        let mut odd = service(&http);
        prop_assert!(observe(&odd, &rollout).is_err());
        odd["spec"] = spec;
        prop_assert!(observe(&odd, &rollout).is_err());
        prop_assert!(observe(&object, &rollout).is_err());
    }
}
