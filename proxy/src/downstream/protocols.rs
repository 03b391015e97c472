//! HTTP/1 and HTTP/2 as hyper serves them, with the gateway behind them, and what the two have in common.

use super::streams::Streams;
use crate::client::{Client, OpenRequest};
use crate::gateway::{Gateway, ResponseBody};
use crate::settings::ConnectionSettings;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, Service};
use hyper_util::rt::TokioTimer;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// A connection that can be driven, and ended politely.
pub(super) trait Protocol: Future<Output = hyper::Result<()>> {
    fn graceful_shutdown(self: Pin<&mut Self>);
}

const HYPERS_MAX_HEADERS: usize = 100;

/// The gateway behind one connection. Each request's future is made when it comes and let go when it is answered: an idle
/// connection has none.
pub(super) struct Answering {
    gateway: Rc<Gateway>,
    client: Rc<Client>,
    /// Of HTTP/2.
    streams: Option<Streams>,
}

impl Service<Request<Incoming>> for Answering {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let stream = self.streams.as_ref().map(Streams::begin);
        Box::pin(self.gateway.handle(OpenRequest::begin(&self.client), stream, request))
    }
}

/// An HTTP/1 connection.
pub(super) type Http1<T> = http1::Connection<T, Answering>;

/// `limits` are the settings and the most header lines.
pub(super) fn http1<T: Read + Write + Unpin + 'static>(
    io: T,
    (settings, max_headers): (&ConnectionSettings, usize),
    gateway: &Rc<Gateway>,
    client: &Rc<Client>,
) -> Http1<T> {
    let service = Answering { gateway: Rc::clone(gateway), client: Rc::clone(client), streams: None };
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Kept by `Client::poll_end`, which has no timer for each request.
        .header_read_timeout(None)
        .max_header_size(settings.max_header_bytes)
        .max_buf_size(settings.max_header_bytes.max(64 << 10));
    if max_headers != HYPERS_MAX_HEADERS {
        // To be told a number, if only its own, costs hyper a loop for each head.
        builder.max_headers(max_headers);
    }
    builder.serve_connection(io, service)
}

/// An HTTP/2 connection.
pub(super) fn http2<T: Read + Write + Unpin + 'static>(
    io: T,
    settings: &ConnectionSettings,
    gateway: &Rc<Gateway>,
    client: &Rc<Client>,
) -> impl Protocol + use<T> {
    let streams = Streams::default();
    let service = Answering { gateway: Rc::clone(gateway), client: Rc::clone(client), streams: Some(streams.clone()) };
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_http2_streams)
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(1 << 20)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .max_frame_size(16 << 10)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder.serve_connection(io, service)
}

impl<T, S> Protocol for http1::Connection<T, S>
where
    T: Read + Write + Unpin + 'static,
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        http1::Connection::graceful_shutdown(self);
    }
}

impl<T, S> Protocol for http2::Connection<T, S, Streams>
where
    T: Read + Write + Unpin + 'static,
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    Streams: hyper::rt::bounds::Http2ServerConnExec<S::Future, ResponseBody>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        http2::Connection::graceful_shutdown(self);
    }
}
