//! The weighted split. Exact by construction: there are as many tickets as the weights sum up to, and each destination
//! owns as many of them as its weight.

use super::backend::{BackendId, Missing};
use super::header_operations::HeaderChangeList;
use super::warning::Warning;
use http::HeaderValue;

/// The targets of a rule with their shares. Never empty; every target owns at least one ticket.
#[derive(Debug)]
pub struct Split {
    /// Ascending; target `i` owns the tickets from `upper_bounds[i - 1]` up to, not including, `upper_bounds[i]`.
    upper_bounds: Vec<u64>,
    targets: Vec<Target>,
    by_weight: bool,
}

/// Where a request of a split goes, and what is changed on the way.
#[derive(Debug)]
pub struct Target {
    /// The backend, or why there is none.
    pub backend: Result<BackendId, Missing>,
    /// What the backend is called, or would be: as much of `host:port/subset` as is known.
    pub name: String,
    /// Why its requests get 503, or probably will.
    pub warning: Option<Box<Warning>>,
    /// The weight in effect: that of the document, but never 0, since a single destination gets everything.
    pub weight: u32,
    /// The Host to send, where it is not the client's.
    pub authority: Option<HeaderValue>,
    /// The Host that this one replaces.
    pub replaced: Replaced,
    /// Applied to the request.
    pub request_headers: HeaderChangeList,
    /// Applied to the response.
    pub response_headers: HeaderChangeList,
}

/// The Host that a backend is told to have been replaced (`x-envoy-original-host`), where one was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The client's.
    Clients,
    /// What one of several destinations made of the client's, before its rule.
    Destinations(HeaderValue),
    /// None is told: where there are several destinations, Envoy says nothing of what one of them replaces.
    Untold,
}

impl Target {
    /// The documents leave its requests without an endpoint, whatever DNS says.
    pub fn gets_503(&self) -> bool {
        self.warning.as_ref().is_some_and(|warning| warning.gets_503)
    }
}

/// One of a split's tickets: a number below [`Split::tickets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Split {
    /// Keeps the targets that get anything: a single one gets everything, of several those of weight 0 nothing. There
    /// must be a target, and of several one with a weight ([`crate::documents::Destinations`] holds nothing else).
    pub(super) fn new(mut targets: Vec<Target>) -> Self {
        let by_weight = targets.len() > 1;
        if by_weight {
            targets.retain(|target| target.weight > 0);
        }
        for target in &mut targets {
            target.weight = target.weight.max(1);
        }
        let mut sum = 0;
        let upper_bounds = targets.iter().map(|target| {
            sum += u64::from(target.weight);
            sum
        });
        Self { upper_bounds: upper_bounds.collect(), targets, by_weight }
    }

    /// Weights choose the target, be it that one has them all; a rule with one destination leaves no choice.
    pub fn is_by_weight(&self) -> bool {
        self.by_weight
    }

    /// How many tickets there are.
    pub fn tickets(&self) -> u64 {
        self.upper_bounds.last().copied().unwrap_or(1)
    }

    /// Draws a ticket from a uniformly random number; each ticket is as likely as any other to within 2^-32.
    pub fn draw(&self, random: u64) -> Ticket {
        Ticket(below(self.tickets(), random))
    }

    /// The ticket of that number, if there is one: for exact tests and for those who hash instead of drawing.
    pub fn ticket(&self, number: u64) -> Option<Ticket> {
        (number < self.tickets()).then_some(Ticket(number))
    }

    /// Who owns the ticket.
    pub fn pick(&self, ticket: Ticket) -> &Target {
        let index = self.upper_bounds.partition_point(|bound| *bound <= ticket.0);
        // A ticket of another, larger split goes to the last target rather than out of bounds.
        &self.targets[index.min(self.targets.len() - 1)]
    }

    /// Draws, from a uniformly random number, among the targets that are wanted, by their weights.
    pub fn draw_among(&self, random: u64, is_wanted: impl Fn(&Target) -> bool) -> Option<&Target> {
        let wanted = || self.targets.iter().filter(|target| is_wanted(target));
        let tickets: u64 = wanted().map(|target| u64::from(target.weight)).sum();
        let mut ticket = below(tickets, random);
        wanted().find(|target| match ticket.checked_sub(u64::from(target.weight)) {
            Some(rest) => {
                ticket = rest;
                false
            }
            None => true,
        })
    }

    /// A target's share of the tickets, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share for people needs no more than 53 bits")]
    pub fn share(&self, target: &Target) -> f64 {
        f64::from(target.weight) / self.tickets() as f64
    }

    /// The targets that get anything, in the document's order.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }
}

/// Maps the whole range of `random` onto the numbers below `count` without a division: by the high half of the product.
fn below(count: u64, random: u64) -> u64 {
    let product = u128::from(random) * u128::from(count);
    u64::try_from(product >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(weights: &[u32]) -> Split {
        let target = |weight| Target {
            backend: Err(Missing::Service),
            name: String::new(),
            warning: None,
            weight,
            authority: None,
            replaced: Replaced::Clients,
            request_headers: HeaderChangeList::default(),
            response_headers: HeaderChangeList::default(),
        };
        Split::new(weights.iter().copied().map(target).collect())
    }

    /// How many of all tickets each target owns.
    fn owned(split: &Split) -> Vec<u64> {
        let mut counts = vec![0; split.targets().len()];
        for number in 0..split.tickets() {
            let target = split.pick(split.ticket(number).expect("below the number of tickets"));
            let index = split.targets().iter().position(|t| std::ptr::eq(t, target)).expect("one of its own");
            counts[index] += 1;
        }
        counts
    }

    #[test]
    fn the_picks_over_all_tickets_equal_the_weights() {
        let check = |weights: &[u32], expected: &[u64]| assert_eq!(owned(&split(weights)), expected, "{weights:?}");
        check(&[50, 50], &[50, 50]);
        check(&[90, 10], &[90, 10]);
        check(&[34, 33, 33], &[34, 33, 33]);
        check(&[3, 1], &[3, 1]);
        check(&[0, 100], &[100]);
        check(&[100, 0], &[100]);
        check(&[60, 0, 0, 1], &[60, 1]);
        check(&[0], &[1]);
        check(&[30], &[30]);
    }

    #[test]
    fn those_who_are_wanted_share_by_their_weights() {
        let check = |weights: &[u32], wanted: &[u32], expected: &[(u32, u64)]| {
            let split = split(weights);
            let tickets: u64 = wanted.iter().copied().map(u64::from).sum();
            let mut counts = std::collections::BTreeMap::new();
            for number in 0..tickets {
                // The smallest random number that stands for this one.
                let random =
                    u64::try_from((u128::from(number) << 64).div_ceil(u128::from(tickets))).expect("below 2^64");
                let target = split.draw_among(random, |target| wanted.contains(&target.weight)).expect("one is wanted");
                *counts.entry(target.weight).or_default() += 1;
            }
            assert_eq!(counts.into_iter().collect::<Vec<(u32, u64)>>(), expected, "{wanted:?} of {weights:?}");
        };
        check(&[75, 25], &[75], &[(75, 75)]);
        check(&[75, 25], &[25], &[(25, 25)]);
        check(&[50, 30, 20], &[20, 30], &[(20, 20), (30, 30)]);
        check(&[50, 30, 20], &[20, 50], &[(20, 20), (50, 50)]);
        assert!(split(&[50, 50]).draw_among(u64::MAX, |_| false).is_none());
    }

    #[test]
    fn weights_at_the_limit_do_not_overflow() {
        let limit = i32::MAX.unsigned_abs();
        let split = split(&[limit; 5]);
        assert_eq!(split.tickets(), 5 * u64::from(limit));
        let last = split.ticket(split.tickets() - 1).expect("the last one");
        assert!(std::ptr::eq(split.pick(last), &raw const split.targets()[4]));
        assert_eq!(split.draw(u64::MAX), last);
        assert_eq!(split.draw(0), Ticket(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..Default::default() })]
        #[test]
        fn any_weights_are_split_exactly(weights in prop::collection::vec(0_u32..500, 1..=5)) {
            prop_assume!(weights.len() == 1 || weights.iter().any(|w| *w > 0));
            let expected: Vec<u64> = match weights.as_slice() {
                [single] => vec![u64::from(*single).max(1)],
                several => several.iter().filter(|w| **w > 0).map(|w| u64::from(*w)).collect(),
            };
            prop_assert_eq!(owned(&split(&weights)), expected);
        }
    }
}
