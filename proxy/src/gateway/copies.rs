//! What a copy of a request has with its backend: one try, within a time of its own.

use super::deadline::{deadline, within};
use crate::telemetry::record::Destination;
use crate::upstream::{Outgoing, WorkerUpstream};
use http_body_util::BodyExt as _;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// Of an answer this much is read so that its connection can be used again.
const ANSWER_BYTES: usize = 1 << 20;

/// Whether there was an answer within `patience` from the end of the copy's body on, whatever it said.
pub(super) async fn ask(upstream: &Rc<WorkerUpstream>, copy: Outgoing, patience: Duration) -> bool {
    let mut limit = Some(deadline(&copy.body, patience));
    // A backend that takes nothing would not be told that nothing follows.
    let body = copy.body.clone();
    let exchange = pin!(exchange(upstream, copy));
    tokio::select! {
        answered = within(&mut limit, exchange) => answered == Some(true),
        () = body.broken() => false,
    }
}

async fn exchange(upstream: &Rc<WorkerUpstream>, mut copy: Outgoing) -> bool {
    let sent = upstream.send(&mut copy, &[], &mut Destination::default()).await;
    let Ok(response) = sent else { return false };
    let mut body = response.into_body();
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
        if read > ANSWER_BYTES {
            break;
        }
    }
    true
}
