//! Clients that send and take bodies piece by piece, and stop in between when a test wants them to.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use turnout_tests::wire::{Head, WireReader};

use super::stream::{PatternBody, belongs_at, piece, read_body};

/// Small, so that what lies in the client's own buffers does not count.
const SOCKET_BUFFER: u32 = 64 * 1024;

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub(super) struct Http1 {
    reader: WireReader<TcpStream>,
}

impl Http1 {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { reader: WireReader::new(connect(address).await?) })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.stream_mut().write_all(bytes).await
    }

    /// Sends a POST of `length` bytes, counting those that the socket has taken.
    pub(super) async fn upload(
        &mut self,
        target: &str,
        chunked: bool,
        length: u64,
        sent: &AtomicU64,
    ) -> io::Result<()> {
        let framing =
            if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {length}") };
        self.send(format!("POST {target} HTTP/1.1\r\nHost: scoring.example.com\r\n{framing}\r\n\r\n").as_bytes())
            .await?;
        let mut offset = 0;
        while offset < length {
            let piece = piece(offset, length);
            if chunked {
                self.send(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
            }
            self.send(&piece).await?;
            if chunked {
                self.send(b"\r\n").await?;
            }
            offset += piece.len() as u64;
            sent.store(offset, Ordering::Relaxed);
        }
        if chunked {
            self.send(b"0\r\n\r\n").await?;
        }
        Ok(())
    }

    pub(super) async fn get(&mut self, target: &str) -> io::Result<()> {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: scoring.example.com\r\n\r\n").as_bytes()).await
    }

    /// The head of the next response.
    pub(super) async fn head(&mut self) -> io::Result<Head> {
        self.reader.head().await
    }

    /// Takes the body that belongs to a head, which must be the pattern, and returns its length.
    pub(super) async fn take_pattern(&mut self, head: &Head) -> io::Result<u64> {
        let received = AtomicU64::new(0);
        read_body(&mut self.reader, &head.headers, &received).await?;
        Ok(received.into_inner())
    }

    /// Takes a short text of known length.
    pub(super) async fn take_text(&mut self, head: &Head) -> io::Result<String> {
        let length = head.headers.first("content-length").and_then(|length| length.parse().ok());
        let mut body = Vec::new();
        self.reader.sized_body(length.unwrap_or(0), &mut body).await?;
        String::from_utf8(body).map_err(io::Error::other)
    }
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Http2 {
    sender: http2::SendRequest<PatternBody>,
    _driver: JoinSet<()>,
}

impl Http2 {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let io = TokioIo::new(connect(address).await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // How the connection ends is seen by the requests on it.
            let _ = connection.await;
        });
        Ok(Self { sender, _driver: driver })
    }

    /// Sends a request; its response's body is still to be taken.
    pub(super) async fn send(
        &mut self,
        method: &str,
        target: &str,
        body: PatternBody,
    ) -> anyhow::Result<http::Response<Incoming>> {
        let uri = format!("http://scoring.example.com{target}");
        let request = http::Request::builder().method(method).uri(uri).body(body)?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }
}

/// Takes a body, which must be the pattern, and returns its length.
pub(super) async fn take_pattern(mut body: Incoming) -> anyhow::Result<u64> {
    let mut offset = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            anyhow::ensure!(belongs_at(offset, &data), "bytes out of place after {offset}");
            offset += data.len() as u64;
        }
    }
    Ok(offset)
}

/// Takes a short text.
pub(super) async fn take_text(body: Incoming) -> anyhow::Result<String> {
    Ok(String::from_utf8(body.collect().await?.to_bytes().to_vec())?)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
