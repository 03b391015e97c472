//! Response bodies: the gateway's own, or the backend's passed on.
//!
//! hyper asks for the next piece only when the client has taken the last one, so a body cannot notice by itself that a
//! client takes nothing, or that the rule's time is over meanwhile. Where that matters a watch stands beside it, which
//! cuts it off and frees the backend.

use super::RequestBody;
use crate::error::{Flag, GatewayError};
use crate::telemetry::record::Record;
use crate::upstream::{InFlight, Lease};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;
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
    Upstream(Passed),
}

/// A backend's body, with what it takes to end well.
pub(crate) struct UpstreamBody {
    pub(crate) incoming: Incoming,
    /// Until the backend is done with the request, or the request with it.
    pub(crate) lease: Option<(Lease, InFlight)>,
    pub(crate) policy: BackendPolicy,
    pub(crate) idle_timeout: Duration,
    /// The connection is kept only if all of the request was sent, too.
    pub(crate) request_body: RequestBody,
}

/// What ends a body that does not end by itself.
pub(crate) struct ResponseLimits {
    /// The rule's time-out.
    pub(crate) deadline: Option<Deadline>,
    /// How long the client may take nothing. None where the connection itself is watched for that.
    pub(crate) stall: Option<Duration>,
}

/// A backend's body on its way, shared with its watch.
struct Passed {
    held: Rc<RefCell<Held>>,
    stall: Option<Duration>,
    watch: Option<AbortHandle>,
}

struct Held {
    body: UpstreamBody,
    /// Since when the client has had a piece to take.
    handed_out: Option<Instant>,
    /// Why the watch ended it.
    cut: Option<GatewayError>,
    waker: Option<Waker>,
}

impl ResponseBody {
    pub(crate) fn local(body: Bytes, record: Record) -> Self {
        Self { source: Source::Local(body), record }
    }

    pub(crate) fn upstream(body: UpstreamBody, limits: ResponseLimits, record: Record) -> Self {
        let held = Rc::new(RefCell::new(Held { body, handed_out: None, cut: None, waker: None }));
        let mut passed = Passed { held, stall: limits.stall, watch: None };
        if let Some(deadline) = limits.deadline {
            passed.watch(Some(deadline));
        }
        Self { source: Source::Upstream(passed), record }
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
            Source::Upstream(passed) => passed.poll_data(context),
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
            Source::Upstream(passed) => passed.held.borrow().body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(passed) => passed.held.borrow().body.incoming.size_hint(),
        }
    }
}

/// Tells hyper to cut the response off, so that the client sees that it is incomplete.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut off: {0}")]
pub(crate) struct ResponseBodyError(GatewayError);

impl Passed {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, GatewayError>>> {
        let mut held = self.held.borrow_mut();
        let polled = held.poll_data(context);
        let more_is_coming = held.handed_out.is_some() && held.body.lease.is_some();
        drop(held);
        // A body of one piece, which most are, needs no watch.
        if more_is_coming && self.stall.is_some() && self.watch.is_none() {
            self.watch(None);
        }
        polled
    }

    fn watch(&mut self, deadline: Option<Deadline>) {
        let watch = watch(Rc::downgrade(&self.held), deadline, self.stall);
        self.watch = Some(tokio::task::spawn_local(watch).abort_handle());
    }
}

/// Cuts a body off when its time is over or its client takes nothing of it.
async fn watch(held: Weak<RefCell<Held>>, deadline: Option<Deadline>, stall: Option<Duration>) {
    let mut deadline = deadline.unwrap_or_else(|| Box::pin(std::future::pending()));
    loop {
        let stalled = async {
            match stall {
                // Looked at now and then: a stall is seen at the latest when it is twice as long as allowed.
                Some(stall) => tokio::time::sleep(stall).await,
                None => std::future::pending().await,
            }
        };
        let time_is_over = tokio::select! {
            () = &mut deadline => true,
            () = stalled => false,
        };
        let Some(held) = held.upgrade() else { return };
        let mut held = held.borrow_mut();
        let is_stalled = held.handed_out.zip(stall).is_some_and(|(since, stall)| since.elapsed() >= stall);
        if time_is_over || is_stalled {
            held.cut(if time_is_over { GatewayError::Timeout } else { GatewayError::BodyTimeout });
            return;
        }
    }
}

impl Held {
    /// The next piece of the backend's body; trailers are dropped.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, GatewayError>>> {
        loop {
            if let Some(error) = self.cut {
                return Poll::Ready(Some(Err(error)));
            }
            self.handed_out = None;
            match Pin::new(&mut self.body.incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.handed_out = Some(Instant::now());
                    if self.body.incoming.is_end_stream() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                Poll::Ready(Some(Err(_))) => {
                    self.body.lease = None;
                    return Poll::Ready(Some(Err(GatewayError::UpstreamProtocol)));
                }
                Poll::Ready(None) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    self.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }

    /// All of it has been read: the connection is free for another request, if that one was sent whole.
    fn finish(&mut self) {
        let body = &mut self.body;
        if let Some((lease, _in_flight)) = body.lease.take()
            && body.request_body.is_received()
        {
            lease.give_back(&body.policy, body.idle_timeout);
        }
    }

    fn cut(&mut self, error: GatewayError) {
        self.cut = Some(error);
        self.body.lease = None;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let Source::Upstream(passed) = &mut self.source else { return };
        if let Some(watch) = passed.watch.take() {
            watch.abort();
        }
        let mut held = passed.held.borrow_mut();
        // A body that hyper knows to be empty is never polled; it ended all the same.
        if held.body.incoming.is_end_stream() {
            held.finish();
        } else if held.body.lease.is_some() && !self.record.is_head() {
            self.record.fail(Flag::DownstreamGone);
        }
    }
}
