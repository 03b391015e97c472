//! The process: one replica (`replica`) that answers probes and ends when it is told to, or when it has failed.

use crate::client::connect;
use crate::heart::Heart;
use crate::replica::Replica;
use crate::settings::Settings;
use crate::telemetry::Telemetry;
use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use turnout_driver::outbound::Direct;
use turnout_rollout::Timestamp;

/// Runs until SIGTERM or SIGINT, or until it cannot go on, which is an error.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let listen = settings.listen;
    // The lease has connections of its own: what rounds have hanging does not hold a renewal up.
    let replica = Replica::new([connect()?, connect()?], settings, Arc::new(Direct), Arc::new(now));
    let status = serve_status(listen, replica.telemetry.clone(), replica.heart.clone()).await?;
    let ended = replica.run(wait_for_signal()).await;
    status.abort();
    ended
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

async fn serve_status(
    listen: SocketAddr,
    telemetry: Telemetry,
    heart: Arc<Heart>,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let answer = |is_fine: bool| if is_fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (live, ready) = (heart.clone(), heart);
    let router = Router::new()
        .route("/livez", get(async move || answer(live.is_live())))
        .route("/readyz", get(async move || answer(ready.is_ready())))
        .route("/metrics", get(async move || telemetry.text()));
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!("the status port has failed: {error}");
        }
    }))
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    Ok(())
}
