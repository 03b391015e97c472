//! What gateways count of candidates: each process for itself, from its beginning to its end.

use std::collections::BTreeMap;
use turnout_rollout::{EvidenceStatus, Gathered, Weights};
use turnout_verdict::evidence::{Arm, Epoch, Failures};

/// At a time, and for either model: two thirds of what shows that none of them failing is good enough.
const REQUESTS: u64 = 200;
/// Of the candidate's, when it fails: more than enough to show that.
const FAILURES: u64 = 40;

/// All that is counted, and ever was.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counting {
    processes: u32,
    /// By gateway.
    live: BTreeMap<String, Process>,
    /// The candidate's requests that any process ever counted, by salt.
    ever: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Process {
    instance: String,
    epochs: BTreeMap<String, Vec<Epoch>>,
}

impl Counting {
    /// A gateway begins, or begins anew.
    pub(crate) fn begin(&mut self, gateway: &str) {
        self.processes += 1;
        let instance = format!("process-{}", self.processes);
        self.live.insert(gateway.to_owned(), Process { instance, ..Process::default() });
    }

    pub(crate) fn end(&mut self, gateway: &str) {
        self.live.remove(gateway);
    }

    /// Requests that a gateway with these weights has answered.
    pub(crate) fn count(&mut self, gateway: &str, salt: &str, weights: Weights, fails: bool) {
        let Some(process) = self.live.get_mut(gateway).filter(|_| weights.green > 0 && weights.blue > 0) else {
            return;
        };
        let candidate_share = f64::from(weights.blue) / f64::from(weights.green + weights.blue);
        let failures = Failures { status: if fails { FAILURES } else { 0 }, ..Failures::default() };
        let counted = Epoch {
            revision: weights.to_string(),
            candidate_share,
            stable: Arm { requests: REQUESTS, ..Arm::default() },
            candidate: Arm { requests: REQUESTS, failures, ..Arm::default() },
            shadow: None,
        };
        *self.ever.entry(salt.to_owned()).or_default() += REQUESTS;
        let epochs = process.epochs.entry(salt.to_owned()).or_default();
        match epochs.iter_mut().find(|epoch| epoch.revision == counted.revision) {
            Some(epoch) => epoch.add(&counted),
            None => epochs.push(counted),
        }
    }

    /// The pages of those that live.
    pub(crate) fn pages(&self, salt: &str) -> Vec<Gathered> {
        let page = |(gateway, process): (&String, &Process)| Gathered {
            gateway: gateway.clone(),
            instance: process.instance.clone(),
            is_current: true,
            epochs: process.epochs.get(salt).cloned().unwrap_or_default(),
        };
        self.live.iter().map(page).collect()
    }

    /// What is known is no more than what was counted, and no less than what the pages say that were just read.
    pub(crate) fn check(&self, known: &EvidenceStatus, pages: &[Gathered]) -> Result<(), String> {
        let requests = |epochs: &[Epoch]| epochs.iter().map(|epoch| epoch.candidate.requests).sum::<u64>();
        let apart: u64 = known.instances.iter().map(|one| requests(&one.epochs)).sum();
        let all = requests(&known.gone) + apart;
        let ever = self.ever.get(&known.salt).copied().unwrap_or_default();
        if all > ever {
            return Err(format!("{all} requests are known, and {ever} were counted"));
        }
        let told: u64 = pages.iter().map(|page| requests(&page.epochs)).sum();
        if all < told { Err(format!("{all} requests are known, and {told} were told")) } else { Ok(()) }
    }
}

/// The candidate's requests that pages tell of, and those of them that failed.
pub(crate) fn told(pages: &[Gathered]) -> (u64, u64) {
    let candidates = pages.iter().flat_map(|page| &page.epochs).map(|epoch| &epoch.candidate);
    candidates.fold((0, 0), |(requests, failed), arm| (requests + arm.requests, failed + arm.failures.total()))
}
