//! The validated part of a spec: the stages that the rollout passes, what each requires, and how far it may go. Whoever
//! has a [`Plan`] checks nothing again.

use super::{API_VERSION, BackendRef, KIND, ModelRollout, Requirement, Step, Workload};
use crate::hosts::full_host;
use crate::stage::{Stage, StagePlan, Target};
use std::collections::BTreeMap;
use std::fmt;

/// More pods than this of one backend are taken for a typing error.
const MAX_REPLICAS: u32 = 1000;

/// How a rollout goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    stages: StagePlan,
    /// Of the stages for which the spec says it.
    required: BTreeMap<Stage, Vec<Requirement>>,
    target: Option<Target>,
}

/// When a stage is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave<'a> {
    /// When it is promoted, or the target lies behind it.
    WhenPromoted,
    /// When all of this is fulfilled.
    When(&'a [Requirement]),
}

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field, as `spec.steps[0].stage`.
    pub path: String,
    /// What is wrong with it and what to write.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// All that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(FieldError::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidRollout(pub Vec<FieldError>);

impl Plan {
    /// Checks the spec and reports every problem at once.
    pub fn of(rollout: &ModelRollout) -> Result<Self, InvalidRollout> {
        let mut problems = Problems::default();
        problems.check_object(rollout);
        problems.check_workloads(rollout);
        problems.check_replaced(rollout);
        let stages = problems.stages(rollout.spec.steps.as_deref());
        let required = problems.required(rollout.spec.steps.as_deref().unwrap_or_default());
        let target = rollout.spec.target;
        problems.check_target(target, &stages);
        if problems.0.is_empty() { Ok(Self { stages, required, target }) } else { Err(InvalidRollout(problems.0)) }
    }

    /// The stages that the rollout passes.
    pub fn stages(&self) -> &StagePlan {
        &self.stages
    }

    /// How far it may go, if the spec says it.
    pub fn target(&self) -> Option<Target> {
        self.target
    }

    /// When `stage` is left. Nothing is exposed by an oversight: what the spec does not mention waits to be promoted.
    pub fn leave(&self, stage: Stage) -> Leave<'_> {
        self.required.get(&stage).map_or(Leave::WhenPromoted, |required| Leave::When(required))
    }
}

/// Under whatever name: a service has a short one in its namespace.
fn is_same(rollout: &ModelRollout) -> bool {
    let key = |one: &BackendRef| (full_host(&one.host, rollout.route_namespace()), one.subset.clone(), one.port);
    key(&rollout.spec.green) == key(&rollout.spec.blue)
}

#[derive(Default)]
struct Problems(Vec<FieldError>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError { path: path.into(), message: message.into() });
    }

    fn check_object(&mut self, rollout: &ModelRollout) {
        let spec = &rollout.spec;
        if rollout.api_version != API_VERSION {
            self.add("apiVersion", format!("`{}` is not known: write {API_VERSION}", rollout.api_version));
        }
        if rollout.kind != KIND {
            self.add("kind", format!("`{}` is not known: write {KIND}", rollout.kind));
        }
        let texts = [
            ("metadata.name", &rollout.metadata.name),
            ("metadata.namespace", &rollout.metadata.namespace),
            ("spec.route.virtualService", &spec.route.virtual_service),
            ("spec.green.host", &spec.green.host),
            ("spec.blue.host", &spec.blue.host),
        ];
        for (path, text) in texts {
            if text.is_empty() {
                self.add(path, "must not be empty");
            }
        }
        if is_same(rollout) {
            self.add("spec.blue", "is the same destination as spec.green: they must differ in host, subset or port");
        }
        let deadlines = [
            ("spec.confirmDeadlineSeconds", spec.confirm_deadline_seconds),
            ("spec.readyDeadlineSeconds", spec.ready_deadline_seconds),
            ("spec.drainDeadlineSeconds", spec.drain_deadline_seconds),
        ];
        for (path, seconds) in deadlines {
            if seconds == 0 {
                self.add(path, "must be at least 1");
            }
        }
        if let Some(warm_up) = &spec.warm_up {
            if !warm_up.path.starts_with('/') {
                self.add("spec.warmUp.path", format!("`{}` must start with `/`", warm_up.path));
            }
            if warm_up.requests == 0 {
                self.add("spec.warmUp.requests", "must be at least 1: leave warmUp out to send none");
            }
            if warm_up.timeout_seconds == 0 {
                self.add("spec.warmUp.timeoutSeconds", "must be at least 1");
            }
        }
    }

    fn check_workloads(&mut self, rollout: &ModelRollout) {
        let spec = &rollout.spec;
        if spec.revision.as_deref() == Some("") {
            self.add("spec.revision", "must not be empty: leave it out if there is nothing to roll out");
        }
        if spec.template.is_some() && spec.workload == Workload::External {
            self.add("spec.template", "is only for `workload: Managed`: remove it, or change spec.workload");
        }
        if let Some(replicas) = spec.replicas {
            if spec.workload == Workload::External {
                self.add("spec.replicas", "is only for `workload: Managed`: remove it, or change spec.workload");
            }
            if !(1..=MAX_REPLICAS).contains(&replicas) {
                self.add("spec.replicas", format!("{replicas} is not between 1 and {MAX_REPLICAS}"));
            }
        }
    }

    fn check_replaced(&mut self, rollout: &ModelRollout) {
        let replaced = [("spec.stages", rollout.spec.stages.is_some()), ("spec.gates", rollout.spec.gates.is_some())];
        for (path, _) in replaced.into_iter().filter(|(_, is_there)| *is_there) {
            let example = "spec.steps, as [{stage: Blue_5, require: [{pause: 10m}, {approval: {}}]}]";
            self.add(path, format!("was replaced by {example}: write that, and remove this"));
        }
    }

    fn stages(&mut self, steps: Option<&[Step]>) -> StagePlan {
        let Some(steps) = steps else {
            return StagePlan::default();
        };
        let listed: Vec<Stage> = steps.iter().map(|step| step.stage).collect();
        StagePlan::new(&listed).unwrap_or_else(|error| {
            self.add("spec.steps", error.to_string());
            StagePlan::default()
        })
    }

    fn required(&mut self, steps: &[Step]) -> BTreeMap<Stage, Vec<Requirement>> {
        let mut required = BTreeMap::new();
        for (index, step) in steps.iter().enumerate() {
            let path = format!("spec.steps[{index}].require");
            let Some(listed) = &step.require else { continue };
            if step.stage == Stage::Green100 {
                self.add(&path, "Green_100 is the last stage and is never left: remove it");
            }
            let mut checked: Vec<Requirement> = Vec::new();
            for (index, one) in listed.iter().enumerate() {
                let path = format!("{path}[{index}]");
                match one.check() {
                    Ok(one) if checked.iter().any(|other| other.to_string() == one.to_string()) => {
                        self.add(path, format!("{one} is required already"));
                    }
                    Ok(one) => checked.push(one),
                    Err((below, message)) => self.add(format!("{path}{below}"), message),
                }
            }
            required.insert(step.stage, checked);
        }
        required
    }

    fn check_target(&mut self, target: Option<Target>, stages: &StagePlan) {
        if let Some(stage) = target.and_then(Target::stage).filter(|&stage| !stages.contains(stage)) {
            self.add("spec.target", format!("{stage} is not one of {stages}, Rollback"));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::testing::rollout;
    use serde_json::json;

    #[test]
    fn a_stage_is_left_when_it_is_promoted_unless_the_spec_says_otherwise() {
        let steps = json!([
            {"stage": "Blue_0", "require": []},
            {"stage": "Blue_5", "require": [{"pause": "10m"}, {"approval": {}}]},
            {"stage": "Blue_50"},
        ]);
        let plan = Plan::of(&rollout(json!({"steps": steps}))).unwrap();
        let check = |stage: &str, leave| assert_eq!(plan.leave(stage.parse().unwrap()), leave, "{stage}");
        check("Blue_0", Leave::When(&[]));
        check("Blue_5", Leave::When(&[Requirement::Pause { seconds: 600 }, Requirement::Approval]));
        for stage in ["Blue_50", "Blue_100", "Blue_Green"] {
            check(stage, Leave::WhenPromoted);
        }
        assert_eq!(plan.stages().to_string(), "Blue_0, Blue_5, Blue_50, Blue_100, Blue_Green, Green_100");
        assert_eq!(Plan::of(&rollout(json!({}))).unwrap().leave(Stage::BLUE_0), Leave::WhenPromoted);
    }

    fn check(spec: &serde_json::Value, expected: &str) {
        let message = Plan::of(&rollout(spec.clone())).unwrap_err().to_string();
        assert_eq!(message, expected, "{spec}");
    }

    #[test]
    fn every_problem_of_a_step_is_told_with_its_field() {
        check(
            &json!({"steps": [{"stage": "Blue_60"}, {"stage": "Blue_40"}]}),
            "spec.steps: Blue_40 follows Blue_60: write the stages in their order, each once",
        );
        let required = |require: serde_json::Value| json!({"steps": [{"stage": "Blue_50", "require": require}]});
        check(
            &required(
                json!([{}, {"approval": {}, "pause": "1m"}, {"pause": "10"}, {"pause": "9000h"}, {"pause": "1m"}]),
            ),
            "spec.steps[0].require[0]: write exactly one of approval, pause and webhook; \
             spec.steps[0].require[1]: write exactly one of approval, pause and webhook; \
             spec.steps[0].require[2].pause: `10` is no duration: write 90s, 10m or 1h30m; \
             spec.steps[0].require[3].pause: `9000h` is longer than a year",
        );
        check(
            &required(json!([{"pause": "60s"}, {"pause": "1m"}])),
            "spec.steps[0].require[1]: pause 1m is required already",
        );
        let no_host = [
            "https://",
            "https:///a",
            "https://:443/",
            "https://[::1/",
            "https://[::g]/",
            "https://höst/",
            "https://a,b",
        ];
        let no_port =
            ["https://a:", "https://a:0/", "https://a:65536/", "https://a:+1/", "https://[::1]1/", "https://a:b:1/"];
        let others = ["ftp://a/b", "/allow", "", "HTTPS://a", "https://user:pass@a/", "a b", "https://a/ b"];
        for url in no_host.into_iter().chain(no_port).chain(others) {
            let place = "spec.steps[0].require[0].webhook.url";
            let message = format!("{place}: `{url}` cannot be used: write https://HOST/PATH, without a user");
            check(&required(json!([{"webhook": {"url": url}}])), &message);
        }
        check(
            &required(
                json!([{"webhook": {"url": "http://a", "timeoutSeconds": 0}}, {"webhook": {"url": "http://b", "intervalSeconds": 0}}]),
            ),
            "spec.steps[0].require[0].webhook.timeoutSeconds: must be at least 1; \
             spec.steps[0].require[1].webhook.intervalSeconds: must be at least 1",
        );
        check(
            &required(json!([{"webhook": {"url": "https://a/?x=1"}}, {"webhook": {"url": "https://a/?x=2"}}])),
            "spec.steps[0].require[1]: webhook https://a/ is required already",
        );
        check(
            &json!({"steps": [{"stage": "Green_100", "require": []}]}),
            "spec.steps[0].require: Green_100 is the last stage and is never left: remove it",
        );
        check(
            &json!({"stages": [5]}),
            "spec.stages: was replaced by spec.steps, as [{stage: Blue_5, require: [{pause: 10m}, {approval: {}}]}]: \
             write that, and remove this",
        );
    }

    #[test]
    fn every_problem_is_told_with_its_field() {
        let all = "Blue_0, Blue_50, Blue_100, Blue_Green, Green_100";
        check(&json!({"green": {"host": ""}}), "spec.green.host: must not be empty");
        let same = "spec.blue: is the same destination as spec.green: they must differ in host, subset or port";
        check(&json!({"green": {"host": "m"}, "blue": {"host": "m"}}), same);
        for host in ["M", "m.abtesting.svc.cluster.local"] {
            check(&json!({"green": {"host": "m"}, "blue": {"host": host}}), same);
        }
        check(&json!({"target": "Blue_5"}), &format!("spec.target: Blue_5 is not one of {all}, Rollback"));
        check(
            &json!({"confirmDeadlineSeconds": 0, "readyDeadlineSeconds": 0, "drainDeadlineSeconds": 0}),
            "spec.confirmDeadlineSeconds: must be at least 1; spec.readyDeadlineSeconds: must be at least 1; \
             spec.drainDeadlineSeconds: must be at least 1",
        );
        check(
            &json!({"warmUp": {"path": "score", "requests": 0, "timeoutSeconds": 0}}),
            "spec.warmUp.path: `score` must start with `/`; \
             spec.warmUp.requests: must be at least 1: leave warmUp out to send none; \
             spec.warmUp.timeoutSeconds: must be at least 1",
        );
        check(
            &json!({"template": {}}),
            "spec.template: is only for `workload: Managed`: remove it, or change spec.workload",
        );
        check(
            &json!({"replicas": 2}),
            "spec.replicas: is only for `workload: Managed`: remove it, or change spec.workload",
        );
        check(&json!({"workload": "Managed", "replicas": 1001}), "spec.replicas: 1001 is not between 1 and 1000");
        check(
            &json!({"revision": ""}),
            "spec.revision: must not be empty: leave it out if there is nothing to roll out",
        );
    }

    #[test]
    fn another_kind_is_refused() {
        let mut object = rollout(json!({}));
        object.kind = "Rollout".to_owned();
        object.api_version = "argoproj.io/v1alpha1".to_owned();
        let message = Plan::of(&object).unwrap_err().to_string();
        assert_eq!(
            message,
            "apiVersion: `argoproj.io/v1alpha1` is not known: write turnout.dev/v1alpha1; \
             kind: `Rollout` is not known: write ModelRollout"
        );
    }
}
