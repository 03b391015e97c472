//! `turnout-bench models`: green and blue, as fast as they go, on one thread. A model reads a request to its end before it answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

/// How an answer tells which model gave it.
pub(crate) const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
/// The length of an answer.
pub(crate) const SMALL_BYTES: usize = 200;
/// The length of one of `/score/large`, and of the request for it.
pub(crate) const LARGE_BYTES: usize = 1 << 20;

/// Serves two models that answer every request at once.
///
/// The path decides: an answer of 200 B, one of 1 MiB (/score/large), one after which the connection is closed (/score/closing),
/// or what a proxy has added to the request (/score/headers).
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where green listens.
    green: SocketAddr,
    /// Where blue listens.
    blue: SocketAddr,
}

/// The answers of one model.
struct Model {
    name: HeaderValue,
    small: Bytes,
    large: Bytes,
}

/// Runs until it is ended from outside.
pub(crate) async fn run(arguments: &Arguments) -> Result<bool> {
    let never = tokio::try_join!(serve("green", arguments.green), serve("blue", arguments.blue));
    bail!("a model has ended: {:#}", never.err().context("it fails or serves on")?)
}

async fn serve(name: &'static str, address: SocketAddr) -> Result<Infallible> {
    let model = Arc::new(Model {
        name: HeaderValue::from_static(name),
        small: Bytes::from(format!("{:<SMALL_BYTES$}", json!({ "model": name, "scores": [0.25, 0.75] }).to_string())),
        large: Bytes::from(vec![b'x'; LARGE_BYTES]),
    });
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot serve {address}"))?;
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        tokio::spawn(Arc::clone(&model).converse(stream));
    }
}

impl Model {
    /// Its end is the client's good right, and none of the model's business.
    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let requests = AtomicU64::new(0);
        let answer = service_fn(|request| self.answer(request, requests.fetch_add(1, Ordering::Relaxed) + 1));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(None);
        let _ = http.serve_connection(TokioIo::new(stream), answer).await;
    }

    async fn answer(&self, request: Request<Incoming>, requests: u64) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, mut body) = request.into_parts();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        let path = head.uri.path();
        let mut response = Response::new(Full::new(match path {
            "/score/large" => self.large.clone(),
            "/score/headers" => Bytes::from(seen(&head.headers, requests)),
            _ => self.small.clone(),
        }));
        let headers = response.headers_mut();
        headers.insert(SERVED_BY, self.name.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if path == "/score/closing" {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// What a proxy has added, and how many requests came over this connection so far.
fn seen(headers: &HeaderMap, requests: u64) -> String {
    let of = |name: HeaderName| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let [from, proto, id] =
        ["x-forwarded-for", "x-forwarded-proto", "x-request-id"].map(HeaderName::from_static).map(of);
    json!({ "for": from, "proto": proto, "id": id, "requests": requests }).to_string()
}
