//! HTTP/1 and HTTP/2 as hyper serves them, with the gateway behind them, and what the two have in common.

use super::streams::Streams;
use crate::client::{Client, OpenRequest};
use crate::gateway::{Gateway, ResponseBody};
use crate::settings::ConnectionSettings;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
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

type Answered = Result<Response<ResponseBody>, Infallible>;

/// An HTTP/1 connection; `limits` are the settings and the most header lines.
///
/// Each request's future is made when it comes and let go when it is answered: an idle connection has none.
pub(super) fn http1<T: Read + Write + Unpin + 'static>(
    io: T,
    (settings, max_headers): (&ConnectionSettings, usize),
    gateway: &Rc<Gateway>,
    client: &Rc<Client>,
) -> impl Protocol + use<T> {
    let (gateway, client) = (Rc::clone(gateway), Rc::clone(client));
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, open) = (Rc::clone(&gateway), OpenRequest::begin(&client));
        Box::pin(async move { Answered::Ok(gateway.handle(open, None, request).await) })
    });
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
    let begun = streams.clone();
    let (gateway, client) = (Rc::clone(gateway), Rc::clone(client));
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, open, stream) = (Rc::clone(&gateway), OpenRequest::begin(&client), begun.begin());
        Box::pin(async move { Answered::Ok(gateway.handle(open, Some(stream), request).await) })
    });
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
