//! Splits that are exact over every few requests: tickets are handed out in order, and each block of them is dealt to the
//! targets in an order of its own.
//!
//! The weights of a rule, divided by what divides them all, add up to the size `B` of a block: 2 for 50/50, 10 for 90/10.
//! Ticket `n` is in block `n / B` and has there the place `pi(n mod B)`, where `pi` is the block's own permutation of
//! `0..B`; a target owns as many places as its part of `B`. Whoever alternates in the same rhythm as a client would give
//! one target all of that client's odd requests, so the permutations look random, and are keyed:
//!
//! ```text
//! key         = xxh3_64(seed = instance, revision 0x00 policy 0x00 salt)      of a policy's tickets
//! mix(z)      = the finaliser of SplitMix64
//! state       = key ^ mix(block)                                              of a block
//! step(i)     = i + (mix(state + (i + 1) * 0x9e3779b97f4a7c15) * (B - i)) >> 64       i <= step(i) < B
//! pi          = 0..B after the swaps of i and step(i), for i in 0..B in order (Fisher and Yates)
//! ```
//!
//! All arithmetic is of 64 bits and wraps, but for the product in `step`, which has 128.

use super::hash::keyed;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest block: dealing takes time in proportion to it.
pub const LARGEST_BLOCK: u64 = 1000;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The tickets of a table, one counter for each of its policies, for all who decide by it. Another table begins with new
/// blocks.
#[derive(Debug, Default)]
pub struct Tickets(Vec<Roll>);

/// The tickets of one policy.
#[derive(Debug, Default)]
struct Roll {
    next: AtomicU64,
    key: u64,
}

/// A ticket of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) key: u64,
}

impl Tickets {
    /// None at all: who decides with them draws at random.
    pub const NONE: &'static Self = &Self(Vec::new());

    /// With the index, the name and the salt of each policy.
    pub(super) fn new<'p>(
        policies: impl Iterator<Item = (usize, &'p str, &'p str)>,
        revision: &str,
        instance: u64,
    ) -> Self {
        let mut rolls: Vec<Roll> = Vec::new();
        for (index, name, salt) in policies {
            if rolls.len() <= index {
                rolls.resize_with(index + 1, Roll::default);
            }
            rolls[index].key = keyed(instance, &[revision, name, salt]);
        }
        Self(rolls)
    }

    pub(super) fn take(&self, policy: usize) -> Option<Numbered> {
        let Roll { next, key } = self.0.get(policy)?;
        Some(Numbered { number: next.fetch_add(1, Ordering::Relaxed), key: *key })
    }
}

/// The place of a ticket in its block of `size`, which is 1 to [`LARGEST_BLOCK`].
pub(super) fn place(ticket: Numbered, size: u64) -> u64 {
    let (block, index) = (ticket.number / size, ticket.number % size);
    let state = ticket.key ^ mix(block);
    let step = |i: u64| {
        let random = mix(state.wrapping_add((i + 1).wrapping_mul(GOLDEN)));
        i + high_product(random, size - i)
    };
    // What is at `index` after its own swap stays there; before it, it was where that swap took it from.
    (0..index).rev().fold(step(index), |place, i| if place == step(i) { i } else { place })
}

/// `random * count >> 64`: a number below `count`.
fn high_product(random: u64, count: u64) -> u64 {
    u64::try_from((u128::from(random) * u128::from(count)) >> u64::BITS).unwrap_or(0)
}

/// SplitMix64's (Steele, Lea and Flood, 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
