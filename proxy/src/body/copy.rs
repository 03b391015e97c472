//! A copy of a streamed body, for somebody who must not hold up whoever reads the stream itself. Pieces wait here until
//! they are taken; where more of them would wait than there is room for, the copy ends in an error, and the stream goes on.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// Not all of it came, or there was no room for it.
#[derive(Debug, thiserror::Error)]
#[error("the copy of the body is incomplete")]
pub(crate) struct IncompleteCopy;

/// The room that several copies share, in bytes.
#[derive(Debug)]
pub(crate) struct CopyRoom(Cell<usize>);

/// See the module.
pub(crate) struct Copy {
    state: RefCell<State>,
    room: Rc<CopyRoom>,
    broken: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    trailers: Option<HeaderMap>,
    /// Whether all of it has come; none while more may come.
    complete: Option<bool>,
    waker: Option<Waker>,
}

/// Fills a copy, for as long as somebody has it. Dropped before the end, it leaves the copy incomplete.
pub(super) struct CopyWriter(Weak<Copy>);

impl CopyRoom {
    pub(crate) fn new(bytes: usize) -> Rc<Self> {
        Rc::new(Self(Cell::new(bytes)))
    }

    fn take(&self, bytes: usize) -> bool {
        let left = self.0.get().checked_sub(bytes);
        left.inspect(|left| self.0.set(*left)).is_some()
    }

    fn give_back(&self, bytes: usize) {
        self.0.set(self.0.get() + bytes);
    }
}

impl Copy {
    pub(super) fn new(room: &Rc<CopyRoom>) -> (Rc<Self>, CopyWriter) {
        let copy = Rc::new(Self { state: RefCell::default(), room: Rc::clone(room), broken: Notify::new() });
        let writer = CopyWriter(Rc::downgrade(&copy));
        (copy, writer)
    }

    pub(super) fn poll_frame(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, IncompleteCopy>>> {
        let state = &mut *self.state.borrow_mut();
        if let Some(piece) = state.waiting.pop_front() {
            state.waiting_bytes -= piece.len();
            self.room.give_back(piece.len());
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match state.complete {
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
            Some(true) => Poll::Ready(state.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
            Some(false) => Poll::Ready(Some(Err(IncompleteCopy))),
        }
    }

    /// Returns when it is known to stay incomplete, though nobody asks for more of it.
    pub(super) async fn broken(&self) {
        self.broken.notified().await;
    }

    /// What still waits of one that is incomplete is of no use, and others may want its room.
    fn end(&self, complete: bool) {
        let state = &mut *self.state.borrow_mut();
        if !*state.complete.get_or_insert(complete) {
            self.room.give_back(std::mem::take(&mut state.waiting_bytes));
            state.waiting.clear();
            self.broken.notify_one();
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.room.give_back(self.state.get_mut().waiting_bytes);
    }
}

impl CopyWriter {
    /// Adds a piece, and says whether more is wanted. The piece is copied: a slice would hold on to the buffer that it came
    /// in, which may be much larger.
    pub(super) fn push(&self, piece: &[u8]) -> bool {
        let Some(copy) = self.0.upgrade() else { return false };
        if !copy.room.take(piece.len()) {
            copy.end(false);
            return false;
        }
        let state = &mut *copy.state.borrow_mut();
        state.waiting.push_back(Bytes::copy_from_slice(piece));
        state.waiting_bytes += piece.len();
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        true
    }

    /// All of it has come.
    pub(super) fn finish(self, trailers: Option<&HeaderMap>) {
        if let Some(copy) = self.0.upgrade() {
            copy.state.borrow_mut().trailers = trailers.cloned();
            copy.end(true);
        }
    }
}

impl Drop for CopyWriter {
    fn drop(&mut self) {
        if let Some(copy) = self.0.upgrade() {
            copy.end(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(copy: &Copy) -> Option<Result<Bytes, ()>> {
        match copy.poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending | Poll::Ready(None) => None,
            Poll::Ready(Some(Ok(frame))) => frame.into_data().ok().map(Ok),
            Poll::Ready(Some(Err(_))) => Some(Err(())),
        }
    }

    #[test]
    fn a_copy_has_what_fits_and_gives_its_room_back() {
        let room = CopyRoom::new(10);
        let (copy, writer) = Copy::new(&room);
        let (other, other_writer) = Copy::new(&room);
        assert!(writer.push(b"123456"));
        assert!(!other_writer.push(b"12345"), "there is room for four");
        assert_eq!(next(&other), Some(Err(())));
        assert_eq!(next(&copy), Some(Ok(Bytes::from_static(b"123456"))));
        assert!(writer.push(b"0123456789"), "all of it is free");
        writer.finish(None);
        assert_eq!(copy.state.borrow().complete, Some(true));
        drop(copy);
        assert_eq!(room.0.get(), 10);
    }

    #[test]
    fn a_copy_whose_stream_ends_early_is_incomplete_and_one_that_nobody_has_is_not_filled() {
        let room = CopyRoom::new(10);
        let (copy, writer) = Copy::new(&room);
        assert!(writer.push(b"1"));
        drop(writer);
        assert_eq!((next(&copy), room.0.get()), (Some(Err(())), 10));
        let (copy, writer) = Copy::new(&room);
        drop(copy);
        assert!(!writer.push(b"1"));
    }
}
