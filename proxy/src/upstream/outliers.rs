//! Outlier detection: an endpoint that keeps failing is ejected, which is to say left out of the choice for a while; for
//! longer each time that it happens again. What is known of an endpoint (`health.rs`) lives as long as the endpoint. No weight is looked at: a version whose endpoints are all ejected gets 503, not another's place.

use super::clock::clock_ms;
use super::health::TryOutcome;
use super::{Endpoint, EndpointSet, Upstream, UpstreamState};
use std::sync::PoisonError;
use turnout_routes::router::Outliers;

impl EndpointSet {
    fn ejected(&self, now_ms: u64) -> usize {
        self.as_slice().iter().filter(|endpoint| endpoint.health.is_ejected(now_ms)).count()
    }

    /// Whether those that are ejected are left out: not where too few would be left.
    pub(super) fn leaves_out(&self, policy: &Outliers, now_ms: u64) -> bool {
        let (ejected, all) = (self.ejected(now_ms), self.as_slice().len());
        ejected > 0 && (all - ejected) * 100 >= usize::from(policy.min_health_percent) * all
    }
}

impl UpstreamState {
    /// How many are ejected, where endpoints are judged at all.
    pub(crate) fn ejected(&self) -> Option<usize> {
        self.policy.outliers.map(|_| self.endpoints.ejected(clock_ms()))
    }
}

impl Upstream {
    /// Takes note of what came of a try, and ejects the endpoint if that was once too often and not too many are ejected
    /// already. Returns for what it was.
    pub(super) fn judge(&self, endpoint: &Endpoint, outcome: TryOutcome) -> Option<&'static str> {
        let state = self.state();
        let policy = state.policy.outliers.as_ref()?;
        let cause = endpoint.health.count(outcome, policy)?;
        // Two workers may come here at a time, and each would find room for one more.
        let _deciding = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = clock_ms();
        let (ejected, all) = (state.endpoints.ejected(now_ms), state.endpoints.as_slice().len());
        let is_too_much = (ejected + 1) * 100 > usize::from(policy.max_ejection_percent) * all;
        if endpoint.health.is_ejected(now_ms) || is_too_much {
            return None;
        }
        let duration = endpoint.health.eject(policy, now_ms);
        let address = endpoint.address;
        tracing::warn!(upstream = self.name, endpoint = %address, cause, ?duration, "endpoint ejected: it keeps failing");
        Some(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::health::tests::POLICY;

    #[test]
    fn nobody_is_left_out_where_too_few_would_be_left() {
        let set = EndpointSet::at_ports(&[1, 2, 3, 4]);
        let leaves_out = |percent: u8| set.leaves_out(&Outliers { min_health_percent: percent, ..POLICY }, 1);
        assert!(!leaves_out(0), "nobody is ejected");
        set.as_slice()[0].health.eject(&POLICY, 1);
        assert_eq!([0, 75, 76].map(leaves_out), [true, true, false]);
    }
}
