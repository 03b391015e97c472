//! What gateways count, as they show it on the page `/evidence` and as it is judged.
//!
//! Everything here is made of whole numbers that add up. Adding is commutative and associative to the bit, so that the
//! verdict of many replicas is that of one gateway that had served all of their requests, whoever was asked first.

mod bias;
mod histogram;

pub use bias::Bias;
pub use histogram::Histogram;

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What one gateway process has counted since it began: the page `/evidence` of the status port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Page {
    /// Of the process, at random: a process that begins anew has another one, and what the old one had counted stays true.
    pub instance: String,
    /// In the order of their names and salts.
    pub policies: Vec<PolicyEvidence>,
}

/// The evidence of one SplitPolicy under one salt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyEvidence {
    /// `namespace/name`.
    pub policy: String,
    /// The rollout's UID and attempt, or empty.
    pub salt: String,
    /// In the order of their revisions.
    pub epochs: Vec<Epoch>,
}

/// One published revision. A request counts under the revision that assigned it, once it has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Epoch {
    /// As `/revision` shows it.
    pub revision: String,
    /// The candidate's part, 0 to 1, of what the split gave to either at that revision.
    pub candidate_share: f64,
    /// Those whom the model in production answered.
    pub stable: Arm,
    /// Those whom the proposed model answered, or should have.
    pub candidate: Arm,
    /// What the candidate made of copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

/// The requests of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Arm {
    /// Eligible and ended: assigned by the split, counted at their first attempt.
    pub requests: u64,
    /// Those of `requests` that failed, by what told it; a request is in one of them at most.
    pub failures: Failures,
    /// How long each of `requests` took.
    pub latency: Histogram,
    /// Those of `failures` that the other model has answered in its place.
    pub rescued: u64,
    /// Others, such as pinned ones: they count nowhere else.
    pub not_eligible: u64,
}

/// A client's own mistake (4xx) is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Failures {
    /// The model answered with a 5xx.
    pub status: u64,
    /// The gateway answered with 502, 503 or 504 for it.
    pub gateway: u64,
    /// It took longer than it may.
    pub timeout: u64,
    /// It answered that it had failed: `x-ms-run-function-failed: True`.
    pub reported: u64,
}

/// Copies of requests that stable answers, answered by the candidate, too; nobody sees its answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Shadow {
    /// Sent to the candidate.
    pub copies: u64,
    /// Those of `copies` whose two answers were compared.
    pub pairs: u64,
    /// Those of `pairs` for which stable was asked a second time, and answered.
    pub noise_pairs: u64,
    /// Copies that were not sent or not compared, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// What the candidate made of `copies`.
    pub candidate: Arm,
    /// Those of `copies` in which the candidate failed, as [`Failures`] has it, and stable did not.
    pub only_candidate_failed: u64,
    /// Those of `copies` in which stable failed and the candidate did not.
    pub only_stable_failed: u64,
    /// By path and scale, in this order.
    pub fields: Vec<Field>,
    /// Those of `pairs` in which anything of `schema_changes` was seen.
    pub schema_changed: u64,
    /// What changed -> in how many pairs.
    pub schema_changes: BTreeMap<String, u64>,
    /// Values beyond the most fields that are kept.
    pub fields_left_out: u64,
}

/// One value of the answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Field {
    /// JSON pointer; `*` stands for each element of an array.
    pub path: String,
    /// Pairs in which both have it.
    pub compared: u64,
    /// Those of `compared` in which the candidate differs from the live answer beyond tolerance.
    pub differ: u64,
    /// Pairs in which stable's second answer has it, too.
    pub noise_compared: u64,
    /// Those of `noise_compared` in which stable's second answer differs from its first.
    pub noise_differ: u64,
    /// Those of `noise_compared` in which the candidate differs from the live answer and stable's second one does not.
    pub discordant_candidate: u64,
    /// Those of `noise_compared` in which stable's second answer differs from the live one and the candidate does not.
    pub discordant_noise: u64,
    /// By how much numbers differ, and to which side.
    pub bias: Bias,
}

/// Counts end at the most that a number holds, rather than begin anew.
fn add(own: &mut u64, other: u64) {
    *own = own.saturating_add(other);
}

fn add_named(own: &mut BTreeMap<String, u64>, other: &BTreeMap<String, u64>) {
    for (name, count) in other {
        add(own.entry(name.clone()).or_default(), *count);
    }
}

/// Joins two sorted lists; what is in both is added up.
fn join<T: Clone>(own: &mut Vec<T>, other: &[T], order: impl Fn(&T, &T) -> Ordering, add: impl Fn(&mut T, &T)) {
    own.sort_by(&order);
    for item in other {
        match own.binary_search_by(|candidate| order(candidate, item)) {
            Ok(at) => add(&mut own[at], item),
            Err(at) => own.insert(at, item.clone()),
        }
    }
}

/// What several processes have counted, together: of each the newest page, and the last one of each that is gone.
pub fn total<'a>(pages: impl IntoIterator<Item = &'a Page>) -> Vec<PolicyEvidence> {
    let mut policies = Vec::new();
    for page in pages {
        join(&mut policies, &page.policies, PolicyEvidence::order, PolicyEvidence::add);
    }
    policies
}

/// The epochs in one order, those that are the same added up: whoever sums floats needs one order.
pub(crate) fn sorted(epochs: &[Epoch]) -> Cow<'_, [Epoch]> {
    if epochs.is_sorted_by(|one, next| one.order(next).is_lt()) {
        return Cow::Borrowed(epochs);
    }
    let mut sorted = Vec::new();
    join(&mut sorted, epochs, Epoch::order, Epoch::add);
    Cow::Owned(sorted)
}

impl PolicyEvidence {
    fn order(&self, other: &Self) -> Ordering {
        (&self.policy, &self.salt).cmp(&(&other.policy, &other.salt))
    }

    /// Adds another process's count of the same policy and salt.
    pub fn add(&mut self, other: &Self) {
        join(&mut self.epochs, &other.epochs, Epoch::order, Epoch::add);
    }
}

impl Epoch {
    /// Revision and share: a count under another share is another epoch, whatever its revision is called.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        self.revision.cmp(&other.revision).then(self.candidate_share.total_cmp(&other.candidate_share))
    }

    /// Adds another process's count of the same revision.
    pub fn add(&mut self, other: &Self) {
        self.stable.add(&other.stable);
        self.candidate.add(&other.candidate);
        if let Some(other) = &other.shadow {
            self.shadow.get_or_insert_default().add(other);
        }
    }
}

impl Arm {
    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.requests, other.requests);
        self.failures.add(other.failures);
        self.latency.add(&other.latency);
        add(&mut self.rescued, other.rescued);
        add(&mut self.not_eligible, other.not_eligible);
    }
}

impl Failures {
    /// All of them.
    pub fn total(self) -> u64 {
        [self.status, self.gateway, self.timeout, self.reported].into_iter().fold(0, u64::saturating_add)
    }

    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        add(&mut self.status, other.status);
        add(&mut self.gateway, other.gateway);
        add(&mut self.timeout, other.timeout);
        add(&mut self.reported, other.reported);
    }
}

impl Shadow {
    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.copies, other.copies);
        add(&mut self.pairs, other.pairs);
        add(&mut self.noise_pairs, other.noise_pairs);
        add_named(&mut self.skipped, &other.skipped);
        self.candidate.add(&other.candidate);
        add(&mut self.only_candidate_failed, other.only_candidate_failed);
        add(&mut self.only_stable_failed, other.only_stable_failed);
        join(&mut self.fields, &other.fields, Field::order, Field::add);
        add(&mut self.schema_changed, other.schema_changed);
        add_named(&mut self.schema_changes, &other.schema_changes);
        add(&mut self.fields_left_out, other.fields_left_out);
    }
}

impl Field {
    /// Path and scale: differences in other units do not add up.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        self.path.cmp(&other.path).then(self.bias.scale().total_cmp(&other.bias.scale()))
    }

    /// Adds another count of the same field, with the same scale.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.compared, other.compared);
        add(&mut self.differ, other.differ);
        add(&mut self.noise_compared, other.noise_compared);
        add(&mut self.noise_differ, other.noise_differ);
        add(&mut self.discordant_candidate, other.discordant_candidate);
        add(&mut self.discordant_noise, other.discordant_noise);
        self.bias.add(&other.bias);
    }
}
