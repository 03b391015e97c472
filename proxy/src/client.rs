//! One client's connection, as everything that serves its requests sees it: who it is, what it is doing, and whether it is
//! to end. All of it belongs to one worker's thread. The connection's own task asks [`Client::poll_end`] after it has read
//! and written, so no clock has to be wound for a request.

use crate::drain::Phase;
use crate::io::Socket;
use crate::raw_target::{RawBytes, RequestLine};
use bytes::Bytes;
use http::HeaderValue;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};
use turnout_routes::documents::Scheme;
use turnout_routes::router::Transport;

/// Beyond this many requests, a connection of which more than half were reset by the client is closed: it makes work
/// that nobody waits for (HTTP/2 rapid reset).
const RESETS_JUDGED_FROM: usize = 100;

/// What is known of a connection for as long as it lasts.
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// The peer's address, as backends are told it.
    address: HeaderValue,
    /// The Gateway port that its listener serves.
    pub(crate) gateway_port: u16,
    /// None where the client speaks clear text.
    tls: Option<TlsInfo>,
    /// HTTP/2 frames come in between requests, so bytes there begin no head.
    http2: Cell<bool>,
    max_requests: Option<usize>,
    requests: Cell<usize>,
    resets: Cell<usize>,
    /// Requests that are not over.
    open: Cell<u32>,
    /// Since when none has been open.
    quiet_since: Cell<Instant>,
    /// Since when a head has been coming in, if one is.
    head_since: Cell<Option<Instant>>,
    /// The first line of that head.
    line: RefCell<RequestLine>,
    /// Whether something that is to be written waits for the client to take what was written before.
    writes_wait: Cell<bool>,
    end: Cell<Option<End>>,
    /// In place of what would follow the answer that is being sent.
    successor: RefCell<Option<Successor>>,
    /// Of the task that serves the connection.
    waker: RefCell<Option<Waker>>,
}

/// What a connection is used for once HTTP is over on it: it is given the socket, and what was read of it and not used.
pub(crate) type Successor = Box<dyn FnOnce(Box<dyn Socket>, Bytes) -> Pin<Box<dyn Future<Output = ()>>>>;

/// What is known of a client's TLS.
pub(crate) struct TlsInfo {
    /// That it asked for, in lower case.
    pub(crate) server_name: Option<String>,
    /// Its own, as backends are told it.
    pub(crate) certificate: Option<HeaderValue>,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the requests that it has.
    Politely,
    /// With the requests that it has; since it has had none for too long.
    Idle,
    /// Not at all: it has had no request for a while, and may be put to rest.
    Rest,
    /// At once: most of its requests were reset.
    Abused,
    /// At once: a head has not come whole in its time.
    HeadTimeout,
}

/// How long a client may do nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientLimits {
    /// Without a request.
    pub(crate) idle: Duration,
    /// The same, until the connection is put to rest; none if it cannot be, or is.
    pub(crate) rest: Option<Duration>,
    /// From the first byte of a head to its last.
    pub(crate) head: Duration,
}

impl Client {
    pub(crate) fn new(
        peer: SocketAddr,
        gateway_port: u16,
        tls: Option<TlsInfo>,
        http2: bool,
        max_requests: Option<usize>,
    ) -> Self {
        Self {
            peer,
            // An address is always a header value.
            address: HeaderValue::from_str(&peer.ip().to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            gateway_port,
            tls,
            http2: Cell::new(http2),
            max_requests,
            requests: Cell::new(0),
            resets: Cell::new(0),
            open: Cell::new(0),
            quiet_since: Cell::new(Instant::now()),
            head_since: Cell::new(None),
            line: RefCell::default(),
            writes_wait: Cell::new(false),
            end: Cell::new(None),
            successor: RefCell::default(),
            waker: RefCell::default(),
        }
    }

    pub(crate) fn address(&self) -> &HeaderValue {
        &self.address
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2.get()
    }

    pub(crate) fn transport(&self) -> Transport<'_> {
        match &self.tls {
            None => Transport::Plain,
            Some(tls) => Transport::Tls { server_name: tls.server_name.as_deref() },
        }
    }

    /// The certificate that it showed, as backends are told it.
    pub(crate) fn certificate(&self) -> Option<&HeaderValue> {
        self.tls.as_ref()?.certificate.as_ref()
    }

    /// The scheme that the client speaks itself.
    pub(crate) fn scheme(&self) -> Scheme {
        self.transport().scheme()
    }

    /// Whether the connection ends with the request that it has. In HTTP/1 the response says so; HTTP/2 gets GOAWAY.
    pub(crate) fn is_used_up(&self) -> bool {
        self.max_requests.is_some_and(|max| self.requests.get() >= max)
    }

    /// The first bytes say that the client speaks HTTP/2.
    pub(crate) fn speaks_http2(&self) {
        self.http2.set(true);
        self.head_since.set(None);
    }

    /// Some of a head has come, if not before.
    pub(crate) fn head_begins(&self) {
        if self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
    }

    /// These bytes have come in. What no URI can hold of a target is taken out of them, for the request that they begin.
    pub(crate) fn bytes_came(&self, bytes: &mut [u8]) {
        if self.http2.get() || self.open.get() > 0 || bytes.is_empty() {
            return;
        }
        self.head_begins();
        self.line.borrow_mut().take_out(bytes);
    }

    /// Whether some of a head has come, and not all of it.
    pub(crate) fn is_sending_head(&self) -> bool {
        self.open.get() == 0 && self.head_since.get().is_some()
    }

    pub(crate) fn writes_wait(&self) -> bool {
        self.writes_wait.get()
    }

    pub(crate) fn set_writes_wait(&self, wait: bool) {
        self.writes_wait.set(wait);
    }

    /// HTTP ends with the answer that is about to be sent. To be taken by whoever serves the connection, however it ends:
    /// what follows may hold on to the client.
    pub(crate) fn set_successor(&self, successor: Successor) {
        *self.successor.borrow_mut() = Some(successor);
    }

    pub(crate) fn take_successor(&self) -> Option<Successor> {
        self.successor.take()
    }

    /// The length of the first line of the head that is coming, as far as it has, in bytes.
    pub(crate) fn line_bytes(&self) -> usize {
        self.line.borrow().bytes()
    }

    /// The gateway's own end has come so far. GOAWAY loses no request, so HTTP/2 need not wait until it is idle.
    pub(crate) fn drain(&self, phase: Phase) {
        if phase >= Phase::ClosingIdle || (self.http2.get() && phase >= Phase::Draining) {
            self.set_end(End::Politely);
        }
    }

    fn set_end(&self, end: End) {
        // What ends at once is not made polite again.
        if self.end.get().is_none_or(|before| before == End::Politely) {
            self.end.set(Some(end));
        }
        self.wake();
    }

    /// Has the connection's task look at what has changed.
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn is_abused(&self) -> bool {
        let requests = self.requests.get();
        requests >= RESETS_JUDGED_FROM && self.resets.get() * 2 > requests
    }

    /// When what the client is doing has taken too long, and how it ends then; none while it waits for an answer.
    fn deadline(&self, limits: &ClientLimits) -> Option<(Instant, End)> {
        match (self.open.get(), self.head_since.get()) {
            (0, Some(since)) => Some((since + limits.head, End::HeadTimeout)),
            (0, None) => match limits.rest.filter(|rest| *rest < limits.idle && !self.writes_wait.get()) {
                Some(rest) => Some((self.quiet_since.get() + rest, End::Rest)),
                None => Some((self.quiet_since.get() + limits.idle, End::Idle)),
            },
            _ => None,
        }
    }

    /// Ready when the connection is to end: as somebody asked, or since a limit is reached. Must be polled after each
    /// turn of the connection, in its task. The timer is left to fire early rather than moved for every request.
    pub(crate) fn poll_end(
        &self,
        limits: &ClientLimits,
        mut timer: Pin<&mut Sleep>,
        context: &mut Context<'_>,
    ) -> Poll<End> {
        if let Some(end) = self.end.take() {
            return Poll::Ready(end);
        }
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|known| !known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        let Some((deadline, end)) = self.deadline(limits) else { return Poll::Pending };
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                if end == End::Idle {
                    // In case a polite end takes long: after as much time again there is another.
                    self.quiet_since.set(Instant::now());
                }
                return Poll::Ready(end);
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// A request of a connection, from its head to its end: until it is dropped the client is not idle.
pub(crate) struct OpenRequest {
    pub(crate) client: Rc<Client>,
    /// Whether the client was answered, or has gone without.
    pub(crate) answered: bool,
    /// What its URI lacks of its target.
    pub(crate) raw: RawBytes,
}

impl OpenRequest {
    pub(crate) fn begin(client: &Rc<Client>) -> Self {
        client.requests.set(client.requests.get() + 1);
        client.open.set(client.open.get() + 1);
        client.head_since.set(None);
        let raw = client.line.take().into_raw();
        Self { client: Rc::clone(client), answered: false, raw }
    }

    /// Ends it in another task than the connection's, which then has to look at the clock.
    pub(crate) fn end_elsewhere(self) {
        let client = Rc::clone(&self.client);
        drop(self);
        client.wake();
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let client = &self.client;
        if !self.answered {
            client.resets.set(client.resets.get() + 1);
        }
        client.open.set(client.open.get() - 1);
        client.quiet_since.set(Instant::now());
        if client.is_abused() {
            client.set_end(End::Abused);
        } else if client.is_used_up() {
            client.set_end(End::Politely);
        } else if client.http2.get() && client.open.get() == 0 {
            // It ended in a task of its own: the connection's has to look at the clock.
            client.wake();
        }
    }
}

/// Ends one HTTP/2 stream: the client gets RST_STREAM. HTTP/2's own task asks for the next piece of a response only when
/// the client has granted room for it, so it would never learn that there is none.
#[derive(Default)]
pub(crate) struct StreamEnd(RefCell<Option<AbortHandle>>);

impl StreamEnd {
    /// Names the task that sends the stream.
    pub(crate) fn runs_in(&self, task: AbortHandle) {
        *self.0.borrow_mut() = Some(task);
    }

    pub(crate) fn reset(&self) {
        if let Some(task) = &*self.0.borrow() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
