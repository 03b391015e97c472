//! `turnout init`: the ModelRollout of a VirtualService that is there, for people to look at and to apply. It only reads.

mod labels;
mod object;

use crate::arguments::AccessArguments;
use crate::client::access::Installation;
use crate::client::cluster::Cluster;
use crate::client::cluster::gateways::{Published, Seen};
use crate::output::{DONE, print, remark};
use crate::route_files::RouteTexts;
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DynamicObject};
use object::Wishes;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use turnout_controller::kube_api::istio_kind;
use turnout_rollout::Mode;
use turnout_routes::documents::Document;
use turnout_routes::{MOST_SOURCE_BYTES, Source, parse};

/// Where Istio's control plane is.
const ISTIOD: (&str, &str) = ("istio-system", "istiod");

/// Writes the ModelRollout for a VirtualService: its rule with two destinations, which of them is green, and which is blue.
///
/// The object goes to standard output, for `kubectl apply -f -`; what is missing besides, as the label of the revision on
/// the pods, goes to standard error, with the commands that add it. Nothing is changed.
/// Exit code: 0 it is written, 2 the VirtualService cannot be read, or does not say which rule or destination is meant.
#[derive(Args)]
#[command(after_help = "Example:\n  turnout init model -n abtesting > modelrollout.yaml")]
pub(crate) struct Arguments {
    /// The VirtualService: an object of the namespace, else a document that the gateways have.
    virtual_service: String,

    /// Where it stands instead of in a cluster: a YAML file, a directory of them, or - for standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE", env = "TURNOUT_FILENAME")]
    file: Option<PathBuf>,

    /// The name of its http rule [default: that of the only one with two destinations].
    #[arg(long, value_name = "NAME", env = "TURNOUT_HTTP_RULE")]
    http: Option<String>,

    /// The destination that serves the stable version, as HOST or HOST/SUBSET [default: the one with more weight].
    #[arg(long, value_name = "HOST", env = "TURNOUT_GREEN")]
    green: Option<String>,

    /// What serves it [default: istio where the object is in a cluster with istiod, else gateway].
    #[arg(long, value_enum, ignore_case = true, env = "TURNOUT_MODE")]
    mode: Option<ModeName>,

    #[command(flatten)]
    access: AccessArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeName {
    /// Turnout's gateways.
    Gateway,
    /// Istio.
    Istio,
}

/// A VirtualService as the API has it, and what is known of where it was.
struct Found {
    object: Value,
    /// What the gateways have, if it was found there.
    seen: Seen,
    /// None for one of a file.
    cluster: Option<Cluster>,
    is_istios: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let found = match &arguments.file {
        Some(path) => of_file(path, &arguments)?,
        None => of_cluster(&arguments).await?,
    };
    let mode = match arguments.mode {
        Some(ModeName::Istio) => Mode::Istio,
        None if found.is_istios => {
            let (namespace, name) = ISTIOD;
            remark(&format!(
                "turnout: Istio serves it, since there is a Deployment {namespace}/{name}; --mode gateway is for Turnout's gateways"
            ));
            Mode::Istio
        }
        Some(ModeName::Gateway) | None => Mode::Gateway,
    };
    let wishes = Wishes { http: arguments.http.as_deref(), green: arguments.green.as_deref(), mode };
    let written = object::write(&found.object, &wishes)?;
    print(written.text.trim_end())?;
    for note in written.notes.iter().chain(&refusal(&found.object, mode)) {
        remark(&format!("turnout: {note}"));
    }
    let missing = match &found.cluster {
        Some(cluster) => labels::missing(cluster, &written.rollout, &found.seen).await,
        None => labels::unseen(&written.rollout),
    };
    for line in missing {
        remark(&line);
    }
    Ok(DONE)
}

fn of_file(path: &Path, arguments: &Arguments) -> anyhow::Result<Found> {
    let (name, wanted) = (&arguments.virtual_service, arguments.access.access().namespace);
    let mut found: Vec<Value> =
        RouteTexts::read(path, MOST_SOURCE_BYTES)?.values()?.into_iter().flat_map(items).collect();
    let namespace_of = |object: &Value| object["metadata"]["namespace"].as_str().map(str::to_owned);
    found.retain(|object| {
        let own = namespace_of(object);
        is_istios(object)
            && object["metadata"]["name"] == **name
            && (own.is_none() || wanted.is_none() || own == wanted)
    });
    // One without a namespace may be meant for any.
    if wanted.is_some() && found.iter().any(|object| namespace_of(object) == wanted) {
        found.retain(|object| namespace_of(object) == wanted);
    }
    let place = wanted.as_ref().map(|namespace| format!(" of namespace {namespace}")).unwrap_or_default();
    let Some(mut object) = found.pop() else {
        bail!("there is no VirtualService {name}{place} in {}", path.display());
    };
    if !found.is_empty() {
        let others = found.len();
        bail!(
            "there is VirtualService {name}{place} in {}, and {others} more of that name: name one by --namespace",
            path.display()
        );
    }
    object["metadata"]["namespace"] = json!(namespace_of(&object).or(wanted).unwrap_or_else(|| "default".to_owned()));
    Ok(Found { object, seen: Seen::default(), cluster: None, is_istios: false })
}

/// The objects of a document: those of a List, as kubectl prints it, or itself.
fn items(mut document: Value) -> Vec<Value> {
    let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match document.get_mut("items").filter(|_| is_list).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => vec![document],
    }
}

/// Others have objects of that kind, too.
fn is_istios(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    object["kind"] == "VirtualService" && version.starts_with("networking.istio.io/")
}

async fn of_cluster(arguments: &Arguments) -> anyhow::Result<Found> {
    let cluster = Cluster::connect(&arguments.access.access())?;
    let (namespace, name) = (cluster.namespace.clone(), &arguments.virtual_service);
    let kind = istio_kind("VirtualService", "virtualservices");
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &namespace, &kind);
    match api.get(name).await.map_err(cluster.failure(format!("read the VirtualService {namespace}/{name}"))) {
        Ok(object) => {
            let object = serde_json::to_value(object).context("the API server's answer cannot be read")?;
            let is_istios = has_istiod(&cluster).await;
            Ok(Found { object, seen: Seen::default(), cluster: Some(cluster), is_istios })
        }
        Err(failure) if failure.code() == Some(404) => {
            let pods = cluster.find_gateways(&Installation::default()).await.unwrap_or_default();
            let published = cluster.published(&pods).await.ok().flatten();
            let seen = published.map(Published::seen).unwrap_or_default();
            let is_it = |document: &&Document| {
                let metadata = document.metadata();
                document.kind() == "VirtualService" && metadata.name == *name && metadata.namespace == namespace
            };
            let Some(document) = seen.documents.iter().find(is_it) else {
                bail!(
                    "there is no VirtualService {name} in {}, neither as an object nor among what gateways have: name its \
                     namespace by --namespace, or its file by --filename",
                    cluster.title()
                );
            };
            let object = serde_json::to_value(document).context("the document cannot be read")?;
            Ok(Found { object, seen, cluster: Some(cluster), is_istios: false })
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Who may not look there has no Istio to govern, either.
async fn has_istiod(cluster: &Cluster) -> bool {
    let (namespace, name) = ISTIOD;
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
    matches!(api.get_opt(name).await, Ok(Some(_)))
}

/// That Turnout's gateways would not take the VirtualService.
fn refusal(object: &Value, mode: Mode) -> Option<String> {
    let mut document = object.clone();
    document.as_object_mut()?.remove("status");
    let text = document.to_string();
    let problems = parse(&[Source { name: "VirtualService", bytes: text.as_bytes() }]).err()?;
    let problem = problems.as_slice().first().filter(|_| mode == Mode::Gateway)?;
    let (message, advice) = (&problem.message, problem.advice.iter());
    let said: Vec<&str> = std::iter::once(message).chain(advice).map(String::as_str).collect();
    Some(format!("the gateways would refuse the VirtualService: {}: {}", problem.path, said.join("; ")))
}
