//! `turnout rollout`: what people and pipelines ask of a rollout. The verbs change the rollout's spec, as an editor
//! could; the controller does the rest (over a directory, the driver), and `turnout wait` tells when it is done.

mod screen;
mod text;

use crate::arguments::{InstallationArguments, PlaceArguments};
use crate::client::access::{Change, Installation};
use crate::client::place::Place;
use crate::client::view::View;
use crate::output::{DONE, FAILED, Output, print, print_json, print_json_line, remark};
use crate::terminal::{Marks, can_redraw, redraw};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use turnout_rollout::{Gate, ModelRollout, Plan, RollbackRequest, Stage, Target, Timestamp};

/// How often gateways and backends are looked at while they are watched: nobody tells when they change.
const WATCH_TICK: Duration = Duration::from_secs(2);

/// Starts, promotes, pauses and rolls back rollouts, and shows how they stand.
///
/// A rollout goes from Blue_0 to Green_100, as far as its target allows, and stops at each closed gate. Where it goes
/// is written into its spec, and nothing else of it is touched; the controller takes it up (in a directory: `turnout
/// local`). Use `turnout wait` for the effect.
///
/// Exit code: 0 done, 1 the rollout does not allow it, 2 there is no such rollout, or the cluster or directory cannot be
/// reached or allows too little.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,

    #[command(flatten)]
    place: PlaceArguments,

    /// How to print the result.
    #[arg(short = 'o', long, value_enum, env = "TURNOUT_OUTPUT", default_value = "text", global = true)]
    output: Output,
}

#[derive(Subcommand)]
enum Verb {
    /// All rollouts, one a line.
    List {
        /// Those of every namespace.
        #[arg(short = 'A', long, env = "TURNOUT_ALL_NAMESPACES", help_heading = "Cluster")]
        all_namespaces: bool,
    },
    /// Rolls a revision out; asking again for one that was rolled back is a new attempt.
    Start {
        #[command(flatten)]
        name: Name,
        /// The revision of the new image.
        #[arg(long, value_name = "REVISION", env = "TURNOUT_REVISION")]
        revision: String,
        /// The stage to go to [default: the last, Green_100]. Gates on the way stay closed until they are promoted.
        #[arg(long, value_name = "STAGE", env = "TURNOUT_TO")]
        to: Option<Stage>,
    },
    /// Where a rollout is, what it waits for, and what its backends and gateways have.
    Status {
        #[command(flatten)]
        name: Name,
        /// Stays, and shows every change until Ctrl-C: one screen on a terminal, elsewhere one line each.
        #[arg(short, long, env = "TURNOUT_WATCH")]
        watch: bool,
        #[command(flatten)]
        installation: InstallationArguments,
    },
    /// Goes on: opens the gate of the stage that is reached, and moves the target.
    Promote {
        #[command(flatten)]
        name: Name,
        /// The stage to go to [default: the target, at least the next stage].
        #[arg(long, value_name = "STAGE", env = "TURNOUT_TO")]
        to: Option<Stage>,
    },
    /// Goes no further until it is resumed; going back stays possible.
    Pause {
        #[command(flatten)]
        name: Name,
    },
    /// Goes on after a pause.
    Resume {
        #[command(flatten)]
        name: Name,
    },
    /// Goes back to the stable revision; after Green_100, rolls the previous revision out anew.
    Rollback {
        #[command(flatten)]
        name: Name,
    },
    /// What was reached when, the latest last.
    History {
        #[command(flatten)]
        name: Name,
    },
}

#[derive(Args)]
pub(crate) struct Name {
    /// The rollout [default: the only one].
    name: Option<String>,
}

impl Name {
    /// The name that was given, or that of the only rollout.
    pub(crate) async fn of(&self, place: &Place) -> anyhow::Result<String> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => place.only_name().await,
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let place = arguments.place.open()?;
    let output = arguments.output;
    match arguments.verb {
        Verb::List { all_namespaces } => list(&place, all_namespaces, output).await,
        Verb::Status { name, watch: false, installation } => {
            status(&place, &name, &installation.installation(), output).await
        }
        Verb::Status { name, watch: true, installation } => {
            watch(&place, &name, &installation.installation(), output).await
        }
        Verb::History { name } => history(&place, &name, output).await,
        Verb::Start { name, revision, to } => {
            place.check_revision(&revision)?;
            let done = format!("revision {revision} is to go to {}", to.unwrap_or(Stage::Green100));
            change(&place, &name, output, &mut |rollout| rollout.start(&revision, to).map(|()| done.clone())).await
        }
        Verb::Promote { name, to } => {
            let promote = &mut |rollout: &mut ModelRollout| {
                let target = rollout.promote(to)?;
                let stop = next_stop(rollout, target).map(|stop| format!("; {stop}")).unwrap_or_default();
                Ok(format!("it is to go on to {target}{stop}"))
            };
            change(&place, &name, output, promote).await
        }
        Verb::Pause { name } => {
            let pause = &mut |rollout: &mut ModelRollout| {
                rollout.pause();
                Ok("it is to go no further".to_owned())
            };
            change(&place, &name, output, pause).await
        }
        Verb::Resume { name } => {
            let resume = &mut |rollout: &mut ModelRollout| {
                rollout.resume();
                Ok("it may go on".to_owned())
            };
            change(&place, &name, output, resume).await
        }
        Verb::Rollback { name } => {
            let roll_back = &mut |rollout: &mut ModelRollout| match rollout.roll_back()? {
                RollbackRequest::OfCandidate => Ok("the candidate is to go back".to_owned()),
                RollbackRequest::AsNewRollout { revision } => {
                    Ok(format!("revision {revision} is to be rolled out anew"))
                }
            };
            change(&place, &name, output, roll_back).await
        }
    }
}

/// What keeps a rollout that was promoted from its target.
fn next_stop(rollout: &ModelRollout, target: Stage) -> Option<String> {
    if rollout.spec.paused {
        return Some("it is paused until it is resumed".to_owned());
    }
    let plan = Plan::of(rollout).ok()?;
    let reached = rollout.status.stage.and_then(Target::stage)?;
    let closed = |stage: &&Stage| reached < **stage && **stage < target && plan.gate(**stage) != Gate::Open;
    let stop = plan.stages().stages().iter().find(closed)?;
    Some(format!("it stops at the gate of {stop}"))
}

/// Changes a rollout's spec. What the rollout does not allow is a result, not an error of usage.
async fn change(place: &Place, name: &Name, output: Output, change: &mut Change<'_>) -> anyhow::Result<u8> {
    let name = name.of(place).await?;
    warn_if_nobody_drives(place);
    let (rollout, done) = match place.edit(&name, change).await {
        Ok(changed) => changed,
        Err(error) => match Place::refusal(&error) {
            Some(refusal) => {
                remark(&format!("turnout: {name}: {refusal}"));
                return Ok(FAILED);
            }
            None => return Err(error),
        },
    };
    match output {
        Output::Text => print(&format!("{name}: {done}"))?,
        Output::Json => print_json(&rollout)?,
    }
    Ok(DONE)
}

async fn list(place: &Place, everywhere: bool, output: Output) -> anyhow::Result<u8> {
    let rollouts = place.list(everywhere).await?;
    match output {
        Output::Text if rollouts.is_empty() => remark(&format!("there is no rollout in {}", place.title())),
        Output::Text => print(&text::list(&rollouts, everywhere))?,
        Output::Json => print_json(&rollouts)?,
    }
    warn_of_problems(place);
    Ok(DONE)
}

async fn history(place: &Place, name: &Name, output: Output) -> anyhow::Result<u8> {
    let rollout = place.read(&name.of(place).await?).await?;
    match output {
        Output::Text => print(&text::history(&rollout))?,
        Output::Json => print_json(&to_json(place, &rollout, None))?,
    }
    Ok(DONE)
}

async fn status(place: &Place, name: &Name, installation: &Installation, output: Output) -> anyhow::Result<u8> {
    let rollout = place.read(&name.of(place).await?).await?;
    let view = place.look(&rollout, installation).await?;
    match output {
        Output::Text => print(&screen::screen(&rollout, &view, now(), Marks::of_environment()))?,
        Output::Json => print_json(&to_json(place, &rollout, Some(&view)))?,
    }
    warn_if_nobody_drives(place);
    warn_of_problems(place);
    Ok(DONE)
}

/// Shows every change until it is interrupted, or until the rollout is gone.
async fn watch(place: &Place, name: &Name, installation: &Installation, output: Output) -> anyhow::Result<u8> {
    let name = name.of(place).await?;
    let mut rollout = place.read(&name).await?;
    let mut view = place.look(&rollout, installation).await?;
    let mut shown = Shown { text: String::new(), redraws: output == Output::Text && can_redraw() };
    loop {
        shown.show(place, &rollout, &view, output)?;
        place.changed(&rollout, WATCH_TICK).await;
        match place.read(&name).await {
            Ok(newer) => {
                rollout = newer;
                view = place.look(&rollout, installation).await?;
            }
            Err(error) if Place::is_passing(&error) => view.notes = vec![format!("this is old: {error:#}")],
            Err(error) => return Err(error),
        }
    }
}

/// What was shown last.
struct Shown {
    text: String,
    redraws: bool,
}

impl Shown {
    fn show(&mut self, place: &Place, rollout: &ModelRollout, view: &View, output: Output) -> anyhow::Result<()> {
        let (text, line) = match output {
            Output::Json => {
                let value = to_json(place, rollout, Some(view));
                let text = value.to_string();
                if self.text == text {
                    return Ok(());
                }
                self.text = text;
                return print_json_line(&value);
            }
            // The time of a screen goes on; that of a line is not what makes it another one.
            Output::Text if self.redraws => {
                (screen::screen(rollout, view, now(), Marks::of_environment()), String::new())
            }
            Output::Text => (screen::line(rollout, view, Timestamp(0)), screen::line(rollout, view, now())),
        };
        if text == self.text {
            return Ok(());
        }
        if self.redraws {
            redraw(&text, self.text.is_empty())?;
        } else {
            print(&line)?;
        }
        self.text = text;
        Ok(())
    }
}

/// Everything of a rollout, and of what was seen around it.
fn to_json(place: &Place, rollout: &ModelRollout, view: Option<&View>) -> Value {
    let mut value = view.map_or_else(|| json!({}), |view| view.to_json(rollout));
    value["name"] = json!(rollout.metadata.name);
    value["namespace"] = json!(rollout.metadata.namespace);
    value["spec"] = json!(rollout.spec);
    value["status"] = json!(rollout.status);
    value["problems"] = json!(place.problems());
    value["driven"] = json!(place.is_driven());
    value
}

/// Says so on standard error if nothing will move.
pub(crate) fn warn_if_nobody_drives(place: &Place) {
    if let Some(advice) = place.advice() {
        remark(&format!("turnout: {advice}"));
    }
}

fn warn_of_problems(place: &Place) {
    for problem in place.problems() {
        remark(&format!("turnout: problem: {problem}"));
    }
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
