//! HTTP/2 on the client's side: by prior knowledge and over TLS, many streams, bodies, what belongs to HTTP/1 and must
//! not come, and clients that open streams only to reset them.

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::{Http2Connection, RawRequest};
use turnout_tests::frames::{CANCEL, Frame, FrameConnection, StreamEnd, kind};
use turnout_tests::{eventually, wire};

const LONG: Duration = Duration::from_secs(10);

/// GOAWAY's and RST_STREAM's error code for a client that asks for too much (RFC 9113, 7).
const ENHANCE_YOUR_CALM: u32 = 11;

async fn bed() -> anyhow::Result<Bed> {
    Bed::start(TO_GREEN, &[]).await
}

async fn frames(bed: &Bed) -> anyhow::Result<FrameConnection<TcpStream>> {
    Ok(FrameConnection::open(TcpStream::connect(bed.address()).await?).await?)
}

fn get(path: &str) -> http::request::Builder {
    Request::get(format!("http://scoring.example.com{path}"))
}

#[tokio::test]
async fn prior_knowledge_is_answered_in_http2_and_forwarded_in_http1() -> anyhow::Result<()> {
    let bed = bed().await?;
    let connection = Http2Connection::open(bed.address()).await?;
    let request = get("/score?x=1").header("x-api-version", "blue").header("te", "trailers").body(Bytes::new())?;
    let response = connection.send(request).await?;
    assert_eq!((response.status(), response.version()), (http::StatusCode::OK, http::Version::HTTP_2));
    for name in ["connection", "keep-alive", "transfer-encoding"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    let received = &bed.backends.received()[0];
    assert_eq!((received.version.as_str(), received.target.as_str()), ("HTTP/1.1", "/score?x=1"));
    assert_eq!(received.headers.values("host"), ["scoring.example.com"]);
    assert_eq!(
        (received.headers.first("x-api-version"), received.headers.first("te")),
        (Some("blue"), Some("trailers"))
    );
    Ok(())
}

#[tokio::test]
async fn streams_are_answered_each_with_its_own_answer() -> anyhow::Result<()> {
    let bed = bed().await?;
    let mut asking = JoinSet::new();
    for connection in 0..2 {
        let connection_to_share = std::sync::Arc::new(Http2Connection::open(bed.address()).await?);
        for stream in 0..80 {
            let connection_to_share = std::sync::Arc::clone(&connection_to_share);
            asking.spawn(async move {
                let path = format!("/{connection}/{stream}");
                let body = Bytes::from(path.clone().repeat(stream));
                let request = Request::post(format!("http://a{path}")).header("x-echo", "delay=20ms");
                let response = connection_to_share.send(request.body(body.clone())?).await?;
                let echo: serde_json::Value = serde_json::from_slice(response.body())?;
                ensure!(echo["path"] == path && echo["body"] == wire::latin1(&body), "{echo}");
                Ok(())
            });
        }
    }
    let answers: Vec<anyhow::Result<()>> = asking.join_all().await;
    answers.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    assert_eq!(bed.received(), 160);
    Ok(())
}

#[tokio::test]
async fn bodies_pass_in_both_directions() -> anyhow::Result<()> {
    let bed = bed().await?;
    let connection = Http2Connection::open(bed.address()).await?;
    for bytes in [0, 1, 4000, 200_000, 3_000_000] {
        bed.backends.clear();
        let body = Bytes::from(vec![b'x'; bytes]);
        let response = connection.send(Request::post("http://a/").body(body)?).await?;
        assert_eq!(response.status(), 200);
        let received = &bed.backends.received()[0];
        assert_eq!((received.body.len(), received.body_complete), (bytes, true));
    }
    for framing in ["", "chunked;", "trailers;", "until-close;"] {
        let body = "y".repeat(5000);
        let request = get("/").header("x-echo", format!("{framing} body={body}")).body(Bytes::new())?;
        let response = connection.send(request).await?;
        assert_eq!((response.status().as_u16(), response.body().as_ref() == body.as_bytes()), (200, true), "{framing}");
    }
    let head = Request::head("http://a/").body(Bytes::new())?;
    let response = connection.send(head).await?;
    assert_eq!((response.status().as_u16(), response.body().len()), (200, 0));
    Ok(())
}

#[tokio::test]
async fn an_answer_that_breaks_off_resets_its_stream_alone() -> anyhow::Result<()> {
    let bed = bed().await?;
    let connection = Http2Connection::open(bed.address()).await?;
    for broken in ["close-mid-body", "reset-mid-body"] {
        let request = get("/").header("x-echo", broken).body(Bytes::new())?;
        connection.send(request).await.expect_err("the body is not whole");
        assert_eq!(connection.send(get("/").body(Bytes::new())?).await?.status(), 200);
    }
    Ok(())
}

#[tokio::test]
async fn methods_and_hosts_are_checked_as_in_http1() -> anyhow::Result<()> {
    let bed = bed().await?;
    let connection = Http2Connection::open(bed.address()).await?;
    let table = [
        (Request::builder().method("TRACE").uri("http://a/"), 405),
        (Request::builder().method("get").uri("http://a/"), 400),
        (Request::builder().uri("http://a/").header("host", "b"), 200),
        (Request::builder().uri("http://a/%00"), 400),
        (Request::builder().uri("http://a/").header("expect", "x"), 417),
        (Request::builder().method("OPTIONS").uri("http://a/"), 200),
    ];
    for (index, (request, status)) in table.into_iter().enumerate() {
        bed.backends.clear();
        let response = connection.send(request.body(Bytes::new())?).await?;
        assert_eq!(response.status().as_u16(), status, "row {index}");
        for received in bed.backends.received() {
            assert_eq!(received.headers.values("host"), ["a"], "row {index}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn header_fields_of_http1_connections_are_malformed() -> anyhow::Result<()> {
    let bed = bed().await?;
    let table: &[&[(&str, &str)]] = &[
        &[("connection", "close")],
        &[("connection", "x-secret"), ("x-secret", "1")],
        &[("keep-alive", "timeout=5")],
        &[("proxy-connection", "keep-alive")],
        &[("transfer-encoding", "chunked")],
        &[("upgrade", "websocket")],
        &[("te", "gzip")],
        &[("X-Upper", "1")],
        &[("x-a", "1\r\nx-b: 2")],
        &[("x-a", "1\0")],
        &[(":path", "/second")],
        &[(":protocol", "websocket")],
        &[("x-a\r\nx-b", "1")],
        &[("content-length", "5")],
    ];
    for extra in table {
        bed.backends.clear();
        let mut connection = frames(&bed).await?;
        let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        let fields: Vec<(&str, &str)> = head.iter().chain(*extra).copied().collect();
        connection.send(&Frame::headers(1, &fields, true)).await?;
        let end = connection.end_of(1).await;
        assert!(matches!(end, StreamEnd::Reset(_) | StreamEnd::GoAway(_)), "{extra:?}: {end:?}");
        assert_eq!(bed.received(), 0, "{extra:?}");
    }
    let required = [":method", ":scheme", ":path"];
    for missing in required {
        let mut connection = frames(&bed).await?;
        let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        let fields: Vec<(&str, &str)> = head.into_iter().filter(|(name, _)| *name != missing).collect();
        connection.send(&Frame::headers(1, &fields, true)).await?;
        let end = connection.end_of(1).await;
        assert!(matches!(end, StreamEnd::Reset(_) | StreamEnd::GoAway(_)), "without {missing}: {end:?}");
    }
    // Extended CONNECT is not offered (RFC 8441, 3).
    let connect = [(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let mut connection = frames(&bed).await?;
    let websocket: Vec<(&str, &str)> = connect.into_iter().chain([(":protocol", "websocket")]).collect();
    connection.send(&Frame::headers(1, &websocket, false)).await?;
    assert!(matches!(connection.end_of(1).await, StreamEnd::Reset(_) | StreamEnd::GoAway(_)));
    assert_eq!(bed.received(), 0);
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_announced_is_never_forwarded_whole() -> anyhow::Result<()> {
    let bed = bed().await?;
    let head = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("content-length", "5")];
    for body in [&b"abc"[..], b"abcdefgh"] {
        let mut connection = frames(&bed).await?;
        let data = Frame { flags: 1, payload: body.to_vec(), ..Frame::new(kind::DATA, 1) };
        connection.send_all(&[Frame::headers(1, &head, false), data]).await?;
        let end = connection.end_of(1).await;
        assert!(!matches!(end, StreamEnd::Gone(_)), "{end:?}");
    }
    let whole = bed.backends.received().into_iter().filter(|request| request.body_complete).count();
    assert_eq!(whole, 0);
    Ok(())
}

#[tokio::test]
async fn streams_that_are_reset_as_soon_as_they_are_opened_end_the_connection() -> anyhow::Result<()> {
    let bed = bed().await?;
    let mut connection = frames(&bed).await?;
    let flood: Vec<Frame> =
        (0..2000).flat_map(|number| [Frame::get(2 * number + 1, "/"), Frame::reset(2 * number + 1, CANCEL)]).collect();
    // The connection may end while this is being sent.
    let _ = connection.send_all(&flood).await;
    match connection.until(|frame| frame.kind == kind::GOAWAY).await {
        Ok(goaway) => assert_eq!(goaway.error_code(), Some(ENHANCE_YOUR_CALM)),
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "the connection stays open"),
    }
    assert_eq!(bed.send(&RawRequest::get("/")).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn streams_that_are_reset_once_they_are_worked_on_end_the_connection() -> anyhow::Result<()> {
    let bed = bed().await?;
    let mut connection = frames(&bed).await?;
    // Each reset waits until its request has reached the backend, so it costs the most that a reset can cost.
    for number in 0..300_u32 {
        let stream = 2 * number + 1;
        let before = bed.received();
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("x-echo", "delay=2s")];
        if connection.send(&Frame::headers(stream, &fields, true)).await.is_err() {
            return serves_others(&bed).await;
        }
        let arrived = || async { if bed.received() > before { Ok(()) } else { Err("it has not arrived") } };
        if eventually(Duration::from_millis(500), arrived).await.is_err() {
            // Nothing is taken any more: the connection is on its way out.
            let end = connection.end_of(stream).await;
            ensure!(matches!(end, StreamEnd::GoAway(_) | StreamEnd::Gone(_)), "request {number}: {end:?}");
            return serves_others(&bed).await;
        }
        connection.send(&Frame::reset(stream, CANCEL)).await.ok();
    }
    anyhow::bail!("300 requests were taken from a client that reset each of them")
}

async fn serves_others(bed: &Bed) -> anyhow::Result<()> {
    ensure!(bed.send(&RawRequest::get("/")).await?.status == 200);
    eventually(LONG, || async {
        let in_flight = bed.count("turnout_requests_in_flight", &[]).await?;
        ensure!(in_flight < 0.5, "{in_flight} requests are still in flight");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_stream_that_is_reset_releases_its_backend() -> anyhow::Result<()> {
    let bed = bed().await?;
    let mut connection = frames(&bed).await?;
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("x-echo", "delay=600s")];
    connection.send(&Frame::headers(1, &fields, true)).await?;
    eventually(LONG, || async { if bed.received() == 1 { Ok(()) } else { Err("it has not arrived") } }).await?;
    connection.send(&Frame::reset(1, CANCEL)).await?;
    eventually(LONG, || async {
        let gone = bed.count("istio_requests_total", &[("response_flags", "DC"), ("reporter", "source")]).await?;
        let in_flight = bed.count("turnout_requests_in_flight", &[]).await?;
        ensure!(gone > 0.5 && in_flight < 0.5, "{gone} gone, {in_flight} in flight");
        Ok(())
    })
    .await?;
    connection.send(&Frame::get(3, "/")).await?;
    assert_eq!(connection.end_of(3).await, StreamEnd::Answered);
    Ok(())
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_the_connection_and_nothing_else() -> anyhow::Result<()> {
    let bed = bed().await?;
    let rubbish = [
        Frame { payload: vec![0; 5], ..Frame::new(kind::PING, 0) },
        Frame { payload: vec![0; 5], ..Frame::new(kind::SETTINGS, 0) },
        Frame { payload: vec![0; 20_000], ..Frame::new(kind::DATA, 1) },
        Frame { payload: vec![0xff; 50], flags: 4, ..Frame::new(kind::HEADERS, 1) },
        Frame::get(2, "/"),
        Frame::new(kind::DATA, 0),
    ];
    for frame in rubbish {
        let mut connection = frames(&bed).await?;
        connection.send(&frame).await?;
        match connection.until(|frame| frame.kind == kind::GOAWAY).await {
            Ok(goaway) => assert_ne!(goaway.error_code(), Some(0), "{frame:?}"),
            // What was not read of a frame may have reset the connection before its GOAWAY arrived.
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "kind {} is borne", frame.kind),
        }
    }
    assert_eq!(bed.received(), 0);
    assert_eq!(bed.send(&RawRequest::get("/")).await?.status, 200);
    Ok(())
}
