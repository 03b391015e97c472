//! `assign`: how a request gets its destination, once nobody has picked one for it.

use crate::decode::{Decoded, Item, quoted};
use crate::documents::destination_rule::{HashCookie, HashKey, header};
use crate::documents::virtual_service::Destination;
use crate::encode::Fields;
use serde_json::Value;

/// What would have to be read of a body.
const OF_BODIES: [&str; 3] = ["jsonPointer", "pointer", "body"];
/// Of a ledger.
const MOST_INTERVALS: usize = 1000;
/// Where a cookie counts that says nothing of it: a client that asks for two paths is still one client.
const EVERYWHERE: &str = "/";

/// `assign`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assign {
    /// What is assigned.
    pub by: AssignBy,
    /// Which destination owns which part of the hashes, from 0 on and without gaps, where keys are hashed; published by
    /// whoever changes the weights. None: as the weights say, the candidate's part first.
    pub ledger: Vec<Interval>,
}

/// `assign.by`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AssignBy {
    /// Each request for itself, exactly by the weights.
    #[default]
    Request,
    /// All requests with one key alike; those without a key each for itself.
    Key(HashKey),
}

/// A part of the hashes, up to where the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The smallest hash in it.
    pub from: u64,
    /// Whose it is; a short host counts in the policy's own namespace.
    pub to: Destination,
}

impl Assign {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let by = object.field_or_default("by", AssignBy::decode);
        let ledger = object.optional("ledger");
        let intervals = ledger.as_ref().map_or(Ok(Vec::new()), decode_ledger);
        object.finish();
        let by = by?;
        if let (AssignBy::Request, Some(ledger)) = (&by, ledger) {
            ledger.warn("does nothing where no key is hashed", "leave it out, or write by: {header: ...}");
        }
        Ok(Self { by, ledger: intervals? })
    }

    /// None if it is the default.
    pub(super) fn encode(&self) -> Option<Value> {
        Fields::new()
            .some("by", self.by.encode())
            .list("ledger", self.ledger.iter().map(Interval::encode))
            .into_filled()
    }
}

impl AssignBy {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        const ADVICE: &str = "write request, or one of header, cookie, query and address: {header: x-user}";
        match item.text() {
            Some("request") => return Ok(Self::Request),
            Some(text) => return Err(item.advise(format!("{} is not known", quoted(text)), ADVICE)),
            None => {}
        }
        let mut object = item.object()?;
        let keys = [
            object.field("header", |item| Ok(header(item)?.map(HashKey::Header))),
            object.field("cookie", |item| decode_cookie(item).map(|cookie| Some(HashKey::Cookie(cookie)))),
            object.field("query", |item| Ok(item.filled()?.map(|name| HashKey::Query(name.to_owned())))),
            object.field("address", |item| Ok(item.boolean()?.then_some(HashKey::SourceIp))),
        ];
        let of_body = object.refuse_as(
            &OF_BODIES,
            "bodies are not read to assign a request",
            "send the key in a header, a cookie or the query as well",
        );
        object.finish();
        let mut given = keys.into_iter().collect::<Decoded<Vec<_>>>()?.into_iter().flatten().flatten();
        match (of_body, given.next(), given.next()) {
            (Some(reported), ..) => Err(reported),
            (None, Some(key), None) => Ok(Self::Key(key)),
            (None, None, _) => Err(item.advise("nothing to assign by", ADVICE)),
            (None, Some(_), Some(_)) => Err(item.advise("more than one key", "leave all but one out")),
        }
    }

    fn encode(&self) -> Option<Value> {
        let Self::Key(key) = self else { return None };
        let fields = match key {
            HashKey::Header(name) => Fields::new().field("header", name.as_str()),
            HashKey::Query(name) => Fields::new().field("query", name.as_str()),
            HashKey::SourceIp => Fields::new().field("address", true),
            HashKey::Cookie(cookie) => Fields::new().field("cookie", cookie.encode()),
        };
        Some(fields.into())
    }
}

/// The name alone, or as `httpCookie` of a DestinationRule has it.
fn decode_cookie(item: &Item<'_>) -> Decoded<HashCookie> {
    let mut cookie = if item.text().is_some() { HashCookie::named(item) } else { HashCookie::decode(item) }?;
    if cookie.path.is_empty() {
        EVERYWHERE.clone_into(&mut cookie.path);
    }
    Ok(cookie)
}

fn decode_ledger(item: &Item<'_>) -> Decoded<Vec<Interval>> {
    let mut expected = 0..=0;
    let intervals = item.each(|item| {
        let interval = Interval::decode(item)?;
        if !expected.contains(&interval.from) {
            let message = "an interval begins where the one before it ends, and the first at 0";
            return Err(item.advise(message, "write them in ascending order, the first from \"0000000000000000\""));
        }
        expected = interval.from.saturating_add(1)..=u64::MAX;
        Ok(interval)
    })?;
    if intervals.len() > MOST_INTERVALS {
        return Err(item.error(format!("{} intervals are more than {MOST_INTERVALS}", intervals.len())));
    }
    Ok(intervals)
}

impl Interval {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let from = object.required("from").and_then(|item| {
            let text = item.string()?;
            let is_hash = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            u64::from_str_radix(text, 16).ok().filter(|_| is_hash).ok_or_else(|| {
                item.advise(format!("{} is not a hash", quoted(text)), "write 16 digits of 0-9 and a-f, in quotes")
            })
        });
        let to = object.required("to").and_then(|item| Destination::decode(&item));
        object.finish();
        Ok(Self { from: from?, to: to? })
    }

    fn encode(&self) -> Value {
        Fields::new().field("from", format!("{:016x}", self.from)).field("to", self.to.encode()).into()
    }
}
