//! What a step requires before it is left: as it is written, and as it was checked. A kind with much to say has a file.

mod evidence;
mod webhook;

pub use evidence::{
    AbsoluteRequirement, ComparisonRequirement, EvidenceKind, EvidenceRequirement, FailureBounds, LatencyBounds,
    VerdictRequirement,
};
pub use webhook::Webhook;

use crate::duration;
use serde::{Deserialize, Serialize};
use std::fmt;

const EXACTLY_ONE: &str = "write exactly one of approval, pause, webhook, verdict, absolute and comparison";

/// One requirement as it is written: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// That live requests show the candidate to be no worse than the stable model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictRequirement>,
    /// That the candidate fails seldom enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute: Option<AbsoluteRequirement>,
    /// That the candidate answers copies as the stable model does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<ComparisonRequirement>,
}

/// That somebody promotes; it has no fields yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequirement {}

/// One requirement that was checked.
#[derive(Clone, Debug, PartialEq)]
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
    /// What gateways have counted shows it.
    Evidence(Box<EvidenceRequirement>),
}

impl Requirement {
    /// Those of them that evidence has to show.
    pub(crate) fn evidence(required: &[Self]) -> impl Iterator<Item = &EvidenceRequirement> {
        required.iter().filter_map(|one| match one {
            Self::Evidence(evidence) => Some(&**evidence),
            Self::Approval | Self::Pause { .. } | Self::Webhook(_) => None,
        })
    }
}

impl RequirementSpec {
    /// Checks it; says the field that is wrong, below the requirement, and what to write.
    pub(super) fn check(&self) -> Result<Requirement, (&'static str, String)> {
        let evidence = |checked| Requirement::Evidence(Box::new(checked));
        let mut written = [
            self.approval.map(|ApprovalRequirement {}| Ok(Requirement::Approval)),
            self.pause.as_deref().map(|pause| match duration::read(pause) {
                Ok(seconds) => Ok(Requirement::Pause { seconds }),
                Err(problem) => Err((".pause", problem)),
            }),
            self.webhook.as_ref().map(|webhook| webhook.check().map(|()| Requirement::Webhook(webhook.clone()))),
            self.verdict.as_ref().map(|verdict| verdict.check().map(evidence)),
            self.absolute.as_ref().map(|absolute| absolute.check().map(evidence)),
            self.comparison.as_ref().map(|comparison| comparison.check().map(evidence)),
        ]
        .into_iter()
        .flatten();
        match (written.next(), written.next()) {
            (Some(only), None) => only,
            _ => Err(("", EXACTLY_ONE.to_owned())),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approval => f.write_str("approval"),
            Self::Pause { seconds } => write!(f, "pause {}", duration::write(*seconds)),
            Self::Webhook(webhook) => write!(f, "webhook {}", webhook.place()),
            Self::Evidence(evidence) => evidence.kind.fmt(f),
        }
    }
}
