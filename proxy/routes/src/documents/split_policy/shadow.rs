//! `shadow`: copies of a rule's requests are answered by the candidate as well, and the two answers compared. Nobody but
//! the comparison sees the second one.

use super::compare::{CompareRule, decode_pointer, decode_rules};
use crate::decode::{Decoded, Item, quoted};
use crate::documents::header_changes::header_name;
use crate::documents::percent::Percent;
use crate::documents::virtual_service::Destination;
use crate::encode::{Fields, duration};
use http::{HeaderName, Method};
use serde_json::Value;
use std::time::Duration;

/// 1 MiB.
const DEFAULT_BODY_BYTES: u64 = 1 << 20;
/// 100 MiB.
const MOST_BODY_BYTES: i64 = 100 << 20;
const DEFAULT_IN_FLIGHT: u32 = 64;
const MOST_IN_FLIGHT: i64 = 10_000;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const MOST_KEPT: i64 = 100;
/// One per cent.
const DEFAULT_NOISE: Percent = Percent::of_millionths(10_000);

/// `shadow`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shadow {
    /// Who is asked beside; a short host counts in the policy's own namespace. None: the candidate.
    pub to: Option<Destination>,
    /// Of how many of the rule's requests that may be asked twice.
    pub percent: Percent,
    /// For how many of those the stable version is asked a second time, too: it may differ from itself.
    pub noise: Percent,
    /// For which methods asking twice is harmless; at least one.
    pub methods: Vec<Method>,
    /// Of a request and of an answer; what is larger is left out, and counted.
    pub max_body_bytes: u64,
    /// At a time, in one gateway; what comes beyond is left out, and counted.
    pub max_in_flight: u32,
    /// For the whole second answer.
    pub timeout: Duration,
    /// How values are compared that differ on purpose. Without a rule numbers agree within 1e-6, or 1e-4 of the live one.
    pub compare: Vec<CompareRule>,
    /// How many of the pairs that differ most are kept in memory, for the admin port; 0 keeps none.
    pub keep_worst: usize,
    /// JSON pointers to what is never kept.
    pub redact: Vec<String>,
    /// Headers that copies do not have.
    pub drop_headers: Vec<HeaderName>,
}

impl Shadow {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let to = object.field("to", Destination::decode);
        let percent = object.required("percent").and_then(|item| Percent::decode_number(&item));
        let noise = object.field("noise", Percent::decode_number);
        let methods = match object.optional("methods") {
            Some(item) => decode_methods(&item),
            None => Err(object.missing("methods", "required: for which asking twice is harmless, such as [POST]")),
        };
        let max_body_bytes = object.field("maxBodyBytes", |item| item.unsigned(1..=MOST_BODY_BYTES));
        let max_in_flight = object.field("maxInFlight", |item| item.unsigned(1..=MOST_IN_FLIGHT));
        let timeout = object.field("timeout", Item::duration);
        let compare = object.field_or_default("compare", decode_rules);
        let keep_worst = object.field_or_default("keepWorst", |item| item.unsigned(0..=MOST_KEPT));
        let redact = object.field_or_default("redact", |item| item.each(decode_pointer));
        let drop_headers =
            object.field_or_default("dropHeaders", |item| item.each(|item| header_name(item.string()?, item)));
        object.finish();
        Ok(Self {
            to: to?,
            percent: percent?,
            noise: noise?.unwrap_or(DEFAULT_NOISE),
            methods: methods?,
            max_body_bytes: max_body_bytes?.unwrap_or(DEFAULT_BODY_BYTES),
            max_in_flight: max_in_flight?.unwrap_or(DEFAULT_IN_FLIGHT),
            timeout: timeout?.unwrap_or(DEFAULT_TIMEOUT),
            compare: compare?,
            keep_worst: keep_worst?,
            redact: redact?,
            drop_headers: drop_headers?,
        })
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new()
            .some("to", self.to.as_ref().map(Destination::encode))
            .field("percent", self.percent.value())
            .field("noise", self.noise.value())
            .list("methods", self.methods.iter().map(Method::as_str))
            .field("maxBodyBytes", self.max_body_bytes)
            .field("maxInFlight", self.max_in_flight)
            .field("timeout", duration(self.timeout))
            .list("compare", self.compare.iter().map(CompareRule::encode))
            .some("keepWorst", Some(self.keep_worst).filter(|kept| *kept != 0))
            .list("redact", self.redact.iter().map(String::as_str))
            .list("dropHeaders", self.drop_headers.iter().map(HeaderName::as_str))
            .into()
    }
}

fn decode_methods(item: &Item<'_>) -> Decoded<Vec<Method>> {
    let methods = item.each(|item| {
        let text = item.string()?;
        let method = text.parse::<Method>().ok().filter(|_| text.bytes().all(|b| !b.is_ascii_lowercase()));
        match method {
            Some(Method::CONNECT) | None => {
                Err(item.advise(format!("{} is not a method that can be asked", quoted(text)), "write it in capitals"))
            }
            Some(method) => Ok(method),
        }
    })?;
    if methods.is_empty() {
        return Err(item.advise("no method: nothing would be asked", "write those for which asking twice is harmless"));
    }
    Ok(methods)
}
