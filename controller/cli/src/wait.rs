//! `turnout wait`: blocks until a rollout is where it should be, and says by its exit code whether it got there. A
//! status counts only once it answers the newest change of the spec.

use crate::arguments::{Name, PlaceArguments};
use crate::client::place::Place;
use crate::client::standing::{Goal, Standing, reason};
use crate::model_process::parse_backend;
use crate::output::{DONE, FAILED, Output, TIMED_OUT, print, print_json, remark};
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};
use turnout_rollout::{Backend, CommandError, ModelRollout, Plan, Target, duration};

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
    goal: GoalArguments,

    /// How long to wait, as 90s, 5m or 1h30m; a number alone is seconds.
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
struct GoalArguments {
    /// That the revision of the spec has reached or passed this stage, or that it is rolled back (Rollback).
    #[arg(long, value_name = "STAGE", env = "TURNOUT_STAGE")]
    stage: Option<Target>,

    /// That nothing needs this backend any more, green or blue, or that it is gone.
    #[arg(long, value_name = "BACKEND", env = "TURNOUT_SAFE_TO_REMOVE", value_parser = parse_backend)]
    safe_to_remove: Option<Backend>,

    /// That this backend, green or blue, serves the revision of the spec, ready and warm: blue from Blue_0 on, green once
    /// it is replaced at Blue_Green.
    #[arg(long, value_name = "BACKEND", env = "TURNOUT_READY", value_parser = parse_backend)]
    ready: Option<Backend>,

    /// That no rollout is under way: none was started, or the last one is complete or rolled back.
    #[arg(long, env = "TURNOUT_IDLE")]
    idle: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let place = arguments.place.open()?;
    let name = arguments.name.of(&place).await?;
    warn_if_nobody_drives(&place);
    let rollout = place.read(&name).await?;
    arguments.goal.check(&rollout)?;
    wait_for(&place, &name, rollout, arguments.goal.goal(), arguments.timeout, arguments.output).await
}

/// Waits until a rollout that was read is where it should be, and prints whether it got there.
pub(crate) async fn wait_for(
    place: &Place,
    name: &str,
    mut rollout: ModelRollout,
    goal: Goal,
    timeout: Duration,
    output: Output,
) -> anyhow::Result<u8> {
    let deadline = Instant::now() + timeout;
    let (mut told, mut trouble) = (String::new(), None);
    let (code, outcome) = loop {
        match goal.standing(&rollout) {
            Standing::Reached => break (DONE, "reached".to_owned()),
            Standing::Failed(reason) => break (FAILED, format!("failed: {reason}")),
            Standing::Pending if Instant::now() >= deadline => break (TIMED_OUT, "timed out".to_owned()),
            Standing::Pending => {}
        }
        let message = match trouble.take() {
            Some(trouble) => trouble,
            None => told_by(place, &rollout).await,
        };
        if told != message {
            remark(message.trim_end());
            told = message;
        }
        let left = || deadline.saturating_duration_since(Instant::now());
        place.changed(&rollout, TICK.min(left())).await;
        // What does not answer at all is not waited for beyond the time-out.
        match tokio::time::timeout(left().max(TICK), place.read(name)).await {
            Err(_) => {}
            Ok(Ok(newer)) => rollout = newer,
            Ok(Err(error)) if Place::is_passing(&error) => trouble = Some(format!("turnout: {error:#}")),
            Ok(Err(error)) => return Err(error),
        }
    };
    match output {
        Output::Text if code == DONE => print(&format!("{name}: {outcome} ({})", rollout.status.message))?,
        Output::Text if outcome.ends_with(&rollout.status.message) => print(&format!("{name}: {outcome}"))?,
        Output::Text => print(&format!("{name}: {outcome} ({})", why(place, &rollout).await))?,
        Output::Json => {
            print_json(&json!({ "name": name, "outcome": outcome, "code": code, "status": rollout.status }))?;
        }
    }
    Ok(code)
}

/// Says so on standard error if nothing will move.
pub(crate) fn warn_if_nobody_drives(place: &Place) {
    if let Some(advice) = place.advice() {
        remark(&format!("turnout: {advice}"));
    }
}

impl GoalArguments {
    /// What the rollout never comes to is not waited for.
    fn check(&self, rollout: &ModelRollout) -> Result<(), CommandError> {
        match (self.stage, Plan::of(rollout)) {
            (Some(Target::Stage(stage)), Ok(plan)) if !plan.stages().contains(stage) => {
                Err(CommandError::NotInPlan { stage, stages: plan.stages().clone() })
            }
            _ => Ok(()),
        }
    }

    /// As a client takes it; one of them is given.
    fn goal(&self) -> Goal {
        match (self.stage, self.safe_to_remove, self.ready) {
            (Some(target), _, _) => Goal::Reached(target),
            (_, Some(backend), _) => Goal::SafeToRemove(backend),
            (_, _, Some(backend)) => Goal::Ready(backend),
            (None, None, None) => Goal::Idle,
        }
    }
}

/// What is waited for, and what keeps it from coming.
async fn told_by(place: &Place, rollout: &ModelRollout) -> String {
    format!("{}\n{}", why(place, rollout).await, place.problems().join("\n"))
}

/// Why it goes no further: what the rollout says, and the pod that it waits for, if that can be seen at once.
async fn why(place: &Place, rollout: &ModelRollout) -> String {
    match tokio::time::timeout(TICK, place.trouble(rollout)).await.ok().flatten() {
        Some(trouble) => format!("{}; {trouble}", reason(rollout)),
        None => reason(rollout),
    }
}

/// Reads 90s, 5m or 1h30m; a number alone is seconds.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if is_number { duration::read(&format!("{text}s")) } else { duration::read(text) };
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(parse_timeout(text).ok(), seconds.map(Duration::from_secs), "{text}");
        };
        for (text, seconds) in [("90", 90), ("0", 0), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("8760h", 31_536_000)]
        {
            check(text, Some(seconds));
        }
        for bad in ["31536001", "8761h", "99999999999999999999", "", "m", "5 m", "-1", "+1", "1d", "30m1h"] {
            check(bad, None);
        }
    }
}
