//! What it costs those who are served that Turnout's routes are swapped all the time.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use turnout_bench::Pace;

use super::Repeat;
use super::cell::Cell;
use super::figures::{Figures, Measure};
use super::steady::{bearable, look};
use crate::bed::Peer;
use crate::bed::ask;
use crate::bed::{Bed, configuration};
use crate::work::{Steady, as_f64};

const DOCUMENTS: &str = "turnout.yaml";
/// The metric of the tables that were taken up.
const RELOADS: &str = r#"turnout_reloads_total{result="published"}"#;
/// Swaps.
const FEW: u32 = 10;
const REST: Duration = Duration::from_millis(100);
/// An unrelated route, which is there in every second table.
const OTHER: &str = "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other}
spec:
  hosts: [\"other.example.com\"]
  gateways: [scoring]
  http:
  - route: [{destination: {host: green.example.com}}]
";

pub(super) async fn measure(
    bed: &Bed,
    repeat: &Repeat,
    cell: &Cell,
    work: &Steady,
    figures: &mut Figures,
) -> Result<()> {
    if !bed.peers.contains_key(&Peer::Turnout) {
        return Ok(());
    }
    let peer = Peer::Turnout;
    let proxy = bed.start(peer, work.workers).await?;
    let peak = look(bed, (peer, &proxy), work, repeat.seconds, Pace::ClosedLoop).await?.report.requests_per_second();
    let pace = Pace::OpenLoop { requests_per_second: bearable(peak).context("nothing is answered")? };
    for _ in 0..repeat.rounds {
        let p99 = look(bed, (peer, &proxy), work, repeat.seconds, pace).await?.report.total().latency.p99_us();
        figures.add(cell, peer, Measure::P99, as_f64(p99));
        let before = reloads().await?;
        let written = AtomicU32::new(0);
        let swapped = tokio::select! {
            seen = look(bed, (peer, &proxy), work, repeat.seconds, pace) => seen?.report,
            failed = swap(bed.folder.path(), &written) => return failed,
        };
        figures.add(cell, peer, Measure::P99Swapped, as_f64(swapped.total().latency.p99_us()));
        let swaps = reloads().await? - before;
        let written = written.into_inner();
        // A short run says little of so few.
        let least = if written < FEW { 1.0 } else { f64::from(written) / 2.0 };
        ensure!(swaps >= least, "of {written} swaps only {swaps} were taken up");
        figures.add(cell, peer, Measure::Swaps, swaps);
    }
    Ok(())
}

/// Until something fails, as a mounted ConfigMap does: another file takes the name. Counts how often.
async fn swap(folder: &Path, written: &AtomicU32) -> Result<()> {
    let (file, next) = (folder.join(DOCUMENTS), folder.join("next"));
    let documents = std::fs::read_to_string(configuration(DOCUMENTS))?;
    let mut has_other = false;
    loop {
        has_other = !has_other;
        let other = if has_other { OTHER } else { "" };
        std::fs::write(&next, format!("{documents}{other}"))?;
        std::fs::rename(&next, &file)?;
        written.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(REST).await;
    }
}

/// How many tables the gateway has taken up so far.
async fn reloads() -> Result<f64> {
    let page = ask::get(Peer::turnout_status(), "/metrics").await?;
    let line = page.lines().find_map(|line| line.strip_prefix(RELOADS)).context("the gateway counts no reloads")?;
    line.trim().parse().context("a count is a number")
}
