//! The part of a streamed body that outlives a try. One try at a time reads the client's body; a later one reads first
//! what was kept of it. What an earlier try still holds is cut off, so that two connections never share one stream.

use super::client::ClientBody;
use super::copy::{Copy, CopyRoom, CopyWriter, Incomplete};
use crate::error::GatewayError;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::sync::Notify;

/// How much of a body is taken, and how much of it is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// None is without limit.
    pub(crate) max_bytes: Option<u64>,
    /// Read before an upstream connection is taken.
    pub(crate) read_ahead_bytes: usize,
    /// Whether that is waited for, as all of the body is for a time. Else it is what has come already, and the rest takes its
    /// time.
    pub(crate) waits: bool,
    /// Kept so that a try can be made again; 0 keeps nothing beyond what is read ahead.
    pub(crate) replay_bytes: usize,
}

impl BodyLimits {
    pub(super) fn check(&self, received: u64) -> Result<(), GatewayError> {
        if self.max_bytes.is_some_and(|max| received > max) { Err(GatewayError::BodyTooLarge) } else { Ok(()) }
    }
}

/// Why a try's body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TryBodyError {
    #[error("another try has taken over the body")]
    Superseded,
    #[error(transparent)]
    Client(GatewayError),
}

/// What is kept is copied into segments of this size, in bytes: a slice would hold on to the buffer that it came in,
/// which may be thousands of times as large.
const SEGMENT: usize = 16 << 10;

/// See the module.
pub(crate) struct SharedStream {
    state: RefCell<State>,
    ended: Notify,
    /// Bytes received so far.
    received: Rc<Cell<u64>>,
    /// By Content-Length.
    length: Option<u64>,
}

struct State {
    /// None once nobody is to read it any more.
    source: Option<Source>,
    kept: Kept,
    trailers: Option<HeaderMap>,
    /// Whether `kept` is all that was received.
    complete_from_start: bool,
    /// Whether a try has taken something: until then, another can send all of it.
    touched: bool,
    /// The try that may read; older ones are cut off.
    current_try: u32,
    /// Who waits for more, to be told that it gets none.
    waiting: Option<Waker>,
    outcome: Option<Result<(), GatewayError>>,
    /// Whether trailers may follow although the last byte has come.
    may_trail: bool,
    /// Told of everything that comes, until it has.
    copies: Vec<CopyWriter>,
    limits: BodyLimits,
}

enum Source {
    Client(ClientBody),
    /// Of another stream.
    Copy(Rc<Copy>),
}

impl Source {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GatewayError>>> {
        match self {
            Self::Client(body) => Pin::new(body).poll_frame(context),
            Self::Copy(copy) => copy.poll_frame(context).map_err(|_| GatewayError::BodyAborted),
        }
    }

    fn is_at_end(&self) -> bool {
        match self {
            Self::Client(body) => body.is_end_stream(),
            Self::Copy(_) => false,
        }
    }
}

/// A copy of the beginning of a body.
#[derive(Default)]
struct Kept {
    segments: Vec<BytesMut>,
    bytes: usize,
}

impl Kept {
    fn append(&mut self, mut data: &[u8]) {
        self.bytes += data.len();
        while !data.is_empty() {
            let room = self.segments.last().map_or(0, |last| last.capacity() - last.len());
            if room == 0 {
                self.segments.push(BytesMut::with_capacity(SEGMENT));
                continue;
            }
            let (fits, rest) = data.split_at(data.len().min(room));
            if let Some(last) = self.segments.last_mut() {
                last.extend_from_slice(fits);
            }
            data = rest;
        }
    }

    /// What there is from an offset on, as far as one segment goes.
    fn from(&self, mut offset: usize) -> Option<Bytes> {
        for segment in &self.segments {
            if offset < segment.len() {
                return Some(Bytes::copy_from_slice(&segment[offset..]));
            }
            offset -= segment.len();
        }
        None
    }
}

impl SharedStream {
    /// A stream of which `ahead` has been read.
    pub(super) fn new(source: Option<ClientBody>, length: Option<u64>, ahead: BytesMut, limits: BodyLimits) -> Self {
        Self::over(source.map(Source::Client), length, ahead, limits)
    }

    fn over(source: Option<Source>, length: Option<u64>, ahead: BytesMut, limits: BodyLimits) -> Self {
        let bytes = ahead.len();
        // Its end is still to be said, with or without trailers.
        let is_all = length == Some(bytes as u64);
        let state = State {
            source,
            kept: Kept { segments: if bytes == 0 { Vec::new() } else { vec![ahead] }, bytes },
            trailers: None,
            complete_from_start: bytes <= limits.replay_bytes.max(limits.read_ahead_bytes),
            touched: false,
            current_try: 0,
            waiting: None,
            outcome: is_all.then_some(Ok(())),
            may_trail: is_all,
            copies: Vec::new(),
            limits,
        };
        Self { state: RefCell::new(state), ended: Notify::new(), received: Rc::new(Cell::new(bytes as u64)), length }
    }

    pub(super) fn received_count(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.received)
    }

    /// The reader of the next try; earlier ones get nothing more.
    pub(super) fn next_reader(stream: &Rc<Self>) -> Reader {
        let mut state = stream.state.borrow_mut();
        state.current_try += 1;
        state.waiting.take().into_iter().for_each(Waker::wake);
        Reader { number: state.current_try, stream: Rc::clone(stream), given: 0, trailers_given: false }
    }

    /// A copy of it of at most so many bytes, to be asked for before a try has begun; none if what has come already, or is
    /// announced, does not fit.
    pub(super) fn copy(&self, room: &Arc<CopyRoom>, most: u64) -> Result<Self, Incomplete> {
        if self.length.is_some_and(|length| length > most) {
            return Err(Incomplete::TooLarge);
        }
        let (copy, writer) = Copy::new(room, most);
        let mut state = self.state.borrow_mut();
        if !state.kept.segments.iter().all(|piece| writer.push(piece)) {
            return Err(copy.incomplete().unwrap_or(Incomplete::NoRoom));
        }
        state.copies.push(writer);
        let limits = BodyLimits { max_bytes: None, read_ahead_bytes: 0, waits: true, replay_bytes: 0 };
        Ok(Self::over(Some(Source::Copy(copy)), self.length, BytesMut::new(), limits))
    }

    /// Returns when it is the copy of another and stays incomplete.
    pub(super) async fn broken(&self) {
        if let Some(copy) = self.original()
            && copy.ended().await.is_err()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    /// Why it does, if it is known.
    pub(super) fn incomplete(&self) -> Option<Incomplete> {
        self.original()?.incomplete()
    }

    /// What it reads, if it is a copy.
    fn original(&self) -> Option<Rc<Copy>> {
        match &self.state.borrow().source {
            Some(Source::Copy(copy)) => Some(Rc::clone(copy)),
            _ => None,
        }
    }

    pub(super) fn is_replayable(&self) -> bool {
        let state = self.state.borrow();
        state.complete_from_start || !state.touched
    }

    /// How reading the client's body has ended, if it has.
    pub(super) fn outcome(&self) -> Option<Result<(), GatewayError>> {
        self.state.borrow().outcome
    }

    /// Returns when reading the client's body has ended. Of a copy it does not matter who has taken how much.
    pub(super) async fn ended(&self) {
        if let Some(copy) = self.original() {
            // Either way nothing more comes.
            let _ = copy.ended().await;
            return;
        }
        while self.outcome().is_none() {
            self.ended.notified().await;
        }
    }

    /// What has not been read, if anything; no try gets more.
    pub(super) fn take_source(&self) -> Option<ClientBody> {
        let mut state = self.state.borrow_mut();
        // One that was refused for its length or its slowness may still be coming.
        state.copies.clear();
        state.waiting.take().into_iter().for_each(Waker::wake);
        let has_ended = matches!(state.outcome, Some(Ok(()) | Err(GatewayError::BodyAborted)));
        match state.source.take() {
            Some(Source::Client(body)) if !has_ended => Some(body),
            _ => None,
        }
    }

    fn poll_frame(&self, context: &mut Context<'_>, reader: &mut Position<'_>) -> FramePoll {
        let mut state = self.state.borrow_mut();
        if state.current_try != reader.number {
            return Poll::Ready(Some(Err(TryBodyError::Superseded)));
        }
        state.touched = true;
        if let Ok(given) = usize::try_from(*reader.given)
            && let Some(piece) = state.kept.from(given)
        {
            *reader.given += piece.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let polled = match state.outcome {
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(())) if !state.may_trail => None,
            _ => match state.poll_source(context, &self.received, self.length) {
                Poll::Ready(read) => read,
                Poll::Pending => {
                    if !state.waiting.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                        state.waiting = Some(context.waker().clone());
                    }
                    return Poll::Pending;
                }
            },
        };
        if state.outcome.is_some() {
            self.ended.notify_waiters();
        }
        let frame = match polled {
            Some(Ok(data)) => {
                *reader.given += data.len() as u64;
                Some(Ok(Frame::data(data)))
            }
            Some(Err(error)) => Some(Err(TryBodyError::Client(error))),
            None if *reader.trailers_given => None,
            None => {
                *reader.trailers_given = true;
                state.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers)))
            }
        };
        Poll::Ready(frame)
    }
}

type FramePoll = Poll<Option<Result<Frame<Bytes>, TryBodyError>>>;

impl State {
    /// The next data from the client; none once there is no more, whatever trailers there are.
    fn poll_source(
        &mut self,
        context: &mut Context<'_>,
        received: &Cell<u64>,
        length: Option<u64>,
    ) -> Poll<Option<Result<Bytes, GatewayError>>> {
        let Some(source) = &mut self.source else {
            self.outcome = Some(Err(GatewayError::BodyAborted));
            return Poll::Ready(Some(Err(GatewayError::BodyAborted)));
        };
        let frame = match ready!(source.poll_frame(context)) {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(frame)) => frame.into_data().map_or_else(
                |frame| {
                    self.trailers = frame.into_trailers().ok();
                    None
                },
                |data| Some(Ok(data)),
            ),
        };
        let says_end = source.is_at_end();
        let taken = frame.map(|data| {
            data.and_then(|data| {
                received.set(received.get() + data.len() as u64);
                self.limits.check(received.get())?;
                self.keep(&data);
                self.copies.retain(|copy| copy.push(&data));
                Ok(data)
            })
        });
        match &taken {
            // Over HTTP/1 a body of known length is not asked for more after its last byte, so this is how its end is known.
            // A client of HTTP/2 may say it later, in a frame of its own, or in trailers.
            Some(Ok(_)) if says_end || length == Some(received.get()) => self.outcome = Some(Ok(())),
            Some(Ok(_)) => {}
            Some(Err(error)) => self.outcome = Some(Err(*error)),
            None => self.outcome = Some(Ok(())),
        }
        self.may_trail = matches!(taken, Some(Ok(_))) && !says_end;
        match self.outcome {
            Some(Ok(())) => self.copies.drain(..).for_each(|copy| copy.finish(self.trailers.as_ref())),
            Some(Err(_)) => self.copies.clear(),
            None => {}
        }
        Poll::Ready(taken)
    }

    fn keep(&mut self, data: &Bytes) {
        if data.is_empty() {
            return;
        }
        let most = self.limits.replay_bytes.max(self.limits.read_ahead_bytes);
        if self.complete_from_start && self.kept.bytes + data.len() <= most {
            self.kept.append(data);
        } else {
            // What was kept is of no use without this piece: no other try can be made, so let it go.
            self.complete_from_start = false;
            self.kept = Kept::default();
        }
    }
}

/// One try's place in the stream.
pub(crate) struct Reader {
    stream: Rc<SharedStream>,
    number: u32,
    /// Bytes.
    given: u64,
    trailers_given: bool,
}

struct Position<'a> {
    number: u32,
    given: &'a mut u64,
    trailers_given: &'a mut bool,
}

impl Reader {
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> FramePoll {
        let Self { stream, number, given, trailers_given } = self;
        stream.poll_frame(context, &mut Position { number: *number, given, trailers_given })
    }

    /// By Content-Length.
    pub(super) fn length(&self) -> Option<u64> {
        self.stream.length
    }

    /// Bytes that are still to be given, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.stream.length.map(|length| length.saturating_sub(self.given))
    }

    pub(super) fn is_at_end(&self) -> bool {
        let state = self.stream.state.borrow();
        self.left() == Some(0) && !state.may_trail && state.trailers.is_none()
    }
}

#[cfg(test)]
mod tests;
