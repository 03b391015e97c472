//! The SplitPolicy that is published beside the rule of a rollout whose steps want evidence or a shadow: it tells gateways
//! which destination is on trial, and what they count is kept under its name and salt. A rollout whose steps want neither
//! publishes none.
//!
//! A user's own SplitPolicy for the rule wins, since only one can govern it; the rollout then says so and goes no further
//! ([`RouteSelectionError::HasPolicy`](crate::RouteSelectionError)).

use crate::resource::{Candidate, Mode, ModelRollout, Plan, RequirementSpec, RolloutStatus, Step};
use crate::stage::{Stage, Target};
use std::collections::BTreeMap;
use turnout_routes::documents::{Assign, Destination, Document, HttpRule, Metadata, PolicyRoute, Shadow, SplitPolicy};
use turnout_routes::{Source, revision};

/// The label of a SplitPolicy that a rollout has published: the rollout's name.
const ROLLOUT_LABEL: &str = "turnout.dev/rollout";
/// So much of a digest is written down.
const SALT_LENGTH: usize = 32;

/// The candidate, while it is tried on blue beside a stable revision.
pub(crate) fn on_trial(status: &RolloutStatus) -> Option<&Candidate> {
    status.candidate.as_ref().filter(|_| is_tried(status) && status.stable_revision.is_some())
}

/// The candidate is tried on blue, beside a stable revision or without one.
pub(crate) fn is_tried(status: &RolloutStatus) -> bool {
    let position = status.position().and_then(Target::stage);
    position.is_some_and(|position| position < Stage::Green100)
        && status.rollback.is_none()
        && status.candidate.is_some()
}

impl ModelRollout {
    /// What its evidence is kept under: it tells a candidate, the attempt at it and its beginning from all others, also of
    /// other rollouts of this name. Gateways remember for a while what they have counted.
    pub(crate) fn salt_of(&self, candidate: &Candidate) -> String {
        let uid = self.metadata.other.get("uid").and_then(|uid| uid.as_str()).map_or_else(|| self.id(), str::to_owned);
        let attempt = candidate.attempt.to_string();
        let begun = candidate.begun.map(|begun| begun.to_string());
        let parts = [("uid", uid.as_str()), ("revision", &candidate.revision), ("attempt", &attempt)];
        let parts = parts.into_iter().chain(begun.as_deref().map(|begun| ("begun", begun)));
        let sources: Vec<_> = parts.map(|(name, text)| Source { name, bytes: text.as_bytes() }).collect();
        revision(&sources).chars().take(SALT_LENGTH).collect()
    }

    /// Where gateways keep what they count of its candidate: the policy as `namespace/name`, and its salt. None while they
    /// are not asked to count.
    pub fn evidence_key(&self) -> Option<(String, String)> {
        let candidate = self.counted().filter(|_| self.wants(wants_evidence))?;
        Some((format!("{}/{}", self.route_namespace(), self.policy_name()), self.salt_of(candidate)))
    }

    /// The candidate of which gateways are to count; also one without a stable revision beside it, where a step asks how often
    /// it fails, whatever others do.
    fn counted(&self) -> Option<&Candidate> {
        let alone = || self.status.candidate.as_ref().filter(|_| is_tried(&self.status) && self.wants(wants_absolute));
        on_trial(&self.status).or_else(alone)
    }

    /// Any of its steps wants gateways to be told which destination is on trial.
    pub fn wants_policy(&self) -> bool {
        self.wants(|step| step.shadow.is_some() || wants_evidence(step))
    }

    fn wants(&self, what: impl Fn(&Step) -> bool) -> bool {
        self.spec.mode == Mode::Gateway && self.spec.all_steps().is_some_and(|steps| steps.iter().any(what))
    }

    /// In the namespace of its rule, where the policy has to stand. No other rollout's has this name: a namespace has no dot.
    fn policy_name(&self) -> String {
        let (name, namespace) = (&self.metadata.name, &self.metadata.namespace);
        let is_plain = namespace == self.route_namespace() && !name.contains('.');
        if is_plain { name.clone() } else { format!("{namespace}.{name}") }
    }

    /// The shadow of the stage, once blue is known to serve the candidate.
    fn shadow(&self) -> Option<Shadow> {
        let stage = self.status.position().and_then(Target::stage)?;
        let is_served = stage != Stage::BLUE_0 || self.status.moving_to.is_none();
        Plan::of(self).ok()?.shadow(stage).filter(|_| is_served && on_trial(&self.status).is_some()).cloned()
    }

    /// The policy for its rule, of which `blue` is on trial.
    pub(crate) fn policy(&self, rule: &HttpRule, blue: &Destination) -> Option<Document> {
        let candidate = self.counted().filter(|_| self.wants_policy())?;
        let shadow = self.shadow();
        if shadow.is_none() && !self.wants(wants_evidence) {
            return None;
        }
        Some(Document::SplitPolicy(SplitPolicy {
            metadata: Metadata {
                name: self.policy_name(),
                namespace: self.route_namespace().to_owned(),
                creation_timestamp: None,
                labels: BTreeMap::from([(ROLLOUT_LABEL.to_owned(), self.metadata.name.clone())]),
            },
            route: PolicyRoute { virtual_service: self.spec.route.virtual_service.clone(), http: rule.name.clone() },
            salt: self.salt_of(candidate),
            candidate: Some(blue.clone()),
            assign: Assign::default(),
            pinning: None,
            shadow: shadow.map(Box::new),
            rescue: None,
        }))
    }

    /// Whether the document is the policy that it has published.
    pub(crate) fn has_published(&self, document: &Document) -> bool {
        let Document::SplitPolicy(SplitPolicy { metadata, .. }) = document else { return false };
        metadata.namespace == self.route_namespace()
            && metadata.name == self.policy_name()
            && metadata.labels.get(ROLLOUT_LABEL) == Some(&self.metadata.name)
    }

    /// A policy that somebody else has written for its rule, which is or is not the only one with two destinations.
    pub(crate) fn rival<'d>(
        &self,
        documents: &'d [Document],
        (rule, is_only): (&HttpRule, bool),
    ) -> Option<&'d SplitPolicy> {
        self.policies_of_others(documents).find(|policy| {
            let is_meant = policy.route.http.as_ref().map_or(is_only, |name| Some(name) == rule.name.as_ref());
            policy.route.virtual_service == self.spec.route.virtual_service && is_meant
        })
    }

    /// A policy that somebody else has written under the name of the rollout's own. Of two documents of one name gateways
    /// take neither, nor anything beside them.
    pub(crate) fn namesake<'d>(&self, documents: &'d [Document]) -> Option<&'d SplitPolicy> {
        self.policies_of_others(documents).find(|policy| policy.metadata.name == self.policy_name())
    }

    /// In the namespace of its rule.
    fn policies_of_others<'d>(&self, documents: &'d [Document]) -> impl Iterator<Item = &'d SplitPolicy> {
        documents.iter().filter(|document| !self.has_published(document)).filter_map(|document| match document {
            Document::SplitPolicy(policy) if policy.metadata.namespace == self.route_namespace() => Some(policy),
            _ => None,
        })
    }
}

fn wants_absolute(step: &Step) -> bool {
    step.require.iter().flatten().any(|one| one.absolute.is_some())
}

fn wants_evidence(step: &Step) -> bool {
    let is_evidence =
        |one: &RequirementSpec| one.verdict.is_some() || one.absolute.is_some() || one.comparison.is_some();
    step.require.iter().flatten().any(is_evidence)
}
