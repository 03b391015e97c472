//! What the echo backends promise to the suites, seen through the raw client.

use super::{Backends, Received};
use crate::client::{RawConnection, RawRequest, RawResponse, send};
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

async fn backends() -> Backends {
    Backends::start().await.expect("loopback has free ports")
}

/// Asks green to answer as `x_echo` says.
async fn ask(backends: &Backends, x_echo: &str) -> io::Result<RawResponse> {
    send(backends.address("green"), &RawRequest::get("/").header("x-echo", x_echo)).await
}

#[tokio::test]
async fn a_request_is_recorded_and_echoed_as_received() {
    let backends = backends().await;
    let request = RawRequest::post("/a/../b?c", b"abc").header("X-Mixed", " v ").header("x-mixed", "w");
    let response = send(backends.address("blue"), &request).await.expect("blue answers");
    assert_eq!((response.status, response.backend()), (200, Some("blue")));
    let echo = response.json().expect("the echo is JSON");
    assert_eq!((&echo["path"], &echo["body"], &echo["attempt"]), (&"/a/../b?c".into(), &"abc".into(), &1.into()));
    assert_eq!(echo["headers"][2], serde_json::json!(["X-Mixed", "v"]));

    let received = backends.received();
    let [Received { backend, connection: 1, attempt: 1, method, target, version, headers, body, .. }] = &received[..]
    else {
        panic!("not one request: {received:?}");
    };
    assert_eq!([backend, method, target, version], ["blue", "POST", "/a/../b?c", "HTTP/1.1"]);
    assert_eq!((headers.values("x-mixed"), body.as_slice()), (vec!["v", "w"], &b"abc"[..]));
    assert!(received[0].body_complete);
}

#[tokio::test]
async fn attempts_count_over_all_backends_and_connections_within_one() {
    let backends = backends().await;
    let request = RawRequest::get("/");
    let mut green = RawConnection::open(backends.address("green")).await.expect("green listens");
    green.exchange(&request).await.expect("green answers");
    green.exchange(&request).await.expect("green answers again");
    send(backends.address("green"), &request).await.expect("green answers on another connection");
    send(backends.address("red"), &request).await.expect("red answers");
    let numbers = |received: &Received| (received.backend.clone(), received.connection, received.attempt);
    let seen: Vec<_> = backends.received().iter().map(numbers).collect();
    let expected = [("green", 1, 1), ("green", 1, 2), ("green", 2, 3), ("red", 1, 4)];
    assert_eq!(seen, expected.map(|(backend, connection, attempt)| (backend.to_owned(), connection, attempt)));

    backends.clear();
    green.exchange(&request).await.expect("green answers after the log is cleared");
    assert_eq!(backends.received().iter().map(numbers).collect::<Vec<_>>(), [("green".to_owned(), 1, 1)]);
}

#[tokio::test]
async fn well_formed_answers_are_shaped_as_asked() {
    let backends = backends().await;
    let answer = async |x_echo| ask(&backends, x_echo).await.expect("green answers");

    let response = answer("status=418; body=tea; header=X-A:1; header=x-a:2; header-size=9; no-type").await;
    assert_eq!((response.status, response.text().as_str()), (418, "tea"));
    assert_eq!(response.headers.values("x-a"), ["1", "2"]);
    assert_eq!((response.header("x-big"), response.header("content-type")), (Some("vvvvvvvvv"), None));

    assert_eq!(answer("status=204; body=none").await.header("content-length"), None);
    assert_eq!(answer("chunked").await.header("transfer-encoding"), Some("chunked"));
    assert_eq!(answer("trailers").await.trailers.first("x-trailer"), Some("t1"));
    assert_eq!(answer("until-close; body=abc").await.text(), "abc");
    assert_eq!(answer("close; only=blue").await.status, 200);
    assert_eq!(answer("clsoe").await.status, 599);
}

#[tokio::test]
async fn misbehaviour_is_done_as_asked() {
    let backends = backends().await;
    let failure = async |x_echo| ask(&backends, x_echo).await.expect_err(x_echo).kind();
    assert_eq!(failure("close").await, io::ErrorKind::UnexpectedEof);
    assert_eq!(failure("reset").await, io::ErrorKind::ConnectionReset);
    assert_eq!(failure("garbage").await, io::ErrorKind::InvalidData);
    for x_echo in ["close-mid-body; body=abc", "reset-mid-body; body=abc", "chunked; close-mid-body; body=abc"] {
        let response = ask(&backends, x_echo).await.expect("there is a head");
        assert_eq!((response.complete, response.text().as_str()), (false, "abc"), "{x_echo}");
    }
}

#[tokio::test]
async fn a_connection_is_kept_unless_asked_otherwise() {
    let backends = backends().await;
    for (x_echo, closed) in [("close-after", true), ("until-close", true)] {
        let mut green = RawConnection::open(backends.address("green")).await.expect("green listens");
        green.exchange(&RawRequest::get("/").header("x-echo", x_echo)).await.expect("green answers");
        assert_eq!(green.is_closed_within(Duration::from_mins(1)).await, closed, "{x_echo}");
    }
}

#[tokio::test]
async fn an_upgrade_is_accepted_and_every_byte_returned() {
    let backends = backends().await;
    let request = RawRequest::get("/")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut green = RawConnection::open(backends.address("green")).await.expect("green listens");
    assert_eq!(green.exchange(&request).await.expect("green answers").status, 101);
    green.send(b"ping").await.expect("the tunnel is open");
    assert_eq!(green.exactly(4).await.expect("the tunnel echoes"), b"ping");

    let refused = send(backends.address("green"), &request.header("x-echo", "refuse-upgrade")).await;
    assert_eq!(refused.expect("green answers").status, 200);
}

#[tokio::test]
async fn an_expectation_is_met_before_the_body_arrives() {
    let backends = backends().await;
    let head = RawRequest::new("POST", "/").header("Expect", "100-continue").header("Content-Length", "3");
    let mut green = RawConnection::open(backends.address("green")).await.expect("green listens");
    green.send(&head.to_bytes()).await.expect("green reads");
    let interim = green.exactly(25).await.expect("green asks for the body");
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    green.send(b"abc").await.expect("green reads");
    green.response("POST").await.expect("green answers");
    assert_eq!(backends.received()[0].body, b"abc");
}

#[tokio::test]
async fn refusing_and_stopped_ports_refuse() {
    let mut backends = backends().await;
    let green = backends.address("green");
    let mut open = RawConnection::open(green).await.expect("green listens");
    backends.stop("green").await;
    assert!(open.is_closed_within(Duration::from_mins(1)).await);
    for address in [backends.refusing_address(), green] {
        let refused = TcpStream::connect(address).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    send(backends.address("blue"), &RawRequest::get("/")).await.expect("blue goes on");
}
