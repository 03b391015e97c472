//! Gauges that are read off the gateway's state when it is scraped: weights, endpoints and requests in flight of the
//! snapshot that serves, and its certificates. Whether a backend may go is read here, too: so one that the snapshot does
//! not name any more is told until the last request to it has ended.

use crate::credentials::Credentials;
use crate::snapshot::Snapshot;
use crate::telemetry::exposition::Exposition;
use crate::upstream::Registry;

/// Writes the gauges. Of older snapshots only requests in flight are left, where there are any.
pub(super) fn write(text: &mut Exposition, snapshot: &Snapshot, registry: &Registry, credentials: &Credentials) {
    let revision = [([snapshot.revision.as_str()], 1)];
    text.gauges("turnout_routes_revision", "1 for the revision that serves.", ["revision"], revision);
    let weights = snapshot.router.weights().iter().map(|weight| ([&weight.backend, &weight.route], weight.weight));
    text.gauges("turnout_weight", "Weights in effect.", ["backend", "route"], weights);
    write_upstreams(text, snapshot, registry);
    let unserved = snapshot.unserved_ports.iter().map(|port| ([port.to_string()], 1));
    text.gauges("turnout_gateway_port_unserved", "1 for a Gateway port that no listener serves.", ["port"], unserved);
    write_credentials(text, credentials);
}

fn write_upstreams(text: &mut Exposition, snapshot: &Snapshot, registry: &Registry) {
    let states: Vec<_> = snapshot.upstreams.iter().map(|upstream| (upstream, upstream.state())).collect();
    let known = states.iter().map(|(upstream, state)| ([&upstream.name], state.endpoints.as_slice().len()));
    text.gauges("turnout_upstream_endpoints", "Endpoints that are known.", ["backend"], known);
    let judged = states.iter().filter_map(|(upstream, state)| Some(([&upstream.name], state.ejected()?)));
    text.gauges("turnout_upstream_endpoints_ejected", "Endpoints left out for a while.", ["backend"], judged);
    let digests = states.iter().map(|(upstream, state)| ([&upstream.name], state.address_digest()));
    let help = "Which addresses these are: the same number for the same set.";
    text.gauges("turnout_upstream_endpoints_digest", help, ["backend"], digests);

    let dropped = registry.busy_besides(&snapshot.upstreams);
    let told = snapshot.upstreams.iter().chain(&dropped).map(|upstream| ([&upstream.name], upstream.in_flight()));
    text.gauges("turnout_requests_in_flight", "Requests given to a backend and not over.", ["backend"], told);
}

fn write_credentials(text: &mut Exposition, credentials: &Credentials) {
    let report = credentials.report();
    let missing = report.iter().filter(|(_, credential)| credential.unusable.is_some()).map(|(name, _)| ([name], 1));
    let help = "1 for a certificate that a Gateway names and that cannot be used.";
    text.gauges("turnout_credential_missing", help, ["credential"], missing);
    let expiry = report.iter().filter_map(|(name, credential)| Some(([name], credential.expires?)));
    let help = "When a certificate ends, in seconds since 1970.";
    text.gauges("turnout_credential_expiry_seconds", help, ["credential"], expiry);
}
