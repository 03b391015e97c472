//! Response bodies: the gateway's own, or the backend's passed on.

use super::RequestBody;
use crate::error::{Flag, GatewayError};
use crate::record::Record;
use crate::upstream::Lease;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use turnout_routes::router::BackendPolicy;

/// Ends when a rule's time-out is over.
pub(crate) type Deadline = Pin<Box<dyn Future<Output = ()>>>;

/// What a client is answered with. Its record is closed when it is dropped, sent or not.
pub(crate) struct ResponseBody {
    source: Source,
    record: Record,
}

enum Source {
    Local(Bytes),
    Upstream(Box<UpstreamBody>),
}

/// A backend's body, with what it takes to end well.
pub(crate) struct UpstreamBody {
    pub(crate) incoming: Incoming,
    pub(crate) lease: Option<Lease>,
    pub(crate) policy: BackendPolicy,
    pub(crate) idle_timeout: Duration,
    /// The connection is kept only if all of the request was sent, too.
    pub(crate) request_body: RequestBody,
    pub(crate) deadline: Option<Deadline>,
}

impl ResponseBody {
    pub(crate) fn local(body: Bytes, record: Record) -> Self {
        Self { source: Source::Local(body), record }
    }

    pub(crate) fn upstream(body: UpstreamBody, record: Record) -> Self {
        Self { source: Source::Upstream(Box::new(body)), record }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        let this = &mut *self;
        let polled = match &mut this.source {
            Source::Local(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Local(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Source::Upstream(upstream) => upstream.poll_data(context),
        };
        polled.map(|data| {
            data.map(|data| match data {
                Ok(data) => {
                    this.record.response_bytes += data.len() as u64;
                    Ok(Frame::data(data))
                }
                Err(error) => {
                    this.record.fail(error.flag());
                    Err(ResponseBodyError(error))
                }
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Local(bytes) => bytes.is_empty(),
            Source::Upstream(upstream) => upstream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(upstream) => upstream.incoming.size_hint(),
        }
    }
}

/// Tells hyper to cut the response off, so that the client sees that it is incomplete.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut off: {0}")]
pub(crate) struct ResponseBodyError(GatewayError);

impl UpstreamBody {
    /// The next piece of the backend's body; trailers are dropped.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, GatewayError>>> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    self.lease = None;
                    return Poll::Ready(Some(Err(GatewayError::UpstreamProtocol)));
                }
                Poll::Ready(None) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Poll::Pending => return self.poll_deadline(context),
            }
        }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, GatewayError>>> {
        let is_over = self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready());
        if !is_over {
            return Poll::Pending;
        }
        self.lease = None;
        Poll::Ready(Some(Err(GatewayError::Timeout)))
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.request_body.is_received()
        {
            lease.give_back(&self.policy, self.idle_timeout);
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body that hyper knows to be empty is never polled; it ended all the same.
        if let Source::Upstream(upstream) = &mut self.source {
            if upstream.incoming.is_end_stream() {
                upstream.finish();
            } else if upstream.lease.is_some() && !self.record.is_head() {
                self.record.fail(Flag::DownstreamGone);
            }
        }
    }
}
