//! What is left of a rule's intervention (`intervene.rs`) while its request is forwarded.

use crate::upstream::InFlight;
use http::{HeaderMap, HeaderValue};
use std::sync::Arc;
use turnout_routes::router::Rule;

/// See the module.
pub(super) struct Intervention {
    /// Until it counts as in flight by itself.
    pub(super) in_flight: Option<InFlight>,
    /// The origin whose pages may read the answer, by the rule's policy.
    pub(super) page: Option<(Arc<Rule>, HeaderValue)>,
}

impl Intervention {
    /// Says in the answer who may read it. After the rule's own changes, as in Envoy.
    pub(super) fn finish(&self, answer: &mut HeaderMap) {
        if let Some((rule, origin)) = &self.page
            && let Some(policy) = &rule.cors
        {
            policy.allow(origin.clone(), answer);
        }
    }
}
