//! How the requests of a rule with a policy get their targets: by the hash of a key where there is one, else in blocks.
//! Nothing is allocated, unless a cookie is made.

use super::hash::{hash_of_address, hash_of_key};
use super::request::{Client, RequestHead};
use super::split::{Split, Target};
use super::tickets::{LARGEST_BLOCK, Tickets, place};
use crate::documents::{HashCookie, HashKey};
use http::header::COOKIE;

/// How a policy assigns.
#[derive(Debug)]
pub struct Assignment {
    /// Of the policy's tickets.
    index: usize,
    /// None: it would be larger than [`LARGEST_BLOCK`], and each request draws for itself.
    block: Option<Block>,
    sticky: Option<Sticky>,
}

#[derive(Debug)]
struct Block {
    size: u64,
    /// Tickets of the split for each place.
    step: u64,
}

/// How keys are assigned.
#[derive(Debug)]
pub(super) struct Sticky {
    key: HashKey,
    salt: Box<[u8]>,
    /// The first hash of each part, and the position of its target. Never empty, and the first is 0.
    parts: Vec<(u64, usize)>,
}

/// How a request got its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// By the weights, at random: no policy says otherwise.
    Weights,
    /// By its place in a block.
    Block,
    /// By its key.
    Sticky,
    /// By a key that its client is to be given: the policy's cookie with this number ([`Assignment::set_cookie`]). It was
    /// drawn without regard to the weights, and says nothing of the target.
    NewCookie(u64),
}

impl Assignment {
    /// In blocks what has no key.
    pub(super) fn new(index: usize, split: &Split, sticky: Option<Sticky>) -> Self {
        let step = split.targets().iter().fold(0, |divisor, target| gcd(divisor, u64::from(target.weight))).max(1);
        let size = split.tickets() / step;
        Self { index, block: (size <= LARGEST_BLOCK).then_some(Block { size, step }), sticky }
    }

    /// How many requests a block has, over which the split is exact. None: more than [`LARGEST_BLOCK`].
    pub fn block_size(&self) -> Option<u64> {
        self.block.as_ref().map(|block| block.size)
    }

    /// The key by which requests stay with their targets.
    pub fn key(&self) -> Option<&HashKey> {
        self.sticky.as_ref().map(|sticky| &sticky.key)
    }

    /// The `Set-Cookie` of a request that got a new one, as [`Assigned::NewCookie`] has its number.
    pub fn set_cookie(&self, number: u64) -> Option<String> {
        match self.key() {
            Some(HashKey::Cookie(cookie)) => Some(line(cookie, number)),
            _ => None,
        }
    }

    /// The target, and how the request came to it.
    pub(super) fn assign<'s>(
        &self,
        split: &'s Split,
        request: &RequestHead<'_>,
        (random, tickets): (u64, &Tickets),
    ) -> (&'s Target, Assigned) {
        if let Some(sticky) = &self.sticky {
            if let Some(hash) = sticky.hash(request) {
                return (sticky.owner(split, hash), Assigned::Sticky);
            }
            if matches!(sticky.key, HashKey::Cookie(_)) {
                let hash = hash_of_key(&sticky.salt, &value(random));
                return (sticky.owner(split, hash), Assigned::NewCookie(random));
            }
        }
        let dealt = self.block.as_ref().and_then(|block| {
            let ticket = tickets.take(self.index)?;
            split.ticket(place(ticket, block.size) * block.step)
        });
        match dealt {
            Some(ticket) => (split.pick(ticket), Assigned::Block),
            None => (split.pick(split.draw(random)), Assigned::Weights),
        }
    }
}

impl Sticky {
    /// Each of the parts has its first hash and the position of its target; the first part begins at 0.
    pub(super) fn new(key: HashKey, salt: &str, parts: Vec<(u64, usize)>) -> Self {
        Self { key, salt: salt.as_bytes().into(), parts }
    }

    /// Of the request's key; an empty one is none. Nothing is decoded.
    fn hash(&self, request: &RequestHead<'_>) -> Option<u64> {
        let key = match &self.key {
            HashKey::SourceIp => {
                let Client::At(address) = request.client() else { return None };
                return Some(hash_of_address(&self.salt, address));
            }
            HashKey::Header(name) => request.headers.get(name)?.as_bytes(),
            HashKey::Query(name) => parameter(request.query?, name)?.as_bytes(),
            HashKey::Cookie(cookie) => cookie_value(request, &cookie.name)?,
        };
        (!key.is_empty()).then(|| hash_of_key(&self.salt, key))
    }

    fn owner<'s>(&self, split: &'s Split, hash: u64) -> &'s Target {
        // The first part begins at 0.
        let part = self.parts.partition_point(|(from, _)| *from <= hash).saturating_sub(1);
        &split.targets()[self.parts[part].1]
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The first of the name.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The first of the name that has a value, without its quotes.
fn cookie_value<'r>(request: &RequestHead<'r>, name: &str) -> Option<&'r [u8]> {
    let lines = request.headers.get_all(COOKIE).iter();
    let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        (key == name.as_bytes() && !unquoted.is_empty()).then_some(unquoted)
    })
}

/// 16 digits, as `{number:016x}` writes them.
fn value(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[usize::try_from(number >> (4 * place) & 0xf).unwrap_or(0)];
    }
    digits
}

fn line(cookie: &HashCookie, number: u64) -> String {
    let mut line = format!("{}={number:016x}; Path={}", cookie.name, cookie.path);
    let age = cookie.ttl.filter(|ttl| !ttl.is_zero()).map(|ttl| format!("Max-Age={}", ttl.as_secs()));
    let others = cookie.attributes.iter().map(|(name, value)| match value.as_str() {
        "" => name.clone(),
        value => format!("{name}={value}"),
    });
    for attribute in age.into_iter().chain(others).chain(["HttpOnly".to_owned()]) {
        line.push_str("; ");
        line.push_str(&attribute);
    }
    line
}
