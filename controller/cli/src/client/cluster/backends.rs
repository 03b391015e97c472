//! A backend of a rollout in a cluster: the pods behind its Service, how many of them are ready, what they serve, and what
//! keeps them from it.

use super::gateways::Seen;
use super::pods::{has_ended, is_ready, say_why, told_by_events, trouble};
use super::{Cluster, Failure};
use crate::client::view::BackendView;
use k8s_openapi::api::core::v1::{Event, Pod, Service};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use std::collections::{BTreeMap, BTreeSet};
use turnout_controller::kube_api::istio_kind;
use turnout_controller::names::REVISION;
use turnout_controller::view::raw_subset;
use turnout_rollout::{Backend, Mode, ModelRollout, ServiceName, full_host, subset_labels};

/// What stands behind a backend.
#[derive(Debug)]
pub(crate) enum Behind {
    /// What the cluster does not say: another host, or a Service that selects nothing.
    Unknown,
    /// No DestinationRule for this host has the subset.
    NoSubset {
        host: String,
        subset: String,
    },
    NoService(ServiceName),
    /// The pods that live and have the labels of this selector.
    Pods {
        service: ServiceName,
        selector: String,
        pods: Vec<Pod>,
    },
}

impl Cluster {
    /// A backend; none if it cannot be told, as of a host outside of the cluster. What is `seen` says what a subset is.
    pub(super) async fn backend(
        &self,
        rollout: &ModelRollout,
        backend: Backend,
        seen: &Seen,
    ) -> Result<Option<BackendView>, Failure> {
        Ok(match self.behind(rollout, backend, seen).await? {
            Behind::Unknown | Behind::NoSubset { .. } => None,
            Behind::NoService(_) => Some(BackendView::default()),
            Behind::Pods { pods, .. } => Some(summary(&pods)),
        })
    }

    /// What stands behind a backend. What is `seen` says what a subset is; where Istio serves, the cluster does.
    pub(crate) async fn behind(
        &self,
        rollout: &ModelRollout,
        backend: Backend,
        seen: &Seen,
    ) -> Result<Behind, Failure> {
        let reference = rollout.spec.backend(backend);
        let host = full_host(&reference.host, rollout.route_namespace());
        let Some(service) = ServiceName::of_host(&host) else { return Ok(Behind::Unknown) };
        let labels = match &reference.subset {
            Some(subset) if rollout.spec.mode == Mode::Istio => {
                self.istios_subset(rollout.route_namespace(), &host, subset).await?
            }
            subset => subset_labels(&seen.documents, &seen.gateways, (&host, subset.as_deref())),
        };
        match (labels, &reference.subset) {
            (Some(labels), _) => self.behind_service(service, labels).await,
            (None, subset) => Ok(Behind::NoSubset { host, subset: subset.clone().unwrap_or_default() }),
        }
    }

    /// The pods of a Service that have these labels, too.
    pub(crate) async fn behind_service(
        &self,
        service: ServiceName,
        subset: BTreeMap<String, String>,
    ) -> Result<Behind, Failure> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &service.namespace);
        let found =
            services.get_opt(&service.name).await.map_err(self.failure(format!("read the Service {service}")))?;
        let Some(found) = found else { return Ok(Behind::NoService(service)) };
        let selector = found.spec.and_then(|spec| spec.selector).filter(|selector| !selector.is_empty());
        let Some(mut labels) = selector else { return Ok(Behind::Unknown) };
        labels.extend(subset);
        let selector = labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        let doing = format!("list the pods of the Service {service}");
        let mut pods = self.pods_with(&service.namespace, &selector, doing).await?;
        pods.retain(|pod| !has_ended(pod));
        Ok(Behind::Pods { service, selector, pods })
    }

    pub(crate) async fn pods_with(
        &self,
        namespace: &str,
        selector: &str,
        doing: impl std::fmt::Display,
    ) -> Result<Vec<Pod>, Failure> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let mut pods = pods.list(&ListParams::default().labels(selector)).await.map_err(self.failure(doing))?.items;
        for reason in pods.iter().filter_map(told_by_events).collect::<BTreeSet<_>>() {
            let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
            let of_pods = format!("involvedObject.kind=Pod,reason={reason}");
            // Who may not read Events still hears that the pod is not ready.
            if let Ok(events) = events.list(&ListParams::default().fields(&of_pods)).await {
                say_why(&mut pods, &events.items);
            }
        }
        Ok(pods)
    }

    /// The labels of a subset in any DestinationRule, be it one that only Istio takes.
    async fn istios_subset(
        &self,
        namespace: &str,
        host: &str,
        subset: &str,
    ) -> Result<Option<BTreeMap<String, String>>, Failure> {
        let kind = istio_kind("DestinationRule", "destinationrules");
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let doing = format!("list the DestinationRules of {namespace}");
        let rules = api.list(&ListParams::default()).await.map_err(self.failure(doing))?;
        Ok(rules.items.iter().find_map(|rule| raw_subset(rule, host, subset)))
    }
}

fn summary(pods: &[Pod]) -> BackendView {
    let mut revisions: Vec<String> = pods.iter().filter_map(|pod| pod.labels().get(REVISION).cloned()).collect();
    revisions.sort();
    revisions.dedup();
    BackendView {
        replicas: pods.len(),
        ready: pods.iter().filter(|pod| is_ready(pod)).count(),
        revisions,
        troubles: pods.iter().filter_map(trouble).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn only_living_pods_are_replicas_and_only_ready_ones_are_ready() {
        let pod = |revision: &str, phase: &str, ready: &str, more: Value| -> Pod {
            let mut pod = json!({
                "metadata": {"name": "p", "labels": {"turnout.dev/revision": revision}},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
            });
            if let Value::Object(more) = more {
                more.into_iter().for_each(|(name, value)| pod["metadata"][name] = value);
            }
            serde_json::from_value(pod).unwrap()
        };
        let leaving = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let pods = [
            pod("v1", "Running", "True", Value::Null),
            pod("v2", "Running", "True", Value::Null),
            pod("v2", "Pending", "False", Value::Null),
            pod("v0", "Failed", "False", Value::Null),
            pod("v0", "Running", "True", leaving),
        ];
        let revisions = ["v1", "v2"].map(str::to_owned).to_vec();
        let living: Vec<Pod> = pods.into_iter().filter(|pod| !has_ended(pod)).collect();
        assert_eq!(summary(&living), BackendView { replicas: 3, ready: 2, revisions, troubles: Vec::new() });
    }
}
