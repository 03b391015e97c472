//! What the gateway does otherwise than Istio, on purpose. Everything else is a failure, and so is an entry here that
//! does not differ, or no longer.

/// Fields of requests of one case that differ, and why.
#[derive(Debug)]
pub(crate) struct Deliberate {
    /// `family/case`
    pub(crate) case: &'static str,
    /// Which requests of the case, from 1.
    pub(crate) requests: &'static [usize],
    /// Which fields of each of them, as failures name them: `status`, `response header content-type`, ...
    pub(crate) fields: &'static [&'static str],
    pub(crate) reason: &'static str,
}

impl Deliberate {
    /// Whether this entry is about that field of that request.
    pub(crate) fn covers(&self, case: &str, request: usize, field: &str) -> bool {
        self.case == case && self.requests.contains(&request) && self.fields.contains(&field)
    }
}

/// A case whose documents the gateway refuses, because it does not support one of their fields.
#[derive(Debug)]
pub(crate) struct Refused {
    /// `family/case`
    pub(crate) case: &'static str,
    /// The field, which the reason of the refusal must name.
    pub(crate) field: &'static str,
}

/// Every case that is refused.
pub(crate) const REFUSED: &[Refused] = &[Refused { case: "match/delegate", field: "delegate" }];

/// Cases about what the gateway does not do yet, and says so: tunnels. Any difference in them is known.
pub(crate) const UNSUPPORTED: &[&str] = &[];

/// What a request that is refused lacks of one that is forwarded.
const REFUSAL: &[&str] = &["status", "backend", "path"];

const LENGTH: &[&str] = &["response header content-length"];
const BODY: &[&str] = &["response header content-length", "response header content-type"];

/// An answer that the gateway makes itself says why, for people and programs: Envoy's says it in its log alone.
const OWN_ANSWER: &str = "the gateway's own answers are JSON with error, reason and request_id";

/// A backend that decodes `%2F` would see another path than the one that was matched.
const HIDDEN_DOT_SEGMENT: &str = "a dot segment behind an escaped slash is refused with 400";

/// Istio's gateway goes on trying an endpoint that refuses connections as often as any other.
const AVOIDED: &str = "an endpoint that could not be connected to is avoided for a while";

/// Every deliberate difference.
pub(crate) const DELIBERATE: &[Deliberate] = &[
    differs("destination/subset-not-in-destination-rule", &[1], LENGTH, OWN_ANSWER),
    differs("destination/unknown-service", &[1], BODY, OWN_ANSWER),
    differs("match/no-match-is-404", &[1], BODY, OWN_ANSWER),
    differs("timeout/route-timeout", &[1], BODY, OWN_ANSWER),
    differs("match/path-normalisation", &[13], REFUSAL, HIDDEN_DOT_SEGMENT),
    differs("retry/attempts-0-disables", &[1], &["share of status 200", "share of status 503"], AVOIDED),
];

const fn differs(
    case: &'static str,
    requests: &'static [usize],
    fields: &'static [&'static str],
    reason: &'static str,
) -> Deliberate {
    Deliberate { case, requests, fields, reason }
}
