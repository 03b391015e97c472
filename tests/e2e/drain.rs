//! How a gateway ends: not ready first, then no longer accepting, and only then gone, with no request lost on the way.
//!
//! Delays are long where a test must see what happens in them, and short where it waits for their end.

mod balancer;

use std::future::ready;
use std::net::SocketAddr;
use std::time::Duration;

use balancer::Balancer;
use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use turnout_bench::{Load, Protocol, Run, Total, Variant};
use turnout_tests::certificates::{Authority, TlsClient};
use turnout_tests::client::{self, Http2Connection, RawConnection, RawRequest, RawResponse};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::frames::{Frame, FrameConnection, StreamEnd, kind};
use turnout_tests::gateway::{DEADLINE, Gateway, GatewayCommand};
use turnout_tests::mount::KubeletMount;
use turnout_tests::routes::{self, KEY};

/// How many gateways are replaced under load.
const RESTARTS: usize = 4;

/// Far longer than any test waits.
const HOURS: &str = "36000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_are_restarted_in_turn_under_load_refuse_and_cut_nothing() {
    let fixture = Fixture::start().await;
    let arguments = ["--shutdown-delay-ms", "1500", "--drain-timeout-ms", HOURS];
    let mut gateways = vec![fixture.gateway(&arguments).await, fixture.gateway(&arguments).await];
    let mut balancer = Balancer::start().await.expect("loopback has free ports");
    for gateway in &gateways {
        balancer.add(gateway).await;
    }
    let loads = [Protocol::Http1, Protocol::Http2].map(|protocol| start_load(balancer.address(), protocol));

    for _ in 0..RESTARTS {
        balancer.wait_for_connections(&gateways[0], 1).await;
        wait_for_further_requests(&loads).await;
        let leaving = gateways.remove(0);
        leaving.signal("TERM").expect("the process can be signalled");
        balancer.wait_until_left_out(&leaving).await;
        let status = leaving.wait_until_exit(DEADLINE).await.expect("it ends when its connections have left");
        assert!(status.success(), "{status}: {}", leaving.log());
        assert!(!leaving.log().contains("connections were cut"), "{}", leaving.log());
        let next = fixture.gateway(&arguments).await;
        balancer.add(&next).await;
        gateways.push(next);
        fixture.backends.clear();
    }

    for load in loads {
        load.handle().stop();
        let report = load.report().await;
        assert_eq!(report.failed(), 0, "{:?} {:?}", report.total().failures, report.first_failures);
        assert!(report.connections_opened > 1, "connections move from gateway to gateway");
        println!("{} requests over {} restarts", report.requests(), RESTARTS);
    }
    assert_eq!(balancer.not_served(), Vec::<String>::new());
}

#[tokio::test]
async fn a_gateway_that_leaves_is_not_ready_and_still_serves_and_asks_clients_to_close() {
    let fixture = Fixture::start().await;
    let gateway = fixture.gateway(&["--shutdown-delay-ms", HOURS]).await;
    let mut kept = RawConnection::open(gateway.address(80)).await.expect("the gateway listens");
    let before = kept.exchange(&RawRequest::get("/")).await.expect("the gateway answers");
    assert_eq!((before.status, before.header("connection")), (200, None));
    let http2 = Http2Connection::open(gateway.address(80)).await.expect("the gateway listens");

    gateway.signal("TERM").expect("the process can be signalled");
    wait_until_unready(&gateway).await;

    assert_eq!(gateway.status("/livez").await.expect("the status port answers").status, 200);
    let after = kept.exchange(&RawRequest::get("/")).await.expect("a kept connection is served");
    assert_eq!((after.status, after.header("connection"), after.complete), (200, Some("close"), true));
    assert!(kept.is_closed_within(DEADLINE).await);
    let new = client::send(gateway.address(80), &RawRequest::get("/")).await.expect("new connections are accepted");
    assert_eq!((new.status, new.header("connection"), new.complete), (200, Some("close"), true));
    let answer = http2.send(http2_request("")).await.expect("HTTP/2 is served");
    assert_eq!((answer.status().as_u16(), answer.headers().get("connection")), (200, None));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let fixture = Fixture::start().await;
    for second in ["TERM", "INT"] {
        let gateway = fixture.gateway(&["--shutdown-delay-ms", HOURS, "--drain-timeout-ms", HOURS]).await;
        let slow = fixture.start_slow_request(&gateway, "delay=3600s").await;
        gateway.signal("TERM").expect("the process can be signalled");
        wait_until_unready(&gateway).await;
        gateway.signal(second).expect("the process can be signalled");
        gateway.wait_until_exit(DEADLINE).await.expect("it ends at once");
        slow.await.expect("no panic").expect_err("the request is cut");
    }
}

#[tokio::test]
async fn requests_in_flight_are_finished_after_the_listener_has_closed() {
    let fixture = Fixture::start().await;
    let gateway = fixture.gateway(&["--shutdown-delay-ms", "0", "--drain-timeout-ms", HOURS]).await;
    let http2 = Http2Connection::open(gateway.address(80)).await.expect("the gateway listens");
    let slow = fixture.start_slow_request(&gateway, "delay=3s").await;
    let slow_http2 = tokio::spawn(async move { http2.send(http2_request("delay=3s")).await });
    fixture.wait_for_requests_at_backend(2).await;
    let mut idle = RawConnection::open(gateway.address(80)).await.expect("the gateway listens");
    idle.exchange(&RawRequest::get("/")).await.expect("the gateway answers");

    gateway.signal("TERM").expect("the process can be signalled");
    wait_until_refusing(&gateway).await;
    let answer = slow.await.expect("no panic").expect("the request is finished");
    assert_eq!((answer.status, answer.complete, answer.header("connection")), (200, true, Some("close")));
    let answer = slow_http2.await.expect("no panic").expect("the HTTP/2 request is finished");
    assert_eq!(answer.status(), 200);
    assert!(idle.is_closed_within(DEADLINE).await, "an idle connection does not keep the gateway");
    let status = gateway.wait_until_exit(DEADLINE).await.expect("it ends when its requests are finished");
    assert!(status.success(), "{status}: {}", gateway.log());
    assert!(!gateway.log().contains("connections were cut"), "{}", gateway.log());
}

#[tokio::test]
async fn an_open_http2_stream_is_finished_behind_goaway_and_none_is_begun() {
    let fixture = Fixture::start().await;
    let gateway = fixture.gateway(&["--shutdown-delay-ms", "0", "--drain-timeout-ms", HOURS]).await;
    let stream = TcpStream::connect(gateway.address(80)).await.expect("the gateway listens");
    let mut client = FrameConnection::open(stream).await.expect("the gateway reads");
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("x-echo", "delay=2s")];
    client.send(&Frame::headers(1, &fields, true)).await.expect("the gateway reads");
    fixture.wait_for_requests_at_backend(1).await;
    gateway.signal("TERM").expect("the process can be signalled");
    let goaway = client.until(|frame| frame.kind == kind::GOAWAY).await.expect("it says that it goes");
    assert_eq!(goaway.error_code(), Some(0));
    assert_eq!(client.end_of_stream(1).await, StreamEnd::Answered);
    client.send(&Frame::get(3, "/late")).await.ok();
    assert_ne!(client.end_of_stream(3).await, StreamEnd::Answered);
    let status = gateway.wait_until_exit(DEADLINE).await.expect("it ends");
    assert!(status.success() && !gateway.log().contains("connections were cut"), "{}", gateway.log());
    assert!(fixture.backends.received().iter().all(|received| received.target != "/late"));
}

#[tokio::test]
async fn connections_that_have_said_nothing_or_half_a_preface_do_not_hold_the_end_up() {
    let fixture = Fixture::start().await;
    let arguments = ["--shutdown-delay-ms", "0", "--drain-timeout-ms", HOURS, "--request-head-timeout-ms", "1000"];
    let gateway = fixture.gateway(&arguments).await;
    let mut open = Vec::new();
    for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
        let mut connection = RawConnection::open(gateway.address(80)).await.expect("the gateway listens");
        connection.send(said).await.expect("the gateway reads");
        open.push((said, connection));
    }
    // Behind these three, so they are accepted.
    client::send(gateway.address(80), &RawRequest::get("/")).await.expect("the gateway answers");
    gateway.signal("TERM").expect("the process can be signalled");
    for (said, connection) in &mut open {
        // Half a preface may be answered as the malformed head that it is.
        let ended = match connection.response("GET").await {
            Ok(_) => connection.is_closed_within(DEADLINE).await,
            Err(error) => error.kind() != std::io::ErrorKind::TimedOut,
        };
        assert!(ended, "after {:?}", turnout_tests::wire::latin1(said));
    }
    let status = gateway.wait_until_exit(DEADLINE).await.expect("it ends");
    assert!(status.success() && !gateway.log().contains("connections were cut"), "{}", gateway.log());
}

#[tokio::test]
async fn tls_connections_are_drained_like_others() {
    let authority = Authority::new().expect("keys can be made");
    let secret = authority.sign(&["a.example.com"]).expect("it signs");
    let keys = [("tls.crt", secret.certificate.as_bytes()), ("tls.key", secret.key.as_bytes())];
    let secret = KubeletMount::new(&keys).expect("the mount is made");
    let path = secret.path().display();
    let backends = Backends::start_named(&["green"]).await.expect("loopback has free ports");
    let plain = routes::one_service(&[backends.address("green")], 1);
    let tls = format!(
        "protocol: HTTPS}}\n    tls: {{mode: SIMPLE, serverCertificate: {path}/tls.crt, privateKey: {path}/tls.key}}"
    );
    let documents = plain.replacen("protocol: HTTP}\n    hosts", &format!("{tls}\n    hosts"), 1);
    let mount = KubeletMount::new(&[(KEY, documents.as_bytes())]).expect("the mount is made");
    let fixture = Fixture { backends, mount };
    let gateway = fixture.gateway(&["--shutdown-delay-ms", "0", "--drain-timeout-ms", HOURS]).await;
    let (address, client) = (gateway.address(80), TlsClient::trusting(&authority).expect("a good authority"));
    let connect = async |client: &TlsClient| client.connect(address, "a.example.com").await.expect("it shakes hands");

    let mut idle = RawConnection::over(connect(&client).await);
    assert_eq!(idle.exchange(&RawRequest::get("/")).await.expect("it answers").status, 200);
    let mut fresh = RawConnection::over(connect(&client).await);
    let http2 = Http2Connection::over(connect(&client.clone().alpn(&["h2"])).await).await.expect("it speaks HTTP/2");
    let slow_http2 = tokio::spawn(async move { http2.send(http2_request("delay=2s")).await });
    let mut slow = RawConnection::over(connect(&client).await);
    let request = RawRequest::get("/").header("x-echo", "delay=2s");
    slow.send(&request.to_bytes()).await.expect("the gateway reads");
    fixture.wait_for_requests_at_backend(3).await;

    gateway.signal("TERM").expect("the process can be signalled");
    wait_until_refusing(&gateway).await;
    assert!(idle.is_closed_within(DEADLINE).await && fresh.is_closed_within(DEADLINE).await, "idle connections");
    let answer = slow.response("GET").await.expect("the request is finished");
    assert_eq!((answer.status, answer.complete, answer.header("connection")), (200, true, Some("close")));
    assert_eq!(slow_http2.await.expect("no panic").expect("the request is finished").status(), 200);
    let status = gateway.wait_until_exit(DEADLINE).await.expect("it ends");
    assert!(status.success() && !gateway.log().contains("connections were cut"), "{}", gateway.log());
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_timeout_is_cut_and_the_process_ends() {
    let fixture = Fixture::start().await;
    let gateway = fixture.gateway(&["--shutdown-delay-ms", "0", "--drain-timeout-ms", "300"]).await;
    let slow = fixture.start_slow_request(&gateway, "delay=3600s").await;
    gateway.signal("TERM").expect("the process can be signalled");
    gateway.wait_until_exit(DEADLINE).await.expect("it ends after the time-out");
    slow.await.expect("no panic").expect_err("the request is cut");
    assert!(gateway.log().contains("connections were cut"), "{}", gateway.log());
}

/// One backend and the routes to it.
struct Fixture {
    backends: Backends,
    mount: KubeletMount,
}

impl Fixture {
    async fn start() -> Self {
        let backends = Backends::start_named(&["green"]).await.expect("loopback has free ports");
        let documents = routes::one_service(&[backends.address("green")], 1);
        let mount = KubeletMount::new(&[(KEY, documents.as_bytes())]).expect("the mount is made");
        Self { backends, mount }
    }

    async fn gateway(&self, arguments: &[&str]) -> Gateway {
        let command = GatewayCommand::new(self.mount.path()).listen(80).args(&["--workers", "2"]).args(arguments);
        command.start().await.expect("the gateway starts")
    }

    /// Starts a request that the backend has received when this returns.
    async fn start_slow_request(&self, gateway: &Gateway, echo: &str) -> JoinHandle<std::io::Result<RawResponse>> {
        self.backends.clear();
        let (address, request) = (gateway.address(80), RawRequest::post("/score", b"{}").header("x-echo", echo));
        let slow = tokio::spawn(async move { client::send(address, &request).await });
        self.wait_for_requests_at_backend(1).await;
        slow
    }

    async fn wait_for_requests_at_backend(&self, count: usize) {
        let received = eventually(DEADLINE, || {
            let received = self.backends.received().len();
            ready(if received >= count { Ok(()) } else { Err(format!("{received} requests at the backend")) })
        });
        received.await.expect("the requests reach the backend");
    }
}

fn start_load(target: SocketAddr, protocol: Protocol) -> Run {
    let variant = Variant::post_json("score", PathAndQuery::from_static("/score"), "{\"data\": [1, 2, 3]}");
    let mut load = Load::new(target, Total::UntilStopped { max_requests: 1_000_000 }, vec![variant]);
    load.protocol = protocol;
    (load.connections, load.streams) = match protocol {
        Protocol::Http1 => (4, 1),
        Protocol::Http2 => (2, 2),
    };
    load.max_duration = Duration::from_mins(10);
    load.start().expect("the load is valid")
}

async fn wait_for_further_requests(loads: &[Run]) {
    for load in loads {
        let handle = load.handle();
        handle.wait_for_requests(handle.requests() + 100).await;
    }
}

fn http2_request(echo: &str) -> http::Request<Bytes> {
    let request = http::Request::get("http://scoring.example.com/score").header("x-echo", echo);
    request.body(Bytes::new()).expect("the request is valid")
}

async fn wait_until_unready(gateway: &Gateway) {
    let unready = eventually(DEADLINE, || async {
        let status = gateway.status("/readyz").await?.status;
        anyhow::ensure!(status == 503, "/readyz says {status}");
        Ok::<_, anyhow::Error>(())
    });
    unready.await.expect("the gateway says that it is not ready");
}

async fn wait_until_refusing(gateway: &Gateway) {
    let refusing = eventually(DEADLINE, || async {
        match TcpStream::connect(gateway.address(80)).await {
            Ok(_) => Err("it accepts"),
            Err(_) => Ok(()),
        }
    });
    refusing.await.expect("the listener closes");
}
