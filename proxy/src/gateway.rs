//! The way of a request, in reading order: [`Gateway::handle`] loads one snapshot, checks the head, selects the route
//! and acts on it; [`forward`] picks a target and carries the exchange with its backend. One `Gateway` per worker, used
//! by one thread only.

mod exchange;
mod forward;
mod head;
mod headers;

use crate::body::{ClientBody, ResponseBody};
use crate::downstream::serve::ConnectionInfo;
use crate::drain::Drain;
use crate::error::{Flags, GatewayError};
use crate::settings::RequestSettings;
use crate::snapshot::{Snapshot, Snapshots};
use crate::telemetry::record::{Record, Telemetry};
use crate::upstream::{WorkerUpstream, WorkerUpstreams};
use bytes::Bytes;
use head::{Head, HeadLimits};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use turnout_routes::documents::DirectResponse;
use turnout_routes::router::{self as routes, Answer, Decision, Draws, FormatContext, Forward, Redirection, Route};

/// One worker's gateway.
pub(crate) struct Gateway {
    settings: Arc<RequestSettings>,
    snapshots: Arc<Snapshots>,
    current: RefCell<Option<Rc<WorkerSnapshot>>>,
    upstreams: WorkerUpstreams,
    telemetry: Rc<Telemetry>,
    drain: Arc<Drain>,
    random: RefCell<SmallRng>,
}

/// A snapshot with this worker's side of its upstreams.
struct WorkerSnapshot {
    shared: Arc<Snapshot>,
    /// By `BackendId`.
    upstreams: Vec<Rc<WorkerUpstream>>,
}

/// A request whose head has been read, with what is known of where it came from.
struct Incoming<'a> {
    connection: &'a ConnectionInfo,
    parts: Parts,
    head: Head,
    request_id: HeaderValue,
    trusted: bool,
}

/// An answer without a body that streams, and what the record says of it.
struct LocalAnswer {
    response: Response<Bytes>,
    flags: Flags,
}

impl Gateway {
    pub(crate) fn new(
        settings: &Arc<RequestSettings>,
        snapshots: &Arc<Snapshots>,
        telemetry: &Rc<Telemetry>,
        drain: &Arc<Drain>,
    ) -> Self {
        Self {
            settings: Arc::clone(settings),
            snapshots: Arc::clone(snapshots),
            current: RefCell::default(),
            upstreams: WorkerUpstreams::default(),
            telemetry: Rc::clone(telemetry),
            drain: Arc::clone(drain),
            random: RefCell::new(SmallRng::from_rng(&mut rand::rng())),
        }
    }

    /// Answers one request. It always gets an answer; what went wrong is in it.
    pub(crate) async fn handle(
        &self,
        connection: &Rc<ConnectionInfo>,
        request: Request<ClientBody>,
    ) -> Response<ResponseBody> {
        let (parts, body) = request.into_parts();
        let version = parts.version;
        let mut record = Record::start(&self.telemetry, connection, &parts.method, version);
        let mut response = match self.admit(connection, parts, &mut record) {
            Ok((snapshot, incoming)) => self.route(&snapshot, incoming, body, record).await,
            Err((error, request_id)) => self.local_error(error, &request_id).into_response(record),
        };
        let closing = self.drain.is_leaving() || connection.is_used_up();
        headers::finish_response(response.headers_mut(), self.settings.headers, closing, version);
        response
    }

    /// Checks the head and loads the snapshot that the request is going to see.
    fn admit<'a>(
        &self,
        connection: &'a ConnectionInfo,
        mut parts: Parts,
        record: &mut Record,
    ) -> Result<(Rc<WorkerSnapshot>, Incoming<'a>), (GatewayError, HeaderValue)> {
        let trusted = self.settings.trusts(connection.peer.ip());
        let request_id = headers::request_id(&parts.headers, trusted, || self.random_u128());
        if let Some(detail) = &mut record.detail {
            detail.request_id = Some(request_id.clone());
            detail.target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        }
        let limits =
            HeadLimits { max_target_bytes: self.settings.max_target_bytes, max_fields: self.settings.max_headers };
        let read = Head::read(&parts, connection.is_tls(), limits).and_then(|head| {
            headers::sanitise_request(&mut parts.headers, trusted, self.settings.headers)?;
            if parts.version == Version::HTTP_2 {
                headers::join_cookies(&mut parts.headers);
            }
            Ok((self.snapshot().ok_or(GatewayError::NoRoutes)?, head))
        });
        match read {
            Ok((snapshot, head)) => {
                if let Some(detail) = &mut record.detail {
                    head.authority().clone_into(&mut detail.authority);
                }
                Ok((snapshot, Incoming { connection, parts, head, request_id, trusted }))
            }
            Err(error) => Err((error, request_id)),
        }
    }

    /// Selects the route and acts on it.
    async fn route(
        &self,
        snapshot: &WorkerSnapshot,
        incoming: Incoming<'_>,
        body: ClientBody,
        mut record: Record,
    ) -> Response<ResponseBody> {
        let request = incoming.routing_head();
        let draws = Draws { split: self.random.borrow_mut().next_u64() };
        let decision = snapshot.shared.router.decide(&request, draws);
        if let (Some(detail), Some(route)) = (&mut record.detail, decision.route()) {
            detail.rule = Some(Arc::clone(&route.rule));
        }
        let answer = match decision {
            Decision::NoRoute => self.local_error(GatewayError::NoRoute, &incoming.request_id),
            Decision::ToHttps(redirection) => LocalAnswer::redirect(&redirection),
            Decision::Answer(Answer { route, content }) => match content {
                routes::LocalAnswer::Redirect(redirection) => LocalAnswer::redirect(&redirection),
                routes::LocalAnswer::Direct(direct) => LocalAnswer::direct(direct),
            }
            .with_rule_headers(route, &incoming),
            Decision::Forward(Forward { route, target, .. }) => {
                return self.forward(snapshot, route, target, incoming, body, record).await;
            }
        };
        answer.into_response(record)
    }

    /// The answer to a request that goes no further.
    fn local_error(&self, error: GatewayError, request_id: &HeaderValue) -> LocalAnswer {
        let answers = &self.telemetry.metrics.shared().local_answers;
        answers.with_label_values(&[error.reason(), error.fault().as_str()]).inc();
        LocalAnswer::error(error, request_id)
    }

    /// This worker's side of the snapshot that serves at this moment.
    fn snapshot(&self) -> Option<Rc<WorkerSnapshot>> {
        let mut current = self.current.borrow_mut();
        if !self.snapshots.is_current(current.as_ref().map(|snapshot| &snapshot.shared)) {
            *current = self.snapshots.current().map(|shared| {
                let upstreams = shared.upstreams.iter().map(|upstream| self.upstreams.of(upstream)).collect();
                Rc::new(WorkerSnapshot { shared, upstreams })
            });
        }
        current.clone()
    }

    /// Work that is not done for any request: called about once a second.
    pub(crate) fn tick(&self) {
        self.snapshot();
        self.upstreams.sweep();
    }

    pub(crate) fn flush_metrics(&self) {
        self.telemetry.metrics.flush();
    }

    fn random_u128(&self) -> u128 {
        let mut random = self.random.borrow_mut();
        (u128::from(random.next_u64()) << 64) | u128::from(random.next_u64())
    }
}

impl Incoming<'_> {
    fn routing_head(&self) -> turnout_routes::router::RequestHead<'_> {
        let connection = self.connection;
        self.head.request(connection.gateway_port, connection.transport(), &self.parts)
    }

    fn format_context<'a>(&self, response_code: u16, request_headers: Option<&'a HeaderMap>) -> FormatContext<'a> {
        let (protocol, client) = (self.parts.version, self.connection.peer.ip());
        FormatContext { protocol, response_code, client, request_headers }
    }
}

impl LocalAnswer {
    fn error(error: GatewayError, request_id: &HeaderValue) -> Self {
        let response = error.response(request_id.to_str().unwrap_or_default());
        Self { response, flags: Flags { flag: error.flag(), retries_exhausted: false } }
    }

    fn redirect(redirection: &Redirection) -> Self {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = redirection.status;
        match HeaderValue::from_str(&redirection.location) {
            Ok(location) => {
                response.headers_mut().insert(header::LOCATION, location);
            }
            // Path, query and authority were checked to be graphic ASCII, so this does not happen.
            Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
        }
        Self { response, flags: Flags::NONE }
    }

    fn direct(direct: &DirectResponse) -> Self {
        let mut response = Response::new(direct.body.clone());
        *response.status_mut() = direct.status;
        if !direct.body.is_empty() {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        Self { response, flags: Flags::NONE }
    }

    /// Applies what the rule does to responses; an answer of the gateway itself is one.
    fn with_rule_headers(mut self, route: &Route, incoming: &Incoming<'_>) -> Self {
        let context = incoming.format_context(self.response.status().as_u16(), Some(&incoming.parts.headers));
        route.rule.local_response_headers.apply(self.response.headers_mut(), &context);
        self
    }

    fn into_response(mut self, mut record: Record) -> Response<ResponseBody> {
        record.answer(self.response.status(), self.flags);
        if record.is_head() {
            // HTTP/2 would send the body of an answer to HEAD; only its length is meant.
            let length = HeaderValue::from(self.response.body().len());
            self.response.headers_mut().insert(header::CONTENT_LENGTH, length);
            *self.response.body_mut() = Bytes::new();
        }
        self.response.map(|body| ResponseBody::local(body, record))
    }
}
