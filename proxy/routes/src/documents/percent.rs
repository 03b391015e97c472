//! Istio's `Percent`: a share of requests, down to a millionth as Envoy has it.

use crate::decode::{Decoded, Item, quoted};
use crate::encode::Fields;
use serde_json::Value;

/// A share of requests, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percent(u32);

const PER_PERCENT: f64 = 10_000.0;
/// What binary fractions may lack of a whole number of millionths.
const ROUNDING: f64 = 1e-6;

impl Percent {
    /// No request.
    pub const NONE: Self = Self(0);
    /// Every request.
    pub const ALL: Self = Self(1_000_000);

    /// At most a million of them.
    pub const fn of_millionths(millionths: u32) -> Self {
        Self(if millionths > Self::ALL.0 { Self::ALL.0 } else { millionths })
    }

    /// Whether a request is among them that drew this number, uniform over its whole range.
    pub fn includes(self, random: u64) -> bool {
        let millionths = (u128::from(random) * u128::from(Self::ALL.0)) >> u64::BITS;
        millionths < u128::from(self.0)
    }

    /// 0 to 100.
    pub fn value(self) -> f64 {
        f64::from(self.0) / PER_PERCENT
    }

    /// `{value: 0.1}`; what is finer than a millionth is cut off, and without a value it is nothing.
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        Self::decode_from(0.0, item)
    }

    /// As [`Self::decode`], but of what is not 0 at least a millionth.
    pub(super) fn decode_of_fault(item: &Item<'_>) -> Decoded<Self> {
        Self::decode_from(1.0 / PER_PERCENT, item)
    }

    fn decode_from(least: f64, item: &Item<'_>) -> Decoded<Self> {
        if let Some(text) = item.text() {
            return Err(item.advise(format!("{} is not a mapping", quoted(text)), format!("write {{value: {text}}}")));
        }
        let mut object = item.object()?;
        let value = object.field_or_default("value", |item| {
            let value = item.number(0.0..=100.0)?;
            if value != 0.0 && value < least {
                return Err(
                    item.advise(format!("{value} is not 0 and below {least}"), format!("write 0, or at least {least}"))
                );
            }
            Ok(value)
        });
        object.finish();
        value.map(Self::of_number)
    }

    /// The number alone, as Kubernetes has it of a double that may be absent.
    pub(super) fn decode_number(item: &Item<'_>) -> Decoded<Self> {
        item.number(0.0..=100.0).map(Self::of_number)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a million")]
    fn of_number(percent: f64) -> Self {
        Self((percent * PER_PERCENT + ROUNDING) as u32)
    }

    /// The whole number of a former field.
    pub(super) fn decode_whole(item: &Item<'_>) -> Decoded<Self> {
        Ok(Self(item.unsigned::<u32>(0..=100)? * 10_000))
    }

    pub(super) fn encode(self) -> Value {
        Fields::new().some("value", Some(self.value()).filter(|value| *value != 0.0)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_includes_as_many_numbers_as_it_says() {
        let check = |millionths: u32, expected: u64| {
            let step = u64::MAX / 1_000_000 + 1;
            let included =
                (0..1_000_000).filter(|n: &u64| Percent(millionths).includes(n.saturating_mul(step))).count();
            assert_eq!(included as u64, expected, "{millionths}");
        };
        check(0, 0);
        check(1, 1);
        check(500_000, 500_000);
        check(1_000_000, 1_000_000);
        assert!(Percent::ALL.includes(u64::MAX) && !Percent::NONE.includes(0));
    }
}
