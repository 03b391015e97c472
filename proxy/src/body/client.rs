//! What a client sends, with a limit on how long nothing of it may come.

use crate::error::GatewayError;
use crate::hop_by_hop::{may_trail, remove_if};
use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A request's body as it comes in.
#[derive(Debug)]
pub(crate) struct ClientBody {
    incoming: Source,
    /// None lets it take its time.
    idle_timeout: Option<Duration>,
    /// Made when the body first has nothing to give, which most bodies never do.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer counts: only while the client is waited for, not while the backend is.
    waiting: bool,
    can_linger: bool,
    is_http2: bool,
}

/// hyper's body, or a stand-in of a test.
#[derive(Debug)]
enum Source {
    Hyper(Incoming),
    #[cfg(test)]
    Test(http_body_util::combinators::UnsyncBoxBody<Bytes, GatewayError>),
}

impl ClientBody {
    /// `awaits_continue`: the client sends nothing of it until it is told to.
    pub(crate) fn new(incoming: Incoming, idle_timeout: Duration, version: Version, awaits_continue: bool) -> Self {
        // HTTP/2 can end one request's body without the others', and asking for one is what tells a client to go on.
        let is_http2 = version == Version::HTTP_2;
        let can_linger = !is_http2 && !awaits_continue;
        let idle_timeout = Some(idle_timeout);
        Self { incoming: Source::Hyper(incoming), idle_timeout, timer: None, waiting: false, can_linger, is_http2 }
    }

    #[cfg(test)]
    pub(crate) fn test<B>(body: B, idle_timeout: Duration) -> Self
    where
        B: Body<Data = Bytes, Error = GatewayError> + Send + 'static,
    {
        let incoming = Source::Test(http_body_util::combinators::UnsyncBoxBody::new(body));
        let idle_timeout = Some(idle_timeout);
        Self { incoming, idle_timeout, timer: None, waiting: false, can_linger: true, is_http2: false }
    }

    /// Whether what is left of it should be read although nobody wants it.
    pub(super) fn can_linger(&self) -> bool {
        self.can_linger
    }

    /// One side of a conversation may say nothing for as long as the other speaks.
    pub(super) fn let_take_its_time(&mut self) {
        self.idle_timeout = None;
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(idle_timeout) = self.idle_timeout else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle_timeout)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + idle_timeout);
        }
        timer.as_mut().poll(context)
    }
}

impl Source {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GatewayError>>> {
        match self {
            Self::Hyper(incoming) => Pin::new(incoming)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(|_| GatewayError::BodyAborted))),
            #[cfg(test)]
            Self::Test(body) => Pin::new(body).poll_frame(context),
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = GatewayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GatewayError>>> {
        // First the body, then the timer: what has come in time is not late because nobody took it.
        if let Poll::Ready(mut frame) = self.incoming.poll_frame(context) {
            self.waiting = false;
            if frame.is_none() && self.is_http2 && !self.is_end_stream() {
                // hyper takes a reset without an error for an end, which this is only if the client has said so.
                return Poll::Ready(Some(Err(GatewayError::BodyAborted)));
            }
            if let Some(trailers) = frame.as_mut().and_then(|frame| frame.as_mut().ok()?.trailers_mut()) {
                remove_if(trailers, |name| !may_trail(name));
            }
            return Poll::Ready(frame);
        }
        self.poll_timer(context).map(|()| {
            // Whoever goes on reading waits anew.
            self.waiting = false;
            Some(Err(GatewayError::BodyTimeout))
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.incoming {
            Source::Hyper(incoming) => incoming.is_end_stream(),
            #[cfg(test)]
            Source::Test(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Source::Hyper(incoming) => incoming.size_hint(),
            #[cfg(test)]
            Source::Test(body) => body.size_hint(),
        }
    }
}
