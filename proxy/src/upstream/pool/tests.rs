//! Connections to a backend that keeps to a script: which are used again, and which are given up.

use super::*;
use crate::body::client::ClientBody;
use crate::body::replay::RequestBody;
use crate::body::stream::BodyLimits;
use crate::error::GatewayError;
use crate::telemetry::metrics::SourceNames;
use crate::telemetry::record::BytesCount;
use crate::testing::on_a_worker;
use crate::upstream::{OutgoingHead, Plan};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, coop};
use turnout_routes::documents::EndpointAddress;
use turnout_routes::router::{BackendPolicy, EndpointSource, Workload};

/// What a backend does on one connection. At the end it keeps it open.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Reads up to this.
    Reads(&'static str),
    Writes(&'static str),
    /// Answers with this as the body.
    Answers(&'static str),
    Closes,
    /// Waits until the gateway has closed it.
    SeesEnd,
}
use Act::{Answers, Closes, Reads, SeesEnd, Writes};

const REQUEST: Act = Reads("\r\n\r\n");
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\non\r\n1\r\ne\r\n0\r\n\r\n";
const LAST: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\none";
/// Some of nine bytes.
const PART: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\none";
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

async fn keep_to(script: &'static [Act], mut stream: TcpStream) -> Option<TcpStream> {
    let mut buffer = Vec::new();
    for act in script {
        match act {
            Reads(end) => loop {
                let text = String::from_utf8_lossy(&buffer).into_owned();
                if let Some(at) = text.find(end) {
                    buffer.drain(..at + end.len());
                    break;
                }
                assert_ne!(stream.read_buf(&mut buffer).await.expect("readable"), 0, "closed after {text:?}");
            },
            Writes(text) => stream.write_all(text.as_bytes()).await.expect("writable"),
            Answers(body) => {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.expect("writable");
            }
            Closes => return None,
            // What was on its way may come before.
            SeesEnd => while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {},
        }
    }
    Some(stream)
}

/// A backend, and the gateway's way to it.
struct Scene {
    upstreams: WorkerUpstreams,
    upstream: Rc<WorkerUpstream>,
    backend: tokio::task::JoinHandle<Vec<Option<TcpStream>>>,
}

impl Scene {
    async fn new(scripts: &'static [&'static [Act]], max_requests_per_connection: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let backend = tokio::task::spawn_local(async move {
            let mut connections = JoinSet::new();
            for script in scripts {
                let (stream, _) = listener.accept().await.expect("a connection");
                connections.spawn_local(keep_to(script, stream));
            }
            connections.join_all().await
        });
        let source = SourceNames { workload: "gateway".into(), namespace: "default".into() };
        let metrics = Arc::new(Metrics::new(source).expect("every name is used once"));
        let upstreams = WorkerUpstreams::new(&Rc::new(Random::new()), &metrics, IDLE_TIMEOUT, IDLE_TIMEOUT);
        let upstream = upstreams.of(&shared(address, max_requests_per_connection));
        Self { upstreams, upstream, backend }
    }

    async fn send(&self, body: RequestBody) -> Result<Response<UpstreamBody>, SendError> {
        let head = OutgoingHead {
            method: Method::POST,
            target: http::uri::PathAndQuery::from_static("/score"),
            headers: HeaderMap::new(),
        };
        let mut outgoing = Outgoing::new(head, HeaderValue::from_static("model"), body, false, false);
        self.upstream.send(&mut outgoing, PickContext { tried: &[] }, &mut Destination::default()).await
    }

    /// The answer's body, or what went wrong.
    async fn request(&self, body: RequestBody) -> String {
        match self.send(body).await {
            Ok(response) => match response.into_body().collect().await {
                Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
                Err(error) => format!("{error:?}"),
            },
            Err(error) => format!("{error:?}"),
        }
    }

    /// Returns when the backend has done all that is in its scripts.
    async fn ends(self) {
        self.backend.await.expect("it keeps to its scripts");
    }
}

fn shared(address: SocketAddr, max_requests_per_connection: u32) -> Arc<Upstream> {
    let name = || "model".to_owned();
    let workload = Arc::new(Workload {
        service: name(),
        service_name: name(),
        namespace: name(),
        workload: name(),
        app: name(),
        version: name(),
    });
    let policy =
        BackendPolicy { connect_timeout: Duration::from_secs(10), idle_timeout: None, max_requests_per_connection };
    let upstream = Upstream::new("model:80".into(), policy);
    let source = EndpointSource { address: EndpointAddress::Ip(address.ip()), port: address.port(), workload };
    upstream.adopt(Plan { sources: vec![source], names: HashMap::new(), policy });
    upstream
}

/// Returns when this thread has learnt of everything that has happened to its sockets.
async fn settle() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let connecting = TcpStream::connect(listener.local_addr().expect("it is bound"));
    let (connected, accepted) = tokio::join!(connecting, listener.accept());
    let (mut near, (mut far, _)) = (connected.expect("connected"), accepted.expect("accepted"));
    near.write_u8(1).await.expect("writable");
    far.read_u8().await.expect("readable");
}

fn nothing() -> RequestBody {
    RequestBody::whole(Bytes::new())
}

/// "ab", and then its end, or nothing more for ever.
struct Upload {
    given: bool,
    ends: bool,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = GatewayError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GatewayError>>> {
        if !std::mem::replace(&mut self.given, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"ab")))));
        }
        if self.ends { Poll::Ready(None) } else { Poll::Pending }
    }
}

async fn streamed(ends: bool) -> RequestBody {
    let source = ClientBody::test(Upload { given: false, ends }, Duration::from_mins(1));
    let limits = BodyLimits { max_bytes: None, read_ahead_bytes: 0, replay_bytes: 0 };
    RequestBody::read(source, limits, &mut BytesCount::Known(0)).await.expect("nothing is read yet")
}

#[test]
fn a_connection_is_used_again_only_when_nothing_is_left_on_it() {
    let check = |scripts: &'static [&'static [Act]], max_requests: u32, expected: &[&str]| {
        on_a_worker(async {
            let scene = Scene::new(scripts, max_requests).await;
            let mut seen = Vec::new();
            for _ in expected {
                seen.push(scene.request(nothing()).await);
                settle().await;
            }
            assert_eq!(seen, expected, "{scripts:?}, {max_requests} requests at most");
            scene.ends().await;
        });
    };
    check(&[&[REQUEST, Answers("one"), REQUEST, Answers("two")]], 0, &["one", "two"]);
    check(&[&[REQUEST, Answers(""), REQUEST, Answers("two")]], 0, &["", "two"]);
    check(&[&[REQUEST, Writes(CHUNKED), REQUEST, Answers("two")]], 0, &["one", "two"]);
    // Closed meanwhile: nobody's failure.
    check(&[&[REQUEST, Answers("one"), Closes], &[REQUEST, Answers("two")]], 0, &["one", "two"]);
    check(&[&[REQUEST, Writes(LAST), SeesEnd], &[REQUEST, Answers("two")]], 0, &["one", "two"]);
    // An answer that nobody asked for is nobody's.
    check(&[&[REQUEST, Answers("one"), Answers("evil"), SeesEnd], &[REQUEST, Answers("two")]], 0, &["one", "two"]);
    check(&[&[REQUEST, Answers("one"), SeesEnd], &[REQUEST, Answers("two"), SeesEnd]], 1, &["one", "two"]);
    check(
        &[&[REQUEST, Answers("one"), REQUEST, Answers("two"), SeesEnd], &[REQUEST, Answers("three")]],
        2,
        &["one", "two", "three"],
    );
    check(&[&[REQUEST, Closes], &[REQUEST, Answers("two")]], 0, &["Failed(AfterRequest)", "two"]);
    check(
        &[&[REQUEST, Writes("nonsense\r\n\r\n"), SeesEnd], &[REQUEST, Answers("two")]],
        0,
        &["Failed(Protocol)", "two"],
    );
    check(&[&[REQUEST, Writes(PART), Closes], &[REQUEST, Answers("two")]], 0, &["BrokenAnswer", "two"]);
}

#[test]
fn an_answer_that_nobody_reads_to_its_end_closes_the_connection() {
    on_a_worker(async {
        let scene = Scene::new(&[&[REQUEST, Writes(PART), SeesEnd], &[REQUEST, Answers("two")]], 0);
        let scene = scene.await;
        drop(scene.send(nothing()).await.expect("an answer"));
        assert_eq!(scene.request(nothing()).await, "two");
        scene.ends().await;
    });
}

#[test]
fn a_connection_is_used_again_only_when_all_of_the_request_was_sent() {
    on_a_worker(async {
        let scene = Scene::new(&[&[REQUEST, Reads("0\r\n\r\n"), Answers("one"), REQUEST, Answers("two")]], 0).await;
        assert_eq!(scene.request(streamed(true).await).await, "one");
        settle().await;
        assert_eq!(scene.request(nothing()).await, "two");
        scene.ends().await;
        // It answers before the client has sent all.
        let scene = Scene::new(&[&[REQUEST, Answers("one"), SeesEnd], &[REQUEST, Answers("two")]], 0).await;
        assert_eq!(scene.request(streamed(false).await).await, "one");
        assert_eq!(scene.request(nothing()).await, "two");
        scene.ends().await;
    });
}

#[test]
fn an_idle_connection_is_kept_for_its_time_and_closed_by_the_sweep() {
    on_a_worker(async {
        let scene = Scene::new(&[&[REQUEST, Answers("one"), REQUEST, Answers("two"), SeesEnd]], 0).await;
        let pass = async |time| {
            tokio::time::pause();
            tokio::time::advance(time).await;
            tokio::time::resume();
        };
        assert_eq!(scene.request(nothing()).await, "one");
        pass(IDLE_TIMEOUT.saturating_sub(Duration::from_secs(1))).await;
        scene.upstreams.sweep();
        assert_eq!(scene.request(nothing()).await, "two");
        pass(IDLE_TIMEOUT).await;
        scene.upstreams.sweep();
        scene.ends().await;
    });
}

#[test]
fn a_request_is_polled_once_to_send_it_and_once_for_its_answer() {
    on_a_worker(async {
        let scene = Scene::new(&[&[REQUEST, Answers("one"), REQUEST, Answers("two")]], 0).await;
        scene.request(nothing()).await;
        settle().await;
        let polls = Cell::new(0);
        let mut second = pin!(scene.request(nothing()));
        let answer = poll_fn(|context| {
            polls.set(polls.get() + 1);
            second.as_mut().poll(context)
        });
        assert_eq!((answer.await.as_str(), polls.get()), ("two", 2));
    });
}

/// What a task may do in one turn, in tokio's units.
const BUDGET: usize = 128;

#[test]
fn an_answer_is_taken_however_little_its_task_may_still_do() {
    on_a_worker(async {
        for left in 1..=6 {
            // In several pieces, so that the connection has nothing to do before the first is taken.
            let scene = Scene::new(&[&[REQUEST, Answers("one"), REQUEST, Writes(CHUNKED)]], 0).await;
            scene.request(nothing()).await;
            let mut second = pin!(scene.request(nothing()));
            let answer = poll_fn(|context| {
                for _ in 0..BUDGET - left {
                    let _ = pin!(coop::consume_budget()).poll(context);
                }
                second.as_mut().poll(context)
            });
            assert_eq!(answer.await, "one", "{left} left");
        }
    });
}
