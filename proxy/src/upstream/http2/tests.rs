//! Connections to an endpoint that says what a test wants: what becomes of requests that it takes late, or never.

use super::*;
use crate::body::client::ClientBody;
use crate::body::replay::RequestBody;
use crate::body::stream::BodyLimits;
use crate::error::GatewayError;
use crate::telemetry::record::BytesCount;
use crate::testing::{bounded, on_a_worker};
use crate::upstream::OutgoingHead;
use crate::upstream::test_backend::{nothing, settle};
use http::{HeaderMap, HeaderValue, Method};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::either::Either;
use turnout_routes::router::BackendPolicy;

const LONG: Duration = Duration::from_mins(1);

/// A connection to an endpoint that takes so many streams, and has said so before it is told anything.
async fn connection(most: u8, stall_timeout: Duration) -> (Rc<Http2>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let connecting = TcpStream::connect(listener.local_addr().expect("it is bound"));
    let (near, accepted) = tokio::join!(connecting, listener.accept());
    let (near, mut far) = (near.expect("connected"), accepted.expect("accepted").0);
    far.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, most]).await.expect("writable");
    settle().await;
    let (policy, of) = (BackendPolicy::default(), Rc::default());
    let made = Http2::handshake(
        (Either::Left(near), None),
        &policy.http2,
        Keep::new(&policy, LONG),
        stall_timeout,
        (&of, None),
    );
    (Rc::new(made.await.expect("nothing is waited for")), far)
}

fn post(body: RequestBody) -> Outgoing {
    let target = http::uri::PathAndQuery::from_static("/score");
    let head = OutgoingHead { method: Method::POST, target, headers: HeaderMap::new() };
    Outgoing::new(head, HeaderValue::from_static("model"), body, false, false)
}

/// What came of a request, in a word.
async fn send(stream: &Http2Stream, body: RequestBody) -> &'static str {
    match stream.send(&mut post(body), SocketAddr::from(([127, 0, 0, 1], 80))).await {
        Ok(_) => "answered",
        Err(SendFailure::Untouched(_)) => "untouched",
        Err(SendFailure::Failed(_)) => "failed",
        Err(SendFailure::Body) => "body",
        Err(SendFailure::Target) => "target",
    }
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        settle().await;
    }
}

#[test]
fn a_request_to_an_endpoint_that_takes_no_streams_comes_back() {
    on_a_worker(bounded(async {
        let (connection, _far) = connection(0, LONG).await;
        let stream = connection.first();
        stream.settle((), LONG);
        assert_eq!(send(&stream, nothing()).await, "untouched");
        drop(stream);
        assert!(connection.is_idle() && !connection.is_open(Instant::now()));
    }));
}

#[test]
fn streams_are_shared_when_the_endpoint_has_said_how_many_it_takes() {
    on_a_worker(bounded(async {
        let (connection, _far) = connection(2, LONG).await;
        let _first = connection.first();
        let policy = Http2Policy::default();
        assert!(connection.begin(&policy).is_none(), "nothing was heard");
        let held = Rc::new(());
        connection.settle(Rc::clone(&held), LONG);
        until(|| Rc::strong_count(&held) == 1).await;
        let second = connection.begin(&policy);
        assert!(second.is_some() && connection.begin(&policy).is_none());
        drop(second);
        assert!(connection.begin(&policy).is_some());
    }));
}

#[test]
fn what_a_dying_connection_has_not_begun_comes_back_and_what_it_has_is_lost() {
    on_a_worker(bounded(async {
        let (connection, far) = connection(1, LONG).await;
        let (first, second) = (connection.first(), connection.first());
        let dies = async {
            until(|| connection.last_stream.get() == 1).await;
            drop(far);
        };
        let (first, second, ()) = tokio::join!(send(&first, nothing()), send(&second, nothing()), dies);
        assert_eq!((first, second), ("failed", "untouched"));
    }));
}

#[test]
fn what_was_given_back_is_not_begun_later() {
    on_a_worker(bounded(async {
        let (connection, mut far) = connection(1, LONG).await;
        let (first, second) = (connection.first(), connection.first());
        let ends = async {
            until(|| connection.last_stream.get() == 1).await;
            connection.end();
            // Now it takes more.
            far.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9]).await.expect("writable");
        };
        let (_, second, ()) = tokio::join!(send(&first, nothing()), send(&second, nothing()), ends);
        assert_eq!((second, connection.last_stream.get()), ("untouched", 1));
    }));
}

/// Pieces that are together more than an endpoint takes unasked, and then the end, or nothing more for ever.
struct Upload {
    pieces: usize,
    ends: bool,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = GatewayError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GatewayError>>> {
        if self.pieces > 0 {
            self.pieces -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 40_000])))));
        }
        if self.ends { Poll::Ready(None) } else { Poll::Pending }
    }
}

#[test]
fn an_upload_that_the_endpoint_does_not_take_ends_when_its_answer_has() {
    on_a_worker(bounded(async {
        // Some of it has not come from the client; all of it has, and the endpoint has had its time.
        for (ends, pieces) in [(false, 1), (false, 5), (true, 5)] {
            let (connection, mut far) = connection(9, if ends { Duration::from_millis(1) } else { LONG }).await;
            let mut source = Some(ClientBody::test(Upload { pieces, ends }, LONG));
            let limits = BodyLimits { max_bytes: None, read_ahead_bytes: 0, waits: true, replay_bytes: 0 };
            let body =
                RequestBody::read(&mut source, limits, &mut BytesCount::Known(0)).await.expect("nothing is read");
            let stream = connection.first();
            let answers = async {
                until(|| connection.last_stream.get() == 1).await;
                far.write_all(&[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88]).await.expect("writable");
            };
            let (answer, ()) = tokio::join!(send(&stream, body), answers);
            assert_eq!(answer, "answered");
            if ends {
                stream.give_back();
            } else {
                drop(stream);
            }
            until(|| connection.is_idle()).await;
        }
    }));
}

#[test]
fn a_target_that_http2_has_no_word_for_is_not_sent_as_another() {
    on_a_worker(bounded(async {
        let (connection, _far) = connection(9, LONG).await;
        for target in [format!("/{}", "\"".repeat(30_000)), "b/c".to_owned()] {
            let wire = crate::raw_target::WireTarget::try_from(target).expect("a target");
            let mut outgoing = post(nothing()).with_raw(wire.raw);
            outgoing.put_back(OutgoingHead { method: Method::GET, target: wire.uri, headers: HeaderMap::new() });
            let sent = connection.first().send(&mut outgoing, SocketAddr::from(([127, 0, 0, 1], 80))).await;
            assert!(matches!(sent, Err(SendFailure::Target)) && connection.last_stream.get() == 0);
        }
    }));
}
