//! A backend's answer as it comes, with the connection that it comes over. Read to its end, it gives the connection back;
//! dropped before, it closes it. Whether a connection is one request's own or shared is nobody's affair outside.

use super::http1::UpstreamSocket;
use super::lease::Lease;
use crate::body::replay::RequestBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// See the module.
pub(crate) struct UpstreamBody {
    incoming: Incoming,
    /// Until the answer has ended, or failed.
    lease: Option<Lease>,
    /// The connection is kept only if all of the request was sent, too.
    request: RequestBody,
}

/// What a backend that has agreed to a tunnel leaves to it.
pub(crate) struct UpstreamTunnel {
    pub(crate) socket: UpstreamSocket,
    /// What has come on it behind the answer.
    pub(crate) ahead: Bytes,
    /// Has the connection, and the request, counted until it is dropped.
    _lease: Lease,
}

/// The backend broke its answer off, or sent what is none.
#[derive(Debug)]
pub(crate) struct BrokenAnswer;

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, request: RequestBody) -> Self {
        Self { incoming, lease: Some(lease), request }
    }

    /// Whether all of it has been read.
    pub(crate) fn is_over(&self) -> bool {
        self.lease.is_none() || self.incoming.is_end_stream()
    }

    /// Nobody wants the rest: frees the backend.
    pub(crate) fn abandon(&mut self) {
        self.end(false);
    }

    /// If this is the answer that agrees to a tunnel.
    pub(crate) fn into_tunnel(mut self) -> Option<UpstreamTunnel> {
        let mut lease = self.lease.take()?;
        let (socket, ahead) = lease.connection.take_socket()?;
        Some(UpstreamTunnel { socket, ahead, _lease: lease })
    }

    fn finish(&mut self) {
        self.end(self.request.is_received());
    }

    fn end(&mut self, is_clean: bool) {
        let Some(lease) = self.lease.take() else { return };
        if is_clean {
            lease.give_back();
        } else {
            // A shared connection outlives it, and whatever sends the request there is told that nobody waits for the answer.
            drop(self.request.next_try());
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BrokenAnswer;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenAnswer>>> {
        let this = &mut *self;
        let polled = match &mut this.lease {
            Some(lease) => lease.poll_body(&mut this.incoming, context),
            None => Poll::Ready(None),
        };
        match ready!(polled) {
            Some(Ok(frame)) => {
                // Nothing follows trailers, and not everybody asks.
                if frame.is_trailers() || this.incoming.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) => {
                this.abandon();
                Poll::Ready(Some(Err(BrokenAnswer)))
            }
            // Over HTTP/2 hyper takes a reset without an error for an end, which this is only if the backend has said so.
            None if this.lease.as_ref().is_some_and(Lease::is_stream) && !this.incoming.is_end_stream() => {
                this.abandon();
                Poll::Ready(Some(Err(BrokenAnswer)))
            }
            None => {
                this.finish();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        // One that is known to be empty is never read; it has ended all the same.
        if self.incoming.is_end_stream() {
            self.finish();
        }
        self.abandon();
    }
}
