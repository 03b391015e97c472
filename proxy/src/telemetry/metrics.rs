//! Metrics that are counted: Istio's standard set and the gateway's own. The only place that knows the metrics library.
//! What can be read off the gateway's state at any time is not kept here but written when it is asked for.

mod standard;

pub(crate) use standard::{Outcome, Protocol, Sizes};

use prometheus::core::Collector;
use prometheus::local::LocalHistogram;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use standard::{BUCKETS, LocalStandardSeries, StandardSeries, as_ms};
use turnout_routes::router::Workload;

/// A count that others keep.
pub(crate) type Counter = IntCounter;
/// A level that others keep.
pub(crate) type Level = IntGauge;
/// Why metrics could not be set up.
pub(crate) type MetricsError = prometheus::Error;

const UPSTREAM_HELP: &str =
    "What of a request's duration went by at its backend: in every try, and in the last one to the answer's end.";

/// All series of the process.
pub(crate) struct Metrics {
    registry: Registry,
    source: SourceNames,
    standard: StandardSeries,
    upstream_ms: HistogramVec,
    splits: IntCounterVec,
    pub(crate) reloads: IntCounterVec,
    pub(crate) rejected: IntGauge,
    pub(crate) connections: IntGauge,
    pub(crate) connections_total: IntCounter,
    pub(crate) connections_refused: IntCounterVec,
    pub(crate) connection_errors: IntCounterVec,
    pub(crate) upstream_connects: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) ejections: IntCounterVec,
    pub(crate) overflows: IntCounterVec,
    pub(crate) mirrors: IntCounterVec,
    pub(crate) shadows: IntCounterVec,
    pub(crate) local_answers: IntCounterVec,
    pub(crate) access_log_dropped: IntCounter,
    pub(crate) late_workers: IntCounter,
}

/// One worker's share in the series of requests that are alike; nobody sees it before it is flushed.
pub(crate) struct LocalSeries {
    standard: LocalStandardSeries,
    /// None for requests that went nowhere.
    upstream_ms: Option<LocalHistogram>,
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
            upstream_ms: register(
                r,
                HistogramVec::new(
                    HistogramOpts::new("turnout_upstream_duration_milliseconds", UPSTREAM_HELP)
                        .buckets(BUCKETS.to_vec()),
                    &["destination_service", "destination_workload", "destination_workload_namespace"],
                )?,
            )?,
            splits: counters(
                r,
                "turnout_split_requests_total",
                "Requests that weights gave to a backend.",
                &["backend", "route"],
            )?,
            reloads: reloads(r)?,
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
            ejections: counters(
                r,
                "turnout_outlier_ejections_total",
                "Endpoints left out for a while since they kept failing, by what of.",
                &["backend", "cause"],
            )?,
            overflows: counters(
                r,
                "turnout_upstream_overflows_total",
                "Requests and retries that a limit of their backend did not let through.",
                &["backend", "limit"],
            )?,
            mirrors: counters(
                r,
                "turnout_mirrored_requests_total",
                "Copies of requests, by what became of them.",
                &["backend", "result"],
            )?,
            shadows: shadows(r)?,
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
        let upstream_ms = workload.map(|workload| {
            let labels = [&workload.service, &workload.workload, &workload.namespace];
            self.upstream_ms.with_label_values(&labels).local()
        });
        LocalSeries { standard: self.standard.local(&self.source, workload, outcome), upstream_ms }
    }

    /// What the weights of a route have given to a backend.
    pub(crate) fn split(&self, backend: &str, route: &str) -> Counter {
        self.splits.with_label_values(&[backend, route])
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

impl LocalSeries {
    /// Counts a request that is over.
    pub(crate) fn count(&self, sizes: &Sizes) {
        self.standard.count(sizes);
        if let Some(upstream_ms) = &self.upstream_ms {
            upstream_ms.observe(as_ms(sizes.upstream));
        }
    }

    /// Adds what was counted to the shared series.
    pub(crate) fn flush(&self) {
        self.standard.flush();
        if let Some(upstream_ms) = &self.upstream_ms {
            upstream_ms.flush();
        }
    }
}

/// All are there from the start: the first event of a series that begins with it is in no rate.
fn reloads(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    let help = "Routes files read, by what became of them.";
    let reloads = counters(registry, "turnout_reloads_total", help, &["result"])?;
    for result in ["published", "rejected", "unreadable"] {
        reloads.with_label_values(&[result]);
    }
    Ok(reloads)
}

fn shadows(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    let help = "Requests that a SplitPolicy chose for a shadow, by what became of their copies.";
    counters(registry, "turnout_shadow_requests_total", help, &["policy", "result"])
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
