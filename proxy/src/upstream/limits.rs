//! How much is asked of an upstream at a time, by all workers together. What its policy does not limit is not counted, so
//! a new limit only counts what comes after it.

use super::Upstream;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{Mutex, Notify};
use turnout_routes::documents::{Percent, RetryBudget};
use turnout_routes::router::Limits;

/// What is taken of one thing at this moment.
#[derive(Debug)]
pub(super) struct Taken {
    /// A word for the metrics.
    limit: &'static str,
    taken: Arc<AtomicU32>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicU32>);

/// What an upstream's limits are about.
#[derive(Debug)]
pub(super) struct Usage {
    pub(super) connections: Taken,
    pub(super) pending: Taken,
    pub(super) requests: Taken,
    retries: Taken,
}

/// This limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full(pub(super) &'static str);

impl Default for Usage {
    fn default() -> Self {
        Self {
            connections: Taken::new("connections"),
            pending: Taken::new("pending"),
            requests: Taken::new("requests"),
            retries: Taken::new("retries"),
        }
    }
}

impl Usage {
    /// The words of those that can be reached; for a connection requests wait.
    pub(super) const LIMITS: [&str; 3] = ["pending", "requests", "retries"];
}

impl Taken {
    fn new(limit: &'static str) -> Self {
        Self { limit, taken: Arc::default() }
    }

    /// A place among `most`.
    fn take(&self, most: u32) -> Result<Place, Full> {
        let one_more = |taken: u32| Some(taken + 1).filter(|taken| *taken <= most);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.map(|_| Place(Arc::clone(&self.taken))).map_err(|_| Full(self.limit))
    }

    /// The same where there may be no limit: nothing is counted then.
    pub(super) fn take_within(&self, most: Option<u32>) -> Result<Option<Place>, Full> {
        most.map(|most| self.take(most)).transpose()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One worker's connections to one endpoint, where their number is limited.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Cell<u32>,
    /// Told of a connection that a request no longer needs, or that was closed.
    freed: Notify,
    waiting: Cell<u32>,
    /// Whose turn it is among those who wait: nobody else looks.
    turn: Mutex<()>,
    /// Attempts to connect that failed.
    failures: Cell<u64>,
}

/// The leave to have one connection, for as long as it is open.
#[derive(Debug)]
pub(super) struct Leave {
    _place: Place,
    of: Rc<Connections>,
}

impl Connections {
    /// The leave to open one more. A worker that has none to this endpoint may in any case: it would wait for what only
    /// other workers can end.
    pub(super) fn leave(self: &Rc<Self>, all: &Taken, most: u32) -> Result<Leave, Full> {
        let place = all.take(if self.open.get() == 0 { u32::MAX } else { most })?;
        self.open.set(self.open.get() + 1);
        Ok(Leave { _place: place, of: Rc::clone(self) })
    }

    pub(super) fn tell_freed(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }

    /// Nobody could be reached: whoever waits need not.
    pub(super) fn tell_unreachable(&self) {
        self.failures.set(self.failures.get() + 1);
        self.freed.notify_waiters();
    }

    /// Whether others were here first.
    pub(super) fn are_awaited(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Waits, in the order of coming, until `found` finds something; none if the endpoint could not be reached meanwhile.
    pub(super) async fn wait_for<T>(&self, found: impl Fn() -> Option<T>) -> Option<T> {
        /// Counts down however the waiting ends.
        struct Waiting<'a>(&'a Connections);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.waiting.set(self.0.waiting.get() - 1);
            }
        }
        self.waiting.set(self.waiting.get() + 1);
        let _waiting = Waiting(self);
        let failures = self.failures.get();
        let _turn = self.turn.lock().await;
        loop {
            if self.failures.get() != failures {
                return None;
            }
            if let Some(found) = found() {
                return Some(found);
            }
            self.freed.notified().await;
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.of.open.set(self.of.open.get() - 1);
        self.of.tell_freed();
    }
}

impl Upstream {
    /// A place for a retry, if there may be one more.
    pub(crate) fn retry(&self, limits: &Limits) -> Result<Option<Place>, Full> {
        let most = match limits.retry_budget {
            Some(budget) => Some(most_retries(budget, self.in_flight())),
            None => limits.retries,
        };
        self.usage.retries.take_within(most)
    }
}

/// Envoy's defaults of a budget.
const BUDGET_PERCENT: u32 = 20;
const BUDGET_LEAST: u32 = 3;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share")]
fn most_retries(budget: RetryBudget, in_flight: u64) -> u32 {
    let percent = budget.percent.unwrap_or(Percent::of_millionths(BUDGET_PERCENT * 10_000));
    let share = in_flight as f64 * percent.value() / 100.0;
    (share as u32).max(budget.min_concurrency.unwrap_or(BUDGET_LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_may_be_and_what_is_dropped_is_free() {
        let taken = Taken::new("requests");
        let places = [taken.take(2), taken.take(2)];
        assert_eq!(taken.take(2).err(), Some(Full("requests")));
        assert!(taken.take_within(None).expect("there is no limit").is_none());
        drop(places);
        assert!(taken.take(1).is_ok());
    }

    #[test]
    fn a_worker_without_a_connection_may_have_one_in_any_case() {
        let all = Taken::new("connections");
        let (one, other) = (Rc::new(Connections::default()), Rc::new(Connections::default()));
        let first = one.leave(&all, 1).expect("there is room");
        assert!(one.leave(&all, 1).is_err());
        let beyond = other.leave(&all, 1).expect("it has none");
        drop(first);
        assert!(one.leave(&all, 1).is_ok(), "it has none any more");
        drop(beyond);
        assert_eq!(all.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_budget_is_a_share_of_what_is_in_flight_and_a_few_at_least() {
        let budget = |percent: Option<u32>, min_concurrency: Option<u32>| RetryBudget {
            percent: percent.map(|percent| Percent::of_millionths(percent * 10_000)),
            min_concurrency,
        };
        assert_eq!(most_retries(budget(None, None), 0), 3);
        assert_eq!(most_retries(budget(None, None), 100), 20);
        assert_eq!(most_retries(budget(Some(50), Some(1)), 10), 5);
        assert_eq!(most_retries(budget(Some(0), Some(1)), 1000), 1);
    }
}
