//! Requests all the time: as many as go, for what a request costs, and then as many as the slowest can bear, for how long it takes.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use turnout_bench::{Pace, Report, Total};

use super::Repeat;
use super::cell::Cell;
use super::figures::{Figures, Measure};
use crate::bed::usage::{Cpu, memory_bytes};
use crate::bed::{Bed, Peer, Proxy};
use crate::work::{self, Steady, as_f64};

/// So busy a processor is what limits the throughput.
const FULLY_BUSY: f64 = 0.95;
/// Of the slowest peer's throughput.
const BEARABLE: f64 = 0.7;
/// For an answer of each kind.
const LONGEST: Duration = Duration::from_secs(10);
/// Left out of the measurement, while connections are opened and caches fill.
const WARM_UP: Duration = Duration::from_millis(400);
const MIB: f64 = 1_048_576.0;

/// What one measurement has seen.
pub(super) struct Seen {
    pub(super) report: Report,
    cpu: Cpu,
}

pub(super) async fn measure(
    bed: &Bed,
    repeat: &Repeat,
    cell: &Cell,
    work: &Steady,
    figures: &mut Figures,
) -> Result<()> {
    let mut proxies = Vec::new();
    for peer in bed.peers.keys().copied().filter(|peer| work.has_relay || *peer != Peer::Relay) {
        proxies.push((peer, bed.start(peer, work.workers).await?));
    }
    for _ in 0..repeat.rounds {
        for (peer, proxy) in &proxies {
            let seen = look(bed, (*peer, proxy), work, repeat.seconds, Pace::ClosedLoop).await?;
            record_cost(cell, *peer, work.workers, &seen, figures);
            figures.add(cell, *peer, Measure::Memory, as_f64(memory_bytes(proxy.pid())?) / MIB);
        }
    }
    let peaks = proxies.iter().filter_map(|(peer, _)| figures.summary(cell, *peer, Measure::Throughput));
    let slowest = peaks.map(|summary| summary.median).min_by(f64::total_cmp);
    let rate = slowest.and_then(bearable).context("nobody answers")?;
    for _ in 0..repeat.rounds {
        for (peer, proxy) in &proxies {
            let pace = Pace::OpenLoop { requests_per_second: rate };
            let latency = look(bed, (*peer, proxy), work, repeat.seconds, pace).await?.report.total().latency;
            let quantiles = [(Measure::P50, 0.5), (Measure::P99, 0.99), (Measure::P999, 0.999)];
            for (measure, quantile) in quantiles {
                figures.add(cell, *peer, measure, as_f64(latency.quantile_us(quantile)));
            }
        }
    }
    Ok(())
}

/// Looks for so long, or, where that is too short for an answer of each kind, for twice as long, and so on.
pub(super) async fn look(
    bed: &Bed,
    (peer, proxy): (Peer, &Proxy),
    work: &Steady,
    mut seconds: Duration,
    pace: Pace,
) -> Result<Seen> {
    loop {
        let run = work::start(bed, peer, work, pace, Total::UntilStopped { max_requests: u64::MAX })?;
        let handle = run.handle();
        tokio::time::sleep(WARM_UP).await;
        handle.lap();
        let before = Cpu::of(proxy.pid())?;
        tokio::time::sleep(seconds).await;
        let cpu = Cpu::of(proxy.pid())?.since(before);
        let report = handle.lap();
        handle.stop();
        let all = run.report().await;
        let is_enough = report.requests() > 0 && work::has_each(&all);
        if is_enough || all.failed() > 0 || seconds >= LONGEST {
            work::check(peer, work, &all).with_context(|| format!("{} gives no right answers", peer.name()))?;
            // The check is of the warm-up, too.
            ensure!(report.requests() > 0, "{} has answered nothing in {seconds:?}", peer.name());
            return Ok(Seen { report, cpu });
        }
        seconds *= 2;
    }
}

fn record_cost(cell: &Cell, peer: Peer, workers: u32, seen: &Seen, figures: &mut Figures) {
    let requests = as_f64(seen.report.requests());
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6 / requests;
    figures.add(cell, peer, Measure::Cpu, micros(seen.cpu.total()));
    figures.add(cell, peer, Measure::CpuUser, micros(seen.cpu.user));
    figures.add(cell, peer, Measure::CpuSystem, micros(seen.cpu.system));
    let busy = seen.cpu.total().as_secs_f64() / seen.report.elapsed.as_secs_f64() / f64::from(workers);
    figures.add(cell, peer, Measure::Busy, busy * 100.0);
    figures.add(cell, peer, Measure::Throughput, seen.report.requests_per_second());
}

/// The rate at which latencies are compared, of a throughput.
pub(super) fn bearable(throughput: f64) -> Option<NonZeroU32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is above 0 and far below 2^32")]
    NonZeroU32::new((throughput * BEARABLE).ceil() as u32)
}

/// Whether a throughput is the proxy's own, and not that of the load.
pub(super) fn is_own(busy_percent: f64) -> bool {
    busy_percent >= FULLY_BUSY * 100.0
}
