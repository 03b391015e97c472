//! `connectionPool`: how long connections are kept, and how much may be asked of a service at a time.

use super::{count, long_count};
use crate::decode::{Decoded, Item};
use crate::encode::{Fields, duration};
use serde_json::Value;
use std::time::Duration;

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
    /// `http.h2UpgradePolicy`; whether HTTP/2 is spoken where the port does not say so.
    pub upgrade: Option<H2Upgrade>,
    /// `http.useClientProtocol`: whatever the client speaks, whatever else is said.
    pub use_client_protocol: bool,
    /// `http.maxConcurrentStreams` of one connection.
    pub max_streams: Option<u32>,
    /// `http.http2KeepAlive`.
    pub pings: Option<Http2KeepAlive>,
}

/// `h2UpgradePolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum H2Upgrade {
    /// `DEFAULT`: as the port says.
    Default,
    /// `UPGRADE`: HTTP/2.
    Upgrade,
    /// `DO_NOT_UPGRADE`: as the port says.
    DoNotUpgrade,
}

const UPGRADES: [(&str, H2Upgrade); 3] =
    [("DEFAULT", H2Upgrade::Default), ("UPGRADE", H2Upgrade::Upgrade), ("DO_NOT_UPGRADE", H2Upgrade::DoNotUpgrade)];

/// `http2KeepAlive`: what is not set is Envoy's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http2KeepAlive {
    /// Between two pings; none: no pings.
    pub interval: Option<Duration>,
    /// Without an answer to one.
    pub timeout: Option<Duration>,
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
        let upgrade = object.field("h2UpgradePolicy", |item| item.choice(&UPGRADES, &[]));
        let use_client_protocol = object.field_or_default("useClientProtocol", Item::boolean);
        let max_streams = object.field_or_default("maxConcurrentStreams", count);
        let pings = object.field("http2KeepAlive", Http2KeepAlive::decode);
        object.finish();
        Ok(Self {
            max_pending: max_pending?,
            max_requests: max_requests?,
            max_requests_per_connection: max_requests_per_connection?,
            max_retries: max_retries?,
            idle_timeout: idle_timeout?,
            upgrade: upgrade?,
            use_client_protocol: use_client_protocol?,
            max_streams: max_streams?,
            pings: pings?,
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
            .some("h2UpgradePolicy", self.upgrade.map(H2Upgrade::name))
            .some("useClientProtocol", self.use_client_protocol.then_some(true))
            .some("maxConcurrentStreams", self.max_streams)
            .some("http2KeepAlive", self.pings.as_ref().map(Http2KeepAlive::encode))
            .into_filled();
        let tcp = tcp.into_filled().or_else(|| http.is_none().then(|| Fields::new().into()));
        Fields::new().some("tcp", tcp).some("http", http).into()
    }
}

impl H2Upgrade {
    fn name(self) -> &'static str {
        UPGRADES.into_iter().find(|(_, policy)| *policy == self).map_or("DEFAULT", |(name, _)| name)
    }
}

impl Http2KeepAlive {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let interval = object.field("interval", Item::duration);
        let timeout = object.field("timeout", Item::duration);
        object.finish();
        Ok(Self { interval: interval?, timeout: timeout? })
    }

    fn encode(&self) -> Value {
        let fields = Fields::new().some("interval", self.interval.map(duration));
        fields.some("timeout", self.timeout.map(duration)).into()
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
