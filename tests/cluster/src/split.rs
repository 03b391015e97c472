//! Load on a gateway whose answers are held against the weights: each backend's share is as wanted, pins reach their
//! model, and nothing fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use turnout_rollout::Weights;

use crate::cluster::Cluster;
use crate::load::{KindReport, LoadProcess, LoadReport, LoadSpec, RequestKind};

/// The header that picks a model.
pub const HEADER: &str = "x-api-version";

/// So many requests for the split are looked at, unless a load says otherwise, and more where one backend would get fewer
/// than [`RARE`] of them: else its absence would be within the bounds of chance.
const LOOKED_AT: u64 = 2000;
const RARE: u64 = 40;
const RATE: NonZeroU32 = NonZeroU32::new(800).expect("800 is above 0");
const DEADLINE: Duration = Duration::from_mins(2);
/// So many standard deviations a share may be off: less than one in a million is.
const TOLERANCE: f64 = 5.0;

/// Requests for the split and for each model, all the time, at a constant rate.
#[derive(Debug)]
pub struct SplitLoad<'cluster> {
    cluster: &'cluster Cluster,
    process: LoadProcess,
    looked_at: u64,
    on_their_way: u64,
}

impl<'cluster> SplitLoad<'cluster> {
    /// Of eight in ten any model may answer, and one each is pinned to green and to blue.
    pub fn start(cluster: &'cluster Cluster, gateway: SocketAddr, host: &str) -> Result<Self> {
        Self::with_pins(cluster, gateway, host, &["green", "blue"])
    }

    /// Only requests that any model may answer, for when one of them may be absent.
    pub fn without_pins(cluster: &'cluster Cluster, gateway: SocketAddr, host: &str) -> Result<Self> {
        Self::with_pins(cluster, gateway, host, &[])
    }

    /// Requests that any model may answer, and an eighth as many pinned to each of these.
    pub fn with_pins(cluster: &'cluster Cluster, gateway: SocketAddr, host: &str, pins: &[&str]) -> Result<Self> {
        let pins = pins.iter().map(|backend| RequestKind::pinned(backend, HEADER, backend));
        let kinds = std::iter::once(RequestKind::split()).chain(pins);
        let spec = kinds.fold(LoadSpec::new(gateway).at_rate(RATE), |spec, kind| spec.with(kind.host(host)));
        Ok(Self { cluster, process: LoadProcess::start(cluster, &spec)?, looked_at: LOOKED_AT, on_their_way: 0 })
    }

    /// What a real model can bear, which answers slowly: what each connection waits for when a check begins is left out of
    /// it. So many requests for the split are looked at.
    pub fn of(cluster: &'cluster Cluster, spec: &LoadSpec, looked_at: u64) -> Result<Self> {
        let on_their_way = 2 * u64::try_from(spec.connections)?;
        Ok(Self { cluster, process: LoadProcess::start(cluster, spec)?, looked_at, on_their_way })
    }

    /// Looks at what comes from here on: the split is as wanted, pins reach their model, and nothing fails.
    pub fn check(&mut self, when: &str, wanted: Weights) -> Result<()> {
        if self.on_their_way > 0 {
            check_lossless(&self.look(self.on_their_way)?)?;
        }
        let seen = self.look(enough(wanted, self.looked_at))?;
        println!("{when}: wanted {wanted}; {}", account(&seen));
        check_lossless(&seen).with_context(|| when.to_owned())?;
        check_split(&seen.by_backend, wanted).with_context(|| when.to_owned())
    }

    /// The same, where it is not known when the gateway takes the weights up: it looks again until it has.
    pub fn settle(&mut self, when: &str, wanted: Weights) -> Result<()> {
        let cluster = self.cluster;
        cluster.wait_until("the gateway has the weights", DEADLINE, || self.check(when, wanted))
    }

    /// The account of so many requests for the split, from here on, and of the pins among them.
    pub fn look(&mut self, requests: u64) -> Result<LoadReport> {
        self.process.lap()?;
        let first = self.answered()?;
        let cluster = self.cluster;
        cluster.wait_until("enough requests were answered", DEADLINE, || {
            let answered = self.answered()? - first;
            ensure!(answered >= requests, "{answered} of {requests}");
            Ok(())
        })?;
        self.process.lap()
    }

    /// The account so far.
    pub fn so_far(&mut self) -> Result<LoadReport> {
        self.process.so_far()
    }

    /// Sends no more; nothing has failed from the start on.
    pub fn finish(self) -> Result<()> {
        check_lossless(&self.end()?)
    }

    /// Sends no more, whatever has failed.
    pub fn end(self) -> Result<LoadReport> {
        let all = self.process.finish()?;
        println!("in all: {}", account(&all));
        Ok(all)
    }

    fn answered(&mut self) -> Result<u64> {
        Ok(self.process.so_far()?.by_backend.values().sum())
    }
}

/// How many requests show these weights, and at least so many.
fn enough(wanted: Weights, looked_at: u64) -> u64 {
    let (green, blue) = (u64::from(wanted.green), u64::from(wanted.blue));
    let rarer = green.min(blue);
    ((green + blue) * RARE).checked_div(rarer).map_or(looked_at, |needed| needed.max(looked_at))
}

fn check_lossless(report: &LoadReport) -> Result<()> {
    ensure!(report.failed == 0, "requests have failed: {report:#?}");
    ensure!(report.pins_wrong == 0, "a pin reached the other model: {report:#?}");
    for (name, kind) in pins(report) {
        let answered: Vec<_> = kind.by_backend.keys().map(|backend| format!("pinned {backend}")).collect();
        ensure!(kind.sent > 0 && answered == [name.as_str()], "{name}: {kind:?}");
    }
    Ok(())
}

fn pins(report: &LoadReport) -> impl Iterator<Item = (&String, &KindReport)> {
    report.kinds.iter().filter(|(name, _)| name.starts_with("pinned "))
}

fn account(report: &LoadReport) -> String {
    let pins: Vec<_> = pins(report).map(|(name, kind)| format!("; {name} {:?}", kind.by_backend)).collect();
    let (split, pins, wrong) = (&report.by_backend, pins.concat(), report.pins_wrong);
    format!("split {split:?}{pins}; {wrong} pins wrong, {} of {} failed", report.failed, report.sent)
}

#[expect(clippy::cast_precision_loss, reason = "a count of requests stays far below 2^52")]
fn check_split(seen: &BTreeMap<String, u64>, wanted: Weights) -> Result<()> {
    let count = |backend: &str| seen.get(backend).copied().unwrap_or_default();
    let (green, blue) = (count("green"), count("blue"));
    let all: u64 = seen.values().sum();
    ensure!(green + blue == all && all > 0, "somebody else answered: {seen:?}");
    let share = f64::from(wanted.blue) / f64::from(wanted.green + wanted.blue);
    let expected = share * all as f64;
    let tolerance = TOLERANCE * (expected * (1.0 - share)).sqrt();
    ensure!((blue as f64 - expected).abs() <= tolerance, "{wanted} is wanted, {seen:?} is seen");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_right_within_the_bounds_of_chance() {
        let check = |(green, blue): (u32, u32), (seen_green, seen_blue): (u64, u64), expected: bool| {
            let seen = BTreeMap::from([("green".to_owned(), seen_green), ("blue".to_owned(), seen_blue)]);
            assert_eq!(check_split(&seen, Weights { green, blue }).is_ok(), expected, "{seen:?}");
        };
        check((50, 50), (1000, 1000), true);
        check((50, 50), (1100, 900), true);
        check((50, 50), (1120, 880), false);
        check((100, 0), (2000, 0), true);
        check((100, 0), (1999, 1), false);
        check((0, 100), (0, 0), false);
        let enough = |green, blue| enough(Weights { green, blue }, LOOKED_AT);
        let seen = enough(995, 5);
        assert_eq!((seen, enough(90, 10)), (8000, LOOKED_AT));
        check((995, 5), (seen - 40, 40), true);
        check((995, 5), (seen, 0), false);
        check((995, 5), (seen - 80, 80), false);
    }
}
