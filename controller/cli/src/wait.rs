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
use turnout_rollout::{Backend, CommandError, ModelRollout, Plan, Stage, Target};

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
struct GoalArguments {
    /// That the revision of the spec has reached or passed this stage, or that it is rolled back (Rollback).
    #[arg(long, value_name = "STAGE", env = "TURNOUT_STAGE")]
    stage: Option<Target>,

    /// That nothing needs this backend any more, green or blue, or that it is gone.
    #[arg(long, value_name = "BACKEND", env = "TURNOUT_SAFE_TO_REMOVE", value_parser = parse_backend)]
    safe_to_remove: Option<Backend>,

    /// That this backend, green or blue, serves the revision of the spec, ready and warm. For blue that is Blue_0.
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
            (_, _, Some(Backend::Blue)) => Goal::Reached(Target::Stage(Stage::BLUE_0)),
            (_, _, Some(Backend::Green)) => Goal::Reached(Target::Stage(Stage::Green100)),
            (None, None, None) => Goal::Idle,
        }
    }
}

/// What is waited for, and what keeps it from coming.
async fn told_by(place: &Place, rollout: &ModelRollout) -> String {
    format!("{}\n{}", why(place, rollout).await, place.problems().join("\n"))
}

/// Why it goes no further: what the rollout says, and the pod that it waits for.
async fn why(place: &Place, rollout: &ModelRollout) -> String {
    match place.trouble(rollout).await {
        Some(trouble) => format!("{}; {trouble}", reason(rollout)),
        None => reason(rollout),
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
    use super::*;

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
