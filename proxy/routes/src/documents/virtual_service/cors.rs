//! `corsPolicy`: which pages of other origins may read the answers of a rule.

use crate::decode::{Decoded, Item, quoted};
use crate::documents::header_changes::header_name;
use crate::documents::string_match::{EmptyPrefix, StringMatch};
use crate::encode::{Fields, duration};
use serde_json::Value;
use std::time::Duration;

/// `corsPolicy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cors {
    /// Any of them suffices; none allows no origin. `allowOrigin`, the former field, is among them.
    pub allow_origins: Vec<StringMatch>,
    /// `*` is whatever was asked for.
    pub allow_methods: Vec<String>,
    /// `*` is whatever was asked for.
    pub allow_headers: Vec<String>,
    /// What else of an answer a page may read.
    pub expose_headers: Vec<String>,
    /// How long a browser may remember the answer to a preflight, in whole seconds.
    pub max_age: Option<Duration>,
    /// `allowCredentials`: whether the browser may send cookies; none says nothing of it.
    pub allow_credentials: Option<bool>,
    /// `unmatchedPreflights`: who answers the preflight of an origin that is not allowed.
    pub unmatched_preflights: UnmatchedPreflights,
}

/// Who answers the preflight of an origin that is not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnmatchedPreflights {
    /// The backend: `FORWARD`, `UNSPECIFIED`, or nothing.
    #[default]
    Forward,
    /// The gateway, without allowing the origin: `IGNORE`.
    Ignore,
}

const UNMATCHED: [(&str, UnmatchedPreflights); 3] = [
    ("FORWARD", UnmatchedPreflights::Forward),
    ("IGNORE", UnmatchedPreflights::Ignore),
    ("UNSPECIFIED", UnmatchedPreflights::Forward),
];

/// The methods that Istio knows here, beside `*`.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

impl Cors {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let former = object.field_or_default("allowOrigin", |item| {
            item.each(|item| Ok(StringMatch::Exact(item.string()?.to_owned())))
        });
        let origins = object.field_or_default("allowOrigins", |item| item.each(decode_origin));
        let allow_methods = object.field_or_default("allowMethods", |item| item.each(decode_method));
        let allow_headers = object.field_or_default("allowHeaders", decode_headers);
        let expose_headers = object.field_or_default("exposeHeaders", decode_headers);
        let max_age = object.field("maxAge", decode_max_age);
        let allow_credentials = object.field("allowCredentials", Item::boolean);
        let unmatched_preflights = object.field_or_default("unmatchedPreflights", |item| item.choice(&UNMATCHED, &[]));
        object.finish();
        // The new field replaces the former one.
        let (former, origins) = (former?, origins?);
        Ok(Self {
            allow_origins: if origins.is_empty() { former } else { origins },
            allow_methods: allow_methods?,
            allow_headers: allow_headers?,
            expose_headers: expose_headers?,
            max_age: max_age?,
            allow_credentials: allow_credentials?,
            unmatched_preflights: unmatched_preflights?,
        })
    }

    pub(super) fn encode(&self) -> Value {
        let list = |fields: Fields, name, values: &[String]| fields.list(name, values.iter().map(String::as_str));
        let fields = Fields::new().list("allowOrigins", self.allow_origins.iter().map(StringMatch::encode));
        let fields = list(fields, "allowMethods", &self.allow_methods);
        let fields = list(fields, "allowHeaders", &self.allow_headers);
        list(fields, "exposeHeaders", &self.expose_headers)
            .some("maxAge", self.max_age.map(duration))
            .some("allowCredentials", self.allow_credentials)
            .some("unmatchedPreflights", (self.unmatched_preflights == UnmatchedPreflights::Ignore).then_some("IGNORE"))
            .into()
    }
}

fn decode_origin(item: &Item<'_>) -> Decoded<StringMatch> {
    match StringMatch::decode(item, EmptyPrefix::Refused)? {
        Some(StringMatch::Exact(text)) if text.is_empty() => {
            Err(item.advise("an empty origin matches nothing", "leave it out"))
        }
        Some(origin) => Ok(origin),
        None => Err(item.advise("no kind of match", "write exact, prefix or regex")),
    }
}

fn decode_method(item: &Item<'_>) -> Decoded<String> {
    let text = item.string()?;
    if text == "*" || METHODS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(item.advise(format!("{} is not a method", quoted(text)), "write methods in capitals, or *"))
}

fn decode_max_age(item: &Item<'_>) -> Decoded<Duration> {
    let age = item.duration()?;
    if age.subsec_nanos() != 0 {
        return Err(item.advise(format!("{} is finer than seconds", duration(age)), "round it to whole seconds"));
    }
    Ok(age)
}

fn decode_headers(item: &Item<'_>) -> Decoded<Vec<String>> {
    item.each(|item| {
        let text = item.string()?;
        if text != "*" {
            header_name(text, item)?;
        }
        Ok(text.to_owned())
    })
}
