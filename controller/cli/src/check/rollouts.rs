//! What the controller itself says of the rollouts.

use super::controller::Controller;
use super::report::Report;
use crate::client::cluster::Cluster;
use crate::suggest::Suggest;
use turnout_rollout::{ConditionStatus, ConditionType, ModelRollout, Phase};

const ROLLOUTS: &str = "rollouts";
const UNREADABLE: &str = "use a turnout of the release's version, or correct what it names";
const NOT_LOOKED_AT: &str = "the rollouts there were not looked at";

/// Adds those of these namespaces that can be read, and returns whether that is all of them.
pub(super) async fn read(
    cluster: &Cluster,
    namespaces: &[String],
    rollouts: &mut Vec<ModelRollout>,
    report: &mut Report,
) -> bool {
    let before = report.troubles();
    for namespace in namespaces {
        let there = Cluster { namespace: namespace.clone(), ..cluster.clone() };
        match there.list_rollouts(false).await {
            Ok(listed) => {
                for read in listed {
                    match read {
                        Ok(rollout) => rollouts.push(rollout),
                        Err(error) => report.fail(ROLLOUTS, format!("{error:#}"), UNREADABLE),
                    }
                }
            }
            Err(failure) if failure.is_forbidden() => report.warn(ROLLOUTS, failure.to_string(), NOT_LOOKED_AT),
            Err(failure) => report.fail(ROLLOUTS, failure.to_string(), NOT_LOOKED_AT),
        }
    }
    report.troubles() == before
}

/// What the controller says of these, which may not be all that there are.
pub(super) fn check(rollouts: &[&ModelRollout], are_all_read: bool, suggest: &Suggest, report: &mut Report) {
    let before = report.troubles();
    for rollout in rollouts {
        if let Some((text, hint)) = trouble(rollout, suggest) {
            report.fail(ROLLOUTS, format!("{} {text}", rollout.id()), hint);
        }
    }
    if are_all_read && report.troubles() == before {
        report.pass(ROLLOUTS, format!("{} found, and nothing keeps the controller from driving them", rollouts.len()));
    }
}

/// Those that none of the controllers drives. Where none was found, that is told already.
pub(super) fn check_classes(rollouts: &[ModelRollout], controllers: &[Controller], report: &mut Report) {
    let is_driven = |rollout: &&ModelRollout| controllers.iter().any(|controller| controller.governs(rollout));
    for rollout in rollouts.iter().filter(|rollout| !controllers.is_empty() && !is_driven(rollout)) {
        let text = match &rollout.spec.controller {
            Some(class) => format!("names the controller {class}, and none that was found has this class"),
            None => "names no controller, and each that was found has a class".to_owned(),
        };
        let hint = "correct its spec.controller; --gateway-namespace names the namespace of another release";
        report.warn(ROLLOUTS, format!("{} {text}", rollout.id()), hint);
    }
}

/// What is wrong with a rollout, and what to do.
fn trouble(rollout: &ModelRollout, suggest: &Suggest) -> Option<(String, String)> {
    let status = &rollout.status;
    let show = || suggest.command("rollout status", rollout);
    let of_controller = status.condition(ConditionType::Operational);
    if let Some(condition) = of_controller.filter(|condition| condition.status == ConditionStatus::False) {
        let text = format!("is kept back: the controller cannot do what it decides: {}", condition.message);
        return Some((text, "the message names the right or the object that is missing".to_owned()));
    }
    if status.is_empty() {
        let hint = "one that is new is taken up within seconds; see the controller's log".to_owned();
        return Some(("was never taken up by a controller".to_owned(), hint));
    }
    let is_false = |kind| status.condition(kind).filter(|condition| condition.status == ConditionStatus::False);
    let message = &status.message;
    match status.phase {
        Phase::Invalid => Some((
            format!("is not valid: {message}"),
            "correct its spec or its VirtualService; the weights stay as they are until then".to_owned(),
        )),
        Phase::Failed => Some((
            format!("has failed: {message}"),
            format!("{} goes back; {} shows all of it", suggest.command("rollout rollback", rollout), show()),
        )),
        Phase::Stalled => Some((
            format!("takes longer than it may: {message}"),
            format!("it goes on by itself once that is mended; {} shows all of it", show()),
        )),
        _ => {
            let of_route = is_false(ConditionType::Accepted).map(|condition| {
                let text = format!("cannot go on: {}: {}", condition.reason, condition.message);
                (text, "correct its spec or its VirtualService; the weights stay as they are until then".to_owned())
            });
            let of_backends = || {
                let condition = is_false(ConditionType::Healthy)?;
                let text = format!("gives weight to a backend that cannot take it: {}", condition.message);
                Some((text, format!("{} shows the backends", show())))
            };
            of_route.or_else(of_backends)
        }
    }
}
