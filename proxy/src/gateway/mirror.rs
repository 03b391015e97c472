//! Copies of requests, for somebody who is to see live traffic (Istio's `mirror`). What becomes of a copy changes nothing
//! for its request: it has a task of its own, its answer is thrown away, and it is dropped rather than waited for.

use super::WorkerSnapshot;
use super::copies::{Patience, ask};
use crate::body::copy::CopyRoom;
use crate::random::Random;
use crate::telemetry::metrics::{Counter, Metrics};
use crate::upstream::{Outgoing, UpstreamBody, WorkerUpstream};
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use turnout_routes::router::Rule;

/// Copies that one worker has under way.
const MOST: usize = 1024;
/// What one worker holds of bodies that come faster than their copies are taken.
const ROOM_BYTES: usize = 64 << 20;
/// For the answer to a copy from the end of its body on, where the rule has no time-out of its own.
const PATIENCE: Duration = Duration::from_mins(1);
/// Of an answer this much is read so that its connection can be used again.
const ANSWER_BYTES: usize = 1 << 20;

/// One worker's copies.
pub(super) struct Mirrors {
    metrics: Arc<Metrics>,
    room: Arc<CopyRoom>,
    /// Held once for each copy that is under way.
    under_way: Rc<()>,
}

impl Mirrors {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), room: CopyRoom::new(ROOM_BYTES), under_way: Rc::new(()) }
    }

    /// Sends copies of a request that is about to be sent, to whom the rule says and the dice choose.
    pub(super) fn send(&self, snapshot: &WorkerSnapshot, rule: &Rule, outgoing: &Outgoing, random: &Random) {
        let chosen = rule.mirrors.iter().filter(|mirror| mirror.percent.includes(random.next_u64()));
        for backend in chosen.filter_map(|mirror| mirror.backend.ok()) {
            self.begin(&snapshot.upstreams[backend.0], outgoing, rule.timeout.unwrap_or(PATIENCE));
        }
    }

    /// So that what can be known in advance is counted from zero on.
    pub(super) fn announce(&self, snapshot: &WorkerSnapshot) {
        let mirrors = snapshot.shared.router.rules().iter().flat_map(|rule| &rule.mirrors);
        for backend in mirrors.filter_map(|mirror| mirror.backend.ok()) {
            self.counters(&snapshot.upstreams[backend.0]);
        }
    }

    fn counters(&self, upstream: &WorkerUpstream) -> [Counter; 3] {
        let name = upstream.shared.name.as_str();
        ["answered", "failed", "dropped"].map(|result| self.metrics.mirrors.with_label_values(&[name, result]))
    }

    fn begin(&self, upstream: &Rc<WorkerUpstream>, outgoing: &Outgoing, patience: Duration) {
        let [answered, failed, dropped] = self.counters(upstream);
        let has_place = Rc::strong_count(&self.under_way) <= MOST;
        let body = has_place.then(|| outgoing.body.copy(&self.room, u64::MAX).ok()).flatten();
        let Some(copy) = body.and_then(|body| outgoing.copy(body)) else {
            dropped.inc();
            return;
        };
        let (upstream, place) = (Rc::clone(upstream), Rc::clone(&self.under_way));
        tokio::task::spawn_local(async move {
            let is_answered = ask(&upstream, copy, &[], Patience { whole: patience, head: None }, read).await.is_ok();
            let result = if is_answered { answered } else { failed };
            result.inc();
            drop(place);
        });
    }
}

/// Whatever it says.
async fn read(answer: Response<UpstreamBody>) {
    let mut body = answer.into_body();
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > ANSWER_BYTES {
            break;
        }
    }
}
