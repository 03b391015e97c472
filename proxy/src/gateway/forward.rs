//! Forwarding: from the target of a decision to the request that its backend gets, and from the backend's answer to the
//! one that the client gets.

use super::affinity::affinity;
use super::answer::Answer;
use super::attempts::Failed;
use super::deadline::{Deadline, deadline, within};
use super::format::OfRequest;
use super::grpc;
use super::headers::{self, EnvoyRequestHeaders, Forwarded};
use super::intervention::Sent;
use super::request::Inbound;
use super::response_body::Passing;
use super::tunnel::Tunnel;
use super::{Gateway, WorkerSnapshot};
use crate::body::replay::RequestBody;
use crate::body::stream::BodyLimits;
use crate::error::{Flags, GatewayError};
use crate::raw_target::WireTarget;
use crate::telemetry::record::Record;
use crate::upstream::{Asked, InFlight, Outgoing, OutgoingHead, UpstreamBody};
use http::{Response, StatusCode, header};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use turnout_routes::router::{Forward, Replaced, Route, Rule, Target};

/// A backend's answer, with what it takes to pass it on.
struct Forwarding {
    response: Response<UpstreamBody>,
    in_flight: InFlight,
    request: RequestBody,
    deadline: Option<Deadline>,
    flags: Flags,
}

impl Gateway {
    /// Sends the request to its target and takes its answer.
    pub(super) async fn forward<'s>(
        &self,
        snapshot: &'s WorkerSnapshot,
        forward: &Forward<'s>,
        inbound: &mut Inbound,
        record: &mut Record,
    ) -> Answer<'s> {
        match self.exchange(snapshot, forward, inbound, record).await {
            Ok(Forwarding { mut response, in_flight, request, deadline, flags }) => {
                record.conclude(&response);
                if self.settings.headers.envoy_headers {
                    headers::set_service_time(response.headers_mut(), record.elapsed().as_millis());
                }
                let stall_timeout = self.settings.stall_timeout;
                let mut tee = inbound.intervention.as_mut().and_then(|intervention| intervention.tee.take());
                if let Some(tee) = &mut tee {
                    tee.begin(&response, record.destination.endpoint, record.outcome(), record.retries > 0);
                }
                let answer = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    Answer::tunnel(response, |body| Tunnel::new(body, in_flight, &self.settings))
                } else {
                    let passing = |body| Passing::new(body, in_flight, request, deadline, stall_timeout, tee);
                    Answer::passing(response, passing)
                };
                Answer { changes: Some(&forward.target.response_headers), flags, ..answer }
            }
            Err(Failed { error, retries_exhausted }) => {
                record.conclude_error(error);
                if let Some(mut tee) = inbound.intervention.as_mut().and_then(|intervention| intervention.tee.take()) {
                    tee.fail(record.outcome());
                }
                let answer = self.error(error, inbound, record).governed_by(&forward.target.response_headers);
                let answer = answer.leaving(inbound.body.take());
                Answer { flags: Flags { retries_exhausted, ..Flags::of(error.flag()) }, ..answer }
            }
        }
    }

    /// The exchange with the backend, within the rule's time-out. The request counts as in flight before anything is
    /// waited for: a worker that turns has counted whatever it has routed.
    async fn exchange(
        &self,
        snapshot: &WorkerSnapshot,
        forward: &Forward<'_>,
        inbound: &mut Inbound,
        record: &mut Record,
    ) -> Result<Forwarding, Failed> {
        let Forward { route, target, .. } = forward;
        let backend = target.backend.map_err(GatewayError::BackendMissing)?;
        let upstream = &snapshot.upstreams[backend.0];
        let in_flight = inbound.intervention.as_mut().and_then(|intervention| intervention.in_flight.take());
        let in_flight = in_flight.unwrap_or_else(|| InFlight::at(upstream, &route.rule));
        record.destination.workload = Some(Arc::clone(&snapshot.shared.router.backends()[backend.0].workload));

        let speaks_http2 = upstream.speaks_http2(inbound.parts.version);
        let keeps_head = route.rule.retry.may_send_again(record.grpc, speaks_http2);
        let limits = BodyLimits {
            max_bytes: self.settings.max_body_bytes,
            read_ahead_bytes: self.settings.buffer_bytes,
            // Over HTTP/2 the two sides may talk by turns, as gRPC's do, and a slow client holds a stream and no worker.
            waits: !(speaks_http2 && inbound.is_http2()),
            replay_bytes: if keeps_head { self.settings.retry_buffer_bytes } else { 0 },
        };
        let request = RequestBody::read(&mut inbound.body, limits, &mut record.request_bytes).await?;
        let patience = if record.grpc { grpc::timeout(&inbound.parts.headers) } else { None };
        let timeout = [route.rule.timeout, patience].into_iter().flatten().min();
        if timeout != route.rule.timeout {
            record.hurry();
        }
        let mut limit = timeout.map(|timeout| deadline(&request, timeout));
        let mut outgoing = self
            .outgoing(route, target, inbound, request.clone(), keeps_head)
            .inspect_err(|_| inbound.body = request.take_unread())?;
        if record.grpc && !outgoing.asks_tunnel() {
            outgoing.asks_for = Asked::GrpcAnswer;
        }
        // A mirror could say nothing in the tunnel, and would wait in it.
        if !route.rule.mirrors.is_empty() && !outgoing.asks_tunnel() && upstream.has_endpoints() {
            self.mirrors.send(snapshot, &route.rule, &outgoing, &self.random);
        }
        if let Some(shadow) = snapshot.shadow(forward).filter(|_| !outgoing.asks_tunnel())
            && let Some(tee) = shadow.begin(upstream, &outgoing, &route.rule, &self.random)
        {
            inbound.intervention.get_or_insert_default().tee = Some(tee);
        }
        outgoing.hash = upstream.hash(|key| affinity(key, inbound, &outgoing));
        let tried = {
            let trying = pin!(self.attempts(upstream, &route.rule.retry, &mut outgoing, record));
            within(&mut limit, trying).await
        };
        let tried = tried.unwrap_or_else(|| {
            upstream.gave_up(&mut outgoing, record.destination.endpoint);
            record.run_out();
            Err(GatewayError::Timeout.into())
        });
        match tried {
            Ok((response, flags)) => Ok(Forwarding { response, in_flight, request, deadline: limit, flags }),
            Err(failed) => {
                record.end_try();
                inbound.body = request.take_unread();
                Err(failed)
            }
        }
    }

    /// The request as it is to be sent. The client's headers are used up, unless its answer needs them.
    fn outgoing(
        &self,
        route: &Route,
        target: &Target,
        inbound: &mut Inbound,
        body: RequestBody,
        keeps_head: bool,
    ) -> Result<Outgoing, GatewayError> {
        let settings = &self.settings.headers;
        let mut headers = std::mem::take(&mut inbound.parts.headers);
        let (head, uri) = (&inbound.head, &inbound.parts.uri);
        let rewritten = route.rewrite(head.path(uri), head.query(uri));

        let says_empty = headers.remove(header::CONTENT_LENGTH).is_some();
        let client = &inbound.client;
        headers::add_forwarded(
            &mut headers,
            Forwarded {
                client: client.address(),
                certificate: client.certificate(),
                scheme: client.scheme(),
                trusted: inbound.trusted,
                request_id: inbound.request_id.value(),
            },
        );
        if settings.envoy_headers {
            let envoy = EnvoyRequestHeaders {
                client: client.address(),
                original_path: rewritten.as_ref().map(|_| head.target(uri)),
                original_host: target.authority.as_ref().and(match &target.replaced {
                    Replaced::Clients => Some(&head.authority),
                    Replaced::Destinations(authority) => Some(authority),
                    Replaced::Untold => None,
                }),
                timeout_ms: expected_timeout(&route.rule).map(|timeout| timeout.as_millis()),
            };
            headers::add_envoy_request_headers(&mut headers, &envoy);
            headers::set_attempt_count(&mut headers, 1);
        }
        target.request_headers.apply(&mut headers, &OfRequest(inbound));
        let authority = target.authority.as_ref().unwrap_or(&head.authority).clone();
        let is_named = target.response_headers.reads_request();
        let sent = is_named.then(|| {
            let target = rewritten.as_deref().unwrap_or_else(|| head.target(uri)).to_owned();
            Sent { target, authority: authority.clone(), headers: headers.clone() }
        });
        let wire_target = rewritten.map_or_else(|| head.wire_target(uri), rewritten_target);
        if sent.is_some() {
            inbound.intervention.get_or_insert_default().sent = sent;
        }
        let WireTarget { uri: target, raw } = wire_target?;
        let head = OutgoingHead { method: inbound.parts.method.clone(), target, headers };
        let mut outgoing = Outgoing::new(head, authority, body, says_empty, keeps_head).with_raw(raw);
        outgoing.client_version = inbound.parts.version;
        if inbound.asks_tunnel {
            outgoing.asks_for = Asked::Tunnel;
        }
        Ok(outgoing)
    }
}

/// For how long a backend can expect that its answer is waited for.
fn expected_timeout(rule: &Rule) -> Option<Duration> {
    [rule.timeout, rule.retry.per_try_timeout].into_iter().flatten().min()
}

/// A rewrite puts two harmless texts together; the path must not climb by it.
fn rewritten_target(target: String) -> Result<WireTarget, GatewayError> {
    let path = target.split('?').next().unwrap_or_default();
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(GatewayError::BadRequest(&"the rewritten path holds a dot segment"));
    }
    WireTarget::try_from(target).map_err(|_| GatewayError::BadRequest(&"the rewritten target is not a valid one"))
}
