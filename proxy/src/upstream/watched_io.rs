//! What the library does not say of a connection of HTTP/2: whether its endpoint has said anything yet, and which streams
//! were begun, which is to say that some of their heads went out.

use crate::io::Socket;
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// Of every frame (RFC 9113, 4.1).
const HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
/// `PRI * HTTP/2.0` and so on, which a client says before its first frame.
const PREFACE_BYTES: usize = 24;

/// See the module.
pub(super) struct WatchedIo<T> {
    inner: T,
    /// Told of the endpoint's first bytes, and dropped with the socket.
    heard: Option<oneshot::Sender<()>>,
    written: Frames,
    is_ended: Rc<Cell<bool>>,
}

/// What others know of it.
pub(super) struct Watch {
    /// Has something when the endpoint has said something, or says nothing any more.
    pub(super) heard: oneshot::Receiver<()>,
    pub(super) last_stream: Rc<Cell<u32>>,
    /// Whether no stream may be begun any more: the library sends the head of one that is not wanted before it takes it back.
    pub(super) is_ended: Rc<Cell<bool>>,
}

/// Frames on their way out, in whatever pieces.
struct Frames {
    /// So many bytes come before the next header.
    to_pass: usize,
    header: [u8; HEADER_BYTES],
    /// So many of the header have come.
    of_header: usize,
    last_stream: Rc<Cell<u32>>,
}

impl<T> WatchedIo<T> {
    pub(super) fn new(inner: T) -> (Self, Watch) {
        let (told, heard) = oneshot::channel();
        let (written, is_ended) = (Frames::new(), Rc::<Cell<bool>>::default());
        let watch = Watch { heard, last_stream: Rc::clone(&written.last_stream), is_ended: Rc::clone(&is_ended) };
        (Self { inner, heard: Some(told), written, is_ended }, watch)
    }

    fn check(&self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        if self.is_ended.get() && self.written.would_begin(slices) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "no stream is begun any more"));
        }
        Ok(())
    }
}

impl Frames {
    fn new() -> Self {
        Self { to_pass: PREFACE_BYTES, header: [0; HEADER_BYTES], of_header: 0, last_stream: Rc::default() }
    }

    /// Whether these bytes would begin a stream.
    fn would_begin(&self, slices: &[IoSlice<'_>]) -> bool {
        let last = self.last_stream.get();
        let mut written = Self { last_stream: Rc::new(Cell::new(last)), ..*self };
        for slice in slices {
            written.pass(slice);
        }
        written.last_stream.get() > last
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        loop {
            let passed = self.to_pass.min(bytes.len());
            self.to_pass -= passed;
            bytes = &bytes[passed..];
            let taken = (HEADER_BYTES - self.of_header).min(bytes.len());
            self.header[self.of_header..][..taken].copy_from_slice(&bytes[..taken]);
            self.of_header += taken;
            bytes = &bytes[taken..];
            if self.of_header < HEADER_BYTES {
                return;
            }
            self.of_header = 0;
            let [high, middle, low, kind, _, stream @ ..] = self.header;
            self.to_pass = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            if kind == HEADERS {
                self.last_stream.set(self.last_stream.get().max(u32::from_be_bytes(stream)));
            }
        }
    }
}

impl<T: Socket> AsyncRead for WatchedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if buffer.filled().len() > before
            && let Some(told) = self.heard.take()
        {
            // Nobody may want to know any more.
            let _ = told.send(());
        }
        polled
    }
}

impl<T: Socket> AsyncWrite for WatchedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(&[IoSlice::new(bytes)])?;
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.written.pass(&bytes[..written]);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(slices)?;
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(mut left)) = polled {
            for slice in slices {
                let of_slice = left.min(slice.len());
                self.written.pass(&slice[..of_slice]);
                left -= of_slice;
            }
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_begun_with_the_header_of_its_head_in_whatever_pieces() {
        // Of a kind, for a stream, with so many bytes.
        let frame = |kind: u8, stream: u8, bytes: u8| {
            [&[0, 0, bytes, kind, 0, 0, 0, 0, stream][..], &vec![1; usize::from(bytes)]].concat()
        };
        let frames = [frame(4, 0, 6), frame(HEADERS, 1, 200), frame(0, 1, 0), frame(HEADERS, 3, 0), frame(0, 9, 255)];
        let said = [vec![b'P'; PREFACE_BYTES], frames.concat()].concat();
        let begin = PREFACE_BYTES + frames[0].len();
        let second = begin + frames[1].len() + frames[2].len();
        for piece in [1, 2, 8, 9, 10, said.len()] {
            let mut watched = Frames::new();
            let mut passed = 0;
            for bytes in said.chunks(piece) {
                let before = watched.last_stream.get();
                let would = watched.would_begin(&[IoSlice::new(bytes)]);
                watched.pass(bytes);
                assert_eq!(would, watched.last_stream.get() > before);
                passed += bytes.len();
                let expected =
                    if passed >= second + HEADER_BYTES { 3 } else { u32::from(passed >= begin + HEADER_BYTES) };
                assert_eq!(watched.last_stream.get(), expected, "after {passed} bytes in pieces of {piece}");
            }
        }
    }
}
