//! Trailers in both directions and in both versions of HTTP: those that are announced are passed on behind the body, to a
//! client only if it says that it takes them, and none is ever merged into the head (RFC 9110, 6.5).

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use tokio::net::TcpStream;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::RawRequest;

/// Below and above what is read before a backend is asked.
const SIZES: [usize; 3] = [0, 5, 40_000];

/// How the backend answers: with the trailer `x-trailer: t1`, announced.
const ANSWER: &str = "trailers; header=Trailer:x-trailer; body=abc";

/// The value of the trailer `x-trailer` of the answer.
async fn exchange(bed: &Bed, http2: bool, size: usize, takes: bool) -> anyhow::Result<(u16, Option<String>)> {
    let body = vec![b'x'; size];
    if http2 {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-trailer", "up".parse()?);
        trailers.insert("x-forwarded-for", "6.6.6.6".parse()?);
        let body = Full::new(Bytes::from(body)).with_trailers(async { Some(Ok(trailers)) });
        // A mapped body has no known length, which would leave no room for trailers in HTTP/1.
        let body: BoxBody<Bytes, Infallible> = body.map_frame(|frame| frame).boxed();
        let request = http::Request::post("http://a/").header("x-echo", ANSWER).header("trailer", "x-trailer");
        let request = if takes { request.header("te", "trailers") } else { request };
        let io = TokioIo::new(TcpStream::connect(bed.address()).await?);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request.body(body)?).await?;
        let status = response.status().as_u16();
        let collected = response.into_body().collect().await?;
        driver.abort();
        let value = collected.trailers().and_then(|trailers| trailers.get("x-trailer"));
        return Ok((status, value.and_then(|value| value.to_str().ok()).map(str::to_owned)));
    }
    let trailers = [("x-trailer", "up"), ("x-forwarded-for", "6.6.6.6"), ("content-length", "3"), ("host", "evil")];
    let trailers = trailers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request =
        RawRequest::new("POST", "/").header("Host", "a").header("x-echo", ANSWER).header("Trailer", "x-trailer");
    let request = if takes { request.header("TE", "trailers").header("Connection", "TE") } else { request };
    let response = bed.send(&request.chunked_body(&body, &trailers)).await?;
    anyhow::ensure!(response.complete && response.text() == "abc", "{response:?}");
    Ok((response.status, response.trailers.first("x-trailer").map(str::to_owned)))
}

#[tokio::test]
async fn trailers_pass_in_both_directions() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut problems = Vec::new();
    for size in SIZES {
        for (http2, takes) in [(false, false), (false, true), (true, false), (true, true)] {
            bed.backends.clear();
            let seen = exchange(&bed, http2, size, takes).await;
            let received = &bed.backends.received()[0];
            let up = received.trailers.first("x-trailer");
            // Without the client's word they may go on or not; the body is whole in any case.
            let right = match &seen {
                Ok((200, down)) => !takes || down.as_deref() == Some("t1"),
                _ => false,
            };
            let forbidden = ["x-forwarded-for", "content-length", "host"]
                .iter()
                .any(|name| received.trailers.first(name).is_some());
            if !right || (takes && up != Some("up")) || forbidden || received.body.len() != size {
                problems
                    .push(format!("HTTP/{}, {size} bytes, te: {takes}: {seen:?}, {received:?}", 1 + u8::from(http2)));
            }
            assert_eq!(received.headers.values("x-forwarded-for"), ["127.0.0.1"], "trailers are no headers");
            assert_eq!(received.headers.values("host"), ["a"], "trailers are no headers");
            assert!(matches!(received.headers.values("te")[..], [] | ["trailers"]), "{received:?}");
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}
