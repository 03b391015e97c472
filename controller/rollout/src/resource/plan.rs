//! The validated part of a spec: the stages that the rollout passes, the gate of each, and how far it may go. Whoever has
//! a [`Plan`] checks nothing again.

use super::{API_VERSION, GateKind, GateSpec, KIND, ModelRollout, Workload};
use crate::stage::{Stage, StagePlan, Target};
use std::collections::BTreeMap;
use std::fmt;

/// More pods than this of one backend are taken for a typing error.
const MAX_REPLICAS: u32 = 1000;

/// How a rollout goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    stages: StagePlan,
    gates: BTreeMap<Stage, Gate>,
    target: Target,
}

/// What must happen before a stage is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing.
    Open,
    /// Somebody approves.
    Manual,
    /// So many seconds pass after the stage was reached.
    Pause {
        /// How many.
        seconds: u64,
    },
}

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field, as `spec.gates[0].seconds`.
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
        let stages = problems.stages(rollout);
        let gates = problems.gates(&rollout.spec.gates, &stages);
        let target = problems.target(rollout.spec.target, &stages);
        if problems.0.is_empty() { Ok(Self { stages, gates, target }) } else { Err(InvalidRollout(problems.0)) }
    }

    /// The stages that the rollout passes.
    pub fn stages(&self) -> &StagePlan {
        &self.stages
    }

    /// How far it may go.
    pub fn target(&self) -> Target {
        self.target
    }

    /// What must happen before `stage` is left. A stage that shows blue to users is manual unless the spec says otherwise:
    /// exposure never grows by an oversight.
    pub fn gate(&self, stage: Stage) -> Gate {
        let default = if stage.exposes_blue() { Gate::Manual } else { Gate::Open };
        self.gates.get(&stage).copied().unwrap_or(default)
    }
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
        if spec.green == spec.blue {
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

    fn stages(&mut self, rollout: &ModelRollout) -> StagePlan {
        let Some(weights) = &rollout.spec.stages else {
            return StagePlan::default();
        };
        StagePlan::new(weights).unwrap_or_else(|error| {
            self.add("spec.stages", error.to_string());
            StagePlan::default()
        })
    }

    fn gates(&mut self, gates: &[GateSpec], stages: &StagePlan) -> BTreeMap<Stage, Gate> {
        let mut result = BTreeMap::new();
        for (index, gate) in gates.iter().enumerate() {
            let path = format!("spec.gates[{index}]");
            if gate.stage == Stage::Green100 {
                self.add(format!("{path}.stage"), "Green_100 is the last stage and is never left");
            } else if !stages.contains(gate.stage) {
                self.add(format!("{path}.stage"), format!("{} is not one of {stages}", gate.stage));
            }
            let parsed = match (gate.kind, gate.seconds) {
                (GateKind::None, None) => Gate::Open,
                (GateKind::Manual, None) => Gate::Manual,
                (GateKind::Pause, Some(seconds)) => Gate::Pause { seconds },
                (GateKind::Pause, None) => {
                    self.add(format!("{path}.seconds"), "a gate of type Pause needs it");
                    continue;
                }
                (GateKind::None | GateKind::Manual, Some(_)) => {
                    self.add(format!("{path}.seconds"), "only a gate of type Pause has it");
                    continue;
                }
            };
            if result.insert(gate.stage, parsed).is_some() {
                self.add(format!("{path}.stage"), format!("{} has a gate already", gate.stage));
            }
        }
        result
    }

    fn target(&mut self, target: Option<Target>, stages: &StagePlan) -> Target {
        let target = target.unwrap_or(Target::Stage(Stage::Green100));
        if let Some(stage) = target.stage().filter(|&stage| !stages.contains(stage)) {
            self.add("spec.target", format!("{stage} is not one of {stages}, Rollback"));
        }
        target
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use crate::testing::rollout;
    use serde_json::json;

    #[test]
    fn gates_default_to_manual_where_blue_is_exposed() {
        let mut rollout =
            rollout(json!({"stages": [5, 50], "gates": [{"stage": "Blue_50", "type": "Pause", "seconds": 9}]}));
        let check = |plan: &Plan, stage: &str, gate| assert_eq!(plan.gate(stage.parse().unwrap()), gate, "{stage}");
        let plan = Plan::of(&rollout).unwrap();
        check(&plan, "Blue_0", Gate::Open);
        check(&plan, "Blue_5", Gate::Manual);
        check(&plan, "Blue_50", Gate::Pause { seconds: 9 });
        check(&plan, "Blue_100", Gate::Manual);
        check(&plan, "Blue_Green", Gate::Open);
        rollout.spec.gates = serde_json::from_value(json!([
            {"stage": "Blue_0", "type": "Manual"}, {"stage": "Blue_100", "type": "None"}
        ]))
        .unwrap();
        let plan = Plan::of(&rollout).unwrap();
        check(&plan, "Blue_0", Gate::Manual);
        check(&plan, "Blue_100", Gate::Open);
    }

    #[test]
    fn every_problem_is_told_with_its_field() {
        let check = |spec: serde_json::Value, expected: &str| {
            let message = Plan::of(&rollout(spec.clone())).unwrap_err().to_string();
            assert_eq!(message, expected, "{spec}");
        };
        let all = "Blue_0, Blue_50, Blue_100, Blue_Green, Green_100";
        check(json!({"green": {"host": ""}}), "spec.green.host: must not be empty");
        check(
            json!({"green": {"host": "m"}, "blue": {"host": "m"}}),
            "spec.blue: is the same destination as spec.green: they must differ in host, subset or port",
        );
        check(json!({"target": "Blue_5"}), &format!("spec.target: Blue_5 is not one of {all}, Rollback"));
        check(json!({"stages": [60, 40]}), "spec.stages: weight 40 follows 60: the weights must rise");
        check(
            json!({"gates": [{"stage": "Blue_5", "type": "None"}]}),
            &format!("spec.gates[0].stage: Blue_5 is not one of {all}"),
        );
        check(
            json!({"gates": [{"stage": "Green_100", "type": "Manual"}]}),
            "spec.gates[0].stage: Green_100 is the last stage and is never left",
        );
        check(
            json!({"gates": [{"stage": "Blue_50", "type": "None"}, {"stage": "Blue_50", "type": "Manual"}]}),
            "spec.gates[1].stage: Blue_50 has a gate already",
        );
        check(
            json!({"gates": [{"stage": "Blue_0", "type": "Pause"}, {"stage": "Blue_50", "type": "Manual", "seconds": 3}]}),
            "spec.gates[0].seconds: a gate of type Pause needs it; \
             spec.gates[1].seconds: only a gate of type Pause has it",
        );
        check(
            json!({"confirmDeadlineSeconds": 0, "readyDeadlineSeconds": 0, "drainDeadlineSeconds": 0}),
            "spec.confirmDeadlineSeconds: must be at least 1; spec.readyDeadlineSeconds: must be at least 1; \
             spec.drainDeadlineSeconds: must be at least 1",
        );
        check(
            json!({"warmUp": {"path": "score", "requests": 0, "timeoutSeconds": 0}}),
            "spec.warmUp.path: `score` must start with `/`; \
             spec.warmUp.requests: must be at least 1: leave warmUp out to send none; \
             spec.warmUp.timeoutSeconds: must be at least 1",
        );
        check(
            json!({"template": {}}),
            "spec.template: is only for `workload: Managed`: remove it, or change spec.workload",
        );
        check(
            json!({"replicas": 2}),
            "spec.replicas: is only for `workload: Managed`: remove it, or change spec.workload",
        );
        check(json!({"workload": "Managed", "replicas": 1001}), "spec.replicas: 1001 is not between 1 and 1000");
        check(
            json!({"revision": ""}),
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
