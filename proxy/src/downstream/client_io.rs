//! A client's socket as hyper reads and writes it: the client's record is told what comes, and takes out what hyper's
//! parser does not take in a target; and what that parser says to a head that it refuses, which is a bare status, is put
//! into the gateway's words.

use super::opening::{Opening, opening};
use crate::client::Client;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::io::StallLimited;
use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

pin_project_lite::pin_project! {
    /// See the module.
    pub(super) struct ClientIo<T> {
        #[pin]
        inner: StallLimited<T>,
        client: Rc<Client>,
        gateway: Rc<Gateway>,
        // Said in place of what hyper is writing.
        refusal: Option<Bytes>,
        // Was read, and is to be read again.
        ahead: BytesMut,
    }
}

impl<T> ClientIo<T> {
    /// What was read, and not used, is to be read again.
    pub(super) fn read_again(&mut self, ahead: Bytes) {
        self.ahead = ahead.into();
    }

    /// The socket alone, and what was read of it: `read` before what is to be read again.
    pub(super) fn into_parts(self, read: &[u8]) -> (StallLimited<T>, Bytes) {
        let ahead = if read.is_empty() { self.ahead.freeze() } else { [read, &self.ahead].concat().into() };
        (self.inner, ahead)
    }

    pub(super) fn new(inner: T, stall_timeout: Duration, client: &Rc<Client>, gateway: &Rc<Gateway>) -> Self {
        let inner = StallLimited::new(inner, stall_timeout);
        Self { inner, client: Rc::clone(client), gateway: Rc::clone(gateway), refusal: None, ahead: BytesMut::new() }
    }
}

const SERVER: &[u8] = b"\r\nserver: ";

/// The status of an answer that begins with these bytes, if hyper's parser wrote it: no request came of the head, and the
/// answer does not say who gives it, as all of the gateway's do. One of those may have had to wait until a next head came.
fn parsers_answer(client: &Client, bytes: &[u8]) -> Option<StatusCode> {
    if !client.is_sending_head() {
        return None;
    }
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let is_the_gateways = bytes.windows(SERVER.len()).any(|window| window == SERVER);
    StatusCode::from_bytes(status).ok().filter(|status| status.is_client_error() && !is_the_gateways)
}

impl<T: AsyncRead> AsyncRead for ClientIo<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buffer.filled().len();
        if this.ahead.is_empty() {
            ready!(this.inner.poll_read(context, buffer))?;
        } else {
            let again = this.ahead.split_to(this.ahead.len().min(buffer.remaining()));
            buffer.put_slice(&again);
            if this.ahead.is_empty() {
                *this.ahead = BytesMut::new();
            }
        }
        this.client.bytes_came(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> ClientIo<T> {
    /// Ready when enough has come to tell what begins, all of it still to be read; with none if nothing comes any more.
    pub(super) fn poll_opening(
        &mut self,
        may_be_http2: bool,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Opening>>> {
        loop {
            if let Some(opening) = opening(&self.ahead, may_be_http2) {
                return Poll::Ready(Ok(Some(opening)));
            }
            if !self.ahead.is_empty() {
                self.client.head_begins();
            }
            let mut some = [0; 1024];
            let mut buffer = ReadBuf::new(&mut some);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                // What lacks its end is for hyper to refuse.
                return Poll::Ready(Ok((!self.ahead.is_empty()).then_some(Opening::Http1)));
            }
            self.ahead.extend_from_slice(buffer.filled());
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> ClientIo<T> {
    /// Answers a head that has not come whole in its time, and ends the connection. What hyper has yet to write of an
    /// earlier answer is lost with it, so nothing is put in its place.
    pub(super) async fn refuse_late_head(&mut self) -> io::Result<()> {
        if !self.client.writes_wait() {
            let answer = self.gateway.refuse_head(&self.client, GatewayError::HeadTimeout);
            self.write_all(&answer).await?;
        }
        self.shutdown().await
    }
}

impl<T: AsyncWrite> ClientIo<T> {
    /// Writes the refusal; ready with what hyper takes for written when all of it is.
    fn poll_refusal(self: Pin<&mut Self>, context: &mut Context<'_>, taken: usize) -> Poll<io::Result<usize>> {
        let mut this = self.project();
        while let Some(refusal) = this.refusal {
            let written = ready!(this.inner.as_mut().poll_write(context, refusal))?;
            refusal.advance(written);
            if refusal.is_empty() || written == 0 {
                *this.refusal = None;
            }
        }
        Poll::Ready(Ok(taken))
    }
}

impl<T: AsyncWrite> AsyncWrite for ClientIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.refusal.is_none() {
            let Some(status) = parsers_answer(&self.client, bytes) else {
                let this = self.project();
                let polled = this.inner.poll_write(context, bytes);
                this.client.set_writes_wait(polled.is_pending());
                return polled;
            };
            let this = self.as_mut().project();
            let error = this.gateway.parsers_error(this.client, status);
            *this.refusal = Some(this.gateway.refuse_head(this.client, error));
        }
        self.poll_refusal(context, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        if self.refusal.is_some() || first.is_some_and(|first| parsers_answer(&self.client, first).is_some()) {
            return first.map_or(Poll::Ready(Ok(0)), |first| self.as_mut().poll_write(context, first));
        }
        let this = self.project();
        let polled = this.inner.poll_write_vectored(context, slices);
        this.client.set_writes_wait(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let polled = this.inner.poll_flush(context);
        this.client.set_writes_wait(polled.is_pending());
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(context)
    }
}
