//! `turnout`: the command line. It makes and drives rollouts (`init`, `rollout`, `wait`), tells whether an installation is
//! well (`check`, `routes`, `probe`), judges a model by what was counted (`verdict`, `compare`), looks at routes in files
//! (`lint`, `explain`, `diff`), and runs everything on one machine (`demo`, `local`). The gateway and the models of the last
//! two are processes of this same binary. Under the name `kubectl-turnout` it is a plugin of kubectl. Each command is a
//! module that takes its arguments and returns the exit code.

// Only `output` writes to the standard streams: the macros of the standard library panic where nobody reads.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
#[cfg(feature = "cluster")]
mod check;
mod client;
mod compare;
mod completion;
mod demo;
mod diff;
mod evidence;
mod explain;
mod flags;
mod gateway;
#[cfg(feature = "cluster")]
mod init;
mod lint;
mod local;
mod model;
mod model_process;
#[cfg(not(feature = "cluster"))]
mod no_cluster;
mod output;
mod probe;
mod rollout;
mod route_files;
#[cfg(feature = "cluster")]
mod routes;
mod suggest;
mod terminal;
mod verdict;
mod wait;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::ffi::OsStr;
use std::path::Path;
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
#[command(name = NAME, version, arg_required_else_help = true, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What it is called, and what kubectl calls it: kubectl finds it as `kubectl-turnout`.
const NAME: &str = "turnout";
const PLUGIN_NAME: &str = "kubectl turnout";

const AFTER_HELP: &str = "\
First steps:
  turnout demo                                     all five stages under load, in a few seconds
  turnout local                                    the same, kept running for curl and Postman
  turnout init model -n abtesting                  the ModelRollout for a VirtualService that is there
  turnout check                                    whether the installation in a cluster is well
  turnout rollout status --watch                   where a rollout is, on one screen
  turnout verdict --stable 9/9000 --candidate 9/90 whether a model is worse, by failures of requests
  turnout lint routes.yaml                         what a gateway would say of a routes file
  turnout explain --routes routes.yaml POST /score -H 'x-api-version: blue'

Exit codes: 0 done, reached or well; 1 refused, failed, rolled back or different; 2 not doable as asked (usage, files, \
no access to the cluster, no such rollout); 3 time-out, or inconclusive.
Every flag can be set by the environment variable that its help names.";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Local(local::Arguments),
    Rollout(Box<rollout::Arguments>),
    Wait(Box<wait::Arguments>),
    #[cfg(feature = "cluster")]
    Check(check::Arguments),
    #[cfg(feature = "cluster")]
    Routes(routes::Arguments),
    #[cfg(feature = "cluster")]
    Init(init::Arguments),
    #[cfg(not(feature = "cluster"))]
    #[command(hide = true, aliases = ["routes", "init"])]
    Check(no_cluster::Arguments),
    Probe(probe::Arguments),
    Verdict(Box<verdict::Arguments>),
    Compare(Box<compare::Arguments>),
    Lint(lint::Arguments),
    Explain(explain::Arguments),
    Diff(diff::Arguments),
    Completion(completion::Arguments),
    #[command(hide = true)]
    Gateway(Box<gateway::Arguments>),
    #[command(hide = true)]
    Model(model_process::Arguments),
}

fn main() -> ExitCode {
    let mut command = command(program());
    command.build();
    let words = flags::behind_the_verb(&command, std::env::args_os());
    let parsed = Arguments::from_arg_matches(&command.get_matches_from(words));
    match run(parsed.unwrap_or_else(|error| error.exit()).command) {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.is::<output::NobodyReads>() => ExitCode::from(output::UNREAD),
        Err(error) => {
            output::remark(&format!("{NAME}: {error:#}"));
            ExitCode::from(output::UNUSABLE)
        }
    }
}

/// How people call it, by the name under which it was started.
fn name_of(program: Option<&OsStr>) -> &'static str {
    let stem = program.and_then(|program| Path::new(program).file_stem());
    if stem.is_some_and(|stem| stem == "kubectl-turnout") { PLUGIN_NAME } else { NAME }
}

/// How it was called.
fn program() -> &'static str {
    name_of(std::env::args_os().next().as_deref())
}

/// The command line, with help that calls it so.
fn command(name: &'static str) -> clap::Command {
    Arguments::command().bin_name(name).after_help(AFTER_HELP.replace("  turnout ", &format!("  {name} ")))
}

fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Demo(arguments) => block_on(demo::run(arguments)),
        Command::Local(arguments) => block_on(local::run(arguments)),
        Command::Rollout(arguments) => block_on(rollout::run(*arguments)),
        Command::Wait(arguments) => block_on(wait::run(*arguments)),
        #[cfg(feature = "cluster")]
        Command::Check(arguments) => block_on(check::run(arguments)),
        #[cfg(feature = "cluster")]
        Command::Routes(arguments) => block_on(routes::run(arguments)),
        #[cfg(feature = "cluster")]
        Command::Init(arguments) => block_on(init::run(arguments)),
        #[cfg(not(feature = "cluster"))]
        Command::Check(arguments) => no_cluster::run(&arguments),
        Command::Probe(arguments) => block_on(probe::run(arguments)),
        Command::Verdict(arguments) => block_on(verdict::run(*arguments)),
        Command::Compare(arguments) => block_on(compare::run(*arguments)),
        Command::Lint(arguments) => lint::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Completion(arguments) => completion::run(&arguments, &Arguments::command()),
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

    #[test]
    fn kubectl_finds_it_as_a_plugin_and_help_calls_it_so() {
        let check = |program: &str, expected| assert_eq!(name_of(Some(OsStr::new(program))), expected, "{program}");
        check("turnout", "turnout");
        check("/usr/local/bin/turnout", "turnout");
        check("kubectl-turnout", "kubectl turnout");
        check("/home/me/.krew/bin/kubectl-turnout", "kubectl turnout");
        assert_eq!(name_of(None), "turnout");
        let help = command(PLUGIN_NAME).render_long_help().to_string();
        assert!(help.contains("Usage: kubectl turnout <COMMAND>"), "{help}");
        assert!(help.contains("\n  kubectl turnout rollout status --watch"), "{help}");
    }

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
