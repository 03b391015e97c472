//! A socket with the limit on progress that neither tokio nor hyper has: how long the other side may take
//! nothing of what is sent to it. The timer is made when a write first has to wait, which most never do.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A head and a small body are written in one piece: to copy them costs less than it costs the system to take two.
const JOINED_BYTES: usize = 4096;

thread_local! {
    /// One for all sockets of a worker, so that it stays in the processor's cache.
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A socket, whatever is beneath it.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket for T {}

pin_project_lite::pin_project! {
    /// See the module.
    pub(crate) struct StallLimited<T> {
        #[pin]
        inner: T,
        limit: Duration,
        timer: Option<Pin<Box<Sleep>>>,
        blocked: bool,
    }
}

impl<T> StallLimited<T> {
    pub(crate) fn new(inner: T, limit: Duration) -> Self {
        Self { inner, limit, timer: None, blocked: false }
    }

    fn check<R>(self: Pin<&mut Self>, polled: Poll<io::Result<R>>, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        let this = self.project();
        if polled.is_ready() {
            *this.blocked = false;
            return polled;
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(*this.limit)));
        if !*this.blocked {
            *this.blocked = true;
            timer.as_mut().reset(Instant::now() + *this.limit);
        }
        timer.as_mut().poll(context).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the other side takes nothing of what is sent to it"))
        })
    }
}

impl<T: AsyncRead> AsyncRead for StallLimited<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_read(context, buffer)
    }
}

impl<T: AsyncWrite> AsyncWrite for StallLimited<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.as_mut().project().inner.poll_write(context, bytes);
        self.check(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = self.as_mut().project().inner;
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let polled = match slices {
            [only] => inner.poll_write(context, only),
            _ if bytes > JOINED_BYTES => inner.poll_write_vectored(context, slices),
            _ => JOINED.with_borrow_mut(|joined| {
                joined.clear();
                for slice in slices {
                    joined.extend_from_slice(slice);
                }
                inner.poll_write(context, joined)
            }),
        };
        self.check(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    // Over TLS these write, too: what is encrypted and not yet sent.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.as_mut().project().inner.poll_flush(context);
        self.check(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.as_mut().project().inner.poll_shutdown(context);
        self.check(polled, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMIT: Duration = Duration::from_secs(5);
    const JUST_IN_TIME: Duration = Duration::from_millis(4999);

    #[tokio::test]
    async fn pieces_arrive_in_their_order_however_little_is_taken_at_a_time() {
        for (head, body) in [(5, 7), (5, 0), (0, 7), (8, 8), (100, JOINED_BYTES)] {
            let (head, body) = (vec![b'h'; head], vec![b'b'; body]);
            let (near, mut far) = tokio::io::duplex(8);
            let mut io = StallLimited::new(near, LIMIT);
            let sent = async {
                let whole = [head.as_slice(), &body].concat();
                let mut written = 0;
                while written < whole.len() {
                    let (of_head, of_body) = (written.min(head.len()), written.saturating_sub(head.len()));
                    let pieces = [IoSlice::new(&head[of_head..]), IoSlice::new(&body[of_body..])];
                    written += io.write_vectored(&pieces).await.expect("there is room");
                }
                drop(io);
                whole
            };
            let mut came = Vec::new();
            let (whole, read) = tokio::join!(sent, far.read_to_end(&mut came));
            assert_eq!((read.expect("the end"), came == whole), (whole.len(), true));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_side_that_takes_nothing_is_given_up() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut io = StallLimited::new(near, LIMIT);
        assert_eq!(io.write(b"12345678").await.expect("there is room"), 8);
        // One byte just in time, again and again: slow is no stall.
        for _ in 0..3 {
            let started = Instant::now();
            let (written, taken) = tokio::join!(io.write(b"9"), async {
                tokio::time::sleep(JUST_IN_TIME).await;
                far.read_u8().await
            });
            assert_eq!((written.expect("taken in time"), taken.is_ok()), (1, true));
            assert!(started.elapsed() < LIMIT);
        }
        let started = Instant::now();
        let error = io.write(b"9").await.expect_err("nothing is taken any more");
        assert_eq!((error.kind(), started.elapsed()), (io::ErrorKind::TimedOut, LIMIT));
    }
}
