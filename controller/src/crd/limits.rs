//! The bounds of every field that users write. They keep an object small, the rules about it cheap enough for the API
//! server, and a typing error out of the cluster; all of them are wider than any rollout needs.

use super::extend;
use serde_json::{Value, json};

/// What may be the value of a label, which a revision becomes.
const LABEL: &str = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$";
const MAX_LABEL_LENGTH: u32 = 63;
/// Of a host, and of most names of objects.
const MAX_NAME_LENGTH: usize = super::LONGEST_HTTP_NAME;
const WEEK_SECONDS: u32 = 7 * 86_400;

/// Adds the bounds to the schema of the whole object.
pub(super) fn add(schema: &mut Value) {
    for (path, keywords) in limits().into_iter().chain(limits_of_evidence()) {
        extend(schema, path, keywords);
    }
}

fn limits() -> Vec<(&'static str, Value)> {
    let name = json!({"minLength": 1, "maxLength": MAX_NAME_LENGTH});
    let label = json!({"minLength": 1, "maxLength": MAX_LABEL_LENGTH});
    let revision = json!({"minLength": 1, "maxLength": MAX_LABEL_LENGTH, "pattern": LABEL});
    let deadline = json!({"minimum": 1, "maximum": WEEK_SECONDS});
    vec![
        ("spec.route.virtualService", name.clone()),
        ("spec.route.namespace", label.clone()),
        ("spec.route.http", name.clone()),
        ("spec.green.host", name.clone()),
        ("spec.green.subset", label.clone()),
        ("spec.green.port", json!({"minimum": 1})),
        ("spec.blue.host", name),
        ("spec.blue.subset", label),
        ("spec.blue.port", json!({"minimum": 1})),
        (
            "spec.steps",
            json!({"maxItems": 100, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["stage"]}),
        ),
        ("spec.steps[].require", json!({"maxItems": 16, "x-kubernetes-list-type": "atomic"})),
        (
            "spec.steps[].require[].pause",
            json!({"pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", "minLength": 2, "maxLength": 32}),
        ),
        (
            "spec.steps[].require[].webhook.url",
            json!({"pattern": "^https?://[^/?#@[:space:]]+([/?#][^[:space:]]*)?$", "maxLength": 1024}),
        ),
        ("spec.steps[].require[].webhook.timeoutSeconds", json!({"minimum": 1, "maximum": 300})),
        ("spec.steps[].require[].webhook.intervalSeconds", json!({"minimum": 1, "maximum": 86_400})),
        ("spec.steps[].require[].webhook.caBundle", json!({"maxLength": 65_536})),
        ("spec.steps[].require[].webhook.metadata", json!({"x-kubernetes-preserve-unknown-fields": true})),
        // They are kept as they are, so that an object that was written for them says so.
        ("spec.stages", json!({"maxItems": 99})),
        ("spec.gates", json!({"maxItems": 102})),
        ("spec.gates[]", json!({"x-kubernetes-preserve-unknown-fields": true})),
        ("spec.controller", json!({"minLength": 1, "maxLength": MAX_LABEL_LENGTH, "pattern": LABEL})),
        ("spec.confirmDeadlineSeconds", deadline.clone()),
        ("spec.readyDeadlineSeconds", deadline.clone()),
        ("spec.drainDeadlineSeconds", deadline),
        ("spec.warmUp.path", json!({"minLength": 1, "maxLength": 2048})),
        ("spec.warmUp.body", json!({"maxLength": 65_536})),
        ("spec.warmUp.requests", json!({"minimum": 1, "maximum": 1000})),
        ("spec.warmUp.timeoutSeconds", json!({"minimum": 1, "maximum": 3600})),
        ("spec.template", json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})),
        ("spec.replicas", json!({"minimum": 1, "maximum": 1000})),
        ("spec.revision", revision.clone()),
        ("spec.rollbackOf", revision.clone()),
        ("spec.approval.revision", revision),
        ("status.conditions", json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]})),
    ]
}

fn limits_of_evidence() -> Vec<(&'static str, Value)> {
    let part = json!({"minimum": 0.0, "maximum": 1.0});
    let ratio = json!({"minimum": 1.0, "maximum": 100.0});
    let per_cent = json!({"minimum": 0.0, "maximum": 100.0});
    let least = json!({"minimum": 1, "maximum": 1_000_000_000});
    let duration = json!({"minLength": 2, "maxLength": 32});
    let pointers = json!({"maxItems": 100, "x-kubernetes-list-type": "atomic"});
    let pointer = json!({"maxLength": 1024});
    vec![
        ("spec.steps[].require[].verdict.failures.margin", ratio.clone()),
        ("spec.steps[].require[].verdict.failures.negligible", part.clone()),
        ("spec.steps[].require[].verdict.latency.margin", ratio.clone()),
        ("spec.steps[].require[].verdict.alpha", json!({"minimum": 0.0, "maximum": 0.5})),
        ("spec.steps[].require[].verdict.minimumRequests", least.clone()),
        ("spec.steps[].require[].verdict.deadline", duration.clone()),
        ("spec.steps[].require[].absolute.maxFailureRate", part.clone()),
        ("spec.steps[].require[].absolute.minimumRequests", least.clone()),
        ("spec.steps[].require[].absolute.deadline", duration.clone()),
        ("spec.steps[].require[].comparison.minimumAgreement", part.clone()),
        ("spec.steps[].require[].comparison.maximumExcess", ratio),
        ("spec.steps[].require[].comparison.maximumBias", part.clone()),
        ("spec.steps[].require[].comparison.schemaChanges", part),
        ("spec.steps[].require[].comparison.minimumPairs", least),
        ("spec.steps[].require[].comparison.deadline", duration.clone()),
        ("spec.steps[].shadow.percent", per_cent.clone()),
        ("spec.steps[].shadow.noise", per_cent),
        ("spec.steps[].shadow.methods", json!({"maxItems": 16, "x-kubernetes-list-type": "atomic"})),
        ("spec.steps[].shadow.methods[]", json!({"maxLength": 32})),
        ("spec.steps[].shadow.maxBodyBytes", json!({"minimum": 1, "maximum": 104_857_600})),
        ("spec.steps[].shadow.maxInFlight", json!({"minimum": 1, "maximum": 10_000})),
        ("spec.steps[].shadow.timeout", duration),
        ("spec.steps[].shadow.compare", json!({"maxItems": 1000, "x-kubernetes-list-type": "atomic"})),
        ("spec.steps[].shadow.compare[].path", pointer.clone()),
        ("spec.steps[].shadow.keepWorst", json!({"minimum": 0, "maximum": 100})),
        ("spec.steps[].shadow.redact", pointers.clone()),
        ("spec.steps[].shadow.redact[]", pointer),
        ("spec.steps[].shadow.dropHeaders", pointers),
        ("spec.steps[].shadow.dropHeaders[]", json!({"maxLength": 256})),
        // What is in it is told by the pages of gateways, and by nobody else.
        ("status.evidence", json!({"x-kubernetes-preserve-unknown-fields": true})),
    ]
}
