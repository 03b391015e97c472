//! How a rollout stands to what is waited for. A status counts only once it answers the newest change of the spec.

use turnout_rollout::{Backend, ConditionStatus, ConditionType, ModelRollout, Phase, Stage, Target, WaitReason};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// That the revision of the spec has reached or passed this stage, or that it is rolled back.
    Reached(Target),
    /// That this backend serves the revision of the spec, ready and warm, whether or not it has weight.
    Ready(Backend),
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
            // What it was asked for since is not begun: that is news, and the rollback is none.
            (Some(_), Self::Reached(Target::Stage(_)) | Self::Ready(_)) if let Some(reason) = not_accepted(rollout) => {
                Standing::Failed(reason)
            }
            (Some(rollback), Self::Reached(Target::Stage(_)) | Self::Ready(_)) => {
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
            Self::Reached(Target::Stage(stage)) => has_reached(rollout, stage),
            // A blue that was ready once may have gone since.
            Self::Ready(Backend::Blue) => {
                has_reached(rollout, Stage::BLUE_0) && is_known(rollout) && !waits_for_blue(rollout)
            }
            // What Blue_Green is there for is done when it waits for nothing but to be left.
            Self::Ready(Backend::Green) => {
                let may_be_left = status.moving_to.is_some()
                    || status.waiting.as_ref().is_some_and(|waiting| waits_to_be_left(waiting.reason));
                let is_replaced = has_reached(rollout, Stage::BlueGreen) && may_be_left && is_known(rollout);
                has_reached(rollout, Stage::Green100) || is_replaced
            }
            // At its end a rollout has blue either removed or safe to remove.
            Self::SafeToRemove(backend) => {
                status.safe_to_remove.contains(&backend) || (is_over && backend == Backend::Blue)
            }
            Self::Idle => is_over || status.phase == Phase::Idle,
        }
    }
}

/// The revision of the spec has reached the stage, or passed it.
fn has_reached(rollout: &ModelRollout, stage: Stage) -> bool {
    let status = &rollout.status;
    let candidate = status.candidate.as_ref().map(|candidate| &candidate.revision);
    let revision = rollout.wanted_revision().or(candidate).or(status.stable_revision.as_ref());
    revision.is_some_and(|revision| status.has_reached(revision, stage))
}

/// Why the rollout is not accepted, if it is not.
fn not_accepted(rollout: &ModelRollout) -> Option<String> {
    let accepted = rollout.status.condition(ConditionType::Accepted)?;
    let is_refused = accepted.status == ConditionStatus::False;
    is_refused.then(|| format!("{}: {}", accepted.reason, accepted.message))
}

/// While the weights stay, gateways have what is published: they may have to reach new pods at another port.
fn is_known(rollout: &ModelRollout) -> bool {
    let status = &rollout.status;
    let confirmed = status.condition(ConditionType::Confirmed);
    status.moving_to.is_some() || confirmed.is_none_or(|it| it.status != ConditionStatus::False)
}

/// Blue does not serve what it should, or is not ready to.
fn waits_for_blue(rollout: &ModelRollout) -> bool {
    let status = &rollout.status;
    match status.waiting.as_ref().map(|waiting| waiting.reason) {
        Some(WaitReason::ReadyEndpoints) => true,
        // There it is green that is replaced.
        Some(WaitReason::CandidateReady | WaitReason::WarmUp | WaitReason::EndpointsSeen) => {
            status.stage != Some(Target::Stage(Stage::BlueGreen))
        }
        _ => false,
    }
}

/// The stage's own work is done.
fn waits_to_be_left(reason: WaitReason) -> bool {
    matches!(reason, WaitReason::Promotion | WaitReason::Requirements | WaitReason::Failure)
}

/// Why a rollout is where it is and goes no further, in one line: what keeps the controller from acting comes first.
pub(crate) fn reason(rollout: &ModelRollout) -> String {
    let status = &rollout.status;
    let operational = status.condition(ConditionType::Operational);
    if let Some(condition) = operational.filter(|it| it.status == ConditionStatus::False) {
        return format!("{}: {}", condition.reason, condition.message);
    }
    if status.phase.is_bad() && is_answered(rollout) {
        return format!("{}: {}", status.phase.as_str(), status.message);
    }
    answer(rollout).to_owned()
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
    fn a_blue_that_has_gone_is_not_ready() {
        let since = "2026-01-01T00:00:00Z";
        for stage in ["Blue_0", "Blue_50", "Blue_Green"] {
            let check = |reason: &str, expected: Standing| {
                let more = json!({"stage": stage, "waiting": {"reason": reason, "since": since}});
                assert_eq!(
                    Goal::Ready(Backend::Blue).standing(&rollout(2, &status(more))),
                    expected,
                    "{stage} {reason}"
                );
            };
            check("ReadyEndpoints", Standing::Pending);
            let of_the_candidate = if stage == "Blue_Green" { Standing::Reached } else { Standing::Pending };
            for reason in ["CandidateReady", "WarmUp", "EndpointsSeen"] {
                check(reason, of_the_candidate.clone());
            }
            for reason in ["Promotion", "Requirements", "Failure", "Resume"] {
                check(reason, Standing::Reached);
            }
        }
    }

    #[test]
    fn a_rollout_that_cannot_begin_says_why_and_not_what_became_of_the_last_one() {
        let since = "2026-01-01T00:00:00Z";
        let conditions = json!([{"type": "Accepted", "status": "False", "reason": "RouteNotFound",
                                 "message": "no rule splits", "lastTransitionTime": since}]);
        let back = json!({"from": "Blue_0", "reason": "Requested", "since": since});
        let more = json!({"phase": "RolledBack", "stage": "Rollback", "rollback": back, "conditions": conditions});
        let reason = Standing::Failed("RouteNotFound: no rule splits".to_owned());
        for goal in [Goal::Reached("Blue_50".parse().unwrap()), Goal::Ready(Backend::Blue)] {
            assert_eq!(goal.standing(&rollout(2, &status(more.clone()))), reason);
        }
    }

    #[test]
    fn a_green_that_is_replaced_is_ready_when_blue_green_waits_to_be_left() {
        let check = |more: Value, expected: Standing| {
            let goal = Goal::Ready(Backend::Green);
            assert_eq!(goal.standing(&rollout(2, &status(more.clone()))), expected, "{more}");
        };
        let waits = |stage: &str, reason: &str| {
            let since = "2026-01-01T00:00:00Z";
            json!({"stage": stage, "waiting": {"reason": reason, "since": since}})
        };
        for reason in ["Drain", "CandidateReady", "WarmUp", "EndpointsSeen", "Resume"] {
            check(waits("Blue_Green", reason), Standing::Pending);
        }
        for reason in ["Promotion", "Requirements", "Failure"] {
            check(waits("Blue_Green", reason), Standing::Reached);
            check(waits("Blue_100", reason), Standing::Pending);
        }
        check(json!({"stage": "Blue_Green", "movingTo": "Green_100"}), Standing::Reached);
        check(json!({"stableRevision": "B", "stage": "Green_100", "candidate": null}), Standing::Reached);
        let back = json!({"from": "Blue_Green", "reason": "Requested", "since": "2026-01-01T00:00:00Z"});
        let reason = "rolled back from Blue_Green: it was asked for".to_owned();
        check(json!({"rollback": back, "movingTo": "Rollback"}), Standing::Failed(reason));
    }

    #[test]
    fn a_backend_is_ready_once_gateways_have_what_is_published() {
        let since = "2026-01-01T00:00:00Z";
        for (stage, backend) in [("Blue_0", Backend::Blue), ("Blue_Green", Backend::Green)] {
            let check = |confirmed: &str, moving_to: Value, expected: Standing| {
                let conditions = json!([{"type": "Confirmed", "status": confirmed, "reason": "Pending", "message": "",
                                         "lastTransitionTime": since}]);
                let waiting = json!({"reason": "Promotion", "since": since});
                let more = json!({"stage": stage, "waiting": waiting, "movingTo": moving_to, "conditions": conditions});
                let seen = Goal::Ready(backend).standing(&rollout(2, &status(more)));
                assert_eq!(seen, expected, "{stage} {confirmed} {moving_to}");
            };
            for (confirmed, expected) in
                [("True", Standing::Reached), ("Unknown", Standing::Reached), ("False", Standing::Pending)]
            {
                check(confirmed, Value::Null, expected);
                check(confirmed, json!("Green_100"), Standing::Reached);
            }
        }
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
