//! The status of a rollout: what was confirmed, what is under way, and why it waits. It is all that the state machine
//! remembers; losing it is safe and costs only the way already gone.

use crate::governed::Governed;
use crate::identity::KnownRun;
use crate::resource::{EvidenceStatus, RolloutSpec};
use crate::stage::{Stage, Target};
use crate::timestamp::Timestamp;
use crate::weights::{Backend, Weights};
use serde::{Deserialize, Serialize};
use std::fmt;

/// So many transitions are kept.
const HISTORY_LENGTH: usize = 50;

/// What was reached and what is under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// In one word, what goes on.
    pub phase: Phase,
    /// In one line, what goes on and why.
    pub message: String,
    /// What was reached: every live gateway has confirmed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Target>,
    /// When it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_since: Option<Timestamp>,
    /// What is being entered: its weights are published, and not yet confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<Target>,
    /// The weights in effect: those of the stage, unless a backend cannot take its share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Since when they are published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_since: Option<Timestamp>,
    /// The rule and the backends that it governed last. They stay in effect while those of the spec do not fit the
    /// documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governs: Option<Governed>,
    /// What the pods of revisions run that carry no label `turnout.dev/revision`, as far as the rollout has met them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<KnownRun>,
    /// The revision that went through all stages last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_revision: Option<String>,
    /// The stable one before it: what a rollback after `Green_100` rolls out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_revision: Option<String>,
    /// What is being rolled out, or was rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// Once it is set the candidate goes back, whatever the spec says later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackStatus>,
    /// Managed: which template `spec.revision` stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named: Option<NamedRevision>,
    /// What is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// While a rollout is under way in Gateway mode: what each live gateway gives to its rule, at most 100 of them, in the
    /// order of their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub gateways: Vec<GatewayStatus>,
    /// How each requirement of the stage that was reached stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<RequirementStatus>,
    /// While evidence is required at any stage: what gateways have counted of the candidate, and what has been made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<serde_json::Map<String, serde_json::Value>>"))]
    pub evidence: Option<EvidenceStatus>,
    /// The backends that nothing needs any more: no weight, no requests in flight. Whoever owns them may remove or
    /// replace them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub safe_to_remove: Vec<Backend>,
    /// The generation of the spec that this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// For `kubectl wait` and dashboards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What was reached when, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Transition>,
}

/// In one word, what goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Phase {
    /// Nothing to roll out; the documents' own weights are served until the first rollout.
    #[default]
    Idle,
    /// The spec or its route is wrong. The weights stay as they are.
    Invalid,
    /// On the way to the next stage.
    Progressing,
    /// At a stage, until somebody promotes or what it requires is fulfilled.
    Holding,
    /// At a stage, because a requirement has failed.
    Failed,
    /// At a stage, because the spec says so.
    Paused,
    /// On the way, but later than its deadline. It goes on by itself when what it waits for happens.
    Stalled,
    /// On the way back.
    RollingBack,
    /// The stable image serves everything again, and the candidate has gone.
    RolledBack,
    /// The candidate is the stable image.
    Complete,
}

impl Phase {
    /// Somebody has to look at it.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Invalid | Self::Failed | Self::Stalled)
    }

    /// As the status has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Invalid => "Invalid",
            Self::Progressing => "Progressing",
            Self::Holding => "Holding",
            Self::Failed => "Failed",
            Self::Paused => "Paused",
            Self::Stalled => "Stalled",
            Self::RollingBack => "RollingBack",
            Self::RolledBack => "RolledBack",
            Self::Complete => "Complete",
        }
    }
}

/// A revision, and which try at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The revision of the image.
    pub revision: String,
    /// `spec.attempt` when it began.
    #[serde(default)]
    pub attempt: u32,
    /// When it began: it tells one beginning from each other of the same revision and attempt. Absent in statuses that were
    /// written before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Timestamp>,
}

impl Candidate {
    /// Of the same revision and attempt, whenever it began.
    pub fn is_same_try(&self, other: &Self) -> bool {
        (&self.revision, self.attempt) == (&other.revision, other.attempt)
    }
}

/// A gateway, as far as a rollout is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// What people call it, as its pod's name.
    pub name: String,
    /// The weights of the rollout's rule there; none of a gateway that has no such rule, or says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Why it does not have what is published, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// That `spec.revision` was written, and beside which template: of the two, what changed last is rolled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NamedRevision {
    /// `spec.revision`.
    pub revision: String,
    /// `spec.attempt`.
    #[serde(default)]
    pub attempt: u32,
    /// The revision of the template that the spec had then.
    pub template: String,
    /// The revision of the template that the spec has now, if it changed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// The name was in use, so that it means the template that is stored for it, and not the spec's.
    #[serde(default)]
    pub stored: bool,
}

/// That a candidate goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RollbackStatus {
    /// Where the rollout was, or was going, when it turned.
    pub from: Stage,
    /// Why.
    pub reason: RollbackReason,
    /// Since when.
    pub since: Timestamp,
    /// What has failed, where that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Why a rollout goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RollbackReason {
    /// `spec.target` is `Rollback`.
    Requested,
    /// `spec.revision` is the stable one again.
    RevisionWithdrawn,
    /// Blue had weight and lost its last ready endpoint, and the spec wants a rollback then.
    BackendLost,
    /// A requirement of the stage failed, and the spec wants a rollback then.
    RequirementFailed,
}

impl fmt::Display for RollbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "it was asked for",
            Self::RevisionWithdrawn => "spec.revision is the stable one again",
            Self::BackendLost => "blue lost its last ready endpoint",
            Self::RequirementFailed => "a requirement failed",
        })
    }
}

/// What a rollout waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// What for.
    pub reason: WaitReason,
    /// Since when.
    pub since: Timestamp,
    /// When the pause is over, or the deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The deadline has passed. It goes on by itself, but somebody should look.
    #[serde(default)]
    pub overdue: bool,
}

/// What a rollout waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WaitReason {
    /// That the spec becomes valid.
    ValidSpec,
    /// That the documents have the rule.
    Route,
    /// That the weights are published and every live gateway has them. The driver nudges while it waits.
    Confirmation,
    /// That a backend with weight has ready endpoints again.
    ReadyEndpoints,
    /// That a backend serves the candidate and is ready.
    CandidateReady,
    /// That a backend is warmed.
    WarmUp,
    /// That every live gateway sees an endpoint of a backend that is to get weight.
    EndpointsSeen,
    /// That green serves the stable image again.
    StableImage,
    /// That a backend has no requests in flight and no weight at any gateway.
    Drain,
    /// That a backend is gone.
    Removal,
    /// That what the stage requires is fulfilled.
    #[serde(alias = "Gate", alias = "GatePause")]
    Requirements,
    /// That somebody decides what becomes of a requirement that failed.
    Failure,
    /// That somebody promotes, since nothing is required or the target is reached.
    #[serde(alias = "Target")]
    Promotion,
    /// That the rollout is resumed.
    Resume,
}

/// How a requirement of the stage that was reached stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RequirementStatus {
    /// Which, as `approval` or `pause 10m`.
    pub requirement: String,
    /// Of a webhook: how it was asked. Of evidence: what it has to show. When that changes it is decided anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How it stands.
    pub state: RequirementState,
    /// Why, in one line.
    pub message: String,
    /// Of evidence: it is not decided, and the deadline has passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
}

/// How a requirement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RequirementState {
    /// It is fulfilled.
    Open,
    /// It is not yet fulfilled.
    Waiting,
    /// It will not be fulfilled.
    Failed,
}

/// A condition as Kubernetes has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Of what.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: String,
    /// Why, in one line.
    pub message: String,
    /// Since when it is so.
    pub last_transition_time: Timestamp,
}

/// Of what a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ConditionType {
    /// The spec is valid, and the documents have the rule that it names.
    Accepted,
    /// Every live gateway has the published weights. `Unknown` for Istio, which does not say.
    Confirmed,
    /// Every backend that the stage gives weight to can take it.
    Healthy,
    /// The rollout is on its way and within its deadline.
    Progressing,
    /// A rollback waits until green serves the stable image again.
    WaitingForStableImage,
    /// The driver can do what it decides. `False` says what keeps it, such as a missing right.
    Operational,
    /// It is where it was asked to be, or waits for somebody: for GitOps tools, which stop waiting then.
    Ready,
    /// It is on its way: for GitOps tools, which go on waiting.
    Reconciling,
    /// It goes no further unless somebody mends something: for GitOps tools, which fail then.
    Stalled,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

/// That something was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// What was reached before; none at a rollout's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Target>,
    /// What was reached.
    pub to: Target,
    /// When.
    pub at: Timestamp,
    /// The candidate's revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The revision of the routes that was confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes_revision: Option<String>,
    /// The gateways that did; none for Istio.
    pub confirmed_by: Vec<String>,
    /// Why it went there.
    pub reason: String,
}

impl RolloutStatus {
    /// Nothing was ever written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A candidate is between its start and its end. It is not while what was reached last is an end.
    pub fn in_progress(&self) -> bool {
        self.candidate.is_some() && self.stage != Some(Target::Rollback)
    }

    /// What is under way comes to its end before anything newer begins: a rollback once begun is finished; and where
    /// green is being replaced, only the two ends serve one image alone.
    pub(crate) fn must_end_first(&self) -> bool {
        let stage = self.position().and_then(Target::stage);
        let replaces_green = stage.is_some_and(Stage::replaces_green) && self.stable_revision.is_some();
        self.rollback.is_some() || replaces_green
    }

    /// Nothing is under way, and nothing is left to tidy up.
    pub fn is_idle(&self) -> bool {
        !self.in_progress() && matches!(self.phase, Phase::Idle | Phase::Complete | Phase::RolledBack)
    }

    /// What gateways count of the candidate is judged, and may turn it back at any moment.
    pub fn is_judged(&self) -> bool {
        self.evidence.is_some()
    }

    /// What the spec wants to be rolled out, as far as a status can tell: `spec.revision`, or the template that changed
    /// after it was written. None if only the spec's template says it.
    pub fn wanted_revision<'a>(&'a self, spec: &'a RolloutSpec) -> Option<&'a String> {
        let revision = spec.revision.as_ref()?;
        let is_named = |named: &&NamedRevision| named.revision == *revision && named.attempt == spec.attempt;
        let named = self.named.as_ref().filter(is_named);
        Some(named.and_then(|named| named.superseded_by.as_ref()).unwrap_or(revision))
    }

    /// What decides the weights: what is being entered, else what was reached.
    pub fn position(&self) -> Option<Target> {
        self.moving_to.or(self.stage)
    }

    /// Something runs it, or may be asked to run it again.
    pub fn is_in_use(&self, revision: &str) -> bool {
        let candidate = self.candidate.as_ref().map(|candidate| candidate.revision.as_str());
        let (stable, previous) = (self.stable_revision.as_deref(), self.previous_revision.as_deref());
        [stable, previous, candidate].contains(&Some(revision))
    }

    /// Whether the rollout of `revision` has reached `stage`, or has passed it.
    pub fn has_reached(&self, revision: &str, stage: Stage) -> bool {
        if self.stable_revision.as_deref() == Some(revision) {
            return true;
        }
        let is_candidate = self.candidate.as_ref().is_some_and(|candidate| candidate.revision == revision);
        let reached = self.stage.and_then(Target::stage).is_some_and(|reached| reached >= stage);
        is_candidate && self.rollback.is_none() && reached
    }

    /// The condition of that type.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Whether that condition is `True`.
    pub fn is(&self, kind: ConditionType) -> bool {
        self.condition(kind).is_some_and(|condition| condition.status == ConditionStatus::True)
    }

    /// Sets a condition; its time changes only with its status.
    pub fn set_condition(
        &mut self,
        kind: ConditionType,
        status: ConditionStatus,
        reason: &str,
        message: String,
        now: Timestamp,
    ) {
        let former = self.condition(kind).filter(|former| former.status == status);
        let last_transition_time = former.map_or(now, |former| former.last_transition_time);
        let condition = Condition { kind, status, reason: reason.to_owned(), message, last_transition_time };
        match self.conditions.iter_mut().find(|existing| existing.kind == kind) {
            Some(existing) => *existing = condition,
            None => self.conditions.push(condition),
        }
    }

    /// Sums up phase and obstacle as tools read them that know of no rollouts.
    pub fn sum_up(&mut self, now: Timestamp) {
        let operational = self.condition(ConditionType::Operational);
        let obstacle = operational.filter(|condition| condition.status == ConditionStatus::False).cloned();
        let is_bad = obstacle.is_some() || self.phase.is_bad();
        let is_moving = !is_bad && matches!(self.phase, Phase::Progressing | Phase::RollingBack);
        let (reason, message) = match obstacle {
            Some(obstacle) => (obstacle.reason, obstacle.message),
            None => (self.phase.as_str().to_owned(), self.message.clone()),
        };
        let holds = |holds| if holds { ConditionStatus::True } else { ConditionStatus::False };
        for (kind, is_so) in [
            (ConditionType::Ready, !is_bad && !is_moving),
            (ConditionType::Reconciling, is_moving),
            (ConditionType::Stalled, is_bad),
        ] {
            self.set_condition(kind, holds(is_so), &reason, message.clone(), now);
        }
    }

    /// The latest of the times from which something is counted.
    pub fn last_time(&self) -> Option<Timestamp> {
        let waiting = self.waiting.as_ref().map(|waiting| waiting.since);
        [self.stage_since, self.weights_since, waiting].into_iter().flatten().max()
    }

    /// Takes what lies after `now` for now. It was written by a machine whose clock was ahead; what is counted from there
    /// begins anew, and ends at the latest when its time from now is over.
    pub(crate) fn set_back_to(&mut self, now: Timestamp) {
        let gathered = self.evidence.as_mut().and_then(|evidence| evidence.at.as_mut());
        let times = self.stage_since.iter_mut().chain(&mut self.weights_since).chain(gathered);
        for time in times.chain(self.waiting.as_mut().map(|waiting| &mut waiting.since)) {
            *time = now.min(*time);
        }
    }

    /// Appends to the history, which keeps only the latest entries.
    pub(crate) fn remember(&mut self, transition: Transition) {
        self.history.push(transition);
        let surplus = self.history.len().saturating_sub(HISTORY_LENGTH);
        self.history.drain(..surplus);
    }
}
