//! Weights, and the law that turns those that a stage wants into those that are published: no weight goes to a backend
//! without ready endpoints while the other has some, and the sum is never 0.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the two backends. These are names; which of them is stable and which the candidate depends on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Serves the stable image, up to `Blue_100`.
    Green,
    /// Serves the candidate.
    Blue,
}

impl Backend {
    /// Both, in the order in which they are always told.
    pub const BOTH: [Self; 2] = [Self::Green, Self::Blue];

    /// Where it stands in [`Backend::BOTH`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Green => Self::Blue,
            Self::Blue => Self::Green,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Green => "green",
            Self::Blue => "blue",
        })
    }
}

/// The weights of the two destinations of a rule, as its document has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Weights {
    /// Green's share.
    pub green: u32,
    /// Blue's share.
    pub blue: u32,
}

impl Weights {
    /// Everything to one backend.
    pub const fn all(backend: Backend) -> Self {
        match backend {
            Backend::Green => Self { green: 100, blue: 0 },
            Backend::Blue => Self { green: 0, blue: 100 },
        }
    }

    /// The share of one backend.
    pub const fn of(self, backend: Backend) -> u32 {
        match backend {
            Backend::Green => self.green,
            Backend::Blue => self.blue,
        }
    }

    /// The part of the sum that one backend has, in millionths: so weights of different sums are compared.
    pub(crate) fn share(self, backend: Backend) -> u64 {
        let sum = u64::from(self.green) + u64::from(self.blue);
        (u64::from(self.of(backend)) * 1_000_000).checked_div(sum).unwrap_or(0)
    }
}

impl Weights {
    /// The weight of one backend for people: in percent where a stage gives fractions of one, else as it is.
    pub fn text(self, backend: Backend) -> String {
        let weight = self.of(backend);
        let text = match u64::from(self.green) + u64::from(self.blue) {
            1_000 => format!("{}.{}", weight / 10, weight % 10),
            10_000 => format!("{}.{:02}", weight / 100, weight % 100),
            _ => return weight.to_string(),
        };
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "green {}, blue {}", self.text(Backend::Green), self.text(Backend::Blue))
    }
}

/// What a backend can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Availability {
    /// It has no ready endpoint.
    Absent,
    /// It has ready endpoints, but it has no weight and some gateway does not know of them yet (DNS lags).
    Unseen,
    /// It can take weight.
    Usable,
}

/// The weights that are in effect for those that are wanted. Where the backends can take them they are the same; else
/// the one that can take more has everything. If neither has ready endpoints the wanted ones stay: the intention is then
/// the only thing that tells the backends apart, and there must be a weight.
pub(crate) fn in_effect(wanted: Weights, green: Availability, blue: Availability) -> Weights {
    let short = |backend: Backend, availability| wanted.of(backend) > 0 && availability < Availability::Usable;
    if !short(Backend::Green, green) && !short(Backend::Blue, blue) {
        return wanted;
    }
    match green.cmp(&blue) {
        std::cmp::Ordering::Greater => Weights::all(Backend::Green),
        std::cmp::Ordering::Less => Weights::all(Backend::Blue),
        std::cmp::Ordering::Equal => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::Availability::{Absent, Unseen, Usable};
    use super::*;

    #[test]
    fn each_backend_is_found_by_its_index() {
        assert_eq!(Backend::BOTH.map(|backend| Backend::BOTH[backend.index()]), Backend::BOTH);
    }

    #[test]
    fn fractions_of_a_percent_are_told_in_percent() {
        let check = |green, blue, expected: &str| assert_eq!(Weights { green, blue }.to_string(), expected);
        check(50, 50, "green 50, blue 50");
        check(995, 5, "green 99.5, blue 0.5");
        check(9_975, 25, "green 99.75, blue 0.25");
        check(9_990, 10, "green 99.9, blue 0.1");
        check(1_000, 0, "green 100, blue 0");
        check(1, 2, "green 1, blue 2");
    }

    #[test]
    fn weight_moves_to_the_backend_that_can_take_it() {
        let check = |wanted: (u32, u32), green, blue, expected: (u32, u32)| {
            let wanted = Weights { green: wanted.0, blue: wanted.1 };
            let Weights { green: to_green, blue: to_blue } = in_effect(wanted, green, blue);
            assert_eq!((to_green, to_blue), expected, "{wanted} with {green:?} and {blue:?}");
        };
        check((50, 50), Usable, Usable, (50, 50));
        check((50, 50), Usable, Absent, (100, 0));
        check((50, 50), Usable, Unseen, (100, 0));
        check((50, 50), Absent, Usable, (0, 100));
        check((50, 50), Absent, Absent, (50, 50));
        check((50, 50), Unseen, Absent, (100, 0));
        check((50, 50), Unseen, Unseen, (50, 50));
        check((0, 100), Usable, Absent, (100, 0));
        check((0, 100), Absent, Usable, (0, 100));
        check((0, 100), Absent, Absent, (0, 100));
        check((100, 0), Absent, Usable, (0, 100));
        check((100, 0), Unseen, Usable, (0, 100));
        check((100, 0), Usable, Absent, (100, 0));
    }

    #[test]
    fn no_combination_leaves_all_weights_at_zero_or_feeds_an_absent_backend_beside_a_ready_one() {
        for blue_share in 0..=100 {
            let wanted = Weights { green: 100 - blue_share, blue: blue_share };
            for (green, blue) in
                [Absent, Unseen, Usable].into_iter().flat_map(|g| [Absent, Unseen, Usable].map(|b| (g, b)))
            {
                let result = in_effect(wanted, green, blue);
                assert_eq!(result.green + result.blue, 100);
                if green == Absent && blue != Absent {
                    assert_eq!(result.green, 0, "{wanted} {blue:?}");
                }
                if blue == Absent && green != Absent {
                    assert_eq!(result.blue, 0, "{wanted} {green:?}");
                }
            }
        }
    }
}
