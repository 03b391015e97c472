//! The admin port, on loopback, for people who want to know why a request goes where it goes.

use super::Control;
use super::pages::no_routes;
use crate::snapshot::Snapshot;
use crate::upstream::Upstream;
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
use turnout_routes::router::Target;

/// `/routes`, `/explain`, `/pairs`.
pub(crate) fn admin_routes(control: &Arc<Control>) -> Router {
    Router::new()
        .route("/routes", get(routes))
        .route("/explain", get(explain_request))
        .route("/pairs", get(pairs))
        .layer(middleware::from_fn(refuse_rebinding))
        .with_state(Arc::clone(control))
}

/// Every split with its weights, backends and endpoints.
async fn routes(State(control): State<Arc<Control>>) -> Response {
    let Some(snapshot) = control.snapshots.current() else { return no_routes() };
    control.pages.write(move || Json(table(&snapshot))).await
}

fn table(snapshot: &Snapshot) -> Value {
    let routes = snapshot.router.splits().map(|(origin, split)| {
        let targets: Vec<Value> = split.targets().iter().map(|target| told(target, &snapshot.upstreams)).collect();
        json!({ "route": origin.in_full(), "targets": targets })
    });
    json!({ "revision": snapshot.revision, "routes": routes.collect::<Vec<_>>() })
}

fn told(target: &Target, upstreams: &[Arc<Upstream>]) -> Value {
    match &target.backend {
        Ok(id) => {
            let upstream = &upstreams[id.0];
            let state = upstream.state();
            let endpoints: Vec<_> = state.endpoints.as_slice().iter().map(|e| e.address.to_string()).collect();
            let (backend, in_flight) = (&upstream.name, upstream.in_flight());
            json!({ "backend": backend, "weight": target.weight, "endpoints": endpoints, "in_flight": in_flight })
        }
        Err(missing) => json!({ "backend": target.name, "weight": target.weight, "missing": missing.to_string() }),
    }
}

/// What `/explain` takes; `header` may come several times.
const PARAMETERS: [&str; 4] = ["method", "url", "header", "port"];

/// `/explain?method=POST&url=http://host/score&header=x-api-version: blue`: where the request would go, and why. The
/// Gateway's port is `port`, else the only one there is, else that of the URL.
async fn explain_request(
    State(control): State<Arc<Control>>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Response {
    let Some(snapshot) = control.snapshots.current() else { return no_routes() };
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    if let Some((unknown, _)) = parameters.iter().find(|(key, _)| !PARAMETERS.contains(&key.as_str())) {
        return refuse(&format!("`{unknown}` is not known here: write {}", PARAMETERS.join(", ")));
    }
    let first = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let headers = parameters.iter().filter(|(key, _)| key == "header").map(|(_, value)| value.as_str());
    let inquiry = Inquiry::new(first("method").unwrap_or("GET"), first("url").unwrap_or("/"), headers);
    match (inquiry, first("port").map(str::parse)) {
        (Ok(inquiry), None) => Json(explain(&snapshot.router, &inquiry.on_only_port(&snapshot.router))).into_response(),
        (Ok(inquiry), Some(Ok(port))) => Json(explain(&snapshot.router, &inquiry.on_port(port))).into_response(),
        (Err(error), _) => refuse(&error.to_string()),
        (Ok(_), Some(Err(_))) => refuse("`port` is not the port of a Gateway"),
    }
}

/// Of each policy that wants them kept, the pairs of answers that differ most.
async fn pairs(State(control): State<Arc<Control>>) -> Response {
    let pairs = Arc::clone(&control.pairs);
    control.pages.write(move || Json(pairs.worst())).await
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
