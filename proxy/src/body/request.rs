//! Request bodies. One try at a time reads the client's body; a later try reads first what was kept of it. What an
//! earlier try still holds is cut off, so that two connections never share one stream.

use super::client::{ClientBody, ClientBodyError};
use crate::error::GatewayError;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::sync::Notify;

/// How much of a body is taken, and how much of it is held.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "each name ends in its unit")]
pub(crate) struct BodyLimits {
    /// None is without limit.
    pub(crate) max_bytes: Option<u64>,
    /// Read before an upstream connection is taken.
    pub(crate) read_ahead_bytes: usize,
    /// Kept so that a try can be made again; 0 keeps nothing beyond what was read ahead.
    pub(crate) replay_bytes: usize,
}

/// Pieces that are kept of a body at most: a body of single bytes costs many times its size.
const MAX_PIECES: usize = 4096;

/// A request's body, ready to be sent by one try after the other.
pub(crate) enum RequestBody {
    /// There is none, or it was read whole.
    Whole(Bytes),
    /// It is larger than what is read ahead.
    Streamed(Rc<SharedStream>),
}

/// The part of a streamed body that outlives a try.
pub(crate) struct SharedStream {
    state: RefCell<Stream>,
    ended: Notify,
    /// Bytes received so far, for the record of the request.
    received: Rc<Cell<u64>>,
    /// By Content-Length.
    length: Option<u64>,
}

struct Stream {
    source: ClientBody,
    /// The pieces from the beginning; all of them as long as `complete_from_start`.
    kept: Vec<Bytes>,
    kept_bytes: usize,
    complete_from_start: bool,
    /// Whether a try has taken a piece: until then, another can send all of it.
    touched: bool,
    /// The try that may read; older ones are cut off.
    current_try: u32,
    outcome: Option<Result<(), GatewayError>>,
    limits: BodyLimits,
}

impl RequestBody {
    /// Reads a body ahead, as far as the limits say. `received` counts its bytes.
    pub(crate) async fn read(
        body: ClientBody,
        limits: BodyLimits,
        received: &Rc<Cell<u64>>,
    ) -> Result<Self, GatewayError> {
        let length = body.size_hint().exact();
        let too_large = |bytes: u64| limits.max_bytes.is_some_and(|max| bytes > max);
        if length == Some(0) || body.is_end_stream() {
            return Ok(Self::Whole(Bytes::new()));
        }
        if length.is_some_and(too_large) {
            return Err(GatewayError::BodyTooLarge);
        }
        let mut source = body;
        let mut ahead = BytesMut::new();
        let reads_ahead = length.is_none_or(|length| length <= limits.read_ahead_bytes as u64);
        while reads_ahead && ahead.len() <= limits.read_ahead_bytes {
            let Some(frame) = source.frame().await else { return Ok(Self::Whole(ahead.freeze())) };
            let Ok(data) = frame.map_err(|error| client_error(&error))?.into_data() else { continue };
            received.set(received.get() + data.len() as u64);
            if too_large(received.get()) {
                return Err(GatewayError::BodyTooLarge);
            }
            if source.is_end_stream() && ahead.is_empty() {
                return Ok(Self::Whole(data));
            }
            // Copied, so that many small pieces do not hold on to the buffers that they came in.
            ahead.extend_from_slice(&data);
        }
        let mut state = Stream {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            complete_from_start: ahead.len() <= limits.replay_bytes.max(limits.read_ahead_bytes),
            touched: false,
            current_try: 0,
            outcome: None,
            limits,
        };
        if !ahead.is_empty() {
            state.kept_bytes = ahead.len();
            state.kept.push(ahead.freeze());
        }
        let stream =
            SharedStream { state: RefCell::new(state), ended: Notify::new(), received: Rc::clone(received), length };
        Ok(Self::Streamed(Rc::new(stream)))
    }

    /// The body for the next try; earlier tries get nothing more.
    pub(crate) fn next_try(&self) -> TryBody {
        match self {
            Self::Whole(bytes) => TryBody::Whole(bytes.clone()),
            Self::Streamed(stream) => {
                let mut state = stream.state.borrow_mut();
                state.current_try += 1;
                TryBody::Streamed { stream: Rc::clone(stream), number: state.current_try, next_piece: 0, given: 0 }
            }
        }
    }

    /// Whether another try can send all of it.
    pub(crate) fn is_replayable(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Streamed(stream) => {
                let state = stream.state.borrow();
                state.complete_from_start || !state.touched
            }
        }
    }

    /// Whether all of it has been read from the client.
    pub(crate) fn is_received(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Streamed(stream) => stream.state.borrow().outcome == Some(Ok(())),
        }
    }

    /// Returns when all of it has been read from the client.
    pub(crate) async fn received(&self) {
        if let Self::Streamed(stream) = self {
            while stream.state.borrow().outcome.is_none() {
                stream.ended.notified().await;
            }
        }
    }

    /// What went wrong on the client's side, if something did.
    pub(crate) fn failure(&self) -> Option<GatewayError> {
        match self {
            Self::Whole(_) => None,
            Self::Streamed(stream) => stream.state.borrow().outcome.and_then(Result::err),
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    /// Whether its length is unknown, so that it must be sent in chunks.
    pub(crate) fn is_chunked(&self) -> bool {
        matches!(self, Self::Streamed(stream) if stream.length.is_none())
    }
}

impl Clone for RequestBody {
    fn clone(&self) -> Self {
        match self {
            Self::Whole(bytes) => Self::Whole(bytes.clone()),
            Self::Streamed(stream) => Self::Streamed(Rc::clone(stream)),
        }
    }
}

fn client_error(error: &ClientBodyError) -> GatewayError {
    match error {
        ClientBodyError::TimedOut => GatewayError::BodyTimeout,
        ClientBodyError::Broken(_) => GatewayError::BodyAborted,
    }
}

/// The body as one try sends it.
pub(crate) enum TryBody {
    Whole(Bytes),
    Streamed { stream: Rc<SharedStream>, number: u32, next_piece: usize, given: u64 },
}

/// Why a try's body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TryBodyError {
    #[error("another try has taken over the body")]
    Superseded,
    #[error(transparent)]
    Client(GatewayError),
}

impl Body for TryBody {
    type Data = Bytes;
    type Error = TryBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TryBodyError>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Streamed { stream, number, next_piece, given } => {
                let piece = ready!(stream.poll_piece(context, *number, next_piece));
                if let Some(Ok(piece)) = &piece {
                    *given += piece.len() as u64;
                }
                Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed { stream, given, .. } => stream
                .length
                .map_or_else(SizeHint::default, |length| SizeHint::with_exact(length.saturating_sub(*given))),
        }
    }
}

impl SharedStream {
    /// The next piece for a try: a kept one, else one from the client. Trailers are dropped.
    fn poll_piece(
        &self,
        context: &mut Context<'_>,
        number: u32,
        next_piece: &mut usize,
    ) -> Poll<Option<Result<Bytes, TryBodyError>>> {
        let mut state = self.state.borrow_mut();
        if state.current_try != number {
            return Poll::Ready(Some(Err(TryBodyError::Superseded)));
        }
        state.touched = true;
        if let Some(piece) = state.kept.get(*next_piece) {
            *next_piece += 1;
            return Poll::Ready(Some(Ok(piece.clone())));
        }
        loop {
            let outcome = match ready!(Pin::new(&mut state.source).poll_frame(context)) {
                None => Ok(()),
                Some(Err(error)) => Err(client_error(&error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Err(_) => continue,
                    Ok(data) => match self.count(&data, state.limits.max_bytes) {
                        Ok(()) => {
                            *next_piece += 1;
                            state.keep(&data);
                            return Poll::Ready(Some(Ok(data)));
                        }
                        Err(error) => Err(error),
                    },
                },
            };
            state.outcome = Some(outcome);
            self.ended.notify_waiters();
            return Poll::Ready(outcome.err().map(|error| Err(TryBodyError::Client(error))));
        }
    }

    fn count(&self, data: &Bytes, max_bytes: Option<u64>) -> Result<(), GatewayError> {
        let received = self.received.get() + data.len() as u64;
        self.received.set(received);
        if max_bytes.is_some_and(|max| received > max) { Err(GatewayError::BodyTooLarge) } else { Ok(()) }
    }
}

impl Stream {
    fn keep(&mut self, data: &Bytes) {
        let fits = self.kept_bytes + data.len() <= self.limits.replay_bytes && self.kept.len() < MAX_PIECES;
        if self.complete_from_start && fits {
            self.kept_bytes += data.len();
            self.kept.push(data.clone());
        } else {
            // What was kept is of no use without this piece: no other try can be made, so let it go.
            self.complete_from_start = false;
            self.kept = Vec::new();
            self.kept_bytes = 0;
        }
    }
}
