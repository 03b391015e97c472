//! `outlierDetection`: endpoints that keep failing are left out for a while.

use crate::decode::{Decoded, Item};
use crate::encode::{Fields, duration};
use serde_json::Value;
use std::time::Duration;

/// `outlierDetection`; what is not set is Envoy's default. Of counts of failures in a row 0 switches one off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutlierDetection {
    /// `consecutive5xxErrors`.
    pub server_errors: Option<u32>,
    /// `consecutiveGatewayErrors`: of 502, 503 and 504.
    pub gateway_errors: Option<u32>,
    /// `splitExternalLocalOriginErrors`: what failed without an answer counts for itself, and not among the two above.
    pub split_local_failures: bool,
    /// `consecutiveLocalOriginFailures`.
    pub local_failures: Option<u32>,
    /// `interval`: after so long without another ejection the next one is shorter.
    pub interval: Option<Duration>,
    /// `baseEjectionTime`: for so long an endpoint is left out, times the ejections that it has had.
    pub base_ejection_time: Option<Duration>,
    /// `maxEjectionPercent`: no more of the endpoints are left out at a time.
    pub max_ejection_percent: Option<u8>,
    /// `minHealthPercent`: where fewer are left, nobody is left out.
    pub min_health_percent: Option<u8>,
}

impl OutlierDetection {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let failures = |item: &Item<'_>| item.unsigned(0..=i64::from(u32::MAX));
        let percent = |item: &Item<'_>| Ok(Some(item.unsigned(0..=100)?).filter(|percent| *percent != 0));
        let server_errors = object.field("consecutive5xxErrors", failures);
        let gateway_errors = object.field("consecutiveGatewayErrors", failures);
        let split_local_failures = object.field_or_default("splitExternalLocalOriginErrors", Item::boolean);
        let local_failures = object.field("consecutiveLocalOriginFailures", failures);
        let interval = object.field("interval", Item::duration);
        let base_ejection_time = object.field("baseEjectionTime", Item::duration);
        let max_ejection_percent = object.field_or_default("maxEjectionPercent", percent);
        let min_health_percent = object.field_or_default("minHealthPercent", percent);
        let of_older_istio = object.field("consecutiveErrors", |item| {
            let errors: u32 = item.unsigned(0..=i64::from(i32::MAX))?;
            if errors != 0 {
                item.warn("does nothing, as in Istio", "write consecutive5xxErrors or consecutiveGatewayErrors");
            }
            Ok(())
        });
        object.refuse(&["outlierDetectionHttpErrorCodes"]);
        object.finish();
        of_older_istio?;
        let (split_local_failures, local_failures) = (split_local_failures?, local_failures?);
        if !split_local_failures && local_failures.is_some_and(|failures| failures > 0) {
            let message = "consecutiveLocalOriginFailures counts nothing without splitExternalLocalOriginErrors: true";
            return Err(item.advise(message, "add it, or leave consecutiveLocalOriginFailures out"));
        }
        Ok(Self {
            server_errors: server_errors?,
            gateway_errors: gateway_errors?,
            split_local_failures,
            local_failures,
            interval: interval?,
            base_ejection_time: base_ejection_time?,
            max_ejection_percent: max_ejection_percent?,
            min_health_percent: min_health_percent?,
        })
    }

    pub(super) fn encode(&self) -> Value {
        Fields::new()
            .some("consecutive5xxErrors", self.server_errors)
            .some("consecutiveGatewayErrors", self.gateway_errors)
            .some("splitExternalLocalOriginErrors", self.split_local_failures.then_some(true))
            .some("consecutiveLocalOriginFailures", self.local_failures)
            .some("interval", self.interval.map(duration))
            .some("baseEjectionTime", self.base_ejection_time.map(duration))
            .some("maxEjectionPercent", self.max_ejection_percent)
            .some("minHealthPercent", self.min_health_percent)
            .into()
    }
}
