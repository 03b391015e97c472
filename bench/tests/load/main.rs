//! The load generator against servers in the same process: every request is accounted for exactly, under every way that a server
//! can answer, hang up or misbehave.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod command;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use turnout_bench::{Ended, FailureKind, Label, Load, LoadError, Pace, Protocol, Report, Reuse, Tls, Total, Variant};

const PATH: HeaderName = HeaderName::from_static("x-path");

const NEVER: u64 = 1_000_000;

fn get(path: &'static str) -> Variant {
    Variant::get(path, PathAndQuery::from_static(path))
}

fn mix() -> Vec<Variant> {
    vec![get("/five").with_share(5), get("/three").with_share(3), get("/none").with_share(0), get("/two").with_share(2)]
}

fn load(target: SocketAddr, protocol: Protocol, requests: u64) -> Load {
    Load { protocol, connections: 1, ..Load::new(target, Total::Requests(requests), vec![get("/score")]) }
}

async fn report(load: Load) -> Report {
    load.start().unwrap().report().await
}

fn assert_clean(report: &Report, requests: u64) {
    assert_eq!((report.requests(), report.failed()), (requests, 0), "{:?}", report.first_failures);
    assert_eq!(report.ended, Some(Ended::Complete));
}

async fn check_counts(protocol: Protocol, streams: usize) {
    let server = server::well_behaved(protocol, NEVER).await;
    let mut load = Load { variants: mix(), connections: 4, streams, ..load(server.addr, protocol, 1000) };
    load.label = Label::Header(PATH);
    let report = report(load).await;

    assert_clean(&report, 1000);
    assert_eq!(server.count(), 1000);
    assert_eq!(report.connections_opened, server.connections.load(Ordering::Relaxed));
    assert!(report.connections_opened <= 4, "{}", report.connections_opened);
    for (path, count) in [("/five", 500), ("/three", 300), ("/none", 0), ("/two", 200)] {
        let variant = report.variant(path).unwrap();
        assert_eq!(
            (variant.requests, variant.answered_by(path), variant.latency.count()),
            (count, count, count),
            "{path}"
        );
    }
    assert_eq!(report.total().statuses, BTreeMap::from([(200, 1000)]));
}

#[tokio::test]
async fn every_http1_request_is_counted_once() {
    check_counts(Protocol::Http1, 1).await;
}

#[tokio::test]
async fn every_http2_request_is_counted_once() {
    check_counts(Protocol::Http2, 1).await;
}

#[tokio::test]
async fn http2_connections_carry_several_requests_at_once() {
    check_counts(Protocol::Http2, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_threads_share_one_account() {
    check_counts(Protocol::Http1, 1).await;
    check_counts(Protocol::Http2, 8).await;
}

#[tokio::test]
async fn the_order_of_the_mix_is_the_same_in_every_run() {
    let server = server::well_behaved(Protocol::Http1, NEVER).await;
    for _ in 0..2 {
        report(Load { variants: mix(), ..load(server.addr, Protocol::Http1, 10) }).await;
    }
    let lines = server.lines();
    let order: Vec<_> = lines.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    let round = ["/five", "/three", "/two", "/five", "/five", "/three", "/five", "/two", "/three", "/five"];
    assert_eq!(order, [round, round].concat());
}

#[tokio::test]
async fn a_request_is_sent_as_its_variant_says() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let server = server::well_behaved(protocol, NEVER).await;
        let mut named = Variant::post_json("named", PathAndQuery::from_static("/score?a=1"), "[1, 2]");
        named.authority = Some("models.example".parse().unwrap());
        named = named.with_header(http::header::HOST, HeaderValue::from_static("ignored.example"));
        report(Load { variants: vec![get("/"), named], ..load(server.addr, protocol, 2) }).await;

        let version = if protocol == Protocol::Http1 { "HTTP/1.1" } else { "HTTP/2.0" };
        let seen = server.requests.lock().unwrap().clone();
        assert_eq!(
            (seen[0].line.as_str(), seen[0].host.as_str()),
            (&*format!("GET / {version}"), &*server.addr.to_string())
        );
        assert_eq!(
            (seen[1].line.as_str(), seen[1].host.as_str()),
            (&*format!("POST /score {version}"), "models.example")
        );
        assert_eq!(&seen[1].body[..], b"[1, 2]");
    }
}

#[tokio::test]
async fn a_polite_close_is_no_failure() {
    for (protocol, streams) in [(Protocol::Http1, 1), (Protocol::Http2, 1), (Protocol::Http2, 4)] {
        let server = server::well_behaved(protocol, 5).await;
        let report = report(Load { connections: 2, streams, ..load(server.addr, protocol, 100) }).await;
        assert_clean(&report, 100);
        assert_eq!(server.count(), 100);
        assert!(report.connections_opened > 2, "{protocol:?}: {} connections", report.connections_opened);
    }
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_is_whole() {
    let target = server::scripted(async |_, mut stream: TcpStream| {
        server::read_http1_request(&mut stream).await;
        server::write(&mut stream, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nwhole").await;
    });
    let mut load = load(target.await, Protocol::Http1, 5);
    load.label = Label::Body;
    let report = report(load).await;
    assert_clean(&report, 5);
    assert_eq!(report.total().answered_by("whole"), 5);
    assert_eq!(report.connections_opened, 5);
}

#[tokio::test]
async fn a_request_that_a_goaway_leaves_out_is_sent_on_a_new_connection() {
    let target = server::scripted(async |_, mut stream: TcpStream| {
        server::open_http2(&mut stream).await;
        let first = server::read_http2_request(&mut stream).await.unwrap();
        server::write(&mut stream, &server::ok_frame(first, true)).await;
        if server::read_http2_request(&mut stream).await.is_some() {
            server::write(&mut stream, &server::goaway_frame(first, 0)).await;
        }
    });
    let report = report(load(target.await, Protocol::Http2, 4)).await;
    assert_clean(&report, 4);
    assert_eq!(report.connections_opened, 4);
}

/// Sends 3 requests one after the other, each of which must fail in the same way on a connection of its own.
async fn check_failure(protocol: Protocol, target: SocketAddr, expected: FailureKind) {
    let mut load = load(target, protocol, 3);
    if expected == FailureKind::Timeout {
        load.timeout = Duration::from_millis(100);
    }
    let report = report(load).await;
    let total = report.total();
    assert_eq!(total.failures, BTreeMap::from([(expected, 3)]), "{expected:?}: {:?}", report.first_failures);
    assert_eq!(total.requests, 3);
    let complete = if expected == FailureKind::BadStatus { 3 } else { 0 };
    assert_eq!((total.statuses.values().sum::<u64>(), total.latency.count()), (complete, complete), "{expected:?}");
    assert_eq!(report.first_failures.len(), 3);
}

#[tokio::test]
async fn a_server_that_is_not_there_refuses() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        check_failure(protocol, server::deserted().await, FailureKind::Refused).await;
    }
}

#[tokio::test]
async fn a_reset_is_told_from_a_close() {
    let target = server::scripted(async |_, mut stream: TcpStream| {
        server::read_http1_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    });
    check_failure(Protocol::Http1, target.await, FailureKind::Reset).await;
}

#[tokio::test]
async fn http1_failures_have_their_kind() {
    let check = async |answer: &'static str, expected| {
        let target = server::scripted(move |_, mut stream: TcpStream| async move {
            server::read_http1_request(&mut stream).await;
            server::write(&mut stream, answer.as_bytes()).await;
            if expected == FailureKind::Timeout {
                server::read_to_end(&mut stream).await;
            }
        });
        check_failure(Protocol::Http1, target.await, expected).await;
    };
    check("", FailureKind::Closed).await;
    check("HTTP/1.1 200 OK\r\ncontent-le", FailureKind::Closed).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", FailureKind::CutBody).await;
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n", FailureKind::CutBody).await;
    check("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", FailureKind::BadStatus).await;
    check("SSH-2.0-server\r\n\r\n", FailureKind::Protocol).await;
    check("", FailureKind::Timeout).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", FailureKind::Timeout).await;
}

#[tokio::test]
async fn http2_failures_have_their_kind() {
    let check = async |answer: fn(u32) -> Vec<u8>, expected| {
        let target = server::scripted(move |_, mut stream: TcpStream| async move {
            server::open_http2(&mut stream).await;
            while let Some(request) = server::read_http2_request(&mut stream).await {
                server::write(&mut stream, &answer(request)).await;
                if expected == FailureKind::Closed {
                    return;
                }
            }
        });
        check_failure(Protocol::Http2, target.await, expected).await;
    };
    check(|_| vec![], FailureKind::Closed).await;
    check(|_| server::goaway_frame(0, 0), FailureKind::Closed).await;
    check(|stream| server::goaway_frame(stream, 0), FailureKind::Closed).await;
    check(|_| server::goaway_frame(0, 11), FailureKind::Reset).await;
    check(|stream| server::reset_frame(stream, 2), FailureKind::Reset).await;
    check(|stream| server::reset_frame(stream, 7), FailureKind::Refused).await;
    check(
        |stream| {
            [server::ok_frame(stream, false), server::data_frame(stream, b"short"), server::reset_frame(stream, 2)]
                .concat()
        },
        FailureKind::CutBody,
    )
    .await;
    check(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), FailureKind::Protocol).await;
    check(|_| vec![], FailureKind::Timeout).await;
    check(|stream| server::ok_frame(stream, false), FailureKind::Timeout).await;
}

#[tokio::test]
async fn a_request_that_may_have_been_sent_is_never_sent_again() {
    let received = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&received);
    let target = server::scripted(move |_, mut stream: TcpStream| {
        let count = Arc::clone(&count);
        async move {
            while server::read_http1_request(&mut stream).await {
                if count.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                    return;
                }
                server::write(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    });
    let report = report(load(target.await, Protocol::Http1, 10)).await;
    assert_eq!(report.total().statuses, BTreeMap::from([(200, 5)]));
    assert_eq!(report.total().failures, BTreeMap::from([(FailureKind::Closed, 5)]));
    assert_eq!(received.load(Ordering::Relaxed), 10);
}

#[tokio::test]
async fn a_connection_that_is_closed_before_it_answered_anything_is_a_failure() {
    let target = server::scripted(async |_, stream: TcpStream| drop(stream));
    let report = report(load(target.await, Protocol::Http1, 3)).await;
    assert_eq!((report.requests(), report.failed(), report.connections_opened), (3, 3, 3));
}

#[tokio::test]
async fn an_expected_status_is_no_failure() {
    let target = server::scripted(async |_, mut stream: TcpStream| {
        while server::read_http1_request(&mut stream).await {
            server::write(&mut stream, b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let absent = Variant { expected: 503..=503, ..get("/absent") };
    let report = report(Load { variants: vec![absent], ..load(target.await, Protocol::Http1, 3) }).await;
    assert_clean(&report, 3);
    assert_eq!(report.total().statuses, BTreeMap::from([(503, 3)]));
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let server = server::well_behaved(protocol, NEVER).await;
        let mut load = Load { connections: 4, ..load(server.addr, protocol, 0) };
        load.total = Total::UntilStopped { max_requests: u64::MAX };
        let run = load.start().unwrap();
        let handle = run.handle();
        tokio::spawn(async move {
            handle.wait_for_requests(100).await;
            handle.stop();
        });
        let report = run.report().await;
        assert_eq!((report.ended, report.failed()), (Some(Ended::Stopped), 0));
        assert!(report.requests() >= 100);
        assert_eq!(report.requests(), server.count());
    }
}

#[tokio::test]
async fn an_open_loop_stops_while_it_waits() {
    let server = server::well_behaved(Protocol::Http1, NEVER).await;
    let mut load = load(server.addr, Protocol::Http1, 100);
    load.pace = Pace::OpenLoop { requests_per_second: NonZeroU32::MIN };
    let run = load.start().unwrap();
    run.handle().wait_for_requests(1).await;
    run.handle().stop();
    let report = run.report().await;
    assert_eq!((report.ended, report.failed()), (Some(Ended::Stopped), 0));
    assert_eq!(report.requests(), server.count());
}

#[tokio::test]
async fn the_limits_end_a_run_that_nobody_stops() {
    let server = server::well_behaved(Protocol::Http1, NEVER).await;
    let mut limited = load(server.addr, Protocol::Http1, 0);
    limited.total = Total::UntilStopped { max_requests: 50 };
    let counted = report(limited.clone()).await;
    assert_eq!((counted.ended, counted.requests(), server.count()), (Some(Ended::RequestLimit), 50, 50));

    limited.total = Total::UntilStopped { max_requests: u64::MAX };
    limited.max_duration = Duration::from_millis(20);
    let timed = report(limited).await;
    assert_eq!((timed.ended, timed.failed()), (Some(Ended::TimeLimit), 0));
    assert_eq!(timed.requests() + 50, server.count());
}

#[tokio::test]
async fn an_open_loop_counts_the_wait_for_a_free_connection() {
    const DELAY: Duration = Duration::from_millis(100);
    let slow_at_first = async |number, mut stream: TcpStream| {
        let mut delay = if number == 0 { DELAY } else { Duration::ZERO };
        while server::read_http1_request(&mut stream).await {
            tokio::time::sleep(std::mem::take(&mut delay)).await;
            server::write(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    };
    let mut load = load(server::scripted(slow_at_first).await, Protocol::Http1, 10);
    load.pace = Pace::OpenLoop { requests_per_second: NonZeroU32::new(1000).unwrap() };
    let report = report(load).await;
    assert_clean(&report, 10);
    // All 10 are due within 10 ms and none can be sent before 100 ms, however fast or slow the machine is.
    assert!(report.total().latency.quantile_us(0.0) >= 80_000, "{:?}", report.total().latency);
}

#[tokio::test]
async fn each_connection_resumes_the_session_of_the_one_before_in_its_place() {
    for (resumes, resumed) in [(true, 40), (false, 0)] {
        let (server, config) = server::secured(Protocol::Http1, NEVER).await;
        let tls = Tls { config, name: ServerName::try_from(server::NAME).unwrap(), resumes };
        // More places than one store has room for tickets of a server.
        let mut load = Load { connections: 20, reuse: Reuse::Never, ..load(server.addr, Protocol::Http1, 60) };
        load.tls = Some(tls);
        let report = report(load).await;
        assert_clean(&report, 60);
        assert_eq!((report.connections_opened, report.connections_resumed), (60, resumed), "{resumes}");
    }
}

#[tokio::test]
async fn laps_add_up_to_the_report() {
    let server = server::well_behaved(Protocol::Http1, NEVER).await;
    let run = Load { variants: mix(), ..load(server.addr, Protocol::Http1, 200) }.start().unwrap();
    let handle = run.handle();
    handle.wait_for_requests(50).await;
    let first = handle.lap();
    assert!(first.requests() >= 50);
    let whole = run.report().await;
    let second = handle.lap();
    assert_clean(&whole, 200);
    assert_eq!(first.requests() + second.requests(), 200);
    assert_eq!(handle.lap().requests(), 0);
    assert_eq!(handle.report().requests(), 200);
}

#[tokio::test]
async fn the_hook_sees_every_response() {
    let server = server::well_behaved(Protocol::Http2, NEVER).await;
    let seen = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
    let recorder = Arc::clone(&seen);
    let mut load = Load { variants: mix(), connections: 2, ..load(server.addr, Protocol::Http2, 100) };
    load.on_response = Some(Arc::new(move |answer| {
        assert!(answer.sent_at <= answer.received_at);
        assert_eq!((answer.status.as_u16(), answer.headers.get(PATH).unwrap().as_bytes()), (200, &answer.body[..]));
        assert_eq!(answer.body, answer.variant);
        *recorder.lock().unwrap().entry(answer.variant.to_owned()).or_default() += 1;
    }));
    load.label = Label::By(Arc::new(|answer| answer.body.starts_with(b"/t").then(|| "t".to_owned())));
    let report = report(load).await;
    assert_clean(&report, 100);
    let expected = [("/five", 50), ("/three", 30), ("/two", 20)].map(|(path, count)| (path.to_owned(), count));
    assert_eq!(*seen.lock().unwrap(), BTreeMap::from(expected));
    assert_eq!((report.total().answered_by("t"), report.total().answered_by("none")), (50, 50));
}

#[tokio::test]
async fn a_failed_assertion_in_the_hook_fails_the_test() {
    let server = server::well_behaved(Protocol::Http1, NEVER).await;
    let mut load = load(server.addr, Protocol::Http1, 10);
    load.on_response = Some(Arc::new(|answer| {
        assert_eq!(answer.status, 404, "as the test wants");
    }));
    let outcome = tokio::spawn(report(load)).await;
    assert!(outcome.is_err_and(|error| error.is_panic()));
}

#[tokio::test]
async fn dropping_a_run_closes_its_connections() {
    let (events, mut received) = tokio::sync::mpsc::unbounded_channel();
    let target = server::scripted(move |_, mut stream: TcpStream| {
        let events = events.clone();
        async move {
            server::read_http1_request(&mut stream).await;
            events.send("in flight").unwrap();
            server::read_to_end(&mut stream).await;
            events.send("closed").unwrap();
        }
    });
    let run = Load { connections: 2, ..load(target.await, Protocol::Http1, 10) }.start().unwrap();
    for _ in 0..2 {
        assert_eq!(received.recv().await, Some("in flight"));
    }
    drop(run);
    for _ in 0..2 {
        assert_eq!(received.recv().await, Some("closed"));
    }
}

#[tokio::test]
async fn a_load_that_makes_no_sense_is_refused() {
    let target = server::deserted().await;
    let valid = || load(target, Protocol::Http1, 1);
    let refused = |load: Load| load.start().unwrap_err().to_string();
    assert!(refused(Load { variants: vec![], ..valid() }).starts_with("no variant has a share above 0"));
    assert!(refused(Load { variants: vec![get("/").with_share(0)], ..valid() }).starts_with("no variant"));
    assert!(refused(Load { connections: 0, ..valid() }).starts_with("a load needs at least 1 connection"));
    assert!(refused(Load { streams: 0, ..valid() }).starts_with("a load needs"));
    let twins = vec![get("/score"), get("/score")];
    assert!(
        matches!(Load { variants: twins, ..valid() }.start(), Err(LoadError::DuplicateName(name)) if name == "/score")
    );
}
