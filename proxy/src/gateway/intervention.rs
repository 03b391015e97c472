//! What few requests carry with them while they are forwarded: what is left of a rule's intervention (`intervene.rs`), a
//! cookie that their clients are given (`affinity.rs`), and what their answers name of them (`format.rs`).

use crate::upstream::InFlight;
use http::{HeaderMap, HeaderValue, header};
use std::sync::Arc;
use turnout_routes::router::Rule;

/// See the module.
#[derive(Default)]
pub(super) struct Intervention {
    /// Until it counts as in flight by itself.
    pub(super) in_flight: Option<InFlight>,
    /// The origin whose pages may read the answer, by the rule's policy.
    pub(super) page: Option<(Arc<Rule>, HeaderValue)>,
    /// The request as it was sent, where the answer's headers name something of it.
    pub(super) sent: Option<Sent>,
    /// By which the client comes to the same target, and the same endpoint, the next time.
    pub(super) set_cookies: Vec<HeaderValue>,
}

/// A request as it was sent.
pub(super) struct Sent {
    pub(super) target: String,
    pub(super) authority: HeaderValue,
    pub(super) headers: HeaderMap,
}

impl Intervention {
    /// Gives the cookies, which are about the backend that answered, and says in the answer who may read it. After the rule's own changes, as in Envoy.
    pub(super) fn finish(&self, answer: &mut HeaderMap, is_of_backend: bool) {
        for cookie in self.set_cookies.iter().filter(|_| is_of_backend) {
            answer.append(header::SET_COOKIE, cookie.clone());
        }
        if let Some((rule, origin)) = &self.page
            && let Some(policy) = &rule.cors
        {
            policy.allow(origin.clone(), answer);
        }
    }
}
