//! `turnout demo`: the whole of Turnout in a few seconds on one machine. Two models, a real gateway process and the
//! stage machine walk through all stages under load, and every promise is checked: the splits, the pinned requests, and
//! that nothing fails.

mod progress;
mod report;
mod tally;
mod traffic;
mod walk;

use crate::local::{GatewayOptions, Local, Scratch};
use crate::output::{DONE, FAILED, Output, print, print_json};
use anyhow::{Context as _, bail};
use clap::Args;
use progress::Progress;
use report::{HEADING, Outcome};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tally::Tally;
use tokio::signal::unix::{SignalKind, signal};
use traffic::Traffic;
use turnout_bench::Report;
use turnout_rollout::{Backend, STAGE_TABLE, Stage, Weights};
use walk::Walk;

/// Walks through all stages of a rollout under load, on this machine, and checks what it sees.
///
/// Starts two models ("New Model A" as green, "New Model B" as blue), a gateway and the stage machine over a fresh
/// directory. Of ten requests eight carry no header and are split, one is pinned to green and one to blue by
/// x-api-version. A request counts as a stage's if it was sent after the gateway had confirmed that stage and before
/// the next change; one that fails counts always.
///
/// Exit code: 0 if all held (no request failed, splits within 4 standard errors, 0 and 100 % exact, every pinned
/// request at its backend, every stage confirmed), 1 if not, 2 if it could not run.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Roll back once this stage is reached, and check that everything goes to the stable model.
    #[arg(long, value_name = "STAGE", env = "TURNOUT_ROLLBACK_AT", value_parser = parse_stage)]
    rollback_at: Option<Stage>,

    /// Requests for each stage, at least.
    #[arg(long, value_name = "COUNT", env = "TURNOUT_REQUESTS", default_value_t = 2000, value_parser = parse_requests)]
    requests: usize,

    /// Keep-alive connections that send them, each its next request when it has the last answer.
    #[arg(long, value_name = "COUNT", env = "TURNOUT_CONNECTIONS", default_value_t = 8, value_parser = parse_lanes)]
    connections: usize,

    /// Worker threads of the gateway; 0 is one per core.
    #[arg(long, value_name = "COUNT", env = "TURNOUT_WORKERS", default_value_t = 2)]
    workers: usize,

    /// How to print the result.
    #[arg(short = 'o', long, value_enum, env = "TURNOUT_OUTPUT", default_value = "text")]
    output: Output,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let started = Instant::now();
    let scratch = Scratch::new("turnout-demo")?;
    let progress = Progress::new(arguments.output);
    let done = walk_under_load(&arguments, &scratch, &progress).await;
    progress.end();
    let (outcome, load) = done?;
    let seconds = started.elapsed().as_secs_f64();
    match arguments.output {
        Output::Text => print(&format!("\n{}", outcome.verdict(&load, seconds)))?,
        Output::Json => print_json(&outcome.to_json(&load, seconds))?,
    }
    Ok(if outcome.problems(&load).is_empty() { DONE } else { FAILED })
}

/// Starts everything, walks, and ends everything whatever happened.
async fn walk_under_load(
    arguments: &Arguments,
    scratch: &Scratch,
    progress: &Progress,
) -> anyhow::Result<(Outcome, Report)> {
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    progress.say("starting two models and a gateway".to_owned());
    let listen = "127.0.0.1:0".parse().context("loopback is an address")?;
    let options = GatewayOptions { listen, workers: arguments.workers, ignore_environment: true };
    let (mut local, notices) = Local::start(scratch.path(), options).await?;
    let may_remove_blue = local.removal_switch();
    may_remove_blue.store(false, Ordering::Relaxed);
    let tally = Arc::new(Tally::default());
    let mut traffic = Traffic::start(local.address(), arguments.connections, Arc::clone(&tally))?;
    let mut walk = Walk {
        directory: local.directory.clone(),
        gateway: local.address(),
        tally,
        notices,
        may_remove_blue,
        requests: arguments.requests,
        progress,
        weights: Weights::all(Backend::Green),
    };
    progress.print(HEADING)?;
    let outcome = tokio::select! {
        outcome = walk.run(&mut traffic, arguments.rollback_at) => outcome,
        failed = local.watch_over() => failed.and_then(|()| bail!("the demo's processes are gone")),
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminated.recv() => Err(anyhow::anyhow!("told to end")),
    };
    let load = traffic.end().await;
    local.end().await;
    Ok((outcome?, load))
}

fn parse_stage(text: &str) -> Result<Stage, String> {
    let stages = STAGE_TABLE.map(|row| row.stage);
    let stage = stages.into_iter().find(|stage| stage.to_string() == text);
    stage.ok_or_else(|| {
        format!(
            "`{text}` is not a stage of the demo: write one of {}",
            stages.map(|stage| stage.to_string()).join(", ")
        )
    })
}

/// Fewer say nothing of a split.
fn parse_requests(text: &str) -> Result<usize, String> {
    parse_count(text, 100, 10_000_000)
}

fn parse_lanes(text: &str) -> Result<usize, String> {
    parse_count(text, 1, 10_000)
}

fn parse_count(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (least..=most).contains(count));
    count.ok_or_else(|| format!("write a number from {least} to {most}"))
}
