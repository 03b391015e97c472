//! Rollouts for people: a list, everything of one, and its history. Nothing is decided here; the status says it all,
//! and JSON has the same under its own names.

use crate::output::columns;
use turnout_rollout::{ConditionStatus, ModelRollout, Target, Weights};

const NONE: &str = "–";

/// One line each.
pub(super) fn list(rollouts: &[ModelRollout]) -> String {
    let mut rows = vec![["NAME", "PHASE", "STAGE", "WEIGHTS", "STABLE", "CANDIDATE"].map(str::to_owned).to_vec()];
    rows.extend(rollouts.iter().map(|rollout| {
        let status = &rollout.status;
        vec![
            rollout.metadata.name.clone(),
            format!("{:?}", status.phase),
            stage(status.stage),
            weights(status.weights),
            or_none(status.stable_revision.as_deref()),
            or_none(status.candidate.as_ref().map(|candidate| candidate.revision.as_str())),
        ]
    }));
    columns(&rows)
}

/// Everything that is worth knowing of one.
pub(super) fn status(rollout: &ModelRollout) -> String {
    let (spec, status) = (&rollout.spec, &rollout.status);
    let target = spec.target.map_or_else(|| "Green_100 (the end)".to_owned(), |target| target.to_string());
    let since = status.stage_since.map(|since| format!(" since {since}")).unwrap_or_default();
    let is_taken_up = rollout.metadata.generation.is_none_or(|wanted| status.observed_generation >= Some(wanted));
    let taken_up = if is_taken_up { "" } else { " (the newest change is not taken up yet)" };
    let moving = status.moving_to.map(|to| format!(", going to {to}")).unwrap_or_default();
    let mut rows = vec![
        ("rollout", rollout.id()),
        ("phase", format!("{:?}", status.phase)),
        ("message", format!("{}{taken_up}", status.message)),
        ("stage", format!("{}{since}{moving}", stage(status.stage))),
        ("target", target),
        ("weights", weights(status.weights)),
        ("stable", or_none(status.stable_revision.as_deref())),
        ("candidate", or_none(status.candidate.as_ref().map(|candidate| candidate.revision.as_str()))),
        ("previous", or_none(status.previous_revision.as_deref())),
    ];
    if !status.safe_to_remove.is_empty() {
        let backends: Vec<String> = status.safe_to_remove.iter().map(ToString::to_string).collect();
        rows.push(("safe to remove", backends.join(", ")));
    }
    for condition in &status.conditions {
        let mark = match condition.status {
            ConditionStatus::True => "yes",
            ConditionStatus::False => "no",
            ConditionStatus::Unknown => "unknown",
        };
        rows.push(("condition", format!("{:?}: {mark}, {}: {}", condition.kind, condition.reason, condition.message)));
    }
    columns(&rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect::<Vec<_>>())
}

/// What was reached when.
pub(super) fn history(rollout: &ModelRollout) -> String {
    let mut rows = vec![["AT", "REACHED", "REVISION", "CONFIRMED BY", "WHY"].map(str::to_owned).to_vec()];
    rows.extend(rollout.status.history.iter().map(|transition| {
        vec![
            transition.at.to_string(),
            transition.to.to_string(),
            or_none(transition.revision.as_deref()),
            transition.confirmed_by.join(", "),
            transition.reason.clone(),
        ]
    }));
    columns(&rows)
}

fn stage(stage: Option<Target>) -> String {
    stage.map_or_else(|| NONE.to_owned(), |stage| stage.to_string())
}

fn weights(weights: Option<Weights>) -> String {
    weights.map_or_else(|| "as in the documents".to_owned(), |weights| weights.to_string())
}

fn or_none(text: Option<&str>) -> String {
    text.unwrap_or(NONE).to_owned()
}
