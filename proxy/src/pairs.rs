//! Pairs of answers to one request, from the two models that were asked: gathered by workers, compared on a thread of their
//! own, one at a time, since what it takes to compare them depends on what models answer.
//!
//! What is gathered or waits is bounded: by places, of which each policy has so many in the process, and by the room that
//! all bodies share. To compare takes up to some 35 bytes for each byte of both answers, hence the most of one answer.

mod comparing;
mod reply;
mod skipped;
mod worst;

pub(crate) use comparing::Comparing;
pub(crate) use reply::Reply;
pub(crate) use skipped::Skipped;

use crate::body::copy::CopyRoom;
use crate::evidence::SharedEpoch;
use crate::telemetry::metrics::{Counter, Metrics};
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use turnout_routes::documents::{CompareKind, CompareRule};
use turnout_routes::router::{Policy, ShadowPlan};
use turnout_verdict::answers::{Kind, Redaction, Rule, Rules};
use worst::Worst;

/// What one process holds of bodies that are to be compared, or that come faster than their copies are taken.
const ROOM_BYTES: usize = 64 << 20;
/// Of an answer, whatever its policy says.
const LARGEST_ANSWER: u64 = 2 << 20;
/// Pairs that wait to be compared.
const QUEUE: usize = 1024;

/// See the module.
pub(crate) struct Pairs {
    pub(crate) room: Arc<CopyRoom>,
    metrics: Arc<Metrics>,
    queue: mpsc::Sender<Pair>,
    by_policy: Mutex<BTreeMap<String, Kept>>,
}

/// What is kept of one policy for as long as a table that is in use names it.
#[derive(Default)]
struct Kept {
    places: Weak<Semaphore>,
    most_places: u32,
    of: Shown,
    worst: Worst,
}

/// Of which candidate pairs are, and what is not shown of them: those of another, or with more in them, are not kept.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shown {
    salt: String,
    candidate: Option<String>,
    redact: Vec<String>,
}

/// One request's answers.
pub(crate) struct Pair {
    pub(crate) terms: Arc<Terms>,
    pub(crate) epoch: Arc<SharedEpoch>,
    pub(crate) request: Request,
    pub(crate) live: Reply,
    pub(crate) candidate: Reply,
    /// Of the stable version, asked once more.
    pub(crate) again: Option<Reply>,
    /// Held until they have been compared.
    pub(crate) _place: OwnedSemaphorePermit,
}

/// By which people find it in logs.
pub(crate) struct Request {
    pub(crate) id: Option<HeaderValue>,
    pub(crate) method: Method,
    /// Without its query, in which there may be what nobody is to see.
    pub(crate) path: String,
}

/// On which terms one policy's answers are gathered and compared.
pub(crate) struct Terms {
    policy: String,
    shown: Shown,
    pub(crate) places: Arc<Semaphore>,
    /// Of an answer, in bytes.
    pub(crate) largest_answer: u64,
    rules: Rules,
    /// None: nobody knows what to hide, so nothing is shown.
    redaction: Option<Redaction>,
    compared: Counter,
    skipped: [Counter; Skipped::ALL.len()],
}

impl Pairs {
    /// With the one who compares them.
    pub(crate) fn new(metrics: &Arc<Metrics>) -> (Arc<Self>, Comparing) {
        let (queue, received) = mpsc::channel(QUEUE);
        let room = CopyRoom::new(ROOM_BYTES);
        let pairs = Arc::new(Self { room, metrics: Arc::clone(metrics), queue, by_policy: Mutex::default() });
        (Arc::clone(&pairs), Comparing::new(pairs, received))
    }

    /// The terms of a policy that a table has. What became of its copies is counted from zero on.
    pub(crate) fn terms(&self, policy: &Policy, plan: &ShadowPlan) -> Arc<Terms> {
        let shown =
            Shown { salt: policy.salt.clone(), candidate: policy.candidate.clone(), redact: plan.redact.clone() };
        let counter = |result: &str| self.metrics.shadows.with_label_values(&[policy.name.as_str(), result]);
        let rules: Vec<Rule> = plan.compare.iter().map(rule).collect();
        Arc::new(Terms {
            policy: policy.name.clone(),
            places: self.places(&policy.name, plan, &shown),
            shown,
            largest_answer: plan.max_body_bytes.min(LARGEST_ANSWER),
            // The documents hold no others than these can be made of.
            rules: Rules::new(&rules).unwrap_or_default(),
            redaction: Redaction::new(&plan.redact).ok(),
            compared: counter("compared"),
            skipped: Skipped::ALL.map(|skipped| counter(skipped.as_str())),
        })
    }

    /// The same for all workers, and for all tables that give the policy as many.
    fn places(&self, policy: &str, plan: &ShadowPlan, shown: &Shown) -> Arc<Semaphore> {
        let mut by_policy = self.by_policy();
        by_policy.retain(|name, kept| name == policy || kept.places.strong_count() > 0);
        let kept = by_policy.entry(policy.to_owned()).or_default();
        if kept.of != *shown {
            (kept.of, kept.worst) = (shown.clone(), Worst::default());
        }
        kept.worst.limit(plan.keep_worst);
        kept.places.upgrade().filter(|_| kept.most_places == plan.max_in_flight).unwrap_or_else(|| {
            let places = Arc::new(Semaphore::new(plan.max_in_flight as usize));
            (kept.places, kept.most_places) = (Arc::downgrade(&places), plan.max_in_flight);
            places
        })
    }

    /// Has a pair compared, unless too many wait for it.
    pub(crate) fn compare(&self, pair: Pair) -> Result<(), Skipped> {
        self.queue.try_send(pair).map_err(|_| Skipped::Comparing)
    }

    /// The pairs that differ most, of policies that want them kept.
    pub(crate) fn worst(&self) -> Value {
        let by_policy = self.by_policy();
        let is_told = |kept: &Kept| kept.worst.keeps() && kept.places.strong_count() > 0;
        let told = by_policy.iter().filter(|(_, kept)| is_told(kept));
        told.map(|(policy, kept)| json!({ "policy": policy, "pairs": kept.worst.told() })).collect()
    }

    fn by_policy(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.by_policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Terms {
    pub(crate) fn skip(&self, skipped: Skipped) {
        self.skipped[skipped as usize].inc();
    }
}

fn rule(rule: &CompareRule) -> Rule {
    let kind = match rule.kind {
        CompareKind::Number => Kind::Number,
        CompareKind::Class => Kind::Class,
        CompareKind::Set => Kind::Set,
        CompareKind::Ignore => Kind::Ignore,
    };
    Rule { path: rule.path.clone(), kind, abs: rule.abs, rel: rule.rel }
}
