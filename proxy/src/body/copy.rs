//! A copy of a streamed body, for somebody who must not hold up whoever reads the stream itself. Pieces wait here until
//! they are taken; where more of them would wait than there is room for, the copy ends in an error, and the stream goes on.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// Why a copy is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Incomplete {
    #[error("the body is larger than its copy may be")]
    TooLarge,
    #[error("there is no room for the copy of the body")]
    NoRoom,
    #[error("the body was not sent to its end")]
    Aborted,
}

/// The room that several copies share, in bytes.
#[derive(Debug)]
pub(crate) struct CopyRoom(AtomicUsize);

/// What somebody has of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<CopyRoom>,
    bytes: usize,
    /// How much more it may ever take.
    left: u64,
}

/// See the module.
pub(crate) struct Copy {
    state: RefCell<State>,
    ended: Notify,
}

struct State {
    waiting: VecDeque<Bytes>,
    /// Of what waits.
    share: Share,
    trailers: Option<HeaderMap>,
    /// How it has ended; none while more may come.
    end: Option<Result<(), Incomplete>>,
    waker: Option<Waker>,
}

/// Fills a copy, for as long as somebody has it. Dropped before the end, it leaves the copy incomplete.
pub(super) struct CopyWriter(Weak<Copy>);

impl CopyRoom {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(bytes)))
    }
}

impl Share {
    /// Nothing yet, for one who takes at most so much in all.
    pub(crate) fn new(room: &Arc<CopyRoom>, most: u64) -> Self {
        Self { room: Arc::clone(room), bytes: 0, left: most }
    }

    /// Takes so much more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Incomplete> {
        self.left = self.left.checked_sub(bytes as u64).ok_or(Incomplete::TooLarge)?;
        let less = |left: usize| left.checked_sub(bytes);
        self.room.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map_err(|_| Incomplete::NoRoom)?;
        self.bytes += bytes;
        Ok(())
    }

    fn shrink(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.room.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

impl Copy {
    /// One of at most so many bytes.
    pub(super) fn new(room: &Arc<CopyRoom>, most: u64) -> (Rc<Self>, CopyWriter) {
        let (waiting, share) = (VecDeque::new(), Share::new(room, most));
        let state = State { waiting, share, trailers: None, end: None, waker: None };
        let copy = Rc::new(Self { state: RefCell::new(state), ended: Notify::new() });
        let writer = CopyWriter(Rc::downgrade(&copy));
        (copy, writer)
    }

    pub(super) fn poll_frame(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Incomplete>>> {
        let state = &mut *self.state.borrow_mut();
        if let Some(piece) = state.waiting.pop_front() {
            state.share.shrink(piece.len());
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match state.end {
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
            Some(Ok(())) => Poll::Ready(state.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
            Some(Err(incomplete)) => Poll::Ready(Some(Err(incomplete))),
        }
    }

    /// Returns when no more of it comes, though nobody may have taken what has come.
    pub(super) async fn ended(&self) -> Result<(), Incomplete> {
        loop {
            let ended = self.ended.notified();
            if let Some(end) = self.state.borrow().end {
                return end;
            }
            ended.await;
        }
    }

    /// Why it stays incomplete, if it does.
    pub(super) fn incomplete(&self) -> Option<Incomplete> {
        self.state.borrow().end.and_then(Result::err)
    }

    /// What still waits of one that is incomplete is of no use, and others may want its room.
    fn end(&self, end: Result<(), Incomplete>) {
        let state = &mut *self.state.borrow_mut();
        if state.end.get_or_insert(end).is_err() {
            state.waiting.clear();
            state.share.shrink(state.share.bytes);
        }
        self.ended.notify_waiters();
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl CopyWriter {
    /// Adds a piece, and says whether more is wanted. The piece is copied: a slice would hold on to the buffer that it came
    /// in, which may be much larger.
    pub(super) fn push(&self, piece: &[u8]) -> bool {
        let Some(copy) = self.0.upgrade() else { return false };
        let added = copy.state.borrow_mut().add(piece);
        added.inspect_err(|why| copy.end(Err(*why))).is_ok()
    }

    /// All of it has come.
    pub(super) fn finish(self, trailers: Option<&HeaderMap>) {
        if let Some(copy) = self.0.upgrade() {
            copy.state.borrow_mut().trailers = trailers.cloned();
            copy.end(Ok(()));
        }
    }
}

impl Drop for CopyWriter {
    fn drop(&mut self) {
        if let Some(copy) = self.0.upgrade() {
            copy.end(Err(Incomplete::Aborted));
        }
    }
}

impl State {
    fn add(&mut self, piece: &[u8]) -> Result<(), Incomplete> {
        self.share.grow(piece.len())?;
        self.waiting.push_back(Bytes::copy_from_slice(piece));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(copy: &Copy) -> Option<Result<Bytes, Incomplete>> {
        match copy.poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending | Poll::Ready(None) => None,
            Poll::Ready(Some(Ok(frame))) => frame.into_data().ok().map(Ok),
            Poll::Ready(Some(Err(incomplete))) => Some(Err(incomplete)),
        }
    }

    fn left(room: &CopyRoom) -> usize {
        room.0.load(Ordering::Relaxed)
    }

    #[test]
    fn a_copy_has_what_fits_and_gives_its_room_back() {
        let room = CopyRoom::new(10);
        let (copy, writer) = Copy::new(&room, u64::MAX);
        let (other, other_writer) = Copy::new(&room, u64::MAX);
        assert!(writer.push(b"123456"));
        assert!(!other_writer.push(b"12345"), "there is room for four");
        assert_eq!(next(&other), Some(Err(Incomplete::NoRoom)));
        assert_eq!(next(&copy), Some(Ok(Bytes::from_static(b"123456"))));
        assert!(writer.push(b"0123456789"), "all of it is free");
        writer.finish(None);
        assert_eq!(copy.state.borrow().end, Some(Ok(())));
        drop(copy);
        assert_eq!(left(&room), 10);
    }

    #[test]
    fn a_copy_has_at_most_so_much_whatever_was_taken_of_it() {
        let room = CopyRoom::new(10);
        let (copy, writer) = Copy::new(&room, 3);
        assert!(writer.push(b"12"));
        assert_eq!(next(&copy), Some(Ok(Bytes::from_static(b"12"))));
        assert!(writer.push(b"3") && !writer.push(b"4"));
        drop(writer);
        assert_eq!((copy.incomplete(), next(&copy)), (Some(Incomplete::TooLarge), Some(Err(Incomplete::TooLarge))));
        assert_eq!(left(&room), 10);
    }

    #[test]
    fn a_copy_whose_stream_ends_early_is_incomplete_and_one_that_nobody_has_is_not_filled() {
        let room = CopyRoom::new(10);
        let (copy, writer) = Copy::new(&room, u64::MAX);
        assert!(writer.push(b"1"));
        drop(writer);
        assert_eq!((next(&copy), left(&room)), (Some(Err(Incomplete::Aborted)), 10));
        let (copy, writer) = Copy::new(&room, u64::MAX);
        drop(copy);
        assert!(!writer.push(b"1"));
    }
}
