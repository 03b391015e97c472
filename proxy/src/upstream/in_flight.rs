//! How many requests are in flight, counted without a line of memory that two workers write: each worker has a counter
//! of its own, and whoever wants to know adds them up.

use std::sync::atomic::{AtomicU64, Ordering};

/// One worker's count of its requests in flight at one upstream. It has one writer: [`Self::add`] and [`Self::sub`] are
/// for the worker that asked for it, everybody else only reads. Alone on its cache lines (two, since processors fetch
/// them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct InFlightCounter(AtomicU64);

impl InFlightCounter {
    /// One request more. Only for the one writer.
    pub(crate) fn add(&self) {
        self.0.store(self.count() + 1, Ordering::Relaxed);
    }

    /// One request less, of those that were added. Only for the one writer.
    pub(crate) fn sub(&self) {
        self.0.store(self.count().saturating_sub(1), Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
