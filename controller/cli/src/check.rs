//! `turnout check`: whether an installation is well, one line for each thing that can be wrong, with what to do about it.
//! Everything is only read. What may not be read is a warning; what is wrong is a failure.

mod backends;
mod controller;
mod definition;
mod documents;
mod gateway;
mod report;
mod rights;
mod rollouts;
mod routes;

use crate::arguments::ClusterArguments;
use crate::client::cluster::gateways::{Published, Seen};
use crate::client::cluster::{Cluster, Failure};
use crate::output::{DONE, FAILED, Output, print, print_json};
use crate::terminal::Marks;
use clap::Args;
use controller::Controller;
use report::Report;
use turnout_rollout::ModelRollout;
use turnout_routes::{Parsed, Problems};

/// Whether Turnout is well in a cluster: the API server, the definitions, your rights and the controller's, the
/// controller, the gateways and what they have, the rollouts with what stands behind them, documents, and versions.
///
/// Exit code: 0 nothing failed (there may be warnings), 1 something did, as an API server that does not answer, 2 usage,
/// or nothing says which cluster to ask.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: ClusterArguments,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let cluster = Cluster::connect(&arguments.cluster.access.access())?;
    let mut report = Report::default();
    if check_server(&cluster, &mut report).await {
        definition::check(&cluster, &mut report).await;
        definition::check_application_routing(&cluster, &mut report).await;
        check_installations(&cluster, &arguments, &mut report).await;
    }
    match arguments.cluster.output {
        Output::Text => print(&report.text(Marks::of_environment()))?,
        Output::Json => print_json(&report.to_json())?,
    }
    Ok(if report.is_well() { DONE } else { FAILED })
}

const SERVER: &str = "cluster";

/// Without an answer nothing else can be told.
async fn check_server(cluster: &Cluster, report: &mut Report) -> bool {
    let version = cluster.client.apiserver_version().await.map_err(cluster.failure("ask for the version"));
    match version {
        Ok(version) => {
            report.pass(SERVER, format!("{} answers: Kubernetes {}", cluster.server, version.git_version));
            true
        }
        Err(failure) => {
            report.fail(SERVER, failure.to_string(), "name the right cluster by --context or --kubeconfig");
            false
        }
    }
}

/// Every installation that can be found, with the rollouts that it governs.
async fn check_installations(cluster: &Cluster, arguments: &Arguments, report: &mut Report) {
    let controllers = controller::find(cluster, arguments, report).await;
    let suggest = arguments.cluster.access.suggest(Some(&cluster.context_namespace));
    let mut governed: Vec<String> = controllers.iter().flat_map(|found| found.settings.namespaces.clone()).collect();
    if governed.is_empty() {
        governed.push(cluster.namespace.clone());
    }
    governed.sort();
    governed.dedup();
    let named = arguments.cluster.access.access().namespace;
    if let Some(namespace) = named.filter(|named| !governed.contains(named)) {
        let text =
            format!("{namespace} is governed by no controller that was found: they govern {}", governed.join(", "));
        report.fail(controller::CONTROLLER, text, "add it to `namespaces` of the release, or correct --namespace");
    }
    for namespace in &governed {
        rights::check_own(cluster, namespace, report).await;
    }
    let mut rollouts = Vec::new();
    let are_all_read = rollouts::read(cluster, &governed, &mut rollouts, report).await;
    rollouts::check_classes(&rollouts, &controllers, report);
    for controller in &controllers {
        controller::check(cluster, controller, report).await;
        let of_it: Vec<&ModelRollout> = rollouts.iter().filter(|rollout| controller.governs(rollout)).collect();
        rights::check_controller(cluster, controller, &of_it, report).await;
        documents::check(cluster, controller, report).await;
        rollouts::check(&of_it, are_all_read, &suggest, report);
        let published = published(cluster, controller).await;
        let seen = seen(&published, controller);
        backends::check(cluster, (&of_it, &seen), &suggest, report).await;
        backends::check_destinations(cluster, (&of_it, &seen), report).await;
        gateway::check(cluster, controller, (&published, &of_it), report).await;
    }
}

/// What is published, with what a gateway makes of it; none, if there is no ConfigMap.
type Publication = Result<Option<(Published, Result<Parsed, Problems>)>, Failure>;

/// What the gateways are to have, if there are to be any.
async fn published(cluster: &Cluster, controller: &Controller) -> Publication {
    let settings = &controller.settings;
    if !settings.has_gateway() {
        return Ok(None);
    }
    let read = cluster.published_in(&settings.namespace, &settings.routes_configmap).await?;
    Ok(read.map(|published| {
        let parsed = published.parse();
        (published, parsed)
    }))
}

/// That it cannot be read is told with the gateways.
fn seen(published: &Publication, controller: &Controller) -> Seen {
    let documents = match published {
        Ok(Some((_, Ok(parsed)))) => parsed.documents.clone(),
        _ => Vec::new(),
    };
    Seen { documents, gateways: controller.settings.namespace.clone() }
}

/// What the version of something is to be.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const VERSIONS: &str = "versions";

/// Compares the version of a Deployment with that of this command line.
fn check_version(name: &str, version: Option<&str>, report: &mut Report) {
    match version {
        Some(VERSION) => report.pass(VERSIONS, format!("{name} has version {VERSION}, as this turnout has")),
        Some(other) => {
            let text = format!("{name} has version {other}, this turnout has {VERSION}");
            report.warn(VERSIONS, text, "use a turnout of the same version, or upgrade the release");
        }
        None => report.warn(VERSIONS, format!("{name} does not say which version it has"), "name an image with a tag"),
    }
}

impl Controller {
    fn governs(&self, rollout: &ModelRollout) -> bool {
        self.settings.governs(&rollout.metadata.namespace) && self.settings.class == rollout.spec.controller
    }
}
