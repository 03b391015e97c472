//! What stands behind green and blue of each rollout: the Service, the subset, the pods, what keeps them from being ready,
//! and the label that says what they serve. And behind the destinations of what is published that no rollout has.

use super::report::Report;
use crate::client::cluster::backends::Behind;
use crate::client::cluster::gateways::Seen;
use crate::client::cluster::{Cluster, Failure, pods};
use crate::client::standing::waits_for_pods;
use crate::suggest::Suggest;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use turnout_controller::names::REVISION;
use turnout_rollout::{
    Backend, Mode, ModelRollout, NamedDestination, Phase, destinations_named, full_host, subset_labels,
};

const BACKENDS: &str = "backends";
/// Backends that are looked at side by side.
const AT_ONCE: usize = 8;

/// How much a backend is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It has weight, or is to get it next.
    Now,
    /// It would, for the next rollout, or for a request that picks it by a header.
    Later,
    /// It has done its work, and may be gone.
    NoMore,
}

/// What is published is `seen`, and says what a subset is.
pub(super) async fn check(
    cluster: &Cluster,
    (rollouts, seen): (&[&ModelRollout], &Seen),
    suggest: &Suggest,
    report: &mut Report,
) {
    let can_be_told = |rollout: &&&ModelRollout| rollout.spec.mode == Mode::Istio || !seen.documents.is_empty();
    let looked = rollouts.iter().filter(can_be_told).map(async |rollout| {
        let [green, blue] = Backend::BOTH.map(|backend| cluster.behind(rollout, backend, seen));
        Ok::<_, Failure>((*rollout, [green.await?, blue.await?]))
    });
    let found: Vec<_> = stream::iter(looked).buffered(AT_ONCE).collect().await;
    let before = report.troubles();
    for one in &found {
        match one {
            Ok((rollout, behind)) => judge(rollout, behind, suggest, report),
            Err(failure) => {
                report.warn(BACKENDS, failure.to_string(), "what stands behind the rollouts was not looked at");
                return;
            }
        }
    }
    if report.troubles() == before && !found.is_empty() {
        report.pass(BACKENDS, format!("{} rollouts have the Services and pods that they need", found.len()));
    }
}

/// What destinations name that no rollout has; other hosts than Services, and what a ServiceEntry describes, are unknown.
pub(super) async fn check_destinations(
    cluster: &Cluster,
    (rollouts, seen): (&[&ModelRollout], &Seen),
    report: &mut Report,
) {
    let is_of_rollout = |named: &NamedDestination| {
        let is_it = |rollout: &&ModelRollout, backend| {
            let reference = rollout.spec.backend(backend);
            let host = full_host(&reference.host, rollout.route_namespace());
            (host, &reference.subset) == (named.service.host(), &named.subset)
        };
        rollouts.iter().any(|rollout| Backend::BOTH.into_iter().any(|backend| is_it(rollout, backend)))
    };
    let Seen { documents, gateways } = seen;
    let destinations = destinations_named(documents, gateways).into_iter().filter(|named| !is_of_rollout(named));
    let looked = destinations.map(async |named| {
        let labels = subset_labels(documents, gateways, (&named.service.host(), named.subset.as_deref()));
        // That no DestinationRule has the subset is told with what is published.
        let Some(labels) = labels else { return Ok((named, Behind::Unknown)) };
        Ok::<_, Failure>((named.clone(), cluster.behind_service(named.service, labels).await?))
    });
    let before = report.troubles();
    let found: Result<Vec<_>, Failure> = stream::iter(looked).buffered(AT_ONCE).try_collect().await;
    match found {
        Ok(found) => {
            for (named, behind) in &found {
                judge_destination(named, behind, report);
            }
            if report.troubles() == before && !found.is_empty() {
                let text = format!("{} destinations without a rollout have what they need", found.len());
                report.pass(BACKENDS, text);
            }
        }
        Err(failure) => report.warn(BACKENDS, failure.to_string(), "what stands behind destinations was not looked at"),
    }
}

fn judge_destination(named: &NamedDestination, behind: &Behind, report: &mut Report) {
    let NamedDestination { service, subset, by, has_weight } = named;
    let (need, gets) = if *has_weight {
        (Need::Now, "requests for it get 503")
    } else {
        (Need::Later, "it gets no request but a copy, or one that picks it by a header")
    };
    let below = subset.as_ref().map(|subset| format!("/{subset}")).unwrap_or_default();
    let title = format!("destination {}{below} of {by}", service.host());
    let (lacks, hint) = match behind {
        Behind::Unknown | Behind::NoSubset { .. } => return,
        Behind::NoService(service) => {
            (format!("there is no Service {service}"), "create it, or correct the destination".to_owned())
        }
        Behind::Pods { selector, pods, .. } if pods.is_empty() => (
            format!("no pod in {} has the labels {selector}", service.namespace),
            "deploy its pods, or correct what selects them".to_owned(),
        ),
        Behind::Pods { pods, .. } if pods.iter().any(|pod| pods::is_ready(pod) || pods::trouble(pod).is_some()) => {
            return judge_troubles(&title, need, pods, report);
        }
        Behind::Pods { selector, pods, .. } => (
            format!("0 of {} pods are ready", pods.len()),
            format!("kubectl get pods -n {} -l {selector}", service.namespace),
        ),
    };
    tell(need, format!("{title}: {lacks}: {gets}"), hint, report);
}

fn judge(rollout: &ModelRollout, behind: &[Behind; 2], suggest: &Suggest, report: &mut Report) {
    for (backend, behind) in Backend::BOTH.into_iter().zip(behind) {
        judge_backend(rollout, backend, behind, report);
    }
    if let [green, Behind::Pods { pods: blue, .. }] = behind {
        let is_labelled = |pod: &Pod| pod.labels().contains_key(REVISION);
        let green = if let Behind::Pods { pods, .. } = green { pods.as_slice() } else { &[] };
        let bare = green.iter().find(|pod| !is_labelled(pod));
        let init = suggest.command_for("init", rollout.route_namespace(), &rollout.spec.route.virtual_service);
        let hint = format!("add it to spec.template.metadata.labels of their Deployment: {init} prints the command");
        judge_labels(rollout, (bare, !green.is_empty()), blue, &hint, report);
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
        Behind::Pods { pods, .. } => judge_troubles(&title, need, pods, report),
    }
}

/// What the first pod says that says why it is not ready; those that are simply on their way do not.
fn judge_troubles(title: &str, need: Need, pods: &[Pod], report: &mut Report) {
    let Some((pod, trouble)) = pods.iter().find_map(|pod| Some((pod, pods::trouble(pod)?))) else { return };
    let ready = pods.iter().filter(|pod| pods::is_ready(pod)).count();
    let text = format!("{title}: {ready} of {} pods are ready; {trouble}", pods.len());
    let need = if ready == 0 { need } else { Need::Later };
    tell(need, text, pods::advice(pod, &trouble), report);
}

fn tell(need: Need, text: String, hint: String, report: &mut Report) {
    match need {
        Need::Now => report.fail(BACKENDS, text, hint),
        Need::Later | Need::NoMore => report.warn(BACKENDS, text, hint),
    }
}

/// Pods without the label are told by their images, but never beside others that have it.
fn judge_labels(
    rollout: &ModelRollout,
    (bare, is_there): (Option<&Pod>, bool),
    blue: &[Pod],
    hint: &str,
    report: &mut Report,
) {
    let (id, hint) = (rollout.id(), hint.to_owned());
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
