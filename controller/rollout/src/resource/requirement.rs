//! What a step requires before it is left: as it is written, and as it was checked. A kind with much to say has a file.

mod webhook;

pub use webhook::Webhook;

use crate::duration;
use serde::{Deserialize, Serialize};
use std::fmt;

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
