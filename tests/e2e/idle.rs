//! Connections without a request, and heads that do not come to their end: both are held to their time, whatever was
//! served on the connection before and however long that took.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::TcpStream;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::{RawConnection, RawRequest};
use turnout_tests::eventually;
use turnout_tests::frames::{CANCEL, Frame, FrameConnection, StreamEnd, kind};

const LONG: Duration = Duration::from_secs(10);

/// A moment, for time-outs that are to be met.
const MOMENT: &str = "250";

/// A gateway still serves after all that was done to it.
async fn serves(bed: &Bed) -> anyhow::Result<()> {
    let response = bed.send(&RawRequest::get("/after")).await?;
    ensure!(response.status == 200, "{response:?}");
    Ok(())
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_answered_408_and_ends_the_connection() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--request-head-timeout-ms", MOMENT]).await?;
    let unfinished = ["G", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "];
    // The same on a connection that has served a request, on which HTTP/2 cannot begin any more.
    let cases = unfinished.map(|begin| [(begin, 0), (begin, 1)]).concat();
    for (begin, requests) in cases.into_iter().chain([("PRI * HTTP/2.0\r\n", 0)]) {
        let mut connection = bed.open().await?;
        for _ in 0..requests {
            assert_eq!(connection.exchange(&RawRequest::get("/")).await?.status, 200);
        }
        connection.send(begin.as_bytes()).await?;
        let response = connection.response("GET").await.with_context(|| format!("{begin:?} after {requests}"))?;
        let told = [response.header("x-turnout-reason"), response.header("connection")];
        assert_eq!((response.status, told), (408, [Some("head_timeout"), Some("close")]), "{begin:?}");
        assert!(connection.is_closed_within(LONG).await, "{begin:?} after {requests}");
    }
    assert_eq!(bed.received(), 3);
    let metrics = bed.gateway.metrics().await?;
    let answered = [("response_code", "408"), ("response_flags", "DPE"), ("reporter", "source")];
    assert_eq!(metrics.sum("istio_requests_total", &answered), Some(7.0));
    serves(&bed).await
}

#[tokio::test]
async fn a_trickle_of_header_bytes_does_not_prolong_the_head() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--request-head-timeout-ms", MOMENT]).await?;
    let mut connection = bed.open().await?;
    connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await?;
    // Until the connection is gone; each byte comes well within the time-out.
    let trickle = async {
        while connection.send(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, trickle).await.context("the connection stays open")?;
    assert_eq!(bed.received(), 0);
    Ok(())
}

#[tokio::test]
async fn a_connection_that_has_had_no_request_is_closed_without_a_word() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--keep-alive-idle-timeout-ms", MOMENT]).await?;
    assert!(bed.open().await?.is_closed_within(LONG).await);
    serves(&bed).await
}

/// A rule that gives up, and one that does not.
const PATIENCE: &str = "- match: [{uri: {prefix: /impatient}}]
  timeout: 700ms
  route: [{destination: {host: green}}]
- route: [{destination: {host: green}}]";

/// Requests that outlast the time for a head, the time for idling, or both.
#[derive(Clone, Copy, Debug)]
enum Slow {
    /// The backend takes so many milliseconds for its answer.
    Answer(u64),
    /// The client takes so many pauses for its body.
    Body(usize),
    /// The rule gives up.
    GivenUp,
}

const SLOW: [Slow; 6] =
    [Slow::Answer(0), Slow::Answer(300), Slow::Answer(500), Slow::Answer(900), Slow::Body(30), Slow::GivenUp];

/// Opens a connection and has such a request answered on it.
async fn after(bed: &Bed, slow: Slow) -> anyhow::Result<RawConnection> {
    let mut connection = bed.open().await?;
    let (request, expected) = match slow {
        Slow::Answer(ms) => (RawRequest::get("/").header("x-echo", &format!("delay={ms}ms")), 200),
        Slow::Body(pauses) => (RawRequest::post("/", &vec![b'x'; pauses]), 200),
        Slow::GivenUp => (RawRequest::get("/impatient").header("x-echo", "delay=600s"), 504),
    };
    let bytes = request.to_bytes();
    let trickled = if let Slow::Body(pauses) = slow { pauses } else { 0 };
    let (at_once, trickled) = bytes.split_at(bytes.len() - trickled);
    connection.send(at_once).await?;
    for byte in trickled {
        tokio::time::sleep(Duration::from_millis(30)).await;
        connection.send(&[*byte]).await?;
    }
    let response = connection.response("GET").await?;
    ensure!(response.status == expected, "{response:?}");
    Ok(connection)
}

#[tokio::test]
async fn a_connection_is_idle_after_its_last_request_however_long_that_took() -> anyhow::Result<()> {
    let arguments = ["--request-head-timeout-ms", MOMENT, "--keep-alive-idle-timeout-ms", "400"];
    let bed = Bed::start(PATIENCE, &arguments).await?;
    let mut open = Vec::new();
    for slow in SLOW {
        open.push((slow, after(&bed, slow).await?));
        let mut begun = after(&bed, slow).await?;
        begun.send(b"GET / HTTP/1.1\r\nHost: a\r\n").await?;
        let late = begun.response("GET").await.with_context(|| format!("{slow:?}: a head may take for ever"))?;
        ensure!(late.status == 408, "{slow:?}: {late:?}");
    }
    let mut problems = Vec::new();
    for (slow, mut connection) in open {
        if !connection.is_closed_within(LONG).await {
            problems.push(slow);
        }
    }
    ensure!(problems.is_empty(), "still open after {problems:?}");
    serves(&bed).await
}

#[tokio::test]
async fn an_http2_connection_is_idle_after_its_last_stream_whichever_way_that_ended() -> anyhow::Result<()> {
    let bed =
        Bed::start(PATIENCE, &["--request-head-timeout-ms", MOMENT, "--keep-alive-idle-timeout-ms", "400"]).await?;
    for reset in [false, true] {
        let mut connection = FrameConnection::open(TcpStream::connect(bed.address()).await?).await?;
        let delay = if reset { "delay=600s" } else { "delay=900ms" };
        let before = bed.received();
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("x-echo", delay)];
        connection.send(&Frame::headers(1, &fields, true)).await?;
        let arrived = || async { if bed.received() > before { Ok(()) } else { Err("it has not arrived") } };
        eventually(LONG, arrived).await?;
        if reset {
            connection.send(&Frame::reset(1, CANCEL)).await?;
        } else {
            assert_eq!(connection.end_of(1).await, StreamEnd::Answered);
        }
        let goaway = connection.until(|frame| frame.kind == kind::GOAWAY).await;
        assert_eq!(goaway.context("no GOAWAY")?.error_code(), Some(0), "reset: {reset}");
    }
    serves(&bed).await
}
