//! The live answer, taken down as it passes to its client. Nobody waits for that: what does not fit is not taken down.

use super::super::deadline::{Deadline, within};
use crate::body::copy::CopyRoom;
use crate::evidence::Outcome;
use crate::pairs::{Reply, Skipped};
use crate::upstream::{BrokenAnswer, UpstreamBody};
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
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

/// The live answer, before it is known.
pub(super) struct Coming {
    told: oneshot::Receiver<Live>,
    has_failed: Rc<Cell<Option<bool>>>,
}

/// See the module. Dropped before the end, it says so.
pub(in crate::gateway) struct Tee {
    room: Arc<CopyRoom>,
    most: u64,
    /// None once all is said.
    told: Option<oneshot::Sender<Live>>,
    /// Once its head has come.
    reply: Option<Reply>,
    /// By the first try, as of a copy, which gets no other: retries would hide what stable fails at.
    has_failed: Rc<Cell<Option<bool>>>,
    /// Whether that stays, whatever comes of the answer.
    is_settled: bool,
    endpoint: Option<SocketAddr>,
}

impl Coming {
    /// What is known of it when the time is over. Stable has failed if it has not answered by then, as the candidate has; if
    /// it has, the rest may be late by its client alone.
    pub(super) async fn within(self, limit: Deadline) -> Live {
        let told = pin!(self.told);
        let live = within(&mut Some(limit), told).await.and_then(Result::ok);
        live.unwrap_or_else(|| {
            let has_failed = Some(self.has_failed.get().unwrap_or(true));
            Live { has_failed, endpoint: None, reply: Err(Skipped::LiveLate) }
        })
    }
}

impl Tee {
    /// With what will be known, of an answer of at most so many bytes.
    pub(super) fn new(room: &Arc<CopyRoom>, most: u64) -> (Box<Self>, Coming) {
        let (sender, told) = oneshot::channel();
        let has_failed = Rc::<Cell<_>>::default();
        let coming = Coming { told, has_failed: Rc::clone(&has_failed) };
        let room = Arc::clone(room);
        let told = Some(sender);
        (Box::new(Self { room, most, told, reply: None, has_failed, is_settled: false, endpoint: None }), coming)
    }

    /// The backend has answered, from there, after its first try has come to this; perhaps to a later one.
    pub(in crate::gateway) fn begin(
        &mut self,
        answer: &Response<UpstreamBody>,
        endpoint: Option<SocketAddr>,
        outcome: Option<Outcome>,
        is_retried: bool,
    ) {
        self.reply = Some(Reply::new(answer.status(), answer.headers(), &self.room, self.most));
        self.has_failed.set(outcome.map(|outcome| outcome != Outcome::Answered));
        self.is_settled = is_retried;
        self.endpoint = endpoint;
    }

    /// The backend has not, and its first try has come to this.
    pub(in crate::gateway) fn fail(&mut self, outcome: Option<Outcome>) {
        self.has_failed.set(outcome.map(|outcome| outcome != Outcome::Answered));
        self.tell(Err(Skipped::LiveFailed));
    }

    /// What comes of it.
    pub(in crate::gateway) fn pass(&mut self, frame: &Result<Frame<Bytes>, BrokenAnswer>) {
        if self.told.as_ref().is_none_or(oneshot::Sender::is_closed) {
            self.reply = None;
        }
        let Some(reply) = &mut self.reply else { return };
        let Ok(frame) = frame else {
            if !self.is_settled {
                self.has_failed.set(Some(true));
            }
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

    /// The rule's time is over.
    pub(in crate::gateway) fn late(&mut self) {
        self.tell(Err(Skipped::LiveLate));
    }

    fn tell(&mut self, reply: Result<Reply, Skipped>) {
        self.reply = None;
        if let Some(told) = self.told.take() {
            // Nobody may want it any more.
            let _ = told.send(Live { has_failed: self.has_failed.get(), endpoint: self.endpoint, reply });
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        // What it would have come to nobody knows, unless its head was bad enough.
        if !self.is_settled {
            self.has_failed.set(self.has_failed.get().filter(|has_failed| *has_failed));
        }
        self.tell(Err(Skipped::LiveIncomplete));
    }
}
