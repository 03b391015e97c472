//! A backend that speaks gRPC, with a method of each kind, and a client for it. Messages are texts.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::{self, StreamExt as _};
use hyper::body::Incoming;
use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Response, Status, Streaming};

/// The kinds of methods.
pub(super) const UNARY: &str = "/model.Scorer/Unary";
pub(super) const COLLECT: &str = "/model.Scorer/Collect";
pub(super) const EXPAND: &str = "/model.Scorer/Expand";
pub(super) const CHAT: &str = "/model.Scorer/Chat";

/// A status that has something of everything.
pub(super) fn refusal() -> Status {
    Status::with_details(Code::FailedPrecondition, "100 % no: ü\n", vec![0, 1, 0xff].into())
}

/// A text as a message.
#[derive(Clone, Copy)]
pub(super) struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let length = bytes::Buf::remaining(buffer);
        let bytes = bytes::Buf::copy_to_bytes(buffer, length);
        String::from_utf8(bytes.into()).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// What a backend has seen, in order. That a call is over is seen when what answers it is dropped.
type Seen = UnboundedSender<String>;

/// Says that a call is over.
struct Call(Seen);

impl Call {
    fn sees(&self, what: &str) {
        // A test that is over need not hear it.
        let _ = self.0.send(what.to_owned());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.sees("over");
    }
}

/// A running backend.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    seen: UnboundedReceiver<String>,
    _serving: JoinSet<()>,
}

impl Backend {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, seen) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, sender.clone()));
            }
        });
        Ok(Self { address, seen, _serving: serving })
    }

    /// What it sees next.
    pub(super) async fn sees(&mut self) -> anyhow::Result<String> {
        let seen = tokio::time::timeout(super::LONG, self.seen.recv()).await;
        seen.ok().flatten().ok_or_else(|| anyhow::anyhow!("the backend sees nothing"))
    }
}

async fn serve(stream: TcpStream, seen: Seen) {
    let service = hyper::service::service_fn(move |request| {
        let seen = seen.clone();
        async move { Ok::<_, Infallible>(answer(request, seen).await) }
    });
    // How it ends is seen by the calls.
    let _ = server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: http::Request<Incoming>, seen: Seen) -> http::Response<Body> {
    let mut grpc = tonic::server::Grpc::new(Text);
    let path = request.uri().path().to_owned();
    match path.as_str() {
        UNARY => grpc.unary(tower::service_fn(|asked| unary(asked, Call(seen.clone()))), request).await,
        COLLECT => grpc.client_streaming(tower::service_fn(|asked| collect(asked, Call(seen.clone()))), request).await,
        EXPAND => {
            grpc.server_streaming(tower::service_fn(|asked| ready(expand(asked, Call(seen.clone())))), request).await
        }
        CHAT => grpc.streaming(tower::service_fn(|asked| ready(Ok(chat(asked, Call(seen.clone()))))), request).await,
        other => Status::unimplemented(other).into_http(),
    }
}

/// Says everything twice.
async fn unary(asked: Request<String>, _call: Call) -> Result<Response<String>, Status> {
    match asked.into_inner().as_str() {
        "fail" => Err(refusal()),
        "hang" => std::future::pending().await,
        text => Ok(Response::new(text.repeat(2))),
    }
}

/// Joins what comes, once all of it has, or somebody says that it is enough.
async fn collect(asked: Request<Streaming<String>>, call: Call) -> Result<Response<String>, Status> {
    let mut messages = asked.into_inner();
    let mut all = Vec::new();
    while let Some(text) = messages.message().await? {
        call.sees(&text);
        match text.as_str() {
            "enough" => return Ok(Response::new(all.join(" "))),
            "fail" => return Err(refusal()),
            _ => all.push(text),
        }
    }
    call.sees("end");
    Ok(Response::new(all.join(" ")))
}

/// Counts as far as it is told to, and then fails if it is told to.
fn expand(
    asked: Request<String>,
    call: Call,
) -> Result<Response<impl Stream<Item = Result<String, Status>> + Send + 'static>, Status> {
    let text = asked.into_inner();
    let (count, fails) = text.split_once(' ').map_or((text.as_str(), false), |(count, _)| (count, true));
    let count: u64 = count.parse().map_err(|_| Status::invalid_argument("no number"))?;
    let numbers = stream::unfold((0, call), move |(number, call)| async move {
        (number < count).then(|| (Ok(number.to_string()), (number + 1, call)))
    });
    Ok(Response::new(numbers.chain(stream::iter(fails.then(|| Err(refusal()))))))
}

/// Speaks first, answers each message when it comes, and has the last word.
fn chat(
    asked: Request<Streaming<String>>,
    call: Call,
) -> Response<impl Stream<Item = Result<String, Status>> + Send + 'static> {
    let answers = stream::unfold(Some((asked.into_inner(), call)), |talk| async move {
        let (mut messages, call) = talk?;
        match messages.message().await {
            Ok(Some(text)) if text == "fail" => Some((Err(refusal()), None)),
            Ok(Some(text)) => Some((Ok(format!("re: {text}")), Some((messages, call)))),
            Ok(None) => {
                call.sees("end");
                Some((Ok("bye".to_owned()), None))
            }
            Err(status) => Some((Err(status), None)),
        }
    });
    Response::new(stream::iter([Ok("hello".to_owned())]).chain(answers))
}

/// A connection as tonic wants it.
#[derive(Clone)]
pub(super) struct Channel(client::SendRequest<Body>);

impl Channel {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<tonic::client::Grpc<Self>> {
        let stream = TcpStream::connect(address).await?;
        let (sender, connection) = client::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // It ends with the last of its senders.
        tokio::spawn(connection);
        Ok(tonic::client::Grpc::with_origin(Self(sender), http::Uri::from_static("http://scoring.example.com")))
    }
}

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
