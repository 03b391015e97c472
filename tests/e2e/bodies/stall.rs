//! Clients that take nothing of their responses: the request is ended with its backend, counted as what it is, and the
//! connection goes the way of every idle one.

use anyhow::{Context as _, ensure};
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use tokio::net::TcpStream;
use turnout_tests::eventually;
use turnout_tests::frames::{Frame, FrameConnection, StreamEnd, kind};

use super::client::Http1;
use super::{DEADLINE, Fixture, MORE_THAN_BUFFERS};

/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, 6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;

const ARGUMENTS: [&str; 4] = ["--response-stall-timeout-ms", "250", "--keep-alive-idle-timeout-ms", "250"];

/// Waits until the only request is over at the backend and at the gateway, counted once with one of these flags.
async fn is_over(fixture: &Fixture, target: &str, flags: &[&str]) -> anyhow::Result<()> {
    fixture.wait_for(target, |seen| seen.ended.load(Ordering::Relaxed)).await;
    eventually(DEADLINE, || async {
        let metrics = fixture.gateway.metrics().await?;
        let sum = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels).unwrap_or_default();
        let counted: f64 = flags
            .iter()
            .map(|flags| sum("istio_requests_total", &[("response_flags", flags), ("reporter", "source")]))
            .sum();
        let all = sum("istio_requests_total", &[("reporter", "source")]);
        let in_flight = sum("turnout_requests_in_flight", &[]);
        let connections = sum("turnout_downstream_connections", &[]);
        let seen = [counted, all, in_flight, connections].map(|count| count.round().to_string());
        ensure!(seen == ["1", "1", "0", "0"], "counted so, counted, in flight, connections: {seen:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_http1_client_that_takes_nothing_of_its_response_is_cut_off_with_its_backend() -> anyhow::Result<()> {
    for framing in ["sized", "chunked"] {
        let fixture = Fixture::serving("", &ARGUMENTS).await;
        let target = format!("/download/{framing}/{MORE_THAN_BUFFERS}");
        let mut client = Http1::open(fixture.gateway.address(80)).await?;
        client.get(&target).await?;
        // The connection itself is cut, so that the client is gone is as true as that its stream was idle.
        is_over(&fixture, &target, &["SI", "DC"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_http2_client_that_grants_no_window_loses_its_stream_and_then_its_idle_connection() -> anyhow::Result<()> {
    for window in [None, Some(0)] {
        let fixture = Fixture::serving("", &ARGUMENTS).await;
        let target = format!("/download/chunked/{MORE_THAN_BUFFERS}");
        let mut client = FrameConnection::open(TcpStream::connect(fixture.gateway.address(80)).await?).await?;
        if let Some(size) = window {
            client.send(&Frame::setting_of(INITIAL_WINDOW_SIZE, size)).await?;
        }
        client.send(&Frame::get(1, &target)).await?;
        let end = client.end_of(1).await;
        ensure!(matches!(end, StreamEnd::Reset(_)), "window {window:?}: {end:?}");
        let goaway = client.until(|frame| frame.kind == kind::GOAWAY).await.context("no GOAWAY")?;
        ensure!(goaway.error_code() == Some(0), "{goaway:?}");
        // The last frames are pings, which this answers.
        let end = client.until(|_| false).await.map_err(|error| error.kind());
        ensure!(end != Err(ErrorKind::TimedOut), "the connection stays open");
        is_over(&fixture, &target, &["SI"]).await.with_context(|| format!("window {window:?}"))?;
    }
    Ok(())
}

/// Nobody asks for more of an answer of one piece, so nothing is missed while it waits for room.
#[tokio::test]
async fn an_http2_client_that_grants_no_window_for_a_small_answer_loses_its_idle_connection() -> anyhow::Result<()> {
    // The last is answered by the gateway itself.
    for (method, target) in [("GET", "/download/sized/5"), ("GET", "/download/chunked/5"), ("TRACE", "/")] {
        let fixture = Fixture::serving("", &ARGUMENTS).await;
        let mut client = FrameConnection::open(TcpStream::connect(fixture.gateway.address(80)).await?).await?;
        let fields = [(":method", method), (":scheme", "http"), (":path", target), (":authority", "a")];
        client.send_all(&[Frame::setting_of(INITIAL_WINDOW_SIZE, 0), Frame::headers(1, &fields, true)]).await?;
        let goaway = client.until(|frame| frame.kind == kind::GOAWAY).await.with_context(|| target.to_owned())?;
        ensure!(goaway.error_code() == Some(0), "{goaway:?}");
        let end = client.until(|_| false).await.map_err(|error| error.kind());
        ensure!(end != Err(ErrorKind::TimedOut), "{target}: the connection stays open");
        eventually(DEADLINE, || async {
            let metrics = fixture.gateway.metrics().await?;
            for name in ["turnout_requests_in_flight", "turnout_downstream_connections"] {
                let count = metrics.sum(name, &[]).unwrap_or_default();
                ensure!(count < 0.5, "{target}: {name} stays {count}");
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}
