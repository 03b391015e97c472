//! Forwarding: from a target of the split to the request that its backend gets, and from the backend's answer to the
//! one that the client gets.

use super::exchange::{Answer, Exchange};
use super::headers::{self, EnvoyRequestHeaders, Forwarded};
use super::{Gateway, Incoming, WorkerSnapshot};
use crate::body::{BodyLimits, ClientBody, Deadline, RequestBody, ResponseBody, ResponseLimits, UpstreamBody};
use crate::error::{Flags, GatewayError};
use crate::telemetry::record::Record;
use crate::upstream::InFlight;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};
use std::sync::Arc;
use std::time::Duration;
use turnout_routes::router::{Route, Target};

impl Gateway {
    /// Sends the request to the target and passes the answer on.
    pub(super) async fn forward(
        &self,
        snapshot: &WorkerSnapshot,
        route: &Route,
        target: &Target,
        mut incoming: Incoming<'_>,
        body: ClientBody,
        mut record: Record,
    ) -> Response<ResponseBody> {
        let result = self.exchange(snapshot, route, target, &mut incoming, body, &mut record).await;
        match result {
            Ok(answer) => self.pass_on(answer, target, &incoming, record),
            Err((error, retries_exhausted)) => {
                let mut answer = self.local_error(error, &incoming.request_id).with_rule_headers(route, &incoming);
                answer.flags = Flags { flag: error.flag(), retries_exhausted };
                answer.into_response(record)
            }
        }
    }

    /// The exchange with the backend, within the rule's time-out. In an error, whether all tries were used up. The request
    /// counts as in flight before anything is waited for: a worker that turns has counted whatever it has routed.
    async fn exchange(
        &self,
        snapshot: &WorkerSnapshot,
        route: &Route,
        target: &Target,
        incoming: &mut Incoming<'_>,
        body: ClientBody,
        record: &mut Record,
    ) -> Result<Answer, (GatewayError, bool)> {
        let backend_id = target.backend.map_err(|missing| (GatewayError::BackendMissing(missing), false))?;
        let upstream = &snapshot.upstreams[backend_id.0];
        let in_flight = InFlight::at(upstream);
        let backend = &snapshot.shared.router.backends()[backend_id.0];
        let policy = upstream.shared.state().policy;
        record.workload = Some(Arc::clone(&backend.workload));
        record.grpc = is_grpc(&incoming.parts.headers);

        let rule = &route.rule;
        let keeps_head = rule.retry.may_send_again(record.grpc);
        let limits = BodyLimits {
            max_bytes: self.settings.max_body_bytes,
            read_ahead_bytes: self.settings.buffer_bytes,
            replay_bytes: if keeps_head { self.settings.retry_buffer_bytes } else { 0 },
        };
        let body = RequestBody::read(body, limits, &record.request_bytes).await.map_err(|error| (error, false))?;
        let request = self.upstream_request(route, target, incoming, &body).map_err(|error| (error, false))?;
        let retry = &rule.retry;
        let exchange = Exchange { gateway: self, upstream, policy, retry, body: body.clone(), keeps_head, in_flight };
        let Some(timeout) = rule.timeout else {
            return exchange.run(request, record).await;
        };
        let mut deadline: Deadline = Box::pin(expired(body, timeout));
        tokio::select! {
            biased;
            result = exchange.run(request, record) => result.map(|answer| Answer { deadline: Some(deadline), ..answer }),
            () = &mut deadline => Err((GatewayError::Timeout, false)),
        }
    }

    /// The request as the backend gets it, without its body. The client's headers are used up.
    fn upstream_request(
        &self,
        route: &Route,
        target: &Target,
        incoming: &mut Incoming<'_>,
        body: &RequestBody,
    ) -> Result<Request<()>, GatewayError> {
        let settings = &self.settings.headers;
        let keeps_headers = target.response_headers.needs_request_headers()
            || route.rule.local_response_headers.needs_request_headers();
        let mut headers =
            if keeps_headers { incoming.parts.headers.clone() } else { std::mem::take(&mut incoming.parts.headers) };
        let (head, uri) = (&incoming.head, &incoming.parts.uri);
        let rewritten = route.rewrite(head.path(uri), uri.query());
        let context = incoming.format_context(0, None);

        if headers.remove(header::CONTENT_LENGTH).is_some() && body.is_empty() {
            // The encoder says nothing of a body that is not there, but a POST without a length is refused by some.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        headers::add_forwarded(
            &mut headers,
            &Forwarded {
                client: incoming.connection.client(),
                scheme: incoming.connection.transport().scheme(),
                trusted: incoming.trusted,
                request_id: &incoming.request_id,
            },
        );
        if settings.envoy_headers {
            let original_path = rewritten.as_ref().map(|_| head.target(uri)).transpose()?;
            let envoy = EnvoyRequestHeaders {
                client: incoming.connection.client(),
                original_path: original_path.as_ref().map(PathAndQuery::as_str),
                original_host: target.authority.as_ref().map(|_| &head.authority),
                timeout_ms: route.rule.timeout.map(|timeout| timeout.as_millis()),
            };
            headers::add_envoy_request_headers(&mut headers, &envoy);
        }
        target.request_headers.apply(&mut headers, &context);
        headers.insert(header::HOST, target.authority.as_ref().unwrap_or(&head.authority).clone());
        if body.is_chunked() {
            headers::set_chunked(&mut headers);
        }

        let mut request = Request::new(());
        *request.method_mut() = incoming.parts.method.clone();
        *request.uri_mut() = Uri::from(match rewritten {
            Some(target) => rewritten_target(target)?,
            None => head.target(uri)?,
        });
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The backend's answer as the client gets it.
    fn pass_on(
        &self,
        answer: Answer,
        target: &Target,
        incoming: &Incoming<'_>,
        mut record: Record,
    ) -> Response<ResponseBody> {
        let (mut parts, upstream_body) = answer.response.into_parts();
        // HTTP/1 is written as the client's connection has it; hyper takes HTTP/1.0 here for a wish to close.
        parts.version = if incoming.parts.version == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
        headers::sanitise_response(&mut parts.headers);
        if self.settings.headers.envoy_headers {
            headers::set_service_time(&mut parts.headers, record.started().elapsed().as_millis());
        }
        let context = incoming.format_context(parts.status.as_u16(), Some(&incoming.parts.headers));
        target.response_headers.apply(&mut parts.headers, &context);
        record.answer(parts.status, answer.flags);
        let body = UpstreamBody {
            incoming: upstream_body,
            lease: Some((answer.lease, answer.in_flight)),
            policy: answer.policy,
            idle_timeout: self.settings.upstream_idle_timeout,
            request_body: answer.request_body,
        };
        // HTTP/1 has one response at a time, so there the connection is watched; HTTP/2 has many.
        let stall = (parts.version == Version::HTTP_2).then_some(self.settings.stall_timeout);
        let limits = ResponseLimits { deadline: answer.deadline, stall };
        Response::from_parts(parts, ResponseBody::upstream(body, limits, record))
    }
}

/// A rule's time-out counts from the moment that the request has come whole, as Envoy's does.
pub(super) async fn expired(body: RequestBody, timeout: Duration) {
    body.received().await;
    tokio::time::sleep(timeout).await;
}

/// A rewrite puts two harmless texts together; the path must not climb by it.
fn rewritten_target(target: String) -> Result<PathAndQuery, GatewayError> {
    let path = target.split('?').next().unwrap_or_default();
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(GatewayError::BadRequest("the rewritten path holds a dot segment"));
    }
    PathAndQuery::try_from(target).map_err(|_| GatewayError::BadRequest("the rewritten target is not a valid one"))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
