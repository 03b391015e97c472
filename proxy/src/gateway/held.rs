//! A backend's answer while it is passed on, as far as something that stands beside it can take it away.

use super::shadow::Tee;
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
    /// Has what passes, too.
    tee: Option<Box<Tee>>,
}

impl Held {
    pub(super) fn new(body: UpstreamBody, in_flight: InFlight, tee: Option<Box<Tee>>) -> Self {
        let mut held = Self { body, in_flight: Some(in_flight), handed_out: None, cut: None, waker: None, tee };
        // Nobody asks for a body that is known to be empty.
        if held.body.is_over() {
            held.end_tee();
        }
        held
    }

    /// The next frame of it.
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Flag>>> {
        if let Some(flag) = self.cut {
            return Poll::Ready(Some(Err(flag)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let (Poll::Ready(Some(frame)), Some(tee)) = (&polled, &mut self.tee) {
            tee.pass(frame);
        }
        if polled.is_ready() && self.body.is_over() {
            self.in_flight = None;
            self.end_tee();
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(|BrokenAnswer| Flag::UpstreamProtocol)))
    }

    fn end_tee(&mut self) {
        if let Some(mut tee) = self.tee.take() {
            tee.end();
        }
    }

    /// Ends it, and frees the backend.
    pub(super) fn cut(&mut self, flag: Flag) {
        self.cut = Some(flag);
        self.body.abandon();
        if let (Flag::Timeout, Some(tee)) = (flag, &mut self.tee) {
            tee.late();
        }
        (self.in_flight, self.tee) = (None, None);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What a body that is dropped now says of itself.
    pub(super) fn ending(&self) -> Option<Flag> {
        self.cut.or_else(|| (!self.body.is_over()).then_some(Flag::DownstreamGone))
    }
}
