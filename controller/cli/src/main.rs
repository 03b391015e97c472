//! `turnout`: the command line. It looks at routes (`lint`, `explain`, `diff`), drives rollouts (`rollout`, `wait`),
//! and runs everything on one machine (`demo`, `local`). The gateway and the models of the last two are processes of
//! this same binary. Each command is a module that takes its arguments and returns the exit code.

mod demo;
mod diff;
mod explain;
mod gateway;
mod lint;
mod local;
mod model;
mod model_process;
mod output;
mod rollout;
mod routes;
mod wait;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

// The gateway's own allocator: what `demo` and `local` run is what a cluster runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Splits requests between two versions of a model, and moves them stage by stage from the old one to the new one.
///
/// The routes are Istio's own documents (Gateway, VirtualService, DestinationRule, ServiceEntry). A rollout passes the
/// stages Blue_0, Blue_50, Blue_100, Blue_Green and Green_100: it decides the weights of one rule, and calls a stage
/// reached only when every gateway has confirmed it.
#[derive(Parser)]
#[command(name = "turnout", version, arg_required_else_help = true, max_term_width = 110, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
First steps:
  turnout demo                                     all five stages under load, in a few seconds
  turnout local                                    the same, kept running for curl and Postman
  turnout lint routes.yaml                         what a gateway would say of a routes file
  turnout explain --routes routes.yaml POST /score -H 'x-api-version: blue'

Exit codes: 0 done or reached; 1 refused, failed or rolled back; 2 not doable as asked (usage, files); 3 time-out.
Every flag can be set by the environment variable that its help names.";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Local(local::Arguments),
    Rollout(rollout::Arguments),
    Wait(wait::Arguments),
    Lint(lint::Arguments),
    Explain(explain::Arguments),
    Diff(diff::Arguments),
    #[command(hide = true)]
    Gateway(Box<gateway::Arguments>),
    #[command(hide = true)]
    Model(model_process::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            anstream::eprintln!("turnout: {error:#}");
            ExitCode::from(output::UNUSABLE)
        }
    }
}

fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Demo(arguments) => block_on(demo::run(arguments)),
        Command::Local(arguments) => block_on(local::run(arguments)),
        Command::Rollout(arguments) => rollout::run(arguments),
        Command::Wait(arguments) => wait::run(&arguments),
        Command::Lint(arguments) => lint::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Gateway(arguments) => Ok(gateway::run(*arguments)),
        Command::Model(arguments) => model_process::run(arguments),
    }
}

/// Two threads: the load of the demo on one must not hold up the driver on the other.
fn block_on(future: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_every_visible_flag_has_an_environment_variable() {
        let mut command = Arguments::command();
        command.build();
        command.clone().debug_assert();
        let mut pending: Vec<clap::Command> =
            command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect();
        while let Some(command) = pending.pop() {
            let flags = command.get_arguments().filter(|argument| argument.get_long().is_some());
            for flag in flags.filter(|flag| !["help", "version"].contains(&flag.get_id().as_str())) {
                let name = flag.get_env().unwrap_or_default().to_string_lossy().into_owned();
                assert!(name.starts_with("TURNOUT_"), "{} --{}", command.get_name(), flag.get_id());
            }
            pending.extend(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
        }
    }
}
