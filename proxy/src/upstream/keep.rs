//! For how long a connection is kept when the request that has it is over.

use std::time::Duration;
use tokio::time::Instant;
use turnout_routes::router::BackendPolicy;

/// See the module.
#[derive(Clone, Copy, Default)]
pub(super) struct Keep {
    idle_timeout: Duration,
    max_age: Option<Duration>,
    /// None is without limit.
    max_requests: Option<u32>,
}

impl Keep {
    pub(super) fn new(policy: &BackendPolicy, default_idle_timeout: Duration) -> Self {
        Self {
            idle_timeout: policy.idle_timeout.unwrap_or(default_idle_timeout),
            max_age: policy.max_connection_age,
            max_requests: Some(policy.max_requests_per_connection).filter(|max| *max != 0),
        }
    }

    /// How long a connection may still wait for a request, if it may.
    pub(super) fn time_left(&self, made: Instant, requests: u32) -> Option<Duration> {
        if self.max_requests.is_some_and(|max| requests >= max) {
            return None;
        }
        let age_left = self.max_age.map_or(Some(Duration::MAX), |max| max.checked_sub(made.elapsed()));
        age_left.map(|left| left.min(self.idle_timeout)).filter(|left| !left.is_zero())
    }
}
