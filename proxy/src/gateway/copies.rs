//! What a copy of a request has with its backend: one try, within a time of its own.

use super::deadline::{deadline, within};
use crate::body::copy::Incomplete;
use crate::telemetry::record::Destination;
use crate::upstream::{Outgoing, SendError, UpstreamBody, WorkerUpstream};
use http::Response;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use turnout_routes::router::Failure;

/// For how long an answer is waited for, from the end of the copy's body on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) whole: Duration,
    /// For its head, as for that of a try.
    pub(super) head: Option<Duration>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The try failed.
    Failed(SendError),
    /// Not all of the request was to be had.
    Body(Incomplete),
    Timeout,
}

/// Asks an endpoint, not one of `avoided` if it can, and reads its answer.
pub(super) async fn ask<T>(
    upstream: &WorkerUpstream,
    mut copy: Outgoing,
    avoided: &[SocketAddr],
    patience: Patience,
    read: impl AsyncFnOnce(Response<UpstreamBody>) -> T,
) -> Result<T, Unanswered> {
    let mut limit = Some(deadline(&copy.body, patience.whole));
    let mut limit_of_head = patience.head.map(|head| deadline(&copy.body, head));
    let body = copy.body.clone();
    let exchange = pin!(async {
        let mut destination = Destination::default();
        let sent = {
            let sending = pin!(upstream.send(&mut copy, avoided, &mut destination));
            within(&mut limit_of_head, sending).await
        };
        let response = sent.unwrap_or(Err(SendError::Failed(Failure::PerTryTimeout))).map_err(Unanswered::Failed)?;
        Ok::<_, Unanswered>(read(response).await)
    });
    let answered = tokio::select! {
        answered = within(&mut limit, exchange) => answered.unwrap_or(Err(Unanswered::Timeout)),
        // A backend that takes nothing would not be told that nothing follows.
        () = body.broken() => Err(Unanswered::Failed(SendError::Body)),
    };
    answered.map_err(|unanswered| match unanswered {
        Unanswered::Failed(SendError::Body) => Unanswered::Body(body.incomplete().unwrap_or(Incomplete::Aborted)),
        unanswered => unanswered,
    })
}
