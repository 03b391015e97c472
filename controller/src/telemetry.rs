//! The controller's own metrics: who leads, how rounds go, where rollouts stand. Only this file names the library.

use crate::view::View;
use prometheus::{Encoder as _, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use turnout_rollout::{Backend, ConditionStatus, ConditionType, ModelRollout, Phase, Target};

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
    rolling_back: IntGaugeVec,
    operational: IntGaugeVec,
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
            rolling_back: gauges(
                "turnout_rollout_rolling_back",
                "1 while a rollout goes back, whatever its phase.",
                &["namespace", "rollout"],
            ),
            operational: gauges(
                "turnout_rollout_operational",
                "1 while the controller can do what it decides, 0 while something keeps it from that.",
                &["namespace", "rollout"],
            ),
            weight: gauges("turnout_rollout_weight", "Weights in effect.", &["namespace", "rollout", "backend"]),
            registry,
        };
        for result in ["ok", "failed"] {
            telemetry.rounds.with_label_values(&[result]);
        }
        telemetry.register();
        telemetry
    }
}

impl Telemetry {
    fn register(&self) {
        let collectors: [Box<dyn prometheus::core::Collector>; 11] = [
            Box::new(self.leader.clone()),
            Box::new(self.rounds.clone()),
            Box::new(self.published.clone()),
            Box::new(self.nudges.clone()),
            Box::new(self.gateways.clone()),
            Box::new(self.refused_documents.clone()),
            Box::new(self.stage.clone()),
            Box::new(self.phase.clone()),
            Box::new(self.rolling_back.clone()),
            Box::new(self.operational.clone()),
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
        for family in [&self.stage, &self.phase, &self.rolling_back, &self.operational, &self.weight] {
            family.reset();
        }
        for rollout in rollouts {
            let (namespace, name) = (rollout.metadata.namespace.as_str(), rollout.metadata.name.as_str());
            if let Some(stage) = rollout.status.stage {
                self.stage.with_label_values(&[namespace, name, &stage.to_string()]).set(1);
            }
            self.phase.with_label_values(&[namespace, name, rollout.status.phase.as_str()]).set(1);
            let status = &rollout.status;
            let rolls_back = status.position() == Some(Target::Rollback) && status.phase != Phase::RolledBack;
            self.rolling_back.with_label_values(&[namespace, name]).set(rolls_back.into());
            let operational = status.condition(ConditionType::Operational);
            let is_kept = operational.is_some_and(|condition| condition.status == ConditionStatus::False);
            self.operational.with_label_values(&[namespace, name]).set((!is_kept).into());
            for backend in Backend::BOTH {
                if let Some(weights) = rollout.status.weights {
                    let labels = [namespace, name, &backend.to_string()];
                    self.weight.with_label_values(&labels).set(weights.of(backend).into());
                }
            }
        }
    }

    /// Something keeps the controller from what it decided on this one, while it cannot look where everything stands.
    pub fn is_kept_from(&self, rollout: &ModelRollout) {
        let metadata = &rollout.metadata;
        self.operational.with_label_values(&[&metadata.namespace, &metadata.name]).set(0);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout(status: &serde_json::Value) -> ModelRollout {
        let object = json!({
            "apiVersion": "turnout.dev/v1alpha1",
            "kind": "ModelRollout",
            "metadata": {"name": "model", "namespace": "abtesting"},
            "spec": {"route": {"virtualService": "model"}, "green": {"host": "green"}, "blue": {"host": "blue"}},
            "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    fn operational(status: &str) -> serde_json::Value {
        let at = "2026-01-31T12:00:00Z";
        json!({"type": "Operational", "status": status, "reason": "R", "message": "m", "lastTransitionTime": at})
    }

    #[test]
    fn a_rollout_says_whether_it_goes_back_and_whether_something_keeps_it() {
        let telemetry = Telemetry::default();
        let said = |gauge: &str| {
            let text = telemetry.text();
            let line =
                text.lines().find(|line| line.starts_with(&format!("{gauge}{{namespace=\"abtesting\""))).unwrap();
            line.rsplit_once(' ').unwrap().1 == "1"
        };
        let both = || (said("turnout_rollout_rolling_back"), said("turnout_rollout_operational"));
        let check = |status: &serde_json::Value, expected: (bool, bool)| {
            let rollout = rollout(status);
            telemetry.record(&View::default(), [&rollout].into_iter());
            assert_eq!(both(), expected, "{status}");
            telemetry.is_kept_from(&rollout);
            assert_eq!(both(), (expected.0, false), "{status}");
        };
        check(&json!({"phase": "Idle"}), (false, true));
        check(&json!({"phase": "Stalled", "stage": "Blue_50", "conditions": [operational("True")]}), (false, true));
        check(&json!({"phase": "Stalled", "stage": "Blue_50", "movingTo": "Rollback"}), (true, true));
        check(
            &json!({"phase": "RollingBack", "movingTo": "Rollback", "conditions": [operational("False")]}),
            (true, false),
        );
        check(&json!({"phase": "Invalid", "movingTo": "Rollback"}), (true, true));
        check(&json!({"phase": "RolledBack", "stage": "Rollback"}), (false, true));
    }
}
