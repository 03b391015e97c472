//! `turnout-bench peers`: Turnout beside HAProxy, nginx, Envoy and a bare relay, doing the same work in the same run, one after the
//! other in every round. Each proxy has one worker on a processor of its own; the load and the models have another one.
//!
//! What it prints it has measured: a peer that is missing is said to be, and an answer that is not right ends the run.

mod cell;
mod figures;
mod idle;
mod page;
mod start_up;
mod steady;
mod swaps;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use cell::{CELLS, Cell, Work};
use figures::Figures;

use crate::bed::{self, Bed, Peer};

/// Measures Turnout beside HAProxy, nginx, Envoy and a bare relay.
///
/// CPU time per request is that of the whole proxy. A throughput is only given if the proxy was what limited it. Latencies are
/// those at 70 % of what the slowest of them can bear, counted from the moment a request was due.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these cells.
    #[arg(long, value_name = "CELL,...", value_delimiter = ',')]
    cells: Vec<String>,
    /// Only these proxies.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_enum)]
    peers: Vec<Peer>,
    #[command(flatten)]
    repeat: Repeat,
    #[command(flatten)]
    bed: bed::Machine,
    /// A folder for the page and its JSON, each named by the start of the run (UTC); without it the page is only printed.
    #[arg(long, value_name = "PATH")]
    results: Option<PathBuf>,
}

/// How often and how long.
#[derive(Args)]
struct Repeat {
    /// How often each is measured.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_seconds)]
    seconds: Duration,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number")?;
    if !(0.1..=60.0).contains(&seconds) {
        return Err("not from 0.1 to 60".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Measures cell by cell; whether all is measured that was asked for.
pub(crate) async fn run(arguments: Arguments) -> Result<bool> {
    let cells: Vec<&Cell> = CELLS.iter().filter(|cell| arguments.wants(cell)).collect();
    let ids = CELLS.map(|cell| cell.id);
    let unknown = arguments.cells.iter().find(|id| !ids.contains(&id.as_str()));
    ensure!(unknown.is_none(), "there is no cell {unknown:?}; there are {}", ids.join(", "));
    let bed = Bed::set(&arguments.bed, &arguments.peers()).await?;
    for (peer, why) in &bed.missing {
        eprintln!("{} is missing: {why}", peer.name());
    }
    let (started, repeat, mut figures) = (page::now()?, &arguments.repeat, Figures::default());
    for cell in cells {
        eprintln!("cell {}: {}", cell.id, cell.name);
        let measured = match &cell.work {
            Work::Steady(work) => steady::measure(&bed, repeat, cell, work, &mut figures).await,
            Work::Idle(idle) => idle::measure(&bed, cell, *idle, &mut figures).await,
            Work::Swaps(work) => swaps::measure(&bed, repeat, cell, work, &mut figures).await,
            Work::StartUp => start_up::measure(&bed, repeat, cell, &mut figures).await,
        };
        measured.with_context(|| format!("cell {}", cell.id))?;
        // What is measured is not lost with a later cell.
        if let Some(folder) = &arguments.results {
            page::save(folder, &started, &bed, repeat, &figures)?;
        }
    }
    print!("{}", page::write(&started, &bed, repeat, &figures)?);
    Ok(bed.missing.is_empty())
}

impl Arguments {
    fn wants(&self, cell: &Cell) -> bool {
        self.cells.is_empty() || self.cells.iter().any(|id| id == cell.id)
    }

    /// All of them, unless some are named.
    fn peers(&self) -> Vec<Peer> {
        let is_wanted = |peer: &Peer| self.peers.is_empty() || self.peers.contains(peer);
        Peer::ALL.into_iter().filter(is_wanted).collect()
    }
}
