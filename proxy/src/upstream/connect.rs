//! Connecting to an endpoint. One that cannot be connected to is avoided for a while, also if whoever wanted it had not
//! the patience to see it fail.

use super::Endpoint;
use super::http1::Http1;
use socket2::{SockRef, TcpKeepalive};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// An attempt to connect that was given up after this long counts as failed.
const SLOW: Duration = Duration::from_millis(250);
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("timed out")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
}

/// Connects within `timeout`. `stall_timeout` is for how long the endpoint may take nothing of what it is sent.
pub(super) async fn connect(
    endpoint: &Endpoint,
    timeout: Duration,
    stall_timeout: Duration,
) -> Result<Box<Http1>, ConnectError> {
    let mut attempt = Attempt { endpoint, started: Instant::now(), outcome: None };
    let connected = tokio::time::timeout(timeout, TcpStream::connect(endpoint.address)).await;
    attempt.outcome = Some(matches!(connected, Ok(Ok(_))));
    let stream = connected??;
    stream.set_nodelay(true)?;
    // Notices a peer that has gone without a word, which a request that only waits would not.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(Box::new(Http1::handshake(stream, stall_timeout).await?))
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
