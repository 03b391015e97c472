//! Splits that are exact over every few requests: tickets are handed out in order, and each block of them is dealt to the
//! targets in an order of its own.
//!
//! The weights of a rule, divided by what divides them all, add up to the size `B` of a block: 2 for 50/50, 10 for 90/10.
//! Ticket `n` is in block `n / B` and has there the place `pi(n mod B)`, where `pi` is the block's own permutation of
//! `0..B`; a target owns as many places as its part of `B`. Whoever alternates in the same rhythm as a client would give
//! one target all of that client's odd requests, so the permutations look random, and are keyed:
//!
//! ```text
//! key         = xxh3_64(seed = nonce, revision 0x00 policy 0x00 salt)         of a policy's tickets
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
        nonce: u64,
    ) -> Self {
        let mut rolls: Vec<Roll> = Vec::new();
        for (index, name, salt) in policies {
            if rolls.len() <= index {
                rolls.resize_with(index + 1, Roll::default);
            }
            rolls[index].key = keyed(nonce, &[revision, name, salt]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Another implementation's.
    const VECTORS: &str = include_str!("../../tests/vectors/assignment.json");

    fn hex(value: &Value) -> u64 {
        u64::from_str_radix(value.as_str().expect("a text"), 16).expect("a number")
    }

    #[test]
    fn tickets_are_dealt_as_published() {
        let vectors: Value = serde_json::from_str(VECTORS).expect("JSON");
        for row in vectors["tickets"].as_array().expect("a list") {
            let text = |field: &str| row[field].as_str().expect("a text");
            let policies = [(0, text("policy"), text("salt"))].into_iter();
            let tickets = Tickets::new(policies, text("revision"), hex(&row["nonce"]));
            assert_eq!(tickets.0[0].key, hex(&row["key"]), "{row}");
            tickets.0[0].next.store(hex(&row["first"]), Ordering::Relaxed);
            let size = row["size"].as_u64().expect("a number");
            for expected in row["places"].as_array().expect("a list") {
                let ticket = tickets.take(0).expect("a policy");
                assert_eq!(place(ticket, size), expected.as_u64().expect("a number"), "{ticket:?} of {row}");
            }
        }
    }

    #[test]
    fn each_block_has_every_place_once() {
        for size in [1, 2, 3, 10, 97, LARGEST_BLOCK] {
            for block in [0, 1, 2, 1 << 40] {
                let number = |index| Numbered { number: block * size + index, key: 42 };
                let mut places: Vec<u64> = (0..size).map(|index| place(number(index), size)).collect();
                places.sort_unstable();
                assert_eq!(places, (0..size).collect::<Vec<_>>(), "{size} {block}");
            }
        }
    }

    #[test]
    fn no_order_of_a_small_block_is_preferred() {
        let mut seen = std::collections::BTreeMap::new();
        for block in 0..24_000_u64 {
            let place = |index| place(Numbered { number: block * 4 + index, key: 1 }, 4);
            *seen.entry([place(0), place(1), place(2), place(3)]).or_insert(0_u32) += 1;
        }
        // 1,000 of each are expected, with a standard deviation of 31.
        assert_eq!(seen.len(), 24);
        assert!(seen.values().all(|count| (840..=1160).contains(count)), "{seen:?}");
    }

    #[test]
    fn policies_count_for_themselves() {
        let tickets = Tickets::new([(2, "a", ""), (0, "b", "")].into_iter(), "r", 0);
        let numbers = |policy| tickets.take(policy).map(|ticket| ticket.number);
        assert_eq!([numbers(0), numbers(0), numbers(2), numbers(0)], [Some(0), Some(1), Some(0), Some(2)]);
        assert_eq!((numbers(3), Tickets::NONE.take(0)), (None, None));
    }
}
