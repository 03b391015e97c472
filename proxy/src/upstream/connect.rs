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

/// Connects as the policy says: what comes of it is a socket over which HTTP can be spoken, and whom it was made for. It ends
/// when the endpoint's system takes nothing of what is sent to it for `stall_timeout`.
pub(super) async fn connect(
    endpoint: &Endpoint,
    policy: &BackendPolicy,
    stall_timeout: Duration,
    tls: Option<(Box<TlsPeer>, Arc<ClientConfig>)>,
) -> Result<(Stream, Option<Box<TlsPeer>>), ConnectError> {
    let mut attempt = Attempt { endpoint, started: Instant::now(), outcome: None };
    let connected = tokio::time::timeout(policy.connect_timeout, reach(endpoint, policy, stall_timeout, tls)).await;
    attempt.outcome = Some(matches!(connected, Ok(Ok(_))));
    connected?
}

async fn reach(
    endpoint: &Endpoint,
    policy: &BackendPolicy,
    stall_timeout: Duration,
    tls: Option<(Box<TlsPeer>, Arc<ClientConfig>)>,
) -> Result<(Stream, Option<Box<TlsPeer>>), ConnectError> {
    let stream = TcpStream::connect(endpoint.address).await?;
    stream.set_nodelay(true)?;
    notice_if_gone(&stream, policy, stall_timeout)?;
    let Some((peer, config)) = tls else { return Ok((Either::Left(stream), None)) };
    let shaken = TlsConnector::from(config).connect(peer.server_name.clone(), stream).await;
    Ok((Either::Right(Box::new(shaken.map_err(ConnectError::Tls)?)), Some(peer)))
}

/// A peer that has gone without a word is noticed: while nothing is sent, which a request that only waits would not do, and
/// while nothing of what is sent arrives, which the system would try for a quarter of an hour.
fn notice_if_gone(stream: &TcpStream, policy: &BackendPolicy, stall_timeout: Duration) -> std::io::Result<()> {
    let socket = SockRef::from(stream);
    let asked = policy.keepalive.unwrap_or_default();
    let within = |asked: Option<Duration>, default: Duration| {
        asked.unwrap_or(default).clamp(Duration::from_secs(1), LONGEST_KEEPALIVE)
    };
    let (time, interval) = (within(asked.time, KEEPALIVE_AFTER), within(asked.interval, KEEPALIVE_EVERY));
    let mut keepalive = TcpKeepalive::new().with_time(time).with_interval(interval);
    let probes = asked.probes.map(|probes| probes.min(MOST_PROBES));
    if let Some(probes) = probes {
        keepalive = keepalive.with_retries(probes);
    }
    socket.set_tcp_keepalive(&keepalive)?;
    // It counts in place of the probes, so all that a policy asks for must have their time.
    #[cfg(target_os = "linux")]
    {
        let probing = probes.map_or(Duration::ZERO, |probes| time + interval * probes);
        socket.set_tcp_user_timeout(Some(stall_timeout.max(probing)))?;
    }
    Ok(())
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::upstream::EndpointSet;
    use turnout_routes::documents::TcpKeepalive as Asked;

    #[tokio::test]
    async fn an_endpoint_that_takes_nothing_is_given_up_but_not_before_the_probes_of_the_policy() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let set = EndpointSet::at_ports(&[listener.local_addr().expect("it is bound").port()]);
        let limit = Duration::from_secs(7);
        let asked = |probes| Asked { time: Some(limit), interval: Some(limit), probes };
        for (keepalive, limits) in [(None, 1), (Some(asked(None)), 1), (Some(asked(Some(3))), 4)] {
            let expected = Some(limit * limits);
            let policy = BackendPolicy { keepalive, ..BackendPolicy::default() };
            let connected = connect(&set.as_slice()[0], &policy, limit, None).await;
            let Ok((Either::Left(stream), None)) = connected else { panic!("it listens in plain text") };
            let socket = SockRef::from(&stream);
            assert_eq!(socket.tcp_user_timeout().expect("an option"), expected, "{keepalive:?}");
            assert!(socket.keepalive().expect("an option"), "{keepalive:?}");
        }
    }
}
