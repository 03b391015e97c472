//! `spec.steps[].shadow`: copies of green's requests that blue answers as well. It becomes the `shadow` of the SplitPolicy
//! that is published, and is checked by what reads that.

use super::FieldError;
use serde::{Deserialize, Serialize};
use serde_json::json;
use turnout_routes::documents::{Document, Shadow};
use turnout_routes::{Severity, Source, parse};

/// Copies of green's requests go to blue as well, and the two answers are compared. Nobody sees the second one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShadowSpec {
    /// Of how many per cent of the rule's requests that may be asked twice.
    pub percent: f64,
    /// For how many per cent of those green is asked a second time, too, since a model may differ from itself; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<f64>,
    /// For which methods asking twice is harmless, as `POST`.
    pub methods: Vec<String>,
    /// Requests and answers that are larger are left out; 1 MiB if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// At a time and in one gateway; what comes beyond is left out; 64 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// How long blue's answer may take, as `5s`, which it is if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// How values are compared that may differ. Without a rule numbers agree within 1e-6, or 1e-4 of green's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compare: Vec<CompareSpec>,
    /// How many of the pairs that differ most each gateway keeps in memory, for its admin port; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_worst: Option<u32>,
    /// JSON pointers to what is never kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<String>,
    /// Headers that copies do not have, as `authorization`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_headers: Vec<String>,
}

/// How values of the answers are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompareSpec {
    /// A JSON pointer, in which `*` stands for each element: `/scores/*`.
    pub path: String,
    /// What they are.
    pub kind: CompareAs,
    /// Numbers that differ by no more agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abs: Option<f64>,
    /// The same as a part of green's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rel: Option<f64>,
}

/// What values are compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum CompareAs {
    /// Numbers agree within a tolerance.
    Number,
    /// It agrees where it is the same.
    Class,
    /// A list whose order does not count.
    Set,
    /// It may differ.
    Ignore,
}

impl ShadowSpec {
    /// As a SplitPolicy has it; or each field that is wrong, below the step.
    pub(super) fn check(&self) -> Result<Shadow, Vec<FieldError>> {
        let policy = json!({
            "apiVersion": "turnout.dev/v1alpha1", "kind": "SplitPolicy", "metadata": {"name": "step"},
            "spec": {"route": {"virtualService": "any"}, "candidate": {"host": "blue"}, "shadow": self},
        })
        .to_string();
        let parsed = parse(&[Source { name: "shadow", bytes: policy.as_bytes() }]).map_err(|problems| {
            let errors = problems.as_slice().iter().filter(|problem| problem.severity == Severity::Error);
            errors.map(FieldError::below_a_step).collect::<Vec<_>>()
        })?;
        let shadow = parsed.documents.into_iter().find_map(|document| match document {
            Document::SplitPolicy(policy) => policy.shadow.map(|shadow| *shadow),
            _ => None,
        });
        shadow.ok_or_else(Vec::new)
    }
}

impl FieldError {
    fn below_a_step(problem: &turnout_routes::Problem) -> Self {
        let advice = problem.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
        let path = problem.path.strip_prefix("spec").unwrap_or(&problem.path).to_owned();
        Self { path, message: format!("{}{advice}", problem.message) }
    }
}
