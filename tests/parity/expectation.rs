//! What a case expects of one entry of its requests, as the case files write it.
//!
//! Fields that are there for information only (Envoy's flags and details, its own counts, its own error texts) are
//! known by name and dropped.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

/// How far a share may be from its expectation where the case does not say.
const DEFAULT_TOLERANCE: f64 = 0.06;

/// Only what is meaningful is there; everything else may be as it likes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expectation {
    // The answer that the client saw.
    pub(crate) status: Option<u16>,
    pub(crate) reset: Option<bool>,
    pub(crate) backend: Option<String>,
    pub(crate) version: Option<String>,
    #[serde(default)]
    pub(crate) response_headers: BTreeMap<String, Option<Lines>>,
    pub(crate) body: Option<Text>,
    pub(crate) body_bytes: Option<usize>,
    pub(crate) trailers: Option<Vec<String>>,
    pub(crate) interim: Option<Vec<u16>>,
    pub(crate) complete: Option<bool>,
    pub(crate) closed: Option<bool>,
    /// What came back through the tunnel.
    pub(crate) tunnel: Option<String>,
    /// The name of the server's certificate.
    pub(crate) cert: Option<String>,
    pub(crate) tls_version: Option<String>,
    /// The code with which the stream was reset, over HTTP/2; null is none.
    #[serde(default, deserialize_with = "even_null")]
    pub(crate) stream_error: Option<Nullable>,
    /// Least and most milliseconds; only the least is compared.
    pub(crate) time_ms: Option<(u64, u64)>,

    // The last attempt, as it arrived at a backend.
    pub(crate) path: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) authority: Option<String>,
    pub(crate) backend_version: Option<String>,
    #[serde(default)]
    pub(crate) request_headers: BTreeMap<String, Option<Lines>>,
    pub(crate) backend_body: Option<String>,
    pub(crate) backend_bytes: Option<usize>,
    /// The name that it was asked for with TLS, and the protocols that it was offered.
    pub(crate) backend_sni: Option<String>,
    pub(crate) backend_alpn: Option<Vec<String>>,
    /// The name of the gateway's certificate; null is none.
    #[serde(default, deserialize_with = "even_null")]
    pub(crate) backend_client_cert: Option<Nullable>,
    pub(crate) backend_tls_version: Option<String>,
    /// Of HTTP/2.
    pub(crate) backend_scheme: Option<String>,
    /// Null is none at all.
    #[serde(default, deserialize_with = "list_or_null")]
    pub(crate) backend_trailers: Option<Vec<(String, String)>>,

    // All attempts.
    pub(crate) attempts: Option<BTreeMap<String, usize>>,
    pub(crate) attempts_total: Option<usize>,
    pub(crate) backend_connections: Option<Count>,

    // Copies, at backends that receive nothing else.
    pub(crate) mirrors: Option<Vec<Mirrored>>,
    pub(crate) mirror_bytes: Option<Vec<usize>>,
    /// Of the first.
    #[serde(default)]
    pub(crate) mirror_headers: BTreeMap<String, Option<Lines>>,
    /// Of the requests of a `count`.
    pub(crate) mirror_share: Option<BTreeMap<String, f64>>,

    // All answers to a `count` of requests.
    pub(crate) statuses: Option<BTreeMap<String, usize>>,
    pub(crate) statuses_at_least: Option<BTreeMap<String, usize>>,
    pub(crate) status_shares: Option<BTreeMap<String, f64>>,
    pub(crate) shares: Option<BTreeMap<String, f64>>,
    #[serde(default = "default_tolerance")]
    pub(crate) tolerance: f64,
    pub(crate) distinct_backends: Option<usize>,
    /// The shares are Envoy's own, by how its threads and its dice are: they are not compared.
    #[serde(default)]
    pub(crate) approx: bool,

    // For information.
    #[serde(rename = "local_body")]
    _local_body: Option<IgnoredAny>,
    #[serde(rename = "observed")]
    _observed: Option<IgnoredAny>,
    #[serde(rename = "flags")]
    _flags: Option<IgnoredAny>,
    #[serde(rename = "details")]
    _details: Option<IgnoredAny>,
    #[serde(rename = "note")]
    _note: Option<IgnoredAny>,
}

impl Expectation {
    /// Whether it says what becomes of copies, which nobody's answer waits for.
    pub(crate) fn is_of_copies(&self) -> bool {
        self.mirrors.is_some() || self.mirror_bytes.is_some() || self.mirror_share.is_some()
    }
}

/// A text, or that there is none.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(transparent)]
pub(crate) struct Nullable(pub(crate) Option<String>);

fn even_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn list_or_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<T>>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
}

fn default_tolerance() -> f64 {
    DEFAULT_TOLERANCE
}

/// A copy of a request, as it arrived.
#[derive(Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mirrored {
    pub(crate) backend: String,
    pub(crate) path: String,
    pub(crate) authority: Option<String>,
    pub(crate) method: String,
}

/// What the lines of one header are to be; in a map, null stands for no line at all.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Lines {
    /// Exactly one line with this value.
    One(String),
    /// These lines in order.
    These(Vec<String>),
    /// The values, joined by commas, match this pattern from end to end.
    Pattern { re: String },
    /// Any value.
    Present { any: bool },
    /// Any value but this.
    Other { not: String },
}

/// What a text is to be.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Text {
    Exact(String),
    /// Matches from end to end.
    Pattern {
        re: String,
    },
}

/// A number, or the least and the most it may be.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Count {
    Exact(usize),
    Range(usize, usize),
}
