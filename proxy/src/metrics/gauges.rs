//! Gauges that are read off the gateway's state when it is scraped: weights, endpoints and requests in flight of the
//! snapshot that serves. What the controller and `turnout` know of a gateway they read here.

use super::Metrics;
use crate::snapshot::Snapshot;

impl Metrics {
    /// Sets the gauges that follow the snapshot; those of an older one are gone.
    pub(crate) fn observe_snapshot(&self, snapshot: &Snapshot) {
        for gauge in [&self.weight, &self.endpoints, &self.in_flight, &self.revision] {
            gauge.reset();
        }
        self.revision.with_label_values(&[&snapshot.revision]).set(1);
        for (origin, split) in snapshot.router.splits() {
            for target in split.targets() {
                let backend = match &target.backend {
                    Ok(id) => snapshot.router.backends()[id.0].to_string(),
                    Err(_) => target.host.clone(),
                };
                self.weight.with_label_values(&[&origin.to_string(), &backend]).set(i64::from(target.weight));
            }
        }
        for upstream in &snapshot.upstreams {
            let endpoints = upstream.endpoints().as_slice().len();
            self.endpoints.with_label_values(&[&upstream.name]).set(i64::try_from(endpoints).unwrap_or(i64::MAX));
            let in_flight = i64::try_from(upstream.in_flight()).unwrap_or(i64::MAX);
            self.in_flight.with_label_values(&[&upstream.name]).set(in_flight);
        }
    }
}
