//! Request bodies of every size that matters, in every framing: a rule's time-outs hold for all of them, and none costs
//! its backend a connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;
use turnout_tests::eventually;

use super::client::{Http1, Http2, take_text};
use super::stream::PatternBody;
use super::{DEADLINE, Fixture, MIB, READ_AHEAD, in_time};

/// None, one byte, as much as the gateway reads ahead, one byte more, somewhat more, and many pieces.
const SIZES: [u64; 6] = [0, 1, READ_AHEAD as u64, READ_AHEAD as u64 + 1, 20_000, MIB];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunks,
    Http2Length,
    /// HTTP/2 without a content-length.
    Http2,
}

const FRAMINGS: [Framing; 4] = [Framing::Length, Framing::Chunks, Framing::Http2Length, Framing::Http2];

/// Sends a POST over a connection of its own; its answer's status and text.
async fn post(address: SocketAddr, target: &str, size: u64, framing: Framing) -> anyhow::Result<(u16, String)> {
    if matches!(framing, Framing::Http2Length | Framing::Http2) {
        let body = PatternBody::new(size);
        let body = if framing == Framing::Http2 { body.of_unknown_length() } else { body };
        let answer = Http2::open(address).await?.send("POST", target, body).await?;
        return Ok((answer.status().as_u16(), take_text(answer.into_body()).await?));
    }
    let mut http1 = Http1::open(address).await?;
    http1.upload(target, framing == Framing::Chunks, size, &AtomicU64::new(0)).await?;
    let head = http1.head().await?;
    let status = head.start_line.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok((status, http1.take_text(&head).await?))
}

#[tokio::test]
async fn a_time_out_holds_whatever_the_size_and_framing_of_the_body() {
    let rules = ["timeout: 0.5s", "retries: {attempts: 1, retryOn: connect-failure, perTryTimeout: 0.5s}"];
    let mut problems = Vec::new();
    for rule in rules {
        let fixture = Fixture::serving(rule, &[]).await;
        let mut asking = JoinSet::new();
        for (size, framing) in SIZES.into_iter().flat_map(|size| FRAMINGS.map(|framing| (size, framing))) {
            let address = fixture.gateway.address(80);
            asking.spawn(async move {
                let target = format!("/held/{framing:?}-{size}");
                let answer = tokio::time::timeout(DEADLINE, post(address, &target, size, framing)).await;
                (target, answer)
            });
        }
        // The backend has every body, and answers none of them.
        for (target, answer) in asking.join_all().await {
            let seen = fixture.wait_for(&target, |seen| seen.complete.load(Ordering::Relaxed)).await;
            if !matches!(answer, Ok(Ok((504, _)))) {
                problems.push(format!("{rule}: {target}: {answer:?}, {} bytes", seen.received.load(Ordering::Relaxed)));
            }
        }
        if problems.is_empty() {
            let over = eventually(DEADLINE, || async {
                let in_flight = fixture.gateway.metrics().await?.sum("turnout_requests_in_flight", &[]);
                anyhow::ensure!(in_flight == Some(0.0), "{in_flight:?} are in flight");
                anyhow::Ok(())
            });
            over.await.expect("what was given up is over");
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn requests_one_after_the_other_go_over_one_backend_connection_whatever_their_bodies() {
    let fixture = Fixture::start().await;
    let address = fixture.gateway.address(80);
    let mut problems = Vec::new();
    for (size, framing) in SIZES.into_iter().flat_map(|size| FRAMINGS.map(|framing| (size, framing))) {
        let target = format!("/upload?{framing:?}-{size}");
        for _ in 0..4 {
            let answer = in_time(post(address, &target, size, framing)).await.expect("there is an answer");
            assert_eq!(answer, (200, size.to_string()), "{target}");
        }
        let known = size <= READ_AHEAD as u64 || matches!(framing, Framing::Length | Framing::Http2Length);
        let length = known.then(|| size.to_string());
        let seen = fixture.backend.seen_at(&target);
        let connections: Vec<usize> = seen.iter().map(|seen| seen.connection).collect();
        let lengths: Vec<Option<&str>> = seen.iter().map(|seen| seen.headers.first("content-length")).collect();
        if connections != [1; 4] || lengths != [length.as_deref(); 4] {
            problems.push(format!("{target}: over the connections {connections:?}, with the lengths {lengths:?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
