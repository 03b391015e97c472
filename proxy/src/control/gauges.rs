//! Gauges that are read off the gateway's state when it is scraped: weights, endpoints and requests in flight of the
//! snapshot that serves. What the controller and `turnout` know of a gateway they read here, above all whether a backend
//! may go: so one that the snapshot does not name any more is told until the last request to it has ended.

use crate::snapshot::Snapshot;
use crate::telemetry::metrics::Metrics;
use crate::upstream::{Registry, Upstream};
use std::collections::HashSet;
use turnout_routes::address_digest;
use turnout_routes::router::BackendWeight;

impl Metrics {
    /// Sets the gauges that follow the snapshot. Of those of an older one only requests in flight are left, where there
    /// are any.
    pub(crate) fn observe_snapshot(&self, snapshot: &Snapshot, registry: &Registry) {
        for gauge in [&self.weight, &self.endpoints, &self.endpoints_digest, &self.in_flight, &self.revision] {
            gauge.reset();
        }
        self.revision.with_label_values(&[&snapshot.revision]).set(1);
        for BackendWeight { route, backend, weight } in snapshot.router.weights() {
            self.weight.with_label_values(&[route, backend]).set(i64::try_from(*weight).unwrap_or(i64::MAX));
        }
        for upstream in &snapshot.upstreams {
            let state = upstream.state();
            let known = state.endpoints.as_slice();
            let digest = address_digest(known.iter().map(|endpoint| endpoint.address.ip()));
            let endpoints = i64::try_from(known.len()).unwrap_or(i64::MAX);
            self.endpoints.with_label_values(&[&upstream.name]).set(endpoints);
            self.endpoints_digest.with_label_values(&[&upstream.name]).set(i64::try_from(digest).unwrap_or(i64::MAX));
            self.set_in_flight(upstream);
        }
        let named: HashSet<u64> = snapshot.upstreams.iter().map(|upstream| upstream.id).collect();
        let dropped = registry.living().into_iter().filter(|upstream| !named.contains(&upstream.id));
        dropped.filter(|upstream| upstream.in_flight() > 0).for_each(|upstream| self.set_in_flight(&upstream));
    }

    fn set_in_flight(&self, upstream: &Upstream) {
        let in_flight = i64::try_from(upstream.in_flight()).unwrap_or(i64::MAX);
        self.in_flight.with_label_values(&[&upstream.name]).set(in_flight);
    }
}
