//! Metrics that are counted: Istio's standard set and the gateway's own. The only place that knows the metrics library.
//! What can be read off the gateway's state at any time is not kept here but written when it is asked for.

mod standard;

pub(crate) use standard::{LocalSeries, Outcome, Sizes};

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use standard::StandardSeries;
use turnout_routes::router::Workload;

/// A count that others keep.
pub(crate) type Counter = IntCounter;
/// A level that others keep.
pub(crate) type Level = IntGauge;
/// Why metrics could not be set up.
pub(crate) type MetricsError = prometheus::Error;

/// All series of the process.
pub(crate) struct Metrics {
    registry: Registry,
    source: SourceNames,
    standard: StandardSeries,
    pub(crate) reloads: IntCounterVec,
    pub(crate) rejected: IntGauge,
    pub(crate) connections: IntGauge,
    pub(crate) connections_total: IntCounter,
    pub(crate) connections_refused: IntCounterVec,
    pub(crate) connection_errors: IntCounterVec,
    pub(crate) upstream_connects: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) local_answers: IntCounterVec,
    pub(crate) access_log_dropped: IntCounter,
    pub(crate) late_workers: IntCounter,
}

/// What the gateway is called in metrics.
#[derive(Clone, Debug)]
pub(crate) struct SourceNames {
    /// `source_workload`, and its canonical service and app.
    pub(crate) workload: String,
    /// `source_workload_namespace`.
    pub(crate) namespace: String,
}

impl Metrics {
    /// Registers every series.
    pub(crate) fn new(source: SourceNames) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Self {
            standard: StandardSeries::new()?,
            reloads: counters(r, "turnout_reloads_total", "Routes files read, by what became of them.", &["result"])?,
            rejected: gauge(
                r,
                "turnout_routes_rejected",
                "1 while the newest routes file is not the one that serves.",
            )?,
            connections: gauge(r, "turnout_downstream_connections", "Connections from clients.")?,
            connections_total: counter(r, "turnout_downstream_connections_total", "Connections from clients, so far.")?,
            connections_refused: counters(
                r,
                "turnout_downstream_connections_refused_total",
                "Connections closed at once, by limit.",
                &["limit"],
            )?,
            connection_errors: counters(
                r,
                "turnout_downstream_errors_total",
                "Connections that ended in an error, by kind.",
                &["kind"],
            )?,
            upstream_connects: counters(
                r,
                "turnout_upstream_connects_total",
                "Connections to backends, by how the attempt ended.",
                &["backend", "result"],
            )?,
            retries: counters(r, "turnout_retries_total", "Tries after the first, by cause.", &["backend", "cause"])?,
            local_answers: counters(
                r,
                "turnout_local_answers_total",
                "Requests that the gateway answered with an error of its own.",
                &["reason", "fault"],
            )?,
            access_log_dropped: counter(
                r,
                "turnout_access_log_dropped_total",
                "Access log lines that were not written.",
            )?,
            late_workers: counter(
                r,
                "turnout_scrape_late_workers_total",
                "Workers whose counts were not in time for a scrape.",
            )?,
            source,
            registry,
        };
        let build = IntGaugeVec::new(Opts::new("istio_build", "What runs here."), &["component", "tag"])?;
        register(&metrics.registry, build)?.with_label_values(&["turnout-proxy", env!("CARGO_PKG_VERSION")]).set(1);
        Ok(metrics)
    }

    /// One worker's share in the series of requests that are alike.
    pub(super) fn local_series(&self, workload: Option<&Workload>, outcome: Outcome) -> LocalSeries {
        self.standard.local(&self.source, workload, outcome)
    }

    /// All series in Prometheus' text format. The workers' cells must have been flushed before.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let encoder = TextEncoder::new();
        for families in [self.standard.gather(), self.registry.gather()] {
            if let Err(error) = encoder.encode_utf8(&families, &mut text) {
                tracing::error!(%error, "metrics could not be written");
            }
        }
        text
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    register(registry, IntCounter::new(name, help)?)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    register(registry, IntGauge::new(name, help)?)
}
