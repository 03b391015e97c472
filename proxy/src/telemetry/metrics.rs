//! Metrics: Istio's standard set, so that Kiali, Istio's dashboards and Flagger read the gateway as they read Istio, and
//! the gateway's own. The only file that knows the metrics library.
//!
//! The request path touches only cells of its own worker; a scrape asks every worker to add them to the shared series.
//! Istio reports a request twice, as its source and as its destination; the gateway counts it once and writes the
//! destination's copy when it is scraped, on behalf of model pods that have no sidecar.

use crate::error::Flags;
use prometheus::core::Collector;
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
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
    pub(crate) revision: IntGaugeVec,
    pub(crate) connections: IntGauge,
    pub(crate) connections_total: IntCounter,
    pub(crate) connections_refused: IntCounterVec,
    pub(crate) connection_errors: IntCounterVec,
    pub(crate) upstream_connects: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) local_answers: IntCounterVec,
    pub(crate) access_log_dropped: IntCounter,
    pub(crate) credential_missing: IntGaugeVec,
    pub(crate) credential_expiry: IntGaugeVec,
    pub(crate) listener_unserved: IntGaugeVec,
    pub(crate) weight: IntGaugeVec,
    pub(crate) endpoints: IntGaugeVec,
    pub(crate) endpoints_digest: IntGaugeVec,
    pub(crate) in_flight: IntGaugeVec,
}

/// Istio's standard set.
struct StandardSeries {
    requests: IntCounterVec,
    duration_ms: HistogramVec,
    request_bytes: HistogramVec,
    response_bytes: HistogramVec,
}

impl StandardSeries {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let histogram = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            register(registry, HistogramVec::new(options, &LABELS)?)
        };
        Ok(Self {
            requests: counters(registry, "istio_requests_total", "Requests.", &LABELS)?,
            duration_ms: histogram(
                "istio_request_duration_milliseconds",
                "From a request's head to its answer's end.",
            )?,
            request_bytes: histogram("istio_request_bytes", "Request bodies.")?,
            response_bytes: histogram("istio_response_bytes", "Response bodies.")?,
        })
    }
}

/// What the gateway is called in metrics.
#[derive(Clone, Debug)]
pub(crate) struct SourceNames {
    /// `source_workload`, and its canonical service and app.
    pub(crate) workload: String,
    /// `source_workload_namespace`.
    pub(crate) namespace: String,
}

/// Istio's standard labels; Kiali passes over series that lack one of them.
const LABELS: [&str; 25] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_canonical_service",
    "source_canonical_revision",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_workload",
    "destination_workload_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
];

/// Bounds of Istio's histograms, for milliseconds and bytes alike.
const BUCKETS: [f64; 19] =
    [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6];

const UNKNOWN: &str = "unknown";
/// Istio's name for the only cluster of a mesh; Kiali drops series that name none.
const CLUSTER: &str = "Kubernetes";

impl Metrics {
    /// Registers every series.
    pub(crate) fn new(source: SourceNames) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Self {
            standard: StandardSeries::new(r)?,
            reloads: counters(r, "turnout_reloads_total", "Routes files read, by what became of them.", &["result"])?,
            rejected: gauge(
                r,
                "turnout_routes_rejected",
                "1 while the newest routes file is not the one that serves.",
            )?,
            revision: gauges(r, "turnout_routes_revision", "1 for the revision that serves.", &["revision"])?,
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
            credential_missing: gauges(
                r,
                "turnout_credential_missing",
                "1 for a certificate that a Gateway names and that cannot be used.",
                &["credential"],
            )?,
            credential_expiry: gauges(
                r,
                "turnout_credential_expiry_seconds",
                "When a certificate ends, in seconds since 1970.",
                &["credential"],
            )?,
            listener_unserved: gauges(
                r,
                "turnout_gateway_port_unserved",
                "1 for a Gateway port that no listener serves.",
                &["port"],
            )?,
            weight: gauges(r, "turnout_weight", "Weights in effect.", &["route", "backend"])?,
            endpoints: gauges(r, "turnout_upstream_endpoints", "Endpoints that are known.", &["backend"])?,
            endpoints_digest: gauges(
                r,
                "turnout_upstream_endpoints_digest",
                "Which addresses these are: the same number for the same set.",
                &["backend"],
            )?,
            in_flight: gauges(
                r,
                "turnout_requests_in_flight",
                "Requests given to a backend and not over.",
                &["backend"],
            )?,
            source,
            registry,
        };
        let build = gauges(&metrics.registry, "istio_build", "What runs here.", &["component", "tag"])?;
        build.with_label_values(&["turnout-proxy", env!("CARGO_PKG_VERSION")]).set(1);
        Ok(metrics)
    }

    /// All series in Prometheus' text format. The workers' cells must have been flushed before.
    pub(crate) fn render(&self) -> String {
        let mut families = self.registry.gather();
        for family in &mut families {
            if family.name().starts_with("istio_request") || family.name().starts_with("istio_response") {
                let metrics = family.mut_metric();
                let copies: Vec<_> = metrics.iter().cloned().map(as_destination).collect();
                metrics.extend(copies);
            }
        }
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        String::from_utf8(text).unwrap_or_default()
    }

    fn series(&self, workload: Option<&Workload>, code: u16, flags: Flags, grpc: bool) -> Series {
        let unknown = || UNKNOWN.to_owned();
        let of = |field: fn(&Workload) -> &String| workload.map_or_else(unknown, |workload| field(workload).clone());
        let source = &self.source;
        let values: [&str; LABELS.len()] = [
            "source",
            &source.workload,
            &source.namespace,
            &source.workload,
            "latest",
            UNKNOWN,
            &source.workload,
            "latest",
            CLUSTER,
            &of(|w| &w.service),
            &of(|w| &w.service_name),
            &of(|w| &w.namespace),
            &of(|w| &w.workload),
            &of(|w| &w.namespace),
            &of(|w| &w.app),
            &of(|w| &w.version),
            UNKNOWN,
            &of(|w| &w.app),
            &of(|w| &w.version),
            CLUSTER,
            if grpc { "grpc" } else { "http" },
            &code.to_string(),
            "",
            flags.as_str(),
            UNKNOWN,
        ];
        Series {
            requests: self.standard.requests.with_label_values(&values).local(),
            duration_ms: self.standard.duration_ms.with_label_values(&values).local(),
            request_bytes: self.standard.request_bytes.with_label_values(&values).local(),
            response_bytes: self.standard.response_bytes.with_label_values(&values).local(),
        }
    }
}

/// The copy that the destination would have reported.
fn as_destination(mut metric: prometheus::proto::Metric) -> prometheus::proto::Metric {
    for label in metric.mut_label() {
        match label.name() {
            "reporter" => label.set_value("destination".to_owned()),
            "connection_security_policy" => label.set_value("none".to_owned()),
            _ => {}
        }
    }
    metric
}

/// The part of one request that is measured.
pub(crate) struct Sizes {
    pub(crate) elapsed: Duration,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
}

/// One worker's cells.
pub(crate) struct WorkerMetrics {
    shared: Arc<Metrics>,
    cells: RefCell<Vec<Cell>>,
}

struct Cell {
    workload: Option<Arc<Workload>>,
    code: u16,
    flags: Flags,
    grpc: bool,
    series: Series,
}

struct Series {
    requests: LocalIntCounter,
    duration_ms: LocalHistogram,
    request_bytes: LocalHistogram,
    response_bytes: LocalHistogram,
}

/// Beyond this many cells all are flushed and made anew, so that workloads that are long gone do not fill the memory.
const MAX_CELLS: usize = 512;

impl WorkerMetrics {
    pub(crate) fn new(shared: &Arc<Metrics>) -> Self {
        Self { shared: Arc::clone(shared), cells: RefCell::default() }
    }

    pub(crate) fn shared(&self) -> &Arc<Metrics> {
        &self.shared
    }

    /// Counts a request that is over.
    pub(crate) fn request(&self, workload: Option<&Arc<Workload>>, code: u16, flags: Flags, grpc: bool, sizes: &Sizes) {
        let mut cells = self.cells.borrow_mut();
        let same_workload = |known: &Option<Arc<Workload>>| match (known, workload) {
            (Some(known), Some(workload)) => Arc::ptr_eq(known, workload),
            (None, None) => true,
            _ => false,
        };
        let known = cells.iter().position(|cell| {
            cell.code == code && cell.flags == flags && cell.grpc == grpc && same_workload(&cell.workload)
        });
        let index = known.unwrap_or_else(|| {
            if cells.len() >= MAX_CELLS {
                cells.iter_mut().for_each(Cell::flush);
                cells.clear();
            }
            let series = self.shared.series(workload.map(|workload| &**workload), code, flags, grpc);
            cells.push(Cell { workload: workload.cloned(), code, flags, grpc, series });
            cells.len() - 1
        });
        let series = &mut cells[index].series;
        series.requests.inc();
        series.duration_ms.observe(sizes.elapsed.as_secs_f64() * 1000.0);
        series.request_bytes.observe(as_f64(sizes.request_bytes));
        series.response_bytes.observe(as_f64(sizes.response_bytes));
    }

    /// Adds the cells to the shared series.
    pub(crate) fn flush(&self) {
        self.cells.borrow_mut().iter_mut().for_each(Cell::flush);
    }
}

impl Cell {
    fn flush(&mut self) {
        self.series.requests.flush();
        self.series.duration_ms.flush();
        self.series.request_bytes.flush();
        self.series.response_bytes.flush();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a histogram of sizes is not exact beyond 2^53 bytes")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
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

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_once_and_reported_by_both_sides() {
        let source = SourceNames { workload: "turnout-gateway".into(), namespace: "istio-system".into() };
        let metrics = Arc::new(Metrics::new(source).expect("every name is used once"));
        let worker = WorkerMetrics::new(&metrics);
        let sizes = Sizes { elapsed: Duration::from_millis(3), request_bytes: 10, response_bytes: 20 };
        for _ in 0..3 {
            worker.request(None, 200, Flags::NONE, false, &sizes);
        }
        worker.request(None, 503, Flags::NONE, false, &sizes);
        let count = |reporter: &str, code: &str| {
            let text = metrics.render();
            let line = text.lines().find(|line| {
                line.starts_with("istio_requests_total{")
                    && line.contains(&format!("reporter=\"{reporter}\""))
                    && line.contains(&format!("response_code=\"{code}\""))
            });
            line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
        };
        assert_eq!(count("source", "200").as_deref(), Some("0"), "nothing is shared before a flush");
        worker.flush();
        worker.flush();
        assert_eq!(count("source", "200").as_deref(), Some("3"));
        assert_eq!(count("destination", "200").as_deref(), Some("3"));
        assert_eq!(count("source", "503").as_deref(), Some("1"));
    }
}
