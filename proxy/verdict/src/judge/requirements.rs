//! What a stage asks for.

use serde::{Deserialize, Serialize};

/// All of a rollout's stages roll back by the same weights; what is asked for in order to go on may differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Requirements {
    /// At most this part of the rollouts without a difference is rolled back, and of those that should fail a gate passes it.
    pub alpha: f64,
    /// No gate is passed before the candidate has had so many requests, or pairs.
    pub minimum: u64,
    /// It may not fail more often than stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<FailureRequirement>,
    /// It may not be slower than stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyRequirement>,
    /// It may not fail more often than a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute: Option<AbsoluteRequirement>,
    /// It may not answer otherwise than stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<ComparisonRequirement>,
}

/// Rolled back when it is shown to fail more often than stable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct FailureRequirement {
    /// Rolled back when it is shown to fail more than so many times as often as stable.
    pub ratio: f64,
    /// Passed when it is shown to fail less than so many times as often as stable,
    pub margin: f64,
    /// or, 0 to 1, less often than this: where nothing fails, nothing can be told by failures.
    pub negligible: f64,
    /// Of the evidence that rolls back, in proportion to the other weights.
    pub weight: f64,
    /// The part of `weight` that looks at shares above 95 %, at which there is next to nothing to compare with: it takes the
    /// rate of failures for one that does not change, and asks whether it is above stable's before.
    pub blind: f64,
}

/// Rolled back when it is shown to be slower than stable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct LatencyRequirement {
    /// Passed when it is shown to be slow less than so many times as often as stable, at every boundary.
    pub margin: f64,
    /// Of the evidence that rolls back, in proportion to the other weights.
    pub weight: f64,
}

/// Passed when it is shown to fail less often, rolled back when it is shown to fail more often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AbsoluteRequirement {
    /// Failures of the candidate's requests, 0 to 1; copies count, too.
    pub at_most: f64,
    /// Of the evidence that rolls back, in proportion to the other weights.
    pub weight: f64,
}

/// Each of them is passed when it is shown to hold, and rolled back when it is shown not to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ComparisonRequirement {
    /// Of each field, the part of the pairs, 0 to 1, that has to agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Rolled back when a field is shown to differ more often than stable's own second answer; passed when it is shown to
    /// differ less than so many times as often. A model that was trained again differs and is no worse for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excess: Option<f64>,
    /// The most, 0 to 1, by which numbers may differ on average, in units of the field's scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<f64>,
    /// The part of the pairs, 0 to 1, whose shape may differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<f64>,
    /// Of the evidence that rolls back, in proportion to the other weights; each gate of the comparison has the same part.
    pub weight: f64,
}

impl Requirements {
    /// What is asked for where nobody says what: failures, latency, and the shape and the mean of answers.
    pub fn standard() -> Self {
        Self {
            failures: Some(FailureRequirement::default()),
            latency: Some(LatencyRequirement::default()),
            comparison: Some(ComparisonRequirement::default()),
            ..Self::default()
        }
    }
}

/// Nothing is asked for: nothing is shown by it.
impl Default for Requirements {
    fn default() -> Self {
        Self { alpha: 0.05, minimum: 100, failures: None, latency: None, absolute: None, comparison: None }
    }
}

impl Default for FailureRequirement {
    fn default() -> Self {
        Self { ratio: 1.0, margin: 2.0, negligible: 0.01, weight: 0.6, blind: 0.1 }
    }
}

impl Default for LatencyRequirement {
    fn default() -> Self {
        Self { margin: 2.0, weight: 0.2 }
    }
}

impl Default for AbsoluteRequirement {
    fn default() -> Self {
        Self { at_most: 0.01, weight: 0.2 }
    }
}

impl Default for ComparisonRequirement {
    fn default() -> Self {
        Self { agreement: None, excess: None, bias: Some(0.1), schema: Some(0.01), weight: 0.2 }
    }
}
