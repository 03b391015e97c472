//! What a client is answered with. Its record is closed when it is dropped, sent or not.
//!
//! hyper asks for the next frame only when the client has taken the last one, so a body cannot notice by itself that a
//! client takes nothing, or that the rule's time is over meanwhile. Where that matters a [`watch`](super::watch) stands
//! beside it, which cuts it off and frees the backend.

use super::deadline::Deadline;
use super::held::Held;
use super::shadow::Tee;
use super::watch::{Stall, Watch};
use crate::body::client::ClientBody;
use crate::body::linger::linger;
use crate::body::replay::RequestBody;
use crate::client::{OpenRequest, StreamEnd};
use crate::error::Flag;
use crate::telemetry::record::Record;
use crate::upstream::{InFlight, UpstreamBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// See the module.
pub(crate) struct ResponseBody {
    source: Source,
    /// None where something else follows, which has it.
    record: Option<Record>,
    /// None once it is handed on, or once the client is let go before it has taken all.
    open: Option<OpenRequest>,
    /// What is left of the request.
    unread: Option<ClientBody>,
    /// Whether it breaks off.
    is_broken: bool,
}

/// What an answer closes when it ends.
pub(super) struct Closing {
    pub(super) record: Record,
    pub(super) open: OpenRequest,
    /// Of an answer over HTTP/2.
    pub(super) stream: Option<Rc<StreamEnd>>,
}

/// A backend's answer as it is to be passed on.
pub(super) struct Passing {
    held: Held,
    request: RequestBody,
    /// The rule's.
    deadline: Option<Deadline>,
    stall_timeout: Duration,
}

enum Source {
    Local(Bytes),
    /// Nothing has to stand beside it yet, and for an answer of one piece nothing ever will.
    Passing {
        passing: Passing,
        stream: Option<Rc<StreamEnd>>,
    },
    Watched {
        held: Rc<RefCell<Held>>,
        request: RequestBody,
        _watch: Watch,
    },
}

/// Tells hyper to cut the response off, so that the client sees that it is incomplete.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut off")]
pub(crate) struct CutOff;

impl Passing {
    pub(super) fn new(
        body: UpstreamBody,
        in_flight: InFlight,
        request: RequestBody,
        deadline: Option<Deadline>,
        stall_timeout: Duration,
        tee: Option<Box<Tee>>,
    ) -> Self {
        Self { held: Held::new(body, in_flight, tee), request, deadline, stall_timeout }
    }
}

impl ResponseBody {
    pub(super) fn local(body: Bytes, unread: Option<ClientBody>, closing: Closing) -> Self {
        Self {
            source: Source::Local(body),
            record: Some(closing.record),
            open: Some(closing.open),
            unread,
            is_broken: false,
        }
    }

    pub(super) fn passing(passing: Passing, closing: Closing) -> Self {
        let source = Source::Passing { passing, stream: closing.stream };
        Self { source, record: Some(closing.record), open: Some(closing.open), unread: None, is_broken: false }
    }

    /// Of an answer that something else follows.
    pub(super) fn nothing(open: OpenRequest) -> Self {
        Self { source: Source::Local(Bytes::new()), record: None, open: Some(open), unread: None, is_broken: false }
    }

    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Flag>>> {
        match &mut self.source {
            Source::Local(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Local(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Watched { held, .. } => {
                let mut held = held.borrow_mut();
                held.handed_out = None;
                let polled = held.poll_frame(context);
                match &polled {
                    Poll::Ready(Some(Ok(_))) => held.handed_out = Some(Instant::now()),
                    Poll::Pending => held.waker = Some(context.waker().clone()),
                    Poll::Ready(_) => {}
                }
                polled
            }
            Source::Passing { passing, stream } => {
                let polled = passing.held.poll_frame(context);
                match (&polled, &mut passing.deadline) {
                    (Poll::Pending, Some(deadline)) => {
                        // The client is waiting, so the time can be kept here.
                        return deadline.as_mut().poll(context).map(|()| {
                            passing.held.cut(Flag::Timeout);
                            Some(Err(Flag::Timeout))
                        });
                    }
                    // HTTP/1 has one response at a time, so there the connection is watched; HTTP/2 has many.
                    (Poll::Ready(Some(Ok(_))), deadline)
                        if !passing.held.body.is_over() && (deadline.is_some() || stream.is_some()) =>
                    {
                        self.watch();
                    }
                    _ => {}
                }
                polled
            }
        }
    }

    /// Over HTTP/2 hyper has the last piece until the client grants room for it. A client that never does is as idle as one
    /// that asks for nothing.
    fn let_go_of_client(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.client.is_http2()) && self.is_end_stream() {
            self.open.take().into_iter().for_each(OpenRequest::end_elsewhere);
        }
    }

    /// From now on something stands beside it.
    fn watch(&mut self) {
        let source = std::mem::replace(&mut self.source, Source::Local(Bytes::new()));
        self.source = match source {
            Source::Passing { passing, stream } => {
                let Passing { mut held, request, deadline, stall_timeout } = passing;
                held.handed_out = Some(Instant::now());
                let held = Rc::new(RefCell::new(held));
                let stall = stream.map(|stream| Stall { timeout: stall_timeout, stream });
                let watch = Watch::start(Rc::downgrade(&held), deadline, stall);
                Source::Watched { held, request, _watch: watch }
            }
            source @ (Source::Local(_) | Source::Watched { .. }) => source,
        };
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let this = &mut *self;
        if this.is_broken {
            return Poll::Ready(Some(Err(CutOff)));
        }
        match ready!(this.poll_source(context)) {
            None => Poll::Ready(None),
            Some(Ok(frame)) => {
                match (&mut this.record, frame.data_ref(), frame.trailers_ref()) {
                    (Some(record), Some(data), _) => record.response_bytes += data.len() as u64,
                    (Some(record), None, Some(trailers)) => record.read_grpc_status(trailers),
                    _ => {}
                }
                this.let_go_of_client();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(flag)) => {
                if let Some(record) = &mut this.record {
                    record.fail(flag);
                }
                // hyper forgets what it has not written yet when it is told. In the next turn it has.
                this.is_broken = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Local(bytes) => bytes.is_empty(),
            Source::Passing { passing, .. } => passing.held.body.is_end_stream(),
            Source::Watched { held, .. } => held.borrow().body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Passing { passing, .. } => passing.held.body.size_hint(),
            Source::Watched { held, .. } => held.borrow().body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let (ending, unread) = match &mut self.source {
            Source::Local(bytes) => ((!bytes.is_empty()).then_some(Flag::DownstreamGone), self.unread.take()),
            Source::Passing { passing, .. } => (passing.held.ending(), passing.request.take_unread()),
            Source::Watched { held, request, .. } => (held.borrow().ending(), request.take_unread()),
        };
        match ending {
            Some(flag) => {
                // Where no more than a head is meant, the client is told all of it.
                if let Some(record) = self.record.as_mut().filter(|record| !record.is_head()) {
                    record.fail(flag);
                }
            }
            None => {
                if let (Some(unread), Some(open)) = (unread, self.open.take()) {
                    linger(unread, open);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
