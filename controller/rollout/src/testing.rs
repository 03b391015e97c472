//! What the tests of several files begin with: a rollout of the sample, and observations of it.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use crate::observation::{BackendObservation, GatewayObservation, Load, Observation, Published};
use crate::resource::ModelRollout;
use crate::timestamp::Timestamp;
use crate::weights::Weights;
use serde_json::{Value, json};

/// The sample's rollout, with these fields of the spec replaced.
pub(crate) fn rollout(spec: Value) -> ModelRollout {
    let mut object = json!({
        "apiVersion": "turnout.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": {"name": "model", "namespace": "abtesting", "generation": 1},
        "spec": {
            "route": {"virtualService": "model"},
            "green": {"host": "model-svc-green"},
            "blue": {"host": "model-svc-blue"},
        },
    });
    let Value::Object(fields) = spec else { panic!("a spec is an object") };
    for (name, value) in fields {
        object["spec"][name] = value;
    }
    serde_json::from_value(object).unwrap()
}

/// Steps of which each is left when what stands here is fulfilled.
pub(crate) fn steps(required: &[(&str, Value)]) -> Value {
    required.iter().map(|(stage, require)| json!({"stage": stage, "require": require})).collect()
}

/// A ready backend that serves the revision.
pub(crate) fn serving(revision: &str) -> BackendObservation {
    BackendObservation {
        exists: true,
        ready_endpoints: 2,
        revision: Some(revision.to_owned()),
        warmed: true,
        ..BackendObservation::default()
    }
}

/// A backend that is there and not ready.
pub(crate) fn unready() -> BackendObservation {
    BackendObservation { exists: true, ..BackendObservation::default() }
}

/// No backend.
pub(crate) fn absent() -> BackendObservation {
    BackendObservation::default()
}

/// A gateway that has what is published.
pub(crate) fn gateway(index: usize, weights: Weights) -> GatewayObservation {
    let load = |weight| Load { weight, endpoints: 2, ..Load::default() };
    GatewayObservation {
        id: format!("gateway-{index}"),
        serving: true,
        answers: true,
        active: Some(revision_of(weights)),
        rejected: None,
        green: load(weights.green),
        blue: load(weights.blue),
    }
}

/// What the tests call the routes with these weights.
pub(crate) fn revision_of(weights: Weights) -> String {
    format!("routes-{}-{}", weights.green, weights.blue)
}

/// Green serves `v1` and blue `v2`, two gateways have these weights, and all is well.
pub(crate) fn observation(green: u32, blue: u32) -> Observation {
    let weights = Weights { green, blue };
    Observation {
        now: Timestamp(1_000_000),
        route: Ok(weights),
        published: Some(Published { revision: revision_of(weights), weights }),
        green: serving("v1"),
        blue: serving("v2"),
        gateways: vec![gateway(0, weights), gateway(1, weights)],
        template_revision: None,
        obstacle: None,
        replies: std::collections::BTreeMap::new(),
        evidence: Vec::new(),
    }
}
