//! What the gateway does otherwise than Istio, on purpose. Everything else is a failure, and so is an entry here that
//! no longer differs.

/// One field of one case (or of one request of it) that differs, and why.
#[derive(Debug)]
pub(crate) struct Deliberate {
    /// `family/case`
    pub(crate) case: &'static str,
    /// Which request of the case, from 1; any of them if absent.
    pub(crate) request: Option<usize>,
    /// The field as failures name it: `status`, `response header content-type`, ...
    pub(crate) field: &'static str,
    pub(crate) reason: &'static str,
}

impl Deliberate {
    /// Whether this entry is about that field of that request.
    pub(crate) fn covers(&self, case: &str, request: usize, field: &str) -> bool {
        self.case == case && self.field == field && self.request.is_none_or(|own| own == request)
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

/// An answer that the gateway makes itself says why, for people and programs: Envoy's says it in its log alone.
const OWN_ANSWER: &str = "the gateway's own answers are JSON with error, reason and request_id";

/// A backend that decodes `%2F` would see another path than the one that was matched.
const HIDDEN_DOT_SEGMENT: &str = "a dot segment behind an escaped slash is refused with 400";

/// Istio's gateway goes on trying an endpoint that refuses connections as often as any other.
const AVOIDED: &str = "an endpoint that could not be connected to is avoided for a while";

/// Every deliberate difference.
pub(crate) const DELIBERATE: &[Deliberate] = &[
    own_answer("destination/subset-not-in-destination-rule", "response header content-length"),
    own_answer("destination/unknown-service", "response header content-length"),
    own_answer("destination/unknown-service", "response header content-type"),
    own_answer("match/no-match-is-404", "response header content-length"),
    own_answer("match/no-match-is-404", "response header content-type"),
    own_answer("timeout/route-timeout", "response header content-length"),
    own_answer("timeout/route-timeout", "response header content-type"),
    Deliberate { case: "match/path-normalisation", request: Some(13), field: "status", reason: HIDDEN_DOT_SEGMENT },
    Deliberate { case: "match/path-normalisation", request: Some(13), field: "backend", reason: HIDDEN_DOT_SEGMENT },
    Deliberate { case: "match/path-normalisation", request: Some(13), field: "path", reason: HIDDEN_DOT_SEGMENT },
    Deliberate { case: "retry/attempts-0-disables", request: Some(1), field: "share of status 200", reason: AVOIDED },
    Deliberate { case: "retry/attempts-0-disables", request: Some(1), field: "share of status 503", reason: AVOIDED },
];

/// A header that describes the body of an answer that the gateway makes itself.
const fn own_answer(case: &'static str, field: &'static str) -> Deliberate {
    Deliberate { case, request: Some(1), field, reason: OWN_ANSWER }
}
