//! `turnout rollout`: what people and pipelines ask of a rollout. The verbs change the rollout's spec, as an editor
//! could; the driver does the rest, and `turnout wait` tells when it is done.

mod text;

use crate::local::directory::Directory;
use crate::local::observe::check_revision;
use crate::output::{DONE, FAILED, Output, print, print_json};
use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use turnout_rollout::{CommandError, ModelRollout, RollbackRequest, Stage};

/// Starts, promotes, pauses and rolls back rollouts, and shows how they stand.
///
/// A rollout goes from Blue_0 to Green_100, as far as its target allows, and stops at each closed gate. Where it goes
/// is written into its spec; the driver that runs (`turnout local`) takes it up. Use `turnout wait` for the effect.
///
/// Exit code: 0 done, 1 the rollout does not allow it, 2 there is no such rollout or directory.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,

    #[command(flatten)]
    place: Place,

    /// How to print the result.
    #[arg(short = 'o', long, value_enum, env = "TURNOUT_OUTPUT", default_value = "text", global = true)]
    output: Output,
}

/// Where rollouts are.
#[derive(Args, Clone)]
pub(crate) struct Place {
    /// The directory of `turnout local --dir DIR`. Required: this build has no access to clusters.
    #[arg(long, value_name = "DIR", env = "TURNOUT_LOCAL", global = true)]
    local: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// All rollouts, one a line.
    List,
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
    /// Where a rollout is, what it waits for and what is in effect.
    Status {
        #[command(flatten)]
        name: Name,
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

impl Place {
    /// The directory, or what to do without one.
    pub(crate) fn directory(&self) -> anyhow::Result<Directory> {
        match &self.local {
            Some(path) => Directory::existing(path),
            None => bail!(
                "this build has no access to clusters: give --local DIR, the directory of `turnout local --dir DIR`"
            ),
        }
    }
}

impl Name {
    /// The name that was given, or that of the only rollout.
    pub(crate) fn of(&self, directory: &Directory) -> anyhow::Result<String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let names = directory.rollout_names()?;
        match names.as_slice() {
            [only] => Ok(only.clone()),
            [] => bail!("there is no rollout in {}", directory.root().display()),
            several => bail!("there are several rollouts, name one: {}", several.join(", ")),
        }
    }
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let directory = arguments.place.directory()?;
    let output = arguments.output;
    match arguments.verb {
        Verb::List => list(&directory, output),
        Verb::Status { name } => show(&directory, &name, output, text::status),
        Verb::History { name } => show(&directory, &name, output, text::history),
        Verb::Start { name, revision, to } => {
            let what = format!("revision {revision} is to go to {}", to.unwrap_or(Stage::Green100));
            check_revision(&revision)?;
            change(&directory, &name, output, |rollout| rollout.start(&revision, to).map(|()| what))
        }
        Verb::Promote { name, to } => change(&directory, &name, output, |rollout| {
            rollout.promote(to).map(|target| format!("it is to go on to {target}"))
        }),
        Verb::Pause { name } => change(&directory, &name, output, |rollout| {
            rollout.pause();
            Ok("it is to go no further".to_owned())
        }),
        Verb::Resume { name } => change(&directory, &name, output, |rollout| {
            rollout.resume();
            Ok("it may go on".to_owned())
        }),
        Verb::Rollback { name } => change(&directory, &name, output, |rollout| match rollout.roll_back()? {
            RollbackRequest::OfCandidate => Ok("the candidate is to go back".to_owned()),
            RollbackRequest::AsNewRollout { revision } => Ok(format!("revision {revision} is to be rolled out anew")),
        }),
    }
}

/// Changes a rollout's spec. What the rollout does not allow is a result, not an error of usage.
fn change(
    directory: &Directory,
    name: &Name,
    output: Output,
    change: impl FnOnce(&mut ModelRollout) -> Result<String, CommandError>,
) -> anyhow::Result<u8> {
    let name = name.of(directory)?;
    warn_if_nobody_drives(directory);
    let (rollout, done) = match directory.edit_rollout(&name, |rollout| Ok(change(rollout)?)) {
        Ok(changed) => changed,
        Err(error) => match error.downcast::<CommandError>() {
            Ok(refused) => {
                anstream::eprintln!("turnout: {name}: {refused}");
                return Ok(FAILED);
            }
            Err(error) => return Err(error),
        },
    };
    match output {
        Output::Text => print(&format!("{name}: {done}"))?,
        Output::Json => print_json(&rollout)?,
    }
    Ok(DONE)
}

fn list(directory: &Directory, output: Output) -> anyhow::Result<u8> {
    let names = directory.rollout_names()?;
    let rollouts: Vec<ModelRollout> =
        names.iter().map(|name| directory.read_rollout(name)).collect::<anyhow::Result<_>>()?;
    match output {
        Output::Text => print(&text::list(&rollouts))?,
        Output::Json => print_json(&rollouts)?,
    }
    warn_of_problems(directory);
    Ok(DONE)
}

fn show(directory: &Directory, name: &Name, output: Output, text: fn(&ModelRollout) -> String) -> anyhow::Result<u8> {
    let rollout = directory.read_rollout(&name.of(directory)?)?;
    match output {
        Output::Text => print(&text(&rollout))?,
        Output::Json => print_json(&json!({
            "name": rollout.metadata.name,
            "spec": rollout.spec,
            "status": rollout.status,
            "problems": directory.problems(),
            "driven": directory.is_driven(),
        }))?,
    }
    warn_if_nobody_drives(directory);
    warn_of_problems(directory);
    Ok(DONE)
}

pub(crate) fn warn_if_nobody_drives(directory: &Directory) {
    if !directory.is_driven() {
        let root = directory.root().display();
        anstream::eprintln!("turnout: nothing drives {root}: start `turnout local --dir {root}`, or nothing moves");
    }
}

fn warn_of_problems(directory: &Directory) {
    for problem in directory.problems() {
        anstream::eprintln!("turnout: problem: {problem}");
    }
}
