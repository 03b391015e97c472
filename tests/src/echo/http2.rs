//! An echo backend over HTTP/2. Of the instruction it does what makes sense there.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answer;
use super::instruction::{Instruction, Item};
use super::{BACKEND_HEADER, BREAK_AFTER, Peer, Received, Socket};
use crate::frames::{Frame, kind};
use crate::wire::HeaderLines;

/// What every client says first, as far as it must be seen.
const PREFACE: &[u8] = b"PRI";

/// Whether the client begins as HTTP/2 does.
pub(super) async fn is_spoken(stream: &tokio::net::TcpStream) -> bool {
    let mut first = [0; PREFACE.len()];
    stream.peek(&mut first).await.is_ok_and(|_| first == PREFACE)
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    Reset,
}

/// Serves every stream of a connection. Dropping it ends them. `raw` is the same socket again, for what the library does
/// not say.
pub(super) async fn serve(stream: impl Socket, settings: &Builder, peer: Peer, raw: Option<TcpStream>) {
    let Ok(mut connection) = settings.handshake(stream).await else { return };
    let raw = raw.map(Arc::new);
    let (ending, mut ended) = mpsc::channel(1);
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let exchange = Exchange { peer: peer.clone(), raw: raw.clone(), ending: ending.clone() };
                streams.spawn(exchange.run(request, respond));
            }
            Some(_) = streams.join_next() => {}
            Some(end) = ended.recv() => {
                if let (End::Reset, Some(raw)) = (end, &raw) {
                    let _ = socket2::SockRef::from(&**raw).set_linger(Some(std::time::Duration::ZERO));
                }
                return;
            }
        }
    }
}

struct Exchange {
    peer: Peer,
    raw: Option<Arc<TcpStream>>,
    ending: mpsc::Sender<End>,
}

impl Exchange {
    /// A client that is gone ends it without a word.
    async fn run(self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let _ = self.answer(request, respond).await;
    }

    async fn answer(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
        let (head, mut body) = request.into_parts();
        let mut received = self.received(&head);
        received.attempt = self.peer.log.record(received.clone());
        let header = received.headers.first("x-echo").unwrap_or_default();
        let instruction = Instruction::parse(header, &self.peer.backend, received.attempt);
        if let Ok(early) = &instruction
            && early.has(&Item::Early)
        {
            self.send(&received, early, &mut respond).await?;
            // To let go of the body would reset the stream.
            return std::future::pending().await;
        }
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            received.body.extend_from_slice(&data);
        }
        received.trailers = lines(body.trailers().await?.as_ref());
        received.body_complete = true;
        self.peer.log.complete(&received);
        let Ok(instruction) = instruction else {
            respond.send_reset(Reason::HTTP_1_1_REQUIRED);
            return Ok(());
        };
        tokio::time::sleep(instruction.delay()).await;
        if let Some(reason) = instruction.reset() {
            respond.send_reset(reason);
            return Ok(());
        }
        let this_stream = respond.stream_id().as_u32();
        if instruction.has(&Item::GoAway) {
            self.say_goaway(this_stream.saturating_sub(2));
            return self.end(End::Close).await;
        }
        for (item, end) in [(Item::Close, End::Close), (Item::Reset, End::Reset)] {
            if instruction.has(&item) {
                return self.end(end).await;
            }
        }
        if instruction.has(&Item::GoAwayAfter) {
            // Said before the answer, or the next request might be quicker.
            self.say_goaway(this_stream);
        }
        self.send(&received, &instruction, &mut respond).await?;
        if instruction.has(&Item::GoAwayAfter) { self.end(End::Close).await } else { Ok(()) }
    }

    async fn send(
        &self,
        received: &Received,
        instruction: &Instruction,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<(), h2::Error> {
        let no_body = instruction.has(&Item::NoBody);
        let payload = if no_body { Vec::new() } else { answer::payload(received, instruction) };
        let trailers = instruction.trailers().map(field).collect::<HeaderMap>();
        let ends = received.method == "HEAD" || payload.is_empty() && trailers.is_empty();
        let mut stream = respond.send_response(self.head(instruction, payload.len()), ends)?;
        if ends {
            return Ok(());
        }
        if let Some(reason) = instruction.reset_mid_body() {
            stream.send_data(payload.into(), false)?;
            // What is reset is not sent any more.
            tokio::time::sleep(BREAK_AFTER).await;
            stream.send_reset(reason);
            return Ok(());
        }
        stream.send_data(payload.into(), trailers.is_empty())?;
        if trailers.is_empty() { Ok(()) } else { stream.send_trailers(trailers) }
    }

    /// The last stream that was looked at is this one.
    fn say_goaway(&self, last: u32) {
        let mut goaway = Frame::new(kind::GOAWAY, 0);
        goaway.payload = [last.to_be_bytes(), 0_u32.to_be_bytes()].concat();
        let raw = self.raw.as_ref().expect("only of a connection in plain text");
        // A client that is gone need not hear it.
        let _ = (&**raw).write_all(&goaway.to_bytes());
    }

    async fn end(&self, end: End) -> Result<(), h2::Error> {
        tokio::time::sleep(BREAK_AFTER).await;
        let _ = self.ending.send(end).await;
        // To let go of the stream would reset it first.
        std::future::pending().await
    }

    fn received(&self, head: &http::request::Parts) -> Received {
        let mut headers = lines(Some(&head.headers));
        if let Some(authority) = head.uri.authority() {
            headers.0.insert(0, (":authority".to_owned(), authority.to_string()));
        }
        Received {
            backend: self.peer.backend.clone(),
            connection: self.peer.number,
            attempt: 0,
            method: head.method.to_string(),
            target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            version: "HTTP/2".to_owned(),
            headers,
            body: Vec::new(),
            trailers: HeaderLines::default(),
            body_complete: false,
            tls: self.peer.tls.clone(),
            scheme: head.uri.scheme_str().map(str::to_owned),
        }
    }

    fn head(&self, instruction: &Instruction, payload: usize) -> Response<()> {
        let status = instruction.status();
        let mut response = Response::builder().status(status).header(BACKEND_HEADER, &self.peer.backend);
        let has_type = instruction.headers().any(|(name, _)| name == "content-type");
        if !has_type && !instruction.has(&Item::NoType) {
            response = response.header("content-type", "application/json");
        }
        for (name, value) in instruction.headers() {
            response = response.header(name, value);
        }
        if let Some(size) = instruction.header_size() {
            response = response.header("x-big", "v".repeat(size));
        }
        let has_length = [Item::NoBody, Item::NoLength].iter().all(|item| !instruction.has(item));
        if has_length && instruction.trailers().next().is_none() && !instruction.is_bodiless() {
            let missing = if instruction.reset_mid_body().is_some() { answer::MISSING_BYTES } else { 0 };
            response = response.header("content-length", payload + missing);
        }
        response.body(()).expect("instructions hold good names and values")
    }
}

fn field((name, value): (&str, &str)) -> (HeaderName, HeaderValue) {
    let name = HeaderName::from_bytes(name.as_bytes());
    (name.expect("instructions hold good names"), value.parse().expect("instructions hold good values"))
}

fn lines(headers: Option<&HeaderMap>) -> HeaderLines {
    let all = headers.into_iter().flatten();
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), value.as_bytes().iter().copied().map(char::from).collect())
    };
    HeaderLines(all.map(line).collect())
}
