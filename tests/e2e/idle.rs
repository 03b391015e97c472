//! Connections without a request, and heads that do not come to their end: both are held to their time, whatever was
//! served on the connection before and however long that took.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::TcpStream;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::{RawConnection, RawRequest};
use turnout_tests::frames::{Frame, FrameConnection, StreamEnd, kind};

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
async fn a_head_that_takes_too_long_ends_the_connection() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--request-head-timeout-ms", MOMENT]).await?;
    for begin in ["G", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
        let mut connection = bed.open().await?;
        connection.send(begin.as_bytes()).await?;
        assert!(ends(&mut connection).await, "{begin:?}");
        // The same on a connection that has served a request.
        let mut connection = bed.open().await?;
        assert_eq!(connection.exchange(&RawRequest::get("/")).await?.status, 200);
        connection.send(begin.as_bytes()).await?;
        assert!(ends(&mut connection).await, "{begin:?} after a request");
    }
    assert_eq!(bed.received(), 3);
    serves(&bed).await
}

/// Whether the connection ends, perhaps after an error was answered.
async fn ends(connection: &mut RawConnection) -> bool {
    match connection.response("GET").await {
        Ok(response) => response.status == 408 && connection.is_closed_within(LONG).await,
        Err(error) => error.kind() != std::io::ErrorKind::TimedOut,
    }
}

#[tokio::test]
async fn half_an_http2_preface_is_held_to_the_time_for_a_head() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--request-head-timeout-ms", MOMENT]).await?;
    let mut connection = bed.open().await?;
    connection.send(b"PRI * HTTP/2.0\r\n").await?;
    assert!(ends(&mut connection).await);
    Ok(())
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
async fn an_idle_connection_is_closed_without_a_word() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--keep-alive-idle-timeout-ms", MOMENT]).await?;
    let mut fresh = bed.open().await?;
    assert!(fresh.is_closed_within(LONG).await, "a connection that has had no request");
    let mut used = bed.open().await?;
    for _ in 0..3 {
        assert_eq!(used.exchange(&RawRequest::get("/")).await?.status, 200);
    }
    assert!(used.is_closed_within(LONG).await, "a connection that has had some");
    // A request that takes longer than the idle time is not idle.
    let slow = RawRequest::get("/").header("x-echo", "delay=700ms");
    assert_eq!(bed.send(&slow).await?.status, 200);
    serves(&bed).await
}

#[tokio::test]
async fn an_idle_http2_connection_is_told_to_go() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--keep-alive-idle-timeout-ms", MOMENT]).await?;
    let mut connection = FrameConnection::open(TcpStream::connect(bed.address()).await?).await?;
    connection.send(&Frame::get(1, "/")).await?;
    assert_eq!(connection.end_of(1).await, StreamEnd::Answered);
    let goaway = connection.until(|frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(goaway.context("no GOAWAY")?.error_code(), Some(0));
    Ok(())
}
