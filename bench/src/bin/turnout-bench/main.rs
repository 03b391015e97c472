//! `turnout-bench`: sends load and measures. Results go to stdout, everything else to stderr.
//!
//! Exit status: 0 if all went well, 1 if the measurement shows a failure, 2 if it could not be made.

mod bed;
mod instructions;
mod load;
mod models;
mod peers;
mod relay;
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sends load to an HTTP server and accounts for every request.
#[derive(Parser)]
#[command(name = "turnout-bench", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Instructions(instructions::Arguments),
    Load(load::Arguments),
    Models(models::Arguments),
    Peers(peers::Arguments),
    Relay(relay::Arguments),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Instructions(arguments) => instructions::run(arguments).await,
        Command::Load(arguments) => load::run(arguments).await,
        Command::Models(arguments) => models::run(&arguments).await,
        Command::Peers(arguments) => peers::run(arguments).await,
        Command::Relay(arguments) => relay::run(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("turnout-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// In a release nobody would look.
    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
