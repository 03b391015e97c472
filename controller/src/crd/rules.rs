//! What the API server checks beyond types and bounds, as rules of the Common Expression Language: how fields agree with
//! each other, and which may not change and when. [`Plan::of`](turnout_rollout::Plan::of) checks the first kind, too, for
//! a local directory and for objects that are older than a rule.
//!
//! An API server estimates what a rule costs at most and refuses a dear one. It knows no bound of an optional value
//! (`self.?x`) nor of a text that is put together, so the rules do without them.

use super::field;
use serde_json::{Value, json};

/// A rule about one field.
struct Rule {
    /// The field that it reads: its `self`.
    at: &'static str,
    /// The expression, true where all is well. One that reads `oldSelf` is about a change.
    expression: String,
    /// What is wrong where it is not, and what to do.
    message: &'static str,
    /// The field that is to blame, below `at`.
    blames: &'static str,
    /// It is not the value that is wrong, but that it changes.
    forbids: bool,
}

/// The fields that a rollout under way depends on. The weights of one rule and the pods of one pair of backends are what
/// it has moved so far: with others it would go on from a place where it has never been. Between rollouts, and while it
/// stands still because its rule is not to be found, they may be corrected.
const UNCHANGED_UNDER_WAY: [&str; 4] = [".spec.route", ".spec.green", ".spec.blue", ".spec.mode"];

/// The texts that users write in a form of their own, and what may be written. Each has a pattern, which an API server would
/// tell as it stands.
const FORMS: [(&str, &str); 8] = [
    ("spec.controller", LABEL),
    ("spec.revision", LABEL),
    ("spec.rollbackOf", LABEL),
    ("spec.approval.revision", LABEL),
    ("spec.approval.stage", STAGE),
    ("spec.steps[].stage", STAGE),
    ("spec.steps[].require[].pause", "is no duration: write 90s, 10m or 1h30m"),
    ("spec.steps[].require[].webhook.url", "cannot be used: write https://HOST/PATH, without a user"),
];
const LABEL: &str = "write letters and digits, and between them also -, _ and .";
const STAGE: &str = "is no stage: write Blue_0, Blue_<percent of blue, as 5 or 0.5>, Blue_100, Blue_Green or Green_100";

/// Adds the rules to the schema of the whole object.
pub(super) fn add(schema: &mut Value) {
    for (path, message) in FORMS {
        let field = field(schema, path);
        let pattern = field.as_object_mut().and_then(|field| field.remove("pattern"));
        let Some(Value::String(pattern)) = pattern else { panic!("{path} has a pattern") };
        push(field, json!({"rule": format!("self.matches('{pattern}')"), "message": message}));
    }
    let under_way = UNCHANGED_UNDER_WAY.map(unchanged_under_way);
    let all = plan().into_iter().chain(workloads()).chain(under_way).chain([unchanged_workload()]);
    for Rule { at, expression, message, blames, forbids } in all {
        let mut validation = json!({"rule": expression, "message": message});
        if !blames.is_empty() {
            validation["fieldPath"] = json!(blames);
        }
        if forbids {
            validation["reason"] = json!("FieldValueForbidden");
        }
        push(field(schema, at), validation);
    }
}

fn push(field: &mut Value, validation: Value) {
    match &mut field["x-kubernetes-validations"] {
        Value::Array(validations) => validations.push(validation),
        absent => *absent = json!([validation]),
    }
}

/// Where the rollout goes, and what it passes on its way.
fn plan() -> [Rule; 7] {
    [
        value(
            "spec.steps",
            // A text that is no stage has no place in their order.
            "!self.all(step, step.stage.matches('^(Blue_[0-9]+([.][0-9]+)?|Blue_Green|Green_100)$')) || \
             self.map(step, step.stage == 'Blue_Green' ? 101.0 : step.stage == 'Green_100' ? 102.0 : \
             double(step.stage.substring(5))).isSorted()",
            "write the stages in their order",
            "",
        ),
        value(
            "spec.steps[]",
            "self.stage != 'Green_100' || !has(self.require)",
            "Green_100 is the last stage and is never left: remove it",
            ".require",
        ),
        value(
            "spec.steps[].require[]",
            "[has(self.approval), has(self.pause), has(self.webhook), has(self.verdict), has(self.absolute), \
             has(self.comparison)].exists_one(is_there, is_there)",
            "write exactly one of approval, pause, webhook, verdict, absolute and comparison",
            "",
        ),
        value(
            "spec",
            "!has(self.verdicts) || !has(self.steps)",
            "takes the place of spec.steps: write one of the two",
            ".verdicts",
        ),
        value("spec.warmUp", "self.path.startsWith('/')", "must start with /", ".path"),
        value(
            "spec",
            &format!(
                "self.green.host != self.blue.host || {} || {}",
                differ("self.green.subset", "self.blue.subset"),
                differ("self.green.port", "self.blue.port")
            ),
            "is the same destination as spec.green: they must differ in host, subset or port",
            ".blue",
        ),
        value(
            "spec",
            &format!(
                "!has(self.target) || self.target in ['Blue_0', 'Blue_100', 'Blue_Green', 'Green_100', 'Rollback'] || \
                 (has(self.stages) ? self.target.matches('^Blue_[1-9][0-9]?$') : {IS_LISTED})"
            ),
            "is not a stage of this rollout: write Blue_0, one of spec.steps, Blue_100, Blue_Green, Green_100 or Rollback",
            ".target",
        ),
    ]
}

/// What is rolled out, and who makes its pods.
fn workloads() -> [Rule; 4] {
    [
        value(
            "spec",
            "self.workload == 'Managed' || !has(self.template)",
            "is only for workload Managed: remove it, or change spec.workload",
            ".template",
        ),
        value(
            "spec",
            "self.workload != 'Managed' || has(self.template)",
            "workload Managed needs spec.template, from which the pods are made",
            ".template",
        ),
        value(
            "spec",
            "self.workload == 'Managed' || !has(self.replicas)",
            "is only for workload Managed: remove it, or change spec.workload",
            ".replicas",
        ),
        // An approval names an attempt: one that came back would find it given.
        value(
            "spec",
            &format!("self.attempt >= oldSelf.attempt || {}", differ("self.revision", "oldSelf.revision")),
            "cannot fall while spec.revision stays: raise it to try the same revision again",
            ".attempt",
        ),
    ]
}

fn value(at: &'static str, expression: &str, message: &'static str, blames: &'static str) -> Rule {
    Rule { at, expression: expression.to_owned(), message, blames, forbids: false }
}

/// Two fields, either of which may be absent, are not the same.
fn differ(one: &str, other: &str) -> String {
    format!("has({one}) != has({other}) || (has({one}) && {one} != {other})")
}

/// The target is one of the steps, which are only `Blue_50` if absent, and `Blue_90` where evidence leads.
const IS_LISTED: &str = "has(self.steps) ? self.steps.exists(step, step.stage == self.target) : \
     self.target == 'Blue_50' || (has(self.verdicts) && self.target == 'Blue_90')";

fn unchanged_under_way(path: &'static str) -> Rule {
    Rule {
        at: "",
        expression: format!(
            "self{path} == oldSelf{path} || !has(oldSelf.status) || !has(oldSelf.status.phase) || \
             oldSelf.status.phase in ['Idle', 'Invalid', 'Complete', 'RolledBack']"
        ),
        message: "cannot change while a rollout is under way: wait until it is complete or rolled back",
        blames: path,
        forbids: true,
    }
}

/// Pods belong to whoever made them, and the stable template is stored only where the controller did.
fn unchanged_workload() -> Rule {
    Rule {
        at: "",
        expression: "self.spec.workload == oldSelf.spec.workload || !has(oldSelf.status) || \
               !(has(oldSelf.status.stage) || has(oldSelf.status.movingTo))"
            .to_owned(),
        message: "cannot change once something was rolled out: delete the rollout and make a new one",
        blames: ".spec.workload",
        forbids: true,
    }
}
