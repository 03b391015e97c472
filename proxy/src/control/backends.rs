//! The backends as whoever drives a rollout sees them, on one page and of one snapshot: what they get, where they are, and
//! what runs there, told apart by the rule that sent it. A split waits for what it gave to a backend, not for what another
//! rule pins there. A backend that the snapshot does not name any more is told until its last request has ended.

use crate::snapshot::Snapshot;
use crate::upstream::{Registry, Upstream};
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Serialize)]
struct Page<'a> {
    /// None before the first table.
    revision: Option<&'a str>,
    /// By name.
    backends: Vec<Told<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    /// `host:port` or `host:port/subset`.
    backend: &'a str,
    endpoints: usize,
    endpoints_digest: u64,
    /// Of the endpoints those that outlier detection leaves out, where it looks at them.
    #[serde(skip_serializing_if = "Option::is_none")]
    ejected: Option<usize>,
    weights: Vec<Weight<'a>>,
    in_flight: Vec<InFlight>,
}

#[derive(Serialize)]
struct Weight<'a> {
    route: &'a str,
    weight: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InFlight {
    route: String,
    /// Weights chose the backend; else the rule has no other destination.
    by_weight: bool,
    requests: u64,
}

/// Writes the page. What a table names and cannot serve has weights and no endpoints.
pub(super) fn page(snapshot: Option<&Snapshot>, registry: &Registry) -> Response {
    let named = snapshot.map(|snapshot| &snapshot.upstreams[..]).unwrap_or_default();
    let dropped = registry.busy_besides(named);
    let mut backends: BTreeMap<&str, Told<'_>> = BTreeMap::new();
    for upstream in named.iter().chain(&dropped) {
        backends.insert(&upstream.name, Told::of(upstream));
    }
    for weight in snapshot.map(|snapshot| snapshot.router.weights()).unwrap_or_default() {
        let told = backends.entry(&weight.backend).or_default();
        told.weights.push(Weight { route: &weight.route, weight: weight.weight });
    }
    let backends = backends.into_iter().map(|(backend, told)| Told { backend, ..told }).collect();
    Json(Page { revision: snapshot.map(|snapshot| snapshot.revision.as_str()), backends }).into_response()
}

impl Told<'_> {
    fn of(upstream: &Arc<Upstream>) -> Self {
        let state = upstream.state();
        let in_flight = upstream.in_flight_by_route().into_iter();
        Self {
            endpoints: state.endpoints.as_slice().len(),
            endpoints_digest: state.address_digest(),
            ejected: state.ejected(),
            in_flight: in_flight
                .map(|((route, by_weight), requests)| InFlight { route, by_weight, requests })
                .collect(),
            ..Self::default()
        }
    }
}
