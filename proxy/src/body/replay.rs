//! A request's body, ready to be sent by one try after the other. What is small is read whole before a connection to a
//! backend is taken; what is larger is streamed, by one try at a time.

use super::client::ClientBody;
use super::copy::{CopyRoom, Incomplete};
use super::stream::{BodyLimits, Reader, SharedStream, TryBodyError};
use crate::error::GatewayError;
use crate::telemetry::record::BytesCount;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// See the module.
#[derive(Clone)]
pub(crate) enum RequestBody {
    /// There is none, or it was read whole.
    Whole(WholeBody),
    /// It is larger than what is read ahead.
    Streamed(Rc<SharedStream>),
}

/// A body that has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct WholeBody {
    data: Bytes,
    trailers: Option<Box<HeaderMap>>,
}

impl RequestBody {
    /// Reads a body ahead, as far as the limits say. `count` is told how much of it has come, now and later. One that is
    /// refused stays where it is.
    pub(crate) async fn read(
        unread: &mut Option<ClientBody>,
        limits: BodyLimits,
        count: &mut BytesCount,
    ) -> Result<Self, GatewayError> {
        let Some(source) = unread else { return Ok(Self::whole(Bytes::new())) };
        let length = source.size_hint().exact();
        if length == Some(0) || source.is_end_stream() {
            return Ok(Self::whole(Bytes::new()));
        }
        limits.check(length.unwrap_or(0))?;
        if !limits.waits {
            source.let_take_its_time();
        }
        let mut ahead = BytesMut::new();
        let reads_ahead = length.is_none_or(|length| length <= limits.read_ahead_bytes as u64);
        while reads_ahead && ahead.len() <= limits.read_ahead_bytes {
            let polled = poll_fn(|context| match Pin::new(&mut *source).poll_frame(context) {
                Poll::Pending if limits.waits => Poll::Pending,
                polled => Poll::Ready(polled),
            });
            let Poll::Ready(frame) = polled.await else { break };
            let Some(frame) = frame else { return Ok(Self::whole(ahead.freeze())) };
            let data = match frame?.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    let trailers = frame.into_trailers().ok().map(Box::new);
                    return Ok(Self::Whole(WholeBody { data: ahead.freeze(), trailers }));
                }
            };
            let received = (ahead.len() + data.len()) as u64;
            *count = BytesCount::Known(received);
            limits.check(received)?;
            if source.is_end_stream() && ahead.is_empty() {
                return Ok(Self::whole(data));
            }
            // Copied, so that many small pieces do not hold on to the buffers that they came in.
            ahead.extend_from_slice(&data);
        }
        let stream = SharedStream::new(unread.take(), length, ahead, limits);
        *count = BytesCount::Streaming(stream.received_count());
        Ok(Self::Streamed(Rc::new(stream)))
    }

    pub(crate) fn whole(data: Bytes) -> Self {
        Self::Whole(WholeBody { data, trailers: None })
    }

    /// A copy of at most so many bytes that holds nothing up, to be asked for before a try has begun; none if there is no
    /// room for it.
    pub(crate) fn copy(&self, room: &Arc<CopyRoom>, most: u64) -> Result<Self, Incomplete> {
        match self {
            Self::Whole(whole) if whole.data.len() as u64 > most => Err(Incomplete::TooLarge),
            Self::Whole(whole) => Ok(Self::Whole(whole.clone())),
            Self::Streamed(stream) => Ok(Self::Streamed(Rc::new(stream.copy(room, most)?))),
        }
    }

    /// Why it is a copy that stays incomplete, if it is.
    pub(crate) fn incomplete(&self) -> Option<Incomplete> {
        match self {
            Self::Whole(_) => None,
            Self::Streamed(stream) => stream.incomplete(),
        }
    }

    /// Returns when it is a copy and stays incomplete.
    pub(crate) async fn broken(&self) {
        match self {
            Self::Whole(_) => std::future::pending().await,
            Self::Streamed(stream) => stream.broken().await,
        }
    }

    /// The body for the next try; earlier tries get nothing more.
    pub(crate) fn next_try(&self) -> TryBody {
        match self {
            Self::Whole(whole) => TryBody::Whole(whole.clone()),
            Self::Streamed(stream) => TryBody::Streamed(SharedStream::next_reader(stream)),
        }
    }

    /// Whether another try can send all of it.
    pub(crate) fn is_replayable(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Streamed(stream) => stream.is_replayable(),
        }
    }

    /// Whether all of it has been read from the client.
    pub(crate) fn is_received(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Streamed(stream) => stream.outcome() == Some(Ok(())),
        }
    }

    /// Returns when all of it has been read from the client, or nothing more will be.
    pub(crate) async fn received(&self) {
        if let Self::Streamed(stream) = self {
            stream.ended().await;
        }
    }

    /// What went wrong on the client's side, if something did.
    pub(crate) fn failure(&self) -> Option<GatewayError> {
        match self {
            Self::Whole(_) => None,
            Self::Streamed(stream) => stream.outcome().and_then(Result::err),
        }
    }

    /// What has not been read from the client; no try gets anything more of it.
    pub(crate) fn take_unread(&self) -> Option<ClientBody> {
        match self {
            Self::Whole(_) => None,
            Self::Streamed(stream) => stream.take_source(),
        }
    }
}

/// The body as one try sends it.
pub(crate) enum TryBody {
    Whole(WholeBody),
    Streamed(Reader),
}

impl TryBody {
    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Whole(whole) if whole.data.is_empty() && whole.trailers.is_none())
    }

    /// Whether its length is unknown, or trailers follow: it must be sent in chunks then.
    pub(crate) fn is_chunked(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.trailers.is_some(),
            Self::Streamed(reader) => reader.length().is_none(),
        }
    }

    /// What follows it, where that has come already.
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        match self {
            Self::Whole(whole) => whole.trailers.as_deref(),
            Self::Streamed(_) => None,
        }
    }

    /// Whether more of it may have to come from the client while it is sent.
    pub(crate) fn is_streamed(&self) -> bool {
        matches!(self, Self::Streamed(_))
    }
}

impl Body for TryBody {
    type Data = Bytes;
    type Error = TryBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TryBodyError>>> {
        match &mut *self {
            Self::Whole(whole) if whole.data.is_empty() => {
                Poll::Ready(whole.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
            }
            Self::Whole(whole) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut whole.data))))),
            Self::Streamed(reader) => reader.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(_) => self.is_empty(),
            Self::Streamed(reader) => reader.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) if whole.trailers.is_none() => SizeHint::with_exact(whole.data.len() as u64),
            Self::Whole(_) => SizeHint::default(),
            Self::Streamed(reader) => reader.left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

#[cfg(test)]
mod tests;
