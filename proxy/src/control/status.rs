//! The status port, for kubelet, Prometheus and the controller: alive, ready, which revision, all metrics.

use super::{Control, backends, evidence, gauges};
use crate::snapshot::Snapshot;
use crate::telemetry::exposition::Exposition;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Json, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// The version of the route language, raised when a gateway begins to understand documents that older ones refuse.
const LANGUAGE_VERSION: u32 = 1;
/// How long a scrape waits for the workers' counts. They take no time unless a worker is stuck.
const FLUSH: Duration = Duration::from_secs(1);

/// `/livez`, `/readyz` and what Istio's gateway calls it, `/metrics`, `/backends`, `/evidence`, `/revision`.
pub(crate) fn status_routes(control: &Arc<Control>) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/healthz/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/backends", get(backends))
        .route("/evidence", get(evidence))
        .route("/revision", get(revision))
        .with_state(Arc::clone(control))
}

/// Alive while every worker turns.
async fn live(State(control): State<Arc<Control>>) -> (StatusCode, String) {
    let stuck: Vec<_> = (0..control.workers.len()).filter(|number| !control.workers[*number].is_alive()).collect();
    if stuck.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("workers do not turn: {stuck:?}\n"))
    }
}

/// Ready once there are routes, until the gateway leaves. Where nobody has published any it does what it is told, too: an
/// installation is complete before its first routes. One that cannot read them, or refuses them, is not ready.
async fn ready(State(control): State<Arc<Control>>) -> (StatusCode, &'static str) {
    let is_new = || control.snapshots.rejected().is_some_and(|rejected| rejected.is_nothing);
    if control.drain.is_leaving() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else if control.snapshots.current().is_some() {
        (StatusCode::OK, "ok\n")
    } else if is_new() {
        (StatusCode::OK, "ok, but no routes are published yet: every request is answered 503 no_routes\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no routes yet; see /revision\n")
    }
}

async fn metrics(State(control): State<Arc<Control>>) -> Response {
    let snapshot = settled_snapshot(&control).await;
    let state = Arc::clone(&control);
    let write = move || {
        let mut text = Exposition::after(state.metrics.render());
        if let Some(snapshot) = snapshot {
            gauges::write(&mut text, &snapshot, &state.registry, &state.credentials);
        }
        evidence::write(&mut text, &state.evidence);
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text.into_text())
    };
    control.pages.write(write).await
}

/// The weights, the endpoints and the requests in flight of every backend.
async fn backends(State(control): State<Arc<Control>>) -> Response {
    let snapshot = settled_snapshot(&control).await;
    let registry = Arc::clone(&control.registry);
    control.pages.write(move || backends::page(snapshot.as_deref(), &registry)).await
}

/// What became of the requests that policies govern.
async fn evidence(State(control): State<Arc<Control>>) -> Response {
    settled_snapshot(&control).await;
    let evidence = Arc::clone(&control.evidence);
    control.pages.write(move || Json(evidence.page())).await
}

/// The snapshot that serves. It is taken before the workers are asked: by the time they have answered, every request that
/// saw an older one is in flight at its backend or over, so none hides behind weights that are in effect already. A worker
/// that does not answer in time is left out, and counted.
async fn settled_snapshot(control: &Control) -> Option<Arc<Snapshot>> {
    let snapshot = control.snapshots.current();
    let late = flush(control.workers.iter().cloned().map(|worker| async move { worker.flush_metrics().await })).await;
    if late > 0 {
        tracing::warn!(workers = late, "not in time for a scrape");
        control.metrics.late_workers.inc_by(late);
    }
    snapshot
}

/// Waits for all at once; says how many have not answered in time.
async fn flush<F: Future<Output = ()> + Send + 'static>(workers: impl Iterator<Item = F>) -> u64 {
    let mut asked: JoinSet<()> = workers.collect();
    let answered = async { while asked.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FLUSH, answered).await;
    u64::try_from(asked.len()).unwrap_or(u64::MAX)
}

/// The revision that every worker serves, what a person should know of it, and the one that was refused.
async fn revision(State(control): State<Arc<Control>>) -> Json<Value> {
    let current = control.snapshots.current();
    let rejected = control.snapshots.rejected().filter(|rejected| current.is_some() || !rejected.is_nothing);
    let unusable = control.credentials.report().into_iter().filter_map(|(name, report)| {
        let why = report.unusable?;
        Some(format!("the newest certificate of the credential {name} cannot be used: {why}"))
    });
    let of_routes = current.as_ref().map(|snapshot| snapshot.warnings.clone()).unwrap_or_default();
    Json(json!({
        "active": current.as_ref().map(|snapshot| &snapshot.revision),
        "warnings": of_routes.into_iter().chain(unusable).collect::<Vec<_>>(),
        "unreadable": control.snapshots.unreadable(),
        "rejected": rejected.map(|rejected| json!({ "revision": rejected.revision, "reason": rejected.reason })),
        "language": LANGUAGE_VERSION,
    }))
}

#[cfg(test)]
mod tests {
    use super::flush;
    use std::future::{Future, pending, ready};
    use std::pin::Pin;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_stuck_holds_no_scrape_up() {
        type Worker = Pin<Box<dyn Future<Output = ()> + Send>>;
        let workers = |stuck: &[bool]| -> Vec<Worker> {
            stuck
                .iter()
                .map(|stuck| -> Worker {
                    if *stuck { Box::pin(pending()) } else { Box::pin(ready(())) }
                })
                .collect()
        };
        for (stuck, late) in [(&[][..], 0), (&[false, false], 0), (&[true, false, true], 2)] {
            assert_eq!(flush(workers(stuck).into_iter()).await, late, "{stuck:?}");
        }
    }
}
