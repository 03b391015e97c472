//! One HTTP/2 connection to an endpoint, shared by the requests of a worker: each has a stream of its own, and a task of the
//! connection's reads and writes for all of them.

use super::dress;
use super::http1::SendFailure;
use super::keep::Keep;
use super::limits::{Connections, Leave};
use super::outgoing::Outgoing;
use super::stream::{Stream, TlsPeer};
use crate::body::replay::TryBody;
use crate::body::stream::TryBodyError;
use crate::io::StallLimited;
use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use turnout_routes::router::{Failure, Http2Policy};

/// Streams at a time where neither the policy nor the endpoint wants fewer. Another connection takes the next.
const MAX_STREAMS: u32 = 100;
/// What may come of an answer before the client takes it. All streams of a connection have room at a time: one whose client
/// is slow does not hold the others up.
const STREAM_WINDOW: u32 = 256 << 10;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// Envoy's limit.
const MAX_RESPONSE_HEADER_BYTES: u32 = 60 << 10;
/// How long a ping may take, where the policy does not say.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

type Io = TokioIo<StallLimited<Stream>>;
/// None once it has ended: it is let go then, which ends whatever was asked of it and not sent.
type Driven = Rc<RefCell<Option<Connection<Io, Counted, OnThisThread>>>>;

/// See the module. Dropped, it is closed once its last stream has ended.
pub(super) struct Http2 {
    sender: SendRequest<Counted>,
    /// Says how many streams at a time the endpoint takes.
    driven: Driven,
    streams: Cell<u32>,
    /// That it was used for.
    requests: Cell<u32>,
    made: Instant,
    keep: Cell<Keep>,
    /// When it is closed if no request comes.
    expires: Cell<Instant>,
    pub(super) peer: Option<Box<TlsPeer>>,
    of: Rc<Connections>,
    _leave: Option<Leave>,
}

/// One request's use of a connection.
pub(super) struct Http2Stream {
    place: Rc<StreamPlace>,
}

/// A stream among its connection's. The request's body has it as well as the answer: what is still sent when nobody waits
/// for the answer any more takes the room of a stream.
struct StreamPlace {
    connection: Rc<Http2>,
    /// Of the connection's requests, from 1.
    number: u32,
}

pin_project_lite::pin_project! {
    /// A request's body on its way out.
    struct Counted {
        #[pin]
        body: TryBody,
        place: Rc<StreamPlace>,
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = TryBodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TryBodyError>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone)]
struct OnThisThread;

impl<F> hyper::rt::Executor<F> for OnThisThread
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl Http2 {
    /// `of` are told of every stream that ends.
    pub(super) async fn handshake(
        (stream, peer): (Stream, Option<Box<TlsPeer>>),
        policy: &Http2Policy,
        keep: Keep,
        stall_timeout: Duration,
        (of, leave): (&Rc<Connections>, Option<Leave>),
    ) -> hyper::Result<Self> {
        let mut builder = Builder::new(OnThisThread);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(
                STREAM_WINDOW.saturating_mul(policy.max_streams.unwrap_or(MAX_STREAMS)).min(LARGEST_WINDOW),
            )
            .max_header_list_size(MAX_RESPONSE_HEADER_BYTES);
        if let Some(pings) = policy.pings {
            builder
                .keep_alive_interval(pings.interval)
                .keep_alive_timeout(pings.timeout.unwrap_or(PING_TIMEOUT))
                .keep_alive_while_idle(true);
        }
        let (sender, connection) = builder.handshake(TokioIo::new(StallLimited::new(stream, stall_timeout))).await?;
        let driven = Rc::new(RefCell::new(Some(connection)));
        tokio::task::spawn_local(drive(Rc::clone(&driven)));
        let made = Self {
            sender,
            driven,
            streams: Cell::new(0),
            requests: Cell::new(0),
            made: Instant::now(),
            keep: Cell::new(keep),
            expires: Cell::new(Instant::now()),
            peer,
            of: Rc::clone(of),
            _leave: leave,
        };
        made.rest();
        Ok(made)
    }

    /// Whether it may be given another request, now or when one of its streams has ended.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        let is_worn = self.time_left().is_none();
        !self.sender.is_closed() && !is_worn && (!self.is_idle() || now < self.expires.get())
    }

    fn time_left(&self) -> Option<Duration> {
        self.keep.get().time_left(self.made, self.requests.get())
    }

    /// From now on it waits for a request.
    fn rest(&self) {
        self.expires.set(Instant::now() + self.time_left().unwrap_or_default());
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// The first stream, which it may have whatever the policy says.
    pub(super) fn first(self: &Rc<Self>) -> Http2Stream {
        self.streams.set(self.streams.get() + 1);
        self.requests.set(self.requests.get() + 1);
        Http2Stream { place: Rc::new(StreamPlace { connection: Rc::clone(self), number: self.requests.get() }) }
    }

    /// A stream, if it may have one more.
    pub(super) fn begin(self: &Rc<Self>, policy: &Http2Policy) -> Option<Http2Stream> {
        let most = policy.max_streams.unwrap_or(MAX_STREAMS);
        let streams = self.streams.get();
        let taken = self.driven.borrow().as_ref().map_or(0, Connection::current_max_send_streams);
        if streams >= most || streams as usize >= taken {
            return None;
        }
        Some(self.first())
    }
}

async fn drive(driven: Driven) {
    poll_fn(|context| match driven.borrow_mut().as_mut() {
        // How it ends is told to the requests that it ends under.
        Some(connection) => Pin::new(connection).poll(context).map(drop),
        None => Poll::Ready(()),
    })
    .await;
    let ended = driven.borrow_mut().take();
    drop(ended);
}

impl Http2Stream {
    /// Whether the connection had served another request before, so that its end is nobody's failure.
    pub(super) fn is_reused(&self) -> bool {
        self.place.number > 1
    }

    /// For how long the connection is kept without a request.
    pub(super) fn keep(&self, keep: Keep) {
        self.place.connection.keep.set(keep);
    }

    /// Sends the next try of a request to the endpoint at that address, which is its host if it names none.
    pub(super) async fn send(
        &self,
        outgoing: &mut Outgoing,
        address: SocketAddr,
    ) -> Result<Response<Incoming>, SendFailure> {
        let connection = &self.place.connection;
        outgoing.encode_raw();
        let Some((head, body)) = outgoing.next_try() else {
            return Err(SendFailure::Failed(Failure::AfterRequest));
        };
        let scheme = if connection.peer.is_some() { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP };
        let Some(request) = dress::http2_request(outgoing, head, body, (scheme, address)) else {
            return Err(SendFailure::Failed(Failure::Protocol));
        };
        let request = request.map(|body| Counted { body, place: Rc::clone(&self.place) });
        let mut sender = connection.sender.clone();
        let answered = pin!(sender.try_send_request(request));
        match answered.await {
            Ok(response) => dress::http2_answer(response).ok_or(SendFailure::Failed(Failure::Protocol)),
            Err(mut error) => Err(match error.take_message().and_then(dress::undressed) {
                Some(head) => SendFailure::Untouched(head),
                None if outgoing.body.failure().is_some() => SendFailure::Body,
                None => SendFailure::Failed(classify(&error)),
            }),
        }
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        connection.rest();
        connection.of.tell_freed();
    }
}

/// A stream that the endpoint refused, or that it had not looked at when it said farewell, has reached nobody (RFC 9113, 8.7).
fn classify<T>(error: &TrySendError<T>) -> Failure {
    let source = std::error::Error::source(error.error()).and_then(|source| source.downcast_ref::<h2::Error>());
    match source {
        Some(error)
            if error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM)) =>
        {
            Failure::Refused
        }
        Some(error) if error.is_library() || error.reason() == Some(h2::Reason::PROTOCOL_ERROR) => Failure::Protocol,
        Some(error) if error.is_remote() && error.is_reset() => Failure::StreamReset,
        _ => Failure::AfterRequest,
    }
}
