//! The gateway's own ports, on the control runtime and never on the data path. Status is for kubelet, Prometheus and the
//! controller; admin, on loopback, is for people who want to know why a request goes where it goes.

use crate::downstream::worker::WorkerHandle;
use crate::drain::Drain;
use crate::snapshot::Snapshots;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Registry;
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use turnout_routes::explain::{Inquiry, explain};

/// The version of the route language, raised when a gateway begins to understand documents that older ones refuse.
const LANGUAGE_VERSION: u32 = 1;

/// What the ports tell about.
pub(crate) struct Control {
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) workers: Vec<WorkerHandle>,
    pub(crate) drain: Arc<Drain>,
}

/// `/livez`, `/readyz`, `/metrics`, `/revision`.
pub(crate) fn status_routes(control: &Arc<Control>) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/revision", get(revision))
        .with_state(Arc::clone(control))
}

/// `/routes`, `/explain`.
pub(crate) fn admin_routes(control: &Arc<Control>) -> Router {
    Router::new()
        .route("/routes", get(routes))
        .route("/explain", get(explain_request))
        .layer(middleware::from_fn(refuse_rebinding))
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

/// Ready once there are routes, until the gateway leaves.
async fn ready(State(control): State<Arc<Control>>) -> (StatusCode, &'static str) {
    if control.drain.is_leaving() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else if control.snapshots.current().is_none() {
        (StatusCode::SERVICE_UNAVAILABLE, "no routes yet; see /revision\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

/// The snapshot is taken before the workers are asked: by the time they have answered, every request that saw an older
/// one is in flight at its backend or over, so none hides behind weights that are in effect already.
async fn metrics(State(control): State<Arc<Control>>) -> impl IntoResponse {
    let snapshot = control.snapshots.current();
    for worker in &control.workers {
        worker.flush_metrics().await;
    }
    if let Some(snapshot) = snapshot {
        control.metrics.observe_snapshot(&snapshot, &control.registry);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], control.metrics.render())
}

/// The revision that every worker serves, and the one that was refused.
async fn revision(State(control): State<Arc<Control>>) -> Json<Value> {
    let rejected = control.snapshots.rejected();
    Json(json!({
        "active": control.snapshots.current().map(|snapshot| snapshot.revision.clone()),
        "rejected": rejected.map(|rejected| json!({ "revision": rejected.revision, "reason": rejected.reason })),
        "language": LANGUAGE_VERSION,
    }))
}

/// Every split with its weights, backends and endpoints.
async fn routes(State(control): State<Arc<Control>>) -> Response {
    let Some(snapshot) = control.snapshots.current() else { return no_routes() };
    let routes: Vec<Value> = snapshot
        .router
        .splits()
        .map(|(origin, split)| {
            let targets: Vec<Value> = split
                .targets()
                .iter()
                .map(|target| match &target.backend {
                    Ok(id) => {
                        let upstream = &snapshot.upstreams[id.0];
                        let state = upstream.state();
                        let endpoints: Vec<_> = state.endpoints.as_slice().iter().map(|e| e.address.to_string()).collect();
                        let in_flight = upstream.in_flight();
                        json!({ "backend": upstream.name, "weight": target.weight, "endpoints": endpoints, "in_flight": in_flight })
                    }
                    Err(missing) => json!({ "backend": target.name, "weight": target.weight, "missing": missing.to_string() }),
                })
                .collect();
            json!({ "route": origin.to_string(), "targets": targets })
        })
        .collect();
    Json(json!({ "revision": snapshot.revision, "routes": routes })).into_response()
}

/// `/explain?method=POST&url=http://host/score&header=x-api-version: blue`: where the request would go, and why.
async fn explain_request(
    State(control): State<Arc<Control>>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Response {
    let Some(snapshot) = control.snapshots.current() else { return no_routes() };
    let first = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let headers = parameters.iter().filter(|(key, _)| key == "header").map(|(_, value)| value.as_str());
    let inquiry = Inquiry::new(first("method").unwrap_or("GET"), first("url").unwrap_or("/"), headers);
    match inquiry {
        Ok(inquiry) => Json(explain(&snapshot.router, &inquiry)).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error.to_string() }))).into_response(),
    }
}

fn no_routes() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "no routes yet; see /revision on the status port" })))
        .into_response()
}

/// A page in a browser can reach loopback under a name of its own (DNS rebinding); under an address or `localhost` it
/// cannot.
async fn refuse_rebinding(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    if name == "localhost" || name.parse::<IpAddr>().is_ok() {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "ask for localhost or an address\n").into_response()
}
