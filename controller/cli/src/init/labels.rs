//! The label `turnout.dev/revision`, which says what pods serve: where it is missing, and the command that adds it.

use crate::client::cluster::backends::Behind;
use crate::client::cluster::gateways::Seen;
use crate::client::cluster::{Cluster, Failure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use turnout_controller::names::REVISION;
use turnout_rollout::{Backend, Mode, ModelRollout, ServiceName, full_host};

/// The longest value that a label may have.
const LONGEST: usize = 63;

/// What is missing behind the backends, in lines. What is `seen` says what a subset is; without any the cluster does.
pub(super) async fn missing(cluster: &Cluster, rollout: &ModelRollout, seen: &Seen) -> Vec<String> {
    let mut looked = rollout.clone();
    if seen.documents.is_empty() {
        // Where the VirtualService is an object its DestinationRules are objects, too, whoever serves them.
        looked.spec.mode = Mode::Istio;
    }
    let (green, blue) = (
        of_backend(cluster, &looked, Backend::Green, seen).await,
        of_backend(cluster, &looked, Backend::Blue, seen).await,
    );
    let tags_differ = green.names().is_disjoint(&blue.names());
    [green.lines(Backend::Green, tags_differ), blue.lines(Backend::Blue, tags_differ)].concat()
}

/// The same where no cluster was asked.
pub(super) fn unseen(rollout: &ModelRollout) -> Vec<String> {
    let namespace = rollout.route_namespace();
    let of_backend = |backend| {
        let host = full_host(&rollout.spec.backend(backend).host, namespace);
        let namespace = ServiceName::of_host(&host).map_or_else(|| namespace.to_owned(), |service| service.namespace);
        let why = format!("the pods behind {host} need the label {REVISION}, if they do not have it");
        told(backend, &why, "DEPLOYMENT", &namespace, name_of(backend))
    };
    Backend::BOTH.into_iter().flat_map(of_backend).collect()
}

/// What was found behind a backend.
enum Found {
    /// Nothing to label, and why.
    Said(Vec<String>),
    Deployments {
        namespace: String,
        deployments: Vec<Deployment>,
    },
}

async fn of_backend(cluster: &Cluster, rollout: &ModelRollout, backend: Backend, seen: &Seen) -> Found {
    look(cluster, rollout, backend, seen).await.unwrap_or_else(|failure| {
        Found::Said(vec![format!("turnout: the pods of {backend} were not looked at: {failure}")])
    })
}

async fn look(cluster: &Cluster, rollout: &ModelRollout, backend: Backend, seen: &Seen) -> Result<Found, Failure> {
    let said = |text: String| Found::Said(vec![format!("turnout: {backend}: {text}")]);
    Ok(match cluster.behind(rollout, backend, seen).await? {
        Behind::Unknown => Found::Said(Vec::new()),
        Behind::NoService(service) => said(format!("there is no Service {service} yet")),
        Behind::NoSubset { host, subset } => said(format!("no DestinationRule for {host} has the subset {subset} yet")),
        Behind::Pods { service, selector, .. } => {
            let namespace = service.namespace;
            let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), &namespace);
            let doing = format!("list the Deployments of {namespace}");
            let mut deployments = api.list(&ListParams::default()).await.map_err(cluster.failure(doing))?.items;
            deployments.retain(|deployment| is_selected(deployment, &selector));
            if deployments.is_empty() {
                let what = format!("no Deployment in {namespace} gives its pods the labels {selector} yet");
                return Ok(said(format!("{what}; they need the label {REVISION}, too")));
            }
            Found::Deployments { namespace, deployments }
        }
    })
}

impl Found {
    /// What its Deployments are called by their labels, or would be by their images.
    fn names(&self) -> BTreeSet<String> {
        let Self::Deployments { deployments, .. } = self else { return BTreeSet::new() };
        deployments.iter().filter_map(|one| label(one).or_else(|| tag(one))).collect()
    }

    fn lines(self, backend: Backend, tags_differ: bool) -> Vec<String> {
        match self {
            Self::Said(lines) => lines,
            Self::Deployments { namespace, deployments } => {
                let unlabelled = deployments.iter().filter(|one| label(one).is_none());
                unlabelled.flat_map(|one| bare(one, backend, &namespace, tags_differ)).collect()
            }
        }
    }
}

fn bare(deployment: &Deployment, backend: Backend, namespace: &str, tags_differ: bool) -> Vec<String> {
    let name = deployment.name_any();
    let why = format!("the pods of Deployment {namespace}/{name} have no label {REVISION}");
    let tag = tag(deployment).filter(|_| tags_differ);
    told(backend, &why, &name, namespace, &tag.unwrap_or_else(|| name_of(backend).to_owned()))
}

fn told(backend: Backend, why: &str, deployment: &str, namespace: &str, revision: &str) -> Vec<String> {
    let patch = json!({"spec": {"template": {"metadata": {"labels": {REVISION: revision}}}}});
    vec![
        format!("turnout: {backend}: {why}; this adds it, under a name of yours, and restarts them:"),
        format!("  kubectl patch deployment {deployment} -n {namespace} --type merge -p '{patch}'"),
    ]
}

/// What a revision is called whose image says nothing, or the same as the other one's.
fn name_of(backend: Backend) -> &'static str {
    match backend {
        Backend::Green => "r1",
        Backend::Blue => "r2",
    }
}

fn label(deployment: &Deployment) -> Option<String> {
    template_labels(deployment)?.get(REVISION).cloned()
}

fn template_labels(deployment: &Deployment) -> Option<&BTreeMap<String, String>> {
    deployment.spec.as_ref()?.template.metadata.as_ref()?.labels.as_ref()
}

fn is_selected(deployment: &Deployment, selector: &str) -> bool {
    let Some(labels) = template_labels(deployment) else { return false };
    let mut wanted = selector.split(',').filter_map(|pair| pair.split_once('='));
    wanted.all(|(key, value)| labels.get(key).is_some_and(|own| own == value))
}

/// The tag of its image, if it tells one from another and a label can have it.
fn tag(deployment: &Deployment) -> Option<String> {
    let image = deployment.spec.as_ref()?.template.spec.as_ref()?.containers.first()?.image.as_ref()?;
    let (_, tag) = image.rsplit('/').next()?.split('@').next()?.split_once(':')?;
    let is_end = |end: Option<char>| end.is_some_and(|end| end.is_ascii_alphanumeric());
    let fits = tag.len() <= LONGEST && is_end(tag.chars().next()) && is_end(tag.chars().last()) && tag != "latest";
    fits.then(|| tag.to_owned())
}
