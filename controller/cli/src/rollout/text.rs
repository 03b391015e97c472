//! Rollouts for people: a list, and the history of one. Nothing is decided here; the status says it all, and JSON has
//! the same under its own names.

use crate::output::columns;
use turnout_rollout::{ModelRollout, Target, Weights};

/// What is not there.
pub(super) const NONE: &str = "–";

/// One line each; with their namespaces, if they are of several.
pub(super) fn list(rollouts: &[ModelRollout], everywhere: bool) -> String {
    let heading = ["NAMESPACE", "NAME", "PHASE", "STAGE", "WEIGHTS", "STABLE", "CANDIDATE"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(rollouts.iter().map(|rollout| {
        let status = &rollout.status;
        vec![
            rollout.metadata.namespace.clone(),
            rollout.metadata.name.clone(),
            status.phase.as_str().to_owned(),
            stage(status.stage),
            weights(status.weights),
            or_none(status.stable_revision.as_deref()),
            or_none(status.candidate.as_ref().map(|candidate| candidate.revision.as_str())),
        ]
    }));
    if !everywhere {
        for row in &mut rows {
            row.remove(0);
        }
    }
    columns(&rows)
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

pub(super) fn stage(stage: Option<Target>) -> String {
    stage.map_or_else(|| NONE.to_owned(), |stage| stage.to_string())
}

fn weights(weights: Option<Weights>) -> String {
    weights.map_or_else(|| "as in the documents".to_owned(), |weights| weights.to_string())
}

pub(super) fn or_none(text: Option<&str>) -> String {
    text.unwrap_or(NONE).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::view::testing::rollout;
    use serde_json::json;

    #[test]
    fn a_list_has_namespaces_only_where_there_are_several() {
        let mut rollout = rollout(&json!({}));
        rollout.status.weights = Some(Weights { green: 50, blue: 50 });
        rollout.status.stable_revision = Some("v1".to_owned());
        let check = |everywhere, expected: &str| assert_eq!(list(std::slice::from_ref(&rollout), everywhere), expected);
        check(
            false,
            "NAME   PHASE  STAGE  WEIGHTS            STABLE  CANDIDATE\n\
             model  Idle   –      green 50, blue 50  v1      –",
        );
        check(
            true,
            "NAMESPACE  NAME   PHASE  STAGE  WEIGHTS            STABLE  CANDIDATE\n\
             ns         model  Idle   –      green 50, blue 50  v1      –",
        );
    }
}
