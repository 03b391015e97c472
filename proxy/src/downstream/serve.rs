//! One client's connection, from the accepted socket to its end: TLS if the port has it, then HTTP/1 or HTTP/2, until
//! the client, a limit or the drain ends it.

use crate::body::{ClientBody, ResponseBody};
use crate::downstream::tls::{Handshake, TlsAcceptor};
use crate::drain::Drain;
use crate::gateway::Gateway;
use crate::limited_io::{LimitedIo, Progress, ProgressLimits};
use crate::settings::{ConnectionSettings, RequestSettings};
use crate::snapshot::Snapshots;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tower::ServiceBuilder;
use turnout_routes::router::{PortKind, Transport};

/// What every connection of a worker is served with.
pub(crate) struct Server {
    pub(crate) gateway: Rc<Gateway>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) tls: TlsAcceptor,
    pub(crate) settings: Arc<ConnectionSettings>,
    pub(crate) requests: Arc<RequestSettings>,
    pub(crate) drain: Arc<Drain>,
}

/// What is known of a connection for as long as it lasts.
pub(crate) struct ConnectionInfo {
    pub(crate) peer: SocketAddr,
    /// The peer's address, as backends are told it.
    client: HeaderValue,
    /// The Gateway port that its listener serves.
    pub(crate) gateway_port: u16,
    tls: Option<TlsInfo>,
    progress: Rc<Progress>,
    requests: Cell<usize>,
    resets: Cell<usize>,
    max_requests: Option<usize>,
}

struct TlsInfo {
    /// In lower case.
    server_name: Option<String>,
}

/// Why a connection ended badly; a word for the metrics.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error("the TLS handshake took too long")]
    TlsTimeout,
    #[error("no server for the name {0:?}")]
    TlsName(Option<String>),
    #[error("most requests were reset by the client")]
    Abuse,
    #[error("the first bytes took too long")]
    FirstBytes,
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl ConnectionError {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Tls(_) => "tls",
            Self::TlsTimeout => "tls_timeout",
            Self::TlsName(_) => "tls_name",
            Self::Abuse => "abuse",
            Self::FirstBytes => "head_timeout",
            Self::Http(error) if error.is_parse() || error.is_parse_too_large() => "http_parse",
            Self::Http(_) => "http",
            Self::Io(_) => "io",
        }
    }
}

/// Beyond this many requests, a connection of which more than half were reset by the client is closed: it makes work
/// that nobody waits for (HTTP/2 rapid reset).
const RESETS_JUDGED_FROM: usize = 100;

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Server {
    /// Serves a connection to its end.
    pub(crate) async fn serve(
        &self,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        port: u16,
    ) -> Result<(), ConnectionError> {
        let stream = TcpStream::from_std(stream)?;
        stream.set_nodelay(true)?;
        // The snapshot itself is let go: a connection outlives many of them.
        let kind = self.snapshots.current().map_or(PortKind::Unknown, |snapshot| snapshot.router.port_kind(port));
        match kind {
            PortKind::Plain | PortKind::Unknown => {
                let http2 = self.settings.cleartext_http2 && self.begins_with_preface(&stream).await?;
                self.serve_http(TokioIo::new(stream), self.info(peer, port, None), http2).await
            }
            PortKind::Tls => {
                let Handshake { stream, server_name, http2 } =
                    self.tls.accept(stream, &self.snapshots, port, self.settings.tls_handshake_timeout).await?;
                let info = self.info(peer, port, Some(TlsInfo { server_name }));
                self.serve_http(TokioIo::new(stream), info, http2).await
            }
        }
    }

    fn info(&self, peer: SocketAddr, gateway_port: u16, tls: Option<TlsInfo>) -> Rc<ConnectionInfo> {
        Rc::new(ConnectionInfo {
            peer,
            client: client_value(peer),
            gateway_port,
            tls,
            progress: Rc::default(),
            requests: Cell::new(0),
            resets: Cell::new(0),
            max_requests: self.settings.max_requests.map(std::num::NonZeroUsize::get),
        })
    }

    /// Looks at the first bytes without taking them.
    async fn begins_with_preface(&self, stream: &TcpStream) -> Result<bool, ConnectionError> {
        let mut first = [0; HTTP2_PREFACE.len()];
        let some = tokio::select! {
            seen = tokio::time::timeout(self.settings.idle_timeout, stream.peek(&mut first[..1])) => {
                seen.map_err(|_| ConnectionError::FirstBytes)??
            }
            // A connection that has sent nothing when the gateway leaves is closed below like any idle one.
            () = self.drain.idle_connections_close() => 0,
        };
        if some == 0 {
            return Ok(false);
        }
        let all = async {
            let mut pause = Duration::from_millis(5);
            loop {
                let seen = stream.peek(&mut first).await?;
                if first[..seen] != HTTP2_PREFACE[..seen] || seen == 0 {
                    return Ok(false);
                }
                if seen == first.len() {
                    return Ok(true);
                }
                // Part of a preface has come. Peeking again is ready at once, so give the rest a moment.
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        };
        tokio::time::timeout(self.settings.head_timeout, all).await.map_err(|_| ConnectionError::FirstBytes)?
    }

    async fn serve_http<T>(&self, io: T, info: Rc<ConnectionInfo>, http2: bool) -> Result<(), ConnectionError>
    where
        T: Read + Write + Unpin + 'static,
    {
        let settings = &self.settings;
        let limits = ProgressLimits {
            idle: settings.idle_timeout,
            head: settings.head_timeout,
            stall: self.requests.stall_timeout,
        };
        let io = LimitedIo::new(io, Rc::clone(&info.progress), limits);
        let service = TowerToHyperService::new(self.service(&info));
        if http2 {
            info.progress.use_http2();
            let connection = self.http2().serve_connection(io, service);
            self.run(pin!(connection), &info, true).await
        } else {
            let connection = self.http1().serve_connection(io, service);
            self.run(pin!(connection), &info, false).await
        }
    }

    /// The layers around the gateway; limits that are the same for every route have their place here.
    fn service(
        &self,
        info: &Rc<ConnectionInfo>,
    ) -> impl tower::Service<
        Request<Incoming>,
        Response = Response<ResponseBody>,
        Error = Infallible,
        Future: Future<Output = Result<Response<ResponseBody>, Infallible>>,
    > + Clone
    + use<> {
        let (gateway, info) = (Rc::clone(&self.gateway), Rc::clone(info));
        let handler = tower::service_fn(move |request| {
            let (gateway, info) = (Rc::clone(&gateway), Rc::clone(&info));
            async move { Ok::<_, Infallible>(gateway.handle(&info, request).await) }
        });
        let idle_timeout = self.requests.body_idle_timeout;
        ServiceBuilder::new()
            .map_request(move |request: Request<Incoming>| request.map(|body| ClientBody::new(body, idle_timeout)))
            .service(handler)
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // Idle time and the time for a head are kept by `LimitedIo`, which has no timer for each request.
            .header_read_timeout(None)
            .max_headers(self.requests.max_headers)
            .max_header_size(self.settings.max_header_bytes)
            .max_buf_size(self.settings.max_header_bytes.max(64 << 10));
        builder
    }

    fn http2(&self) -> http2::Builder<LocalExecutor> {
        let mut builder = http2::Builder::new(LocalExecutor);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.settings.max_http2_streams)
            .initial_stream_window_size(64 << 10)
            .initial_connection_window_size(1 << 20)
            .max_header_list_size(32 << 10)
            .max_frame_size(16 << 10)
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(100)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        builder
    }

    /// Drives a connection; ends it politely when it is told to.
    async fn run<C>(
        &self,
        mut connection: Pin<&mut C>,
        info: &ConnectionInfo,
        http2: bool,
    ) -> Result<(), ConnectionError>
    where
        C: Future<Output = hyper::Result<()>> + GracefulShutdown,
    {
        let told_to_end = async {
            tokio::select! {
                // GOAWAY loses no request, so HTTP/2 need not wait until the connection is idle.
                () = self.drain.draining(), if http2 => {}
                () = self.drain.idle_connections_close() => {}
                () = info.progress.asked_to_end() => {}
            }
        };
        tokio::select! {
            biased;
            ended = connection.as_mut() => return Ok(ended?),
            () = told_to_end => {}
        }
        if info.progress.is_abused() {
            return Err(ConnectionError::Abuse);
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }
}

/// What HTTP/1 and HTTP/2 connections have in common.
trait GracefulShutdown {
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<T, S> GracefulShutdown for http1::Connection<T, S>
where
    T: Read + Write + Unpin + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        http1::Connection::graceful_shutdown(self);
    }
}

impl<T, S> GracefulShutdown for http2::Connection<T, S, LocalExecutor>
where
    T: Read + Write + Unpin + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    LocalExecutor: hyper::rt::bounds::Http2ServerConnExec<S::Future, ResponseBody>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        http2::Connection::graceful_shutdown(self);
    }
}

impl ConnectionInfo {
    pub(crate) fn client(&self) -> &HeaderValue {
        &self.client
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn transport(&self) -> Transport<'_> {
        match &self.tls {
            None => Transport::Plain,
            Some(tls) => Transport::Tls { server_name: tls.server_name.as_deref() },
        }
    }

    pub(crate) fn begin_request(&self) {
        self.requests.set(self.requests.get() + 1);
        self.progress.begin_request();
    }

    pub(crate) fn end_request(&self, answered: bool) {
        if !answered {
            self.resets.set(self.resets.get() + 1);
        }
        self.progress.end_request();
        if self.is_abused() {
            self.progress.ask_to_end_at_once();
        } else if self.is_used_up() {
            self.progress.ask_to_end();
        }
    }

    /// Whether the connection ends with the request that it has. In HTTP/1 the response says so; HTTP/2 gets GOAWAY.
    pub(crate) fn is_used_up(&self) -> bool {
        self.max_requests.is_some_and(|max| self.requests.get() >= max)
    }

    fn is_abused(&self) -> bool {
        let requests = self.requests.get();
        requests >= RESETS_JUDGED_FROM && self.resets.get() * 2 > requests
    }
}

fn client_value(peer: SocketAddr) -> HeaderValue {
    // An address is always a header value.
    HeaderValue::from_str(&peer.ip().to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
