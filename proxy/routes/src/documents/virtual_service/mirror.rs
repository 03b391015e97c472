//! `mirror` and `mirrors`: where copies of requests go whose answers nobody waits for.

use super::forward::Destination;
use crate::decode::{Decoded, Item, Object};
use crate::documents::percent::Percent;
use crate::encode::Fields;
use serde_json::Value;

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// Where to.
    pub destination: Destination,
    /// Of how many requests; each mirror draws for itself.
    pub percent: Percent,
}

impl Mirror {
    /// Those of a rule.
    pub(super) fn decode_all(rule: &Item<'_>, object: &mut Object<'_>) -> Decoded<Vec<Self>> {
        let one = object.field("mirror", Destination::decode);
        let several = object.field_or_default("mirrors", |item| item.each(Self::decode));
        let has_mirror = object.has("mirror");
        let share = |decode: fn(&Item<'_>) -> Decoded<Percent>| {
            move |item: &Item<'_>| {
                if !has_mirror {
                    item.warn("does nothing without mirror", "write percentage in each of mirrors, or leave it out");
                }
                decode(item)
            }
        };
        // The field had two names before its present one.
        let [first, second] =
            ["mirror_percent", "mirrorPercent"].map(|name| object.field(name, share(Percent::decode_whole)));
        let share = object.field("mirrorPercentage", share(Percent::decode));
        let (one, several) = (one?, several?);
        let share = share?.or(second?).or(first?);
        match (one, several) {
            (Some(_), several) if !several.is_empty() => Err(rule.error("mirror and mirrors exclude each other")),
            (Some(destination), _) => Ok(vec![Self { destination, percent: share.unwrap_or(Percent::ALL) }]),
            (None, several) => Ok(several),
        }
    }

    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let destination = object.required("destination").and_then(|item| Destination::decode(&item));
        let percent = object.field("percentage", Percent::decode);
        object.finish();
        Ok(Self { destination: destination?, percent: percent?.unwrap_or(Percent::ALL) })
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new()
            .field("destination", self.destination.encode())
            .some("percentage", (self.percent != Percent::ALL).then(|| self.percent.encode()))
            .into()
    }
}
