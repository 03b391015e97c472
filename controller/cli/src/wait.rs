//! `turnout wait`: blocks until a rollout is where it should be, and says by its exit code whether it got there. A
//! status counts only once it answers the newest change of the spec.

use crate::model_process::parse_backend;
use crate::output::{DONE, FAILED, Output, TIMED_OUT, print, print_json};
use crate::place::{Place, PlaceArguments};
use crate::rollout::Name;
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};
use turnout_rollout::{Backend, ConditionStatus, ConditionType, ModelRollout, Phase, Target};

/// The longest that a change can go unnoticed, if nothing tells of it.
const TICK: Duration = Duration::from_secs(2);

/// Waits until a rollout is where it should be.
///
/// Exit code: 0 reached, 1 it failed, was rejected or is rolled back, 2 usage, no such rollout or no access, 3 time-out.
/// An API server that has answered once and then does not for a while is waited for as well.
#[derive(Args)]
#[command(after_help = "Example:\n  turnout rollout promote --to Blue_50 && turnout wait --stage Blue_50 --timeout 5m")]
pub(crate) struct Arguments {
    #[command(flatten)]
    name: Name,

    #[command(flatten)]
    goal: Goal,

    /// How long to wait, as 90s, 5m or 1h; a number alone is seconds.
    #[arg(long, value_name = "TIME", env = "TURNOUT_TIMEOUT", default_value = "5m", value_parser = parse_timeout)]
    timeout: Duration,

    #[command(flatten)]
    place: PlaceArguments,

    /// How to print the result.
    #[arg(short = 'o', long, value_enum, env = "TURNOUT_OUTPUT", default_value = "text")]
    output: Output,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Goal {
    /// That the revision of the spec has reached or passed this stage, or that it is rolled back (Rollback).
    #[arg(long, value_name = "STAGE", env = "TURNOUT_STAGE")]
    stage: Option<Target>,

    /// That nothing needs this backend any more, green or blue, or that it is gone.
    #[arg(long, value_name = "BACKEND", env = "TURNOUT_SAFE_TO_REMOVE", value_parser = parse_backend)]
    safe_to_remove: Option<Backend>,

    /// That no rollout is under way: none was started, or the last one is complete or rolled back.
    #[arg(long, env = "TURNOUT_IDLE")]
    idle: bool,
}

/// How a rollout stands to what is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Reached,
    Failed(String),
    Pending,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let place = arguments.place.open().await?;
    let name = arguments.name.of(&place).await?;
    place.warn_if_nobody_drives();
    let deadline = Instant::now() + arguments.timeout;
    let mut rollout = place.read(&name).await?;
    let (mut told, mut trouble) = (String::new(), None);
    let (code, outcome) = loop {
        match arguments.goal.standing(&rollout) {
            Standing::Reached => break (DONE, "reached".to_owned()),
            Standing::Failed(reason) => break (FAILED, format!("failed: {reason}")),
            Standing::Pending if Instant::now() >= deadline => break (TIMED_OUT, "timed out".to_owned()),
            Standing::Pending => {}
        }
        let message = trouble.take().unwrap_or_else(|| told_by(&place, &rollout));
        if told != message {
            anstream::eprintln!("{}", message.trim_end());
            told = message;
        }
        let left = || deadline.saturating_duration_since(Instant::now());
        place.changed(&rollout, TICK.min(left())).await;
        // What does not answer at all is not waited for beyond the time-out.
        match tokio::time::timeout(left().max(TICK), place.read(&name)).await {
            Err(_) => {}
            Ok(Ok(newer)) => rollout = newer,
            Ok(Err(error)) if Place::is_passing(&error) => trouble = Some(format!("turnout: {error:#}")),
            Ok(Err(error)) => return Err(error),
        }
    };
    match arguments.output {
        Output::Text if code == DONE => print(&format!("{name}: {outcome} ({})", rollout.status.message))?,
        Output::Text => print(&format!("{name}: {outcome} ({})", reason(&rollout)))?,
        Output::Json => {
            print_json(&json!({ "name": name, "outcome": outcome, "code": code, "status": rollout.status }))?;
        }
    }
    Ok(code)
}

/// What is waited for, and what keeps it from coming.
fn told_by(place: &Place, rollout: &ModelRollout) -> String {
    format!("{}\n{}", reason(rollout), place.problems().join("\n"))
}

/// Why a rollout is where it is and goes no further, in one line: what keeps the controller from acting comes first.
fn reason(rollout: &ModelRollout) -> String {
    let status = &rollout.status;
    let operational = status.condition(ConditionType::Operational);
    if let Some(condition) = operational.filter(|it| it.status == ConditionStatus::False) {
        return format!("{}: {}", condition.reason, condition.message);
    }
    match status.phase {
        Phase::Invalid | Phase::Stalled if is_answered(rollout) => {
            format!("{}: {}", status.phase.as_str(), status.message)
        }
        _ => answer(rollout).to_owned(),
    }
}

/// What the status says to the newest change of the spec. One that does not know it may propose what nobody wants any more.
pub(crate) fn answer(rollout: &ModelRollout) -> &str {
    if is_answered(rollout) { &rollout.status.message } else { "the newest change is not taken up yet" }
}

/// The status knows the newest change of the spec.
pub(crate) fn is_answered(rollout: &ModelRollout) -> bool {
    rollout.metadata.generation.is_none_or(|wanted| rollout.status.observed_generation >= Some(wanted))
}

impl Goal {
    fn standing(&self, rollout: &ModelRollout) -> Standing {
        let status = &rollout.status;
        if !is_answered(rollout) || status.conditions.is_empty() {
            return Standing::Pending;
        }
        if self.is_reached(rollout) {
            return Standing::Reached;
        }
        if status.phase == Phase::Invalid {
            return Standing::Failed(status.message.clone());
        }
        let confirmed = status.condition(ConditionType::Confirmed);
        let refused = confirmed.filter(|it| it.status == ConditionStatus::False && it.reason == "Rejected");
        if let Some(condition) = refused {
            return Standing::Failed(condition.message.clone());
        }
        match (&status.rollback, self.stage) {
            (Some(rollback), Some(Target::Stage(_))) => {
                Standing::Failed(format!("rolled back from {}: {}", rollback.from, rollback.reason))
            }
            _ => Standing::Pending,
        }
    }

    fn is_reached(&self, rollout: &ModelRollout) -> bool {
        let status = &rollout.status;
        let is_over = matches!(status.phase, Phase::Complete | Phase::RolledBack);
        match (self.stage, self.safe_to_remove) {
            (Some(Target::Rollback), _) => status.stage == Some(Target::Rollback),
            (Some(Target::Stage(stage)), _) => {
                let candidate = status.candidate.as_ref().map(|candidate| &candidate.revision);
                let revision = rollout.wanted_revision().or(candidate).or(status.stable_revision.as_ref());
                revision.is_some_and(|revision| status.has_reached(revision, stage))
            }
            // At its end a rollout has blue either removed or safe to remove.
            (None, Some(backend)) => status.safe_to_remove.contains(&backend) || (is_over && backend == Backend::Blue),
            (None, None) => is_over || status.phase == Phase::Idle,
        }
    }
}

/// Reads 90s, 5m or 1h.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no time: write 90s, 5m or 1h");
    let (number, unit) = match text.find(|character: char| !character.is_ascii_digit()) {
        Some(end) => text.split_at(end),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use serde_json::Value;

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
            let goal = Goal { stage: Some(stage.parse().unwrap()), safe_to_remove: None, idle: false };
            assert_eq!(goal.standing(&rollout(generation, &status(more.clone()))), expected, "{stage} {more}");
        };
        check(2, json!({}), "Blue_50", Standing::Reached);
        check(2, json!({}), "Blue_0", Standing::Reached);
        check(2, json!({}), "Blue_100", Standing::Pending);
        check(3, json!({}), "Blue_50", Standing::Pending);
        check(2, json!({"phase": "Invalid"}), "Blue_100", Standing::Failed("m".to_owned()));
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
        let phases =
            ["Idle", "Invalid", "Progressing", "Holding", "Paused", "Stalled", "RollingBack", "RolledBack", "Complete"];
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
                "Invalid" | "Stalled" => format!("{phase}: {message}"),
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
            let goal = Goal { stage: None, safe_to_remove: backend, idle: backend.is_none() };
            assert_eq!(goal.standing(&rollout(2, &status(more.clone()))), expected, "{backend:?} {more}");
        };
        check(json!({"phase": "Complete"}), None, Standing::Reached);
        check(json!({"phase": "Holding"}), None, Standing::Pending);
        check(json!({"phase": "Complete"}), Some(Backend::Blue), Standing::Reached);
        check(json!({"phase": "Complete"}), Some(Backend::Green), Standing::Pending);
        check(json!({"safeToRemove": ["green"]}), Some(Backend::Green), Standing::Reached);
        check(json!({}), Some(Backend::Blue), Standing::Pending);
    }

    #[test]
    fn times_are_read_with_their_unit() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(parse_timeout(text).ok(), seconds.map(Duration::from_secs), "{text}");
        };
        check("90", Some(90));
        check("90s", Some(90));
        check("5m", Some(300));
        check("1h", Some(3600));
        for bad in ["", "m", "5 m", "-1", "1d", "99999999999999999999", "18446744073709551615h"] {
            check(bad, None);
        }
    }
}
