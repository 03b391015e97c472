//! The CustomResourceDefinition against the types that it is made from: the chart has the generated one, both sides know
//! the same fields, values and defaults, and every rule has an object in `bad/` that it refuses.
//!
//! A file of `good/` or `bad/` has one object, or an object and what it is changed to; its status is written to the status
//! subresource. The first line of a bad one says how an API server refuses its last object: the field, and behind the
//! colon the end of the message about it. The cluster suite applies the same files; what needs no API server is checked
//! here, which is everything but whether a rule holds.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod example;
mod validator;

use example::Example;
use serde::Deserialize as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use turnout_controller::crd;
use turnout_rollout::{ModelRollout, Plan, RolloutSpec, RolloutStatus};

/// Files whose objects only the API server refuses. Everything else is refused by a local directory as well.
const ONLY_IN_A_CLUSTER: [&str; 12] = [
    "approval-of-no-revision",
    "attempt-falls",
    "blue-under-way",
    "controller-is-no-label",
    "green-under-way",
    "long-name",
    "managed-without-template",
    "mode-under-way",
    "revision-is-no-label",
    "rollback-of-no-revision",
    "route-under-way",
    "workload-later",
];

#[test]
fn the_charts_definition_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/turnout/files/modelrollout-crd.yaml");
    let generated = crd::yaml();
    if std::env::var_os("TURNOUT_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "{} is stale: write it anew as its first lines say", path.display());
    let read: Value = serde_yaml::from_str(&committed).unwrap();
    assert_eq!(read, crd::custom_resource_definition(), "what is read back");
}

#[test]
fn every_field_has_one_type_and_a_description_that_people_can_read() {
    let schema = schema();
    check_field("spec", &schema["properties"]["spec"]);
    check_field("status", &schema["properties"]["status"]);
}

fn check_field(path: &str, schema: &Value) {
    assert!(schema["type"].is_string(), "{path} has the type {}", schema["type"]);
    assert!(!path.starts_with("spec") || schema.get("pattern").is_none(), "{path}: an API server tells a bare pattern");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let description = property["description"].as_str().unwrap_or_default();
        assert!(!description.is_empty() && !description.contains("[`"), "{path}: {description:?}");
        check_field(&path, property);
    }
    if let Some(items) = schema.get("items") {
        check_field(&format!("{path}[]"), items);
    }
}

#[test]
fn the_schema_and_the_types_know_the_same_fields_and_values() {
    let schema = schema();
    for (path, round_trip) in
        [("spec", round_trip::<RolloutSpec> as fn(&Value) -> Value), ("status", round_trip::<RolloutStatus>)]
    {
        let schema = &schema["properties"][path];
        for variant in 0..validator::most_values(schema) {
            let whole = Example { variant, only_required: false }.of(schema);
            assert_eq!(validator::problems(schema, &whole), [""; 0], "{whole}");
            assert_eq!(round_trip(&whole), whole);
            let least = Example { variant, only_required: true }.of(schema);
            let written = round_trip(&least);
            assert_eq!(validator::problems(schema, &written), [""; 0], "{written}");
        }
    }
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_types() {
    let schema = &schema()["properties"]["spec"];
    let minimal = json!({
        "route": {"virtualService": "model"},
        "green": {"host": "model-svc-green"},
        "blue": {"host": "model-svc-blue"},
    });
    let mut more = minimal.clone();
    more["warmUp"] = json!({"path": "/score"});
    more["approval"] = json!({"revision": "v2", "stage": "Blue_50"});
    more["steps"] = json!([{"stage": "Blue_50", "require": [{"approval": {}}]}]);
    for spec in [minimal, more] {
        let mut filled = spec.clone();
        validator::fill_defaults(schema, &mut filled);
        assert_ne!(filled, spec);
        assert_eq!(filled, round_trip::<RolloutSpec>(&spec));
    }
}

#[test]
fn an_empty_status_is_accepted_and_no_field_of_it_is_invented() {
    let schema = &schema()["properties"]["status"];
    let mut empty = json!({});
    validator::fill_defaults(schema, &mut empty);
    assert_eq!(empty, json!({}));
    let written = serde_json::to_value(RolloutStatus::default()).unwrap();
    assert_eq!(validator::problems(schema, &written), [""; 0]);
}

#[test]
fn good_objects_are_accepted() {
    for file in files("good") {
        for object in &file.objects {
            assert_eq!(problems(object), [""; 0], "{}", file.name);
        }
    }
}

#[test]
fn bad_objects_are_refused_by_the_schema_or_by_a_rule_of_it() {
    let rules = rules();
    for file in files("bad") {
        let (name, refusal) = (&file.name, file.refusal());
        let (last, before) = file.objects.split_last().unwrap();
        assert!(before.iter().all(|object| problems(object).is_empty()), "{name}: what it is changed from is good");
        let is_form = rules.get(&broken_rule(refusal)).copied();
        let is_seen = validator::problems(&schema(), last).iter().any(|problem| problem == refusal);
        assert_eq!(is_seen, is_form.unwrap_or(true), "{name}: {refusal}");
        let locally =
            serde_json::from_value::<ModelRollout>(last.clone()).is_ok_and(|object| Plan::of(&object).is_ok());
        assert_eq!(locally, ONLY_IN_A_CLUSTER.contains(&file.name.as_str()), "{name} is accepted by a local directory");
    }
}

/// The other way round a pattern may be too narrow.
#[test]
fn a_webhooks_url_that_can_be_used_is_accepted() {
    let [minimal] = &files("good").into_iter().find(|file| file.name == "minimal").unwrap().objects[..] else {
        panic!()
    };
    for rest in ["", "/", "/a/b", ":8443", ":8443/a", "?x=me@there", "/?x=me@there", "/a@b", "#a@b", "?x=/"] {
        for host in
            ["https://a", "http://a.ns.svc.cluster.local.", "https://10.0.0.1", "https://[::1]", "https://[fd00::1]"]
        {
            let mut object = minimal.clone();
            let url = format!("{host}{rest}");
            object["spec"]["steps"] = json!([{"stage": "Blue_0", "require": [{"webhook": {"url": url}}]}]);
            assert_eq!(problems(&object), [""; 0], "{url}");
        }
    }
}

#[test]
fn every_rule_has_an_object_that_it_refuses() {
    let broken: BTreeSet<String> = files("bad").iter().map(|file| broken_rule(file.refusal())).collect();
    let idle: Vec<_> = rules().into_keys().filter(|rule| !broken.contains(rule)).collect();
    assert_eq!(idle, [""; 0]);
}

/// A file of `good/` or `bad/`.
struct File {
    name: String,
    first_line: String,
    objects: Vec<Value>,
}

impl File {
    fn refusal(&self) -> &str {
        self.first_line.strip_prefix("# refused: ").expect("the first line of a bad one says how it is refused")
    }
}

fn files(folder: &str) -> Vec<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crd").join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> File {
    let text = fs::read_to_string(path).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    let objects = documents.map(|document| Value::deserialize(document).unwrap()).collect();
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    File { name, first_line: text.lines().next().unwrap().to_owned(), objects }
}

/// All that is wrong with an object, except for what only a rule says.
fn problems(object: &Value) -> Vec<String> {
    let mut problems = validator::problems(&schema(), object);
    match serde_json::from_value::<ModelRollout>(object.clone()) {
        Ok(rollout) => problems.extend(Plan::of(&rollout).err().map(|invalid| invalid.to_string())),
        Err(error) => problems.push(error.to_string()),
    }
    problems
}

fn schema() -> Value {
    crd::custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take()
}

/// What an API server says of each rule that is broken; `[]` stands for the index of an entry. And whether it is about the
/// form of a text, which is checked here.
fn rules() -> BTreeMap<String, bool> {
    let mut rules = BTreeMap::new();
    collect_rules("", &schema(), &mut rules);
    assert!(!rules.is_empty());
    rules
}

fn collect_rules(path: &str, schema: &Value, rules: &mut BTreeMap<String, bool>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let field = format!("{path}{}", rule["fieldPath"].as_str().unwrap_or_default());
        let told = format!("{}: {}", field.trim_start_matches('.'), rule["message"].as_str().unwrap());
        rules.insert(told, validator::form(rule).is_some());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect_rules(&path, property, rules);
    }
    if let Some(items) = schema.get("items") {
        collect_rules(&format!("{path}[]"), items, rules);
    }
}

/// The refusal of a bad object, without the index of an entry, if a rule is broken.
fn broken_rule(refusal: &str) -> String {
    refusal.replace("[0]", "[]")
}

fn round_trip<T: Serialize + DeserializeOwned>(value: &Value) -> Value {
    let read: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"));
    serde_json::to_value(read).unwrap()
}
