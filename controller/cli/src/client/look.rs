//! What is there around a rollout of a directory: the endpoints that its documents name, and its gateways.

use super::directory::{Directory, GatewayAddresses};
use super::http;
use super::mount::{KEY, Mount, revision_of};
use super::observe;
use super::view::{BackendView, GatewayView, View};
use tokio::task::JoinSet;
use turnout_rollout::{Backend, ModelRollout};
use turnout_routes::documents::Document;
use turnout_routes::{Source, parse};

/// Looks.
pub(crate) async fn around(directory: &Directory, rollout: &ModelRollout) -> anyhow::Result<View> {
    let published = Mount::new(directory.routes()).current()?;
    let source = [Source { name: KEY, bytes: published.as_deref().unwrap_or_default().as_bytes() }];
    let documents = parse(&source).map(|parsed| parsed.documents).unwrap_or_default();
    let (green, blue, gateways) = tokio::join!(
        backend(&documents, rollout, Backend::Green),
        backend(&documents, rollout, Backend::Blue),
        gateways(directory),
    );
    let mut gateways = gateways?;
    for gateway in &mut gateways {
        gateway.observe(&documents, rollout);
    }
    Ok(View {
        backends: [Some(green), Some(blue)],
        gateways,
        published: published.as_deref().map(revision_of),
        notes: Vec::new(),
    })
}

async fn backend(documents: &[Document], rollout: &ModelRollout, backend: Backend) -> BackendView {
    let endpoints = observe::endpoints(documents, rollout, backend);
    let mut revisions: Vec<String> = endpoints.iter().filter_map(|endpoint| endpoint.revision.clone()).collect();
    revisions.sort();
    revisions.dedup();
    let ready = observe::backend(&endpoints).await.ready.len();
    BackendView { replicas: endpoints.len(), ready, revisions, troubles: Vec::new() }
}

async fn gateways(directory: &Directory) -> anyhow::Result<Vec<GatewayView>> {
    let mut asked = JoinSet::new();
    for (id, addresses) in directory.gateway_addresses()? {
        asked.spawn(ask(id, addresses));
    }
    let mut gateways = asked.join_all().await;
    gateways.sort_by(|one: &GatewayView, other| one.report.id().cmp(other.report.id()));
    Ok(gateways)
}

async fn ask(id: String, addresses: Option<GatewayAddresses>) -> GatewayView {
    let Some(addresses) = addresses else { return GatewayView::silent(id, "its file cannot be read".to_owned()) };
    let status = addresses.status.to_string();
    match tokio::try_join!(http::get(&status, "/revision"), http::get(&status, "/backends")) {
        Ok(((_, revision), (_, backends))) => GatewayView::read(id, &revision, &backends),
        Err(error) => GatewayView::silent(id, format!("{error:#}")),
    }
}
