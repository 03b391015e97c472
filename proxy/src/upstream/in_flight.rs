//! How many requests are in flight at an upstream, told apart by the rule that sent them there, and counted without a line
//! of memory that two workers write: each worker has counters of its own, and whoever wants to know adds them up. What
//! weights have sent there so far is counted beside it.

use crate::telemetry::metrics::Counter;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use turnout_routes::router::{Rule, RuleAction};

/// One worker's count of its requests in flight at one upstream by one rule. It has one writer: [`Self::add`] and
/// [`Self::sub`] are for the worker that made it, everybody else only reads. Alone on its cache lines (two, since
/// processors fetch them in pairs).
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct InFlightCounter {
    /// Of whichever table it was. It says the name when somebody asks for it.
    rule: Arc<Rule>,
    count: AtomicU64,
    /// What weights have sent and `split` does not say yet.
    sent: AtomicU64,
    /// The count of all workers; none where no weights choose.
    split: Option<Counter>,
}

/// One worker's counters of one upstream, of the rules that have sent something there of late.
#[derive(Default)]
pub(super) struct WorkerCounters(RefCell<HashMap<*const Rule, Arc<InFlightCounter>>>);

/// One upstream's counters, of all workers. It only remembers them: a worker lets go of those that count nothing.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Vec<Weak<InFlightCounter>>>);

impl InFlightCounter {
    fn new(rule: &Arc<Rule>, split: impl FnOnce(&str) -> Counter) -> Self {
        let by_weight = matches!(&rule.action, RuleAction::Forward(split) if split.is_by_weight());
        let split = by_weight.then(|| split(&rule.origin.to_string()));
        Self { rule: Arc::clone(rule), count: AtomicU64::new(0), sent: AtomicU64::new(0), split }
    }

    /// One request more. Only for the one writer.
    pub(super) fn add(&self) {
        self.count.store(self.count() + 1, Ordering::Relaxed);
        if self.split.is_some() {
            self.sent.store(self.sent.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// One request less, of those that were added. Only for the one writer.
    pub(super) fn sub(&self) {
        self.count.store(self.count().saturating_sub(1), Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Adds what was sent to the count of all. Only for the one writer.
    fn flush(&self) {
        if let Some(split) = &self.split {
            split.inc_by(self.sent.swap(0, Ordering::Relaxed));
        }
    }
}

impl Drop for InFlightCounter {
    fn drop(&mut self) {
        self.flush();
    }
}

impl WorkerCounters {
    /// This worker's counter of a rule, known to all when it is first asked for. A rule is known by its address, which no
    /// other has while its counter is there.
    pub(super) fn of(
        &self,
        rule: &Arc<Rule>,
        all: &Counters,
        split: impl FnOnce(&str) -> Counter,
    ) -> Arc<InFlightCounter> {
        let mut counters = self.0.borrow_mut();
        let counter = counters.entry(Arc::as_ptr(rule)).or_insert_with(|| {
            let made = Arc::new(InFlightCounter::new(rule, split));
            all.lock().push(Arc::downgrade(&made));
            made
        });
        Arc::clone(counter)
    }

    /// Tells what weights have sent.
    pub(super) fn flush(&self) {
        self.0.borrow().values().for_each(|counter| counter.flush());
    }

    /// Lets go of the counters that count nothing, and so of rules that are in no table any more. Called about once a
    /// second.
    pub(super) fn sweep(&self, all: &Counters) {
        let mut counters = self.0.borrow_mut();
        let before = counters.len();
        counters.retain(|_, counter| counter.count() > 0);
        if counters.len() < before {
            all.lock().retain(|counter| counter.strong_count() > 0);
        }
    }
}

impl Counters {
    pub(super) fn sum(&self) -> u64 {
        self.living().iter().map(|counter| counter.count()).sum()
    }

    /// By the rule's name and by whether weights chose the upstream, where there are any. A name may have been that of
    /// another rule in an older table, so it does not tell how a request came.
    pub(super) fn by_route(&self) -> BTreeMap<(String, bool), u64> {
        let mut by_route = BTreeMap::new();
        for counter in self.living() {
            let count = counter.count();
            if count > 0 {
                *by_route.entry((counter.rule.origin.to_string(), counter.split.is_some())).or_default() += count;
            }
        }
        by_route
    }

    fn living(&self) -> Vec<Arc<InFlightCounter>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<InFlightCounter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rule;

    const SPLIT: &str = "default/model spec.http[0] (split)";
    const PINNED: &str = "default/model spec.http[0] (pinned)";

    fn no_weights(_: &str) -> Counter {
        unreachable!("these rules have one destination")
    }

    fn told(all: &Counters) -> Vec<(String, u64)> {
        all.by_route().into_iter().map(|((route, _), count)| (route, count)).collect()
    }

    #[test]
    fn requests_are_told_apart_by_rule_and_added_up_over_workers_and_tables() {
        let all = Counters::default();
        let (split, pinned, next_split) = (rule("split"), rule("pinned"), rule("split"));
        let workers = [WorkerCounters::default(), WorkerCounters::default()];
        for (worker, rule, requests) in [(0, &split, 3), (1, &split, 4), (1, &pinned, 2), (0, &next_split, 1)] {
            (0..requests).for_each(|_| workers[worker].of(rule, &all, no_weights).add());
        }
        workers[0].of(&split, &all, no_weights).sub();
        assert_eq!((all.sum(), all.living().len()), (9, 4));
        assert_eq!(told(&all), [(PINNED.to_owned(), 2), (SPLIT.to_owned(), 7)]);
        (0..2).for_each(|_| workers[1].of(&pinned, &all, no_weights).sub());
        assert_eq!(told(&all), [(SPLIT.to_owned(), 7)], "a rule that has none is not told");
    }

    #[test]
    fn a_sweep_keeps_what_counts_and_lets_go_of_the_rest_with_its_rule() {
        let all = Counters::default();
        let worker = WorkerCounters::default();
        let (split, pinned) = (rule("split"), rule("pinned"));
        let request = worker.of(&split, &all, no_weights);
        request.add();
        worker.of(&pinned, &all, no_weights);
        worker.sweep(&all);
        assert_eq!((told(&all), Arc::strong_count(&pinned)), (vec![(SPLIT.to_owned(), 1)], 1));

        // Its table has gone, its name has not.
        drop(split);
        worker.sweep(&all);
        assert_eq!(told(&all), [(SPLIT.to_owned(), 1)]);
        request.sub();
        worker.sweep(&all);
        drop(request);
        worker.of(&pinned, &all, no_weights);
        worker.sweep(&all);
        assert_eq!((all.sum(), all.lock().len()), (0, 0), "nothing is left of either");
    }

    #[test]
    fn a_worker_that_goes_takes_its_counters_with_it() {
        let all = Counters::default();
        let split = rule("split");
        WorkerCounters::default().of(&split, &all, no_weights).add();
        assert_eq!((all.sum(), Arc::strong_count(&split)), (0, 1));
    }
}
