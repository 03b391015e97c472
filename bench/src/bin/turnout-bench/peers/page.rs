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

const METHOD: &str = "
CPU time is that of the whole proxy, bound to one processor. Latencies are those at 70 % of the throughput
of the slowest, counted from the moment a request was due; by how much the load was late to send it, which shares its
processor with the models, is in all of them alike. A throughput in brackets is that of the load: the proxy had time
left. What each proxy is told stands in `bench/peers`.
";

pub(super) fn write(started: &str, bed: &Bed, repeat: &Repeat, figures: &Figures) -> Result<String> {
    let mut page = String::new();
    let (rounds, seconds) = (repeat.rounds, repeat.seconds.as_secs_f64());
    writeln!(page, "# Turnout beside its peers, {started}\n")?;
    writeln!(page, "{}.", machine()?)?;
    writeln!(page, "Medians of {rounds} rounds of {seconds} s each, in turn, with the least and the most of them.")?;
    writeln!(page, "{}", METHOD.trim_start())?;
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

/// The run's own: what others have left stays.
pub(super) fn save(folder: &Path, started: &str, bed: &Bed, repeat: &Repeat, figures: &Figures) -> Result<()> {
    let versions: serde_json::Map<_, _> =
        bed.peers.iter().map(|(peer, said)| (peer.name().to_owned(), json!(said))).collect();
    let all = json!({ "started": started, "machine": machine()?, "rounds": repeat.rounds, "versions": versions, "figures": figures });
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |end: &str, text: &str| {
        let path = folder.join(format!("{started}.{end}"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("md", &self::write(started, bed, repeat, figures)?)?;
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
    let said = Command::new("lscpu").env("LC_ALL", "C").output().context("there is no lscpu")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{}, Linux {}", processors(&String::from_utf8(said.stdout)?), kernel.trim()))
}

/// Their name, kind and number, of what lscpu says; an ARM has no name in /proc, and may have none at all.
fn processors(said: &str) -> String {
    let of = |name| {
        let line = said.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).filter(|value| !value.is_empty() && *value != "-")
    };
    let name = of("Model name").or_else(|| of("BIOS Model name")).unwrap_or("unnamed");
    format!("{name}, {} processors ({})", of("CPU(s)").unwrap_or("?"), of("Architecture").unwrap_or("?"))
}

/// The moment to the minute, for names and for people.
pub(super) fn now() -> Result<String> {
    let said = Command::new("date").args(["-u", "+%FT%H%MZ"]).output().context("there is no date")?;
    Ok(String::from_utf8(said.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::processors;

    #[test]
    fn processors_have_a_line_on_every_architecture() {
        let check = |said: &str, expected: &str| assert_eq!(processors(said), expected);
        check(
            "Architecture:  x86_64\n  CPU op-mode(s): 32-bit\nCPU(s):   2\nModel name: AMD EPYC\n",
            "AMD EPYC, 2 processors (x86_64)",
        );
        check(
            "Architecture: aarch64\nCPU(s): 4\nVendor ID: ARM\n  Model name: Neoverse-N1\n",
            "Neoverse-N1, 4 processors (aarch64)",
        );
        check("Architecture: aarch64\nCPU(s): 4\nModel name: -\n", "unnamed, 4 processors (aarch64)");
        check("", "unnamed, ? processors (?)");
    }
}
