//! Load on a gateway, and whether what comes back is what the weights say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use turnout_cluster::{Cluster, KindReport, LoadProcess, LoadReport, LoadSpec, RequestKind};
use turnout_rollout::Weights;

/// The header that picks a model.
const HEADER: &str = "x-api-version";
/// So many requests for the split are looked at.
const LOOKED_AT: u64 = 2000;
const RATE: NonZeroU32 = NonZeroU32::new(400).expect("400 is above 0");
const DEADLINE: Duration = Duration::from_mins(2);
/// So many standard deviations a share may be off: less than one in a million is.
const TOLERANCE: f64 = 5.0;

/// Requests for the split and for each model, all the time.
#[derive(Debug)]
pub(crate) struct Load<'cluster> {
    cluster: &'cluster Cluster,
    process: LoadProcess,
}

impl<'cluster> Load<'cluster> {
    pub(crate) fn start(cluster: &'cluster Cluster, gateway: SocketAddr, host: &str) -> Result<Self> {
        Self::with_pins(cluster, gateway, host, &["green", "blue"])
    }

    /// Requests for the split alone: what asks for a backend that is removed is not answered.
    pub(crate) fn without_pins(cluster: &'cluster Cluster, gateway: SocketAddr, host: &str) -> Result<Self> {
        Self::with_pins(cluster, gateway, host, &[])
    }

    fn with_pins(cluster: &'cluster Cluster, gateway: SocketAddr, host: &str, pins: &[&str]) -> Result<Self> {
        let spec = LoadSpec::new(gateway).at_rate(RATE).with(RequestKind::split().host(host));
        let pins = pins.iter().map(|backend| RequestKind::pinned(backend, HEADER, backend).host(host));
        Ok(Self { cluster, process: LoadProcess::start(cluster, &pins.fold(spec, LoadSpec::with))? })
    }

    /// Looks at what comes from here on: the split is as wanted, pins reach their model, and nothing fails.
    pub(crate) fn check(&mut self, when: &str, wanted: Weights) -> Result<()> {
        self.process.lap()?;
        let first = self.split_requests()?;
        let cluster = self.cluster;
        cluster.wait_until("enough requests were answered", DEADLINE, || {
            let answered = self.split_requests()? - first;
            ensure!(answered >= LOOKED_AT, "{answered} of {LOOKED_AT}");
            Ok(())
        })?;
        let seen = self.process.lap()?;
        println!("{when}: wanted {wanted}; {}", account(&seen));
        check_answers(&seen).with_context(|| when.to_owned())?;
        check_split(&seen.by_backend, wanted).with_context(|| when.to_owned())
    }

    /// The same, where it is not known when the gateway takes the weights up: it looks again until it has.
    pub(crate) fn settle(&mut self, when: &str, wanted: Weights) -> Result<()> {
        let cluster = self.cluster;
        cluster.wait_until("the gateway has the weights", DEADLINE, || self.check(when, wanted))
    }

    /// Sends no more: nothing has failed from the start on.
    pub(crate) fn finish(self) -> Result<()> {
        let all = self.process.finish()?;
        println!("in all: {}", account(&all));
        check_answers(&all)
    }

    fn split_requests(&mut self) -> Result<u64> {
        Ok(self.process.so_far()?.by_backend.values().sum())
    }
}

fn account(report: &LoadReport) -> String {
    let pins: Vec<_> = pins(report).map(|(name, kind)| format!("; {name} {:?}", kind.by_backend)).collect();
    let (split, pins, wrong) = (&report.by_backend, pins.concat(), report.pins_wrong);
    format!("split {split:?}{pins}; {wrong} pins wrong, {} of {} failed", report.failed, report.sent)
}

fn pins(report: &LoadReport) -> impl Iterator<Item = (&String, &KindReport)> {
    report.kinds.iter().filter(|(name, _)| name.starts_with("pinned "))
}

/// Every request has an answer, and those for a model have it from that model.
fn check_answers(report: &LoadReport) -> Result<()> {
    ensure!(report.failed == 0 && report.pins_wrong == 0, "{report:#?}");
    for (name, kind) in pins(report) {
        let answered: Vec<_> = kind.by_backend.keys().map(|backend| format!("pinned {backend}")).collect();
        ensure!(kind.sent > 0 && answered == [name.as_str()], "{name}: {kind:?}");
    }
    Ok(())
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
