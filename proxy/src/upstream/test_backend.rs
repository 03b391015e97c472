//! A backend that keeps to a script, over loopback, and the gateway's way to it.

use super::pool::{SendError, WorkerUpstream, WorkerUpstreams};
use super::{Outgoing, OutgoingHead, Plan, Upstream, UpstreamBody};
use crate::body::replay::RequestBody;
use crate::credentials::Credentials;
use crate::random::Random;
use crate::telemetry::metrics::{Metrics, SourceNames};
use crate::telemetry::record::Destination;
use crate::testing::workload;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::BodyExt;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use turnout_routes::documents::EndpointAddress;
use turnout_routes::router::{BackendPolicy, EndpointSource};

/// What a backend does on one connection. At the end it keeps it open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
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

pub(crate) const REQUEST: Act = Reads("\r\n\r\n");
pub(crate) const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\non\r\n1\r\ne\r\n0\r\n\r\n";
pub(crate) const LAST: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\none";
/// Some of nine bytes.
pub(crate) const PART: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\none";
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

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
pub(crate) struct Scene {
    pub(crate) upstreams: WorkerUpstreams,
    pub(crate) upstream: Rc<WorkerUpstream>,
    backend: tokio::task::JoinHandle<Vec<Option<TcpStream>>>,
}

impl Scene {
    pub(crate) async fn new(scripts: &'static [&'static [Act]], max_requests_per_connection: u32) -> Self {
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
        let credentials = Arc::new(Credentials::new(None));
        let upstreams =
            WorkerUpstreams::new(&Rc::new(Random::new()), &metrics, &credentials, IDLE_TIMEOUT, IDLE_TIMEOUT);
        let upstream = upstreams.of(&shared(address, max_requests_per_connection));
        Self { upstreams, upstream, backend }
    }

    pub(crate) async fn send(&self, body: RequestBody) -> Result<Response<UpstreamBody>, SendError> {
        let head = OutgoingHead {
            method: Method::POST,
            target: http::uri::PathAndQuery::from_static("/score"),
            headers: HeaderMap::new(),
        };
        let mut outgoing = Outgoing::new(head, HeaderValue::from_static("model"), body, false, false);
        self.upstream.send(&mut outgoing, &[], &mut Destination::default()).await
    }

    /// The answer's body, or what went wrong.
    pub(crate) async fn request(&self, body: RequestBody) -> String {
        match self.send(body).await {
            Ok(response) => match response.into_body().collect().await {
                Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
                Err(error) => format!("{error:?}"),
            },
            Err(error) => format!("{error:?}"),
        }
    }

    /// Returns when the backend has done all that is in its scripts.
    pub(crate) async fn ended(self) {
        self.backend.await.expect("it keeps to its scripts");
    }
}

fn shared(address: SocketAddr, max_requests_per_connection: u32) -> Arc<Upstream> {
    let policy = BackendPolicy { max_requests_per_connection, ..BackendPolicy::default() };
    let upstream = Upstream::new("model:80".into(), policy.clone());
    let source = EndpointSource {
        address: EndpointAddress::Ip(address.ip()),
        port: address.port(),
        weight: 1,
        workload: workload("blue"),
    };
    upstream.adopt(Plan { sources: vec![source], names: HashMap::new(), policy });
    upstream
}

/// Returns when this thread has learnt of everything that has happened to its sockets.
pub(crate) async fn settle() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let connecting = TcpStream::connect(listener.local_addr().expect("it is bound"));
    let (connected, accepted) = tokio::join!(connecting, listener.accept());
    let (mut near, (mut far, _)) = (connected.expect("connected"), accepted.expect("accepted"));
    near.write_u8(1).await.expect("writable");
    far.read_u8().await.expect("readable");
}

pub(crate) fn nothing() -> RequestBody {
    RequestBody::whole(Bytes::new())
}
