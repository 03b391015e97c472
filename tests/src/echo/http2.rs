//! An echo backend over HTTP/2 in plain text, for clients that begin with its preface. Of the instruction it does what
//! makes sense there: `close` ends the connection, `reset` the stream, `refuse` the stream before anybody has looked at it,
//! and `trailers` follow the body.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answer;
use super::instruction::{Instruction, Item};
use super::{BACKEND_HEADER, BREAK_AFTER, Log, Received};
use crate::wire::HeaderLines;

/// What every client says first, as far as it must be seen.
const PREFACE: &[u8] = b"PRI";

/// Whether the client begins as HTTP/2 does.
pub(super) async fn is_spoken(stream: &TcpStream) -> bool {
    let mut first = [0; PREFACE.len()];
    stream.peek(&mut first).await.is_ok_and(|_| first == PREFACE)
}

/// Serves every stream of a connection. Dropping it ends them.
pub(super) async fn serve(stream: TcpStream, backend: String, number: usize, log: Arc<Log>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let (closing, mut closed) = mpsc::channel(1);
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let exchange = Exchange { backend: backend.clone(), number, log: Arc::clone(&log), closing: closing.clone() };
                streams.spawn(exchange.run(request, respond));
            }
            Some(_) = streams.join_next() => {}
            Some(()) = closed.recv() => return,
        }
    }
}

struct Exchange {
    backend: String,
    number: usize,
    log: Arc<Log>,
    closing: mpsc::Sender<()>,
}

impl Exchange {
    /// A client that is gone ends it without a word.
    async fn run(self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let _ = self.answer(request, respond).await;
    }

    async fn answer(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
        let (head, mut body) = request.into_parts();
        let mut received = self.received(&head);
        received.attempt = self.log.record(received.clone());
        let header = received.headers.first("x-echo").unwrap_or_default();
        let instruction = Instruction::parse(header, &self.backend, received.attempt);
        let refusal = match &instruction {
            Err(_) => Some(Reason::INTERNAL_ERROR),
            Ok(instruction) => instruction.has(&Item::Refuse).then_some(Reason::REFUSED_STREAM),
        };
        if let Some(reason) = refusal {
            respond.send_reset(reason);
        }
        let (Ok(instruction), None) = (instruction, refusal) else { return Ok(()) };
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            received.body.extend_from_slice(&data);
        }
        received.trailers = lines(body.trailers().await?.as_ref());
        received.body_complete = true;
        self.log.complete(&received);
        tokio::time::sleep(instruction.delay()).await;
        if instruction.has(&Item::Close) {
            let _ = self.closing.send(()).await;
            // To let go of the stream would reset it first.
            return std::future::pending().await;
        }
        if instruction.has(&Item::Reset) {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        let payload = answer::payload(&received, &instruction);
        let ends = payload.is_empty() && !instruction.has(&Item::Trailers);
        let mut stream = respond.send_response(self.head(&instruction), ends)?;
        if ends {
            return Ok(());
        }
        if instruction.has(&Item::ResetMidBody) {
            stream.send_data(payload.into(), false)?;
            // What is reset is not sent any more.
            tokio::time::sleep(BREAK_AFTER).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        stream.send_data(payload.into(), !instruction.has(&Item::Trailers))?;
        if instruction.has(&Item::Trailers) {
            stream.send_trailers(HeaderMap::from_iter([(
                HeaderName::from_static("x-trailer"),
                HeaderValue::from_static("t1"),
            )]))?;
        }
        Ok(())
    }

    fn received(&self, head: &http::request::Parts) -> Received {
        let mut headers = lines(Some(&head.headers));
        if let Some(authority) = head.uri.authority() {
            headers.0.insert(0, ("host".to_owned(), authority.to_string()));
        }
        Received {
            backend: self.backend.clone(),
            connection: self.number,
            attempt: 0,
            method: head.method.to_string(),
            target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            version: format!("{:?}", head.version),
            headers,
            body: Vec::new(),
            trailers: HeaderLines::default(),
            body_complete: false,
        }
    }

    fn head(&self, instruction: &Instruction) -> Response<()> {
        let mut response = Response::builder().status(instruction.status()).header(BACKEND_HEADER, &self.backend);
        if !instruction.has(&Item::NoType) {
            response = response.header("content-type", "application/json");
        }
        for (name, value) in instruction.headers() {
            response = response.header(name, value);
        }
        if let Some(size) = instruction.header_size() {
            response = response.header("x-big", "v".repeat(size));
        }
        response.body(()).expect("instructions hold good names and values")
    }
}

fn lines(headers: Option<&HeaderMap>) -> HeaderLines {
    let all = headers.into_iter().flatten();
    HeaderLines(
        all.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect(),
    )
}
