//! The gateways of a cluster: where they are, what each reports, and what is published for them.
//!
//! Pods cannot be reached from where people are, so they are asked through the API server, which passes a GET on to a
//! port of a pod (the right `get` on `pods/proxy`).

use super::{Cluster, Failure};
use crate::client::access::Installation;
use crate::client::view::GatewayView;
use http::Request;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;
use turnout_controller::names::UNINSTALLING;
use turnout_rollout::ModelRollout;
use turnout_routes::documents::Document;
use turnout_routes::router::Router;
use turnout_routes::{Parsed, Problems, Source, locate, parse, revision};

/// The gateways' pods and Deployment. The chart's name can be overridden, what it is part of cannot.
pub(crate) const GATEWAYS: &str = "app.kubernetes.io/part-of=turnout,app.kubernetes.io/component=gateway";
/// The label that tells one installation in a namespace from another.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";
/// The name of the status port, and its number where no port has that name.
const STATUS_PORT: &str = "status";
const STATUS_PORT_NUMBER: i32 = 15021;
/// The volume of the published routes.
const ROUTES_VOLUME: &str = "routes";
/// How long a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is in a ConfigMap for gateways.
pub(crate) struct Published {
    /// Where, as `namespace/name`.
    pub(crate) title: String,
    /// That of the gateways, too.
    pub(crate) namespace: String,
    /// As gateways report it.
    pub(crate) revision: String,
    /// The release goes, and its controller stands still.
    pub(crate) uninstalling: bool,
    keys: BTreeMap<String, String>,
}

/// Documents as gateways see them: what is not exported to their namespace does not count.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) documents: Vec<Document>,
    /// Their namespace.
    pub(crate) gateways: String,
}

/// Where was looked, for messages.
pub(crate) fn searched(installation: &Installation) -> String {
    match &installation.gateway_namespace {
        Some(namespace) => format!("in namespace {namespace}: no pod there has the labels {GATEWAYS}"),
        None => format!("in the namespaces that you may look into: no pod there has the labels {GATEWAYS}"),
    }
}

/// Leaves those of the namespace that was named, if there are any: `-n` may as well name that of the rollouts.
pub(crate) fn narrow<K: ResourceExt>(objects: &mut Vec<K>, namespace: Option<&str>) {
    let is_there = |object: &K| object.namespace().as_deref() == namespace;
    if objects.iter().any(is_there) {
        objects.retain(is_there);
    }
}

impl Cluster {
    /// The pods of the gateways that live, in the order of their names.
    pub(crate) async fn find_gateways(&self, installation: &Installation) -> Result<Vec<Pod>, Failure> {
        let mut pods = self.find(GATEWAYS, "the gateways' pods", installation).await?;
        pods.retain(is_alive);
        Ok(pods)
    }

    /// Objects with these labels, in the order of their names: of the namespace where Turnout is said to be installed,
    /// else of all; of the rollouts' own, where no more can be listed.
    pub(crate) async fn find<K>(&self, labels: &str, what: &str, at: &Installation) -> Result<Vec<K>, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let parameters = ListParams::default().labels(labels);
        let named = at.gateway_namespace.as_deref();
        let (api, place): (Api<K>, _) = match named {
            Some(namespace) => (Api::namespaced(self.client.clone(), namespace), format!("namespace {namespace}")),
            None => (Api::all(self.client.clone()), "all namespaces".to_owned()),
        };
        let listed = api.list(&parameters).await.map_err(self.failure(format!("list {what} in {place}")));
        let mut found = match listed {
            Err(failure) if failure.is_forbidden() && named.is_none() => {
                let own: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
                own.list(&parameters).await.ok().filter(|listed| !listed.items.is_empty()).ok_or(failure)?.items
            }
            listed => listed?.items,
        };
        found.sort_by_key(|object| (object.namespace(), object.name_any()));
        Ok(found)
    }

    /// What each gateway reports, with its pod; in the order of the pods.
    pub(crate) async fn ask_gateways(&self, pods: Vec<Pod>) -> Vec<(Pod, GatewayView)> {
        let namespaces: BTreeSet<Option<String>> = pods.iter().map(Pod::namespace).collect();
        let many = namespaces.len() > 1;
        let mut asked = JoinSet::new();
        for (place, pod) in pods.into_iter().enumerate() {
            let cluster = self.clone();
            asked.spawn(async move {
                let namespace = pod.namespace().unwrap_or_default();
                let id = if many { format!("{namespace}/{}", pod.name_any()) } else { pod.name_any() };
                (place, cluster.ask_gateway(id, &pod).await, pod)
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(place, _, _)| *place);
        answers.into_iter().map(|(_, gateway, pod)| (pod, gateway)).collect()
    }

    /// As [`Cluster::ask_gateways`], but only of the installation that serves the rollout, if that can be told: other
    /// installations in the cluster have nothing to do with it.
    pub(crate) async fn ask_gateways_of(&self, rollout: &ModelRollout, pods: Vec<Pod>) -> (Vec<Pod>, Vec<GatewayView>) {
        let mut asked = self.ask_gateways(pods).await;
        let knowing: BTreeSet<_> =
            asked.iter().filter(|(_, gateway)| gateway.knows(rollout)).map(|(pod, _)| installation_of(pod)).collect();
        if !knowing.is_empty() {
            asked.retain(|(pod, _)| knowing.contains(&installation_of(pod)));
        }
        asked.into_iter().unzip()
    }

    async fn ask_gateway(&self, id: String, pod: &Pod) -> GatewayView {
        let both = async { tokio::try_join!(self.get_of_pod(pod, "revision"), self.get_of_pod(pod, "backends")) };
        match timeout(PATIENCE, both).await {
            Err(_) => GatewayView::silent(id, format!("no answer within {} s", PATIENCE.as_secs())),
            Ok(Err(failure)) => GatewayView::silent(id, failure.to_string()),
            Ok(Ok((revision, backends))) => GatewayView::read(id, revision.as_bytes(), backends.as_bytes()),
        }
    }

    /// GET of a page of a gateway's status port.
    async fn get_of_pod(&self, pod: &Pod, page: &str) -> Result<String, Failure> {
        let (namespace, name, port) = (pod.namespace().unwrap_or_default(), pod.name_any(), status_port(pod));
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/{page}");
        let failure = self.failure(format!("get /{page} of it through the API server"));
        let request = match Request::get(path).body(Vec::new()) {
            Ok(request) => request,
            Err(error) => return Err(failure(kube::Error::HttpError(error))),
        };
        self.client.request_text(request).await.map_err(failure)
    }

    /// What the gateways with these pods are to have; none if their pods do not say where it is.
    pub(crate) async fn published(&self, pods: &[Pod]) -> Result<Option<Published>, Failure> {
        match pods.iter().find_map(routes_of) {
            Some((namespace, name)) => self.published_in(&namespace, &name).await,
            None => Ok(None),
        }
    }

    /// What a ConfigMap has for gateways; none if there is no such ConfigMap.
    pub(crate) async fn published_in(&self, namespace: &str, name: &str) -> Result<Option<Published>, Failure> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let title = format!("{namespace}/{name}");
        let read = api.get_opt(name).await.map_err(self.failure(format!("read the ConfigMap {title}")))?;
        Ok(read.map(|configmap| Published::of(namespace, title, configmap)))
    }
}

impl Published {
    fn of(namespace: &str, title: String, configmap: ConfigMap) -> Self {
        let namespace = namespace.to_owned();
        let is_route = |name: &String| [".yaml", ".yml"].iter().any(|end| name.ends_with(end));
        let data = configmap.data.unwrap_or_default();
        let keys: BTreeMap<String, String> = data.into_iter().filter(|(name, _)| is_route(name)).collect();
        let revision = revision(&sources(&keys));
        let annotations = configmap.metadata.annotations.unwrap_or_default();
        let uninstalling = annotations.contains_key(UNINSTALLING);
        Self { title, namespace, revision, uninstalling, keys }
    }

    /// Gateways find no route in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.values().all(|text| text.trim().is_empty())
    }

    /// What a gateway makes of it.
    pub(crate) fn parse(&self) -> Result<Parsed, Problems> {
        parse(&sources(&self.keys))
    }

    /// What the router says of it, as a gateway tells it on `/revision`.
    pub(crate) fn locate(&self, router: &Router) -> Vec<String> {
        locate(&sources(&self.keys), router.warnings()).iter().map(ToString::to_string).collect()
    }

    /// What it consists of; nothing, if it is none that a gateway takes.
    pub(crate) fn documents(&self) -> Vec<Document> {
        self.parse().map(|parsed| parsed.documents).unwrap_or_default()
    }

    /// The same, with the namespace of the gateways.
    pub(crate) fn seen(self) -> Seen {
        Seen { documents: self.documents(), gateways: self.namespace }
    }
}

fn sources(keys: &BTreeMap<String, String>) -> Vec<Source<'_>> {
    keys.iter().map(|(name, text)| Source { name, bytes: text.as_bytes() }).collect()
}

/// It runs, and is not being removed.
fn is_alive(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && phase == Some("Running")
}

fn installation_of(pod: &Pod) -> (Option<String>, Option<String>) {
    (pod.namespace(), pod.labels().get(INSTANCE).cloned())
}

fn status_port(pod: &Pod) -> i32 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.find(|port| port.name.as_deref() == Some(STATUS_PORT)).map_or(STATUS_PORT_NUMBER, |port| port.container_port)
}

/// Namespace and name of the ConfigMap that a gateway mounts.
fn routes_of(pod: &Pod) -> Option<(String, String)> {
    let volumes = pod.spec.as_ref()?.volumes.as_deref()?;
    let mut mounted = volumes.iter().filter_map(|volume| Some((volume, volume.config_map.as_ref()?)));
    let (_, source) = mounted.clone().find(|(volume, _)| volume.name == ROUTES_VOLUME).or_else(|| mounted.next())?;
    Some((pod.namespace()?, source.name.clone()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: &Value) -> Pod {
        let mut pod = json!({"metadata": {"name": "g", "namespace": "turnout"}, "spec": {"containers": []}});
        for (name, value) in spec.as_object().unwrap() {
            pod["spec"][name] = value.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn the_status_port_is_found_by_name() {
        let ports = |ports: Value| pod(&json!({"containers": [{"name": "a"}, {"name": "b", "ports": ports}]}));
        let named = json!([{"name": "http", "containerPort": 8080}, {"name": "status", "containerPort": 9000}]);
        assert_eq!(status_port(&ports(named)), 9000);
        assert_eq!(status_port(&ports(json!([{"containerPort": 8080}]))), 15021);
    }

    #[test]
    fn what_a_gateway_mounts_is_what_is_published() {
        let check = |volumes: Value, expected: Option<&str>| {
            let found = routes_of(&pod(&json!({"volumes": volumes})));
            assert_eq!(found.as_ref().map(|(_, name)| name.as_str()), expected);
        };
        let of = |volume: &str, name: &str| json!({"name": volume, "configMap": {"name": name}});
        check(json!([of("ca", "x"), of("routes", "y")]), Some("y"));
        check(json!([{"name": "tls", "secret": {}}, of("ca", "x")]), Some("x"));
        check(json!([{"name": "tls", "secret": {}}]), None);
    }

    #[test]
    fn the_revision_counts_the_keys_that_gateways_read() {
        let configmap = |data: Value| serde_json::from_value(json!({"data": data})).unwrap();
        let published = Published::of("", String::new(), configmap(json!({"routes.yaml": "x", "README.md": "y"})));
        assert_eq!(published.revision, revision(&[Source { name: "routes.yaml", bytes: b"x" }]));
    }
}
