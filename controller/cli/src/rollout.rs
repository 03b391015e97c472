//! `turnout rollout`: what people and pipelines ask of a rollout. The verbs change the rollout's spec, as an editor
//! could; the controller does the rest (over a directory, the driver), and `turnout wait` tells when it is done.

mod screen;
mod text;

use crate::arguments::{InstallationArguments, Name, PlaceArguments};
use crate::client::access::{Change, Installation};
use crate::client::place::Place;
use crate::client::standing::Goal;
use crate::client::view::View;
use crate::output::{DONE, FAILED, Output, print, print_json, print_json_line, remark};
use crate::suggest::Suggest;
use crate::terminal::{Marks, can_redraw, redraw};
use crate::wait::{parse_timeout, wait_for, warn_if_nobody_drives};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use turnout_rollout::{CommandError, Leave, ModelRollout, Plan, RollbackRequest, Stage, Target, Timestamp};

/// How often gateways and backends are looked at while they are watched: nobody tells when they change.
const WATCH_TICK: Duration = Duration::from_secs(2);

/// Starts, promotes, pauses and rolls back rollouts, and shows how they stand.
///
/// A rollout goes from Blue_0 to Green_100. It leaves a stage when it is promoted, when its target lies behind it, or when
/// all that the stage requires is fulfilled. What is asked for is written into its spec, and nothing else of it is touched;
/// the controller takes it up (in a directory: `turnout local`). With --wait a verb ends when it has taken effect.
///
/// Exit code: 0 done, 1 the rollout does not allow it, or has failed, 2 there is no such rollout, or the cluster or
/// directory cannot be reached or allows too little, 3 time-out.
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
        /// The stage to go to [default: Blue_0, and on only by requirements that are fulfilled]. What stages on the way
        /// require stays required.
        #[arg(long, value_name = "STAGE", env = "TURNOUT_START_TO")]
        to: Option<Stage>,
        #[command(flatten)]
        effect: EffectArguments,
    },
    /// Where a rollout is, what it waits for, and what its backends and gateways have. Exit code 1 if it is invalid, has
    /// failed, or takes longer than it may.
    Status {
        #[command(flatten)]
        name: Name,
        /// Stays, and shows every change until Ctrl-C: one screen on a terminal, elsewhere one line each.
        #[arg(short, long, env = "TURNOUT_WATCH")]
        watch: bool,
        #[command(flatten)]
        installation: InstallationArguments,
    },
    /// Goes on: approves the stage that is reached, and moves the target.
    Promote {
        #[command(flatten)]
        name: Name,
        /// The stage to go to [default: the target, at least the next stage].
        #[arg(long, value_name = "STAGE", env = "TURNOUT_PROMOTE_TO")]
        to: Option<Stage>,
        /// Whatever else the stage that is reached requires.
        #[arg(long, env = "TURNOUT_SKIP_REQUIREMENTS")]
        skip_requirements: bool,
        #[command(flatten)]
        effect: EffectArguments,
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
        #[command(flatten)]
        effect: EffectArguments,
    },
    /// What was reached when, the latest last.
    History {
        #[command(flatten)]
        name: Name,
    },
}

#[derive(Args)]
struct EffectArguments {
    /// Waits until it has taken effect, and ends as `turnout wait` does.
    #[arg(long, env = "TURNOUT_WAIT")]
    wait: bool,

    /// With --wait: how long, as 90s, 5m or 1h30m; a number alone is seconds.
    #[arg(long, value_name = "TIME", env = "TURNOUT_TIMEOUT", default_value = "5m", value_parser = parse_timeout)]
    timeout: Duration,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let place = arguments.place.open()?;
    let suggest = arguments.place.suggest(&place);
    let output = arguments.output;
    match arguments.verb {
        Verb::List { all_namespaces } => list(&place, all_namespaces, output).await,
        Verb::Status { name, watch: false, installation } => {
            status(&place, &name, &installation.installation(), output, &suggest).await
        }
        Verb::Status { name, watch: true, installation } => {
            watch(&place, &name, &installation.installation(), output, suggest).await
        }
        Verb::History { name } => history(&place, &name, output).await,
        Verb::Start { name, revision, to, effect } => {
            place.check_revision(&revision)?;
            let stage = to.unwrap_or(Stage::BLUE_0);
            let start = |rollout: &mut ModelRollout| {
                let given_up = given_up_for(&revision, rollout);
                rollout.start(&revision, to)?;
                Ok(match given_up {
                    Some(candidate) => Asked::to_go_back(&candidate, &revision),
                    None => {
                        Asked { text: format!("revision {revision} is to go to {stage}"), goal: Some(stage.into()) }
                    }
                })
            };
            change(&place, &name, output, &effect, &start).await
        }
        Verb::Promote { name, to, skip_requirements, effect } => {
            let promote = |rollout: &mut ModelRollout| {
                let target = rollout.promote(to, skip_requirements)?;
                let stop = next_stop(rollout, target).map(|stop| format!("; {stop}")).unwrap_or_default();
                Ok(Asked { text: format!("it is to go on to {target}{stop}"), goal: Some(target.into()) })
            };
            change(&place, &name, output, &effect, &promote).await
        }
        Verb::Pause { name } => {
            let pause = |rollout: &mut ModelRollout| {
                rollout.pause();
                Ok(Asked { text: "it is to go no further".to_owned(), goal: None })
            };
            change(&place, &name, output, &EffectArguments::NONE, &pause).await
        }
        Verb::Resume { name } => {
            let resume = |rollout: &mut ModelRollout| {
                rollout.resume();
                Ok(Asked { text: "it may go on".to_owned(), goal: None })
            };
            change(&place, &name, output, &EffectArguments::NONE, &resume).await
        }
        Verb::Rollback { name, effect } => {
            let roll_back = |rollout: &mut ModelRollout| roll_back(rollout, &suggest);
            change(&place, &name, output, &effect, &roll_back).await
        }
    }
}

/// What was asked for, and what it comes to in the end.
#[derive(Clone)]
struct Asked {
    text: String,
    goal: Option<Target>,
}

impl Asked {
    fn to_go_back(candidate: &str, stable: &str) -> Self {
        Self { text: format!("revision {candidate} is to go back to {stable}"), goal: Some(Target::Rollback) }
    }
}

/// The candidate that goes back when the stable revision is started in its place; one that replaces green ends first.
fn given_up_for(revision: &str, rollout: &ModelRollout) -> Option<String> {
    let status = &rollout.status;
    let is_stable = status.stable_revision.as_deref() == Some(revision);
    let replaces_green = status.position().and_then(Target::stage).is_some_and(Stage::replaces_green);
    let candidate = status.candidate.as_ref().filter(|_| is_stable && status.in_progress() && !replaces_green)?;
    Some(candidate.revision.clone())
}

fn roll_back(rollout: &mut ModelRollout, suggest: &Suggest) -> Result<Asked, CommandError> {
    let (text, goal) = match rollout.roll_back()? {
        RollbackRequest::OfCandidate { revision, stable } => return Ok(Asked::to_go_back(&revision, &stable)),
        RollbackRequest::Done { stable } => {
            (format!("revision {stable} serves everything already: nothing is to go back"), Some(Target::Rollback))
        }
        RollbackRequest::OfNext { revision } => (format!("revision {revision} is not to begin"), None),
        RollbackRequest::AsNewRollout { revision, replaced, is_asked } => {
            let text = if is_asked {
                let start = suggest.command("rollout start", rollout);
                format!(
                    "revision {revision} is rolled out anew in place of {replaced} already; to return to {replaced}: \
                     {start} --revision {replaced}"
                )
            } else {
                format!("revision {revision} is to be rolled out anew in place of {replaced}")
            };
            (text, Some(Stage::Green100.into()))
        }
    };
    Ok(Asked { text, goal })
}

/// What keeps a rollout that was promoted from its target.
fn next_stop(rollout: &ModelRollout, target: Stage) -> Option<String> {
    if rollout.spec.paused {
        return Some("it is paused until it is resumed".to_owned());
    }
    let plan = Plan::of(rollout).ok()?;
    let reached = rollout.status.stage.and_then(Target::stage)?;
    let between = plan.stages().stages().iter().filter(|stage| reached < **stage && **stage < target);
    let required = |stage: &Stage| match plan.leave(*stage) {
        Leave::When(required) if !required.is_empty() => {
            let required: Vec<String> = required.iter().map(ToString::to_string).collect();
            Some(format!("on the way {stage} requires {}", required.join(", ")))
        }
        _ => None,
    };
    between.into_iter().find_map(required)
}

impl EffectArguments {
    const NONE: Self = Self { wait: false, timeout: Duration::ZERO };
}

/// Changes a rollout's spec. What the rollout does not allow is a result, not an error of usage.
async fn change(
    place: &Place,
    name: &Name,
    output: Output,
    effect: &EffectArguments,
    change: &dyn Fn(&mut ModelRollout) -> Result<Asked, CommandError>,
) -> anyhow::Result<u8> {
    let name = name.of(place).await?;
    warn_if_nobody_drives(place);
    let mut goal = None;
    let edit: &mut Change<'_> = &mut |rollout| {
        let asked = change(rollout)?;
        goal = asked.goal;
        Ok(asked.text)
    };
    let (rollout, done) = match place.edit(&name, edit).await {
        Ok(changed) => changed,
        Err(error) => match Place::refusal(&error) {
            Some(refusal) => {
                remark(&format!("turnout: {name}: {refusal}"));
                return Ok(FAILED);
            }
            None => return Err(error),
        },
    };
    match (output, goal.filter(|_| effect.wait)) {
        (Output::Text, _) => print(&format!("{name}: {done}"))?,
        (Output::Json, None) => print_json(&rollout)?,
        // What was waited for is printed instead.
        (Output::Json, Some(_)) => {}
    }
    match goal.filter(|_| effect.wait) {
        Some(target) => wait_for(place, &name, rollout, Goal::Reached(target), effect.timeout, output).await,
        None => Ok(DONE),
    }
}

async fn list(place: &Place, everywhere: bool, output: Output) -> anyhow::Result<u8> {
    let mut unreadable = Vec::new();
    let listed = place.list(everywhere).await?.into_iter();
    let rollouts: Vec<ModelRollout> =
        listed.filter_map(|read| read.map_err(|error| unreadable.push(format!("{error:#}"))).ok()).collect();
    match output {
        Output::Text if rollouts.is_empty() && !unreadable.is_empty() => {}
        Output::Text if rollouts.is_empty() => remark(&format!("there is no rollout in {}", place.title())),
        Output::Text => print(&text::list(&rollouts, everywhere))?,
        Output::Json => print_json(&rollouts)?,
    }
    warn_of_problems(place);
    anyhow::ensure!(unreadable.is_empty(), unreadable.join("\n"));
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

async fn status(
    place: &Place,
    name: &Name,
    installation: &Installation,
    output: Output,
    suggest: &Suggest,
) -> anyhow::Result<u8> {
    let rollout = place.read(&name.of(place).await?).await?;
    let view = place.look(&rollout, installation).await?;
    match output {
        Output::Text => print(&screen::screen(&rollout, &view, now(), Marks::of_environment(), suggest))?,
        Output::Json => print_json(&to_json(place, &rollout, Some(&view)))?,
    }
    warn_if_nobody_drives(place);
    warn_of_problems(place);
    let is_bad = rollout.status.phase.is_bad();
    Ok(if is_bad { FAILED } else { DONE })
}

/// Shows every change until it is interrupted, or until the rollout is gone.
async fn watch(
    place: &Place,
    name: &Name,
    installation: &Installation,
    output: Output,
    suggest: Suggest,
) -> anyhow::Result<u8> {
    let name = name.of(place).await?;
    let mut rollout = place.read(&name).await?;
    let mut view = place.look(&rollout, installation).await?;
    let mut shown = Shown { text: String::new(), redraws: output == Output::Text && can_redraw(), suggest };
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
    suggest: Suggest,
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
                (screen::screen(rollout, view, now(), Marks::of_environment(), &self.suggest), String::new())
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

fn warn_of_problems(place: &Place) {
    for problem in place.problems() {
        remark(&format!("turnout: problem: {problem}"));
    }
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
