//! Whether the process does what it is there for. A standby lives by reaching the lease; a leader also by its rounds: one
//! that renews its lease and finishes no round keeps everybody else from doing the work.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A lease that could not be reached for so long makes the process not live: a restart is the last resort for a client
/// that hangs.
const LEASE_LIMIT: Duration = Duration::from_mins(3);
/// A leader that has not finished a round for so long is not live, and leaves the lease to another one. It is more than
/// twice what one round may take.
pub const STALL_LIMIT: Duration = Duration::from_secs(150);
/// How often that is looked at.
const TICK: Duration = Duration::from_secs(1);

/// The signs of life.
#[derive(Debug)]
pub struct Heart(Mutex<Signs>);

#[derive(Debug)]
struct Signs {
    /// When the lease was reached last, or the process began.
    lease: Instant,
    /// It was reached at all.
    ready: bool,
    /// While it leads: when a round ended last, or the lead began.
    round: Option<Instant>,
}

impl Default for Heart {
    fn default() -> Self {
        Self(Mutex::new(Signs { lease: Instant::now(), ready: false, round: None }))
    }
}

impl Heart {
    /// The lease was reached.
    pub fn reached_the_lease(&self) {
        let mut signs = self.signs();
        (signs.lease, signs.ready) = (Instant::now(), true);
    }

    /// Whether this replica leads. From here on a leader's rounds count.
    pub fn leads(&self, leads: bool) {
        let mut signs = self.signs();
        signs.round = leads.then(|| signs.round.unwrap_or_else(Instant::now));
    }

    /// A round ended, well or not.
    pub fn finished_a_round(&self) {
        let mut signs = self.signs();
        signs.round = signs.round.map(|_| Instant::now());
    }

    /// It leads, as far as it knows.
    pub fn is_leading(&self) -> bool {
        self.signs().round.is_some()
    }

    /// It has reached the lease once.
    pub fn is_ready(&self) -> bool {
        self.signs().ready
    }

    /// It does what it is there for.
    pub fn is_live(&self) -> bool {
        !self.has_stalled() && self.signs().lease.elapsed() < LEASE_LIMIT
    }

    /// It leads, and finishes no round.
    pub fn has_stalled(&self) -> bool {
        self.signs().round.is_some_and(|ended| ended.elapsed() >= STALL_LIMIT)
    }

    /// Until it has.
    pub async fn stalls(&self) {
        while !self.has_stalled() {
            tokio::time::sleep(TICK).await;
        }
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_standby_lives_by_the_lease_and_a_leader_by_its_rounds_too() {
        let heart = Heart::default();
        assert!(heart.is_live() && !heart.is_ready());
        for _ in 0..10 {
            tokio::time::advance(LEASE_LIMIT / 2).await;
            heart.reached_the_lease();
        }
        assert!(heart.is_live() && heart.is_ready(), "a standby has no rounds");
        heart.leads(true);
        for _ in 0..10 {
            tokio::time::advance(STALL_LIMIT / 2).await;
            heart.reached_the_lease();
            heart.leads(true);
            heart.finished_a_round();
        }
        assert!(heart.is_live());
        tokio::time::advance(STALL_LIMIT).await;
        heart.reached_the_lease();
        heart.leads(true);
        assert!(!heart.is_live() && heart.has_stalled(), "the lease alone is no life");
        heart.leads(false);
        assert!(heart.is_live(), "whoever does not lead need not");
        tokio::time::advance(LEASE_LIMIT).await;
        assert!(!heart.is_live() && !heart.has_stalled());
    }
}
