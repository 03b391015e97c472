//! How a worker comes by a connection to an endpoint where none is free: it makes one, or waits for what others make or have
//! done with.

use super::{SendError, WorkerUpstream};
use crate::upstream::Endpoint;
use crate::upstream::connect::{ConnectError, connect};
use crate::upstream::health::TryOutcome;
use crate::upstream::http1::Http1;
use crate::upstream::http2::Http2;
use crate::upstream::keep::Keep;
use crate::upstream::lease::{AtEndpoint, Connection, Lease, Making, WorkerEndpoint};
use crate::upstream::limits::{Leave, Place};
use crate::upstream::stream::TlsPeer;
use rustls::ClientConfig;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use turnout_routes::router::{BackendPolicy, Failure};

const HANDSHAKES_TOLD_EVERY: Duration = Duration::from_mins(1);

/// What a connection is to be.
pub(super) struct Wanted {
    pub(super) is_http2: bool,
    /// One of HTTP/1 that the request will keep to itself.
    pub(super) needs_new: bool,
    pub(super) peer: Option<Box<TlsPeer>>,
}

/// What a request that may not just connect comes to.
enum Found {
    /// To make one, where their number is limited with the leave for it, and of HTTP/2 as the only one who does.
    Leave(Option<Leave>, Option<Making>),
    Kept(Connection),
}

impl WorkerUpstream {
    /// A new connection, or, where no more may be opened, one that another request has done with or shares.
    pub(super) async fn connect(&self, at: AtEndpoint, wanted: Box<Wanted>) -> Result<Lease, SendError> {
        let state = Arc::clone(&self.current.borrow().state);
        let policy = &state.policy;
        let (leave, making, _pending) = if policy.limits.connections.is_none() && !wanted.is_http2 {
            (None, None, self.wait_in_place(policy)?)
        } else {
            // Their number limits how many are being made.
            match self.leave_or_kept(&at, &wanted, policy).await? {
                Found::Leave(leave, making) => (leave, making, None),
                Found::Kept(connection) => return self.lease(connection, at, policy),
            }
        };
        let tls = match wanted.peer {
            None => None,
            Some(peer) => match self.common.credentials.client_config(&peer.policy) {
                Some(config) if wanted.is_http2 => Some((peer, speaking_http2(&config))),
                Some(config) => Some((peer, config)),
                // Said when they were loaded.
                None => return Err(SendError::Failed(Failure::Connect)),
            },
        };
        match self.make(&at.endpoint, policy, tls, leave, wanted.is_http2).await {
            Ok(connection) => {
                self.connects_made.inc();
                connection.settle(making, policy.connect_timeout);
                self.lease(connection, at, policy)
            }
            Err(error) => {
                making.iter().for_each(Making::fail);
                self.tell_failure(&at.endpoint, &error);
                Err(SendError::Failed(Failure::Connect))
            }
        }
    }

    async fn make(
        &self,
        endpoint: &WorkerEndpoint,
        policy: &BackendPolicy,
        tls: Option<(Box<TlsPeer>, Arc<ClientConfig>)>,
        leave: Option<Leave>,
        is_http2: bool,
    ) -> Result<Connection, ConnectError> {
        let stall_timeout = self.common.stall_timeout;
        let (stream, peer) = connect(&endpoint.shared, policy, stall_timeout, tls).await?;
        if !is_http2 {
            let mut http1 = Box::new(Http1::handshake(stream, stall_timeout).await?);
            (http1.peer, http1.leave) = (peer, leave);
            return Ok(Connection::Own(http1));
        }
        let keep = Keep::new(policy, self.common.idle_timeout);
        let of = (&endpoint.connections, leave);
        let http2 = Rc::new(Http2::handshake((stream, peer), &policy.http2, keep, stall_timeout, of).await?);
        endpoint.share(&http2);
        Ok(Connection::Stream(Box::new(http2.first())))
    }

    /// Takes note of a connection that could not be made.
    fn tell_failure(&self, endpoint: &WorkerEndpoint, error: &ConnectError) {
        self.judge(&endpoint.shared, || TryOutcome::NoAnswer);
        if let ConnectError::Tls(reason) = error {
            self.handshakes_failed.inc();
            self.tell_handshake(&endpoint.shared, reason);
        } else {
            self.connects_failed.inc();
            // Whoever waits need not. Of a handshake the name may be to blame that a client asked for.
            endpoint.connections.tell_unreachable();
        }
        tracing::debug!(endpoint = %endpoint.shared.address, %error, "connect failed");
    }

    /// What it takes to go on where not every request may just connect: waited for, if it must be.
    async fn leave_or_kept(
        &self,
        at: &AtEndpoint,
        wanted: &Wanted,
        policy: &BackendPolicy,
    ) -> Result<Found, SendError> {
        let (endpoint, connections) = (&at.endpoint, &at.endpoint.connections);
        let peer = wanted.peer.as_deref();
        let kept = || match wanted {
            Wanted { is_http2: true, .. } => endpoint.take_stream(peer, &policy.http2),
            Wanted { needs_new: true, .. } => None,
            Wanted { .. } => endpoint.take_idle(peer),
        };
        let leave = || match policy.limits.connections {
            None => Some(None),
            Some(most) => connections.leave(&self.shared.usage.connections, most).ok().map(Some),
        };
        let found = || {
            if let Some(connection) = kept() {
                return Some(Found::Kept(connection));
            }
            // All who wait share what one of them makes, unless it is for one request only.
            let is_shared = wanted.is_http2 && policy.max_requests_per_connection != 1;
            if is_shared && endpoint.awaited(peer).is_some() {
                return None;
            }
            // One that is idle and not for this request makes room for one that is.
            let leave = leave().or_else(|| endpoint.close_an_idle().then(leave).flatten())?;
            Some(Found::Leave(leave, is_shared.then(|| Making::new(endpoint, peer))))
        };
        let is_limited = policy.limits.connections.is_some();
        if is_limited && connections.are_awaited() {
            // Who was here first may have one now: places that other workers have freed are told to nobody.
            connections.tell_freed();
        } else if let Some(found) = found() {
            return Ok(found);
        }
        let _pending = self.wait_in_place(policy)?;
        while !is_limited && let Some(awaited) = endpoint.awaited(peer) {
            if !awaited.is_made().await {
                return Err(SendError::Failed(Failure::Connect));
            }
            if let Some(found) = found() {
                return Ok(found);
            }
        }
        connections.wait_for(found).await.ok_or(SendError::Failed(Failure::Connect))
    }

    /// A place among the requests that wait for a connection, if their number is limited.
    fn wait_in_place(&self, policy: &BackendPolicy) -> Result<Option<Place>, SendError> {
        self.shared.usage.pending.take_within(policy.limits.pending).map_err(|full| self.overflow(full))
    }

    /// Only the log can say why: clients are not told. Once a minute, since each request may try.
    fn tell_handshake(&self, endpoint: &Endpoint, reason: &std::io::Error) {
        let now = Instant::now();
        if self.handshake_told.get().is_none_or(|told| now >= told + HANDSHAKES_TOLD_EVERY) {
            self.handshake_told.set(Some(now));
            let (upstream, endpoint) = (self.shared.name.as_str(), endpoint.address);
            tracing::warn!(upstream, %endpoint, %reason, "no TLS with the endpoint");
        }
    }
}

fn speaking_http2(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
