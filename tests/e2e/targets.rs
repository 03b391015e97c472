//! Every graphic byte of ASCII in a path and in a query, over both versions of HTTP, as Envoy was observed to take it
//! with its paths normalised: a query passes unchanged, a path has its unsafe bytes escaped. Some of them are in no URI,
//! and clients send them all the same. Two things differ: what begins a fragment, which Envoy refuses, is cut off with it;
//! and the library resets streams of HTTP/2 whose target holds what no URI may.

use anyhow::{Context as _, ensure};
use tokio::net::TcpStream;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::{RawConnection, RawRequest};
use turnout_tests::frames::{Frame, FrameConnection, StreamEnd};

/// What the path of [`HOSTILE`] is normalised to, as in every path.
const NORMALISED: &str = "/%22%3C%3E%60";
const HOSTILE: &str = "/\"<>`?q=\"<>`";

/// What a path is forwarded as.
fn in_path(byte: char) -> String {
    match byte {
        '\\' => "/".to_owned(),
        '"' | '<' | '>' | '^' | '`' | '{' | '|' | '}' => format!("%{:02X}", u32::from(byte)),
        _ => byte.to_string(),
    }
}

/// The target that the backend was asked for, if it was.
async fn forwarded(bed: &Bed, http2: bool, target: &str) -> anyhow::Result<Option<String>> {
    bed.backends.clear();
    let expected = if http2 {
        let mut connection = FrameConnection::open(TcpStream::connect(bed.address()).await?).await?;
        connection.send(&Frame::get(1, target)).await?;
        !matches!(connection.end_of(1).await, StreamEnd::Answered) || bed.received() == 0
    } else {
        let response = bed.send(&RawRequest::get(target)).await.context("no answer")?;
        ensure!(matches!(response.status, 200 | 400), "{response:?}");
        response.status == 400
    };
    let mut received = bed.backends.received();
    ensure!(received.len() == usize::from(!expected), "{received:?}");
    Ok(received.pop().map(|received| received.target))
}

#[tokio::test]
async fn graphic_bytes_are_forwarded_as_envoy_forwards_them() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut problems = Vec::new();
    for byte in '!'..='~' {
        for (before, right, no_uri) in [("/a", in_path(byte), "<>`"), ("/a?q=", byte.to_string(), "\"<>")] {
            let target = format!("{before}{byte}b");
            for http2 in [false, true] {
                let right = match byte {
                    '#' => Some(before.to_owned()),
                    _ if http2 && no_uri.contains(byte) => None,
                    _ => Some(format!("{before}{right}b")),
                };
                let seen = forwarded(&bed, http2, &target).await.with_context(|| target.clone());
                if !matches!(&seen, Ok(seen) if *seen == right) {
                    problems.push(format!("{target}, HTTP/{}: {seen:?}, not {right:?}", if http2 { 2 } else { 1 }));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

#[tokio::test]
async fn graphic_bytes_pass_whatever_else_the_connection_carries() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let kinds: [fn(&str) -> RawRequest; 3] = [
        RawRequest::get,
        |target| RawRequest::post(target, b"\"<>`"),
        |target| RawRequest::new("POST", target).header("Host", "a").chunked_body(b"\"<>`", &[]),
    ];
    let mut problems = Vec::new();
    let mut connection = bed.open().await?;
    for byte in ('!'..='~').filter(|byte| *byte != '#') {
        for (before, right) in [("/a", in_path(byte)), ("/a?q=", byte.to_string())] {
            bed.backends.clear();
            for request in kinds {
                ensure!(connection.exchange(&request(&format!("{before}{byte}b"))).await?.status == 200, "{byte:?}");
            }
            let received: Vec<String> = bed.backends.received().into_iter().map(|received| received.target).collect();
            if received != vec![format!("{before}{right}b"); 3] {
                problems.push(format!("{before}{byte}b: {received:?}"));
            }
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte_and_with_a_whole_target() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut connection = bed.open().await?;
    for (target, expected) in [
        (HOSTILE.to_owned(), format!("{NORMALISED}?q=\"<>`")),
        (format!("http://a.example.com{HOSTILE}"), format!("{NORMALISED}?q=\"<>`")),
        (format!("{HOSTILE}#\"<>`"), format!("{NORMALISED}?q=\"<>`")),
    ] {
        bed.backends.clear();
        for byte in format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Sent: GET {target} HTTP/1.1\r\n\r\n").as_bytes() {
            connection.send(&[*byte]).await?;
        }
        assert_eq!(connection.response("GET").await?.status, 200, "{target}");
        let received = &bed.backends.received()[0];
        let expected = (expected.as_str(), Some(format!("GET {target} HTTP/1.1")));
        assert_eq!((received.target.as_str(), received.headers.first("x-sent").map(str::to_owned)), expected);
    }
    Ok(())
}

#[tokio::test]
async fn nothing_but_a_target_is_taken_for_one() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut connection: RawConnection = bed.open().await?;
    // The second head begins behind the first and ends in a read of its own.
    connection.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nX-Sent: ").await?;
    assert_eq!(connection.response("GET").await?.json()?["path"], "/1");
    connection.send(b"a /\"<>` b\r\n\r\n").await?;
    assert_eq!(connection.response("GET").await?.json()?["path"], "/2");
    assert_eq!(bed.backends.received()[1].headers.first("x-sent"), Some("a /\"<>` b"));

    for refused in ["/a\u{7f}\"", "/a?\"\u{1}", "/a\"%00"] {
        assert_eq!(bed.send(&RawRequest::get(refused)).await?.status, 400, "{refused:?}");
    }
    Ok(())
}

#[tokio::test]
async fn every_try_carries_the_whole_target() -> anyhow::Result<()> {
    let retried = format!("{TO_GREEN}\n  retries: {{attempts: 2, retryOn: 5xx}}");
    let bed = Bed::start(&retried, &[]).await?;
    for failing in ["status=503; first=2", "close; first=1", "reset; first=2"] {
        bed.backends.clear();
        let response = bed.send(&RawRequest::get(HOSTILE).header("x-echo", failing)).await?;
        let targets: Vec<String> = bed.backends.received().into_iter().map(|received| received.target).collect();
        assert_eq!((response.status, targets.len() > 1), (200, true), "{failing}: {targets:?}");
        assert!(targets.iter().all(|target| *target == format!("{NORMALISED}?q=\"<>`")), "{failing}: {targets:?}");
    }
    Ok(())
}

#[tokio::test]
async fn rules_match_rewrite_and_redirect_the_whole_target() -> anyhow::Result<()> {
    let rules = "- match: [{uri: {prefix: /old}, queryParams: {q: {exact: '\"<'}}}]
  rewrite: {uri: '/<new>'}
  route: [{destination: {host: green}}]
- match: [{uri: {prefix: /moved}}]
  redirect: {authority: b.example.com}
- match: [{uri: {exact: '/%22'}}]
  directResponse: {status: 418}";
    let bed = Bed::start(rules, &["--envoy-headers"]).await?;
    assert_eq!(bed.send(&RawRequest::get("/old\">?q=\"<")).await?.status, 200);
    let received = &bed.backends.received()[0];
    assert_eq!(received.target, "/<new>%22%3E?q=\"<");
    assert_eq!(received.headers.first("x-envoy-original-path"), Some("/old%22%3E?q=\"<"));

    let moved = bed.send(&RawRequest::get("/moved<?q=\"<>`")).await?;
    assert_eq!((moved.status, moved.header("location")), (301, Some("http://b.example.com/moved%3C?q=\"<>`")));
    assert_eq!(bed.send(&RawRequest::get("/\"")).await?.status, 418);
    Ok(())
}
