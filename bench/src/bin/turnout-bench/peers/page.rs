//! The result: a table for each cell, as a page for people and as JSON.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::Repeat;
use super::cell::{CELLS, Cell};
use super::figures::{Figures, Measure, Summary};
use super::steady::is_own;
use crate::bed::Bed;
use crate::bed::Peer;

/// What stands in every cell that was not measured, or not of the proxy.
const NOTHING: &str = "";

pub(super) fn write(bed: &Bed, repeat: &Repeat, figures: &Figures) -> Result<String> {
    let mut page = String::new();
    let (date, rounds, seconds) = (today()?, repeat.rounds, repeat.seconds.as_secs_f64());
    writeln!(page, "# Turnout beside its peers, {date}\n")?;
    writeln!(page, "{}.", machine()?)?;
    writeln!(page, "Medians of {rounds} rounds of {seconds} s each, in turn, with the least and the most of them.")?;
    writeln!(
        page,
        "CPU time is that of the whole proxy, bound to one processor. Latencies are those at 70 % of the throughput"
    )?;
    writeln!(
        page,
        "of the slowest, counted from the moment a request was due. A throughput in brackets is that of the load: the"
    )?;
    writeln!(page, "proxy had time left. What each proxy is told stands in `bench/peers`.\n")?;
    for (peer, version) in &bed.peers {
        writeln!(page, "- {}: {version}", peer.name())?;
    }
    for (peer, why) in &bed.missing {
        writeln!(page, "- {} is missing: {why}", peer.name())?;
    }
    for cell in &CELLS {
        write_cell(&mut page, bed, figures, cell)?;
    }
    Ok(page)
}

pub(super) fn save(folder: &Path, bed: &Bed, repeat: &Repeat, figures: &Figures) -> Result<()> {
    let date = today()?;
    let versions: serde_json::Map<_, _> =
        bed.peers.iter().map(|(peer, said)| (peer.name().to_owned(), json!(said))).collect();
    let all = json!({ "date": date, "machine": machine()?, "rounds": repeat.rounds, "versions": versions, "figures": figures });
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |end: &str, text: &str| {
        let path = folder.join(format!("{date}.{end}"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("md", &self::write(bed, repeat, figures)?)?;
    write("json", &format!("{}\n", serde_json::to_string(&all)?))
}

fn write_cell(page: &mut String, bed: &Bed, figures: &Figures, cell: &Cell) -> Result<()> {
    let is_known = |measure: &Measure| bed.peers.keys().any(|peer| figures.summary(cell, *peer, *measure).is_some());
    let measures: Vec<Measure> = Measure::ALL.into_iter().filter(is_known).collect();
    let Some(compared) = measures.iter().copied().find(|measure| measure.is_compared()).or(measures.first().copied())
    else {
        return Ok(());
    };
    let of = |peer: Peer| figures.summary(cell, peer, compared).map(|summary| summary.median);
    let best =
        bed.peers.keys().filter(|peer| !matches!(peer, Peer::Relay | Peer::Turnout)).filter_map(|peer| of(*peer));
    let best = best.min_by(f64::total_cmp);

    writeln!(page, "\n## {} {}\n", cell.id, cell.name)?;
    let heads: Vec<String> = measures.iter().map(|measure| head(*measure)).collect();
    writeln!(page, "| | {} | of the relay | of the best peer |", heads.join(" | "))?;
    writeln!(page, "|---|{}---:|---:|", "---:|".repeat(measures.len()))?;
    for peer in bed.peers.keys().copied() {
        let Some(own) = of(peer) else { continue };
        let values: Vec<String> = measures.iter().map(|measure| value(figures, cell, peer, *measure)).collect();
        let [relay, best] = [of(Peer::Relay), best]
            .map(|other| other.map_or(NOTHING.to_owned(), |other| format!("{:.2}", own / other)));
        writeln!(page, "| {} | {} | {relay} | {best} |", peer.name(), values.join(" | "))?;
    }
    Ok(())
}

fn head(measure: Measure) -> String {
    let (name, unit) = measure.words();
    if unit.is_empty() { name.to_owned() } else { format!("{name}, {unit}") }
}

fn value(figures: &Figures, cell: &Cell, peer: Peer, measure: Measure) -> String {
    let Some(summary) = figures.summary(cell, peer, measure) else { return NOTHING.to_owned() };
    let Summary { median, least, most } = summary;
    let text = if measure.is_compared() && least < most {
        format!("{} ({}-{})", short(median), short(least), short(most))
    } else {
        short(median)
    };
    let busy = figures.summary(cell, peer, Measure::Busy);
    let is_of_the_load = measure == Measure::Throughput && busy.is_none_or(|busy| !is_own(busy.median));
    if is_of_the_load { format!("[{text}]") } else { text }
}

/// To three digits or so.
fn short(value: f64) -> String {
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$}")
}

fn machine() -> Result<String> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let mut models = processors.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = models.next().map_or("an unnamed processor", |(_, model)| model.trim());
    let count = std::thread::available_parallelism().map_or(1, usize::from).max(models.count() + 1);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{model}, {count} processors, Linux {}", kernel.trim()))
}

fn today() -> Result<String> {
    let said = Command::new("date").args(["-u", "+%F"]).output().context("there is no date")?;
    Ok(String::from_utf8(said.stdout)?.trim().to_owned())
}
