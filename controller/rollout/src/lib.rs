//! The stages of a rollout, its state machine and the rendering of weights.
//!
//! The crate is pure: no I/O, no clock, no randomness, no async. A driver observes the world, asks [`decide`], publishes
//! what [`publish`] renders, does the [`Action`]s, writes the status, and begins again. The command line drives a local
//! directory so, a controller a cluster, where [`registry()`] adds what gateways must know of Services.
//!
//! What a stage is stands in [`STAGE_TABLE`]; what people want in [`RolloutSpec`]; what was confirmed in
//! [`RolloutStatus`]. Laws that hold after every decision, whatever was observed:
//!
//! - the sum of the weights is above 0;
//! - no weight is newly given to a backend without ready endpoints while the other has some;
//! - a backend with weight at any gateway, or with requests in flight, is neither removed nor replaced;
//! - stages are passed in their order, and nothing that a stage requires is skipped;
//! - a stage is reached only when every live gateway reports what was published for it;
//! - a rollback once begun is finished.
//!
//! One round of a driver:
//!
//! ```
//! use turnout_rollout::{BackendObservation, GatewayObservation, Load, ModelRollout, Observation, Published, Stage, Target};
//! use turnout_rollout::{Timestamp, Weights, decide};
//!
//! // The rollout is read from a file or from the cluster, with the status that was written last.
//! let mut rollout: ModelRollout = serde_json::from_value(serde_json::json!({
//!     "apiVersion": "turnout.dev/v1alpha1",
//!     "kind": "ModelRollout",
//!     "metadata": {"name": "model", "namespace": "abtesting"},
//!     "spec": {
//!         "route": {"virtualService": "model"},
//!         "green": {"host": "model-svc-green"},
//!         "blue": {"host": "model-svc-blue"},
//!     },
//!     "status": {"stage": "Green_100", "stableRevision": "v1"},
//! }))?;
//! rollout.start("v2", None)?;
//!
//! // What is there: green serves v1, blue v2, and the one gateway has the revision that is published.
//! let weights = Weights { green: 100, blue: 0 };
//! let ready = |revision: &str| BackendObservation {
//!     exists: true,
//!     ready_endpoints: 2,
//!     revision: Some(revision.to_owned()),
//!     warmed: true,
//!     ..BackendObservation::default()
//! };
//! let load = |weight| Load { weight, endpoints: 2, ..Load::default() };
//! let observed = Observation {
//!     now: Timestamp(1_767_225_600),
//!     route: Ok(weights), // route_weights(&documents, &rollout)
//!     published: Some(Published { revision: "3f2a".to_owned(), weights }),
//!     green: ready("v1"),
//!     blue: ready("v2"),
//!     gateways: vec![GatewayObservation {
//!         id: "gateway-0".to_owned(),
//!         serving: true,
//!         answers: true,
//!         active: Some("3f2a".to_owned()),
//!         rejected: None,
//!         green: load(100),
//!         blue: load(0),
//!     }],
//!     template_revision: None,
//!     obstacle: None,
//!     replies: std::collections::BTreeMap::new(),
//!     evidence: Vec::new(),
//! };
//!
//! // Blue_0 has the weights that are in effect and blue is ready, so it is reached at once; it is left when it is promoted.
//! rollout.status = decide(&rollout, &observed).status;
//! assert_eq!(rollout.status.stage, Some(Target::Stage(Stage::BLUE_0)));
//! rollout.promote(None, false)?;
//! let decision = decide(&rollout, &observed);
//! assert_eq!(decision.status.moving_to, Some(Target::Stage(Stage::BLUE_50)));
//!
//! // The driver publishes these for the rule: publish(&documents, &[(&rollout, weights)]).
//! assert_eq!(decision.weights, Some(Weights { green: 50, blue: 50 }));
//! assert!(decision.actions.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod commands;
pub mod duration;
mod gateway_report;
mod governed;
mod hosts;
mod identity;
pub mod istio;
mod machine;
mod observation;
mod policy;
mod registry;
mod render;
mod resource;
mod stage;
mod timestamp;
mod weights;

#[cfg(test)]
mod testing;

pub use commands::{CommandError, RollbackRequest};
pub use gateway_report::{
    BackendName, BackendReport, GatewayReport, GatewayReportError, RolloutRules, RouteRequests, RouteWeight,
    active_revision,
};
pub use governed::{Fitted, Governed, fit, freeze, hold, keep_published};
pub use hosts::{ServiceName, full_host, subset_labels};
pub use identity::{Evidence, Fingerprint, Identity, KnownRun, REVISION_LABEL, identify};
pub use machine::{Action, Decision, Departure, Event, Next, Question, Severity, decide, depart};
pub use observation::{
    BackendObservation, GatewayObservation, Gathered, Load, Observation, Obstacle, Published, Rejection, Reply,
};
pub use registry::{
    EndpointsBy, NamedDestination, PortFacts, Registry, ServiceFacts, Twin, TwinPort, destinations_named, is_generated,
    registry,
};
pub use render::{MAX_PUBLISHED_BYTES, RenderError, RouteSelectionError, governed_rule, publish, route_weights};
pub use resource::{
    API_VERSION, AbsoluteRequirement, Approval, ApprovalRequirement, BackendRef, Candidate, CompareAs, CompareSpec,
    ComparisonRequirement, Condition, ConditionStatus, ConditionType, EvidenceKind, EvidenceRequirement,
    EvidenceStatus, FailureBounds, FieldError, GatewayStatus, InstanceEvidence, InvalidRollout, KIND, LatencyBounds,
    Leave, Mode, ModelRollout, NamedRevision, ObjectMetadata, OnBackendLoss, OnDrainDeadline, OnFailure, Phase, Plan,
    Requirement, RequirementSpec, RequirementState, RequirementStatus, RollbackReason, RollbackStatus, RolloutSpec,
    RolloutStatus, RouteRef, ShadowSpec, Shown, Step, Transition, VerdictRequirement, Verdicts, WaitReason, Waiting,
    WarmUp, Webhook, Workload,
};
pub use stage::{NotRising, Percent, STAGE_TABLE, Stage, StagePlan, StageRow, Target, UnknownStage, UnknownTarget};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use weights::{Backend, Weights};
