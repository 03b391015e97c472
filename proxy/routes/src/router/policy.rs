//! A compiled SplitPolicy: what governs the requests of one rule beside the rule itself.

use super::assignment::Assignment;
use super::mirror::MirrorTarget;
use super::retry::RetryPolicy;
use super::split::Target;
use crate::documents::{CompareRule, Override, Percent};
use http::{HeaderName, Method};
use std::sync::Arc;
use std::time::Duration;

/// What governs a rule.
#[derive(Debug)]
pub struct Policy {
    /// `namespace/name` of the document.
    pub name: String,
    /// What keys are hashed with and evidence is kept under; perhaps empty.
    pub salt: String,
    /// Among the policies of the table: of its tickets.
    pub index: usize,
    /// How requests get their targets.
    pub assign: Assignment,
    /// Which target is on trial, by its name. None: none has a role.
    pub candidate: Option<String>,
    /// The candidate's part of the weights, 0 to 1.
    pub candidate_share: f64,
    /// Who may pick a version.
    pub pinning: Option<Override>,
    /// The candidate is asked beside.
    pub shadow: Option<Arc<ShadowPlan>>,
    /// What the candidate fails at is answered by another.
    pub rescue: Option<RescuePlan>,
}

/// What a target is to a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has been there before.
    Stable,
    /// It is on trial.
    Candidate,
    /// No policy says.
    Unknown,
}

/// Whom to ask beside the live answer, of which requests, and how the two answers are compared.
#[derive(Debug)]
pub struct ShadowPlan {
    /// Who is asked, and of how many of the requests that may be asked twice.
    pub target: MirrorTarget,
    /// For how many of those the stable version is asked a second time.
    pub noise: Percent,
    /// For which asking twice is harmless.
    pub methods: Vec<Method>,
    /// Of a request and of an answer.
    pub max_body_bytes: u64,
    /// At a time.
    pub max_in_flight: u32,
    /// For the whole second answer.
    pub timeout: Duration,
    /// How values are compared.
    pub compare: Vec<CompareRule>,
    /// How many of the worst pairs are kept.
    pub keep_worst: usize,
    /// JSON pointers to what is never kept.
    pub redact: Vec<String>,
    /// Headers that copies do not have.
    pub drop_headers: Vec<HeaderName>,
}

/// When another answers in the candidate's place.
#[derive(Debug)]
pub struct RescuePlan {
    /// At which failures.
    pub on: RetryPolicy,
    /// Of the candidate's requests, at most.
    pub budget: Percent,
}

impl Policy {
    /// What a target of the policy's rule is to it.
    pub fn role(&self, target: &Target) -> Role {
        match &self.candidate {
            None => Role::Unknown,
            Some(candidate) if *candidate == target.name => Role::Candidate,
            Some(_) => Role::Stable,
        }
    }
}
