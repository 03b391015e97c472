//! `rescue`: what the candidate fails at is answered by another destination.

use crate::decode::{Decoded, Item};
use crate::documents::percent::Percent;
use crate::documents::virtual_service::RetryCondition;
use crate::encode::Fields;
use serde_json::Value;
use std::collections::BTreeSet;

/// The conditions of a retry that are the candidate's failure.
const CONDITIONS: [(&str, RetryCondition); 5] = [
    ("5xx", RetryCondition::ServerError),
    ("gateway-error", RetryCondition::GatewayError),
    ("reset", RetryCondition::Reset),
    ("connect-failure", RetryCondition::ConnectFailure),
    ("refused-stream", RetryCondition::RefusedStream),
];
const DEFAULT_ON: [RetryCondition; 3] =
    [RetryCondition::ServerError, RetryCondition::Reset, RetryCondition::ConnectFailure];
/// 20 per cent.
const DEFAULT_BUDGET: Percent = Percent::of_millionths(200_000);

/// `rescue`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rescue {
    /// At which failures; at least one.
    pub on: BTreeSet<RetryCondition>,
    /// `budgetPercent`: of the candidate's requests, at most.
    pub budget: Percent,
}

impl Rescue {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let on = object.field("on", |item| match item.each(|item| item.choice(&CONDITIONS, &[]))? {
            on if on.is_empty() => Err(item.advise("at no failure", "name one, or leave it out")),
            on => Ok(on.into_iter().collect()),
        });
        let budget = object.field("budgetPercent", Percent::decode_number);
        object.finish();
        let (on, budget) = (on?, budget?);
        Ok(Self { on: on.unwrap_or_else(|| DEFAULT_ON.into()), budget: budget.unwrap_or(DEFAULT_BUDGET) })
    }

    pub(super) fn encode(&self) -> Value {
        let name = |on: &RetryCondition| CONDITIONS.iter().find(|(_, known)| known == on).map(|(name, _)| *name);
        Fields::new().list("on", self.on.iter().filter_map(name)).field("budgetPercent", self.budget.value()).into()
    }
}
