//! Where the documents come from: the objects of the governed namespaces, or a ConfigMap of the user's. What is wrong
//! with one is told in the words of `turnout lint`, and its last good form, which stands in what is published, goes on.

use crate::kube_api::{ApiError, istio_kind, list_dynamic, title};
use crate::names::{FIELD_MANAGER, MANAGED_BY};
use crate::published::PublishedRoutes;
use crate::settings::Settings;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject};
use kube::{Client, ResourceExt as _};
use turnout_rollout::{Obstacle, is_generated};
use turnout_routes::documents::Document;
use turnout_routes::{Source, parse};

/// The kinds, as objects and in URLs.
pub const KINDS: [(&str, &str); 4] = [
    ("VirtualService", "virtualservices"),
    ("DestinationRule", "destinationrules"),
    ("Gateway", "gateways"),
    ("ServiceEntry", "serviceentries"),
];

/// The documents of this round.
#[derive(Debug, Default)]
pub struct Documents {
    /// What is to be published, before weights and registry.
    pub documents: Vec<Document>,
    /// What is wrong, in the words of `turnout lint`.
    pub problems: Vec<String>,
    /// The objects with what each is told; empty where the source is a ConfigMap.
    pub verdicts: Vec<Verdict>,
    /// Why they are those that are published, if they could not be read.
    pub unreadable: Option<Obstacle>,
}

impl Documents {
    /// What is published stands in for documents that cannot be read.
    fn as_published(published: &PublishedRoutes, problems: Vec<String>) -> Self {
        let documents = published.documents.iter().filter(|document| !is_generated(document)).cloned().collect();
        Self { documents, problems, ..Self::default() }
    }

    /// Why a VirtualService, by namespace and name, has the form that is published: what its author wrote is refused. Of a
    /// ConfigMap all is, or nothing.
    pub fn refused(&self, (namespace, name): (&str, &str)) -> Option<Obstacle> {
        let is_it = |object: &DynamicObject| {
            let kind = object.types.as_ref().map(|types| types.kind.as_str());
            (kind, object.namespace().as_deref(), object.name_any().as_str())
                == (Some("VirtualService"), Some(namespace), name)
        };
        let verdict = self.verdicts.iter().find(|verdict| is_it(&verdict.object));
        let of_text = self.problems.first().filter(|_| self.verdicts.is_empty());
        let problem = verdict.and_then(|verdict| verdict.problem.as_ref()).or(of_text)?;
        Some(Obstacle { reason: "Refused", message: problem.clone() })
    }
}

/// What an object is told.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The object.
    pub object: DynamicObject,
    /// Why it is refused; none if it is accepted.
    pub problem: Option<String>,
}

/// Reads them from a ConfigMap. `published` has the last good form of what is broken.
pub async fn read(client: &Client, settings: &Settings, name: &str, published: &PublishedRoutes) -> Documents {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &settings.namespace);
    let place = format!("configmaps {}/{name}", settings.namespace);
    match api.get(name).await.map_err(ApiError::of("get", place)) {
        Ok(config_map) => of_config_map(&config_map, published),
        Err(error) => {
            let documents = Documents::as_published(published, vec![error.to_string()]);
            Documents { unreadable: Some(error.obstacle()), ..documents }
        }
    }
}

/// The objects of a namespace that are documents.
pub async fn objects(client: &Client, namespace: &str) -> Result<Vec<DynamicObject>, ApiError> {
    let lists = KINDS.map(|(kind, plural)| async move {
        let kind = istio_kind(kind, plural);
        let mut listed = list_dynamic(client, &kind, namespace).await?;
        for object in &mut listed {
            // The items of a list do not name their kind.
            object.types = Some(kube::api::TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() });
        }
        Ok(listed)
    });
    Ok(try_join_all(lists).await?.into_iter().flatten().collect())
}

/// The documents that these objects are. `published` has the last good form of what is broken.
pub fn of_objects(objects: impl Iterator<Item = DynamicObject>, published: &PublishedRoutes) -> Documents {
    let mut all = Documents::default();
    for object in objects {
        if object.labels().get(MANAGED_BY).is_some_and(|by| by == FIELD_MANAGER) {
            continue;
        }
        let problem = match document(&object) {
            Ok(document) => {
                all.documents.push(document);
                None
            }
            Err(problem) => {
                all.documents.extend(last_good(&object, published));
                all.problems.push(problem.clone());
                Some(problem)
            }
        };
        all.verdicts.push(Verdict { object, problem });
    }
    all
}

/// The object as a document. What only the API server writes is left out first: it is no business of a route.
fn document(object: &DynamicObject) -> Result<Document, String> {
    let mut bare = object.clone();
    bare.metadata.managed_fields = None;
    bare.metadata.annotations = None;
    if let Some(data) = bare.data.as_object_mut() {
        data.remove("status");
    }
    let name = title(object);
    let text = serde_json::to_vec_pretty(&bare).map_err(|error| format!("{name}: {error}"))?;
    // All of it stands on lines that the user never saw, so the place is the field's path.
    let parsed = parse(&[Source { name: &name, bytes: &text }]).map_err(|problems| {
        let lines: Vec<String> = problems.as_slice().iter().map(place_and_message).collect();
        format!("{name}: {}", lines.join("; "))
    })?;
    parsed.documents.into_iter().next().ok_or_else(|| format!("{name}: is empty"))
}

fn place_and_message(problem: &turnout_routes::Problem) -> String {
    let place = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
    let advice = problem.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
    format!("{place}{}{advice}", problem.message)
}

fn last_good(object: &DynamicObject, published: &PublishedRoutes) -> Option<Document> {
    let kind = object.types.as_ref().map(|types| types.kind.as_str());
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let is_it = |document: &&Document| {
        Some(document.kind()) == kind && document.metadata().name == name && document.metadata().namespace == namespace
    };
    published.documents.iter().find(is_it).cloned()
}

/// All keys are one text: with one broken, all that was published from them goes on.
fn of_config_map(config_map: &ConfigMap, published: &PublishedRoutes) -> Documents {
    let data = config_map.data.iter().flatten();
    let is_yaml = |name: &str| {
        std::path::Path::new(name).extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
    };
    let sources: Vec<Source<'_>> =
        data.filter(|(name, _)| is_yaml(name)).map(|(name, text)| Source { name, bytes: text.as_bytes() }).collect();
    match parse(&sources) {
        Ok(parsed) => Documents { documents: parsed.documents, ..Documents::default() },
        Err(problems) => {
            Documents::as_published(published, problems.as_slice().iter().map(ToString::to_string).collect())
        }
    }
}
