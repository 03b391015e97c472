//! What is read once at start: flags and environment, turned into typed settings by one conversion that reports every
//! bad value at once. Routes are not here: they are hot-reloaded.

mod convert;

pub use convert::SettingsError;

use clap::Parser;
use convert::Conversion;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;
use turnout_routes::MOST_SOURCE_BYTES;

/// The gateway of Turnout: splits requests between model versions by weight.
///
/// Reads Istio's Gateway, VirtualService, DestinationRule and ServiceEntry documents from a file or a mounted ConfigMap,
/// serves them, and takes up every change of them without losing a request. A file that does not parse changes nothing:
/// the last good one keeps serving, and /revision on the status port says what is wrong with the new one.
///
/// Try: turnout-proxy --routes routes.yaml --listen 80=127.0.0.1:8080, then: curl localhost:8080/score
#[derive(Clone, Debug, Parser)]
#[command(name = "turnout-proxy", version, max_term_width = 110)]
pub struct Arguments {
    /// The routes: a YAML file, or a directory of *.yaml files laid out like a mounted ConfigMap.
    #[arg(long, value_name = "PATH", env = "TURNOUT_ROUTES")]
    pub routes: PathBuf,

    /// An address to serve, repeatable. GATEWAY_PORT is the port.number of the Gateway servers that are served there
    /// (default: PORT itself). Port 0 takes a free one.
    #[arg(
        long,
        value_name = "[GATEWAY_PORT=]ADDR:PORT",
        env = "TURNOUT_LISTEN",
        value_delimiter = ',',
        default_value = "80=0.0.0.0:8080"
    )]
    pub listen: Vec<String>,

    /// Where /livez, /readyz, /metrics, /backends and /revision are.
    #[arg(long, value_name = "ADDR:PORT", env = "TURNOUT_STATUS", default_value = "0.0.0.0:15021")]
    pub status: String,

    /// Where /routes and /explain are; keep it on loopback.
    #[arg(long, value_name = "ADDR:PORT", env = "TURNOUT_ADMIN", default_value = "127.0.0.1:9901")]
    pub admin: String,

    /// Worker threads, each with its own connections to the backends; 0 is one per core.
    #[arg(long, value_name = "COUNT", env = "TURNOUT_WORKERS", default_value = "0")]
    pub workers: String,

    /// The gateway's own labels, which Gateway.selector and sourceLabels are compared with.
    #[arg(long, value_name = "KEY=VALUE,...", env = "TURNOUT_LABELS", default_value = "istio=ingressgateway")]
    pub labels: String,

    /// The gateway's own namespace, which exportTo and sourceNamespace are compared with; also its name in metrics.
    #[arg(long, value_name = "NAME", env = "TURNOUT_NAMESPACE", default_value = "default")]
    pub namespace: String,

    /// The gateway's workload name in metrics (source_workload).
    #[arg(long, value_name = "NAME", env = "TURNOUT_WORKLOAD", default_value = "turnout-gateway")]
    pub workload: String,

    /// Peers whose X-Forwarded-* and X-Request-Id are believed and appended to; others' are overwritten.
    #[arg(long, value_name = "CIDR,...", env = "TURNOUT_TRUSTED_PROXIES", default_value = "")]
    pub trusted_proxies: String,

    /// Add the x-envoy-* headers that Istio's gateway adds, and say "server: istio-envoy".
    #[arg(long, env = "TURNOUT_ENVOY_HEADERS")]
    pub envoy_headers: bool,

    /// Pass request headers whose name holds an underscore; by default they are dropped, since WSGI servers take
    /// x_api_version for x-api-version.
    #[arg(long, env = "TURNOUT_KEEP_UNDERSCORE_HEADERS")]
    pub keep_underscore_headers: bool,

    /// Certificates: credentialName NAME is DIR/NAME/tls.crt, tls.key and ca.crt. Reloaded on change.
    #[arg(long, value_name = "DIR", env = "TURNOUT_CREDENTIALS")]
    pub credentials: Option<PathBuf>,

    /// Write the bound addresses to this file as JSON once all are bound, for those who asked for port 0.
    #[arg(long, value_name = "PATH", env = "TURNOUT_ADDRESSES_FILE")]
    pub addresses_file: Option<PathBuf>,

    /// DNS server to ask instead of those of /etc/resolv.conf.
    #[arg(long, value_name = "ADDR:PORT", env = "TURNOUT_DNS_SERVER")]
    pub dns_server: Option<String>,

    /// Access log on standard output: off, json (one object a line) or text.
    #[arg(long, value_name = "FORM", env = "TURNOUT_ACCESS_LOG", default_value = "off")]
    pub access_log: String,

    /// The gateway's own log on standard error: json or text.
    #[arg(long, value_name = "FORM", env = "TURNOUT_LOG_FORMAT", default_value = "text")]
    pub log_format: String,

    /// What the gateway's own log says: error, warn, info, debug, or a tracing filter.
    #[arg(long, value_name = "FILTER", env = "TURNOUT_LOG", default_value = "info")]
    pub log: String,

    #[command(flatten)]
    limits: LimitArguments,

    #[command(flatten)]
    timeouts: TimeoutArguments,
}

/// Sizes and counts; beyond them a request is refused, never cut short.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArguments {
    /// Connections from clients, in all.
    #[arg(long, value_name = "COUNT", env = "TURNOUT_MAX_CONNECTIONS", default_value = "50000")]
    max_connections: String,

    /// Connections from one client address; 0 is without limit.
    #[arg(long, value_name = "COUNT", env = "TURNOUT_MAX_CONNECTIONS_PER_CLIENT", default_value = "0")]
    max_connections_per_client: String,

    /// Requests on one connection, after which it is closed politely; 0 is without limit.
    #[arg(long, value_name = "COUNT", env = "TURNOUT_MAX_REQUESTS_PER_CONNECTION", default_value = "0")]
    max_requests_per_connection: String,

    /// TLS handshakes at the same time, per worker.
    #[arg(long, value_name = "COUNT", env = "TURNOUT_MAX_TLS_HANDSHAKES", default_value = "512")]
    max_tls_handshakes: String,

    /// All routes together, in bytes; more are refused. A ConfigMap has room for 1 MiB, a file may have 64.
    #[arg(long, value_name = "BYTES", env = "TURNOUT_MAX_ROUTES_BYTES", default_value = "1048576")]
    max_routes_bytes: String,

    /// Path and query of a request, in bytes (414 beyond).
    #[arg(long, value_name = "BYTES", env = "TURNOUT_MAX_TARGET_BYTES", default_value = "8192")]
    max_target_bytes: String,

    /// Request line and headers together, in bytes (431 beyond).
    #[arg(long, value_name = "BYTES", env = "TURNOUT_MAX_HEADER_BYTES", default_value = "61440")]
    max_header_bytes: String,

    /// Header lines of a request (431 beyond).
    #[arg(long, value_name = "COUNT", env = "TURNOUT_MAX_HEADERS", default_value = "100")]
    max_headers: String,

    /// Request body, in bytes (413 beyond); 0 is without limit.
    #[arg(long, value_name = "BYTES", env = "TURNOUT_MAX_BODY_BYTES", default_value = "0")]
    max_body_bytes: String,

    /// A request body of at most this size is read before a backend is connected to, so that a slow client does not
    /// hold a model's worker, in bytes. Between HTTP/2 and HTTP/2 none is waited for.
    #[arg(long, value_name = "BYTES", env = "TURNOUT_REQUEST_BUFFER_BYTES", default_value = "16384")]
    request_buffer_bytes: String,

    /// What a retry policy may need to send again is kept up to this size, in bytes; a larger body is sent once.
    #[arg(long, value_name = "BYTES", env = "TURNOUT_RETRY_BUFFER_BYTES", default_value = "1048576")]
    retry_buffer_bytes: String,

    /// HTTP/2 requests at the same time on one connection.
    #[arg(long, value_name = "COUNT", env = "TURNOUT_MAX_HTTP2_STREAMS", default_value = "100")]
    max_http2_streams: String,

    /// Refuse HTTP/2 without TLS (prior knowledge).
    #[arg(long, env = "TURNOUT_NO_CLEARTEXT_HTTP2")]
    no_cleartext_http2: bool,
}

/// How long nothing may happen; none of them limits a request that makes progress.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Time-outs")]
#[expect(clippy::struct_field_names, reason = "each name ends in its unit")]
struct TimeoutArguments {
    /// For the TLS handshake.
    #[arg(long, value_name = "MS", env = "TURNOUT_TLS_HANDSHAKE_TIMEOUT_MS", default_value = "10000")]
    tls_handshake_timeout_ms: String,

    /// From the first byte of a request's head to its last.
    #[arg(long, value_name = "MS", env = "TURNOUT_REQUEST_HEAD_TIMEOUT_MS", default_value = "10000")]
    request_head_timeout_ms: String,

    /// A client's connection without a request.
    #[arg(long, value_name = "MS", env = "TURNOUT_KEEP_ALIVE_IDLE_TIMEOUT_MS", default_value = "60000")]
    keep_alive_idle_timeout_ms: String,

    /// Between two pieces of a request body (408 beyond); between HTTP/2 and HTTP/2, where the two sides may talk by turns,
    /// there is no limit.
    #[arg(long, value_name = "MS", env = "TURNOUT_REQUEST_BODY_IDLE_TIMEOUT_MS", default_value = "60000")]
    request_body_idle_timeout_ms: String,

    /// While a client takes nothing of its response, or a backend nothing of a request; and while nothing goes through
    /// a tunnel that one side has ended.
    #[arg(long, value_name = "MS", env = "TURNOUT_RESPONSE_STALL_TIMEOUT_MS", default_value = "60000")]
    response_stall_timeout_ms: String,

    /// A tunnel (WebSocket) through which nothing goes.
    #[arg(long, value_name = "MS", env = "TURNOUT_TUNNEL_IDLE_TIMEOUT_MS", default_value = "3600000")]
    tunnel_idle_timeout_ms: String,

    /// A connection to a backend without a request, unless a DestinationRule says otherwise. Keep it below the
    /// backend's own keep-alive time (uvicorn and Node: 5 s).
    #[arg(long, value_name = "MS", env = "TURNOUT_UPSTREAM_IDLE_TIMEOUT_MS", default_value = "4000")]
    upstream_idle_timeout_ms: String,

    /// After SIGTERM: how long connections are still accepted, while /readyz already says no.
    #[arg(long, value_name = "MS", env = "TURNOUT_SHUTDOWN_DELAY_MS", default_value = "5000")]
    shutdown_delay_ms: String,

    /// After that: how long requests may take to finish.
    #[arg(long, value_name = "MS", env = "TURNOUT_DRAIN_TIMEOUT_MS", default_value = "25000")]
    drain_timeout_ms: String,
}

/// The validated settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The routes file or directory.
    pub routes: PathBuf,
    /// How much it may hold, in bytes.
    pub max_routes_bytes: usize,
    /// At least one.
    pub listeners: Vec<ListenerSettings>,
    /// Status address.
    pub status: SocketAddr,
    /// Admin address.
    pub admin: SocketAddr,
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// The gateway's labels.
    pub labels: BTreeMap<String, String>,
    /// The gateway's namespace.
    pub namespace: String,
    /// The gateway's workload name.
    pub workload: String,
    /// Certificates.
    pub credentials: Option<PathBuf>,
    /// Where the bound addresses are written.
    pub addresses_file: Option<PathBuf>,
    /// The DNS server to ask.
    pub dns_server: Option<SocketAddr>,
    /// The access log.
    pub access_log: AccessLogForm,
    /// What each request is held to.
    pub requests: RequestSettings,
    /// What each connection is held to.
    pub connections: ConnectionSettings,
    /// How the gateway ends.
    pub drain: DrainSettings,
}

/// One address to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// The Gateway port that is served there; 0 until a free port was taken for it.
    pub gateway_port: u16,
    /// The address to bind.
    pub address: SocketAddr,
}

/// Form of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogForm {
    /// None is written.
    Off,
    /// JSON lines.
    Json,
    /// Lines for people.
    Text,
}

/// What each request is held to.
#[derive(Clone, Debug)]
pub struct RequestSettings {
    /// How headers are treated.
    pub headers: HeaderSettings,
    /// Peers that are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Path and query, in bytes.
    pub max_target_bytes: usize,
    /// Header lines.
    pub max_headers: usize,
    /// None is without limit.
    pub max_body_bytes: Option<u64>,
    /// Read ahead of a backend connection, in bytes.
    pub buffer_bytes: usize,
    /// Kept for a retry, in bytes.
    pub retry_buffer_bytes: usize,
    /// Between two pieces of a body.
    pub body_idle_timeout: Duration,
    /// For connections to backends.
    pub upstream_idle_timeout: Duration,
    /// Without progress of a response, or of what is sent to a backend.
    pub stall_timeout: Duration,
    /// Without anything that goes through a tunnel.
    pub tunnel_idle_timeout: Duration,
}

/// How headers are treated.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderSettings {
    /// Add what Istio's gateway adds.
    pub envoy_headers: bool,
    /// Pass names with an underscore.
    pub keep_underscores: bool,
}

/// What each connection is held to.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// In all.
    pub max_connections: usize,
    /// Per client address; none is without limit.
    pub max_per_client: Option<NonZeroUsize>,
    /// None is without limit.
    pub max_requests: Option<NonZeroUsize>,
    /// Per worker.
    pub max_tls_handshakes: usize,
    /// Request line and headers, in bytes.
    pub max_header_bytes: usize,
    /// HTTP/2 streams.
    pub max_http2_streams: u32,
    /// HTTP/2 by prior knowledge.
    pub cleartext_http2: bool,
    /// For the handshake.
    pub tls_handshake_timeout: Duration,
    /// For a request's head.
    pub head_timeout: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
}

/// How the gateway ends.
#[derive(Clone, Copy, Debug)]
pub struct DrainSettings {
    /// Still accepting, no longer ready.
    pub delay: Duration,
    /// For requests to finish.
    pub timeout: Duration,
}

impl RequestSettings {
    /// Whether a peer's word about the client counts. An IPv4 address in IPv6 form is taken for the IPv4 address.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        !self.trusted_proxies.is_empty() && self.trusted_proxies.iter().any(|net| net.contains(&peer.to_canonical()))
    }
}

impl Arguments {
    /// Turns the arguments into settings, or reports all that is wrong with them.
    pub fn into_settings(self) -> Result<Settings, SettingsError> {
        let mut conversion = Conversion::default();
        let settings = Settings {
            listeners: conversion.listeners(&self.listen),
            status: conversion.address("--status", &self.status),
            admin: conversion.address("--admin", &self.admin),
            workers: conversion.workers(&self.workers),
            labels: conversion.labels(&self.labels),
            dns_server: self.dns_server.as_deref().map(|address| conversion.address("--dns-server", address)),
            access_log: conversion.access_log(&self.access_log),
            requests: self.requests(&mut conversion),
            connections: self.connections(&mut conversion),
            drain: DrainSettings {
                delay: conversion.milliseconds("--shutdown-delay-ms", &self.timeouts.shutdown_delay_ms),
                timeout: conversion.milliseconds("--drain-timeout-ms", &self.timeouts.drain_timeout_ms),
            },
            namespace: conversion.name("--namespace", self.namespace),
            workload: conversion.name("--workload", self.workload),
            routes: conversion.readable("--routes", self.routes),
            max_routes_bytes: conversion.number(
                "--max-routes-bytes",
                &self.limits.max_routes_bytes,
                1..=MOST_SOURCE_BYTES,
            ),
            credentials: self.credentials.map(|path| conversion.readable("--credentials", path)),
            addresses_file: self.addresses_file,
        };
        conversion.log_format(&self.log_format);
        conversion.finish(settings)
    }

    fn requests(&self, conversion: &mut Conversion) -> RequestSettings {
        let (limits, timeouts) = (&self.limits, &self.timeouts);
        RequestSettings {
            headers: HeaderSettings {
                envoy_headers: self.envoy_headers,
                keep_underscores: self.keep_underscore_headers,
            },
            trusted_proxies: conversion.networks("--trusted-proxies", &self.trusted_proxies),
            max_target_bytes: conversion.number("--max-target-bytes", &limits.max_target_bytes, 1..=65_000),
            max_headers: conversion.number("--max-headers", &limits.max_headers, 1..=10_000),
            max_body_bytes: match conversion.number("--max-body-bytes", &limits.max_body_bytes, 0..=u64::MAX) {
                0 => None,
                limit => Some(limit),
            },
            buffer_bytes: conversion.number("--request-buffer-bytes", &limits.request_buffer_bytes, 0..=MAX_BUFFER),
            retry_buffer_bytes: conversion.number("--retry-buffer-bytes", &limits.retry_buffer_bytes, 0..=MAX_BUFFER),
            body_idle_timeout: conversion
                .timeout("--request-body-idle-timeout-ms", &timeouts.request_body_idle_timeout_ms),
            stall_timeout: conversion.timeout("--response-stall-timeout-ms", &timeouts.response_stall_timeout_ms),
            tunnel_idle_timeout: conversion.timeout("--tunnel-idle-timeout-ms", &timeouts.tunnel_idle_timeout_ms),
            upstream_idle_timeout: conversion.timeout("--upstream-idle-timeout-ms", &timeouts.upstream_idle_timeout_ms),
        }
    }

    fn connections(&self, conversion: &mut Conversion) -> ConnectionSettings {
        let (limits, timeouts) = (&self.limits, &self.timeouts);
        let no_limit_at_zero = NonZeroUsize::new;
        ConnectionSettings {
            max_connections: conversion.number("--max-connections", &limits.max_connections, 1..=10_000_000),
            max_per_client: no_limit_at_zero(conversion.number(
                "--max-connections-per-client",
                &limits.max_connections_per_client,
                0..=10_000_000,
            )),
            max_requests: no_limit_at_zero(conversion.number(
                "--max-requests-per-connection",
                &limits.max_requests_per_connection,
                0..=usize::MAX,
            )),
            max_tls_handshakes: conversion.number("--max-tls-handshakes", &limits.max_tls_handshakes, 1..=1_000_000),
            // hyper's own read buffer, which must hold a head, is at least 8 KiB.
            max_header_bytes: conversion.number("--max-header-bytes", &limits.max_header_bytes, 8192..=1_048_576),
            max_http2_streams: conversion.number("--max-http2-streams", &limits.max_http2_streams, 1..=1_000_000),
            cleartext_http2: !limits.no_cleartext_http2,
            tls_handshake_timeout: conversion.timeout("--tls-handshake-timeout-ms", &timeouts.tls_handshake_timeout_ms),
            head_timeout: conversion.timeout("--request-head-timeout-ms", &timeouts.request_head_timeout_ms),
            idle_timeout: conversion.timeout("--keep-alive-idle-timeout-ms", &timeouts.keep_alive_idle_timeout_ms),
        }
    }
}

/// Per request; with thousands of them at a time a larger buffer is a mistake.
const MAX_BUFFER: usize = 64 << 20;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by it")]
    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings, SettingsError> {
        let routes = std::env::temp_dir();
        let base = ["turnout-proxy", "--routes", routes.to_str().unwrap()];
        Arguments::try_parse_from(base.iter().chain(arguments)).unwrap().into_settings()
    }

    #[test]
    fn every_bad_setting_is_reported_at_once() {
        let arguments = [
            "--listen",
            "80=here",
            "--workers=many",
            "--max-headers=0",
            "--labels=x",
            "--trusted-proxies=10/8",
            "--status=1",
        ];
        let problems = settings(&arguments).unwrap_err().to_string();
        for piece in [
            "--listen",
            "`80=here`",
            "--workers",
            "`many`",
            "--max-headers",
            "--labels",
            "--trusted-proxies",
            "--status",
        ] {
            assert!(problems.contains(piece), "{piece} is missing in:\n{problems}");
        }
        assert_eq!(problems.lines().count(), 6, "{problems}");
    }

    #[test]
    fn a_listener_serves_the_gateway_port_that_it_names() {
        let check = |listen: &[&str], expected: &[(u16, &str)]| {
            let arguments: Vec<&str> = listen.iter().flat_map(|value| ["--listen", value]).collect();
            let listeners = settings(&arguments).unwrap().listeners;
            let seen: Vec<_> = listeners.iter().map(|l| (l.gateway_port, l.address.to_string())).collect();
            let expected: Vec<_> = expected.iter().map(|(port, address)| (*port, (*address).to_owned())).collect();
            assert_eq!(seen, expected);
        };
        check(&["127.0.0.1:8080"], &[(8080, "127.0.0.1:8080")]);
        check(&["80=127.0.0.1:8080", "443=[::1]:8443"], &[(80, "127.0.0.1:8080"), (443, "[::1]:8443")]);
        check(&["80=127.0.0.1:0"], &[(80, "127.0.0.1:0")]);
    }

    #[test]
    fn an_ipv4_peer_is_trusted_in_either_form() {
        let settings = settings(&["--trusted-proxies", "10.0.0.0/8, fd00::/8"]).unwrap().requests;
        let check = |peer: &str, expected| assert_eq!(settings.trusts(peer.parse().unwrap()), expected, "{peer}");
        check("10.1.2.3", true);
        check("::ffff:10.1.2.3", true);
        check("fd00::1", true);
        check("11.0.0.1", false);
        check("::1", false);
    }
}
