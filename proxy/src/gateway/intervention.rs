//! What few requests carry with them while they are forwarded: what is left of a rule's intervention (`intervene.rs`),
//! cookies that their clients are given (`affinity.rs`), what takes their answers down (`shadow.rs`), and what these name of
//! them (`format.rs`).

use super::shadow::Tee;
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
    /// Takes the answer down that it is compared with.
    pub(super) tee: Option<Box<Tee>>,
    /// By which the client comes to the same endpoint the next time.
    pub(super) of_endpoint: Option<HeaderValue>,
    /// By which it comes to the same target.
    pub(super) of_target: Option<HeaderValue>,
}

/// A request as it was sent.
pub(super) struct Sent {
    pub(super) target: String,
    pub(super) authority: HeaderValue,
    pub(super) headers: HeaderMap,
}

impl Intervention {
    /// Gives the cookies and says in the answer who may read it, after the rule's own changes, as in Envoy. That of an
    /// endpoint is about the backend that answered. That of a target is given whatever the answer is: clients whose model
    /// fails would be assigned anew, and the other model would get them all in the end.
    pub(super) fn finish(&self, answer: &mut HeaderMap, is_of_backend: bool) {
        let of_endpoint = self.of_endpoint.as_ref().filter(|_| is_of_backend);
        for cookie in of_endpoint.into_iter().chain(&self.of_target) {
            answer.append(header::SET_COOKIE, cookie.clone());
        }
        if let Some((rule, origin)) = &self.page
            && let Some(policy) = &rule.cors
        {
            policy.allow(origin.clone(), answer);
        }
    }
}
