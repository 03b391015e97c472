//! The controller's own metrics: who leads, how rounds go, where rollouts stand. Only this file names the library.

use crate::view::View;
use prometheus::{Encoder as _, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use turnout_rollout::{Backend, ModelRollout};

/// The metrics. Clones count into the same ones.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Registry,
    leader: IntGauge,
    rounds: IntCounterVec,
    published: IntCounter,
    nudges: IntCounter,
    gateways: IntGaugeVec,
    refused_documents: IntGauge,
    stage: IntGaugeVec,
    phase: IntGaugeVec,
    weight: IntGaugeVec,
}

impl Default for Telemetry {
    fn default() -> Self {
        let registry = Registry::new();
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels).expect("names and labels are valid")
        };
        let counter = |name: &str, help: &str| IntCounter::new(name, help).expect("names are valid");
        let telemetry = Self {
            leader: IntGauge::new("turnout_controller_leader", "1 while this replica leads.").expect("valid"),
            rounds: IntCounterVec::new(
                Opts::new("turnout_controller_rounds_total", "Rounds, by whether anything failed."),
                &["result"],
            )
            .expect("names and labels are valid"),
            published: counter("turnout_controller_publications_total", "Revisions that were published."),
            nudges: counter("turnout_controller_nudges_total", "Rounds in which gateways were nudged."),
            gateways: gauges(
                "turnout_controller_gateways",
                "Live gateways, by whether they have what is published.",
                &["confirmed"],
            ),
            refused_documents: IntGauge::new("turnout_controller_refused_documents", "Problems of the documents.")
                .expect("valid"),
            stage: gauges(
                "turnout_rollout_stage",
                "1 for the stage that a rollout has reached.",
                &["namespace", "rollout", "stage"],
            ),
            phase: gauges("turnout_rollout_phase", "1 for what a rollout does.", &["namespace", "rollout", "phase"]),
            weight: gauges("turnout_rollout_weight", "Weights in effect.", &["namespace", "rollout", "backend"]),
            registry,
        };
        telemetry.register();
        telemetry
    }
}

impl Telemetry {
    fn register(&self) {
        let collectors: [Box<dyn prometheus::core::Collector>; 9] = [
            Box::new(self.leader.clone()),
            Box::new(self.rounds.clone()),
            Box::new(self.published.clone()),
            Box::new(self.nudges.clone()),
            Box::new(self.gateways.clone()),
            Box::new(self.refused_documents.clone()),
            Box::new(self.stage.clone()),
            Box::new(self.phase.clone()),
            Box::new(self.weight.clone()),
        ];
        for collector in collectors {
            self.registry.register(collector).expect("each name is registered once");
        }
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory cannot fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// A round is over.
    pub fn round(&self, failed: bool) {
        self.rounds.with_label_values(&[if failed { "failed" } else { "ok" }]).inc();
    }

    /// A revision was published.
    pub fn published(&self) {
        self.published.inc();
    }

    /// Gateways were nudged.
    pub fn nudged(&self) {
        self.nudges.inc();
    }

    /// Where everything stands.
    pub fn record<'a>(&self, view: &View, rollouts: impl Iterator<Item = &'a ModelRollout>) {
        let revision = view.published.revision.as_deref().unwrap_or_default();
        let (confirmed, others): (Vec<_>, Vec<_>) =
            view.gateways.iter().filter(|gateway| gateway.serving).partition(|gateway| gateway.has(revision));
        let count = |found: usize| i64::try_from(found).unwrap_or(i64::MAX);
        self.gateways.with_label_values(&["true"]).set(count(confirmed.len()));
        self.gateways.with_label_values(&["false"]).set(count(others.len()));
        self.refused_documents.set(count(view.documents.problems.len()));
        for family in [&self.stage, &self.phase, &self.weight] {
            family.reset();
        }
        for rollout in rollouts {
            let (namespace, name) = (rollout.metadata.namespace.as_str(), rollout.metadata.name.as_str());
            if let Some(stage) = rollout.status.stage {
                self.stage.with_label_values(&[namespace, name, &stage.to_string()]).set(1);
            }
            self.phase.with_label_values(&[namespace, name, rollout.status.phase.as_str()]).set(1);
            for backend in Backend::BOTH {
                if let Some(weights) = rollout.status.weights {
                    let labels = [namespace, name, &backend.to_string()];
                    self.weight.with_label_values(&labels).set(weights.of(backend).into());
                }
            }
        }
    }
}
