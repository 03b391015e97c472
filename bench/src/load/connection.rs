//! One client connection: opening it, sending a request over it, and knowing whether its end is the server's good right.
//!
//! A request that provably never left comes back as [`Loss::NotSent`], so that the lane can send it on a new connection. Anything
//! else that goes wrong is a failure: nothing that may have reached the server is ever sent twice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use super::{Load, Protocol, Reuse, Tls};
use crate::failure::{Failure, FailureKind, was_left_out_politely};

/// How much of a body is kept for a hook or a label.
const KEPT_BODY_BYTES: usize = 1 << 20;

/// Why a request has no response head.
#[derive(Debug)]
pub(super) enum Loss {
    /// The server closed the connection before the request was sent, or said that it did not look at it.
    NotSent(Failure),
    /// The request may have been sent.
    Failed(Failure),
}

/// Where the lanes of one connection get it from: a lane of HTTP/1.1 has it alone, the lanes of HTTP/2 share it.
#[derive(Debug)]
pub(super) struct Slot {
    target: SocketAddr,
    protocol: Protocol,
    tls: Option<Tls>,
    reuse: Reuse,
    shared: Mutex<Option<Connection>>,
}

impl Slot {
    pub(super) fn new(load: &Load) -> Self {
        let Load { target, protocol, reuse, .. } = *load;
        Self { target, protocol, tls: load.tls.clone().map(Tls::apart), reuse, shared: Mutex::new(None) }
    }

    /// A usable connection; `opened` is called if that takes a new one, and told whether that resumes a TLS session. Lanes that
    /// share it wait for the one that opens it.
    pub(super) async fn connection(&self, opened: impl FnOnce(bool)) -> Result<Connection, Failure> {
        let mut shared = self.shared.lock().await;
        if let Some(connection) = shared.take_if(|connection| !connection.is_over()) {
            *shared = connection.share();
            return Ok(connection);
        }
        let (connection, resumed) = self.open().await?;
        opened(resumed);
        *shared = connection.share();
        Ok(connection)
    }

    async fn open(&self) -> Result<(Connection, bool), Failure> {
        let stream = TcpStream::connect(self.target).await.map_err(|error| Failure::connecting(&error))?;
        stream.set_nodelay(true).map_err(|error| Failure::connecting(&error))?;
        let Some(tls) = &self.tls else {
            return Ok((Connection::open(stream, self.protocol).await?, false));
        };
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        let stream = connector.connect(tls.name.clone(), stream).await.map_err(|error| Failure::agreeing(&error))?;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok((Connection::open(stream, self.protocol).await?, resumed))
    }

    /// Whether a connection takes another request after its first one.
    pub(super) fn keeps(&self) -> bool {
        self.reuse == Reuse::KeepAlive
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    life: Arc<Life>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// What the lanes that share a connection know about it.
#[derive(Debug, Default)]
struct Life {
    /// A whole response has arrived on it: from then on its end is no loss to a request that was not sent.
    answered: AtomicBool,
    /// The server takes no more requests on it.
    over: AtomicBool,
}

impl Connection {
    async fn open(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        protocol: Protocol,
    ) -> Result<Self, Failure> {
        let io = TokioIo::new(stream);
        // The connection's own error is dropped: whichever request it hurts reports it.
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) =
                    http1::handshake(io).await.map_err(|error| Failure::awaiting_head(&error))?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let handshake = http2::handshake(TokioExecutor::new(), io).await;
                let (sender, connection) = handshake.map_err(|error| Failure::awaiting_head(&error))?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Ok(Self { sender, life: Arc::default() })
    }

    fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Self { sender: Sender::Http2(sender.clone()), life: Arc::clone(&self.life) }),
        }
    }

    fn is_over(&self) -> bool {
        let closed = match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        };
        closed || self.life.over.load(Ordering::Relaxed)
    }

    /// Whether a whole response has arrived on this connection.
    pub(super) fn has_answered(&self) -> bool {
        self.life.answered.load(Ordering::Relaxed)
    }

    pub(super) fn set_answered(&self) {
        self.life.answered.store(true, Ordering::Relaxed);
    }

    /// Lets no lane use this connection again.
    pub(super) fn set_over(&self) {
        self.life.over.store(true, Ordering::Relaxed);
    }

    /// Waits until the connection takes a request.
    pub(super) async fn ready(&mut self) -> Result<(), Loss> {
        let ready = match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await,
            Sender::Http2(sender) => sender.ready().await,
        };
        let not_sent = |error: hyper::Error| Loss::NotSent(Failure::awaiting_head(&error));
        ready.map_err(not_sent)?;
        if self.life.over.load(Ordering::Relaxed) {
            return Err(Loss::NotSent(Failure::new(
                FailureKind::Closed,
                "the server takes no more requests on this connection",
            )));
        }
        Ok(())
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Loss> {
        let sent = match &mut self.sender {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(loss)
    }
}

fn loss(mut error: TrySendError<Request<Full<Bytes>>>) -> Loss {
    let returned = error.take_message().is_some();
    let failure = Failure::awaiting_head(error.error());
    if returned || was_left_out_politely(error.error()) { Loss::NotSent(failure) } else { Loss::Failed(failure) }
}

/// Reads a body to its end and keeps its first MiB if asked to.
pub(super) async fn read_body(mut body: Incoming, keep: bool) -> Result<Bytes, Failure> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::reading_body(&error))?;
        let (true, Ok(mut data)) = (keep, frame.into_data()) else {
            continue;
        };
        data.truncate(KEPT_BODY_BYTES.saturating_sub(first.len() + more.len()));
        if first.is_empty() {
            first = data;
        } else {
            more.extend_from_slice(&data);
        }
    }
    if more.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::from(&first[..]);
    whole.extend_from_slice(&more);
    Ok(whole.freeze())
}
