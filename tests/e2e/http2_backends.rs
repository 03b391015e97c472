//! Backends that are spoken to over HTTP/2: for whom it is so, what they are sent, that requests share connections, and
//! what becomes of a request whose stream or connection ends.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use turnout_tests::bed::{Bed, PORT, service, virtual_service};
use turnout_tests::client::{Http2Connection, RawConnection, RawRequest};
use turnout_tests::echo::{Backends, Received, Speaks};
use turnout_tests::eventually;
use turnout_tests::scripted::{Answer, ScriptedBackend};

const DEADLINE: Duration = Duration::from_secs(20);
const TO_MODEL: &str = "- route: [{destination: {host: model}}]";

/// Serves the backend green as `model`, on a port of this protocol, with this connection pool's `http` and these rules.
async fn start(protocol: &str, pool: &str, rules: &str) -> anyhow::Result<Bed> {
    let policy = if pool.is_empty() { String::new() } else { format!("connectionPool: {{{pool}}}") };
    start_at(Speaks::Either, protocol, &policy, rules).await
}

/// The same where the backend speaks this, with this traffic policy.
async fn start_at(speaks: Speaks, protocol: &str, policy: &str, rules: &str) -> anyhow::Result<Bed> {
    let mut backends = Backends::start().await?;
    let model = service("model", &[backends.listen("green", speaks).await?]);
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: model, namespace: default}}\n\
         spec: {{host: model, trafficPolicy: {{{policy}}}}}\n---\n"
    );
    let documents = model.replace("protocol: HTTP}", &format!("protocol: {protocol}}}"))
        + if policy.is_empty() { "" } else { &rule }
        + &virtual_service(rules);
    Bed::over(backends, &documents, &[PORT], &["--workers", "1"]).await
}

/// A POST to `/score?x=1` with a body of that size, and what the backend received.
async fn post(bed: &Bed, is_http2: bool, size: usize) -> anyhow::Result<Received> {
    bed.backends.clear();
    let status = if is_http2 {
        let request = http::Request::post("http://scoring.example.com/score?x=1").header("te", "trailers");
        Http2Connection::open(bed.address())
            .await?
            .send(request.body(vec![b'x'; size].into())?)
            .await?
            .status()
            .as_u16()
    } else {
        bed.send(&RawRequest::post("/score?x=1", &vec![b'x'; size])).await?.status
    };
    ensure!(status == 200, "status {status}");
    bed.backends.received().pop().context("nothing was received")
}

#[tokio::test]
async fn the_port_and_the_policy_say_who_is_spoken_to_over_http2() -> anyhow::Result<()> {
    // By protocol of the port and policy: the version for a client of HTTP/1.1 and of HTTP/2.
    let table = [
        ("HTTP", "", ["HTTP/1.1", "HTTP/1.1"]),
        ("HTTP", "http: {h2UpgradePolicy: DEFAULT}", ["HTTP/1.1", "HTTP/1.1"]),
        ("HTTP", "http: {h2UpgradePolicy: UPGRADE}", ["HTTP/2", "HTTP/2"]),
        ("HTTP", "http: {useClientProtocol: true}", ["HTTP/1.1", "HTTP/2"]),
        ("HTTP", "http: {useClientProtocol: true, h2UpgradePolicy: UPGRADE}", ["HTTP/1.1", "HTTP/2"]),
        ("HTTP2", "", ["HTTP/2", "HTTP/2"]),
        ("http2", "http: {h2UpgradePolicy: DO_NOT_UPGRADE}", ["HTTP/2", "HTTP/2"]),
        ("HTTP2", "http: {useClientProtocol: true}", ["HTTP/1.1", "HTTP/2"]),
        ("GRPC", "", ["HTTP/2", "HTTP/2"]),
        ("GRPC-WEB", "", ["HTTP/2", "HTTP/2"]),
    ];
    for (protocol, pool, versions) in table {
        let bed = start(protocol, pool, TO_MODEL).await?;
        for (is_http2, version) in [(false, versions[0]), (true, versions[1])] {
            for size in [0, 5, 40_000] {
                let received = post(&bed, is_http2, size).await?;
                let length = received.headers.first("content-length").map(str::to_owned);
                let seen = (received.version.as_str(), received.method.as_str(), received.target.as_str());
                ensure!(seen == (version, "POST", "/score?x=1"), "{protocol}, {pool}: {seen:?}");
                let body = (received.authority(), received.body.len(), length.as_deref());
                // Over HTTP/1.1 a client always says it; over HTTP/2 the gateway learns it with the last frame.
                let said = if is_http2 && size > 5 { length.as_deref() } else { Some(&*size.to_string()) };
                ensure!(body == (Some("scoring.example.com"), size, said), "{protocol}, {pool}: {body:?}");
                let trailers = is_http2.then_some("trailers");
                ensure!(received.headers.first("te") == trailers, "{:?}", received.headers);
                for name in ["connection", "transfer-encoding", "upgrade", "keep-alive"] {
                    let is_there = received.headers.first(name).is_some();
                    ensure!(!is_there || version == "HTTP/1.1", "{protocol}, {pool}: {name}");
                }
            }
        }
    }
    Ok(())
}

/// Sends so many at a time, each answered after a moment, and counts the connections that they came over.
async fn connections_of(bed: &Bed, count: usize) -> anyhow::Result<usize> {
    bed.backends.clear();
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let address = bed.address();
        clients.spawn(async move {
            turnout_tests::client::send(address, &RawRequest::get("/").header("x-echo", "delay=300ms")).await
        });
    }
    for answer in clients.join_all().await {
        let answer = answer?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    let received = bed.backends.received();
    ensure!(received.len() == count, "{} were received", received.len());
    Ok(received.iter().map(|received| received.connection).collect::<BTreeSet<_>>().len())
}

#[tokio::test]
async fn requests_share_connections_as_far_as_the_policy_lets_them() -> anyhow::Result<()> {
    let table = [
        // Those that come while the first connection is made wait for it.
        ("", 40, 1),
        ("http: {maxConcurrentStreams: 10}", 40, 4),
        ("tcp: {maxConnections: 1}, http: {maxConcurrentStreams: 10}", 40, 1),
        ("http: {maxRequestsPerConnection: 1}", 5, 5),
    ];
    for (pool, count, expected) in table {
        let bed = start("HTTP2", pool, TO_MODEL).await?;
        let seen = connections_of(&bed, count).await?;
        ensure!(seen == expected, "{pool}: {count} requests over {seen} connections");
    }
    Ok(())
}

/// Its answers are not to depend on what is tried again.
const ONE_TRY: &str = "- retries: {attempts: 0}\n  route: [{destination: {host: model}}]";

#[tokio::test]
async fn a_rush_waits_where_the_endpoint_takes_few_streams() -> anyhow::Result<()> {
    for (most, policy, expected) in [(1, "", 8), (3, "", 3), (3, "connectionPool: {tcp: {maxConnections: 1}}", 1)] {
        let bed = start_at(Speaks::Streams(most), "HTTP2", policy, ONE_TRY).await?;
        let seen = connections_of(&bed, 8).await.with_context(|| format!("{most} streams, {policy}"))?;
        ensure!(seen == expected, "{most} streams, {policy}: {seen} connections");
    }
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_takes_no_streams_fails_its_requests() -> anyhow::Result<()> {
    for rules in [ONE_TRY, TO_MODEL] {
        let bed = start_at(Speaks::Streams(0), "HTTP2", "", rules).await?;
        let answer = bed.send(&RawRequest::get("/")).await?;
        let reason = answer.header("x-turnout-reason");
        // Either it refuses the stream, or it was known by then that it would.
        let is_one = matches!(reason, Some("stream_reset" | "connect_failure"));
        ensure!(answer.status == 503 && is_one && bed.received() == 0, "{rules}: {answer:?}");
        let told = bed.gateway.status("/backends").await?.json()?;
        ensure!(told["backends"][0]["inFlight"] == serde_json::json!([]), "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_loses_what_belongs_to_its_connection_over_either_protocol() -> anyhow::Result<()> {
    for protocol in ["HTTP", "HTTP2"] {
        let bed = start(protocol, "", TO_MODEL).await?;
        let echo = "status=204; header=content-length:0; header=proxy-authenticate:Basic; header=x-own:1";
        let answer = bed.send(&RawRequest::get("/").header("x-echo", echo)).await?;
        let seen = ["content-length", "proxy-authenticate", "x-own"].map(|name| answer.header(name));
        ensure!((answer.status, seen) == (204, [None, None, Some("1")]), "{protocol}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_grpc_status_in_the_head_of_an_answer_counts_against_its_endpoint() -> anyhow::Result<()> {
    let policy = "outlierDetection: {consecutive5xxErrors: 2, baseEjectionTime: 60s, maxEjectionPercent: 100}";
    // What is asked, what is answered, and whether that ejects.
    let table = [
        ("application/grpc", "header=grpc-status:14; no-body", true),
        ("application/grpc", "header=grpc-status:13; no-body", true),
        ("application/grpc", "header=grpc-status:5; no-body", false),
        ("application/grpc", "header=grpc-status:0; status=503; no-body", false),
        ("application/grpc", "trailer=grpc-status:14", false),
        ("application/json", "header=grpc-status:14; no-body", false),
        ("application/json", "status=503", true),
    ];
    for (content_type, echo, ejects) in table {
        let bed = start_at(Speaks::Either, "GRPC", policy, ONE_TRY).await?;
        let request = RawRequest::post("/", b"x").header("content-type", content_type).header("x-echo", echo);
        for _ in 0..2 {
            bed.send(&request).await?;
        }
        let ejections = bed.count("turnout_outlier_ejections_total", &[]).await?;
        ensure!((ejections > 0.0) == ejects, "{content_type}, {echo}: {ejections}");
    }
    Ok(())
}

#[tokio::test]
async fn what_ends_a_stream_or_a_connection_is_told_and_retried_by_its_kind() -> anyhow::Result<()> {
    const RETRIES: &str =
        "- retries: {attempts: 2, retryOn: reset, backoff: 1ms}\n  route: [{destination: {host: model}}]";
    // The status, the reason and how often the backend was asked, by the default policy and by one that retries resets.
    let table = [
        ("rst=REFUSED_STREAM", (503, Some("stream_reset"), 3), (503, Some("stream_reset"), 3)),
        ("rst=REFUSED_STREAM; first=1", (200, None, 2), (200, None, 2)),
        ("rst=INTERNAL_ERROR", (503, Some("stream_reset"), 1), (503, Some("stream_reset"), 3)),
        ("rst=INTERNAL_ERROR; first=2", (503, Some("stream_reset"), 1), (200, None, 3)),
        ("goaway; first=1", (200, None, 2), (200, None, 2)),
        ("reset", (503, Some("upstream_reset"), 1), (503, Some("upstream_reset"), 3)),
        ("close", (503, Some("upstream_reset"), 1), (503, Some("upstream_reset"), 3)),
        ("close; first=1", (503, Some("upstream_reset"), 1), (200, None, 2)),
        ("status=500", (500, None, 1), (500, None, 1)),
        ("header-size=50000", (200, None, 1), (200, None, 1)),
    ];
    let beds = [start("HTTP2", "", TO_MODEL).await?, start("HTTP2", "", RETRIES).await?];
    for (echo, by_default, by_reset) in table {
        for (bed, expected) in beds.iter().zip([by_default, by_reset]) {
            for body in [0, 5, 200_000] {
                bed.backends.clear();
                let request = RawRequest::post("/", &vec![b'x'; body]).header("x-echo", echo);
                let answer = bed.send(&request).await.with_context(|| format!("{echo}, {body} bytes"))?;
                let seen = (answer.status, answer.header("x-turnout-reason"), bed.received());
                ensure!(seen == expected, "{echo}, {body} bytes: {seen:?} instead of {expected:?}");
            }
        }
    }
    // One that broke off in its middle breaks off at the client, whatever reason is given and whoever counts its bytes.
    for reason in ["INTERNAL_ERROR", "CANCEL", "NO_ERROR"] {
        for length in ["", "; no-length"] {
            let echo = format!("rst-mid-body={reason}; body=abc{length}");
            let broken = beds[0].send(&RawRequest::get("/").header("x-echo", &echo)).await.context(echo.clone())?;
            ensure!(broken.status == 200 && !broken.complete, "{echo}: {broken:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_ends_with_the_answer_that_came_before_it() -> anyhow::Result<()> {
    // So many at a time: an upload that went on would take the place of another's stream.
    let bed = start("HTTP2", "http: {maxConcurrentStreams: 2}, tcp: {maxConnections: 1}", TO_MODEL).await?;
    for round in 0..5 {
        let mut client = TcpStream::connect(bed.address()).await?;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\nx-echo: early; body=abc\r\n\r\nab";
        client.write_all(head.as_bytes()).await?;
        let answer = RawConnection::over(client).response("POST").await?;
        ensure!(answer.status == 200 && answer.text() == "abc", "{round}: {answer:?}");
    }
    let after = post(&bed, false, 5).await?;
    ensure!(after.connection == 1, "connection {}", after.connection);
    Ok(())
}

#[tokio::test]
async fn a_request_without_a_host_is_for_the_endpoint_and_hurts_nobody() -> anyhow::Result<()> {
    let bed = start("HTTP2", "http: {maxRequestsPerConnection: 100}", TO_MODEL).await?;
    let answer = bed.send(&RawRequest::new("GET", "/").version("1.0")).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let received = bed.backends.received().pop().context("nothing was received")?;
    ensure!(received.authority().is_some_and(|authority| authority.starts_with("127.0.0.1:")), "{received:?}");
    Ok(())
}

#[tokio::test]
async fn trailers_pass_in_both_directions_as_grpc_needs_it() -> anyhow::Result<()> {
    let bed = start("GRPC", "", TO_MODEL).await?;
    for (size, says_length) in [(0, false), (5, false), (200_000, false), (5, true), (200_000, true)] {
        bed.backends.clear();
        let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-up"), "u1".parse()?)]);
        let body = Full::new(Bytes::from(vec![b'x'; size])).with_trailers(async { Some(Ok(trailers)) });
        // A mapped body has no known length, which hyper would say: one of 0 would leave no room for trailers.
        let body: BoxBody<Bytes, Infallible> =
            if says_length { body.boxed() } else { body.map_frame(|frame| frame).boxed() };
        let request = http::Request::post("http://a/model.Scorer/Score").header("te", "trailers");
        let request = request.header("content-type", "application/grpc").header("x-echo", "trailers; body=abc");
        let io = TokioIo::new(TcpStream::connect(bed.address()).await?);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request.body(body)?).await?.into_body().collect().await?;
        driver.abort();
        ensure!(answer.trailers().and_then(|trailers| trailers.get("x-trailer")).is_some_and(|value| value == "t1"));
        ensure!(answer.to_bytes() == "abc");
        let received = bed.backends.received().pop().context("nothing was received")?;
        let seen = (received.body.len(), received.trailers.first("x-up"), received.headers.first("te"));
        ensure!(seen == (size, Some("u1"), Some("trailers")), "{seen:?}, with a length: {says_length}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream_and_nothing_else() -> anyhow::Result<()> {
    let bed = start("HTTP2", "", TO_MODEL).await?;
    // One leaves while it waits, one in the middle of its body.
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nx-echo: delay=60s\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\nab",
    ] {
        let mut client = TcpStream::connect(bed.address()).await?;
        client.write_all(request.as_bytes()).await?;
        if request.starts_with("GET") {
            eventually(DEADLINE, || async {
                ensure!(bed.received() == 1, "it has not come");
                Ok(())
            })
            .await?;
        }
    }
    eventually(DEADLINE, || async {
        let told = bed.gateway.status("/backends").await?.json()?;
        ensure!(told["backends"][0]["inFlight"] == serde_json::json!([]), "{told}");
        Ok(())
    })
    .await?;
    let received = post(&bed, false, 5).await?;
    ensure!(received.connection == 1, "connection {}", received.connection);
    Ok(())
}

#[tokio::test]
async fn a_backend_that_does_not_speak_it_is_told_from_one_that_is_gone() -> anyhow::Result<()> {
    let refusal = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let deaf = ScriptedBackend::start(|_| Answer { bytes: refusal.into(), closes: false }).await?;
    let backends = Backends::start_named(&[]).await?;
    let rules = "- match: [{uri: {prefix: /dead}}]\n  route: [{destination: {host: dead}}]\n\
                 - route: [{destination: {host: model}}]";
    let services = service("model", &[deaf.address()]) + &service("dead", &[backends.refusing_address()]);
    let documents = services.replace("protocol: HTTP}", "protocol: HTTP2}") + &virtual_service(rules);
    let bed = Bed::over(backends, &documents, &[PORT], &[]).await?;
    for (path, status, reason) in [("/", 502, "upstream_protocol"), ("/dead", 503, "connect_failure")] {
        let answer = bed.send(&RawRequest::get(path)).await?;
        let seen = (answer.status, answer.header("x-turnout-reason"));
        ensure!(seen == (status, Some(reason)), "{path}: {seen:?}");
    }
    Ok(())
}
