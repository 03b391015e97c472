//! One HTTP/1 connection to an endpoint. It is driven by the request that uses it, within that request's own task, so
//! nothing has to be handed to another task and back. Only a request whose body is still coming gives it a task of its
//! own: its backend may answer before it has taken the body, and a client that sends before it reads would wait for ever.
//! A request that asks for a tunnel has no body, so the socket of its connection is there to be taken.

use super::dress;
use super::gate::Gate;
use super::keep::Keep;
use super::limits::Leave;
use super::outgoing::{Outgoing, OutgoingHead};
use super::stream::{Stream, TlsPeer};
use super::target_io::{TargetIo, TargetState};
use crate::body::replay::TryBody;
use crate::io::StallLimited;
use crate::raw_target::PutBack;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;
use turnout_routes::router::Failure;

/// A backend's answer head may be this large; Envoy's limit. As many as 100 headers are hyper's own, which is left alone:
/// to be told the same number costs it a loop for each head.
const MAX_RESPONSE_HEADER_BYTES: usize = 60 << 10;

type Io = TokioIo<TargetIo<UpstreamSocket>>;
/// What a connection is made over.
pub(crate) type UpstreamSocket = StallLimited<Stream>;
/// What comes of a request; one that was not sent comes back.
type Sent = Result<Response<Incoming>, TrySendError<Request<TryBody>>>;

/// See the module. Dropped, it is closed.
pub(super) struct Http1 {
    sender: SendRequest<TryBody>,
    driver: Driver,
    target: Rc<TargetState>,
    gate: Gate,
    /// The gate's.
    waker: Waker,
    pub(super) made: Instant,
    /// For how long it is, when the request that has it is over.
    pub(super) keep: Keep,
    /// That it was used for.
    pub(super) requests: u32,
    /// Whether it has lain idle, so that its end is nobody's failure.
    pub(super) was_kept: bool,
    /// Where the number of connections is limited.
    pub(super) leave: Option<Leave>,
    /// Whom it was made for; none where it is in plain text.
    pub(super) peer: Option<Box<TlsPeer>>,
    /// Whether it is not to be used for another.
    is_spent: bool,
    /// Whether its request asks for a tunnel.
    asks_tunnel: bool,
}

/// Who makes the connection read and write.
#[expect(clippy::large_enum_variant, reason = "nearly every connection is of the large one, and all are boxed")]
enum Driver {
    /// The request that uses it.
    Request(Connection<Io, TryBody>),
    /// A task of its own.
    Task(AbortHandle),
    /// Nobody: HTTP is over, and may go on as something else.
    Left(Box<Connection<Io, TryBody>>),
    /// Nobody: it is over.
    Ended,
}

/// Why a request brought no answer.
pub(super) enum SendFailure {
    /// The endpoint has seen nothing of it. Here is the head again.
    Untouched(OutgoingHead),
    /// The try failed.
    Failed(Failure),
    /// The request's own body failed; the upstream is not to blame.
    Body,
    /// Its protocol has no word for the request's target.
    Target,
}

impl Http1 {
    pub(super) async fn handshake(stream: Stream, stall_timeout: Duration) -> hyper::Result<Self> {
        let (io, target) = TargetIo::new(StallLimited::new(stream, stall_timeout));
        let mut builder = Builder::new();
        builder.max_header_size(MAX_RESPONSE_HEADER_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        let gate = Gate::new();
        Ok(Self {
            sender,
            driver: Driver::Request(connection),
            target,
            waker: gate.waker(),
            gate,
            made: Instant::now(),
            keep: Keep::default(),
            requests: 0,
            was_kept: false,
            leave: None,
            peer: None,
            is_spent: false,
            asks_tunnel: false,
        })
    }

    /// Sends the next try of a request.
    pub(super) async fn send(&mut self, outgoing: &mut Outgoing) -> Result<Response<Incoming>, SendFailure> {
        // Asked for only where there is a head: `Failure::AfterRequest` says that a try has used it up.
        let Some((sent, to_head)) = self.begin(outgoing) else {
            return Err(SendFailure::Failed(Failure::AfterRequest));
        };
        // What has come may be taken whatever else this task has done: nobody would wake it for that again.
        let mut answered = pin!(unconstrained(sent));
        self.gate.pass();
        let answered = poll_fn(|context| {
            if matches!(self.driver, Driver::Task(_)) {
                return answered.as_mut().poll(context);
            }
            self.gate.lead_to(context.waker());
            // hyper's server polls a request again right after its head, and whenever it writes for another one.
            if !self.gate.was_passed() {
                return Poll::Pending;
            }
            self.poll();
            self.gate.shut_during(|| answered.as_mut().poll(&mut Context::from_waker(Waker::noop())))
        });
        match answered.await {
            Ok(response) if self.asks_tunnel && response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let agreement = dress::agreement(response).filter(|_| self.has_socket());
                agreement.ok_or(SendFailure::Failed(Failure::Protocol))
            }
            Ok(response) => {
                let answer = dress::answer(response, to_head).ok_or(SendFailure::Failed(Failure::Protocol));
                answer.map(|(response, may_be_used_again)| {
                    self.is_spent = !may_be_used_again;
                    response
                })
            }
            Err(mut error) => Err(match error.take_message().and_then(dress::undressed) {
                Some(head) => SendFailure::Untouched(head),
                None => classify(error.error()),
            }),
        }
    }

    /// Hands over the next try of a request, if there is one, and says whether that is a HEAD request. Apart from what waits
    /// for the answer, which would hold room for all that is only needed here.
    fn begin(&mut self, outgoing: &mut Outgoing) -> Option<(impl Future<Output = Sent> + use<>, bool)> {
        let (head, body) = outgoing.next_try()?;
        self.requests += 1;
        self.asks_tunnel = outgoing.asks_tunnel();
        let to_head = head.method == Method::HEAD;
        if let Some(put_back) = PutBack::new(&outgoing.raw, head.method.as_str()) {
            self.target.expect(put_back);
        }
        if body.is_streamed() {
            self.drive_in_a_task();
        }
        let request = dress::request(outgoing, head, body);
        Some((self.gate.shut_during(|| self.sender.try_send_request(request)), to_head))
    }

    /// The next frame of an answer.
    pub(super) fn poll_body(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !matches!(self.driver, Driver::Request(_)) {
            return Pin::new(body).poll_frame(context);
        }
        let mut nobody = Context::from_waker(Waker::noop());
        let has_come = self.gate.shut_during(|| Pin::new(&mut *body).poll_frame(&mut nobody));
        if has_come.is_ready() {
            return has_come;
        }
        self.drive(context.waker());
        self.gate.shut_during(|| Pin::new(body).poll_frame(&mut nobody))
    }

    /// Makes the connection read and write for a request.
    fn drive(&mut self, waker: &Waker) {
        self.gate.lead_to(waker);
        self.poll();
    }

    fn poll(&mut self) {
        if let Driver::Request(connection) = &mut self.driver
            && Pin::new(connection).poll(&mut Context::from_waker(&self.waker)).is_ready()
        {
            // How it ends is told to the request that it ends under; an idle one just ends.
            self.driver = match std::mem::replace(&mut self.driver, Driver::Ended) {
                Driver::Request(connection) if self.asks_tunnel => Driver::Left(Box::new(connection)),
                _ => Driver::Ended,
            };
        }
    }

    /// Whether HTTP is over and all of it was sent, so that the socket can be taken.
    fn has_socket(&self) -> bool {
        matches!(self.driver, Driver::Left(_)) && !self.target.is_writing()
    }

    /// What a tunnel goes over, and what has come on it behind the answer that agrees to it.
    pub(super) fn take_socket(&mut self) -> Option<(UpstreamSocket, Bytes)> {
        match std::mem::replace(&mut self.driver, Driver::Ended) {
            Driver::Left(connection) => {
                let parts = connection.into_parts();
                Some((parts.io.into_inner().into_inner(), parts.read_buf))
            }
            _ => None,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.driver, Driver::Left(_) | Driver::Ended)
    }

    fn drive_in_a_task(&mut self) {
        self.driver = match std::mem::replace(&mut self.driver, Driver::Ended) {
            Driver::Request(connection) => {
                let task = tokio::task::spawn_local(async move {
                    let _ = connection.await;
                });
                Driver::Task(task.abort_handle())
            }
            driver @ (Driver::Task(_) | Driver::Left(_) | Driver::Ended) => driver,
        };
    }

    /// No request uses it for the time being.
    pub(super) fn rest(&mut self) {
        self.gate.lead_nowhere();
    }

    /// Whether it has come to rest: its task may not have seen the end of the last answer yet, and an endpoint that
    /// answered early may not have taken the end of its request.
    pub(super) fn is_ready(&mut self) -> bool {
        if !self.is_at_rest() {
            self.poll();
        }
        self.is_at_rest()
    }

    fn is_at_rest(&self) -> bool {
        self.sender.is_ready() && !self.target.is_writing()
    }

    /// Whether it has ended with the last answer.
    pub(super) fn has_ended(&mut self) -> bool {
        self.is_spent || !self.is_ready() && (self.is_over() || self.sender.is_closed())
    }

    /// Whether the endpoint has closed it meanwhile, which one without a task only sees when it looks.
    pub(super) fn is_closed(&mut self) -> bool {
        self.poll();
        self.is_over() || self.sender.is_closed()
    }
}

impl Drop for Http1 {
    /// The task may be in the middle of a body that nobody wants any more.
    fn drop(&mut self) {
        if let Driver::Task(task) = &self.driver {
            task.abort();
        }
    }
}

fn classify(error: &hyper::Error) -> SendFailure {
    if error.is_user() || error.is_body_write_aborted() {
        SendFailure::Body
    } else if error.is_parse() || error.is_parse_too_large() {
        SendFailure::Failed(Failure::Protocol)
    } else {
        SendFailure::Failed(Failure::AfterRequest)
    }
}
