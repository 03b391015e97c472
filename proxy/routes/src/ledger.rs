//! Who owns which part of the hashes: so that a change of weights moves those keys that have to move, and no other. Arms
//! that shrink give up the tails of what they own, and arms that grow take what has become free.
//!
//! The ledger is published with the routes, in `spec.assign.ledger` of a SplitPolicy: whoever changes the weights makes
//! the next one from the one before, by [`next`]. A gateway does the same with the ledger and the weights that it reads,
//! so it has exactly the weights even where somebody has changed them by hand, and all gateways agree.

/// All hashes.
const WHOLE: u128 = 1 << u64::BITS;

/// A part of the hashes; without an arm it is free.
#[derive(Clone, Copy)]
struct Segment {
    from: u128,
    to: u128,
    arm: Option<usize>,
}

/// The parts of the hashes, each from its first hash up to where the next begins, after a change of weights. `previous` is
/// what they were, in ascending order from 0 on, or empty: then the arms take their parts in the order of their weights, so
/// that of two arms the first has the hashes below its share. An arm without a weight owns nothing.
///
/// Without any weight there is nothing.
pub fn next<A: Clone + PartialEq>(previous: &[(u64, A)], weights: &[(A, u32)]) -> Vec<(u64, A)> {
    let quotas = quotas(weights);
    let mut segments = segments(previous, weights);
    for (arm, quota) in quotas.iter().enumerate() {
        let excess = owned(&segments, arm).saturating_sub(*quota);
        release(&mut segments, arm, excess);
    }
    for (arm, quota) in quotas.iter().enumerate() {
        let lacking = quota.saturating_sub(owned(&segments, arm));
        take(&mut segments, arm, lacking);
    }
    let mut parts: Vec<(u64, A)> = Vec::new();
    for Segment { from, arm, .. } in segments {
        let (Some(arm), Ok(from)) = (arm, u64::try_from(from)) else { continue };
        if parts.last().is_none_or(|(_, before)| *before != weights[arm].0) {
            parts.push((from, weights[arm].0.clone()));
        }
    }
    parts
}

/// How many hashes each arm is to own. All of them together: a hash `u` is below the first arm's share `w` where
/// `u / 2^64 < w`.
fn quotas<A>(weights: &[(A, u32)]) -> Vec<u128> {
    let total: u128 = weights.iter().map(|(_, weight)| u128::from(*weight)).sum();
    let (mut sum, mut before) = (0, 0);
    let quotas = weights.iter().map(|(_, weight)| {
        sum += u128::from(*weight);
        let border = (sum * WHOLE).div_ceil(total.max(1));
        border - std::mem::replace(&mut before, border)
    });
    quotas.collect()
}

fn segments<A: PartialEq>(previous: &[(u64, A)], weights: &[(A, u32)]) -> Vec<Segment> {
    if previous.is_empty() {
        return vec![Segment { from: 0, to: WHOLE, arm: None }];
    }
    let ends = previous.iter().skip(1).map(|(from, _)| u128::from(*from)).chain([WHOLE]);
    let segments = previous.iter().zip(ends).map(|((from, owner), to)| Segment {
        from: u128::from(*from),
        to,
        arm: weights.iter().position(|(arm, _)| arm == owner),
    });
    segments.collect()
}

fn owned(segments: &[Segment], arm: usize) -> u128 {
    segments.iter().filter(|segment| segment.arm == Some(arm)).map(|segment| segment.to - segment.from).sum()
}

/// Frees so many hashes of the arm, the last first.
fn release(segments: &mut Vec<Segment>, arm: usize, mut excess: u128) {
    for place in (0..segments.len()).rev() {
        let Segment { from, to, arm: owner } = segments[place];
        if owner != Some(arm) || excess == 0 {
            continue;
        }
        let freed = excess.min(to - from);
        excess -= freed;
        segments[place] = Segment { from: to - freed, to, arm: None };
        if freed < to - from {
            segments.insert(place, Segment { from, to: to - freed, arm: owner });
        }
    }
}

/// Gives so many free hashes to the arm, the first first.
fn take(segments: &mut Vec<Segment>, arm: usize, mut lacking: u128) {
    let mut place = 0;
    while lacking > 0 && place < segments.len() {
        let Segment { from, to, arm: owner } = segments[place];
        if owner.is_none() {
            let taken = lacking.min(to - from);
            lacking -= taken;
            segments[place] = Segment { from, to: from + taken, arm: Some(arm) };
            if taken < to - from {
                segments.insert(place + 1, Segment { from: from + taken, to, arm: None });
            }
        }
        place += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(previous: &[(u64, &str)], weights: &[(&str, u32)], expected: &[(u64, &str)]) {
        assert_eq!(next(previous, weights), expected, "{previous:?} {weights:?}");
    }

    #[test]
    fn tails_are_given_up_and_nothing_else() {
        const QUARTER: u64 = 1 << 62;
        check(&[], &[("a", 1), ("b", 3)], &[(0, "a"), (QUARTER, "b")]);
        check(&[], &[("a", 0), ("b", 3)], &[(0, "b")]);
        check(&[], &[], &[]);
        check(&[], &[("a", 0)], &[]);
        let three = [(0, "a"), (2 * QUARTER, "b"), (3 * QUARTER, "c")];
        check(&three, &[("a", 2), ("b", 1), ("c", 1)], &three);
        // From the tail of the first to the third.
        let after = [(0, "a"), (QUARTER, "c"), (2 * QUARTER, "b"), (3 * QUARTER, "c")];
        check(&three, &[("a", 1), ("b", 1), ("c", 2)], &after);
        // And back: the last that it owns, which is not what it got.
        check(
            &after,
            &[("a", 2), ("b", 1), ("c", 1)],
            &[(0, "a"), (QUARTER, "c"), (2 * QUARTER, "b"), (3 * QUARTER, "a")],
        );
        // Who is gone leaves all, and who is new takes of it.
        check(&three, &[("b", 1), ("c", 1), ("d", 2)], &[(0, "d"), (2 * QUARTER, "b"), (3 * QUARTER, "c")]);
    }

    #[test]
    fn of_two_the_first_has_what_is_below_its_share() {
        for (weight, of) in [(1, 3), (1, 10), (99, 100), (1, i32::MAX.unsigned_abs())] {
            let parts = next(&[], &[("candidate", weight), ("stable", of - weight)]);
            // The smallest hash that is not below.
            let border = (u128::from(weight) << 64).div_ceil(u128::from(of));
            assert_eq!(parts, [(0, "candidate"), (u64::try_from(border).expect("one of them"), "stable")]);
        }
    }
}
