//! Bodies on their way through: of any size in bounded memory, no faster than they are taken, and never passed on as
//! whole when they are not.

mod backend;
mod client;
mod every_size;
mod retry_memory;
mod stall;
mod stream;

use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backend::{Backend, Seen};
use client::{Http1, Http2, take_pattern, take_text};
use stream::{PatternBody, piece};
use tokio::time::timeout;
use turnout_tests::bed::{service, virtual_service};
use turnout_tests::client::{self as raw, RawConnection, RawRequest};
use turnout_tests::eventually;
use turnout_tests::gateway::{DEADLINE, Gateway, GatewayCommand};
use turnout_tests::mount::KubeletMount;
use turnout_tests::process::peak_memory_kib;
use turnout_tests::routes::KEY;

const MIB: u64 = 1024 * 1024;

/// A body that must not fit into the memory that a gateway may use.
const LARGE: u64 = 100 * MIB;

/// A body that does not fit into what may lie between two sides that do not wait for each other.
const MORE_THAN_BUFFERS: u64 = 128 * MIB;

/// What may lie there: the gateway's own buffers and those of the kernel for its two sockets, of which Linux lets one
/// receive up to 32 MiB ahead and the other send 4 MiB (`tcp_rmem`, `tcp_wmem`).
const BUFFERS: u64 = 48 * MIB;

/// What the gateway reads before it takes a connection to the backend.
const READ_AHEAD: usize = 16 * 1024;

/// How often a count must read the same in a row to have stopped.
const STOPPED_AFTER: usize = 100;

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_mebibytes_each_way_pass_in_bounded_memory() {
    let fixture = Fixture::start().await;
    fixture.barrier().await;
    let base = peak_memory_kib(fixture.gateway.id()).expect("/proc can be read");
    let address = fixture.gateway.address(80);
    let mut http1 = Http1::open(address).await.expect("the gateway listens");
    let mut http2 = Http2::open(address).await.expect("the gateway listens");

    for chunked in [false, true] {
        let sent = AtomicU64::new(0);
        in_time(http1.upload("/upload", chunked, LARGE, &sent)).await.expect("the body is taken");
        let head = in_time(http1.head()).await.expect("there is an answer");
        let received = in_time(http1.take_text(&head)).await.expect("the answer is whole");
        assert_eq!(received, LARGE.to_string(), "{}", head.start_line);
    }
    for framing in ["sized", "chunked"] {
        http1.get(&format!("/download/{framing}/{LARGE}")).await.expect("the request is sent");
        let head = in_time(http1.head()).await.expect("there is an answer");
        assert_eq!(in_time(http1.take_pattern(&head)).await.expect("the body is whole"), LARGE);
    }
    let answer = in_time(http2.send("POST", "/upload", PatternBody::new(LARGE))).await.expect("there is an answer");
    assert_eq!(in_time(take_text(answer.into_body())).await.expect("the answer is whole"), LARGE.to_string());
    for framing in ["sized", "chunked"] {
        let target = format!("/download/{framing}/{LARGE}");
        let answer = in_time(http2.send("GET", &target, PatternBody::new(0))).await.expect("there is an answer");
        assert_eq!(in_time(take_pattern(answer.into_body())).await.expect("the body is whole"), LARGE);
    }

    let peak = peak_memory_kib(fixture.gateway.id()).expect("/proc can be read");
    println!("peak memory of the gateway: {base} KiB before, {peak} KiB after 7 bodies of 100 MiB");
    assert!(peak - base < LARGE / 1024, "{base} KiB before, {peak} KiB after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_the_backend() {
    let fixture = Fixture::start().await;
    let address = fixture.gateway.address(80);
    let target = format!("/download/sized/{MORE_THAN_BUFFERS}");

    let mut http1 = Http1::open(address).await.expect("the gateway listens");
    http1.get(&target).await.expect("the request is sent");
    let head = in_time(http1.head()).await.expect("there is an answer");
    fixture.assert_sending_stops(&target, 0).await;
    assert_eq!(in_time(http1.take_pattern(&head)).await.expect("the body is whole"), MORE_THAN_BUFFERS);

    let mut http2 = Http2::open(address).await.expect("the gateway listens");
    let answer = in_time(http2.send("GET", &target, PatternBody::new(0))).await.expect("there is an answer");
    fixture.assert_sending_stops(&target, 1).await;
    assert_eq!(in_time(take_pattern(answer.into_body())).await.expect("the body is whole"), MORE_THAN_BUFFERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_does_not_read_stops_the_client() {
    let fixture = Fixture::start().await;
    for chunked in [false, true] {
        let mut http1 = Http1::open(fixture.gateway.address(80)).await.expect("the gateway listens");
        let sent = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&sent);
        let upload = tokio::spawn(async move {
            http1.upload("/gated", chunked, MORE_THAN_BUFFERS, &counted).await?;
            let head = http1.head().await?;
            http1.take_text(&head).await
        });
        let stopped = stops_at(|| sent.load(Ordering::Relaxed)).await;
        assert!(stopped <= BUFFERS, "the client could send {stopped} bytes that nobody reads");
        fixture.backend.open_gate();
        let received = in_time(upload).await.expect("no panic").expect("there is an answer");
        assert_eq!(received, MORE_THAN_BUFFERS.to_string());
    }
}

#[tokio::test]
async fn a_small_body_reaches_the_backend_only_when_it_is_whole() {
    let fixture = Fixture::start().await;
    let body = piece(0, READ_AHEAD as u64);
    let requests = [
        ("/upload?sized", RawRequest::post("/upload?sized", &body)),
        ("/upload?chunked", RawRequest::new("POST", "/upload?chunked").header("Host", "a").chunked_body(&body, &[])),
    ];
    for (target, request) in requests {
        let bytes = request.to_bytes();
        let mut connection = RawConnection::open(fixture.gateway.address(80)).await.expect("the gateway listens");
        for part in bytes.chunks(bytes.len().div_ceil(4)) {
            assert_eq!(fixture.backend.seen_at(target).len(), 0, "{target} has reached the backend in parts");
            connection.send(part).await.expect("the gateway takes it");
            fixture.barrier().await;
        }
        let answer = connection.response("POST").await.expect("there is an answer");
        assert_eq!((answer.status, answer.text()), (200, READ_AHEAD.to_string()));
        let seen = fixture.backend.seen_at(target);
        assert_eq!(seen.len(), 1, "{target}");
        assert_eq!(seen[0].headers.first("content-length"), Some(READ_AHEAD.to_string().as_str()), "{target}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_never_a_whole_request_at_the_backend() {
    let fixture = Fixture::start().await;
    let large = piece(0, 200_000);
    let chunk = [format!("{:x}\r\n", large.len()).as_bytes(), &large, b"\r\n"].concat();
    let cut = [
        ("/upload?sized", [b"Content-Length: 1000000\r\n\r\n", &large[..]].concat()),
        ("/upload?chunked", [b"Transfer-Encoding: chunked\r\n\r\n", &chunk[..]].concat()),
        ("/upload?in-a-chunk", [b"Transfer-Encoding: chunked\r\n\r\n", &chunk[..20_000]].concat()),
    ];
    for (target, rest) in cut {
        let mut http1 = Http1::open(fixture.gateway.address(80)).await.expect("the gateway listens");
        let head = format!("POST {target} HTTP/1.1\r\nHost: scoring.example.com\r\n");
        http1.send(&[head.as_bytes(), &rest].concat()).await.expect("the gateway takes it");
        fixture.wait_for(target, |seen| seen.received.load(Ordering::Relaxed) > 0).await;
        drop(http1);
        let seen = fixture.wait_for(target, |seen| seen.ended.load(Ordering::Relaxed)).await;
        assert!(!seen.complete.load(Ordering::Relaxed), "{target}");
    }

    let mut http2 = Http2::open(fixture.gateway.address(80)).await.expect("the gateway listens");
    let body = PatternBody::new(1_000_000).failing_at(100_000);
    in_time(http2.send("POST", "/upload?http2", body)).await.expect_err("the request is given up");
    let seen = fixture.wait_for("/upload?http2", |seen| seen.ended.load(Ordering::Relaxed)).await;
    assert!(!seen.complete.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_small_body_that_ends_early_does_not_reach_the_backend_at_all() {
    let fixture = Fixture::start().await;
    let beginnings = ["Content-Length: 100\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"];
    for rest in beginnings {
        let mut http1 = Http1::open(fixture.gateway.address(80)).await.expect("the gateway listens");
        let request = format!("POST /upload?cut HTTP/1.1\r\nHost: scoring.example.com\r\n{rest}");
        http1.send(request.as_bytes()).await.expect("the gateway takes it");
        drop(http1);
        fixture.barrier().await;
    }
    assert_eq!(fixture.backend.seen_at("/upload?cut").len(), 0);
}

#[tokio::test]
async fn expect_100_continue_is_answered_by_the_gateway() {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let fixture = Fixture::start().await;
    for length in [5, READ_AHEAD as u64 + 1] {
        let body = piece(0, length);
        let request = RawRequest::post("/upload?expect", &body).header("Expect", "100-continue");
        let bytes = request.to_bytes();
        let (head, body) = bytes.split_at(bytes.len() - body.len());
        let mut connection = RawConnection::open(fixture.gateway.address(80)).await.expect("the gateway listens");
        connection.send(head).await.expect("the gateway takes it");
        assert_eq!(connection.exactly(CONTINUE.len()).await.expect("the client is told to go on"), CONTINUE);
        connection.send(body).await.expect("the gateway takes it");
        let answer = connection.response("POST").await.expect("there is an answer");
        assert_eq!((answer.status, answer.text(), answer.interim), (200, length.to_string(), vec![]));
    }
    let seen = fixture.backend.seen_at("/upload?expect");
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.headers.first("expect").is_none()), "{seen:?}");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_closes_both_connections() {
    let fixture = Fixture::start().await;
    let mut http1 = RawConnection::open(fixture.gateway.address(80)).await.expect("the gateway listens");
    let head = b"POST /early HTTP/1.1\r\nHost: scoring.example.com\r\nContent-Length: 10000000\r\n\r\n";
    http1.send(&[head, &piece(0, 32_000)[..]].concat()).await.expect("the gateway takes it");
    let answer = http1.response("POST").await.expect("there is an answer");
    assert_eq!((answer.status, answer.text().as_str(), answer.complete), (413, "too large", true));
    // A client that goes on sending, to a backend that does not read, must not hold the two connections.
    let _ = timeout(DEADLINE, http1.send(&vec![0; 9_000_000])).await;
    assert!(http1.is_closed_within(DEADLINE).await, "the connections are held");
    fixture.assert_early_connection_is_not_reused().await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_an_http2_upload_ends_its_stream_alone() {
    let fixture = Fixture::start().await;
    let mut http2 = Http2::open(fixture.gateway.address(80)).await.expect("the gateway listens");
    let answer = in_time(http2.send("POST", "/early", PatternBody::new(10_000_000))).await.expect("there is an answer");
    assert_eq!(answer.status(), 413);
    assert_eq!(in_time(take_text(answer.into_body())).await.expect("the answer is whole"), "too large");
    let next = in_time(http2.send("POST", "/upload", PatternBody::new(7))).await.expect("the connection goes on");
    assert_eq!(in_time(take_text(next.into_body())).await.expect("the answer is whole"), "7");
    fixture.assert_early_connection_is_not_reused().await;
}

/// The backend and a gateway with one worker, so that requests are looked at in the order in which they come.
struct Fixture {
    backend: Backend,
    gateway: Gateway,
    _mount: KubeletMount,
}

impl Fixture {
    async fn start() -> Self {
        Self::serving("", &[]).await
    }

    /// With these fields in its only rule, by a gateway with these arguments.
    async fn serving(rule: &str, arguments: &[&str]) -> Self {
        let backend = Backend::start().expect("loopback has free ports");
        let rules = format!("- route: [{{destination: {{host: model}}}}]\n  {rule}");
        let documents = service("model", &[backend.address()]) + &virtual_service(&rules);
        let mount = KubeletMount::new(&[(KEY, documents.as_bytes())]).expect("the mount is made");
        let command = GatewayCommand::new(mount.path()).listen(80).args(&["--workers", "1"]).args(arguments);
        let gateway = command.start().await.expect("the gateway starts");
        Self { backend, gateway, _mount: mount }
    }

    /// A few requests there and back: what the gateway was sent before, it has looked at, and passed on if it wants to.
    async fn barrier(&self) {
        let mut connection = RawConnection::open(self.gateway.address(80)).await.expect("the gateway listens");
        for _ in 0..3 {
            let answer = connection.exchange(&RawRequest::post("/upload?barrier", b"\0")).await;
            assert_eq!(answer.expect("the gateway answers").status, 200);
        }
    }

    /// Waits for a request for this target that is as wanted.
    async fn wait_for(&self, target: &str, wanted: impl Fn(&Seen) -> bool) -> Arc<Seen> {
        let seen = eventually(DEADLINE, || {
            let seen = self.backend.seen_at(target);
            let found = seen.iter().find(|seen| wanted(seen)).map(Arc::clone);
            ready(found.ok_or_else(|| format!("the backend has seen {seen:?}")))
        });
        seen.await.unwrap_or_else(|error| panic!("{target}: {error}"))
    }

    /// Waits until the backend can send no more of its answer to the request of this number for this target.
    async fn assert_sending_stops(&self, target: &str, number: usize) {
        let sent = || self.backend.seen_at(target)[number].sent.load(Ordering::Relaxed);
        let stopped = stops_at(sent).await;
        assert!(stopped <= BUFFERS, "the backend could send {stopped} bytes that nobody reads");
    }

    /// The connection of the only early answer is closed, and the next request has another.
    async fn assert_early_connection_is_not_reused(&self) {
        self.backend.open_gate();
        let early = self.wait_for("/early", |seen| seen.ended.load(Ordering::Relaxed)).await;
        let next = raw::send(self.gateway.address(80), &RawRequest::post("/upload?next", b"\0")).await;
        assert_eq!(next.expect("the gateway answers").status, 200);
        let next = self.wait_for("/upload?next", |seen| seen.complete.load(Ordering::Relaxed)).await;
        assert_ne!(next.connection, early.connection);
    }
}

/// Where a count stops that may go on as long as it is asked.
async fn stops_at(count: impl Fn() -> u64) -> u64 {
    let (mut last, mut same) = (0, 0);
    let stopped = eventually(DEADLINE, || {
        let now = count();
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        ready(if same >= STOPPED_AFTER { Ok(now) } else { Err(format!("it is at {now}")) })
    });
    stopped.await.expect("the count stops")
}

/// Nothing takes longer than a minute: a gateway that hangs fails a test and does not hang it.
async fn in_time<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_mins(1), future).await.expect("it is over within a minute")
}
