//! Any body, sent by any tries, over HTTP/1: what the backend of the last try sees is what the client sent, or an error
//! with the right cause.

use super::*;
use crate::testing::in_paused_time;
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::Notify;

const IDLE: Duration = Duration::from_secs(5);
/// Within this every case has come to its end.
const LONGEST: Duration = Duration::from_mins(10);

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// With the last piece.
    Well,
    /// A while after the last piece, as HTTP/2 may.
    Late,
    Trailers,
    BrokenOff,
    Stalled,
}

#[derive(Clone, Debug)]
struct Case {
    /// Each with whether the client makes a pause before it.
    pieces: Vec<(usize, bool)>,
    end: End,
    says_length: bool,
    limits: BodyLimits,
    /// The tries before the last: after how many bytes each is given up.
    given_up: Vec<usize>,
    /// Whether the last backend answers before it has read anything.
    answers_early: bool,
    /// Bytes between gateway and backend.
    window: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let end = prop_oneof![
        3 => Just(End::Well), 3 => Just(End::Late), 2 => Just(End::Trailers), 1 => Just(End::BrokenOff), 1 => Just(End::Stalled)
    ];
    let size = prop_oneof![1 => Just(0), 4 => 1..200_usize, 4 => 200..9000_usize, 1 => 9000..=40_usize << 10];
    let limits = (
        prop_oneof![3 => Just(None), 1 => (0..60_000_u64).prop_map(Some)],
        prop_oneof![Just(0), 0..200_usize, 0..=16_usize << 10],
        any::<bool>(),
        prop_oneof![Just(0), 0..=64_usize << 10],
    )
        .prop_map(|(max_bytes, read_ahead_bytes, waits, replay_bytes)| BodyLimits {
            max_bytes,
            read_ahead_bytes,
            waits,
            replay_bytes,
        });
    let pieces = proptest::collection::vec((size, any::<bool>()), 0..8);
    let given_up = proptest::collection::vec(prop_oneof![Just(0), 0..30_000_usize], 0..3);
    (pieces, end, any::<bool>(), limits, given_up, any::<bool>(), 1..20_000_usize).prop_map(
        |(pieces, end, says_length, limits, given_up, answers_early, window)| Case {
            pieces,
            end,
            says_length,
            // What takes its time may stall.
            limits: BodyLimits { waits: limits.waits || end == End::Stalled, ..limits },
            given_up,
            answers_early,
            window,
        },
    )
}

impl Case {
    fn sent(&self) -> Vec<u8> {
        let length = self.pieces.iter().map(|piece| piece.0).sum();
        (0..length).map(|at: usize| u8::try_from(at % 251).unwrap_or_default()).collect()
    }

    /// By Content-Length: what a client that fails has not sent is part of it.
    fn length(&self) -> Option<u64> {
        let missing = if matches!(self.end, End::BrokenOff | End::Stalled) { 7 } else { 0 };
        self.says_length.then(|| self.sent().len() as u64 + missing)
    }

    /// What is wrong with it, and how much of it has come by then.
    fn failure(&self) -> Option<(GatewayError, u64)> {
        let max = self.limits.max_bytes.unwrap_or(u64::MAX);
        if self.length().is_some_and(|length| length > max) {
            return Some((GatewayError::BodyTooLarge, 0));
        }
        let mut received = 0;
        for (bytes, _) in &self.pieces {
            received += *bytes as u64;
            if received > max {
                return Some((GatewayError::BodyTooLarge, received));
            }
        }
        match self.end {
            End::BrokenOff => Some((GatewayError::BodyAborted, received)),
            End::Stalled => Some((GatewayError::BodyTimeout, received)),
            End::Well | End::Late | End::Trailers => None,
        }
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static("1"))])
}

/// What the client sends, as the gateway's connection gives it.
struct FromClient {
    data: Bytes,
    pieces: VecDeque<(usize, bool)>,
    end: End,
    length: Option<u64>,
    given: u64,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl FromClient {
    fn new(case: &Case) -> Self {
        let pieces = case.pieces.iter().copied().collect();
        Self { data: case.sent().into(), pieces, end: case.end, length: case.length(), given: 0, pause: None }
    }
}

impl Body for FromClient {
    type Data = Bytes;
    type Error = GatewayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GatewayError>>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let after = Box::pin(tokio::time::sleep(IDLE / 2));
        if let Some((bytes, pauses)) = self.pieces.front_mut() {
            if std::mem::take(pauses) {
                self.pause = Some(after);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let bytes = *bytes;
            self.pieces.pop_front();
            self.given += bytes as u64;
            return Poll::Ready(Some(Ok(Frame::data(self.data.split_to(bytes)))));
        }
        match self.end {
            End::Well => Poll::Ready(None),
            End::Late => {
                (self.end, self.pause) = (End::Well, Some(after));
                context.waker().wake_by_ref();
                Poll::Pending
            }
            End::Trailers => {
                self.end = End::Well;
                Poll::Ready(Some(Ok(Frame::trailers(trailers()))))
            }
            End::BrokenOff => Poll::Ready(Some(Err(GatewayError::BodyAborted))),
            End::Stalled => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(self.given) && self.end == End::Well && self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, |length| SizeHint::with_exact(length - self.given))
    }
}

/// What one backend has seen.
#[derive(Default)]
struct Seen {
    data: RefCell<Vec<u8>>,
    trailers: RefCell<Option<HeaderMap>>,
    /// Whether the request came to its end well.
    ended: Cell<Option<bool>>,
    changed: Notify,
}

impl Seen {
    async fn read(&self, mut body: Incoming) {
        let well = loop {
            if body.is_end_stream() {
                break true;
            }
            let frame = match body.frame().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => self.data.borrow_mut().extend_from_slice(&data),
                Err(frame) => *self.trailers.borrow_mut() = frame.into_trailers().ok(),
            }
            self.changed.notify_waiters();
        };
        self.ended.set(Some(well));
        self.changed.notify_waiters();
    }

    /// Returns when so much has come, or nothing more will.
    async fn until(&self, bytes: usize) {
        while self.ended.get().is_none() && self.data.borrow().len() < bytes {
            self.changed.notified().await;
        }
    }
}

/// Sends a body to a backend of its own. While the connections live, they are driven.
fn send(
    body: TryBody,
    window: usize,
    answers_early: bool,
) -> (Rc<Seen>, impl Future<Output = hyper::Result<Response<Incoming>>>) {
    let (near, far) = tokio::io::duplex(window);
    let seen = Rc::<Seen>::default();
    let read = Rc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Rc::clone(&read);
        let reading = tokio::task::spawn_local(async move { seen.read(request.into_body()).await });
        async move {
            if !answers_early {
                let _ = reading.await;
            }
            Ok::<_, Infallible>(Response::new(http_body_util::Empty::<Bytes>::new()))
        }
    });
    tokio::task::spawn_local(server::Builder::new().serve_connection(TokioIo::new(far), service));
    let mut request = Request::post("/").header(header::HOST, "model");
    if body.is_chunked() {
        request = request.header(header::TRANSFER_ENCODING, "chunked").header(header::TRAILER, "x-sum");
    }
    let request = request.body(body).expect("a request");
    let answered = async move {
        let (mut sender, connection) = client::handshake(TokioIo::new(near)).await?;
        // Ends with the future that holds it.
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn_local(connection);
        let response = sender.send_request(request).await?;
        driver.join_next().await;
        Ok(response)
    };
    (seen, answered)
}

async fn next_frame(body: &mut TryBody) -> Option<Result<Frame<Bytes>, TryBodyError>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

async fn check(case: &Case) -> Result<(), TestCaseError> {
    let (sent, failure) = (case.sent(), case.failure());
    let mut count = BytesCount::Known(0);
    let mut source = Some(ClientBody::test(FromClient::new(case), IDLE));
    let body = match RequestBody::read(&mut source, case.limits, &mut count).await {
        Ok(body) => body,
        Err(error) => {
            prop_assert_eq!(Some((error, count.get())), failure);
            prop_assert!(source.is_some(), "nobody can read what is left of it");
            return Ok(());
        }
    };
    for bytes in &case.given_up {
        let (seen, answered) = send(body.next_try(), case.window, false);
        tokio::select! {
            _ = answered => {}
            () = seen.until(*bytes) => {}
        }
        prop_assert!(sent.starts_with(&seen.data.borrow()), "another body");
        if !body.is_replayable() {
            return Ok(());
        }
    }
    let mut old = body.next_try();
    let newest = body.next_try();
    if old.is_streamed() {
        let given = next_frame(&mut old).await;
        prop_assert!(matches!(given, Some(Err(TryBodyError::Superseded))), "an older try got {:?}", given);
    }
    let (is_chunked, is_streamed) = (newest.is_chunked(), newest.is_streamed());
    // hyper's server ends trailers that come after its answer only with the next request.
    let (seen, answered) = send(newest, case.window, case.answers_early && case.end != End::Trailers);
    let answered = tokio::select! {
        answered = answered => Some(answered.is_ok()),
        () = seen.until(usize::MAX) => None,
    };
    prop_assert_eq!(count.get(), failure.map_or(sent.len() as u64, |failure| failure.1));
    prop_assert_eq!(body.failure(), failure.map(|failure| failure.0));
    prop_assert_eq!(body.is_received(), failure.is_none());
    if failure.is_some() {
        prop_assert!(is_streamed && answered != Some(true) || case.answers_early, "answered");
        prop_assert!(sent.starts_with(&seen.data.borrow()) && seen.ended.get() != Some(true), "taken for whole");
        return Ok(());
    }
    prop_assert!(*seen.data.borrow() == sent, "{} bytes of {}", seen.data.borrow().len(), sent.len());
    prop_assert_eq!(seen.ended.get(), Some(true));
    let sends_trailers = case.end == End::Trailers && is_chunked;
    prop_assert_eq!(&*seen.trailers.borrow(), &sends_trailers.then(trailers));
    // What a time-out waits for.
    body.received().await;
    Ok(())
}

#[test]
fn the_last_try_sends_what_the_client_sent_or_fails_with_the_cause() {
    let config = Config { cases: 2000, rng_seed: RngSeed::Fixed(3), failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&cases(), |case| {
        let checked = in_paused_time(async { tokio::time::timeout(LONGEST, check(&case)).await });
        checked.unwrap_or_else(|_| Err(TestCaseError::fail("it hangs")))
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
