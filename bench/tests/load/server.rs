//! Servers for the tests of the load generator: a well-behaved one, and ones that do exactly what a script says.
//!
//! They run on the test's own runtime and end with it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use turnout_bench::Protocol;

/// Of [`secured`].
pub(crate) const NAME: &str = "server.example.com";

/// How many bytes the client of an HTTP/2 connection sends before its first frame (RFC 9113 3.4).
const CLIENT_PREFACE_BYTES: usize = 24;

const HEADERS: u8 = 1;

/// What a well-behaved server has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) addr: SocketAddr,
    pub(crate) connections: AtomicU64,
    /// The requests in the order of their arrival.
    pub(crate) requests: Mutex<Vec<SeenRequest>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SeenRequest {
    pub(crate) line: String,
    pub(crate) host: String,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn count(&self) -> u64 {
        self.requests.lock().expect("no test panics with it").len() as u64
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests.lock().expect("no test panics with it").iter().map(|request| request.line.clone()).collect()
    }
}

/// Answers every request with 200, its path as the body and in the header `x-path`. A connection is shut down gracefully after
/// every `answers_per_connection` responses.
pub(crate) async fn well_behaved(protocol: Protocol, answers_per_connection: u64) -> Arc<Seen> {
    serve(protocol, answers_per_connection, None).await
}

/// The same over TLS, as [`NAME`]; with it whom to trust.
pub(crate) async fn secured(protocol: Protocol, answers_per_connection: u64) -> (Arc<Seen>, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()]).expect("a name");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.expect("both have versions").with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    let config = config.with_single_cert(vec![cert.der().clone()], key).expect("they belong together");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("it is a certificate");
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.expect("both have versions").with_root_certificates(roots).with_no_client_auth();
    (serve(protocol, answers_per_connection, Some(TlsAcceptor::from(Arc::new(config)))).await, Arc::new(client))
}

async fn serve(protocol: Protocol, answers_per_connection: u64, tls: Option<TlsAcceptor>) -> Arc<Seen> {
    let listener = listen().await;
    let addr = listener.local_addr().expect("a bound listener has an address");
    let seen = Arc::new(Seen { addr, connections: AtomicU64::new(0), requests: Mutex::default() });
    let shared = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            shared.connections.fetch_add(1, Ordering::Relaxed);
            let (shared, tls) = (Arc::clone(&shared), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve_connection(stream, protocol, answers_per_connection, shared).await,
                    Some(tls) => {
                        let stream = tls.accept(stream).await.expect("the client trusts it");
                        serve_connection(stream, protocol, answers_per_connection, shared).await;
                    }
                }
            });
        }
    });
    seen
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    protocol: Protocol,
    answers: u64,
    seen: Arc<Seen>,
) {
    let enough = Arc::new(tokio::sync::Notify::new());
    let left = Arc::new(AtomicU64::new(answers));
    let notify = Arc::clone(&enough);
    let service = service_fn(move |request| {
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            notify.notify_one();
        }
        answer(request, Arc::clone(&seen))
    });
    let io = TokioIo::new(stream);
    // The two connection types have nothing in common but these method names.
    match protocol {
        Protocol::Http1 => {
            let mut connection =
                std::pin::pin!(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
            tokio::select! { _ = &mut connection => return, () = enough.notified() => {} }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
        Protocol::Http2 => {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let mut connection = std::pin::pin!(builder.serve_connection(io, service));
            tokio::select! { _ = &mut connection => return, () = enough.notified() => {} }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn answer(request: Request<Incoming>, seen: Arc<Seen>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let host = head.uri.authority().map(ToString::to_string);
    let host = host.unwrap_or_else(|| String::from_utf8_lossy(head.headers["host"].as_bytes()).into_owned());
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let request = SeenRequest { line: format!("{} {path} {:?}", head.method, head.version), host, body };
    seen.requests.lock().expect("no test panics with it").push(request);
    let value = http::HeaderValue::from_str(&path).expect("a path is a header value");
    let mut response = Response::new(Full::new(Bytes::from(path)));
    response.headers_mut().insert("x-path", value);
    Ok(response)
}

/// Hands every connection, with its number from 0, to `script`.
pub(crate) async fn scripted<F>(script: impl Fn(u64, TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = listen().await;
    let addr = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(number, stream));
            number += 1;
        }
    });
    addr
}

/// An address at which nobody listens.
pub(crate) async fn deserted() -> SocketAddr {
    listen().await.local_addr().expect("a bound listener has an address")
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports")
}

/// Reads an HTTP/1.1 request without a body; whether there was one.
pub(crate) async fn read_http1_request(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// Says as much as an HTTP/2 server must at first, and reads what the client must.
pub(crate) async fn open_http2(stream: &mut TcpStream) {
    let mut preface = [0; CLIENT_PREFACE_BYTES];
    let _ = stream.read_exact(&mut preface).await;
    write(stream, &frame(4, 0, 0, &[])).await;
}

/// Reads up to the end of an HTTP/2 request without a body; its stream.
pub(crate) async fn read_http2_request(stream: &mut TcpStream) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
        stream.read_exact(&mut payload).await.ok()?;
        if head[3] == HEADERS {
            return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        }
    }
}

/// An HTTP/2 frame with a payload below 256 bytes (RFC 9113 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("test frames are small");
    let mut frame = vec![0, 0, length, kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The head of a response with status 200, and with the end of the response if `is_end`.
pub(crate) fn ok_frame(stream: u32, is_end: bool) -> Vec<u8> {
    let flags = 4 | u8::from(is_end);
    frame(HEADERS, flags, stream, &[0x88])
}

pub(crate) fn data_frame(stream: u32, data: &[u8]) -> Vec<u8> {
    frame(0, 0, stream, data)
}

pub(crate) fn reset_frame(stream: u32, code: u32) -> Vec<u8> {
    frame(3, 0, stream, &code.to_be_bytes())
}

pub(crate) fn goaway_frame(last_stream: u32, code: u32) -> Vec<u8> {
    frame(7, 0, 0, &[last_stream.to_be_bytes(), code.to_be_bytes()].concat())
}

pub(crate) async fn write(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
}

/// Reads until the client closes the connection, so that nothing unread turns the server's close into a reset.
pub(crate) async fn read_to_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}
