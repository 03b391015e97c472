//! Every limit of `--help`: at its value a request is served, one beyond it is not, and the gateway goes on. Time-outs
//! are set to a moment, and what is asserted is the state that follows, never when.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use turnout_tests::bed::{Bed, KEY, PORT, TO_GREEN, documents, service, virtual_service};
use turnout_tests::certificates::{Authority, TlsClient};
use turnout_tests::client::{Http2Connection, RawConnection, RawRequest};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::frames::{Frame, FrameConnection, REFUSED_STREAM, StreamEnd, kind};
use turnout_tests::mount::KubeletMount;

const LONG: Duration = Duration::from_secs(10);

/// A moment, for time-outs that are to be met.
const MOMENT: &str = "250";

/// The setting SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 3;

const RETRIED: &str = "- route: [{destination: {host: green}}]\n  retries: {attempts: 2, retryOn: 5xx}";

/// The statuses that these requests are answered with, each on a connection of its own.
async fn statuses(bed: &Bed, requests: &[RawRequest]) -> anyhow::Result<Vec<u16>> {
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(bed.send(request).await?.status);
    }
    Ok(statuses)
}

/// Waits until a metric has this value.
async fn counted(bed: &Bed, name: &str, labels: &[(&str, &str)], expected: f64) -> anyhow::Result<()> {
    eventually(LONG, || async {
        let seen = bed.count(name, labels).await?;
        ensure!((seen - expected).abs() < 0.5, "{name}{labels:?} is {seen}, not {expected}");
        Ok(())
    })
    .await
}

/// A gateway still serves after all that was done to it.
async fn serves(bed: &Bed) -> anyhow::Result<()> {
    let response = bed.send(&RawRequest::get("/after")).await?;
    ensure!(response.status == 200, "{response:?}");
    Ok(())
}

#[tokio::test]
async fn larger_routes_are_refused_by_the_name_of_the_setting() -> anyhow::Result<()> {
    for (arguments, limit) in [(&[][..], 1 << 20), (&["--max-routes-bytes", "2097152"][..], 2 << 20)] {
        let mut bed = Bed::start(TO_GREEN, arguments).await?;
        let documents = documents(&bed.backends, TO_GREEN);
        let of_length = |bytes: usize| format!("{documents}#{}", "x".repeat(bytes - documents.len() - 1));
        let served = bed.publish(&of_length(limit)).await?;
        bed.routes.swap(&[(KEY, of_length(limit + 1).as_bytes())])?;
        let reason = bed.gateway.wait_for_rejection().await?.reason;
        let expected = format!("{KEY}:1:1: more than {limit} bytes; allow more with --max-routes-bytes");
        assert!(reason.starts_with(&expected), "{reason}");
        assert_eq!(bed.gateway.revisions().await?.active, Some(served));
        serves(&bed).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_longer_target_is_answered_414() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--max-target-bytes", "100"]).await?;
    let target = |bytes: usize| RawRequest::get(&format!("/{}?{}", "x".repeat(bytes - 11), "q".repeat(10)));
    assert_eq!(statuses(&bed, &[target(100), target(101)]).await?, [200, 414]);
    assert_eq!(bed.received(), 1);
    Ok(())
}

#[tokio::test]
async fn a_longer_head_is_answered_431() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--max-header-bytes", "10000"]).await?;
    let empty = RawRequest::get("/").header("x-filler", "").to_bytes().len();
    let head = |bytes: usize| RawRequest::get("/").header("x-filler", &"x".repeat(bytes - empty));
    assert_eq!(head(10_000).to_bytes().len(), 10_000);
    assert_eq!(statuses(&bed, &[head(10_000), head(10_001), head(200_000)]).await?, [200, 431, 431]);
    assert_eq!(bed.received(), 1);
    Ok(())
}

#[tokio::test]
async fn the_same_limit_holds_for_heads_of_http2() -> anyhow::Result<()> {
    // Each field counts 32 bytes beyond its own (RFC 9113, 6.5.2); there are few.
    for limit in [10_000, 61_440, 200_000] {
        let bed = Bed::start(TO_GREEN, &["--max-header-bytes", &limit.to_string()]).await?;
        let connection = Http2Connection::open(bed.address()).await?;
        let with = |bytes: usize| {
            let half = "x".repeat(bytes / 2);
            let request = http::Request::get("http://scoring.example.com/").header("x-a", half.clone());
            request.header("x-b", half).body(bytes::Bytes::new())
        };
        assert_eq!(connection.send(with(limit - 500)?).await?.status(), 200, "{limit}");
        match connection.send(with(limit + 1)?).await {
            Ok(response) => assert_eq!(response.status(), 431, "{limit}"),
            Err(refused) => assert!(!refused.to_string().contains("no answer in time"), "{limit}: {refused}"),
        }
        assert_eq!(bed.received(), 1, "{limit}");
        serves(&bed).await?;
    }
    Ok(())
}

#[tokio::test]
async fn more_header_lines_are_answered_431() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--max-headers", "20"]).await?;
    let lines = |count: usize| {
        // Host is the first.
        (1..count).fold(RawRequest::get("/"), |request, number| request.header(&format!("x-{number}"), "v"))
    };
    assert_eq!(statuses(&bed, &[lines(20), lines(21)]).await?, [200, 431]);
    assert_eq!(bed.received(), 1);
    Ok(())
}

#[tokio::test]
async fn more_header_fields_are_refused_in_http2_too() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--max-headers", "20"]).await?;
    let connection = Http2Connection::open(bed.address()).await?;
    let fields = |count: usize| {
        let request = http::Request::get("http://scoring.example.com/");
        let request = (0..count).fold(request, |request, number| request.header(format!("x-{number}"), "v"));
        request.body(bytes::Bytes::new())
    };
    assert_eq!(connection.send(fields(19)?).await?.status(), 200);
    assert_eq!(connection.send(fields(21)?).await?.status(), 431);
    Ok(())
}

#[tokio::test]
async fn a_larger_body_is_answered_413_whether_announced_or_not() -> anyhow::Result<()> {
    for buffer in ["0", "100", "16384"] {
        let bed = Bed::start(TO_GREEN, &["--max-body-bytes", "5000", "--request-buffer-bytes", buffer]).await?;
        let sized = |bytes: usize| RawRequest::post("/", &vec![b'x'; bytes]);
        let chunked =
            |bytes: usize| RawRequest::new("POST", "/").header("Host", "a").chunked_body(&vec![b'x'; bytes], &[]);
        let requests = [sized(5000), sized(5001), chunked(5000), chunked(5001), chunked(500_000)];
        assert_eq!(statuses(&bed, &requests).await?, [200, 413, 200, 413, 413], "buffer {buffer}");
        let received = bed.backends.received();
        let complete = received.iter().filter(|request| request.body_complete).count();
        assert_eq!(complete, 2, "a body that is too large never reaches a backend whole (buffer {buffer})");
        serves(&bed).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_not_waited_for() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--max-body-bytes", "5000"]).await?;
    let mut connection = bed.open().await?;
    connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5001\r\n\r\n").await?;
    assert_eq!(connection.response("POST").await?.status, 413);
    assert!(connection.is_closed_within(LONG).await);
    assert_eq!(bed.received(), 0);
    Ok(())
}

#[tokio::test]
async fn no_connection_is_taken_beyond_the_limit_until_one_ends() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--max-connections", "2"]).await?;
    let mut first = bed.open().await?;
    let mut second = bed.open().await?;
    for connection in [&mut first, &mut second] {
        assert_eq!(connection.exchange(&RawRequest::get("/")).await?.status, 200);
    }
    let mut third = bed.open().await?;
    assert!(third.is_closed_within(LONG).await);
    counted(&bed, "turnout_downstream_connections_refused_total", &[("limit", "max-connections")], 1.0).await?;
    assert_eq!(second.exchange(&RawRequest::get("/")).await?.status, 200);
    drop(first);
    eventually(LONG, || async { serves(&bed).await }).await?;
    Ok(())
}

#[tokio::test]
async fn one_client_address_has_its_own_limit() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--max-connections-per-client", "2"]).await?;
    let from = async |last: u8| {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
        anyhow::Ok(RawConnection::over(socket.connect(bed.address()).await?))
    };
    let mut connections = [from(1).await?, from(1).await?, from(2).await?, from(2).await?];
    for connection in &mut connections {
        assert_eq!(connection.exchange(&RawRequest::get("/")).await?.status, 200);
    }
    assert!(from(1).await?.is_closed_within(LONG).await);
    assert!(from(2).await?.is_closed_within(LONG).await);
    let refused = [("limit", "max-connections-per-client")];
    counted(&bed, "turnout_downstream_connections_refused_total", &refused, 2.0).await?;
    drop(connections);
    eventually(LONG, || async { serves(&bed).await }).await
}

#[tokio::test]
async fn a_connection_ends_politely_with_its_last_request() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--max-requests-per-connection", "3"]).await?;
    let mut connection = bed.open().await?;
    for number in 1..=3 {
        let response = connection.exchange(&RawRequest::get("/")).await?;
        let closes = response.headers.has_token("connection", "close");
        assert_eq!((response.status, closes), (200, number == 3), "request {number}");
    }
    assert!(connection.is_closed_within(LONG).await);
    assert_eq!(bed.received(), 3);
    serves(&bed).await
}

#[tokio::test]
async fn an_http2_connection_ends_politely_with_its_last_request() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--max-requests-per-connection", "3"]).await?;
    let mut connection = FrameConnection::open(TcpStream::connect(bed.address()).await?).await?;
    for stream in [1, 3, 5] {
        connection.send(&Frame::get(stream, "/")).await?;
        assert_eq!(connection.end_of(stream).await, StreamEnd::Answered);
    }
    let goaway = connection.until(|frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(goaway.context("no GOAWAY after the last request")?.error_code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn an_http2_connection_has_so_many_streams_at_a_time() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--max-http2-streams", "2"]).await?;
    let mut connection = FrameConnection::open(TcpStream::connect(bed.address()).await?).await?;
    let settings = connection.until(|frame| frame.kind == kind::SETTINGS && !frame.payload.is_empty()).await?;
    assert_eq!(settings.setting(MAX_CONCURRENT_STREAMS), Some(2));
    let slow = |stream: u32| {
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("x-echo", "delay=300ms")];
        Frame::headers(stream, &fields, true)
    };
    connection.send_all(&[slow(1), slow(3), slow(5)]).await?;
    assert_eq!(connection.end_of(5).await, StreamEnd::Reset(REFUSED_STREAM));
    assert_eq!(connection.end_of(1).await, StreamEnd::Answered);
    assert_eq!(connection.end_of(3).await, StreamEnd::Answered);
    assert_eq!(bed.received(), 2);
    connection.send(&Frame::get(7, "/")).await?;
    assert_eq!(connection.end_of(7).await, StreamEnd::Answered, "the refused stream was no fault of the connection");
    Ok(())
}

#[tokio::test]
async fn http2_in_clear_text_can_be_refused() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--no-cleartext-http2"]).await?;
    let mut connection = FrameConnection::open(TcpStream::connect(bed.address()).await?).await?;
    // What comes is no frame, or nothing: a preface is a malformed request to HTTP/1.1.
    connection.send(&Frame::get(1, "/")).await.ok();
    assert!(!matches!(connection.end_of(1).await, StreamEnd::Answered));
    assert_eq!(bed.received(), 0);
    serves(&bed).await
}

#[tokio::test]
async fn a_small_body_is_read_before_a_backend_is_asked() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &["--request-buffer-bytes", "1000", "--workers", "1"]).await?;
    for (length, waits) in [(1000, true), (1001, false)] {
        bed.backends.clear();
        let mut connection = bed.open().await?;
        let head = RawRequest::new("POST", "/").header("Host", "a").header("Content-Length", &length.to_string());
        connection.send(&head.body(&vec![b'x'; length - 1]).to_bytes()).await?;
        if waits {
            // The worker has served a whole request since, so it has had its chance.
            serves(&bed).await?;
            let targets: Vec<String> = bed.backends.received().into_iter().map(|request| request.target).collect();
            assert_eq!(targets, ["/after"]);
        } else {
            let asked = || async { if bed.received() == 1 { Ok(()) } else { Err("green has not been asked") } };
            eventually(LONG, asked).await?;
        }
        connection.send(b"x").await?;
        assert_eq!(connection.response("POST").await?.status, 200, "{length}");
    }
    Ok(())
}

#[tokio::test]
async fn a_body_beyond_the_retry_buffer_is_sent_once() -> anyhow::Result<()> {
    let arguments = ["--request-buffer-bytes", "0", "--retry-buffer-bytes", "5000"];
    let bed = Bed::start(RETRIED, &arguments).await?;
    let post = |bytes: usize| RawRequest::post("/", &vec![b'x'; bytes]).header("x-echo", "status=503; first=1");
    let chunked = |bytes: usize| {
        let request = RawRequest::new("POST", "/").header("Host", "a").header("x-echo", "status=503; first=1");
        request.chunked_body(&vec![b'x'; bytes], &[])
    };
    let table = [
        (post(5000), 200, 2),
        (post(5001), 503, 1),
        (chunked(5000), 200, 2),
        (chunked(5001), 503, 1),
        (post(0), 200, 2),
    ];
    for (index, (request, status, attempts)) in table.into_iter().enumerate() {
        bed.backends.clear();
        let response = bed.send(&request).await?;
        let received = bed.backends.received();
        assert_eq!((response.status, received.len()), (status, attempts), "row {index}");
        let bodies: Vec<&[u8]> = received.iter().map(|request| request.body.as_slice()).collect();
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "row {index}: the same body each time");
    }
    Ok(())
}

#[tokio::test]
async fn more_tls_handshakes_than_allowed_wait_for_their_turn() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let secret = authority.sign(&["a.example.com"])?;
    let secret = KubeletMount::new(&[("tls.crt", secret.certificate.as_bytes()), ("tls.key", secret.key.as_bytes())])?;
    let bed = tls_bed(&secret, &["--max-tls-handshakes", "1", "--workers", "1"]).await?;
    let address = bed.gateway.address(443);
    let client = TlsClient::trusting(&authority)?;
    // Whoever says nothing takes no turn; whoever begins and does not finish does.
    let _silent = TcpStream::connect(address).await?;
    let mut begun = TcpStream::connect(address).await?;
    begun.write_all(&client.hello("a.example.com")?).await?;
    begun.readable().await?;
    let mut shaking = JoinSet::new();
    shaking.spawn(async move { client.connect(address, "a.example.com").await });
    counted(&bed, "turnout_downstream_connections", &[], 3.0).await?;
    // Each of these goes through the worker, which has had time for the second handshake if it wanted to.
    for _ in 0..20 {
        bed.gateway.metrics().await?;
    }
    assert!(shaking.try_join_next().is_none(), "a second handshake was made beside the first");
    drop(begun);
    let shaken = shaking.join_next().await.context("the handshake was given up")??;
    RawConnection::over(shaken?).exchange(&RawRequest::get("/").header("x", "y")).await?;
    Ok(())
}

/// A gateway with TLS on 443 for every host, with this secret.
async fn tls_bed(secret: &KubeletMount, arguments: &[&str]) -> anyhow::Result<Bed> {
    let backends = Backends::start().await?;
    let (certificate, key) = (secret.path().join("tls.crt"), secret.path().join("tls.key"));
    let tls = format!(
        "hosts: [\"*\"]}}\n  - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: [\"*\"], \
         tls: {{mode: SIMPLE, serverCertificate: {}, privateKey: {}}}}}",
        certificate.display(),
        key.display()
    );
    let documents = documents(&backends, TO_GREEN).replacen("hosts: [\"*\"]}", &tls, 1);
    Bed::over(backends, &documents, &[PORT, 443], arguments).await
}

#[tokio::test]
async fn a_tls_handshake_that_takes_too_long_ends() -> anyhow::Result<()> {
    let secret = Authority::new()?.sign(&["a.example.com"])?;
    let secret = KubeletMount::new(&[("tls.crt", secret.certificate.as_bytes()), ("tls.key", secret.key.as_bytes())])?;
    let bed = tls_bed(&secret, &["--tls-handshake-timeout-ms", MOMENT]).await?;
    for begin in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut connection = RawConnection::open(bed.gateway.address(443)).await?;
        connection.send(begin).await?;
        assert!(connection.is_closed_within(LONG).await);
    }
    counted(&bed, "turnout_downstream_errors_total", &[("kind", "tls_timeout")], 2.0).await
}

#[tokio::test]
async fn a_body_that_stops_coming_is_answered_408() -> anyhow::Result<()> {
    for buffer in ["0", "16384"] {
        let arguments = ["--request-body-idle-timeout-ms", MOMENT, "--request-buffer-bytes", buffer];
        let bed = Bed::start(TO_GREEN, &arguments).await?;
        for framing in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
            let mut connection = bed.open().await?;
            connection.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}").as_bytes()).await?;
            let response = connection.response("POST").await?;
            assert_eq!(response.status, 408, "buffer {buffer}, {framing:?}");
            assert!(connection.is_closed_within(LONG).await, "buffer {buffer}, {framing:?}");
        }
        let complete = bed.backends.received().iter().filter(|request| request.body_complete).count();
        assert_eq!(complete, 0);
        serves(&bed).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_upstream_connection_that_is_not_used_is_closed() -> anyhow::Result<()> {
    let mut upstream = Upstream::start().await?;
    let backends = Backends::start().await?;
    let rule = "- route: [{destination: {host: once}}]";
    let documents = format!("{}{}", service("once", &[upstream.address]), virtual_service(rule));
    let bed = Bed::over(backends, &documents, &[PORT], &["--upstream-idle-timeout-ms", MOMENT]).await?;
    let mut client = bed.open().await?;
    client.send(&RawRequest::get("/").to_bytes()).await?;
    let mut backend = upstream.accept().await?;
    backend.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
    assert_eq!(client.response("GET").await?.status, 200);
    let closed = tokio::time::timeout(LONG, backend.read(&mut [0])).await.context("it is kept open")?;
    assert_eq!(closed?, 0, "closed, not reset, and nothing more was sent");
    Ok(())
}

/// A backend that is played by the test.
struct Upstream {
    listener: TcpListener,
    address: SocketAddr,
}

impl Upstream {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Takes a connection and reads the head of its first request.
    async fn accept(&mut self) -> anyhow::Result<TcpStream> {
        let accepted = tokio::time::timeout(LONG, self.listener.accept()).await.context("no connection")?;
        let mut stream = accepted?.0;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        Ok(stream)
    }
}
