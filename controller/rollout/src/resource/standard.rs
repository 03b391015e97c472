//! `spec.verdicts: Standard`: the steps of a rollout that evidence alone leads to its end, or back.

use super::{ComparisonRequirement, RequirementSpec, ShadowSpec, Step, VerdictRequirement};
use crate::stage::Stage;

/// Of the requests, by which the answers are compared before anybody sees one of the candidate's.
const SHADOW_PERCENT: f64 = 10.0;

/// Copies first; then every stage is judged. Before the candidate answers everything a tenth is held back: without any of
/// stable's requests there is nothing to compare with.
pub(super) fn steps() -> Vec<Step> {
    let verdict = || RequirementSpec { verdict: Some(VerdictRequirement::default()), ..RequirementSpec::default() };
    let comparison =
        RequirementSpec { comparison: Some(ComparisonRequirement::default()), ..RequirementSpec::default() };
    let shadow = ShadowSpec {
        percent: SHADOW_PERCENT,
        noise: None,
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        max_body_bytes: None,
        max_in_flight: None,
        timeout: None,
        compare: Vec::new(),
        keep_worst: None,
        redact: Vec::new(),
        drop_headers: Vec::new(),
    };
    let step = |stage| Step { stage, require: Some(vec![verdict()]), shadow: None };
    let first = Step { stage: Stage::BLUE_0, require: Some(vec![comparison, verdict()]), shadow: Some(shadow) };
    let others = [Stage::BLUE_50, Stage::BLUE_90, Stage::BLUE_100, Stage::BlueGreen].map(step);
    [first].into_iter().chain(others).collect()
}
