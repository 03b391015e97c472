//! Clients that see every byte: HTTP/1.1 over any stream with nothing added or tidied up, and HTTP/2 with prior
//! knowledge.
//!
//! [`RawConnection`] is generic over its stream, so a TLS stream serves as well as TCP. What does not come within
//! [`ANSWER_DEADLINE`] is missing: a gateway that hangs fails a test and does not hang it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::wire::{Head, HeaderLines, WireReader, latin1, latin1_bytes, push_header};

/// How long the head of an answer may take, and then its body.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// How large the chunks of a [`RawRequest::chunked_body`] are.
const CHUNK_SIZE: usize = 1000;

/// An HTTP/1.1 request that is sent exactly as it is built: no header is added but those asked for.
#[derive(Clone, Debug)]
pub struct RawRequest {
    method: String,
    target: String,
    version: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl RawRequest {
    /// `METHOD TARGET HTTP/1.1` without any header, not even Host.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "1.1".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A GET with the Host `scoring.example.com`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target).header("Host", "scoring.example.com")
    }

    /// A POST with the Host `scoring.example.com` and a body of known length.
    pub fn post(target: &str, body: &[u8]) -> Self {
        Self::new("POST", target).header("Host", "scoring.example.com").sized_body(body)
    }

    /// Says `HTTP/version` in the request line.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends `body` after the head, as it is.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// Sends `body` with a Content-Length.
    #[must_use]
    pub fn sized_body(self, body: &[u8]) -> Self {
        self.header("Content-Length", &body.len().to_string()).body(body)
    }

    /// Sends `body` in chunks, with these trailers.
    #[must_use]
    pub fn chunked_body(self, body: &[u8], trailers: &[(String, String)]) -> Self {
        let mut chunked = Vec::new();
        for chunk in body.chunks(CHUNK_SIZE) {
            chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunked.extend_from_slice(chunk);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            chunked.extend_from_slice(&latin1_bytes(&format!("{name}: {value}\r\n")));
        }
        chunked.extend_from_slice(b"\r\n");
        self.header("Transfer-Encoding", "chunked").body(&chunked)
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Those before the body.
    fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/{}\r\n", self.method, self.target, self.version);
        for (name, value) in &self.headers {
            push_header(&mut head, name, value);
        }
        head.push_str("\r\n");
        latin1_bytes(&head)
    }
}

/// An answer as it came over the wire.
#[derive(Clone, Debug)]
pub struct RawResponse {
    /// `HTTP/1.1` as a rule.
    pub version: String,
    /// The final status.
    pub status: u16,
    /// Header lines of the final head.
    pub headers: HeaderLines,
    /// Statuses of the interim (1xx) heads before it.
    pub interim: Vec<u16>,
    /// What arrived of the body.
    pub body: Vec<u8>,
    /// The trailers of a chunked body.
    pub trailers: HeaderLines,
    /// Whether the body reached its announced end.
    pub complete: bool,
}

impl RawResponse {
    /// The value of the first header line with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.first(name)
    }

    /// The body, one character for each byte.
    pub fn text(&self) -> String {
        latin1(&self.body)
    }

    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {:?}", self.text()))
    }

    /// The echo backend that answered.
    pub fn backend(&self) -> Option<&str> {
        self.header(crate::echo::BACKEND_HEADER)
    }
}

/// One client connection for HTTP/1.1.
#[derive(Debug)]
pub struct RawConnection<S = TcpStream> {
    reader: WireReader<S>,
}

impl RawConnection<TcpStream> {
    /// Connects over TCP.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawConnection<S> {
    /// Speaks over a stream that stands already.
    pub fn over(stream: S) -> Self {
        Self { reader: WireReader::new(stream) }
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.stream_mut().write_all(bytes).await
    }

    /// Sends `request` and reads the answer to it. A request that cannot be sent whole may still have been answered (a
    /// gateway refuses a body before its end), so the answer is read in any case.
    pub async fn exchange(&mut self, request: &RawRequest) -> io::Result<RawResponse> {
        let sent = self.send(&request.to_bytes()).await;
        self.answer_to(request, sent).await
    }

    /// The same for a request with `Expect: 100-continue`: its body goes out when something has come, or nothing has in
    /// this time.
    pub async fn exchange_expecting(&mut self, request: &RawRequest, patience: Duration) -> io::Result<RawResponse> {
        self.send(&request.head()).await?;
        // Whatever it is, it is read with the answer.
        let _ = timeout(patience, self.reader.arrive()).await;
        let sent = self.send(&request.body).await;
        self.answer_to(request, sent).await
    }

    async fn answer_to(&mut self, request: &RawRequest, sent: io::Result<()>) -> io::Result<RawResponse> {
        let response = self.response(&request.method).await;
        if response.is_err() {
            sent?;
        }
        response
    }

    /// Reads one answer to a request with this method. An error means that no final head arrived; a body that breaks
    /// off, or does not end in time, is an answer that is not `complete`.
    pub async fn response(&mut self, method: &str) -> io::Result<RawResponse> {
        let head = timeout(ANSWER_DEADLINE, self.read_final_head());
        let mut response = head.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let body = timeout(ANSWER_DEADLINE, self.read_body(method, &mut response)).await;
        response.complete = matches!(body, Ok(Ok(())));
        Ok(response)
    }

    /// Takes `count` bytes of what follows, as in a tunnel.
    pub async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let bytes = timeout(ANSWER_DEADLINE, self.reader.exactly(count));
        bytes.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Whether the other side closes the connection within this time, without sending anything more.
    pub async fn is_closed_within(&mut self, deadline: Duration) -> bool {
        matches!(timeout(deadline, self.reader.some()).await, Ok(Err(_)))
    }

    async fn read_final_head(&mut self) -> io::Result<RawResponse> {
        let mut interim = Vec::new();
        loop {
            let Head { start_line, headers } = self.reader.head().await?;
            let (version, status) = status_line(&start_line)?;
            if status < 200 && status != 101 {
                interim.push(status);
                continue;
            }
            let (body, trailers) = (Vec::new(), HeaderLines::default());
            let complete = false;
            return Ok(RawResponse { version, status, headers, interim, body, trailers, complete });
        }
    }

    async fn read_body(&mut self, method: &str, response: &mut RawResponse) -> io::Result<()> {
        let tunnel = method == "CONNECT" && response.status < 300;
        if method == "HEAD" || matches!(response.status, 101 | 204 | 304) || tunnel {
            return Ok(());
        }
        if response.headers.has_token("transfer-encoding", "chunked") {
            response.trailers = self.reader.chunked_body(&mut response.body).await?;
            return Ok(());
        }
        let Some(length) = response.headers.first("content-length") else {
            return self.reader.body_until_close(&mut response.body).await;
        };
        let length = length.parse().map_err(|_| malformed(format!("content-length {length:?}")))?;
        self.reader.sized_body(length, &mut response.body).await
    }
}

/// Sends one request over a connection of its own.
pub async fn send(address: SocketAddr, request: &RawRequest) -> io::Result<RawResponse> {
    RawConnection::open(address).await?.exchange(request).await
}

/// A client connection for HTTP/2 with prior knowledge.
#[derive(Debug)]
pub struct Http2Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Http2Connection {
    /// Connects over TCP in clear text.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Self::over(TcpStream::connect(address).await?).await
    }

    /// Speaks over a stream that stands already.
    pub async fn over<S>(stream: S) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // How the connection ends is seen by the requests on it.
            let _ = connection.await;
        });
        Ok(Self { sender, _driver: driver })
    }

    /// Sends one request and reads its whole answer. The URI must be absolute. Several calls may run at the same time.
    pub async fn send(&self, request: http::Request<Bytes>) -> anyhow::Result<http::Response<Bytes>> {
        let mut sender = self.sender.clone();
        let answer = async {
            sender.ready().await?;
            let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
            anyhow::Ok(http::Response::from_parts(head, body.collect().await?.to_bytes()))
        };
        timeout(ANSWER_DEADLINE, answer).await.context("no answer in time")?
    }
}

fn status_line(line: &str) -> io::Result<(String, u16)> {
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| malformed(format!("status line {line:?}")))?;
    Ok((version.to_owned(), status))
}

fn malformed(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::{Http2Connection, RawConnection, RawRequest};
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use std::time::Duration;
    use tokio::io::AsyncWriteExt as _;
    use tokio::task::JoinSet;

    /// Lets the client read `answer`, after which the stream ends.
    async fn client_of(answer: &[u8]) -> RawConnection<tokio::io::DuplexStream> {
        let (client, mut server) = tokio::io::duplex(64 * 1024);
        server.write_all(answer).await.expect("the pipe has room");
        RawConnection::over(client)
    }

    #[test]
    fn a_request_is_sent_as_it_is_built() {
        let request = RawRequest::new("PUT", "/a/../b").header("x-B", " 1").header("X-b", "2");
        assert_eq!(request.to_bytes(), b"PUT /a/../b HTTP/1.1\r\nx-B:  1\r\nX-b: 2\r\n\r\n");
        let trailers = [("x-t".to_owned(), "1".to_owned())];
        let request = RawRequest::new("POST", "/").chunked_body(b"abc", &trailers);
        let expected = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n";
        assert_eq!(request.to_bytes(), expected);
    }

    #[tokio::test]
    async fn answers_are_read_by_every_kind_of_framing() {
        let table: &[(&str, &[u8], &[u8], bool)] = &[
            ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", b"abc", true),
            ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", b"abc", false),
            ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", b"", true),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"", true),
            ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc", true),
            ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"abc", false),
            ("GET", b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc", true),
        ];
        for (method, answer, body, complete) in table {
            let response = client_of(answer).await.response(method).await.expect("there is a head");
            let seen = (response.status < 300, response.body.as_slice(), response.complete);
            assert_eq!(seen, (true, *body, *complete), "{}", super::latin1(answer));
        }
    }

    #[tokio::test]
    async fn interim_heads_come_before_the_answer() {
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n";
        let mut client = client_of(answer).await;
        let response = client.response("POST").await.expect("there is a head");
        assert_eq!(
            (response.interim.as_slice(), response.status, response.header("X-A")),
            (&[100][..], 204, Some("1"))
        );
        assert!(client.is_closed_within(Duration::from_mins(1)).await);
    }

    #[tokio::test]
    async fn what_is_not_http_is_no_answer() {
        for answer in [&b""[..], b"HTTP/1.1", b"this is not HTTP\r\n\r\n"] {
            client_of(answer).await.response("GET").await.expect_err("there is no head");
        }
    }

    #[tokio::test]
    async fn an_http2_answer_comes_over_the_given_stream() {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let echo = service_fn(|request: http::Request<Incoming>| async {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await?.to_bytes();
                let answer = http::Response::builder().header("x-path", path).body(Full::new(body));
                Ok::<_, hyper::Error>(answer.expect("a path is a good header value"))
            });
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            http2.serve_connection(TokioIo::new(server), echo).await
        });
        let client = Http2Connection::over(client).await.expect("the server speaks HTTP/2");
        let request = http::Request::post("http://scoring.example.com/score").body("abc".into());
        let answer = client.send(request.expect("a good request")).await.expect("the server answers");
        assert_eq!((answer.headers()["x-path"].as_bytes(), &answer.body()[..]), (&b"/score"[..], &b"abc"[..]));
    }
}
