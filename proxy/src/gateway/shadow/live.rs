//! The live answer, taken down as it passes to its client. Nobody waits for that: what does not fit is not taken down.

use crate::body::copy::CopyRoom;
use crate::error::GatewayError;
use crate::evidence::Outcome;
use crate::pairs::{Reply, Skipped};
use crate::upstream::{BrokenAnswer, UpstreamBody};
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What is known of the live answer in the end.
pub(super) struct Live {
    /// None: nobody knows yet.
    pub(super) has_failed: Option<bool>,
    /// Whom stable is not to be asked at again, if it can.
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) reply: Result<Reply, Skipped>,
}

/// See the module. Dropped before the end, it says so.
pub(in crate::gateway) struct Tee {
    room: Arc<CopyRoom>,
    most: u64,
    /// None once all is said.
    told: Option<oneshot::Sender<Live>>,
    /// Once its head has come.
    reply: Option<Reply>,
    has_failed: Option<bool>,
    endpoint: Option<SocketAddr>,
}

impl Tee {
    /// With what will be known, of an answer of at most so many bytes.
    pub(super) fn new(room: &Arc<CopyRoom>, most: u64) -> (Box<Self>, oneshot::Receiver<Live>) {
        let (told, live) = oneshot::channel();
        let room = Arc::clone(room);
        (Box::new(Self { room, most, told: Some(told), reply: None, has_failed: None, endpoint: None }), live)
    }

    /// The backend has answered, from there.
    pub(in crate::gateway) fn begin(&mut self, answer: &Response<UpstreamBody>, endpoint: Option<SocketAddr>) {
        self.reply = Some(Reply::new(answer.status(), answer.headers(), &self.room, self.most));
        self.has_failed = Some(Outcome::of_answer(answer.status(), answer.headers()) != Outcome::Answered);
        self.endpoint = endpoint;
    }

    /// The backend has not.
    pub(in crate::gateway) fn fail(&mut self, error: GatewayError) {
        self.has_failed = Outcome::of_error(error).map(|_| true);
        self.tell(Err(Skipped::LiveFailed));
    }

    /// What comes of it.
    pub(in crate::gateway) fn pass(&mut self, frame: &Result<Frame<Bytes>, BrokenAnswer>) {
        if self.told.as_ref().is_none_or(oneshot::Sender::is_closed) {
            self.reply = None;
        }
        let Some(reply) = &mut self.reply else { return };
        let Ok(frame) = frame else {
            self.has_failed = Some(true);
            return self.tell(Err(Skipped::LiveIncomplete));
        };
        if let Err(skipped) = frame.data_ref().map_or(Ok(()), |piece| reply.push(piece)) {
            self.tell(Err(skipped));
        }
    }

    /// All of it has come.
    pub(in crate::gateway) fn end(&mut self) {
        if let Some(reply) = self.reply.take() {
            self.tell(reply.whole());
        }
    }

    fn tell(&mut self, reply: Result<Reply, Skipped>) {
        self.reply = None;
        if let Some(told) = self.told.take() {
            // Nobody may want it any more.
            let _ = told.send(Live { has_failed: self.has_failed, endpoint: self.endpoint, reply });
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        // What it would have come to nobody knows, unless its head was bad enough.
        self.has_failed = self.has_failed.filter(|has_failed| *has_failed);
        self.tell(Err(Skipped::LiveIncomplete));
    }
}
