//! `ModelRollout`: what people want of a rollout (`spec`) and what was confirmed of it (`status`). It is one object in a
//! local directory and in a cluster. Misspelt fields of the spec are errors; [`Plan::of`] checks what types cannot.

mod evidence;
mod plan;
mod requirement;
mod shadow;
mod standard;
mod status;

pub(crate) use crate::duration::write as duration;
pub use evidence::{EvidenceStatus, InstanceEvidence, Shown};
pub use plan::{FieldError, InvalidRollout, Leave, Plan};
pub use requirement::{
    AbsoluteRequirement, ApprovalRequirement, ComparisonRequirement, EvidenceKind, EvidenceRequirement, FailureBounds,
    LatencyBounds, Requirement, RequirementSpec, VerdictRequirement, Webhook,
};
pub use shadow::{CompareAs, CompareSpec, ShadowSpec};
pub use status::{
    Candidate, Condition, ConditionStatus, ConditionType, GatewayStatus, NamedRevision, Phase, RequirementState,
    RequirementStatus, RollbackReason, RollbackStatus, RolloutStatus, Transition, WaitReason, Waiting,
};

use crate::stage::{Stage, Target};
use crate::weights::Backend;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// `apiVersion` of a [`ModelRollout`].
pub const API_VERSION: &str = "turnout.dev/v1alpha1";
/// `kind` of a [`ModelRollout`].
pub const KIND: &str = "ModelRollout";

/// One model's rollouts, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelRollout {
    /// [`API_VERSION`].
    pub api_version: String,
    /// [`KIND`].
    pub kind: String,
    /// Name and namespace.
    pub metadata: ObjectMetadata,
    /// What is wanted.
    pub spec: RolloutSpec,
    /// What was reached; only ever written by the driver. A local directory keeps it in a file of its own.
    #[serde(default, skip_serializing_if = "RolloutStatus::is_empty")]
    pub status: RolloutStatus,
}

/// What Kubernetes says of an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMetadata {
    /// The object's name.
    pub name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Rises with every change of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Everything else (labels, annotations, ...), kept so that writing the object back loses nothing.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// What is wanted: where the weights are, how the rollout goes, and in the last six fields what people ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutSpec {
    /// The http rule whose weights the stage decides.
    pub route: RouteRef,
    /// The destination that serves the stable image up to `Blue_100`, and the candidate at the end.
    pub green: BackendRef,
    /// The destination that the candidate is tried on.
    pub blue: BackendRef,
    /// The stages that the rollout passes, in their order, and what each requires before it is left. `Blue_0`,
    /// `Blue_100`, `Blue_Green` and `Green_100` are always passed; without the list `Blue_50` is, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,
    /// The steps of a rollout that evidence alone leads on, or back. It takes the place of `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Verdicts>,
    /// Was replaced by `steps`, and is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<u32>>,
    /// Was replaced by `steps`, and is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Vec<serde_json::Map<String, serde_json::Value>>>,
    /// What happens when a requirement fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Which release drives it: the class that its controller was given; the one without a class, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// Who makes and removes the backends.
    #[serde(default)]
    pub workload: Workload,
    /// Which data plane takes the weights.
    #[serde(default)]
    pub mode: Mode,
    /// What happens when blue has weight and loses its last ready endpoint.
    #[serde(default)]
    pub on_backend_loss: OnBackendLoss,
    /// How long gateways may take to confirm weights before the rollout counts as stalled, in seconds.
    #[serde(default = "default_confirm_deadline_seconds")]
    pub confirm_deadline_seconds: u64,
    /// How long a new backend may take to become ready and warm before the rollout counts as stalled, in seconds.
    #[serde(default = "default_ready_deadline_seconds")]
    pub ready_deadline_seconds: u64,
    /// How long a backend without weight may take to answer its last requests, in seconds: before it is replaced those
    /// that its weight sent there, before blue is removed all. Then `onDrainDeadline` decides.
    #[serde(default = "default_drain_deadline_seconds")]
    pub drain_deadline_seconds: u64,
    /// What happens when `drainDeadlineSeconds` are over and requests are left.
    #[serde(default)]
    pub on_drain_deadline: OnDrainDeadline,
    /// The requests that a new backend gets before it gets weight; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
    /// Managed only: the pod template from which the backends are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<serde_json::Value>,
    /// Managed only: the pods of each backend. Without it an autoscaler may change them: the first green begins with one,
    /// and a backend gets no more weight before it has as many as the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The revision of the image to roll out. Managed: that of the template, if absent; a template that changes later than
    /// this is rolled out all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Raised to roll the same revision out once more after it was rolled back.
    #[serde(default)]
    pub attempt: u32,
    /// The stable revision whose place `revision` takes, where a rollback after `Green_100` asked for that. Asked for again it
    /// changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<String>,
    /// How far the rollout may go, or `Rollback`. On the way to a target it passes the stages for which nothing is
    /// required without being asked again; if absent, each of those waits for a promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Nothing goes forward while it is set. Rolling back and the laws of the weights go on.
    #[serde(default)]
    pub paused: bool,
    /// The stage that was promoted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

fn default_confirm_deadline_seconds() -> u64 {
    180
}

fn default_ready_deadline_seconds() -> u64 {
    600
}

/// Which rule a rollout governs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteRef {
    /// The VirtualService's name.
    pub virtual_service: String,
    /// Its namespace; the rollout's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name of its http rule; may be left out where one rule alone has both backends as its destinations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
}

/// A destination of the rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendRef {
    /// The service: a short name counts in the VirtualService's namespace.
    pub host: String,
    /// A subset of a DestinationRule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// The service's port; any, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// A stage that the rollout passes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// All of this, before it is left. If absent it is left when it is promoted, or when the target lies behind it; with
    /// an empty list at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Vec<RequirementSpec>>,
    /// While it lasts, blue answers copies of green's requests as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowSpec>,
}

/// Steps that are the same for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Verdicts {
    /// At `Blue_0` blue answers copies of 10 % of the GETs and POSTs, which must be harmless to ask twice, and its answers are
    /// compared; there, at `Blue_50`, at `Blue_90`, at `Blue_100` and at `Blue_Green` a verdict is required.
    Standard,
}

/// What happens when a requirement fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnFailure {
    /// The stage stays until somebody rolls back, or promotes past what is required.
    #[default]
    Hold,
    /// The rollout rolls back.
    Rollback,
}

/// That one stage may be left. It names the rollout too, so that it never counts for the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// The candidate's revision.
    pub revision: String,
    /// The attempt at it.
    #[serde(default)]
    pub attempt: u32,
    /// The stage that may be left.
    pub stage: Stage,
    /// Whatever else it requires.
    #[serde(default)]
    pub skip_requirements: bool,
}

/// Who makes and removes the backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Workload {
    /// Somebody else, as a pipeline with Helm: the rollout waits for them and says when they may go.
    #[default]
    External,
    /// The driver, from the template.
    Managed,
}

/// Which data plane takes the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Mode {
    /// Turnout's gateways, which say what they have.
    #[default]
    Gateway,
    /// Istio, which says nothing: a settle time stands in for the confirmation.
    Istio,
}

fn default_drain_deadline_seconds() -> u64 {
    300
}

/// What happens when a backend has requests left after `drainDeadlineSeconds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnDrainDeadline {
    /// The rollout counts as stalled, and waits on.
    #[default]
    Hold,
    /// The backend is replaced or removed all the same; what is left ends with its pods.
    Remove,
}

/// What happens when blue has weight and loses its last ready endpoint. Its weight moves to green in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnBackendLoss {
    /// The stage stays, and the weight returns with readiness.
    #[default]
    Hold,
    /// The rollout rolls back.
    Rollback,
}

/// The requests that a new backend gets before it gets weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WarmUp {
    /// Path and query.
    pub path: String,
    /// The body of a POST; a GET without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How many requests must succeed.
    #[serde(default = "default_warm_up_requests")]
    pub requests: u32,
    /// How long the answer to each may take, in seconds: a first inference may take long.
    #[serde(default = "default_warm_up_timeout_seconds")]
    pub timeout_seconds: u32,
}

fn default_warm_up_requests() -> u32 {
    10
}

fn default_warm_up_timeout_seconds() -> u32 {
    60
}

impl ModelRollout {
    /// `namespace/name`, for messages.
    pub fn id(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// The namespace of the VirtualService.
    pub fn route_namespace(&self) -> &str {
        self.spec.route.namespace.as_deref().unwrap_or(&self.metadata.namespace)
    }
}

impl RolloutSpec {
    /// The steps that are written, or those that `verdicts` stands for.
    pub(crate) fn all_steps(&self) -> Option<Cow<'_, [Step]>> {
        match (&self.steps, self.verdicts) {
            (Some(steps), _) => Some(Cow::Borrowed(steps)),
            (None, Some(Verdicts::Standard)) => Some(Cow::Owned(standard::steps())),
            (None, None) => None,
        }
    }

    /// The destination of a backend.
    pub fn backend(&self, backend: Backend) -> &BackendRef {
        match backend {
            Backend::Green => &self.green,
            Backend::Blue => &self.blue,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use serde_json::{Value, json};

    fn minimal() -> Value {
        json!({
            "apiVersion": "turnout.dev/v1alpha1",
            "kind": "ModelRollout",
            "metadata": {"name": "model", "labels": {"team": "scoring"}},
            "spec": {
                "route": {"virtualService": "model"},
                "green": {"host": "model-svc-green"},
                "blue": {"host": "model-svc-blue"},
            },
        })
    }

    #[test]
    fn a_minimal_object_has_the_documented_defaults() {
        let rollout: ModelRollout = serde_json::from_value(minimal()).unwrap();
        assert_eq!(rollout.id(), "default/model");
        assert_eq!(rollout.route_namespace(), "default");
        assert_eq!(rollout.spec.workload, Workload::External);
        assert_eq!(rollout.spec.mode, Mode::Gateway);
        assert_eq!(rollout.spec.on_backend_loss, OnBackendLoss::Hold);
        assert_eq!((rollout.spec.confirm_deadline_seconds, rollout.spec.ready_deadline_seconds), (180, 600));
        assert_eq!((rollout.spec.attempt, rollout.spec.paused, rollout.spec.target), (0, false, None));
        assert!(rollout.status.is_empty());
    }

    #[test]
    fn an_object_is_written_back_with_all_that_it_had() {
        let mut whole = minimal();
        whole["spec"]["steps"] = json!([{"stage": "Blue_5", "require": [{"pause": "1m"}, {"approval": {}}]}]);
        whole["spec"]["target"] = json!("Rollback");
        whole["spec"]["approval"] = json!({"revision": "2", "stage": "Blue_25"});
        whole["status"] = json!({"phase": "Holding", "stage": "Blue_5", "stageSince": "2026-01-01T00:00:00Z"});
        let rollout: ModelRollout = serde_json::from_value(whole).unwrap();
        let written = serde_json::to_value(&rollout).unwrap();
        assert_eq!(written["metadata"]["labels"]["team"], "scoring");
        assert_eq!(written["status"]["stageSince"], "2026-01-01T00:00:00Z");
        assert_eq!(serde_json::from_value::<ModelRollout>(written).unwrap(), rollout);
    }

    #[test]
    fn a_misspelt_field_of_the_spec_is_an_error() {
        for pointer in ["/spec", "/spec/route", "/spec/green", "/spec/blue"] {
            let mut object = minimal();
            object.pointer_mut(pointer).unwrap()["weigth"] = json!(1);
            let message = serde_json::from_value::<ModelRollout>(object).unwrap_err().to_string();
            assert!(message.contains("unknown field `weigth`"), "{pointer}: {message}");
        }
    }
}
