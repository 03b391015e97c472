//! What stands behind green and blue of each rollout: the Service, the subset, the pods, what keeps them from being ready,
//! and the label that says what they serve.

use super::report::Report;
use crate::client::cluster::backends::Behind;
use crate::client::cluster::{Cluster, Failure, pods};
use crate::client::standing::waits_for_pods;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use turnout_controller::names::REVISION;
use turnout_rollout::{Backend, Mode, ModelRollout, Phase};
use turnout_routes::documents::Document;

const BACKENDS: &str = "backends";
/// Backends that are looked at side by side.
const AT_ONCE: usize = 8;

/// How much a rollout needs a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It has weight, or is to get it next.
    Now,
    /// It would, for the next rollout.
    Later,
    /// It has done its work, and may be gone.
    NoMore,
}

/// `documents` are what is published; they say what a subset is.
pub(super) async fn check(cluster: &Cluster, rollouts: &[&ModelRollout], documents: &[Document], report: &mut Report) {
    let can_be_told = |rollout: &&&ModelRollout| rollout.spec.mode == Mode::Istio || !documents.is_empty();
    let looked = rollouts.iter().filter(can_be_told).map(async |rollout| {
        let [green, blue] = Backend::BOTH.map(|backend| cluster.behind(rollout, backend, documents));
        Ok::<_, Failure>((*rollout, [green.await?, blue.await?]))
    });
    let seen: Vec<_> = stream::iter(looked).buffered(AT_ONCE).collect().await;
    let before = report.troubles();
    for one in &seen {
        match one {
            Ok((rollout, behind)) => judge(rollout, behind, report),
            Err(failure) => {
                report.warn(BACKENDS, failure.to_string(), "what stands behind the rollouts was not looked at");
                return;
            }
        }
    }
    if report.troubles() == before && !seen.is_empty() {
        report.pass(BACKENDS, format!("{} rollouts have the Services and pods that they need", seen.len()));
    }
}

fn judge(rollout: &ModelRollout, behind: &[Behind; 2], report: &mut Report) {
    for (backend, behind) in Backend::BOTH.into_iter().zip(behind) {
        judge_backend(rollout, backend, behind, report);
    }
    if let [green, Behind::Pods { pods: blue, .. }] = behind {
        let is_labelled = |pod: &Pod| pod.labels().contains_key(REVISION);
        let green = if let Behind::Pods { pods, .. } = green { pods.as_slice() } else { &[] };
        judge_labels(rollout, green.iter().find(|pod| !is_labelled(pod)), !green.is_empty(), blue, report);
    }
}

fn judge_backend(rollout: &ModelRollout, backend: Backend, behind: &Behind, report: &mut Report) {
    let need = need(rollout, backend);
    let title = format!("{backend} of {}", rollout.id());
    match behind {
        Behind::Unknown => {}
        Behind::NoService(_) if need == Need::NoMore => {}
        Behind::NoService(service) => {
            let text = format!("{title}: there is no Service {service}, which spec.{backend}.host names");
            let hint = format!("create it, or correct spec.{backend}.host and the destination in the VirtualService");
            tell(need, text, hint, report);
        }
        Behind::NoSubset { host, subset } => {
            let text = format!("{title}: no DestinationRule for {host} has the subset {subset}");
            tell(need, text, format!("add it to spec.subsets of a DestinationRule for {host}"), report);
        }
        Behind::Pods { service, selector, pods } if pods.is_empty() => {
            let text = format!("{title}: no pod in {} has the labels {selector}", service.namespace);
            let subset =
                rollout.spec.backend(backend).subset.as_ref().map(|subset| format!(" and the subset {subset}"));
            let subset = subset.unwrap_or_default();
            let hint = format!("deploy the model, or correct what the Service {service}{subset} select by");
            if need == Need::Now {
                report.fail(BACKENDS, text, hint);
            }
        }
        Behind::Pods { pods, .. } => {
            let Some((pod, trouble)) = pods.iter().find_map(|pod| Some((pod, pods::trouble(pod)?))) else { return };
            let ready = pods.iter().filter(|pod| pods::is_ready(pod)).count();
            let text = format!("{title}: {ready} of {} pods are ready; {trouble}", pods.len());
            let need = if ready == 0 { need } else { Need::Later };
            tell(need, text, pods::advice(pod, &trouble), report);
        }
    }
}

fn tell(need: Need, text: String, hint: String, report: &mut Report) {
    match need {
        Need::Now => report.fail(BACKENDS, text, hint),
        Need::Later | Need::NoMore => report.warn(BACKENDS, text, hint),
    }
}

/// Pods without the label are told by their images, but never beside others that have it.
fn judge_labels(rollout: &ModelRollout, bare: Option<&Pod>, is_there: bool, blue: &[Pod], report: &mut Report) {
    let id = rollout.id();
    let hint = format!(
        "add it to spec.template.metadata.labels of their Deployment: turnout init {} prints the command",
        rollout.spec.route.virtual_service
    );
    if let Some(pod) = bare {
        let text = format!(
            "green of {id}: pod {} has no label {REVISION}: what it serves is told by its image alone",
            pod.name_any()
        );
        report.warn(BACKENDS, text, hint.clone());
    }
    let Some(revision) = coming(rollout) else { return };
    let title = format!("blue of {id}: pod");
    if let Some(pod) = blue.iter().find(|pod| !pod.labels().contains_key(REVISION)) {
        let text = format!("{title} {} has no label {REVISION}", pod.name_any());
        if is_there && bare.is_none() {
            let text = format!("{text}, and green's have it: it is not taken for {revision}");
            report.fail(BACKENDS, text, hint);
        } else {
            report.warn(BACKENDS, format!("{text}: what it serves is told by its image alone"), hint);
        }
    } else if let Some(pod) = blue.iter().find(|pod| pod.labels()[REVISION] != *revision) {
        let (name, serves) = (pod.name_any(), &pod.labels()[REVISION]);
        let text = format!("{title} {name} has the label {REVISION}={serves}, and {revision} is to be rolled out");
        report.warn(BACKENDS, text, format!("deploy {revision} as blue, or start a rollout of {serves}"));
    }
}

/// The revision that blue is to serve.
fn coming(rollout: &ModelRollout) -> Option<&String> {
    let status = &rollout.status;
    let is_new = |revision: &&String| status.stable_revision.as_ref() != Some(*revision);
    rollout.wanted_revision().filter(is_new).filter(|_| status.rollback.is_none())
}

fn need(rollout: &ModelRollout, backend: Backend) -> Need {
    let status = &rollout.status;
    let weight = status.weights.map_or(u32::from(backend == Backend::Green), |weights| weights.of(backend));
    if weight > 0 || waits_for_pods(rollout) || (backend == Backend::Blue && coming(rollout).is_some()) {
        return Need::Now;
    }
    let is_over = matches!(status.phase, Phase::Complete | Phase::RolledBack);
    if is_over || status.in_progress() || status.safe_to_remove.contains(&backend) {
        return Need::NoMore;
    }
    Need::Later
}
