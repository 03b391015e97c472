//! Tunnels: when a backend has agreed to go on with another protocol (RFC 9110, 7.8), what comes from either side is passed
//! to the other, and nothing of it is looked at. The end of one direction is passed on, too, and leaves the other open.
//! Everything of a tunnel is apart: requests that ask for none carry no room for it.

use crate::client::Successor;
use crate::error::Flag;
use crate::io::Socket;
use crate::settings::RequestSettings;
use crate::telemetry::record::{BytesCount, Record};
use crate::upstream::{InFlight, UpstreamBody};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::Instant;

/// What is held of either direction when the other side takes nothing.
const BUFFER_BYTES: usize = 16 << 10;

/// What has been agreed on, before the client knows of it.
pub(super) struct Tunnel {
    /// Of the answer that agrees.
    body: UpstreamBody,
    in_flight: InFlight,
    limits: TunnelLimits,
}

/// How long nothing may come from either side.
#[derive(Clone, Copy)]
struct TunnelLimits {
    idle: Duration,
    /// When one of them has ended.
    half_closed: Duration,
}

impl Tunnel {
    pub(super) fn new(body: UpstreamBody, in_flight: InFlight, settings: &RequestSettings) -> Self {
        let limits = TunnelLimits {
            idle: settings.tunnel_idle_timeout,
            half_closed: settings.stall_timeout.min(settings.tunnel_idle_timeout),
        };
        Self { body, in_flight, limits }
    }

    /// What follows the answer on the client's connection. The record is closed with it.
    pub(super) fn successor(self: Box<Self>, mut record: Record) -> Successor {
        // Until it is known how it ends: the client may be gone already.
        record.fail(Flag::DownstreamGone);
        Box::new(move |socket, ahead| Box::pin(self.run(socket, ahead, record)))
    }

    async fn run(self: Box<Self>, socket: Box<dyn Socket>, ahead: Bytes, record: Record) {
        let Self { body, in_flight: _in_flight, limits } = *self;
        // The answer was checked to have one.
        let Some(upstream) = body.into_tunnel() else { return };
        let passed = Rc::new(Passed::new(record));
        let mut client = Side { of: Whose::Client, socket, ahead, passed: Rc::clone(&passed) };
        let mut backend =
            Side { of: Whose::Backend, socket: upstream.socket, ahead: upstream.ahead, passed: Rc::clone(&passed) };
        tokio::select! {
            // Whoever broke it off has been told of.
            _ = copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER_BYTES, BUFFER_BYTES) => {}
            () = passed.silence(limits) => passed.end(Flag::StreamIdle),
        }
    }
}

/// What has gone through a tunnel.
struct Passed {
    record: RefCell<Record>,
    request_bytes: Rc<Cell<u64>>,
    /// When something last did.
    moved: Cell<Instant>,
    /// Whether one side has ended, or the tunnel has.
    has_end: Cell<bool>,
    /// Whether the backend takes nothing any more.
    is_backend_gone: Cell<bool>,
}

impl Passed {
    fn new(mut record: Record) -> Self {
        let request_bytes = Rc::default();
        record.request_bytes = BytesCount::Streaming(Rc::clone(&request_bytes));
        Self {
            record: RefCell::new(record),
            request_bytes,
            moved: Cell::new(Instant::now()),
            has_end: Cell::new(false),
            is_backend_gone: Cell::new(false),
        }
    }

    /// What comes for a backend that is gone goes nowhere: a client that sends on keeps nothing open by it.
    fn came(&self, from: Whose, bytes: usize) {
        if from == Whose::Backend || !self.is_backend_gone.get() {
            self.moved.set(Instant::now());
        }
        match from {
            Whose::Client => self.request_bytes.set(self.request_bytes.get() + bytes as u64),
            Whose::Backend => self.record.borrow_mut().response_bytes += bytes as u64,
        }
    }

    fn backend_is_gone(&self) {
        self.is_backend_gone.set(true);
        self.end(Flag::UpstreamReset);
    }

    /// The first end is the one that is told.
    fn end(&self, flag: Flag) {
        if !self.has_end.replace(true) {
            self.record.borrow_mut().fail(flag);
        }
    }

    /// Returns when nothing has gone through for too long. An end makes that shorter, so it is looked at now and then.
    async fn silence(&self, limits: TunnelLimits) {
        loop {
            let limit = if self.has_end.get() { limits.half_closed } else { limits.idle };
            let left = limit.saturating_sub(self.moved.get().elapsed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(limits.half_closed)).await;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Client,
    Backend,
}

/// One end of a tunnel.
struct Side<S> {
    of: Whose,
    socket: S,
    /// What was read of it before.
    ahead: Bytes,
    passed: Rc<Passed>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Side<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = if this.ahead.is_empty() {
            ready!(Pin::new(&mut this.socket).poll_read(context, buffer))
        } else {
            buffer.put_slice(&this.ahead.split_to(this.ahead.len().min(buffer.remaining())));
            if this.ahead.is_empty() {
                // So that it does not hold on to the memory that it came in.
                this.ahead = Bytes::new();
            }
            Ok(())
        };
        let bytes = buffer.filled().len() - before;
        match (this.of, &read) {
            (of, Ok(())) if bytes > 0 => this.passed.came(of, bytes),
            (Whose::Client, _) => this.passed.end(Flag::DownstreamGone),
            (Whose::Backend, Ok(())) => this.passed.end(Flag::None),
            (Whose::Backend, Err(_)) => {
                this.passed.backend_is_gone();
                // What it has sent before is still to be passed on.
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Side<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = ready!(Pin::new(&mut this.socket).poll_write(context, bytes));
        if written.is_ok() {
            this.passed.moved.set(Instant::now());
        }
        Poll::Ready(this.sent(written, bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.socket).poll_flush(context));
        Poll::Ready(self.sent(flushed, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = ready!(Pin::new(&mut self.socket).poll_shutdown(context));
        Poll::Ready(self.sent(ended, ()))
    }
}

impl<S> Side<S> {
    /// What a backend does not take any more is thrown away: it may have said its last word before, which is still to be
    /// read. One that is only too slow is given up.
    fn sent<T>(&self, sent: io::Result<T>, thrown_away: T) -> io::Result<T> {
        match (self.of, sent) {
            (_, Ok(sent)) => Ok(sent),
            (Whose::Client, Err(error)) => {
                self.passed.end(Flag::DownstreamGone);
                Err(error)
            }
            (Whose::Backend, Err(error)) => {
                self.passed.backend_is_gone();
                if error.kind() == io::ErrorKind::TimedOut { Err(error) } else { Ok(thrown_away) }
            }
        }
    }
}
