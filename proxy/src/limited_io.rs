//! A connection as hyper reads and writes it, with the limits on progress that hyper does not have: how long a client may
//! be idle between requests, how long a head may take once it has begun, and how long the other side may take nothing of
//! what is sent to it. One timer per connection, moved only when it fires too early, so a request costs none.

use hyper::rt::{Read, ReadBufCursor, Write};
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::Sleep;

/// How long nothing may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgressLimits {
    pub(crate) idle: Duration,
    pub(crate) head: Duration,
    pub(crate) stall: Duration,
}

/// What a connection is doing, told by the gateway and by the bytes that come in.
#[derive(Debug)]
pub(crate) struct Progress {
    requests: Cell<u32>,
    /// Since when there has been no request.
    quiet_since: Cell<Instant>,
    /// Since when bytes of a head have been coming in.
    head_since: Cell<Option<Instant>>,
    /// HTTP/2 frames come in between requests, so bytes there begin no head.
    http2: Cell<bool>,
    end: Notify,
    /// The client makes work that nobody waits for.
    abused: Cell<bool>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            requests: Cell::new(0),
            quiet_since: Cell::new(Instant::now()),
            head_since: Cell::new(None),
            http2: Cell::new(false),
            end: Notify::new(),
            abused: Cell::new(false),
        }
    }
}

impl Progress {
    pub(crate) fn begin_request(&self) {
        self.requests.set(self.requests.get() + 1);
        self.head_since.set(None);
    }

    pub(crate) fn end_request(&self) {
        self.requests.set(self.requests.get().saturating_sub(1));
        self.quiet_since.set(Instant::now());
    }

    /// Of a connection whose reading side has no limits: one to a backend.
    pub(crate) fn writing_only() -> Rc<Self> {
        let progress = Self::default();
        progress.requests.set(1);
        Rc::new(progress)
    }

    pub(crate) fn use_http2(&self) {
        self.http2.set(true);
    }

    /// Asks whoever serves the connection to end it politely.
    pub(crate) fn ask_to_end(&self) {
        self.end.notify_one();
    }

    /// Asks for an end at once: politeness is for clients who would notice.
    pub(crate) fn ask_to_end_at_once(&self) {
        self.abused.set(true);
        self.end.notify_one();
    }

    pub(crate) fn is_abused(&self) -> bool {
        self.abused.get()
    }

    /// Returns when the connection has been asked to end.
    pub(crate) async fn asked_to_end(&self) {
        self.end.notified().await;
    }

    fn bytes_came(&self) {
        if self.requests.get() == 0 && !self.http2.get() && self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
    }

    fn read_deadline(&self, limits: &ProgressLimits) -> Option<Instant> {
        if self.requests.get() > 0 {
            return None;
        }
        Some(self.head_since.get().map_or_else(|| self.quiet_since.get() + limits.idle, |since| since + limits.head))
    }
}

pin_project_lite::pin_project! {
    /// See the module.
    pub(crate) struct LimitedIo<T> {
        #[pin]
        inner: T,
        progress: Rc<Progress>,
        limits: ProgressLimits,
        timer: Pin<Box<Sleep>>,
        write_blocked_since: Option<Instant>,
    }
}

impl<T> LimitedIo<T> {
    pub(crate) fn new(inner: T, progress: Rc<Progress>, limits: ProgressLimits) -> Self {
        let first = limits.idle.min(limits.head).min(limits.stall);
        Self { inner, progress, limits, timer: Box::pin(tokio::time::sleep(first)), write_blocked_since: None }
    }
}

/// Ready once `deadline` has passed. The timer is left to fire early rather than moved for every request.
fn poll_deadline(timer: &mut Pin<Box<Sleep>>, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
    let deadline = tokio::time::Instant::from_std(deadline);
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    while timer.as_mut().poll(context).is_ready() {
        if tokio::time::Instant::now() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}

impl<T: Read> Read for LimitedIo<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let polled = this.inner.poll_read(context, buffer);
        if polled.is_ready() {
            this.progress.bytes_came();
            return polled;
        }
        let Some(deadline) = this.progress.read_deadline(this.limits) else { return Poll::Pending };
        if poll_deadline(this.timer, deadline, context).is_pending() {
            return Poll::Pending;
        }
        if this.progress.head_since.get().is_some() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request's head took too long")));
        }
        // An idle connection is ended politely, by whoever serves it; the timer is set anew in case that takes long.
        this.progress.quiet_since.set(Instant::now());
        this.progress.ask_to_end();
        Poll::Pending
    }
}

impl<T: Write> LimitedIo<T> {
    fn check_stall<R>(
        self: Pin<&mut Self>,
        polled: Poll<io::Result<R>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        let this = self.project();
        if polled.is_ready() {
            *this.write_blocked_since = None;
            return polled;
        }
        let since = *this.write_blocked_since.get_or_insert_with(Instant::now);
        if poll_deadline(this.timer, since + this.limits.stall, context).is_ready() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the other side takes nothing of what is sent",
            )));
        }
        Poll::Pending
    }
}

impl<T: Write> Write for LimitedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.as_mut().project().inner.poll_write(context, bytes);
        self.check_stall(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.as_mut().project().inner.poll_write_vectored(context, slices);
        self.check_stall(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    // Over TLS these write, too: what is encrypted and not yet sent.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.as_mut().project().inner.poll_flush(context);
        self.check_stall(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.as_mut().project().inner.poll_shutdown(context);
        self.check_stall(polled, context)
    }
}
