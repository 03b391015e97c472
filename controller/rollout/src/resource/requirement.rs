//! What a step requires before it is left: as it is written, and as it was checked.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// More than this is taken for a typing error.
const LONGEST_PAUSE_SECONDS: u64 = 365 * 86_400;

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

/// A server that is asked by a POST with the rollout's state as JSON: 200 allows it, 202 says to wait, any other 4xx but
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

    /// Tells one from another that is asked differently. Not for longer than it is asked.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.url, &self.ca_bundle, self.metadata.clone().map(|it| Value::Object(it).to_string())).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
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
            Self { approval: None, pause: Some(pause), webhook: None } => match seconds_of(pause) {
                Some(seconds) if seconds <= LONGEST_PAUSE_SECONDS => Ok(Requirement::Pause { seconds }),
                Some(_) => Err((".pause", format!("`{pause}` is longer than a year"))),
                None => Err((".pause", format!("`{pause}` is no duration: write 90s, 10m or 1h30m"))),
            },
            _ => Err(("", "write exactly one of approval, pause and webhook".to_owned())),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approval => f.write_str("approval"),
            Self::Pause { seconds } => write!(f, "pause {}", duration(*seconds)),
            Self::Webhook(webhook) => write!(f, "webhook {}", webhook.place()),
        }
    }
}

/// With a scheme that is known and a host; who asks it reads it in full.
fn is_usable(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_graphic() && c != '@';
    !authority.is_empty()
        && authority.chars().all(is_plain)
        && !url.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Hours, minutes and seconds, in this order, each at most once.
fn seconds_of(text: &str) -> Option<u64> {
    let (mut seconds, mut rest, mut units) = (0_u64, text, [('h', 3600), ('m', 60), ('s', 1)].as_slice());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = (&rest[..digits], rest[digits..].chars().next()?);
        let position = units.iter().position(|(name, _)| *name == unit)?;
        let counted = number.parse::<u64>().ok()?.checked_mul(units[position].1)?;
        seconds = seconds.checked_add(counted)?;
        (units, rest) = (&units[position + 1..], &rest[digits + 1..]);
    }
    (!text.is_empty()).then_some(seconds)
}

/// As [`RequirementSpec::pause`] has it.
pub(crate) fn duration(seconds: u64) -> String {
    let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let mut text = String::new();
    for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&count.to_string());
        text.push(unit);
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_and_written() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5_400), ("2h5s", 7_205), ("0s", 0), ("0h1m", 60)] {
            assert_eq!(seconds_of(text), Some(seconds), "{text}");
        }
        for (seconds, text) in [(0, "0s"), (59, "59s"), (90, "1m30s"), (3_600, "1h"), (7_205, "2h5s")] {
            assert_eq!((duration(seconds).as_str(), seconds_of(text)), (text, Some(seconds)));
        }
        let wrong = [
            "",
            "10",
            "m",
            "10 m",
            "1.5h",
            "-1s",
            "+1s",
            "10m1h",
            "1m2m",
            "10M",
            "1d",
            "10mü",
            "99999999999999999999s",
        ];
        for text in wrong {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }
}
