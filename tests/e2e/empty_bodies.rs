//! Requests without a body: where a method may have one its length of nothing is said, since strict servers ask for it
//! (RFC 9110, 8.6), and none is invented where it has none.

use anyhow::ensure;
use tokio::net::TcpStream;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::frames::{END_STREAM, Frame, FrameConnection, StreamEnd, kind};

/// How a client may say that there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nothing {
    Unsaid,
    Length,
    Chunks,
    Http2Head,
    /// An empty piece of a body after the head.
    Http2Data,
}
use Nothing::{Chunks, Http2Data, Http2Head, Length, Unsaid};

async fn send(bed: &Bed, method: &str, nothing: Nothing) -> anyhow::Result<()> {
    let (framing, body) = match nothing {
        Unsaid => ("", ""),
        Length => ("Content-Length: 0\r\n", ""),
        Chunks => ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        Http2Head | Http2Data => return send_http2(bed, method, nothing == Http2Head).await,
    };
    let mut connection = bed.open().await?;
    connection.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{framing}\r\n{body}").as_bytes()).await?;
    let response = connection.response(method).await?;
    ensure!(response.status == 200 && response.complete, "{response:?}");
    Ok(())
}

async fn send_http2(bed: &Bed, method: &str, ends: bool) -> anyhow::Result<()> {
    let mut connection = FrameConnection::open(TcpStream::connect(bed.address()).await?).await?;
    let fields = [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    connection.send(&Frame::headers(1, &fields, ends)).await?;
    if !ends {
        connection.send(&Frame { flags: END_STREAM, ..Frame::new(kind::DATA, 1) }).await?;
    }
    let end = connection.end_of(1).await;
    ensure!(end == StreamEnd::Answered, "{end:?}");
    Ok(())
}

#[tokio::test]
async fn a_body_of_nothing_has_a_length_where_the_method_may_have_a_body() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut problems = Vec::new();
    for method in ["POST", "PUT", "PATCH", "OPTIONS", "PROPFIND", "QUERY", "GET", "HEAD", "DELETE"] {
        for nothing in [Unsaid, Length, Chunks, Http2Head, Http2Data] {
            bed.backends.clear();
            send(&bed, method, nothing).await?;
            let received = &bed.backends.received()[0];
            let length = received.headers.values("content-length");
            let coding = received.headers.values("transfer-encoding");
            let right = match (method, nothing) {
                ("GET" | "HEAD" | "DELETE", Unsaid | Http2Head) => length.is_empty(),
                // A client's own word may be passed on.
                ("GET" | "HEAD" | "DELETE", _) => length.is_empty() || length == ["0"],
                _ => length == ["0"],
            };
            if !right || !coding.is_empty() || !received.body.is_empty() {
                problems.push(format!("{method} {nothing:?}: {length:?}, {coding:?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}
