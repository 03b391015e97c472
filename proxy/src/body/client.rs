//! What a client sends, with a limit on how long nothing of it may come.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A request's body as it comes in.
pub(crate) struct ClientBody {
    incoming: Incoming,
    idle_timeout: Duration,
    /// Made when the body first has nothing to give, which most bodies never do.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer counts: only while the client is waited for, not while the backend is.
    waiting: bool,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientBodyError {
    /// The client stopped sending.
    #[error("nothing came for too long")]
    TimedOut,
    /// The client broke off, or sent what is no body.
    #[error("{0}")]
    Broken(#[from] hyper::Error),
}

impl ClientBody {
    pub(crate) fn new(incoming: Incoming, idle_timeout: Duration) -> Self {
        Self { incoming, idle_timeout, timer: None, waiting: false }
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.idle_timeout)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + self.idle_timeout);
        }
        timer.as_mut().poll(context)
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        // First the body, then the timer: what has come in time is not late because nobody took it.
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            self.waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(ClientBodyError::Broken)));
        }
        self.poll_timer(context).map(|()| Some(Err(ClientBodyError::TimedOut)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
