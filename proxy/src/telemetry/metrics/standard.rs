//! Istio's standard set, so that Kiali, Istio's dashboards and Flagger read the gateway as they read Istio. Istio reports
//! a request twice, as its source and as its destination; the gateway counts it once and writes the destination's copy
//! when it is scraped, on behalf of model pods that have no sidecar.

use super::{SourceNames, counters, register};
use crate::error::Flags;
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Registry};
use std::time::Duration;
use turnout_routes::router::Workload;

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
pub(super) const BUCKETS: [f64; 19] =
    [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6];

const UNKNOWN: &str = "unknown";
/// Istio's name for the only cluster of a mesh; Kiali drops series that name none.
const CLUSTER: &str = "Kubernetes";

/// The families of the set.
pub(super) struct StandardSeries {
    registry: Registry,
    requests: IntCounterVec,
    duration_ms: HistogramVec,
    request_bytes: HistogramVec,
    response_bytes: HistogramVec,
}

/// What a request is, as its labels have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Http,
    /// With the status that ended the call; none if nothing came.
    Grpc(Option<u8>),
}

/// What requests that are alike have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) code: u16,
    pub(crate) flags: Flags,
    pub(crate) protocol: Protocol,
}

/// The part of one request that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) elapsed: Duration,
    /// What of it went by at the backend.
    pub(crate) upstream: Duration,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
}

/// One worker's share in the series of requests that are alike.
pub(super) struct LocalStandardSeries {
    requests: LocalIntCounter,
    duration_ms: LocalHistogram,
    request_bytes: LocalHistogram,
    response_bytes: LocalHistogram,
}

impl StandardSeries {
    pub(super) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let histogram = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            register(&registry, HistogramVec::new(options, &LABELS)?)
        };
        Ok(Self {
            requests: counters(&registry, "istio_requests_total", "Requests.", &LABELS)?,
            duration_ms: histogram(
                "istio_request_duration_milliseconds",
                "From a request's head to its answer's end.",
            )?,
            request_bytes: histogram("istio_request_bytes", "Request bodies.")?,
            response_bytes: histogram("istio_response_bytes", "Response bodies.")?,
            registry,
        })
    }

    /// A share in the series of requests to a workload, or to none.
    pub(super) fn local(
        &self,
        source: &SourceNames,
        workload: Option<&Workload>,
        outcome: Outcome,
    ) -> LocalStandardSeries {
        let of = |field: fn(&Workload) -> &String| workload.map_or(UNKNOWN, |workload| field(workload));
        let (code, flags) = (outcome.code.to_string(), outcome.flags.to_string());
        let (protocol, grpc_status) = match outcome.protocol {
            Protocol::Http => ("http", None),
            Protocol::Grpc(status) => ("grpc", status),
        };
        let grpc_status = grpc_status.map(|status| status.to_string()).unwrap_or_default();
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
            of(|w| &w.service),
            of(|w| &w.service_name),
            of(|w| &w.namespace),
            of(|w| &w.workload),
            of(|w| &w.namespace),
            of(|w| &w.app),
            of(|w| &w.version),
            UNKNOWN,
            of(|w| &w.app),
            of(|w| &w.version),
            CLUSTER,
            protocol,
            &code,
            &grpc_status,
            &flags,
            UNKNOWN,
        ];
        LocalStandardSeries {
            requests: self.requests.with_label_values(&values).local(),
            duration_ms: self.duration_ms.with_label_values(&values).local(),
            request_bytes: self.request_bytes.with_label_values(&values).local(),
            response_bytes: self.response_bytes.with_label_values(&values).local(),
        }
    }

    /// What was counted, and what the destinations would have reported.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        let mut families = self.registry.gather();
        for family in &mut families {
            let metrics = family.mut_metric();
            let copies: Vec<_> = metrics.iter().cloned().map(as_destination).collect();
            metrics.extend(copies);
        }
        families
    }
}

impl LocalStandardSeries {
    pub(super) fn count(&self, sizes: &Sizes) {
        self.requests.inc();
        self.duration_ms.observe(as_ms(sizes.elapsed));
        self.request_bytes.observe(as_f64(sizes.request_bytes));
        self.response_bytes.observe(as_f64(sizes.response_bytes));
    }

    pub(super) fn flush(&self) {
        self.requests.flush();
        self.duration_ms.flush();
        self.request_bytes.flush();
        self.response_bytes.flush();
    }
}

fn as_destination(mut metric: Metric) -> Metric {
    for label in metric.mut_label() {
        match label.name() {
            "reporter" => label.set_value("destination".to_owned()),
            "connection_security_policy" => label.set_value("none".to_owned()),
            _ => {}
        }
    }
    metric
}

pub(super) fn as_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a histogram of sizes is not exact beyond 2^53 bytes")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}
