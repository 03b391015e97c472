//! One HTTP/2 connection to an endpoint, shared by the requests of a worker: each has a stream of its own, and a task of the
//! connection's reads and writes for all of them.

use super::dress;
use super::http1::SendFailure;
use super::keep::Keep;
use super::limits::{Connections, Leave};
use super::outgoing::Outgoing;
use super::stream::{Stream, TlsPeer};
use crate::body::replay::TryBody;
use crate::io::StallLimited;
use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
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

/// See the module. Dropped, it is closed once its last stream has ended.
pub(super) struct Http2 {
    sender: SendRequest<TryBody>,
    /// As many at a time the endpoint takes.
    max_streams: Rc<Cell<usize>>,
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
    connection: Rc<Http2>,
    /// Of the connection's requests, from 1.
    number: u32,
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
        let max_streams = Rc::new(Cell::new(connection.current_max_send_streams()));
        tokio::task::spawn_local(drive(connection, Rc::clone(&max_streams)));
        let made = Self {
            sender,
            max_streams,
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
        Http2Stream { connection: Rc::clone(self), number: self.requests.get() }
    }

    /// A stream, if it may have one more.
    pub(super) fn begin(self: &Rc<Self>, policy: &Http2Policy) -> Option<Http2Stream> {
        let most = policy.max_streams.unwrap_or(MAX_STREAMS);
        let streams = self.streams.get();
        if streams >= most || streams as usize >= self.max_streams.get() {
            return None;
        }
        Some(self.first())
    }
}

async fn drive(mut connection: Connection<Io, TryBody, OnThisThread>, max_streams: Rc<Cell<usize>>) {
    // How it ends is told to the requests that it ends under.
    let _ = poll_fn(|context| {
        let polled = Pin::new(&mut connection).poll(context);
        max_streams.set(connection.current_max_send_streams());
        polled
    })
    .await;
}

impl Http2Stream {
    /// Whether the connection had served another request before, so that its end is nobody's failure.
    pub(super) fn is_reused(&self) -> bool {
        self.number > 1
    }

    /// For how long the connection is kept without a request.
    pub(super) fn keep(&self, keep: Keep) {
        self.connection.keep.set(keep);
    }

    /// Sends the next try of a request.
    pub(super) async fn send(&self, outgoing: &mut Outgoing) -> Result<Response<Incoming>, SendFailure> {
        outgoing.encode_raw();
        let Some((head, body)) = outgoing.next_try() else {
            return Err(SendFailure::Failed(Failure::AfterRequest));
        };
        let scheme = if self.connection.peer.is_some() { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP };
        let Some(request) = dress::http2_request(outgoing, head, body, scheme) else {
            return Err(SendFailure::Failed(Failure::Protocol));
        };
        let mut sender = self.connection.sender.clone();
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

impl Drop for Http2Stream {
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
