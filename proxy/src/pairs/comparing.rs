//! The comparison, off every request's way: one pair at a time, on a thread that neither workers nor the status port need.

use super::worst::told;
use super::{Kept, Pair, Pairs};
use std::sync::Arc;
use tokio::sync::mpsc;
use turnout_verdict::answers::{Comparison, compare, tally};

/// See the module.
pub(crate) struct Comparing {
    pairs: Arc<Pairs>,
    received: mpsc::Receiver<Pair>,
}

impl Comparing {
    pub(super) fn new(pairs: Arc<Pairs>, received: mpsc::Receiver<Pair>) -> Self {
        Self { pairs, received }
    }

    /// Compares what comes, for as long as the process has a use for it.
    pub(crate) async fn run(mut self) {
        while let Some(pair) = self.received.recv().await {
            let pairs = Arc::clone(&self.pairs);
            // The pair has its place, and its room, until it has been counted.
            if let Err(error) = tokio::task::spawn_blocking(move || pairs.count(&pair)).await {
                tracing::error!(%error, "two answers could not be compared");
            }
        }
    }
}

impl Pairs {
    fn count(&self, pair: &Pair) {
        let rules = &pair.terms.rules;
        let live = pair.live.answer();
        let comparison = compare(&live, &pair.candidate.answer(), rules);
        let second = pair.again.as_ref().map(|again| compare(&live, &again.answer(), rules));
        pair.epoch.shadow(|shadow| tally(shadow, &comparison, second.as_ref()));
        pair.terms.compared.inc();
        if !comparison.agrees() {
            self.keep(pair, &comparison);
        }
    }

    /// Keeps it if it is among the worst. It is written while nobody is held up.
    fn keep(&self, pair: &Pair, comparison: &Comparison) {
        let (policy, severity) = (&pair.terms.policy, comparison.severity());
        let is_among = |kept: &Kept| kept.of == pair.terms.shown && kept.worst.admits(severity);
        if self.by_policy().get(policy).is_some_and(is_among) {
            let told = told(pair, comparison, pair.terms.redaction.as_ref());
            if let Some(kept) = self.by_policy().get_mut(policy).filter(|kept| is_among(kept)) {
                kept.worst.keep(severity, told);
            }
        }
    }
}
