//! `connectionPool`: how long connections are kept, and how much may be asked of a service at a time.

use super::{count, long_count};
use crate::decode::{Decoded, Item};
use crate::encode::{Fields, duration};
use serde_json::Value;
use std::time::Duration;

/// What Istio has and the gateway has not, in `http`: ...
const UNSUPPORTED_HTTP: [&str; 2] = ["http2KeepAlive", "maxConcurrentStreams"];
/// ... and of `h2UpgradePolicy`.
const UNSUPPORTED_UPGRADE: [&str; 1] = ["UPGRADE"];

/// `connectionPool`: what is not set has Istio's default, whatever a wider policy says. A limit of 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionPool {
    /// `tcp.maxConnections`.
    pub max_connections: Option<u32>,
    /// `tcp.connectTimeout`.
    pub connect_timeout: Option<Duration>,
    /// `tcp.tcpKeepalive`.
    pub keepalive: Option<TcpKeepalive>,
    /// `tcp.maxConnectionDuration`: an older connection is given no further request.
    pub max_connection_age: Option<Duration>,
    /// `tcp.idleTimeout`, which counts where `http.idleTimeout` is not set; 0 is for ever.
    pub tcp_idle_timeout: Option<Duration>,
    /// `http.http1MaxPendingRequests`: requests that wait for a connection.
    pub max_pending: Option<u32>,
    /// `http.http2MaxRequests`: requests in flight, by whichever protocol.
    pub max_requests: Option<u32>,
    /// `http.maxRequestsPerConnection`.
    pub max_requests_per_connection: Option<u32>,
    /// `http.maxRetries`: retries in flight.
    pub max_retries: Option<u32>,
    /// `http.idleTimeout`: an upstream connection without a request is closed after it.
    pub idle_timeout: Option<Duration>,
}

/// `tcpKeepalive`: what is not set is the gateway's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Probes without an answer after which a connection is dead.
    pub probes: Option<u32>,
    /// Without traffic, before the first probe.
    pub time: Option<Duration>,
    /// Between two probes.
    pub interval: Option<Duration>,
}

impl ConnectionPool {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        if object.is_empty() {
            return Err(item.advise("a connection pool must have at least one field", "leave it out"));
        }
        let tcp = object.field_or_default("tcp", Self::decode_tcp);
        let http = object.field_or_default("http", Self::decode_http);
        object.finish();
        let (tcp, http) = (tcp?, http?);
        Ok(Self {
            max_connections: tcp.max_connections,
            connect_timeout: tcp.connect_timeout,
            keepalive: tcp.keepalive,
            max_connection_age: tcp.max_connection_age,
            tcp_idle_timeout: tcp.tcp_idle_timeout,
            ..http
        })
    }

    fn decode_tcp(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let max_connections = object.field_or_default("maxConnections", count);
        let connect_timeout = object.field("connectTimeout", Item::duration);
        let keepalive = object.field("tcpKeepalive", TcpKeepalive::decode);
        let max_connection_age = object.field("maxConnectionDuration", Item::duration);
        let tcp_idle_timeout = object.field("idleTimeout", Item::duration_or_zero);
        object.finish();
        Ok(Self {
            max_connections: max_connections?,
            connect_timeout: connect_timeout?,
            keepalive: keepalive?,
            max_connection_age: max_connection_age?,
            tcp_idle_timeout: tcp_idle_timeout?,
            ..Self::default()
        })
    }

    fn decode_http(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let max_pending = object.field_or_default("http1MaxPendingRequests", count);
        let max_requests = object.field_or_default("http2MaxRequests", count);
        let max_requests_per_connection = object.field_or_default("maxRequestsPerConnection", count);
        let max_retries = object.field_or_default("maxRetries", count);
        let idle_timeout = object.field("idleTimeout", Item::duration);
        // What says no more than what the gateway does anyway.
        let upgrades = [("DEFAULT", ()), ("DO_NOT_UPGRADE", ())];
        let upgrade = object.field("h2UpgradePolicy", |item| item.choice(&upgrades, &UNSUPPORTED_UPGRADE));
        let client_protocol =
            object.field("useClientProtocol", |item| if item.boolean()? { Err(item.unsupported()) } else { Ok(()) });
        object.refuse(&UNSUPPORTED_HTTP);
        object.finish();
        upgrade?;
        client_protocol?;
        Ok(Self {
            max_pending: max_pending?,
            max_requests: max_requests?,
            max_requests_per_connection: max_requests_per_connection?,
            max_retries: max_retries?,
            idle_timeout: idle_timeout?,
            ..Self::default()
        })
    }

    /// A pool that sets nothing keeps an empty part, for it must have one.
    pub(super) fn encode(&self) -> Value {
        let tcp = Fields::new()
            .some("maxConnections", self.max_connections)
            .some("connectTimeout", self.connect_timeout.map(duration))
            .some("tcpKeepalive", self.keepalive.as_ref().map(TcpKeepalive::encode))
            .some("maxConnectionDuration", self.max_connection_age.map(duration))
            .some("idleTimeout", self.tcp_idle_timeout.map(duration));
        let http = Fields::new()
            .some("http1MaxPendingRequests", self.max_pending)
            .some("http2MaxRequests", self.max_requests)
            .some("maxRequestsPerConnection", self.max_requests_per_connection)
            .some("maxRetries", self.max_retries)
            .some("idleTimeout", self.idle_timeout.map(duration))
            .into_filled();
        let tcp = tcp.into_filled().or_else(|| http.is_none().then(|| Fields::new().into()));
        Fields::new().some("tcp", tcp).some("http", http).into()
    }
}

impl TcpKeepalive {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let probes = object.field_or_default("probes", long_count);
        let time = object.field("time", Item::duration);
        let interval = object.field("interval", Item::duration);
        object.finish();
        Ok(Self { probes: probes?, time: time?, interval: interval? })
    }

    fn encode(&self) -> Value {
        Fields::new()
            .some("probes", self.probes)
            .some("time", self.time.map(duration))
            .some("interval", self.interval.map(duration))
            .into()
    }
}
