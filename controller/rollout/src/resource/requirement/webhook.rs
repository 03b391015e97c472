//! `webhook`: a server of the user's is asked.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use turnout_routes::{Source, revision};

/// So much of a digest is written down.
pub(super) const DIGEST_LENGTH: usize = 16;

/// A server that is asked by a POST with the rollout's state as JSON: 202 says to wait, any other 2xx allows it, any 4xx but
/// 408, 425 and 429 refuses it; on everything else it is asked again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Where it listens, as `https://pipelines.example.com/allow`.
    pub url: String,
    /// How long an answer may take, in seconds.
    #[serde(default = "default_seconds")]
    pub timeout_seconds: u32,
    /// How long after an answer that does not decide it the next one is asked for, in seconds.
    #[serde(default = "default_seconds")]
    pub interval_seconds: u32,
    /// The certificates in PEM of the authority that signs the server's; the public authorities' if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    /// Sent along as `metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

fn default_seconds() -> u32 {
    10
}

impl Webhook {
    /// The URL without its query, which may hold a secret.
    pub fn place(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }

    /// Tells one from another that is asked differently. It stands in statuses, so it is the same in every version.
    pub(crate) fn digest(&self) -> String {
        let asked = json!([self.url, self.ca_bundle, self.metadata]).to_string();
        revision(&[Source { name: "webhook", bytes: asked.as_bytes() }]).chars().take(DIGEST_LENGTH).collect()
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if !is_usable(&self.url) {
            let message = format!("`{}` cannot be used: write https://HOST/PATH, without a user", self.place());
            return Err((".webhook.url", message));
        }
        match (self.timeout_seconds, self.interval_seconds) {
            (0, _) => Err((".webhook.timeoutSeconds", "must be at least 1".to_owned())),
            (_, 0) => Err((".webhook.intervalSeconds", "must be at least 1".to_owned())),
            _ => Ok(()),
        }
    }
}

/// With a scheme that is known, a host and, if any, a port; who asks it reads it in full.
fn is_usable(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let is_address = authority.starts_with('[');
    let end = if is_address { authority.find(']').map(|end| end + 1) } else { authority.find(':') };
    let (host, port) = authority.split_at(end.unwrap_or(authority.len()));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(is_plain),
    };
    let is_port = |port: &str| port.parse::<NonZeroU16>().is_ok() && !port.starts_with('+');
    is_host
        && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        && !url.contains(|c: char| c.is_whitespace() || c.is_control())
}
