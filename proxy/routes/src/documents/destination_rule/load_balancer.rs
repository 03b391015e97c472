//! `loadBalancer`: which endpoint gets a request.

use crate::decode::{Decoded, Item, Object, quoted};
use crate::encode::{Fields, duration};
use http::HeaderName;
use serde_json::Value;
use std::time::Duration;

/// What Istio has and the gateway has not: in `loadBalancer`, ...
const UNSUPPORTED: [&str; 1] = ["zoneAwareLbSetting"];
/// ... and of `simple`.
const UNSUPPORTED_SIMPLE: [&str; 1] = ["PASSTHROUGH"];

/// `loadBalancer`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadBalancer {
    /// How one is chosen.
    pub balancing: Balancing,
    /// `warmup`, or `warmupDurationSecs`: counts with `LEAST_REQUEST` and `ROUND_ROBIN`.
    pub warmup: Option<Warmup>,
}

/// `simple` or `consistentHash`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Balancing {
    /// `LEAST_REQUEST`, under whichever of its three names: of two at random the one with fewer requests.
    #[default]
    LeastRequest,
    /// `ROUND_ROBIN`.
    RoundRobin,
    /// `RANDOM`, whatever the endpoints' weights.
    Random,
    /// `consistentHash`.
    Hash(ConsistentHash),
}

/// `consistentHash`: the same request goes to the same endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistentHash {
    /// What makes two requests the same; without it, and where a request has none of it, the choice is random.
    pub key: Option<HashKey>,
    /// How a hash leads to an endpoint.
    pub table: HashTable,
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// `httpHeaderName`.
    Header(HeaderName),
    /// `httpQueryParameterName`.
    Query(String),
    /// `useSourceIp`.
    SourceIp,
    /// `httpCookie`.
    Cookie(HashCookie),
}

/// `httpCookie`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashCookie {
    /// Its name, not empty.
    pub name: String,
    /// Where the gateway sets it; empty: wherever it was set.
    pub path: String,
    /// With it the gateway sets a cookie where there is none; zero is for as long as the browser runs.
    pub ttl: Option<Duration>,
    /// Further attributes; names are unique.
    pub attributes: Vec<(String, String)>,
}

/// `ringHash` or `maglev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashTable {
    /// `ringHash.minimumRingSize`, or the older `minimumRingSize`.
    Ring {
        /// Entries at least.
        minimum_size: u32,
    },
    /// `maglev.tableSize`.
    Maglev {
        /// Entries: a prime number.
        size: u32,
    },
}

/// `warmup`: a new endpoint gets more and more of its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup {
    /// Until it has all of it.
    pub duration: Duration,
    /// `minimumPercent`: what it begins with.
    pub minimum_percent: f64,
    /// `aggression`: 1 is linear, more is faster at first.
    pub aggression: f64,
}

/// Envoy's default and its bound.
const RING_SIZES: (u32, u32) = (1024, 8 << 20);
/// Istio's bound.
const MAX_MAGLEV_SIZE: u32 = 5_000_010;
const DEFAULT_MINIMUM_PERCENT: f64 = 10.0;

impl LoadBalancer {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let known = [
            ("LEAST_REQUEST", LEAST_REQUEST),
            ("LEAST_CONN", LEAST_REQUEST),
            ("UNSPECIFIED", LEAST_REQUEST),
            ("ROUND_ROBIN", ROUND_ROBIN),
            ("RANDOM", RANDOM),
        ];
        let mut object = item.object()?;
        let simple = object.field("simple", |item| item.choice(&known, &UNSUPPORTED_SIMPLE));
        let hash = object.field("consistentHash", ConsistentHash::decode);
        let warmup = object.field("warmup", Warmup::decode);
        let older_warmup = object.field("warmupDurationSecs", Item::duration);
        let by_label = object.field("localityLbSetting", decode_localities);
        object.refuse(&UNSUPPORTED);
        object.finish();
        by_label?;
        let balancing = match (simple?, hash?) {
            (Some(_), Some(_)) => {
                return Err(item.advise("simple and consistentHash exclude each other", "leave one of them out"));
            }
            (simple, None) => simple.map_or(Balancing::LeastRequest, |simple| simple()),
            (None, Some(hash)) => Balancing::Hash(hash),
        };
        let warmup = warmup?.or(older_warmup?.map(Warmup::linear));
        if warmup.is_some() && matches!(balancing, Balancing::Random | Balancing::Hash(_)) {
            item.warn("warmup does nothing with this load balancer, as in Istio", "write LEAST_REQUEST or ROUND_ROBIN");
        }
        Ok(Self { balancing, warmup })
    }

    pub(super) fn encode(&self) -> Value {
        let simple = match &self.balancing {
            Balancing::LeastRequest => Some("LEAST_REQUEST"),
            Balancing::RoundRobin => Some("ROUND_ROBIN"),
            Balancing::Random => Some("RANDOM"),
            Balancing::Hash(_) => None,
        };
        let hash = match &self.balancing {
            Balancing::Hash(hash) => Some(hash.encode()),
            _ => None,
        };
        Fields::new()
            .some("simple", simple)
            .some("consistentHash", hash)
            .some("warmup", self.warmup.as_ref().map(Warmup::encode))
            .into()
    }
}

/// Endpoints have no localities here, so nothing is to be preferred by them. Labels, which they have, could be.
fn decode_localities(item: &Item<'_>) -> Decoded<()> {
    let mut object = item.object()?;
    object.field_or_default("enabled", Item::boolean)?;
    object.read_over(&["distribute", "failover"]);
    let refused = object.refuse(&["failoverPriority"]);
    object.finish();
    if let Some(refused) = refused {
        return Err(refused);
    }
    item.warn("decides nothing here: endpoints have no localities", "leave it out, or keep it for Istio");
    Ok(())
}

// As functions, since what is chosen among must be `Copy`.
const LEAST_REQUEST: fn() -> Balancing = || Balancing::LeastRequest;
const ROUND_ROBIN: fn() -> Balancing = || Balancing::RoundRobin;
const RANDOM: fn() -> Balancing = || Balancing::Random;

impl ConsistentHash {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let keys = [
            object.field("httpHeaderName", |item| Ok(header(item)?.map(HashKey::Header))),
            object
                .field("httpQueryParameterName", |item| Ok(item.filled()?.map(|name| HashKey::Query(name.to_owned())))),
            object.field("useSourceIp", |item| Ok(item.boolean()?.then_some(HashKey::SourceIp))),
            object.field("httpCookie", |item| Ok(Some(HashKey::Cookie(HashCookie::decode(item)?)))),
        ];
        let table = HashTable::decode(&mut object);
        object.finish();
        let mut given = keys.into_iter().collect::<Decoded<Vec<_>>>()?.into_iter().flatten();
        let key = given.next().flatten();
        if given.next().is_some() {
            return Err(item.advise("more than one of what is to be hashed", "leave all but one out"));
        }
        Ok(Self { key, table: table? })
    }

    fn encode(&self) -> Value {
        let fields = match &self.key {
            Some(HashKey::Header(name)) => Fields::new().field("httpHeaderName", name.as_str()),
            Some(HashKey::Query(name)) => Fields::new().field("httpQueryParameterName", name.as_str()),
            Some(HashKey::SourceIp) => Fields::new().field("useSourceIp", true),
            Some(HashKey::Cookie(cookie)) => Fields::new().field("httpCookie", cookie.encode()),
            None => Fields::new(),
        };
        let table = |name: &str, size: u32| Fields::new().field(name, size);
        match self.table {
            HashTable::Ring { minimum_size } => fields.field("ringHash", table("minimumRingSize", minimum_size)),
            HashTable::Maglev { size } => fields.field("maglev", table("tableSize", size)),
        }
        .into()
    }
}

pub(in crate::documents) fn header(item: &Item<'_>) -> Decoded<Option<HeaderName>> {
    let Some(text) = item.filled()? else { return Ok(None) };
    let name = text.parse().map_err(|_| item.error(format!("{} is not the name of a header", quoted(text))))?;
    Ok(Some(name))
}

impl HashCookie {
    /// Of which only the name is known.
    pub(in crate::documents) fn named(item: &Item<'_>) -> Decoded<Self> {
        cookie_name(item).map(|name| Self { name, path: String::new(), ttl: None, attributes: Vec::new() })
    }

    pub(in crate::documents) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let name = object.required("name").and_then(|item| cookie_name(&item));
        let path = object.field_or_default("path", |item| cookie_text(item, item.string()?));
        let ttl = object.field("ttl", Item::duration_or_zero);
        let attributes = object.field_or_default("attributes", decode_attributes);
        object.finish();
        Ok(Self { name: name?, path: path?, ttl: ttl?, attributes: attributes? })
    }

    pub(in crate::documents) fn encode(&self) -> Value {
        let attribute = |(name, value): &(String, String)| {
            Fields::new()
                .field("name", name.as_str())
                .some("value", Some(value.as_str()).filter(|value| !value.is_empty()))
        };
        Fields::new()
            .field("name", self.name.as_str())
            .some("path", Some(self.path.as_str()).filter(|path| !path.is_empty()))
            .some("ttl", self.ttl.map(duration))
            .list("attributes", self.attributes.iter().map(attribute))
            .into()
    }
}

fn cookie_name(item: &Item<'_>) -> Decoded<String> {
    match item.string()? {
        text if !text.is_empty() && text.bytes().all(is_token) => Ok(text.to_owned()),
        text => Err(item.error(format!("{} is not the name of a cookie", quoted(text)))),
    }
}

fn decode_attributes(item: &Item<'_>) -> Decoded<Vec<(String, String)>> {
    let mut names: Vec<String> = Vec::new();
    item.each(|item| {
        let mut object = item.object()?;
        let name = object.required("name").and_then(|item| match item.string()? {
            "" => Err(item.error("the name of an attribute must not be empty")),
            text if names.iter().any(|known| known == text) => {
                Err(item.error(format!("a second attribute called {}", quoted(text))))
            }
            text => cookie_text(&item, text),
        });
        let value = object.field_or_default("value", |item| cookie_text(item, item.string()?));
        object.finish();
        let (name, value) = (name?, value?);
        names.push(name.clone());
        Ok((name, value))
    })
}

/// Of which the names of cookies are made (RFC 6265, 4.1.1).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What can stand in `Set-Cookie` without ending what it is part of.
fn cookie_text(item: &Item<'_>, text: &str) -> Decoded<String> {
    match text.chars().find(|c| !c.is_ascii_graphic() && *c != ' ' || *c == ';') {
        None => Ok(text.to_owned()),
        Some(c) => Err(item.error(format!("{} cannot be in a cookie", quoted(&c.to_string())))),
    }
}

impl HashTable {
    fn decode(object: &mut Object<'_>) -> Decoded<Self> {
        let older = object.field_or_default("minimumRingSize", |item| {
            let size = ring_size(item)?;
            if size.is_some() {
                item.warn("is of an older Istio", "write ringHash: {minimumRingSize: ...}");
            }
            Ok(size.map(|size| (item.clone(), size)))
        });
        let ring = object.field("ringHash", |item| {
            let mut object = item.object()?;
            let size = object.field_or_default("minimumRingSize", ring_size);
            object.finish();
            Ok((item.clone(), size?))
        });
        let maglev = object.field("maglev", |item| {
            let mut object = item.object()?;
            let size = object.required("tableSize").and_then(|item| maglev_size(&item));
            object.finish();
            Ok((item.clone(), size?))
        });
        let ring_of = |size: Option<u32>| Self::Ring { minimum_size: size.unwrap_or(RING_SIZES.0) };
        match (older?, ring?, maglev?) {
            (Some((item, _)), Some(_), _) | (Some((item, _)), _, Some(_)) | (None, Some((item, _)), Some(_)) => {
                Err(item.advise("more than one table of the hashes", "leave all but one out"))
            }
            (None, None, Some((_, size))) => Ok(Self::Maglev { size }),
            (Some((_, size)), None, None) => Ok(ring_of(Some(size))),
            (None, ring, None) => Ok(ring_of(ring.and_then(|(_, size)| size))),
        }
    }
}

fn ring_size(item: &Item<'_>) -> Decoded<Option<u32>> {
    Ok(Some(item.unsigned(0..=i64::from(RING_SIZES.1))?).filter(|size| *size != 0))
}

fn maglev_size(item: &Item<'_>) -> Decoded<u32> {
    let size: u32 = item.unsigned(1..=i64::from(MAX_MAGLEV_SIZE))?;
    let is_prime = size > 1 && (2..=size.isqrt()).all(|factor| !size.is_multiple_of(factor));
    if is_prime { Ok(size) } else { Err(item.error(format!("{size} is not a prime number"))) }
}

impl Warmup {
    fn linear(duration: Duration) -> Self {
        Self { duration, minimum_percent: DEFAULT_MINIMUM_PERCENT, aggression: 1.0 }
    }

    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let duration = object.required("duration").and_then(|item| item.duration());
        let minimum_percent = object.field("minimumPercent", |item| item.number(0.0..=100.0));
        let aggression = object.field("aggression", |item| match item.number(0.0..=1e6)? {
            0.0 => Err(item.advise("0 is no aggression", "write a number above 0; 1 is linear")),
            aggression => Ok(aggression),
        });
        object.finish();
        let linear = Self::linear(duration?);
        Ok(Self {
            minimum_percent: minimum_percent?.unwrap_or(linear.minimum_percent),
            aggression: aggression?.unwrap_or(linear.aggression),
            ..linear
        })
    }

    fn encode(&self) -> Value {
        let Self { duration: until, minimum_percent, aggression } = self;
        Fields::new()
            .field("duration", duration(*until))
            .field("minimumPercent", *minimum_percent)
            .field("aggression", *aggression)
            .into()
    }
}
