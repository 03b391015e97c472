//! What an Internet-facing gateway is sent: malformed, hostile and odd requests, byte by byte.
//!
//! Each row says with which status a request is answered, how many requests reach a backend because of it, and whether
//! the connection ends. Where it stays open a marker request must get its own answer, so nothing was smuggled.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::client::{RawConnection, RawRequest, RawResponse};
use turnout_tests::echo::Received;
use turnout_tests::eventually;

const LONG: Duration = Duration::from_secs(10);

/// The path of the request that follows on a connection that stays open.
const MARKER: &str = "/marker";

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Open,
    Closed,
}
use After::{Closed, Open};

/// One request, and what is to come of it: status, requests that reach a backend, the connection's fate.
type Row<'a> = (&'a str, (u16, usize, After));

/// Checks every row and fails with all that are not as they should be.
async fn check(bed: &Bed, rows: &[Row<'_>]) -> anyhow::Result<()> {
    let mut problems = String::new();
    for (sent, expected) in rows {
        if let Err(problem) = check_row(bed, sent, *expected).await {
            writeln!(problems, "{}\n    {problem:#}", sent.escape_debug())?;
        }
    }
    ensure!(problems.is_empty(), "{problems}");
    Ok(())
}

async fn check_row(bed: &Bed, sent: &str, expected: (u16, usize, After)) -> anyhow::Result<()> {
    let (status, upstream, after) = expected;
    bed.backends.clear();
    let mut connection = bed.open().await?;
    // A gateway that refuses early may close before all is sent.
    let _ = connection.send(&bytes(sent)).await;
    let method = sent.split(' ').next().unwrap_or_default();
    let response = connection.response(method).await.context("no answer")?;
    ensure!(response.status == status, "answered {} {}, not {status}", response.status, response.text());
    match after {
        Closed => ensure!(connection.is_closed_within(LONG).await, "the connection is not closed"),
        Open => {
            let marker = connection.exchange(&RawRequest::get(MARKER)).await.context("no answer to the marker")?;
            ensure!(marker.status == 200, "the marker is answered {}", marker.status);
            ensure!(marker.json()?["path"] == MARKER, "the marker gets another request's answer: {}", marker.text());
        }
    }
    let received = bed.backends.received();
    let others: Vec<&Received> = received.iter().filter(|request| request.target != MARKER).collect();
    ensure!(others.len() == upstream, "{} requests reached a backend, not {upstream}: {others:?}", others.len());
    Ok(())
}

/// One byte for each character.
fn bytes(text: &str) -> Vec<u8> {
    turnout_tests::wire::latin1_bytes(text)
}

/// Sends bytes over a connection of their own, and returns the answer and what the only backend request was.
async fn forwarded(bed: &Bed, sent: &str) -> anyhow::Result<(RawResponse, Received)> {
    bed.backends.clear();
    let mut connection = bed.open().await?;
    connection.send(&bytes(sent)).await?;
    let response = connection.response(sent.split(' ').next().unwrap_or_default()).await?;
    let mut received = bed.backends.received();
    ensure!(received.len() == 1, "{received:?} {response:?}");
    Ok((response, received.remove(0)))
}

/// A POST to `/` with these header lines and this body.
fn post(headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}")
}

/// A GET of `/` with these header lines.
fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

async fn bed() -> anyhow::Result<Bed> {
    Bed::start(TO_GREEN, &[]).await
}

#[tokio::test]
async fn two_framings_of_one_body_reach_the_backend_once_and_end_the_connection() -> anyhow::Result<()> {
    let bed = bed().await?;
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let both = [
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", smuggled),
        post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", smuggled),
        post("Content-Length: 40\r\nTransfer-Encoding: chunked\r\n", smuggled),
        post("Transfer-Encoding: Chunked\r\nContent-Length: 0\r\n", smuggled),
    ];
    for sent in &both {
        check(&bed, &[(sent, (200, 1, Closed))]).await?;
        let received = &bed.backends.received()[0];
        assert_eq!((received.headers.values("transfer-encoding").len(), received.body.len()), (0, 0));
        assert_eq!(received.headers.first("content-length").unwrap_or("0"), "0");
    }
    Ok(())
}

#[tokio::test]
async fn only_chunked_is_a_transfer_coding() -> anyhow::Result<()> {
    let bed = bed().await?;
    let chunked = "3\r\nabc\r\n0\r\n\r\n";
    check(
        &bed,
        &[
            (&post("Transfer-Encoding: gzip, chunked\r\n", chunked), (501, 0, Open)),
            (&post("Transfer-Encoding: chunked, chunked\r\n", chunked), (501, 0, Open)),
            (&post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", chunked), (501, 0, Open)),
            (&post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunked), (501, 0, Open)),
            (&post("Transfer-Encoding: identity\r\n", chunked), (400, 0, Closed)),
            (&post("Transfer-Encoding: chunked, gzip\r\n", chunked), (400, 0, Closed)),
            (&post("Transfer-Encoding: xchunked\r\n", chunked), (400, 0, Closed)),
            (&post("Transfer-Encoding: \u{b}chunked\r\n", chunked), (400, 0, Closed)),
            (&post("Transfer-Encoding:\r\n", chunked), (400, 0, Closed)),
            (&post("Transfer-Encoding : chunked\r\n", chunked), (400, 0, Closed)),
            (&post("Transfer-Encoding: chunked\r\n", chunked), (200, 1, Open)),
            (&post("transfer-encoding: CHUNKED\r\n", chunked), (200, 1, Open)),
        ],
    )
    .await
}

#[tokio::test]
async fn a_length_is_digits_and_one_of_them() -> anyhow::Result<()> {
    let bed = bed().await?;
    check(
        &bed,
        &[
            (&post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), (400, 0, Closed)),
            (&post("Content-Length: 3, 4\r\n", "abcd"), (400, 0, Closed)),
            (&post("Content-Length: +3\r\n", "abc"), (400, 0, Closed)),
            (&post("Content-Length: -3\r\n", "abc"), (400, 0, Closed)),
            (&post("Content-Length: 0x3\r\n", "abc"), (400, 0, Closed)),
            (&post("Content-Length: 3 3\r\n", "abc"), (400, 0, Closed)),
            (&post("Content-Length: \r\n", ""), (400, 0, Closed)),
            (&post("Content-Length: 99999999999999999999999\r\n", "abc"), (400, 0, Closed)),
            (&post("Content-Length : 3\r\n", "abc"), (400, 0, Closed)),
            (&post("Content-Length: 3\r\n", "abc"), (200, 1, Open)),
        ],
    )
    .await?;
    let (_, received) = forwarded(&bed, &post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc")).await?;
    assert_eq!((received.headers.values("content-length"), received.body_text().as_str()), (vec!["3"], "abc"));
    Ok(())
}

#[tokio::test]
async fn broken_chunks_never_become_another_request() -> anyhow::Result<()> {
    let bed = bed().await?;
    let chunks = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    check(
        &bed,
        &[
            (&chunks("x\r\nabc\r\n0\r\n\r\n"), (400, 0, Closed)),
            (&chunks("-3\r\nabc\r\n0\r\n\r\n"), (400, 0, Closed)),
            (&chunks("3\r\nabcdef\r\n0\r\n\r\n"), (400, 0, Closed)),
            (&chunks(&format!("3\r\nabc{smuggled}\r\n0\r\n\r\n")), (400, 0, Closed)),
            (&chunks("3\nabc\n0\n\n"), (400, 0, Closed)),
            (&chunks("ffffffffffffffff1\r\nabc\r\n0\r\n\r\n"), (400, 0, Closed)),
            (&chunks("3;a=\nb\r\nabc\r\n0\r\n\r\n"), (400, 0, Closed)),
            (&chunks("3;ext=1\r\nabc\r\n0\r\n\r\n"), (200, 1, Open)),
            (&chunks("003\r\nabc\r\n000\r\n\r\n"), (200, 1, Open)),
        ],
    )
    .await
}

#[tokio::test]
async fn broken_chunks_of_a_streamed_body_poison_the_upstream_connection() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--request-buffer-bytes", "0", "--workers", "1"]).await?;
    let mut connection = bed.open().await?;
    connection.send(&bytes(&post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"))).await?;
    eventually(LONG, || async { if bed.received() == 1 { Ok(()) } else { Err("green has not got it") } }).await?;
    connection.send(b"broken\r\n").await?;
    assert_eq!(connection.response("POST").await?.status, 400);
    assert!(connection.is_closed_within(LONG).await);
    let received = bed.send(&RawRequest::get("/next")).await?.json()?;
    assert_eq!(received["path"], "/next");
    let [broken, next] = &bed.backends.received()[..] else { anyhow::bail!("not two requests") };
    assert!(!broken.body_complete && next.connection > broken.connection);
    Ok(())
}

#[tokio::test]
async fn a_request_needs_exactly_one_good_host() -> anyhow::Result<()> {
    let bed = bed().await?;
    let with = |host: &str| format!("GET / HTTP/1.1\r\n{host}\r\n");
    let mut rows: Vec<(String, (u16, usize, After))> = Vec::new();
    for bad in [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a@b\r\n",
        "Host: a/~\r\n",
        "Host: \r\n",
        "Host: a b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: http://a\r\n",
        "Host: a:b\r\n",
        "Host: a:1:2\r\n",
        "Host: [::1\r\n",
        "Host: \u{e9}\r\n",
        "Host: a\\b\r\n",
        "Host: :80\r\n",
    ] {
        rows.push((with(bad), (400, 0, Open)));
    }
    for good in
        ["Host: a\r\n", "Host: a.example.com:8080\r\n", "Host: [::1]:80\r\n", "Host: a_b\r\n", "Host: 127.0.0.1\r\n"]
    {
        rows.push((with(good), (200, 1, Open)));
    }
    let rows: Vec<Row<'_>> = rows.iter().map(|(sent, expected)| (sent.as_str(), *expected)).collect();
    check(&bed, &rows).await
}

#[tokio::test]
async fn the_authority_of_an_absolute_target_wins_over_host() -> anyhow::Result<()> {
    let bed = bed().await?;
    let sent = "GET http://b.example.com:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n";
    let (response, received) = forwarded(&bed, sent).await?;
    assert_eq!(response.status, 200);
    assert_eq!((received.target.as_str(), received.headers.values("host")), ("/x?y", vec!["b.example.com:81"]));
    check(
        &bed,
        &[
            ("GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n", (400, 0, Open)),
            ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", (400, 0, Closed)),
            ("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", (403, 0, Open)),
            ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", (400, 0, Open)),
            ("GET http://b/ HTTP/1.1\r\n\r\n", (400, 0, Open)),
        ],
    )
    .await
}

#[tokio::test]
async fn every_method_passes_but_two() -> anyhow::Result<()> {
    let bed = bed().await?;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH", "PURGE"] {
        let (response, received) = forwarded(&bed, &format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
        assert_eq!((response.status, received.method.as_str()), (200, method));
    }
    check(
        &bed,
        &[
            ("TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n", (405, 0, Open)),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", (405, 0, Open)),
            ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", (405, 0, Open)),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n", (400, 0, Open)),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", (404, 0, Open)),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", (404, 0, Open)),
        ],
    )
    .await
}

#[tokio::test]
async fn a_request_line_is_three_words_and_a_header_a_name_and_a_value() -> anyhow::Result<()> {
    let bed = bed().await?;
    check(
        &bed,
        &[
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", (400, 0, Closed)),
            ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", (400, 0, Closed)),
            ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", (400, 0, Closed)),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", (400, 0, Closed)),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", (400, 0, Closed)),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", (400, 0, Closed)),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", (400, 0, Closed)),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", (400, 0, Closed)),
            (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", (400, 0, Closed)),
            ("GET /\r\nHost: a\r\n\r\n", (400, 0, Closed)),
            // obs-fold, bare CR, NUL, white space and no colon.
            (&get("X-A: 1\r\n folded\r\n"), (400, 0, Closed)),
            (&get("X-A: 1\r\n\tfolded\r\n"), (400, 0, Closed)),
            (&get(" X-A: 1\r\n"), (400, 0, Closed)),
            (&get("X-A: 1\rX-B: 2\r\n"), (400, 0, Closed)),
            (&get("X-A\r: 1\r\n"), (400, 0, Closed)),
            (&get("X-A: 1\0\r\n"), (400, 0, Closed)),
            (&get("X A: 1\r\n"), (400, 0, Closed)),
            (&get("X-A : 1\r\n"), (400, 0, Closed)),
            (&get("X-A\r\n"), (400, 0, Closed)),
            (&get(": 1\r\n"), (400, 0, Closed)),
        ],
    )
    .await
}

#[tokio::test]
async fn bare_line_feeds_are_tidied_up() -> anyhow::Result<()> {
    let bed = bed().await?;
    for sent in ["GET / HTTP/1.1\nHost: a\nX-A: 1\n\n", "\r\nGET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n"] {
        let (response, received) = forwarded(&bed, sent).await?;
        assert_eq!((response.status, received.headers.values("x-a")), (200, vec!["1"]), "{sent:?}");
    }
    Ok(())
}

#[tokio::test]
async fn paths_are_forwarded_as_they_were_matched() -> anyhow::Result<()> {
    let bed = bed().await?;
    let table = [
        ("/a/../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/./b", "/a/b"),
        ("/../../x", "/x"),
        ("//x", "//x"),
        ("/a%2Fb", "/a%2Fb"),
        ("/%61", "/a"),
        ("/a\\b", "/a/b"),
        ("/a;x=1/b", "/a;x=1/b"),
        ("/a?../b", "/a?../b"),
        ("/a|b", "/a%7Cb"),
        ("/%zz", "/%zz"),
    ];
    for (sent, expected) in table {
        let (response, received) = forwarded(&bed, &format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
        assert_eq!((response.status, received.target.as_str()), (200, expected), "{sent}");
    }
    let refused = ["/a%00b", "/a\u{e9}", "/a?\u{e9}", "/a%2F..%2Fb", "/a%2f%2e%2e/b"];
    let mut problems = Vec::new();
    for target in refused {
        bed.backends.clear();
        let status = bed.send(&RawRequest::get(target)).await?.status;
        if (status, bed.received()) != (400, 0) {
            problems.push(format!("{target}: {status}, {} forwarded", bed.received()));
        }
    }
    ensure!(problems.is_empty(), "{problems:?}");
    Ok(())
}

#[tokio::test]
async fn headers_of_the_connection_stay_on_it() -> anyhow::Result<()> {
    let bed = bed().await?;
    let hop = "Connection: keep-alive, X-Secret, close-not\r\nX-Secret: s\r\nClose-Not: s\r\nKeep-Alive: timeout=5\r\n\
               TE: gzip\r\nTrailer: x-t\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n\
               Proxy: http://evil\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\nX-Turnout-Reason: r\r\n";
    let (response, received) = forwarded(&bed, &get(&format!("{hop}X-Kept: k\r\n"))).await?;
    assert_eq!(response.status, 200);
    for line in hop.lines().chain(["Transfer-Encoding: x"]) {
        let name = line.split(':').next().unwrap_or_default();
        assert!(received.headers.values(name).is_empty(), "{name} was forwarded: {:?}", received.headers);
    }
    assert_eq!(received.headers.first("x-kept"), Some("k"));

    for (answer, gone) in [
        ("Keep-Alive: timeout=5", "keep-alive"),
        ("Proxy-Connection: x", "proxy-connection"),
        ("Upgrade: x", "upgrade"),
    ] {
        let response = bed.send(&RawRequest::get("/").header("x-echo", &format!("header={answer}"))).await?;
        assert_eq!((response.status, response.header(gone)), (200, None), "{answer}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_cannot_make_the_gateway_drop_what_others_rely_on() -> anyhow::Result<()> {
    let bed = bed().await?;
    for name in [
        "Host",
        "Content-Length",
        "X-Forwarded-For",
        "x-forwarded-proto",
        "Authorization",
        "X-API-Version",
        "keep-alive, host",
    ] {
        check(&bed, &[(&get(&format!("Connection: {name}\r\n")), (400, 0, Open))]).await?;
    }
    let (_, received) = forwarded(&bed, &get("Connection: x-request-id, x-envoy-attempt-count\r\n")).await?;
    assert!(received.headers.first("x-request-id").is_some(), "what the gateway adds comes after what it takes off");
    Ok(())
}

#[tokio::test]
async fn names_with_an_underscore_are_dropped_unless_they_are_wanted() -> anyhow::Result<()> {
    let sent = "Content_Length: 5\r\nx_api_version: blue\r\nX_Forwarded_For: 1.2.3.4\r\nx-api-version: green\r\n";
    for (arguments, kept) in [(&[][..], 0), (&["--keep-underscore-headers"][..], 3)] {
        let bed = Bed::start(TO_GREEN, arguments).await?;
        let (_, received) = forwarded(&bed, &get(sent)).await?;
        let underscored = received.headers.0.iter().filter(|(name, _)| name.contains('_')).count();
        assert_eq!((underscored, received.headers.values("x-api-version")), (kept, vec!["green"]));
    }
    Ok(())
}

#[tokio::test]
async fn the_gateway_meets_100_continue_itself_and_nothing_else() -> anyhow::Result<()> {
    let bed = bed().await?;
    let mut connection = bed.open().await?;
    connection.send(&bytes(&post("Content-Length: 3\r\nExpect: 100-continue\r\n", ""))).await?;
    assert_eq!(connection.exactly(25).await?, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(bed.received(), 0, "a small body is waited for before a backend is asked");
    connection.send(b"abc").await?;
    let response = connection.response("POST").await?;
    let received = &bed.backends.received()[0];
    assert_eq!((response.status, received.headers.first("expect")), (200, None));
    assert_eq!(received.body_text(), "abc");
    check(
        &bed,
        &[
            (&post("Content-Length: 0\r\nExpect: 200-ok\r\n", ""), (417, 0, Open)),
            (&get("Expect: 100-continue, x\r\n"), (417, 0, Open)),
        ],
    )
    .await
}

#[tokio::test]
async fn a_refused_request_with_an_expectation_is_not_asked_for_its_body() -> anyhow::Result<()> {
    let bed = bed().await?;
    let mut connection = bed.open().await?;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    connection.send(&bytes(head)).await?;
    let response = connection.response("POST").await?;
    assert_eq!((response.status, response.interim.len()), (400, 0));
    assert!(connection.is_closed_within(LONG).await, "the body that may follow must not be read as a request");
    Ok(())
}

#[tokio::test]
async fn bodies_arrive_whole_however_they_are_framed() -> anyhow::Result<()> {
    let bed = bed().await?;
    let small = "abc".to_owned();
    let large = "x".repeat(100_000);
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        for body in [&small, &large] {
            for chunked in [false, true] {
                let request = RawRequest::new(method, "/").header("Host", "a");
                let request = if chunked {
                    request.chunked_body(body.as_bytes(), &[("x-trailer".to_owned(), "t".to_owned())])
                } else {
                    request.sized_body(body.as_bytes())
                };
                bed.backends.clear();
                let response = bed.send(&request).await?;
                let received = bed.backends.received();
                let context = format!("{method} of {} bytes, chunked: {chunked}", body.len());
                assert_eq!((response.status, received.len()), (200, 1), "{context}");
                assert!(received[0].body_complete && received[0].body == body.as_bytes(), "{context}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_to_head_has_a_length_and_no_body() -> anyhow::Result<()> {
    let bed = bed().await?;
    let mut connection = bed.open().await?;
    for echo in ["body=abcdef", "chunked; body=abcdef"] {
        let head = RawRequest::new("HEAD", "/").header("Host", "a").header("x-echo", echo);
        let response = connection.exchange(&head).await?;
        assert_eq!((response.status, response.body.len()), (200, 0));
        if echo == "body=abcdef" {
            assert_eq!(response.header("content-length"), Some("6"));
        }
    }
    let next = connection.exchange(&RawRequest::get("/next")).await?;
    assert_eq!(next.json()?["path"], "/next");
    Ok(())
}

#[tokio::test]
async fn answers_arrive_however_they_are_framed() -> anyhow::Result<()> {
    let bed = bed().await?;
    let body = "x".repeat(3000);
    for framing in ["", "chunked;", "trailers;", "until-close;", "close-after;"] {
        let mut connection = bed.open().await?;
        let request = RawRequest::get("/").header("x-echo", &format!("{framing} body={body}"));
        let response = connection.exchange(&request).await?;
        assert_eq!((response.status, response.complete, response.text() == body), (200, true, true), "{framing}");
        let next = connection.exchange(&RawRequest::get(MARKER)).await?;
        assert_eq!(next.json()?["path"], MARKER, "{framing}: the client's connection outlives the backend's");
    }
    for status in [204, 304] {
        let response = bed.send(&RawRequest::get("/").header("x-echo", &format!("status={status}"))).await?;
        assert_eq!((response.status, response.body.len()), (status, 0));
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to_be_incomplete() -> anyhow::Result<()> {
    let bed = bed().await?;
    for broken in ["close-mid-body", "reset-mid-body", "close-mid-body; chunked"] {
        let mut connection = bed.open().await?;
        let request = RawRequest::get("/").header("x-echo", broken);
        let response = connection.exchange(&request).await?;
        assert_eq!((response.status, response.complete), (200, false), "{broken}");
        assert!(connection.is_closed_within(LONG).await, "{broken}");
    }
    Ok(())
}

#[tokio::test]
async fn http_1_0_is_served() -> anyhow::Result<()> {
    let bed = bed().await?;
    let once = RawRequest::new("GET", "/").version("1.0");
    let mut connection = bed.open().await?;
    let response = connection.exchange(&once).await?;
    assert_eq!((response.status, response.complete), (200, true));
    assert!(connection.is_closed_within(LONG).await, "HTTP/1.0 closes unless it says otherwise");
    assert_eq!(bed.backends.received()[0].version, "HTTP/1.1");

    let mut connection = bed.open().await?;
    let kept = RawRequest::new("POST", "/kept").version("1.0").header("Host", "a").header("Connection", "keep-alive");
    for _ in 0..2 {
        let response = connection.exchange(&kept.clone().sized_body(b"abc")).await?;
        assert_eq!((response.status, response.json()?["body"].as_str()), (200, Some("abc")));
        assert!(response.headers.has_token("connection", "keep-alive"), "{response:?}");
    }
    // A client of HTTP/1.0 knows no chunks: an answer of unknown length ends with the connection.
    let mut connection = bed.open().await?;
    let response = connection.exchange(&kept.clone().header("x-echo", "chunked; body=abc")).await?;
    assert_eq!((response.header("transfer-encoding"), response.text().as_str()), (None, "abc"));
    assert!(connection.is_closed_within(LONG).await);
    Ok(())
}

#[tokio::test]
async fn http_1_0_has_no_transfer_codings() -> anyhow::Result<()> {
    let bed = bed().await?;
    let te = "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let both = "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    check(&bed, &[(te, (400, 0, Closed)), (both, (400, 0, Closed))]).await
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() -> anyhow::Result<()> {
    let bed = bed().await?;
    let mut connection = bed.open().await?;
    let mut sent = Vec::new();
    for number in 0..20 {
        // The first are the slowest.
        let delay = if number < 2 { "delay=50ms" } else { "" };
        let request = RawRequest::post(&format!("/{number}"), b"body").header("x-echo", delay);
        sent.extend_from_slice(&request.to_bytes());
    }
    connection.send(&sent).await?;
    for number in 0..20 {
        let response = connection.response("POST").await?;
        assert_eq!(response.json()?["path"], format!("/{number}"));
    }
    Ok(())
}

#[tokio::test]
async fn a_request_behind_a_refused_one_is_its_own() -> anyhow::Result<()> {
    let bed = bed().await?;
    let mut connection = bed.open().await?;
    let refused = "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc";
    connection.send(&bytes(&format!("{refused}GET {MARKER} HTTP/1.1\r\nHost: a\r\n\r\n"))).await?;
    assert_eq!(connection.response("POST").await?.status, 400);
    // The gateway may close; if it does not, the body was read and is no request.
    if let Ok(marker) = connection.response("GET").await {
        assert_eq!(marker.json()?["path"], MARKER);
    }
    assert!(bed.received() <= 1);
    Ok(())
}

#[tokio::test]
async fn an_early_answer_never_leaves_the_rest_of_a_body_in_the_way() -> anyhow::Result<()> {
    let bed = Bed::start("- directResponse: {status: 200}", &[]).await?;
    let mut connection: RawConnection = bed.open().await?;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1_000_000);
    connection.send(&bytes(&head)).await?;
    assert_eq!(connection.response("POST").await?.status, 200);
    // What follows belongs to the body, whatever it looks like.
    let _ = connection.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(connection.is_closed_within(LONG).await);
    Ok(())
}

#[tokio::test]
async fn an_error_of_the_gateway_names_the_reason_and_nothing_of_the_backend() -> anyhow::Result<()> {
    let bed = Bed::start("- route: [{destination: {host: dead}}]", &[]).await?;
    let response = bed.send(&RawRequest::get("/")).await?;
    let port = bed.backends.refusing_address().port().to_string();
    assert_eq!((response.status, response.header("x-turnout-reason")), (503, Some("connect_failure")));
    let body = response.json()?;
    let fields: Vec<&str> = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    assert_eq!(fields, ["error", "reason", "request_id"]);
    assert!(!response.text().contains(&port) && !response.text().contains("127.0.0.1"), "{}", response.text());
    Ok(())
}
