//! A backend of a rollout in a cluster: the pods behind its Service, how many of them are ready, and what they serve.

use super::{Cluster, Failure};
use crate::client::view::BackendView;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use turnout_controller::names::REVISION;
use turnout_rollout::{Backend, ModelRollout, ServiceName, full_host, subset_labels};
use turnout_routes::documents::Document;

impl Cluster {
    /// A backend; none if it cannot be told, as of a host outside of the cluster. `documents` say what a subset is.
    pub(super) async fn backend(
        &self,
        rollout: &ModelRollout,
        backend: Backend,
        documents: &[Document],
    ) -> Result<Option<BackendView>, Failure> {
        let reference = rollout.spec.backend(backend);
        let host = full_host(&reference.host, rollout.route_namespace());
        let (Some(service), Some(subset)) =
            (ServiceName::of_host(&host), subset_labels(documents, &host, reference.subset.as_deref()))
        else {
            return Ok(None);
        };
        let services: Api<Service> = Api::namespaced(self.client.clone(), &service.namespace);
        let found =
            services.get_opt(&service.name).await.map_err(self.failure(format!("read the Service {service}")))?;
        let Some(found) = found else { return Ok(Some(BackendView::default())) };
        let Some(mut labels) = found.spec.and_then(|spec| spec.selector) else { return Ok(None) };
        labels.extend(subset);
        let selector = labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &service.namespace);
        let parameters = ListParams::default().labels(&selector);
        let doing = format!("list the pods of the Service {service}");
        let listed = pods.list(&parameters).await.map_err(self.failure(doing))?;
        Ok(Some(summary(&listed.items)))
    }
}

/// Pods that have ended or are being removed are no replicas any more.
fn summary(pods: &[Pod]) -> BackendView {
    let has_ended = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
    };
    let living: Vec<&Pod> = pods.iter().filter(|pod| !has_ended(pod)).collect();
    let mut revisions: Vec<String> = living.iter().filter_map(|pod| pod.labels().get(REVISION).cloned()).collect();
    revisions.sort();
    revisions.dedup();
    BackendView { replicas: living.len(), ready: living.iter().filter(|pod| is_ready(pod)).count(), revisions }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
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
        assert_eq!(summary(&pods), BackendView { replicas: 3, ready: 2, revisions });
    }
}
