//! A backend's socket as hyper writes to it, with what hyper's client does not take in a target put into the head on the
//! way; and whether hyper has anything left to write, for only then is the next that comes a head.

use crate::raw_target::PutBack;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pin_project_lite::pin_project! {
    /// See the module.
    pub(super) struct TargetIo<T> {
        #[pin]
        inner: T,
        state: Rc<TargetState>,
    }
}

/// What a connection and its socket tell each other.
#[derive(Default)]
pub(super) struct TargetState {
    put_back: RefCell<Option<PutBack>>,
    is_writing: Cell<bool>,
}

impl TargetState {
    /// The next that is written is a head, and this is to be put back into it.
    pub(super) fn expect(&self, put_back: PutBack) {
        *self.put_back.borrow_mut() = Some(put_back);
    }

    /// Whether something of what was sent is not written yet.
    pub(super) fn is_writing(&self) -> bool {
        self.is_writing.get()
    }
}

impl<T> TargetIo<T> {
    pub(super) fn new(inner: T) -> (Self, Rc<TargetState>) {
        let state = Rc::new(TargetState::default());
        (Self { inner, state: Rc::clone(&state) }, state)
    }

    pub(super) fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsyncRead> AsyncRead for TargetIo<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_read(context, buffer)
    }
}

impl<T: AsyncWrite> AsyncWrite for TargetIo<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        this.state.is_writing.set(true);
        let mut pending = this.state.put_back.borrow_mut();
        let Some(put_back) = &mut *pending else { return this.inner.poll_write(context, bytes) };
        let written = ready!(this.inner.poll_write(context, &put_back.apply(bytes)))?;
        if put_back.advance(written) {
            *pending = None;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.state.put_back.borrow().is_some() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return first.map_or(Poll::Ready(Ok(0)), |first| self.poll_write(context, first));
        }
        let this = self.project();
        this.state.is_writing.set(true);
        this.inner.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper asks for it when it has nothing left to write.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        this.state.is_writing.set(false);
        this.inner.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw_target::WireTarget;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_head_is_put_right_on_a_socket_that_takes_little_at_a_time() {
        let target = WireTarget::try_from("/a\"b?<c>".to_owned()).expect("a target");
        let head = format!("GET {} HTTP/1.1\r\n\r\n", target.uri);
        let (near, mut far) = tokio::io::duplex(7);
        let (mut io, state) = TargetIo::new(near);
        // The second head has nothing to be put back.
        for expected in ["GET /a\"b?<c> HTTP/1.1\r\n\r\n", &head] {
            if *expected != head {
                state.expect(PutBack::new(&target.raw, "GET").expect("raw bytes"));
            }
            let mut came = vec![0; head.len()];
            let (sent, received) = tokio::join!(io.write_all(head.as_bytes()), far.read_exact(&mut came));
            assert!(sent.is_ok() && received.is_ok());
            assert_eq!((String::from_utf8_lossy(&came).as_ref(), state.is_writing()), (expected, true));
            io.flush().await.expect("nothing is left");
            assert!(!state.is_writing());
        }
    }
}
