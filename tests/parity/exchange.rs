//! One request of a case and what came of it, over TCP or TLS, in HTTP/1 byte by byte or in HTTP/2.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use turnout_tests::certificates::{TLS12, TlsClient, agreed_version, hello_of_tls_1_1, shown_certificate};
use turnout_tests::client::{ANSWER_DEADLINE, RawConnection, RawRequest, RawResponse};
use turnout_tests::wire::{HeaderLines, latin1, latin1_bytes};

use crate::certificates;
use crate::family::{Send, Tls, TlsWith};

/// How long a connection that is to be closed may take for it.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a connection that is to stay open is watched.
const OPEN_FOR: Duration = Duration::from_millis(300);

/// How long a client that expects to be told to go on waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a client says through a tunnel, and is to hear again.
const PING: &[u8] = b"ping-ws";

/// What a client asks for that asks for nobody. It is not sent.
const NOBODY: &str = "nobody.example.com";

/// One request and what came of it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The answer, or why there is none.
    pub(crate) answer: Result<RawResponse, String>,
    pub(crate) elapsed: Duration,
    /// Whether the connection was closed after the answer, where that was asked.
    pub(crate) closed: Option<bool>,
    /// What came back through a tunnel.
    pub(crate) tunnel: Option<String>,
    /// Where there was one.
    pub(crate) handshake: Option<Handshake>,
    /// The code with which the stream was reset, over HTTP/2.
    pub(crate) stream_error: Option<String>,
}

/// What was agreed on with TLS.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    /// The name of the server's certificate.
    pub(crate) certificate: Option<&'static str>,
    /// As `TLSv1.3`.
    pub(crate) version: Option<String>,
}

/// TCP, or TLS over it.
trait Stream: AsyncRead + AsyncWrite + Unpin + std::marker::Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + std::marker::Send> Stream for T {}

/// A client's connection for HTTP/1.
pub(crate) struct Connection {
    wire: RawConnection<Box<dyn Stream>>,
    handshake: Option<Handshake>,
}

/// Sends one request, over `connection` if there is one, and returns the connection if it can be used again. `closed`
/// says whether the connection is to be closed after the answer, where that is of interest.
pub(crate) async fn exchange(
    address: SocketAddr,
    send: &Send,
    connection: Option<Connection>,
    closed: Option<bool>,
) -> (Exchange, Option<Connection>) {
    let start = Instant::now();
    match try_exchange(address, send, connection, closed, start).await {
        Ok(exchanged) => exchanged,
        Err(error) => {
            let (answer, elapsed) = (Err(format!("no answer: {error:#}")), start.elapsed());
            let stream_error = error.downcast_ref().and_then(reset_code);
            (Exchange { answer, elapsed, closed: None, tunnel: None, handshake: None, stream_error }, None)
        }
    }
}

async fn try_exchange(
    address: SocketAddr,
    send: &Send,
    connection: Option<Connection>,
    closed: Option<bool>,
    start: Instant,
) -> anyhow::Result<(Exchange, Option<Connection>)> {
    if send.http == "h2" {
        let (stream, handshake) = connect(address, send).await?;
        let (answer, stream_error) = timeout(ANSWER_DEADLINE, ask_http2(stream, send, handshake.is_some())).await??;
        let (answer, elapsed) = (Ok(answer), start.elapsed());
        return Ok((Exchange { answer, elapsed, closed: None, tunnel: None, handshake, stream_error }, None));
    }
    let mut connection = if let Some(connection) = connection {
        connection
    } else {
        let (stream, handshake) = connect(address, send).await?;
        Connection { wire: RawConnection::over(stream), handshake }
    };
    let Connection { wire, handshake } = &mut connection;
    let answer = ask(wire, send).await?;
    let elapsed = start.elapsed();
    let mut tunnel = None;
    if answer.status == 101 {
        wire.send(PING).await?;
        tunnel = Some(latin1(&wire.exactly(PING.len()).await?));
    }
    let closed = match closed {
        Some(true) => Some(wire.is_closed_within(CLOSE_DEADLINE).await),
        Some(false) => Some(wire.is_closed_within(OPEN_FOR).await),
        None => None,
    };
    if send.raw.is_some() && closed.is_none() {
        // Several requests have several answers, and the first was kept.
        while wire.response("GET").await.is_ok_and(|answer| answer.complete) {}
    }
    let usable = answer.complete && !answer.headers.has_token("connection", "close");
    let (answer, handshake) = (Ok(answer), handshake.clone());
    let exchange = Exchange { answer, elapsed, closed, tunnel, handshake, stream_error: None };
    Ok((exchange, usable.then_some(connection)))
}

/// Connects as the case says.
async fn connect(address: SocketAddr, send: &Send) -> anyhow::Result<(Box<dyn Stream>, Option<Handshake>)> {
    let Some(tls) = send.tls.as_ref().and_then(Tls::with) else {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        return Ok((Box::new(stream), None));
    };
    let name = send.sni.as_deref().unwrap_or(NOBODY);
    let mut client = TlsClient::trusting_anyone().alpn(if send.http == "h2" { &["h2", "http/1.1"] } else { &[] });
    if send.sni.is_none() {
        client = client.without_server_name();
    }
    let TlsWith { cert, max } = tls;
    if let Some(name) = cert {
        client = client.certificate(certificates::named(&name)?);
    }
    match max.as_deref() {
        None => {}
        Some("1.2") => client = client.version(&TLS12),
        Some("1.1") => return refused_tls_1_1(address, name).await,
        Some(other) => panic!("the runner does not speak TLS {other}"),
    }
    let stream = client.connect(address, name).await?;
    let certificate = shown_certificate(&stream).and_then(|shown| certificates::name_of(&shown));
    let handshake = Handshake { certificate, version: agreed_version(&stream) };
    Ok((Box::new(stream), Some(handshake)))
}

/// Sees a server refuse TLS 1.1, and panics where one agrees, since there is nobody here to go on.
async fn refused_tls_1_1<T>(address: SocketAddr, name: &str) -> anyhow::Result<T> {
    /// The type of a record with what a server says first.
    const HANDSHAKE: u8 = 22;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&hello_of_tls_1_1(name)).await?;
    let mut kind = [0];
    timeout(ANSWER_DEADLINE, stream.read_exact(&mut kind)).await??;
    assert_ne!(kind, [HANDSHAKE], "the server agrees to TLS 1.1");
    bail!("TLS 1.1 is refused");
}

/// Sends the request, and returns the first answer.
async fn ask(wire: &mut RawConnection<Box<dyn Stream>>, send: &Send) -> anyhow::Result<RawResponse> {
    let answer = match &send.raw {
        Some(raw) => {
            wire.send(&latin1_bytes(raw)).await?;
            wire.response(raw.split(' ').next().unwrap_or_default()).await
        }
        None if has_header(send, "expect") => wire.exchange_expecting(&raw_request(send), PATIENCE).await,
        None => wire.exchange(&raw_request(send)).await,
    };
    Ok(answer?)
}

/// Sends the request over HTTP/2. Beside the answer, why its stream was reset if it was.
async fn ask_http2(
    stream: Box<dyn Stream>,
    send: &Send,
    is_tls: bool,
) -> anyhow::Result<(RawResponse, Option<String>)> {
    let authority = send.authority.as_deref().context("HTTP/2 needs an authority")?;
    let scheme = if is_tls { "https" } else { "http" };
    let target = format!("{scheme}://{authority}{}", send.path);
    let mut request = http::Request::builder().method(send.method.as_str()).uri(target).version(http::Version::HTTP_2);
    for (name, value) in &send.headers {
        request = request.header(name, value);
    }
    let (sender, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    let (body, trailers) = (body_of(send), fields(&send.trailers)?);
    let ends = body.is_empty() && trailers.is_empty();
    let (answer, mut sending) = sender.ready().await?.send_request(request.body(())?, ends)?;
    if !ends {
        sending.send_data(Bytes::from(body), trailers.is_empty())?;
    }
    if !trailers.is_empty() {
        sending.send_trailers(trailers)?;
    }
    let (head, mut receiving) = answer.await?.into_parts();
    let mut answer = RawResponse {
        version: "HTTP/2".to_owned(),
        status: head.status.as_u16(),
        headers: lines(&head.headers),
        interim: Vec::new(),
        body: Vec::new(),
        trailers: HeaderLines::default(),
        complete: false,
    };
    let read = async {
        while let Some(data) = receiving.data().await {
            let data = data?;
            receiving.flow_control().release_capacity(data.len())?;
            answer.body.extend_from_slice(&data);
        }
        answer.trailers = receiving.trailers().await?.as_ref().map(lines).unwrap_or_default();
        Ok::<_, h2::Error>(())
    };
    let ended = read.await;
    answer.complete = ended.is_ok();
    driver.abort();
    Ok((answer, ended.err().as_ref().and_then(reset_code)))
}

fn reset_code(error: &h2::Error) -> Option<String> {
    error.reason().filter(|_| error.is_remote()).map(|reason| format!("{reason:?}"))
}

fn fields(lines: &[(String, String)]) -> anyhow::Result<http::HeaderMap> {
    let field = |(name, value): &(String, String)| Ok((http::HeaderName::try_from(name)?, value.parse()?));
    lines.iter().map(field).collect()
}

fn lines(headers: &http::HeaderMap) -> HeaderLines {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| (name.to_string(), latin1(value.as_bytes()));
    HeaderLines(headers.iter().map(line).collect())
}

fn raw_request(send: &Send) -> RawRequest {
    let mut request = RawRequest::new(&send.method, &send.path).version(&send.http);
    if let Some(authority) = &send.authority {
        request = request.header("Host", authority);
    }
    for (name, value) in &send.headers {
        request = request.header(name, value);
    }
    if send.websocket {
        let handshake = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        request = handshake.iter().fold(request, |request, (name, value)| request.header(name, value));
    }
    if send.close {
        request = request.header("Connection", "close");
    }
    let body = body_of(send);
    if send.chunked {
        return request.chunked_body(&body, &send.trailers);
    }
    let framed = has_header(send, "content-length") || has_header(send, "transfer-encoding");
    let sized = !body.is_empty() || matches!(send.method.as_str(), "POST" | "PUT" | "PATCH");
    if sized && !framed { request.sized_body(&body) } else { request.body(&body) }
}

fn body_of(send: &Send) -> Vec<u8> {
    match send.body_size {
        Some(size) => vec![b'x'; size],
        None => send.body.clone().into_bytes(),
    }
}

fn has_header(send: &Send, name: &str) -> bool {
    send.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::{Send, raw_request};
    use serde_json::{Value, json};
    use turnout_tests::wire::latin1;

    fn send(value: Value) -> Send {
        serde_json::from_value(value).expect("the fields are known")
    }

    #[test]
    fn requests_are_built_as_the_case_says() {
        let table = [
            (json!({}), "GET / HTTP/1.1\r\nHost: scoring.example.com\r\n\r\n"),
            (json!({"authority": null, "http": "1.0", "path": "/a"}), "GET /a HTTP/1.0\r\n\r\n"),
            (json!({"method": "POST", "authority": "a"}), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
            (
                json!({"authority": "a", "headers": [["X-A", "1"]], "body": "abc", "close": true}),
                "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
            ),
            (
                json!({"authority": "a", "headers": [["content-length", "9"]], "body_size": 2}),
                "GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 9\r\n\r\nxx",
            ),
            (
                json!({"authority": "a", "chunked": true, "body": "abc"}),
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ),
        ];
        for (fields, expected) in table {
            assert_eq!(latin1(&raw_request(&send(fields)).to_bytes()), expected);
        }
    }
}
