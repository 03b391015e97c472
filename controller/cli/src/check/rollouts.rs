//! What the controller itself says of the rollouts.

use super::report::Report;
use turnout_rollout::{ConditionStatus, ConditionType, ModelRollout, Phase};

const ROLLOUTS: &str = "rollouts";

pub(super) fn check(rollouts: &[&ModelRollout], report: &mut Report) {
    let before = report.troubles();
    for rollout in rollouts {
        if let Some((text, hint)) = trouble(rollout) {
            report.fail(ROLLOUTS, format!("{} {text}", rollout.id()), hint);
        }
    }
    if report.troubles() == before {
        report.pass(ROLLOUTS, format!("{} found, and nothing keeps the controller from driving them", rollouts.len()));
    }
}

/// What is wrong with a rollout, and what to do.
fn trouble(rollout: &ModelRollout) -> Option<(String, String)> {
    let (status, name) = (&rollout.status, &rollout.metadata.name);
    let of_controller = status.condition(ConditionType::Operational);
    if let Some(condition) = of_controller.filter(|condition| condition.status == ConditionStatus::False) {
        let text = format!("is kept back: the controller cannot do what it decides: {}", condition.message);
        return Some((text, "the message names the right or the object that is missing".to_owned()));
    }
    if status.is_empty() {
        return Some(("was never taken up by a controller".to_owned(), "see the controller's log".to_owned()));
    }
    let message = &status.message;
    match status.phase {
        Phase::Invalid => Some((
            format!("is not valid: {message}"),
            "correct its spec or its VirtualService; the weights stay as they are until then".to_owned(),
        )),
        Phase::Failed => Some((
            format!("has failed: {message}"),
            format!("turnout rollout rollback {name} goes back; turnout rollout status {name} shows all of it"),
        )),
        Phase::Stalled => Some((
            format!("takes longer than it may: {message}"),
            format!("it goes on by itself once that is mended; turnout rollout status {name} shows all of it"),
        )),
        _ => None,
    }
}
