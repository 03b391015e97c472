//! The validated part of a spec: the stages that the rollout passes, what each requires, and how far it may go. Whoever
//! has a [`Plan`] checks nothing again.

use super::{
    API_VERSION, BackendRef, EvidenceKind, EvidenceRequirement, KIND, Mode, ModelRollout, Requirement, Step, Workload,
};
use crate::hosts::full_host;
use crate::stage::{Stage, StagePlan, Target};
use std::collections::BTreeMap;
use std::fmt;
use turnout_routes::documents::Shadow;

/// More pods than this of one backend are taken for a typing error.
const MAX_REPLICAS: u32 = 1000;

/// How a rollout goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    stages: StagePlan,
    /// Of the stages for which the spec says it.
    required: BTreeMap<Stage, Vec<Requirement>>,
    shadows: BTreeMap<Stage, Shadow>,
    target: Option<Target>,
}

/// When a stage is left.
#[derive(Clone, Copy, Debug, PartialEq)]
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
        problems.check_verdicts(rollout);
        let steps = rollout.spec.all_steps().filter(|_| problems.0.is_empty() || rollout.spec.steps.is_some());
        let stages = problems.stages(steps.as_deref());
        let steps = steps.as_deref().unwrap_or_default();
        let required = problems.required(steps, rollout.spec.mode);
        let shadows = problems.shadows(steps, rollout.spec.mode);
        let target = rollout.spec.target;
        problems.check_target(target, &stages);
        if problems.0.is_empty() {
            Ok(Self { stages, required, shadows, target })
        } else {
            Err(InvalidRollout(problems.0))
        }
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

    /// What evidence has to show at any of the stages, in their order.
    pub fn evidence(&self) -> impl Iterator<Item = &EvidenceRequirement> {
        self.required.values().flat_map(|required| Requirement::evidence(required))
    }

    /// How answers are compared at `stage`, if they are.
    pub fn shadow(&self, stage: Stage) -> Option<&Shadow> {
        self.shadows.get(&stage)
    }
}

/// Under whatever name: a service has a short one in its namespace.
fn is_same(rollout: &ModelRollout) -> bool {
    let key = |one: &BackendRef| (full_host(&one.host, rollout.route_namespace()), one.subset.clone(), one.port);
    key(&rollout.spec.green) == key(&rollout.spec.blue)
}

/// As it can be shown at this step, where it is one of evidence; else why it never could. What a step asked for that lies
/// `before` it was shown there, and stands.
fn fit(
    one: Requirement,
    before: &BTreeMap<Stage, Vec<Requirement>>,
    step: &Step,
    mode: Mode,
) -> Result<Requirement, (&'static str, String)> {
    let Requirement::Evidence(mut evidence) = one else { return Ok(one) };
    let (path, why) = (evidence.kind.path(), |why: &str| why.to_owned());
    let is_shadowed = step.shadow.is_some();
    let mut asked = before.values().flat_map(|required| Requirement::evidence(required));
    let is_fed = evidence.kind.is_fed(step.stage, is_shadowed) || asked.any(|one| one.digest == evidence.digest);
    if mode == Mode::Istio {
        return Err((path, why("Istio counts nothing that could show it: remove it, or write spec.mode: Gateway")));
    }
    match evidence.kind {
        EvidenceKind::Comparison if !is_fed => {
            return Err((
                path,
                why(
                    "no answers are compared here: write a shadow for this step, or the same comparison for one before it \
                     that has a shadow",
                ),
            ));
        }
        EvidenceKind::Verdict if step.stage.weights().green == 0 && !is_fed => {
            let stage = step.stage;
            return Err((
                path,
                format!("green has no requests at {stage}: write the same verdict for a step before it, as Blue_90"),
            ));
        }
        EvidenceKind::Verdict | EvidenceKind::Absolute if step.stage == Stage::BLUE_0 && !is_shadowed => {
            return Err((path, why("blue has no requests at Blue_0: write a shadow for this step")));
        }
        EvidenceKind::Verdict if step.stage == Stage::BLUE_0 => {
            if evidence.wanted.failures.is_none() {
                return Err((".verdict.latency", why("blue has only copies at Blue_0: judge their failures alone")));
            }
            *evidence = evidence.of_copies();
        }
        EvidenceKind::Verdict | EvidenceKind::Absolute | EvidenceKind::Comparison => {}
    }
    Ok(Requirement::Evidence(evidence))
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

    /// What it stands for is written nowhere, so that nothing in it may be wrong.
    fn check_verdicts(&mut self, rollout: &ModelRollout) {
        if rollout.spec.verdicts.is_none() {
            return;
        }
        if rollout.spec.steps.is_some() {
            self.add("spec.verdicts", "takes the place of spec.steps: write one of the two");
        }
        if rollout.spec.mode == Mode::Istio {
            self.add(
                "spec.verdicts",
                "Istio counts nothing that could be judged: remove it, or write spec.mode: Gateway",
            );
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

    fn required(&mut self, steps: &[Step], mode: Mode) -> BTreeMap<Stage, Vec<Requirement>> {
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
                match one.check().and_then(|one| fit(one, &required, step, mode)) {
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

    fn shadows(&mut self, steps: &[Step], mode: Mode) -> BTreeMap<Stage, Shadow> {
        let mut shadows = BTreeMap::new();
        for (index, step) in steps.iter().enumerate() {
            let Some(written) = &step.shadow else { continue };
            let path = format!("spec.steps[{index}].shadow");
            if mode == Mode::Istio {
                self.add(&path, "Istio compares no answers: remove it, or write spec.mode: Gateway");
            }
            if step.stage.replaces_green() || step.stage.weights().green == 0 {
                self.add(&path, format!("green answers nothing at {} that could be compared: remove it", step.stage));
            }
            match written.check() {
                Ok(shadow) => drop(shadows.insert(step.stage, shadow)),
                Err(problems) => {
                    let below = |problem: FieldError| FieldError {
                        path: format!("spec.steps[{index}]{}", problem.path),
                        message: problem.message,
                    };
                    self.0.extend(problems.into_iter().map(below));
                }
            }
        }
        shadows
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
            "spec.steps[0].require[0]: write exactly one of approval, pause, webhook, verdict, absolute and comparison; \
             spec.steps[0].require[1]: write exactly one of approval, pause, webhook, verdict, absolute and comparison; \
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
    fn every_problem_of_evidence_and_shadows_is_told_with_its_field() {
        let required = |require: serde_json::Value| json!({"steps": [{"stage": "Blue_50", "require": require}]});
        let place = "spec.steps[0].require[0]";
        for (requirement, problem) in [
            (json!({"verdict": {"alpha": 0.5}}), ".verdict.alpha: 0.5 is not between 0 and 0.5"),
            (json!({"verdict": {"failures": {"margin": 1}}}), ".verdict.failures.margin: 1 is not between 1 and 100"),
            (
                json!({"verdict": {"failures": {"negligible": 1}}}),
                ".verdict.failures.negligible: 1 is not between 0 and 1",
            ),
            (json!({"verdict": {"latency": {"margin": 0.5}}}), ".verdict.latency.margin: 0.5 is not between 1 and 100"),
            (json!({"verdict": {"minimumRequests": 0}}), ".verdict.minimumRequests: must be at least 1"),
            (json!({"verdict": {"deadline": "1"}}), ".verdict.deadline: `1` is no duration: write 90s, 10m or 1h30m"),
            (json!({"absolute": {"maxFailureRate": 0}}), ".absolute.maxFailureRate: 0 is not between 0 and 1"),
            (
                json!({"comparison": {}}),
                ".comparison: no answers are compared here: write a shadow for this step, or the same comparison for one \
                 before it that has a shadow",
            ),
            (json!({"comparison": {"maximumBias": 1}}), ".comparison.maximumBias: 1 is not between 0 and 1"),
        ] {
            check(&required(json!([requirement])), &format!("{place}{problem}"));
        }
        let twice = json!([{"verdict": {}}, {"verdict": {"alpha": 0.01}}]);
        check(&required(twice), "spec.steps[0].require[1]: verdict is required already");
        let at_first = |step: serde_json::Value| json!({"steps": [step]});
        check(
            &at_first(json!({"stage": "Blue_0", "require": [{"verdict": {}}]})),
            "spec.steps[0].require[0].verdict: blue has no requests at Blue_0: write a shadow for this step",
        );
        let shadow = json!({"percent": 10, "methods": ["POST"]});
        check(
            &at_first(json!({"stage": "Blue_0", "shadow": shadow, "require": [{"verdict": {"latency": {}}}]})),
            "spec.steps[0].require[0].verdict.latency: blue has only copies at Blue_0: judge their failures alone",
        );
        check(
            &at_first(json!({"stage": "Blue_100", "shadow": shadow})),
            "spec.steps[0].shadow: green answers nothing at Blue_100 that could be compared: remove it",
        );
        let of_nothing =
            json!({"percent": 101, "methods": [], "timeout": "5 s", "compare": [{"path": "a", "kind": "set"}]});
        let message = Plan::of(&rollout(at_first(json!({"stage": "Blue_50", "shadow": of_nothing})))).unwrap_err();
        let paths: Vec<&str> = message.0.iter().map(|problem| problem.path.as_str()).collect();
        let below = ["percent", "methods", "timeout", "compare[0].path"];
        assert_eq!(paths, below.map(|field| format!("spec.steps[0].shadow.{field}")), "{message}");
        check(
            &json!({"mode": "Istio", "steps": [{"stage": "Blue_50", "shadow": shadow, "require": [{"absolute": {}}]}]}),
            "spec.steps[0].require[0].absolute: Istio counts nothing that could show it: remove it, or write spec.mode: \
             Gateway; spec.steps[0].shadow: Istio compares no answers: remove it, or write spec.mode: Gateway",
        );
    }

    /// A shadow elsewhere feeds what is asked there alone, and at Blue_100 nothing is compared.
    #[test]
    fn what_no_sample_could_show_is_refused() {
        let shadow = || json!({"percent": 10, "methods": ["POST"]});
        let three = |first: serde_json::Value, second: serde_json::Value, third: serde_json::Value| {
            json!({"steps": [
                {"stage": "Blue_0", "shadow": shadow(), "require": first},
                {"stage": "Blue_50", "require": second},
                {"stage": "Blue_100", "require": third},
            ]})
        };
        let comparison = |bias: f64| json!([{"comparison": {"maximumBias": bias, "deadline": "2h"}}]);
        let of_copies = "no answers are compared here: write a shadow for this step, or the same comparison for one before \
                         it that has a shadow";
        let place = "spec.steps[1].require[0].comparison";
        check(&three(comparison(0.1), comparison(0.05), json!([])), &format!("{place}: {of_copies}"));
        check(&three(json!([]), comparison(0.05), json!([])), &format!("{place}: {of_copies}"));
        let same = json!([{"comparison": {"maximumBias": 0.1}}]);
        Plan::of(&rollout(three(comparison(0.1), same.clone(), same))).unwrap();

        let verdict = |margin: u32| json!([{"verdict": {"failures": {"margin": margin}}}]);
        let of_split = "spec.steps[2].require[0].verdict: green has no requests at Blue_100: write the same verdict for a \
                        step before it, as Blue_90";
        check(&three(verdict(2), json!([]), verdict(2)), of_split);
        check(&three(json!([]), verdict(3), verdict(2)), of_split);
        Plan::of(&rollout(three(json!([]), verdict(2), verdict(2)))).unwrap();
        Plan::of(&rollout(three(json!([]), json!([]), json!([{"absolute": {}}])))).unwrap();
    }

    #[test]
    fn a_rollout_of_standard_verdicts_is_judged_at_every_stage() {
        let plan = Plan::of(&rollout(json!({"verdicts": "Standard", "target": "Blue_90"}))).unwrap();
        let all = "Blue_0, Blue_50, Blue_90, Blue_100, Blue_Green, Green_100";
        assert_eq!(plan.stages().to_string(), all);
        for stage in all.split(", ").filter(|stage| *stage != "Green_100") {
            let Leave::When(required) = plan.leave(stage.parse().unwrap()) else { panic!("{stage}") };
            assert!(Requirement::evidence(required).any(|one| one.kind == EvidenceKind::Verdict), "{stage}");
            assert_eq!(plan.shadow(stage.parse().unwrap()).is_some(), stage == "Blue_0", "{stage}");
        }
        check(
            &json!({"verdicts": "Standard", "steps": []}),
            "spec.verdicts: takes the place of spec.steps: write one of the two",
        );
        check(
            &json!({"verdicts": "Standard", "mode": "Istio"}),
            "spec.verdicts: Istio counts nothing that could be judged: remove it, or write spec.mode: Gateway",
        );
    }

    #[test]
    fn what_is_not_said_of_evidence_has_good_defaults() {
        let wanted = |stage: &str, requirement: serde_json::Value| {
            let step = json!({"stage": stage, "shadow": {"percent": 1, "methods": ["POST"]}, "require": [requirement]});
            let plan = Plan::of(&rollout(json!({"steps": [step]}))).unwrap();
            plan.evidence().next().unwrap().clone()
        };
        let verdict = wanted("Blue_50", json!({"verdict": {}}));
        assert_eq!((verdict.wanted.alpha, verdict.wanted.minimum, verdict.deadline_seconds), (0.05, 100, 3600));
        assert!(verdict.wanted.failures.is_some() && verdict.wanted.latency.is_some());
        let of_copies = wanted("Blue_0", json!({"verdict": {}})).wanted;
        assert!(of_copies.failures.is_some() && of_copies.latency.is_none());
        let alone = wanted("Blue_50", json!({"verdict": {"latency": {"margin": 3}}})).wanted;
        assert!(alone.failures.is_none() && alone.latency.map(|latency| latency.margin) == Some(3.0));
        let comparison = wanted("Blue_0", json!({"comparison": {}})).wanted.comparison.unwrap();
        assert_eq!((comparison.bias, comparison.schema, comparison.agreement), (Some(0.1), Some(0.01), None));
        let comparison = wanted("Blue_0", json!({"comparison": {"minimumAgreement": 0.9}})).wanted.comparison.unwrap();
        assert_eq!((comparison.bias, comparison.schema, comparison.agreement), (None, None, Some(0.9)));
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
