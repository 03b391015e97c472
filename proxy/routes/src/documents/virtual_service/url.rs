//! The parts of a URL that rules write.

use crate::decode::{Decoded, Item, quoted};
use http::StatusCode;

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Clear text.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of a URL that names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Scheme {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Option<Self>> {
        match item.string()? {
            "" => Ok(None),
            "http" => Ok(Some(Self::Http)),
            "https" => Ok(Some(Self::Https)),
            text => Err(item.advise(format!("{} is not a scheme", quoted(text)), "write http or https")),
        }
    }
}

/// A part of a URL that is sent as it is; an empty one is none.
pub(super) fn url_part(item: &Item<'_>) -> Decoded<Option<String>> {
    of_characters(item, |b| b.is_ascii_graphic())
}

/// A path that clients are told: as in Istio it may hold spaces, which browsers escape.
pub(super) fn told_path(item: &Item<'_>) -> Decoded<Option<String>> {
    of_characters(item, |b| b == b' ' || b.is_ascii_graphic())
}

fn of_characters(item: &Item<'_>, may_be: fn(u8) -> bool) -> Decoded<Option<String>> {
    let Some(text) = item.filled()? else {
        return Ok(None);
    };
    if text.bytes().all(may_be) {
        return Ok(Some(text.to_owned()));
    }
    let message = format!("{} holds a character that a URL must not hold", quoted(text));
    Err(item.advise(message, "percent-encode spaces and everything that is not ASCII"))
}

pub(super) fn status(code: u16, item: &Item<'_>) -> Decoded<StatusCode> {
    StatusCode::from_u16(code).map_err(|_| item.error(format!("{code} is not a status")))
}
