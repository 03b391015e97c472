//! What became of the requests that a SplitPolicy governs, for those who judge a model by it: counted under the policy, the
//! revision that assigned the request, and the model that it was assigned to. A request is counted once, when it has ended;
//! what its outcome is stands in `trial.rs`.
//!
//! The counts outlive every table. Workers share nothing on a request's way: each has its own share of an epoch (`worker.rs`)
//! and adds it up when a page is asked for, or with the last request of an older table.

mod trial;
mod worker;

pub(crate) use trial::{Outcome, Trial, count};
pub(crate) use worker::{WorkerEpoch, WorkerEvidence};

use crate::random::Random;
use data_encoding::HEXLOWER;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use turnout_routes::router::Policy;
use turnout_verdict::evidence::{Arm, Epoch, Page, PolicyEvidence, Shadow};

/// The latest revisions of a policy that are remembered, and older ones while a request holds them.
const EPOCHS: usize = 64;
/// The policies that are remembered, under all their salts.
const POLICIES: usize = 1000;
/// For so long a policy is remembered that no table names any more.
const REMEMBERED: Duration = Duration::from_hours(1);

/// All that the process has counted.
pub(crate) struct Evidence {
    instance: String,
    policies: Mutex<Policies>,
}

/// What is to be counted of one policy of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Governed<'p> {
    /// Among the table's policies.
    pub(crate) index: usize,
    /// `namespace/name`
    pub(crate) policy: &'p str,
    pub(crate) salt: &'p str,
    pub(crate) candidate_share: f64,
    /// Whether the candidate is asked beside.
    pub(crate) has_shadow: bool,
}

/// What is counted of one policy under one revision.
#[derive(Debug)]
pub(crate) struct SharedEpoch {
    revision: String,
    candidate_share: f64,
    arms: Mutex<Arms>,
    /// Apart, so that those who compare answers keep no worker waiting.
    shadow: Mutex<Option<Shadow>>,
}

/// Both models' requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Arms {
    pub(crate) stable: Arm,
    pub(crate) candidate: Arm,
}

#[derive(Default)]
struct Policies {
    by_key: BTreeMap<Key, Remembered>,
    /// What epochs that are forgotten had counted, by the policy's name: metrics go on from it.
    forgotten: BTreeMap<String, Arms>,
}

/// Name and salt.
type Key = (String, String);

#[derive(Default)]
struct Remembered {
    /// The latest last.
    epochs: Vec<Arc<SharedEpoch>>,
    /// Since when no table names the policy.
    unnamed: Option<Instant>,
}

impl<'p> From<&'p Policy> for Governed<'p> {
    fn from(policy: &'p Policy) -> Self {
        let Policy { index, name, salt, candidate_share, shadow, .. } = policy;
        let has_shadow = shadow.is_some();
        Self { index: *index, policy: name, salt, candidate_share: *candidate_share, has_shadow }
    }
}

impl Evidence {
    pub(crate) fn new() -> Self {
        Self { instance: HEXLOWER.encode(&Random::new().id()), policies: Mutex::default() }
    }

    /// Where the requests of a table's policies are to be counted, by the index of the policy. Nowhere, if there are too
    /// many.
    pub(crate) fn adopt(&self, revision: &str, governed: &[Governed<'_>]) -> Vec<Option<Arc<SharedEpoch>>> {
        let mut policies = self.policies();
        policies.name_only(governed);
        let mut epochs = vec![None; governed.iter().map(|governed| governed.index + 1).max().unwrap_or_default()];
        for governed in governed {
            epochs[governed.index] = policies.epoch(revision, *governed);
            if epochs[governed.index].is_none() {
                tracing::warn!(policy = governed.policy, "nothing is counted of its requests: too many SplitPolicies");
            }
        }
        epochs
    }

    /// The page. The workers must have added their shares before.
    pub(crate) fn page(&self) -> Page {
        let policies = self.policies();
        let told = policies.by_key.iter().map(|((policy, salt), remembered)| {
            let mut epochs: Vec<Epoch> = remembered.epochs.iter().map(|epoch| epoch.told()).collect();
            epochs.sort_by(|one, other| one.revision.cmp(&other.revision));
            PolicyEvidence { policy: policy.clone(), salt: salt.clone(), epochs }
        });
        Page { instance: self.instance.clone(), policies: told.collect() }
    }

    /// What was counted under each policy's name in all, whatever its salt or the revision.
    pub(crate) fn totals(&self) -> BTreeMap<String, Arms> {
        let policies = self.policies();
        let mut totals = policies.forgotten.clone();
        for ((policy, _), remembered) in &policies.by_key {
            let total = totals.entry(policy.clone()).or_default();
            for epoch in &remembered.epochs {
                total.add(&epoch.arms());
            }
        }
        totals
    }

    fn policies(&self) -> MutexGuard<'_, Policies> {
        let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        policies.forget_unnamed();
        policies
    }
}

impl Policies {
    /// The table that is to serve names these policies and no others.
    fn name_only(&mut self, governed: &[Governed<'_>]) {
        let named: BTreeSet<_> = governed.iter().map(|governed| (governed.policy, governed.salt)).collect();
        for ((policy, salt), remembered) in &mut self.by_key {
            let is_named = named.contains(&(policy.as_str(), salt.as_str()));
            remembered.unnamed = if is_named { None } else { remembered.unnamed.or_else(|| Some(Instant::now())) };
        }
    }

    fn epoch(&mut self, revision: &str, governed: Governed<'_>) -> Option<Arc<SharedEpoch>> {
        let Governed { index: _, policy, salt, candidate_share, has_shadow } = governed;
        let key = (policy.to_owned(), salt.to_owned());
        if !self.by_key.contains_key(&key) && self.by_key.len() >= POLICIES {
            let unnamed = self.by_key.iter().filter_map(|(key, remembered)| Some((remembered.unnamed?, key)));
            let longest = unnamed.min().map(|(_, key)| key.clone())?;
            self.forget(&longest);
        }
        let remembered = self.by_key.entry(key).or_default();
        let epoch = remembered.latest(revision, candidate_share);
        if has_shadow {
            // That there is one is told before anything has come of it.
            epoch.shadow(|_| ());
        }
        let forgotten = remembered.surplus();
        let total = self.forgotten.entry(policy.to_owned()).or_default();
        for epoch in forgotten {
            total.add(&epoch.arms());
        }
        Some(epoch)
    }

    fn forget_unnamed(&mut self) {
        let is_over = |remembered: &Remembered| remembered.unnamed.is_some_and(|since| since.elapsed() >= REMEMBERED);
        let over = self.by_key.iter().filter(|(_, remembered)| is_over(remembered));
        for key in over.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.forget(&key);
        }
    }

    /// The policy's totals go with its last salt.
    fn forget(&mut self, key: &Key) {
        let Some(remembered) = self.by_key.remove(key) else { return };
        let (policy, _) = key;
        if self.by_key.keys().any(|(other, _)| other == policy) {
            let total = self.forgotten.entry(policy.clone()).or_default();
            for epoch in &remembered.epochs {
                total.add(&epoch.arms());
            }
        } else {
            self.forgotten.remove(policy);
        }
    }
}

impl Remembered {
    /// The epoch of this revision, which is the latest from now on. Routes that come back go on where they were.
    fn latest(&mut self, revision: &str, candidate_share: f64) -> Arc<SharedEpoch> {
        let known = self.epochs.iter().position(|epoch| epoch.revision == revision);
        let new = || {
            let revision = revision.to_owned();
            Arc::new(SharedEpoch { revision, candidate_share, arms: Mutex::default(), shadow: Mutex::default() })
        };
        let epoch = known.map_or_else(new, |at| self.epochs.remove(at));
        self.epochs.push(Arc::clone(&epoch));
        epoch
    }

    /// Takes out the oldest that are too many and that no table and no request holds.
    fn surplus(&mut self) -> Vec<Arc<SharedEpoch>> {
        let mut surplus = self.epochs.len().saturating_sub(EPOCHS);
        let is_surplus = |epoch: &mut Arc<SharedEpoch>| {
            let goes = surplus > 0 && Arc::strong_count(epoch) == 1;
            surplus -= usize::from(goes);
            goes
        };
        self.epochs.extract_if(.., is_surplus).collect()
    }
}

impl SharedEpoch {
    /// Counts what came of a copy. Not for a request's own way: whoever reads the page may hold it meanwhile.
    pub(crate) fn shadow(&self, count: impl FnOnce(&mut Shadow)) {
        count(self.shadow.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default());
    }

    fn add(&self, arms: &Arms) {
        self.arms.lock().unwrap_or_else(PoisonError::into_inner).add(arms);
    }

    fn arms(&self) -> Arms {
        self.arms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn told(&self) -> Epoch {
        let Arms { stable, candidate } = self.arms();
        let shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (revision, candidate_share) = (self.revision.clone(), self.candidate_share);
        Epoch { revision, candidate_share, stable, candidate, shadow }
    }
}

impl Arms {
    fn add(&mut self, other: &Self) {
        self.stable.add(&other.stable);
        self.candidate.add(&other.candidate);
    }
}

#[cfg(test)]
mod tests;
