//! Connecting to an endpoint. One that cannot be connected to is avoided for a while, also if whoever wanted it had not
//! the patience to see it fail.

use super::Endpoint;
use super::stream::{Stream, TlsPeer};
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use turnout_routes::router::BackendPolicy;

/// An attempt to connect that was given up after this long counts as failed.
const SLOW: Duration = Duration::from_millis(250);
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// The system takes no more; of what documents ask beyond it, it gets this.
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(32_767);
const MOST_PROBES: u32 = 127;

#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("timed out")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
}

/// Connects as the policy says: what comes of it is a socket over which HTTP can be spoken, and whom it was made for.
pub(super) async fn connect(
    endpoint: &Endpoint,
    policy: &BackendPolicy,
    tls: Option<(Box<TlsPeer>, Arc<ClientConfig>)>,
) -> Result<(Stream, Option<Box<TlsPeer>>), ConnectError> {
    let mut attempt = Attempt { endpoint, started: Instant::now(), outcome: None };
    let connected = tokio::time::timeout(policy.connect_timeout, reach(endpoint, policy, tls)).await;
    attempt.outcome = Some(matches!(connected, Ok(Ok(_))));
    connected?
}

async fn reach(
    endpoint: &Endpoint,
    policy: &BackendPolicy,
    tls: Option<(Box<TlsPeer>, Arc<ClientConfig>)>,
) -> Result<(Stream, Option<Box<TlsPeer>>), ConnectError> {
    let stream = TcpStream::connect(endpoint.address).await?;
    stream.set_nodelay(true)?;
    // Notices a peer that has gone without a word, which a request that only waits would not.
    let asked = policy.keepalive.unwrap_or_default();
    let within = |asked: Option<Duration>, default: Duration| {
        asked.unwrap_or(default).clamp(Duration::from_secs(1), LONGEST_KEEPALIVE)
    };
    let mut keepalive = TcpKeepalive::new()
        .with_time(within(asked.time, KEEPALIVE_AFTER))
        .with_interval(within(asked.interval, KEEPALIVE_EVERY));
    if let Some(probes) = asked.probes {
        keepalive = keepalive.with_retries(probes.min(MOST_PROBES));
    }
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    let Some((peer, config)) = tls else { return Ok((Either::Left(stream), None)) };
    let shaken = TlsConnector::from(config).connect(peer.server_name.clone(), stream).await;
    Ok((Either::Right(Box::new(shaken.map_err(ConnectError::Tls)?)), Some(peer)))
}

/// Tells the endpoint how an attempt to connect ended, when it is dropped.
struct Attempt<'a> {
    endpoint: &'a Endpoint,
    started: Instant,
    /// Whether a connection was made; none if the attempt was given up.
    outcome: Option<bool>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        match self.outcome {
            Some(true) => self.endpoint.prefer_again(),
            Some(false) => self.endpoint.avoid_for_a_while(),
            // A client that leaves at once says nothing about the endpoint.
            None if self.started.elapsed() >= SLOW => self.endpoint.avoid_for_a_while(),
            None => {}
        }
    }
}
