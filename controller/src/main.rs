//! `turnout-controller`: drives the rollouts of a cluster (`run`), prints their definition (`crd`), and tidies up before
//! a release goes (`cleanup`).

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use std::io::Write as _;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use turnout_controller::settings::Settings;
use turnout_controller::{app, cleanup, client, crd};

/// Walks rollouts of scoring models through their stages by what it publishes to the gateways, or by the weights of
/// Istio's VirtualServices.
///
/// Exit codes: 0 done, 1 failed, 2 usage.
#[derive(Parser)]
#[command(name = "turnout-controller", version, arg_required_else_help = true, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Drives rollouts until it is told to stop.
    Run {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        log: Log,
    },
    /// Prints the CustomResourceDefinition of a ModelRollout.
    Crd,
    /// Makes every controller of the release stand still, and removes what they made in the governed namespaces.
    Cleanup {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        log: Log,
    },
}

#[derive(Args)]
struct Log {
    /// What it logs on standard error: error, warn, info, debug, or a tracing filter.
    #[arg(long, value_name = "FILTER", env = "TURNOUT_LOG", default_value = "info")]
    log: String,

    /// The log's form: json or text.
    #[arg(long, value_name = "FORM", env = "TURNOUT_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    Json,
    Text,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "turnout-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Crd => std::io::stdout().write_all(crd::yaml().as_bytes()).context("cannot print"),
        Command::Run { settings, log } => {
            log.init()?;
            block_on(app::run(settings))
        }
        Command::Cleanup { settings, log } => {
            log.init()?;
            block_on(async {
                for removed in cleanup::run(&client::connect()?, &settings).await? {
                    tracing::info!("removed: {removed}");
                }
                Ok(())
            })
        }
    }
}

impl Log {
    fn init(&self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(&self.log).with_context(|| format!("--log: `{}` is no filter", self.log))?;
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Json => builder.json().init(),
            LogFormat::Text => builder.with_ansi(false).init(),
        }
        Ok(())
    }
}

fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(future)
}
