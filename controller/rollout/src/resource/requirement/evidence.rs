//! `verdict`, `absolute` and `comparison`: that what gateways have counted of both models shows something. What is not
//! written has the defaults of `turnout_verdict::judge`.

use super::webhook::DIGEST_LENGTH;
use crate::duration;
use crate::stage::Stage;
use crate::weights::Weights;
use serde::{Deserialize, Serialize};
use std::fmt;
use turnout_routes::{Source, revision};
use turnout_verdict::judge::{self, Requirements, Subject};

/// After so long somebody hears that it is not decided.
const DEADLINE_SECONDS: u64 = 3600;
/// Of what happens how many times as often.
const LARGEST_RATIO: f64 = 100.0;

/// That the candidate is shown to be no worse than the stable model, in what both are asked. It fails when the candidate is
/// shown to be worse.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerdictRequirement {
    /// Of requests that fail. Where neither this nor `latency` is written, both are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<FailureBounds>,
    /// Of requests that are slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyBounds>,
    /// The part of the rollouts without a difference, over all of their stages, that may be held or rolled back; and of those
    /// that should not go on, that may; 0.05 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Not before the candidate has had so many requests; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_requests: Option<u64>,
    /// So long after the stage was reached somebody hears that it is not decided, as `90s`, `10m` or `1h30m`; 1h if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

/// Bounds of requests that fail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureBounds {
    /// Less than so many times as often as stable's; 2 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Or less often than this part of its requests, whatever stable's do; 0.01 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negligible: Option<f64>,
}

/// Bounds of requests that are slow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LatencyBounds {
    /// Less than so many times as often slower than what half, 90, 95 and 99 per cent of stable's took; 2 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
}

/// That the candidate is shown to fail seldom enough, whatever stable does. It fails when it is shown to fail more often.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AbsoluteRequirement {
    /// The part of the candidate's requests, copies included, that may fail; 0.01 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failure_rate: Option<f64>,
    /// Not before the candidate has had so many requests; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_requests: Option<u64>,
    /// So long after the stage was reached somebody hears that it is not decided, as `90s`, `10m` or `1h30m`; 1h if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

/// That the candidate's answers to copies are shown to be like stable's. It fails when they are shown not to be. Of the
/// four bounds those count that are written; where none is, `maximumBias` and `schemaChanges` do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ComparisonRequirement {
    /// The part of the pairs in which each field has to agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_agreement: Option<f64>,
    /// Each field differs less than so many times as often as in stable's own second answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_excess: Option<f64>,
    /// By how much each number may differ on average, as a part of its scale; 0.1 if none is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_bias: Option<f64>,
    /// The part of the pairs in which the answers' shapes may differ; 0.01 if none is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_changes: Option<f64>,
    /// Not before there are so many pairs; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_pairs: Option<u64>,
    /// So long after the stage was reached somebody hears that it is not decided, as `90s`, `10m` or `1h30m`; 1h if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceKind {
    /// Beside the stable model, by failures and latency.
    Verdict,
    /// By failures alone.
    Absolute,
    /// By pairs of answers.
    Comparison,
}

/// What evidence has to show; checked.
#[derive(Clone, Debug, PartialEq)]
pub struct EvidenceRequirement {
    /// Which of the three.
    pub kind: EvidenceKind,
    /// What is asked of the judge; nothing of the other kinds.
    pub wanted: Requirements,
    /// After so many seconds at the stage somebody hears that it is not decided.
    pub deadline_seconds: u64,
    /// Tells one from another that asks for something else. It stands in statuses.
    pub(crate) digest: String,
}

type Wrong = (&'static str, String);

impl VerdictRequirement {
    pub(super) fn check(&self) -> Result<EvidenceRequirement, Wrong> {
        let mut wanted =
            bounded(self.alpha, (".verdict.alpha", 0.5), self.minimum_requests, ".verdict.minimumRequests")?;
        let judges_both = self.failures.is_none() && self.latency.is_none();
        if let Some(bounds) = self.failures.clone().or_else(|| judges_both.then(FailureBounds::default)) {
            let mut failures = judge::FailureRequirement::default();
            set(&mut failures.margin, bounds.margin, ".verdict.failures.margin", 1.0, LARGEST_RATIO)?;
            set(&mut failures.negligible, bounds.negligible, ".verdict.failures.negligible", 0.0, 1.0)?;
            wanted.failures = Some(failures);
        }
        if let Some(bounds) = self.latency.clone().or_else(|| judges_both.then(LatencyBounds::default)) {
            let mut latency = judge::LatencyRequirement::default();
            set(&mut latency.margin, bounds.margin, ".verdict.latency.margin", 1.0, LARGEST_RATIO)?;
            wanted.latency = Some(latency);
        }
        let deadline_seconds = deadline(self.deadline.as_deref(), ".verdict.deadline")?;
        Ok(EvidenceRequirement { kind: EvidenceKind::Verdict, digest: digest(&wanted), wanted, deadline_seconds })
    }
}

impl AbsoluteRequirement {
    pub(super) fn check(&self) -> Result<EvidenceRequirement, Wrong> {
        let mut wanted = bounded(None, ("", 1.0), self.minimum_requests, ".absolute.minimumRequests")?;
        let mut absolute = judge::AbsoluteRequirement::default();
        set(&mut absolute.at_most, self.max_failure_rate, ".absolute.maxFailureRate", 0.0, 1.0)?;
        wanted.absolute = Some(absolute);
        let deadline_seconds = deadline(self.deadline.as_deref(), ".absolute.deadline")?;
        Ok(EvidenceRequirement { kind: EvidenceKind::Absolute, digest: digest(&wanted), wanted, deadline_seconds })
    }
}

impl ComparisonRequirement {
    pub(super) fn check(&self) -> Result<EvidenceRequirement, Wrong> {
        let mut wanted = bounded(None, ("", 1.0), self.minimum_pairs, ".comparison.minimumPairs")?;
        let mut comparison = judge::ComparisonRequirement::default();
        let written = [self.minimum_agreement, self.maximum_excess, self.maximum_bias, self.schema_changes];
        if written.iter().any(Option::is_some) {
            let own = [
                (".comparison.minimumAgreement", 0.0, 1.0),
                (".comparison.maximumExcess", 1.0, LARGEST_RATIO),
                (".comparison.maximumBias", 0.0, 1.0),
                (".comparison.schemaChanges", 0.0, 1.0),
            ];
            for (value, (path, above, below)) in written.into_iter().zip(own) {
                set(&mut 0.0, value, path, above, below)?;
            }
            [comparison.agreement, comparison.excess, comparison.bias, comparison.schema] = written;
        }
        wanted.comparison = Some(comparison);
        let deadline_seconds = deadline(self.deadline.as_deref(), ".comparison.deadline")?;
        Ok(EvidenceRequirement { kind: EvidenceKind::Comparison, digest: digest(&wanted), wanted, deadline_seconds })
    }
}

impl EvidenceRequirement {
    /// By copies alone. They come when it suits the gateway, so how long they take says nothing; and what they show of
    /// failures stands for no requests.
    pub(crate) fn of_copies(mut self) -> Self {
        self.wanted.latency = None;
        self.digest = digest(&("copies", &self.wanted));
        self
    }
}

impl EvidenceKind {
    /// All three.
    pub(crate) const ALL: [Self; 3] = [Self::Verdict, Self::Absolute, Self::Comparison];

    /// Its field, below the requirement.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Verdict => ".verdict",
            Self::Absolute => ".absolute",
            Self::Comparison => ".comparison",
        }
    }

    /// Whether anything comes at the stage that could show it.
    pub(crate) fn is_fed(self, stage: Stage, is_shadowed: bool) -> bool {
        let Weights { green, blue } = stage.weights();
        match self {
            Self::Verdict => green > 0 && (blue > 0 || is_shadowed),
            Self::Absolute => blue > 0 || is_shadowed,
            Self::Comparison => is_shadowed,
        }
    }

    /// Whether the judge's finding about this is of this kind.
    pub(crate) fn is_about(self, subject: &Subject) -> bool {
        let kind = match subject {
            Subject::Failures { .. } | Subject::Latency { .. } => Self::Verdict,
            Subject::Absolute => Self::Absolute,
            Subject::Agreement { .. } | Subject::Excess { .. } | Subject::Bias { .. } | Subject::Schema => {
                Self::Comparison
            }
        };
        kind == self
    }
}

impl fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path()[1..])
    }
}

/// Alpha, and how much is seen at least.
fn bounded(
    alpha: Option<f64>,
    (alpha_path, below): (&'static str, f64),
    minimum: Option<u64>,
    minimum_path: &'static str,
) -> Result<Requirements, Wrong> {
    let mut wanted = Requirements::default();
    set(&mut wanted.alpha, alpha, alpha_path, 0.0, below)?;
    wanted.minimum = minimum.unwrap_or(wanted.minimum);
    if wanted.minimum == 0 { Err((minimum_path, "must be at least 1".to_owned())) } else { Ok(wanted) }
}

fn set(field: &mut f64, written: Option<f64>, path: &'static str, above: f64, below: f64) -> Result<(), Wrong> {
    let Some(value) = written else { return Ok(()) };
    if value > above && value < below {
        *field = value;
        return Ok(());
    }
    Err((path, format!("{value} is not between {above} and {below}")))
}

fn deadline(written: Option<&str>, path: &'static str) -> Result<u64, Wrong> {
    written.map_or(Ok(DEADLINE_SECONDS), |text| duration::read(text).map_err(|problem| (path, problem)))
}

/// Of nothing but what is wanted: what was shown is asked for again where it is written otherwise, or to be later.
fn digest(wanted: &impl Serialize) -> String {
    let text = serde_json::to_string(wanted).unwrap_or_default();
    revision(&[Source { name: "evidence", bytes: text.as_bytes() }]).chars().take(DIGEST_LENGTH).collect()
}
