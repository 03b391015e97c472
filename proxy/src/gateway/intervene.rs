//! What a rule does with a request before it is forwarded: faults that it injects to see how clients take them, and what
//! pages of other origins are told. Few rules do, and the requests of no other carry room for it.

use super::answer::Answer;
use super::request::Inbound;
use super::{Gateway, WorkerSnapshot};
use crate::telemetry::record::Record;
use crate::upstream::InFlight;
use std::sync::Arc;
use turnout_routes::router::{CorsAnswer, Forward, Injected, Rule, inject};

/// Whether the rule does something with a request before it is forwarded.
pub(super) fn intervenes(rule: &Rule) -> bool {
    rule.fault.is_some() || rule.cors.is_some()
}

impl Gateway {
    /// Does what the rule does, and forwards the request unless it goes no further. One that is to wait counts as in flight
    /// meanwhile.
    pub(super) async fn intervene<'s>(
        &self,
        snapshot: &'s WorkerSnapshot,
        forward: &Forward<'s>,
        inbound: &mut Inbound,
        record: &mut Record,
    ) -> Answer<'s> {
        let Forward { route, target, .. } = *forward;
        let in_flight = target.backend.ok().map(|backend| {
            record.destination.workload = Some(Arc::clone(&snapshot.shared.router.backends()[backend.0].workload));
            InFlight::at(&snapshot.upstreams[backend.0], &route.rule)
        });
        if let Some(fault) = &route.rule.fault {
            let Injected { delay, abort } = inject(fault, [self.random.next_u64(), self.random.next_u64()]);
            if let Some(delay) = delay {
                record.delay();
                tokio::time::sleep(delay).await;
            }
            if let Some(with) = abort {
                let answer = Answer::aborted(with, record.grpc).governed_by(&target.response_headers);
                return answer.leaving(inbound.body.take());
            }
        }
        let mut page = None;
        if let Some(policy) = &route.rule.cors {
            match policy.answer(&inbound.parts.method, &inbound.parts.headers) {
                CorsAnswer::Nothing => {}
                CorsAnswer::Allowed(origin) => page = Some((Arc::clone(&route.rule), origin)),
                CorsAnswer::Preflight(headers) => return Answer::preflight(headers).leaving(inbound.body.take()),
            }
        }
        let intervention = inbound.intervention.get_or_insert_default();
        (intervention.in_flight, intervention.page) = (in_flight, page);
        self.forward(snapshot, forward, inbound, record).await
    }
}
