//! Whose turn it is: the order of the variants and the moment each request is due.
//!
//! The order is a smooth weighted round robin: after every run of as many requests as the shares add up to, each variant was
//! sent exactly its share of times, and in between they are spread evenly. It depends on nothing but the shares.

use std::time::Duration;

use super::{Load, Pace};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// One request to send.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Turn {
    /// The index of its variant.
    pub(super) variant: usize,
    /// When it is due after the start of the load; none in a closed loop.
    pub(super) due: Option<Duration>,
}

/// Hands out the turns of a load, as many as its limit allows.
#[derive(Debug)]
pub(super) struct Turns {
    split: SmoothSplit,
    pace: Pace,
    handed_out: u64,
    limit: u64,
}

impl Turns {
    pub(super) fn new(load: &Load) -> Self {
        let split = SmoothSplit::new(load.variants.iter().map(|variant| variant.share));
        Self { split, pace: load.pace, handed_out: 0, limit: load.total.limit() }
    }

    /// The next turn, or none when the load is complete.
    pub(super) fn take(&mut self) -> Option<Turn> {
        if self.handed_out == self.limit {
            return None;
        }
        let due = match self.pace {
            Pace::ClosedLoop => None,
            Pace::OpenLoop { requests_per_second } => Some(due_after(self.handed_out, requests_per_second.get())),
        };
        self.handed_out += 1;
        Some(Turn { variant: self.split.next(), due })
    }
}

/// Computed from the number of the request and not by adding up intervals, so that rounding never accumulates.
fn due_after(requests: u64, requests_per_second: u32) -> Duration {
    let nanos = u128::from(requests) * NANOS_PER_SECOND / u128::from(requests_per_second);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[derive(Debug)]
struct SmoothSplit {
    shares: Vec<i64>,
    credits: Vec<i64>,
}

impl SmoothSplit {
    fn new(shares: impl Iterator<Item = u32>) -> Self {
        let shares: Vec<i64> = shares.map(i64::from).collect();
        Self { credits: vec![0; shares.len()], shares }
    }

    /// Each variant earns its share; the one with most credit (the first of equals) is sent and pays for the whole round.
    fn next(&mut self) -> usize {
        let mut richest = 0;
        for (index, share) in self.shares.iter().enumerate() {
            self.credits[index] += share;
            if self.credits[index] > self.credits[richest] {
                richest = index;
            }
        }
        self.credits[richest] -= self.shares.iter().sum::<i64>();
        richest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_depends_only_on_the_shares() {
        let check = |shares: &[u32], expected: &[usize]| {
            let mut split = SmoothSplit::new(shares.iter().copied());
            let order: Vec<usize> = expected.iter().map(|_| split.next()).collect();
            assert_eq!(order, expected, "{shares:?}");
        };
        check(&[1], &[0, 0, 0]);
        check(&[1, 1], &[0, 1, 0, 1]);
        check(&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]);
        check(&[0, 2, 1], &[1, 2, 1, 1, 2, 1]);
        check(&[3, 0], &[0, 0, 0]);
        check(&[u32::MAX, u32::MAX], &[0, 1, 0, 1]);
    }

    #[test]
    fn each_round_holds_each_variant_exactly_its_share_of_times() {
        let shares = [90_u32, 7, 0, 3];
        let mut split = SmoothSplit::new(shares.into_iter());
        for _ in 0..5 {
            let mut counts = [0_u32; 4];
            for _ in 0..100 {
                counts[split.next()] += 1;
            }
            assert_eq!(counts, shares);
        }
    }

    #[test]
    fn requests_are_due_at_a_constant_rate() {
        let check = |requests, per_second, expected| assert_eq!(due_after(requests, per_second), expected);
        check(0, 1000, Duration::ZERO);
        check(1, 1000, Duration::from_millis(1));
        check(3, 3, Duration::from_secs(1));
        check(3_000_000, 3, Duration::from_secs(1_000_000));
        check(u64::MAX, 1, Duration::from_nanos(u64::MAX));
    }
}
