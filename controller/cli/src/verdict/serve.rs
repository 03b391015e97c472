//! The verdict for those who ask a URL: an analysis that reads JSON, and hooks that go by the status.

use super::Judge;
use crate::output::{DONE, print, remark};
use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{MethodRouter, any};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use turnout_verdict::judge::Decision;

/// So many are judged at a time; each asks the sources anew.
const MOST_AT_A_TIME: usize = 8;

struct Site {
    judge: Judge,
    places: Semaphore,
}

/// Reads `PORT`, of this machine alone, or `ADDRESS:PORT`.
pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let local = text.parse().ok().map(|port: u16| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    local.or_else(|| text.parse().ok()).ok_or_else(|| format!("`{text}` is neither PORT nor ADDRESS:PORT"))
}

/// Until it is told to end.
pub(super) async fn serve(listen: SocketAddr, judge: Judge) -> anyhow::Result<u8> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    print(&format!("http://{}/verdict", listener.local_addr().context("cannot listen")?))?;
    let site = Arc::new(Site { judge, places: Semaphore::new(MOST_AT_A_TIME) });
    let router = Router::new()
        .route("/verdict", page(|_| StatusCode::OK))
        .route("/promote", page(|decision| yes(decision == Decision::Promote)))
        .route("/rollback", page(|decision| yes(decision == Decision::RollBack)))
        .with_state(site);
    tokio::select! {
        served = axum::serve(listener, router).into_future() => served.context("cannot serve")?,
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(DONE)
}

/// Hooks take any other 4xx for the same; a 5xx some would ask again.
fn yes(is_so: bool) -> StatusCode {
    if is_so { StatusCode::OK } else { StatusCode::CONFLICT }
}

/// Analyses ask by GET, hooks by POST; what they send is not read.
fn page(status: fn(Decision) -> StatusCode) -> MethodRouter<Arc<Site>> {
    any(async move |State(site): State<Arc<Site>>| answer(&site, status).await)
}

async fn answer(site: &Site, status: fn(Decision) -> StatusCode) -> Response {
    let failed = |status, error: &str| (status, Json(json!({ "error": error }))).into_response();
    let Ok(_place) = site.places.try_acquire() else {
        return failed(StatusCode::SERVICE_UNAVAILABLE, "too many ask at the same time");
    };
    match site.judge.look().await {
        Ok(judged) => (status(judged.verdict.decision), Json(judged.to_json())).into_response(),
        Err(error) => {
            let error = format!("{error:#}");
            remark(&error);
            failed(StatusCode::BAD_GATEWAY, &error)
        }
    }
}
