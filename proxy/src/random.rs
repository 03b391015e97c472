//! One worker's random numbers, for splits, choices among endpoints, pauses and ids.

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use std::cell::RefCell;

/// See the module.
pub(crate) struct Random(RefCell<SmallRng>);

impl Random {
    /// Seeded by the system.
    pub(crate) fn new() -> Self {
        Self(RefCell::new(SmallRng::from_rng(&mut rand::rng())))
    }

    /// The same numbers every time.
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(RefCell::new(SmallRng::seed_from_u64(seed)))
    }

    pub(crate) fn next_u64(&self) -> u64 {
        self.0.borrow_mut().next_u64()
    }

    /// For an id that nobody else has.
    pub(crate) fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.0.borrow_mut().fill_bytes(&mut id);
        id
    }

    /// From 0 up to, not including, `bound`, which is not 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        self.0.borrow_mut().random_range(0..bound)
    }

    /// From 0 up to, not including, 1.
    pub(crate) fn share(&self) -> f64 {
        self.0.borrow_mut().random_range(0.0..1.0)
    }
}
