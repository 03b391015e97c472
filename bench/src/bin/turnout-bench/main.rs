//! `turnout-bench`: sends load and measures. Results go to stdout, everything else to stderr.
//!
//! Exit status: 0 if all went well, 1 if the measurement shows a failure, 2 if it could not be made.

mod load;

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
    Load(load::Arguments),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Load(arguments) => load::run(arguments).await,
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
