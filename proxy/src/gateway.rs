//! The way of a request, in reading order: [`Gateway::handle`] admits the head, loads one snapshot and asks it for a
//! decision; [`forward`] carries the exchange with a backend; every answer, wherever it comes from, leaves by
//! [`Gateway::finish`]. One `Gateway` per worker, used by one thread only.

mod affinity;
mod answer;
mod attempts;
mod copies;
mod deadline;
mod format;
mod forward;
mod grpc;
mod head;
mod headers;
mod held;
mod intervene;
mod intervention;
mod mirror;
mod refusal;
mod request;
mod response_body;
mod shadow;
mod trial;
mod tunnel;
mod watch;

pub(crate) use response_body::ResponseBody;

use crate::client::{OpenRequest, StreamEnd};
use crate::credentials::Credentials;
use crate::drain::Drain;
use crate::error::{ErrorFormat, GatewayError};
use crate::evidence::{WorkerEpoch, WorkerEvidence};
use crate::pairs::Pairs;
use crate::random::Random;
use crate::settings::RequestSettings;
use crate::snapshot::{Snapshot, Snapshots};
use crate::telemetry::record::{Record, Telemetry};
use crate::upstream::{WorkerUpstream, WorkerUpstreams};
use answer::Answer;
use http::{Request, Response};
use hyper::body::Incoming;
use intervene::intervenes;
use mirror::Mirrors;
use request::Inbound;
use response_body::Closing;
use shadow::{Shadow, Shadows};
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use tokio_util::either::Either;
use trial::trial;
use turnout_routes::router::{Assigned, Decision, Draws, Forward, LocalAnswer, Role, Target};

/// One worker's gateway.
pub(crate) struct Gateway {
    settings: Arc<RequestSettings>,
    snapshots: Arc<Snapshots>,
    current: RefCell<Option<Rc<WorkerSnapshot>>>,
    upstreams: WorkerUpstreams,
    mirrors: Mirrors,
    evidence: WorkerEvidence,
    shadows: Shadows,
    telemetry: Rc<Telemetry>,
    drain: Arc<Drain>,
    random: Rc<Random>,
}

/// A snapshot with this worker's side of its upstreams.
struct WorkerSnapshot {
    shared: Arc<Snapshot>,
    /// By `BackendId`.
    upstreams: Vec<Rc<WorkerUpstream>>,
    /// By the index of the router's policies.
    evidence: Vec<Option<Rc<WorkerEpoch>>>,
    /// Likewise, of those that have one.
    shadows: Vec<Option<Rc<Shadow>>>,
}

impl WorkerSnapshot {
    /// Who is asked beside a request that stable answers.
    fn shadow(&self, forward: &Forward<'_>) -> Option<&Rc<Shadow>> {
        let policy = forward.route.rule.policy.as_ref()?;
        self.shadows.get(policy.index)?.as_ref().filter(|_| forward.role() == Role::Stable)
    }
}

impl Gateway {
    pub(crate) fn new(
        settings: &Arc<RequestSettings>,
        snapshots: &Arc<Snapshots>,
        credentials: &Arc<Credentials>,
        telemetry: &Rc<Telemetry>,
        drain: &Arc<Drain>,
        pairs: &Arc<Pairs>,
    ) -> Self {
        let random = Rc::new(Random::new());
        let metrics = telemetry.metrics.shared();
        for error in GatewayError::EACH {
            metrics.local_answers.with_label_values(&[error.reason(), error.fault().as_str()]);
        }
        Self {
            upstreams: WorkerUpstreams::new(
                &random,
                metrics,
                credentials,
                settings.upstream_idle_timeout,
                settings.stall_timeout,
            ),
            mirrors: Mirrors::new(metrics),
            evidence: WorkerEvidence::default(),
            shadows: Shadows::new(pairs),
            settings: Arc::clone(settings),
            snapshots: Arc::clone(snapshots),
            current: RefCell::default(),
            telemetry: Rc::clone(telemetry),
            drain: Arc::clone(drain),
            random,
        }
    }

    /// Answers one request. It always gets an answer; what went wrong is in it. `stream` ends the answer of an HTTP/2
    /// request whose client takes nothing of it.
    ///
    /// What it begins with is done before there is a future, which would hold room for the request a second time.
    pub(crate) fn handle(
        self: &Rc<Self>,
        mut open: OpenRequest,
        stream: Option<Rc<StreamEnd>>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
        let (parts, body) = request.into_parts();
        let mut record = Record::start(&self.telemetry, open.client.peer, parts.method.clone(), parts.version);
        let mut inbound = Inbound::new(self, &open.client, (parts, std::mem::take(&mut open.raw)), body);
        let snapshot = inbound.admit(self, &mut record).and_then(|()| self.snapshot().ok_or(GatewayError::NoRoutes));
        let gateway = Rc::clone(self);
        async move {
            let answer = match &snapshot {
                Ok(snapshot) => gateway.answer(snapshot, &mut inbound, &mut record).await,
                Err(error) => gateway.error(*error, &inbound, &record).leaving(inbound.body.take()),
            };
            Ok(gateway.finish(answer, &inbound, Closing { record, open, stream }))
        }
    }

    /// Does what is decided on a request.
    async fn answer<'s>(&self, snapshot: &'s WorkerSnapshot, inbound: &mut Inbound, record: &mut Record) -> Answer<'s> {
        let draws = Draws { split: self.random.next_u64(), tickets: &snapshot.shared.tickets };
        let mut decision = snapshot.shared.router.decide(&inbound.routing_head(), draws);
        if let (Some(detail), Some(route)) = (&mut record.detail, decision.route()) {
            detail.rule = Some(Arc::clone(&route.rule));
        }
        let local = match &mut decision {
            Decision::Forward(forward) => {
                forward.target = self.present(snapshot, forward);
                if let Assigned::NewCookie(number) = forward.assigned {
                    affinity::give_cookie(forward, number, inbound);
                }
                let forward = &*forward;
                record.trial = trial(snapshot, forward, inbound);
                // One of two futures: one after the other would take more room in every request.
                let forwarding = if intervenes(&forward.route.rule) {
                    Either::Left(Box::pin(self.intervene(snapshot, forward, inbound, record)))
                } else {
                    Either::Right(self.forward(snapshot, forward, inbound, record))
                };
                return forwarding.await;
            }
            Decision::NoRoute => self.error(GatewayError::NoRoute, inbound, record),
            Decision::ToHttps(redirection) => Answer::redirect(redirection),
            Decision::Answer(answer) => match &answer.content {
                LocalAnswer::Redirect(redirection) => Answer::redirect(redirection),
                LocalAnswer::Direct(direct) => Answer::direct(direct),
            }
            .governed_by(&answer.route.rule.local_response_headers),
        };
        local.leaving(inbound.body.take())
    }

    /// Whom the weights chose, or, where it has them newly and DNS has no address of it yet, one of the others by their
    /// weights. After that while its requests get 503, as in Istio.
    fn present<'s>(&self, snapshot: &WorkerSnapshot, forward: &Forward<'s>) -> &'s Target {
        let chosen = forward.target;
        if !forward.split.is_by_weight() || !snapshot.is_passed_over(chosen) {
            return chosen;
        }
        let is_present = |target: &Target| snapshot.upstream(target).is_some_and(|upstream| upstream.has_endpoints());
        forward.split.draw_among(self.random.next_u64(), is_present).unwrap_or(chosen)
    }

    /// The answer to a request that goes no further.
    fn error(&self, error: GatewayError, inbound: &Inbound, record: &Record) -> Answer<'static> {
        self.count_error(error);
        let format = if record.grpc { ErrorFormat::Text } else { ErrorFormat::Json };
        let mut answer = Answer::error(error, &inbound.request_id.value(), format);
        if error == GatewayError::Overflow && self.settings.headers.envoy_headers {
            headers::set_overloaded(&mut answer.parts.headers);
        }
        answer
    }

    fn count_error(&self, error: GatewayError) {
        let answers = &self.telemetry.metrics.shared().local_answers;
        answers.with_label_values(&[error.reason(), error.fault().as_str()]).inc();
    }

    /// This worker's side of the snapshot that serves at this moment.
    fn snapshot(&self) -> Option<Rc<WorkerSnapshot>> {
        let mut current = self.current.borrow_mut();
        if !self.snapshots.is_current(current.as_ref().map(|snapshot| &snapshot.shared)) {
            *current = self.snapshots.current().map(|shared| {
                let upstreams: Vec<_> = shared.upstreams.iter().map(|upstream| self.upstreams.of(upstream)).collect();
                let evidence = self.evidence.of(&shared.evidence);
                let shadows = self.shadows.of(&shared, &upstreams);
                let snapshot = WorkerSnapshot { shared, upstreams, evidence, shadows };
                self.mirrors.announce(&snapshot);
                Rc::new(snapshot)
            });
        }
        current.clone()
    }

    /// Work that is not done for any request: called about once a second.
    pub(crate) fn tick(&self) {
        self.snapshot();
        self.upstreams.sweep();
        self.evidence.flush();
        self.shadows.flush();
        self.telemetry.metrics.forget_gone();
    }

    pub(crate) fn flush_metrics(&self) {
        self.upstreams.flush_metrics();
        self.evidence.flush();
        self.shadows.flush();
        self.telemetry.metrics.flush();
    }
}

impl WorkerSnapshot {
    fn upstream(&self, target: &Target) -> Option<&Rc<WorkerUpstream>> {
        target.backend.ok().map(|id| &self.upstreams[id.0])
    }

    /// Whether weights choose others in its place. What the documents leave without an endpoint stays chosen.
    fn is_passed_over(&self, target: &Target) -> bool {
        let is_absent = |upstream: &Rc<WorkerUpstream>| upstream.shared.is_awaited() && !upstream.has_endpoints();
        self.upstream(target).is_some_and(is_absent) && !target.gets_503()
    }
}

#[cfg(test)]
mod tests;
