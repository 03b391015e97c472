//! A backend's answer while it is passed on, as far as something that stands beside it can take it away.

use crate::error::Flag;
use crate::upstream::{BrokenAnswer, InFlight, UpstreamBody};
use bytes::Bytes;
use http_body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// See the module.
pub(super) struct Held {
    pub(super) body: UpstreamBody,
    in_flight: Option<InFlight>,
    /// Since when the client has had a piece to take.
    pub(super) handed_out: Option<Instant>,
    /// Why the watch ended it.
    cut: Option<Flag>,
    pub(super) waker: Option<Waker>,
}

impl Held {
    pub(super) fn new(body: UpstreamBody, in_flight: InFlight) -> Self {
        Self { body, in_flight: Some(in_flight), handed_out: None, cut: None, waker: None }
    }

    /// The next frame of it.
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Flag>>> {
        if let Some(flag) = self.cut {
            return Poll::Ready(Some(Err(flag)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() && self.body.is_over() {
            self.in_flight = None;
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(|BrokenAnswer| Flag::UpstreamProtocol)))
    }

    /// Ends it, and frees the backend.
    pub(super) fn cut(&mut self, flag: Flag) {
        self.cut = Some(flag);
        self.body.abandon();
        self.in_flight = None;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What a body that is dropped now says of itself.
    pub(super) fn ending(&self) -> Option<Flag> {
        self.cut.or_else(|| (!self.body.is_over()).then_some(Flag::DownstreamGone))
    }
}
