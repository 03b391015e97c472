//! One HTTP/2 connection to an endpoint, shared by the requests of a worker: each has a stream of its own, and a task of the
//! connection's reads and writes for all of them.

use super::dress;
use super::http1::SendFailure;
use super::keep::Keep;
use super::limits::{Connections, Leave};
use super::outgoing::Outgoing;
use super::stream::{Stream, TlsPeer};
use super::watched_io::{Watch, WatchedIo};
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
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
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

/// What the library says of how many streams the endpoint takes before the endpoint has said it: a number that nobody can say.
const UNSAID: usize = usize::MAX - 1;

type Io = TokioIo<WatchedIo<StallLimited<Stream>>>;
/// None once it has ended: it is let go then, which ends whatever was asked of it and not sent.
type Driven = Rc<RefCell<Option<Connection<Io, Counted, OnThisThread>>>>;

/// See the module. Dropped, it is closed once its last stream has ended.
pub(super) struct Http2 {
    sender: SendRequest<Counted>,
    /// Says how many streams at a time the endpoint takes.
    driven: Driven,
    /// The task that does.
    driver: AbortHandle,
    executor: OnThisThread,
    /// Until somebody waits for it.
    heard: Cell<Option<oneshot::Receiver<()>>>,
    /// Whether the endpoint has said how many streams it takes, or has had the time to.
    is_settled: Cell<bool>,
    /// Of the requests that the library took.
    last_taken: Cell<u32>,
    /// Of those whose heads went out.
    last_stream: Rc<Cell<u32>>,
    /// Whether no other is to be begun.
    is_ended: Rc<Cell<bool>>,
    streams: Cell<u32>,
    /// That it was used for.
    requests: Cell<u32>,
    made: Instant,
    /// How long the endpoint may take for what nobody waits for.
    stall_timeout: Duration,
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
    /// Its identifier; 0 until the library takes the request, which gives them out in turn (RFC 9113, 5.1.1).
    stream: Cell<u32>,
    /// The library's task that sends the body, or waits until it may.
    upload: Cell<Option<AbortHandle>>,
}

pin_project_lite::pin_project! {
    /// A request's body on its way out.
    struct Counted {
        #[pin]
        body: TryBody,
        place: Rc<StreamPlace>,
        is_asked_for: bool,
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = TryBodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TryBodyError>>> {
        let this = self.project();
        if !std::mem::replace(this.is_asked_for, true) {
            // The next task that the library makes is this request's, and of two the one that sends its body.
            this.place.connection.executor.next_is_of.set(Some(Rc::clone(this.place)));
        }
        this.body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        // Asked first where the library begins a stream.
        self.place.take();
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Default)]
struct OnThisThread {
    /// The library asks for a body first where it makes the task that goes on with it.
    next_is_of: Rc<Cell<Option<Rc<StreamPlace>>>>,
}

impl<F> hyper::rt::Executor<F> for OnThisThread
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        if let Some(place) = self.next_is_of.take() {
            place.upload.set(Some(task.abort_handle()));
        }
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
        let executor = OnThisThread::default();
        let mut builder = Builder::new(executor.clone());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(
                STREAM_WINDOW.saturating_mul(policy.max_streams.unwrap_or(MAX_STREAMS)).min(LARGEST_WINDOW),
            )
            .max_header_list_size(MAX_RESPONSE_HEADER_BYTES)
            .initial_max_send_streams(UNSAID);
        if let Some(pings) = policy.pings {
            builder
                .keep_alive_interval(pings.interval)
                .keep_alive_timeout(pings.timeout.unwrap_or(PING_TIMEOUT))
                .keep_alive_while_idle(true);
        }
        let (io, Watch { heard, last_stream, is_ended }) = WatchedIo::new(StallLimited::new(stream, stall_timeout));
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        let driven = Rc::new(RefCell::new(Some(connection)));
        let driver = tokio::task::spawn_local(drive(Rc::clone(&driven))).abort_handle();
        let made = Self {
            sender,
            driven,
            driver,
            executor,
            heard: Cell::new(Some(heard)),
            is_settled: Cell::new(false),
            last_taken: Cell::new(0),
            last_stream,
            is_ended,
            streams: Cell::new(0),
            requests: Cell::new(0),
            made: Instant::now(),
            stall_timeout,
            keep: Cell::new(keep),
            expires: Cell::new(Instant::now()),
            peer,
            of: Rc::clone(of),
            _leave: leave,
        };
        made.rest();
        Ok(made)
    }

    /// Lets requests share it when the endpoint has said how many streams it takes, for which it has this long. Until then
    /// more than the first might be refused, and whoever comes may wait for what is held `meanwhile`.
    fn settle<T: 'static>(self: &Rc<Self>, meanwhile: T, within: Duration) {
        let (connection, heard) = (Rc::downgrade(self), self.heard.take());
        tokio::task::spawn_local(async move {
            if let Some(heard) = heard {
                let _ = tokio::time::timeout(within, heard).await;
            }
            if let Some(connection) = connection.upgrade() {
                connection.is_settled.set(true);
                connection.end_if_it_takes_nothing();
            }
            drop(meanwhile);
        });
    }

    /// Whether it may be given another request, now or when one of its streams has ended.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.end_if_it_takes_nothing();
        let is_worn = self.time_left().is_none();
        !self.sender.is_closed() && !is_worn && (!self.is_idle() || now < self.expires.get())
    }

    /// How many streams at a time the endpoint takes; none once it has said farewell, and what it has goes on to its end.
    fn takes(&self) -> Option<usize> {
        self.driven.borrow().as_ref().map(Connection::current_max_send_streams)
    }

    /// An endpoint that takes no streams is as one that says farewell.
    fn end_if_it_takes_nothing(&self) {
        if self.takes() == Some(0) {
            self.end();
        }
    }

    /// Gives back what it was handed and has not begun; what it has begun goes on.
    fn end(&self) {
        self.is_ended.set(true);
        // Nothing wakes it any more.
        self.driver.abort();
        let ended = self.driven.take();
        drop(ended);
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
        let (connection, number) = (Rc::clone(self), self.requests.get());
        Http2Stream {
            place: Rc::new(StreamPlace { connection, number, stream: Cell::new(0), upload: Cell::default() }),
        }
    }

    /// A stream, if it may have one more.
    pub(super) fn begin(self: &Rc<Self>, policy: &Http2Policy) -> Option<Http2Stream> {
        let most = policy.max_streams.unwrap_or(MAX_STREAMS);
        let streams = self.streams.get();
        let is_free = self.is_settled.get() && streams < most && (streams as usize) < self.takes().unwrap_or_default();
        is_free.then(|| self.first())
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

    /// See [`Http2::settle`].
    pub(super) fn settle<T: 'static>(&self, meanwhile: T, within: Duration) {
        self.place.connection.settle(meanwhile, within);
    }

    /// Sends the next try of a request to the endpoint at that address, which is its host if it names none.
    pub(super) async fn send(
        &self,
        outgoing: &mut Outgoing,
        address: SocketAddr,
    ) -> Result<Response<Incoming>, SendFailure> {
        let connection = &self.place.connection;
        // What the endpoint has not seen of it goes to another connection.
        outgoing.keep_head();
        if !outgoing.encode_raw() {
            return Err(SendFailure::Target);
        }
        let Some((head, body)) = outgoing.next_try() else {
            return Err(SendFailure::Failed(Failure::AfterRequest));
        };
        let scheme = if connection.peer.is_some() { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP };
        let Some(request) = dress::http2_request(outgoing, head, body, (scheme, address)) else {
            return Err(SendFailure::Failed(Failure::Protocol));
        };
        let request = request.map(|body| Counted { body, place: Rc::clone(&self.place), is_asked_for: false });
        let mut sender = connection.sender.clone();
        let answered = pin!(sender.try_send_request(request));
        match answered.await {
            Ok(response) => dress::http2_answer(response).ok_or(SendFailure::Failed(Failure::Protocol)),
            Err(error) => Err(self.failure(outgoing, &error)),
        }
    }

    fn failure<T>(&self, outgoing: &Outgoing, error: &TrySendError<T>) -> SendFailure {
        let is_unseen = error.message().is_some() || !self.place.is_begun() && is_of_connection(error);
        if outgoing.body.failure().is_some() {
            return SendFailure::Body;
        }
        match outgoing.head().filter(|_| is_unseen && outgoing.may_be_sent_again()) {
            Some(head) => {
                // Whoever comes next is not to find it open.
                self.place.connection.end();
                SendFailure::Untouched(head.clone())
            }
            None => SendFailure::Failed(classify(error)),
        }
    }
}

impl Http2Stream {
    /// All of the answer has come, and all of the request from its client: the endpoint may take its time for what is left of
    /// that, but not for ever.
    pub(super) fn give_back(self) {
        if let Some(task) = self.place.upload.take().filter(|task| !task.is_finished()) {
            let limit = self.place.connection.stall_timeout;
            tokio::task::spawn_local(async move {
                tokio::time::sleep(limit).await;
                task.abort();
            });
        }
    }
}

impl Drop for Http2Stream {
    /// Nobody waits for the answer any more: nobody wants what is still to be sent, either.
    fn drop(&mut self) {
        if let Some(task) = self.place.upload.take() {
            task.abort();
        }
    }
}

impl StreamPlace {
    /// The library begins its stream, now or when it may.
    fn take(&self) {
        if self.stream.get() == 0 {
            let last = &self.connection.last_taken;
            last.set(if last.get() == 0 { 1 } else { last.get() + 2 });
            self.stream.set(last.get());
        }
    }

    /// Whether the endpoint may have seen something of it.
    fn is_begun(&self) -> bool {
        let stream = self.stream.get();
        stream != 0 && stream <= self.connection.last_stream.get()
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

fn h2_error<T>(error: &TrySendError<T>) -> Option<&h2::Error> {
    std::error::Error::source(error.error()).and_then(|source| source.downcast_ref())
}

/// Whether it is the connection that has ended, and not one stream of it.
fn is_of_connection<T>(error: &TrySendError<T>) -> bool {
    h2_error(error).is_none_or(|error| error.is_io() || error.is_go_away())
}

/// A stream that the endpoint refused, or that it had not looked at when it said farewell, has reached nobody (RFC 9113, 8.7).
fn classify<T>(error: &TrySendError<T>) -> Failure {
    match h2_error(error) {
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

#[cfg(test)]
mod tests;
