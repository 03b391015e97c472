//! How a rollout stands to what is waited for. A status counts only once it answers the newest change of the spec.

use turnout_rollout::{Backend, ConditionStatus, ConditionType, ModelRollout, Phase, Target, WaitReason};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// That the revision of the spec has reached or passed this stage, or that it is rolled back.
    Reached(Target),
    /// That nothing needs this backend any more, or that it is gone.
    SafeToRemove(Backend),
    /// That no rollout is under way.
    Idle,
}

/// How a rollout stands to what is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Reached,
    Failed(String),
    Pending,
}

impl Goal {
    /// How a rollout stands to it.
    pub(crate) fn standing(self, rollout: &ModelRollout) -> Standing {
        let status = &rollout.status;
        if !is_answered(rollout) || status.conditions.is_empty() {
            return Standing::Pending;
        }
        if self.is_reached(rollout) {
            return Standing::Reached;
        }
        let is_on_its_way_back = status.rollback.is_some() || rollout.spec.target == Some(Target::Rollback);
        if status.phase == Phase::Invalid || (status.phase == Phase::Failed && !is_on_its_way_back) {
            return Standing::Failed(status.message.clone());
        }
        let confirmed = status.condition(ConditionType::Confirmed);
        let refused = confirmed.filter(|it| it.status == ConditionStatus::False && it.reason == "Rejected");
        if let Some(condition) = refused {
            return Standing::Failed(condition.message.clone());
        }
        match (&status.rollback, self) {
            (Some(rollback), Self::Reached(Target::Stage(_))) => {
                Standing::Failed(format!("rolled back from {}: {}", rollback.from, rollback.reason))
            }
            _ => Standing::Pending,
        }
    }

    fn is_reached(self, rollout: &ModelRollout) -> bool {
        let status = &rollout.status;
        let is_over = matches!(status.phase, Phase::Complete | Phase::RolledBack);
        match self {
            Self::Reached(Target::Rollback) => status.stage == Some(Target::Rollback),
            Self::Reached(Target::Stage(stage)) => {
                let candidate = status.candidate.as_ref().map(|candidate| &candidate.revision);
                let revision = rollout.wanted_revision().or(candidate).or(status.stable_revision.as_ref());
                revision.is_some_and(|revision| status.has_reached(revision, stage))
            }
            // At its end a rollout has blue either removed or safe to remove.
            Self::SafeToRemove(backend) => {
                status.safe_to_remove.contains(&backend) || (is_over && backend == Backend::Blue)
            }
            Self::Idle => is_over || status.phase == Phase::Idle,
        }
    }
}

/// Why a rollout is where it is and goes no further, in one line: what keeps the controller from acting comes first.
pub(crate) fn reason(rollout: &ModelRollout) -> String {
    let status = &rollout.status;
    let operational = status.condition(ConditionType::Operational);
    if let Some(condition) = operational.filter(|it| it.status == ConditionStatus::False) {
        return format!("{}: {}", condition.reason, condition.message);
    }
    match status.phase {
        Phase::Invalid | Phase::Failed | Phase::Stalled if is_answered(rollout) => {
            format!("{}: {}", status.phase.as_str(), status.message)
        }
        _ => answer(rollout).to_owned(),
    }
}

/// What the status says to the newest change of the spec. One that does not know it may propose what nobody wants any more.
pub(crate) fn answer(rollout: &ModelRollout) -> &str {
    if is_answered(rollout) { &rollout.status.message } else { "the newest change is not taken up yet" }
}

/// It waits for pods, which know better than the status why they are not ready.
pub(crate) fn waits_for_pods(rollout: &ModelRollout) -> bool {
    let reasons = [WaitReason::CandidateReady, WaitReason::ReadyEndpoints, WaitReason::StableImage];
    rollout.status.waiting.as_ref().is_some_and(|waiting| reasons.contains(&waiting.reason))
}

/// The status knows the newest change of the spec.
pub(crate) fn is_answered(rollout: &ModelRollout) -> bool {
    rollout.metadata.generation.is_none_or(|wanted| rollout.status.observed_generation >= Some(wanted))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use serde_json::{Value, json};

    fn rollout(generation: i64, status: &Value) -> ModelRollout {
        serde_json::from_value(json!({
            "apiVersion": "turnout.dev/v1alpha1", "kind": "ModelRollout",
            "metadata": {"name": "model", "generation": generation},
            "spec": {
                "route": {"virtualService": "model"}, "green": {"host": "g"}, "blue": {"host": "b"}, "revision": "B",
            },
            "status": status,
        }))
        .unwrap()
    }

    fn status(more: Value) -> Value {
        let mut status = json!({
            "phase": "Progressing", "message": "m", "observedGeneration": 2, "candidate": {"revision": "B"},
            "stableRevision": "A", "stage": "Blue_50",
            "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        });
        let Value::Object(more) = more else { panic!("an object") };
        more.into_iter().for_each(|(name, value)| status[name] = value);
        status
    }

    #[test]
    fn a_stage_is_reached_when_the_newest_spec_was_answered_and_the_stage_was_reached_or_passed() {
        let check = |generation, more: Value, stage: &str, expected: Standing| {
            let goal = Goal::Reached(stage.parse().unwrap());
            assert_eq!(goal.standing(&rollout(generation, &status(more.clone()))), expected, "{stage} {more}");
        };
        check(2, json!({}), "Blue_50", Standing::Reached);
        check(2, json!({}), "Blue_0", Standing::Reached);
        check(2, json!({}), "Blue_100", Standing::Pending);
        check(3, json!({}), "Blue_50", Standing::Pending);
        for phase in ["Invalid", "Failed"] {
            check(2, json!({"phase": phase}), "Blue_100", Standing::Failed("m".to_owned()));
        }
        let back = json!({"from": "Blue_50", "reason": "Requested", "since": "2026-01-01T00:00:00Z"});
        let reason = "rolled back from Blue_50: it was asked for".to_owned();
        check(2, json!({"rollback": back, "movingTo": "Rollback"}), "Blue_50", Standing::Failed(reason));
        check(2, json!({"rollback": back, "movingTo": "Rollback"}), "Rollback", Standing::Pending);
        check(2, json!({"rollback": back, "stage": "Rollback"}), "Rollback", Standing::Reached);
        check(
            2,
            json!({"stableRevision": "B", "stage": "Green_100", "candidate": null}),
            "Green_100",
            Standing::Reached,
        );
    }

    #[test]
    fn the_reason_is_the_obstacle_else_the_answer_to_what_was_asked_for_last() {
        let phases = [
            "Idle",
            "Invalid",
            "Progressing",
            "Holding",
            "Failed",
            "Paused",
            "Stalled",
            "RollingBack",
            "RolledBack",
            "Complete",
        ];
        let message = "Blue_50: waiting for approval: promote to go on";
        let condition = |status: &str| {
            json!({"type": "Operational", "status": status, "reason": "Forbidden", "message": "a right is missing",
                   "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        for (phase, target) in phases.iter().flat_map(|phase| ["Blue_50", "Rollback"].map(|target| (*phase, target))) {
            let check = |generation: i64, conditions: Value, expected: String| {
                let more = json!({"phase": phase, "message": message, "conditions": conditions});
                let mut rollout = rollout(generation, &status(more));
                rollout.spec.target = Some(target.parse().unwrap());
                assert_eq!(reason(&rollout), expected, "{phase} {target} {generation}");
            };
            let answered = match phase {
                "Invalid" | "Failed" | "Stalled" => format!("{phase}: {message}"),
                _ => message.to_owned(),
            };
            for works in [json!([]), json!([condition("True")])] {
                check(2, works.clone(), answered.clone());
                check(3, works, "the newest change is not taken up yet".to_owned());
            }
            for generation in [2, 3] {
                check(generation, json!([condition("False")]), "Forbidden: a right is missing".to_owned());
            }
        }
    }

    #[test]
    fn the_end_of_a_rollout_is_idle_and_leaves_blue_safe_or_gone() {
        let check = |more: Value, backend: Option<Backend>, expected: Standing| {
            let goal = backend.map_or(Goal::Idle, Goal::SafeToRemove);
            assert_eq!(goal.standing(&rollout(2, &status(more.clone()))), expected, "{backend:?} {more}");
        };
        check(json!({"phase": "Complete"}), None, Standing::Reached);
        check(json!({"phase": "Holding"}), None, Standing::Pending);
        check(json!({"phase": "Complete"}), Some(Backend::Blue), Standing::Reached);
        check(json!({"phase": "Complete"}), Some(Backend::Green), Standing::Pending);
        check(json!({"safeToRemove": ["green"]}), Some(Backend::Green), Standing::Reached);
        check(json!({}), Some(Backend::Blue), Standing::Pending);
    }
}
