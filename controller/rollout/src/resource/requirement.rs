//! What a step requires before it is left: as it is written, and as it was checked.

use crate::duration;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use turnout_routes::{Source, revision};

/// So much of a digest is written down.
const DIGEST_LENGTH: usize = 16;

/// One requirement as it is written: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequirementSpec {
    /// That somebody promotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRequirement>,
    /// That so much time has passed since the stage was reached, as `90s`, `10m` or `1h30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
    /// That a server of yours allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// That somebody promotes; it has no fields yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequirement {}

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

/// One requirement that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Somebody promotes.
    Approval,
    /// So many seconds have passed since the stage was reached.
    Pause {
        /// How many.
        seconds: u64,
    },
    /// A server allows it.
    Webhook(Webhook),
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

    fn check(&self) -> Result<(), (&'static str, String)> {
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

impl RequirementSpec {
    /// Checks it; says the field that is wrong, below the requirement, and what to write.
    pub(super) fn check(&self) -> Result<Requirement, (&'static str, String)> {
        match self {
            Self { approval: Some(_), pause: None, webhook: None } => Ok(Requirement::Approval),
            Self { approval: None, pause: None, webhook: Some(webhook) } => {
                webhook.check().map(|()| Requirement::Webhook(webhook.clone()))
            }
            Self { approval: None, pause: Some(pause), webhook: None } => match duration::read(pause) {
                Ok(seconds) => Ok(Requirement::Pause { seconds }),
                Err(problem) => Err((".pause", problem)),
            },
            _ => Err(("", "write exactly one of approval, pause and webhook".to_owned())),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approval => f.write_str("approval"),
            Self::Pause { seconds } => write!(f, "pause {}", duration::write(*seconds)),
            Self::Webhook(webhook) => write!(f, "webhook {}", webhook.place()),
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
