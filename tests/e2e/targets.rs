//! Targets that hold what a URI should not, and clients send all the same: every graphic byte, in path and query.

use std::fmt::Write as _;

use anyhow::ensure;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::{RawConnection, RawRequest};

/// What the path of [`HOSTILE`] is normalised to, as in every path.
const NORMALISED: &str = "/%22%3C%3E%60";
const HOSTILE: &str = "/\"<>`?q=\"<>`";

/// A byte of a path as backends get it: the gateway's own normalisation encodes some.
fn in_path(byte: char) -> String {
    match byte {
        '\\' => "/".to_owned(),
        '"' | '<' | '>' | '^' | '`' | '{' | '|' | '}' => format!("%{:02X}", u32::from(byte)),
        byte => byte.to_string(),
    }
}

/// Targets with each graphic byte but `#`, which begins a fragment, and what backends get.
fn table() -> Vec<(String, String)> {
    let bytes = ('!'..='~').filter(|byte| *byte != '#');
    bytes
        .flat_map(|byte| {
            let path = (format!("/a{byte}b"), format!("/a{}b", in_path(byte)));
            let query = format!("/score?a={byte}b");
            [path, (query.clone(), query)]
        })
        .collect()
}

/// Sends the table over connections that `open` gives, and fails with every target that is not passed on.
async fn check_table(bed: &Bed, kept: bool, request: impl Fn(&str) -> RawRequest) -> anyhow::Result<()> {
    let mut problems = String::new();
    let mut connection = bed.open().await?;
    for (sent, expected) in table() {
        if !kept {
            connection = bed.open().await?;
        }
        bed.backends.clear();
        let status = connection.exchange(&request(&sent)).await?.status;
        if status >= 400 {
            connection = bed.open().await?;
        }
        let received: Vec<String> = bed.backends.received().into_iter().map(|received| received.target).collect();
        if (status, &received[..]) != (200, std::slice::from_ref(&expected)) {
            writeln!(problems, "{sent}: {status}, {received:?} and not {expected:?} at the backend")?;
        }
    }
    ensure!(problems.is_empty(), "{problems}");
    Ok(())
}

#[tokio::test]
async fn every_graphic_byte_reaches_the_backend() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    check_table(&bed, false, RawRequest::get).await?;
    check_table(&bed, true, RawRequest::get).await?;
    check_table(&bed, true, |target| RawRequest::post(target, b"\"<>`")).await?;
    check_table(&bed, true, |target| RawRequest::new("POST", target).header("Host", "a").chunked_body(b"\"<>`", &[]))
        .await
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
