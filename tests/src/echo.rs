//! Echo backends: servers that answer with what they received, and misbehave when asked to.
//!
//! Over HTTP/1.1 they write the bytes themselves, since no library closes, resets or lies on demand; other ports speak what
//! [`Speaks`] says. Every request is recorded when its head has arrived, before anything is answered. The request header
//! `x-echo: item; item=value` (see [`instruction`]) says how one request is to be answered.

mod answer;
mod http2;
pub mod instruction;
mod tls;

pub use tls::TlsSeen;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use crate::wire::{HeaderLines, WireReader, latin1};
use instruction::{Instruction, Item};

/// The names of the backends that [`Backends::start`] starts.
pub const NAMES: [&str; 5] = ["green", "blue", "red", "mirror", "mirror2"];

/// The response header that names the backend.
pub const BACKEND_HEADER: &str = "x-backend";

/// Bodies above this are answered as their length alone.
const ECHOED_BODY_LIMIT: usize = 4096;

/// How long an answer that breaks off lies on the wire before its connection goes, so that its first part is not lost with it.
const BREAK_AFTER: Duration = Duration::from_millis(50);

/// The `sec-websocket-accept` that belongs to the key of RFC 6455 1.3, the only one that test clients send.
const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request as a backend received it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The backend's name.
    pub backend: String,
    /// Which connection to this backend it came on, from 1.
    pub connection: usize,
    /// Which request to any backend it is since [`Backends::clear`], from 1.
    pub attempt: usize,
    /// The method.
    pub method: String,
    /// The request target: path and query as a rule.
    pub target: String,
    /// `HTTP/1.1` as a rule.
    pub version: String,
    /// The header lines.
    pub headers: HeaderLines,
    /// The body; empty until all of it has arrived.
    pub body: Vec<u8>,
    /// The trailers of a chunked body.
    pub trailers: HeaderLines,
    /// Whether all of the body has arrived.
    pub body_complete: bool,
    /// How the connection's client shook hands.
    pub tls: Option<Arc<TlsSeen>>,
    /// `:scheme`, over HTTP/2.
    pub scheme: Option<String>,
}

/// What is spoken at a port; a client that begins with anything else is closed unanswered.
#[derive(Clone, Debug)]
pub enum Speaks {
    /// HTTP/1.1, and whatever begins like it.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// The same, so many streams at a time; those beyond are refused.
    Streams(u32),
    /// Either, as the client begins.
    Either,
    /// Either over TLS, as it is agreed on.
    Tls(Arc<ServerConfig>),
}

impl Received {
    /// `:authority` of HTTP/2, or the Host header.
    pub fn authority(&self) -> Option<&str> {
        self.headers.first(":authority").or_else(|| self.headers.first("host"))
    }

    /// The body, one character for each byte, or its length if it is long.
    pub fn body_text(&self) -> String {
        if self.body.len() <= ECHOED_BODY_LIMIT { latin1(&self.body) } else { format!("{} bytes", self.body.len()) }
    }
}

/// Running echo backends, one for each name, and a port that refuses connections. Dropping them closes everything.
#[derive(Debug)]
pub struct Backends {
    log: Arc<Log>,
    servers: BTreeMap<String, Server>,
    refusing: TcpSocket,
}

impl Backends {
    /// Starts one backend for each of [`NAMES`].
    pub async fn start() -> io::Result<Self> {
        Self::start_named(&NAMES).await
    }

    /// Starts one backend for each of these names.
    pub async fn start_named(names: &[&str]) -> io::Result<Self> {
        let log = Arc::new(Log::default());
        let mut servers = BTreeMap::new();
        for name in names {
            let server = Server::start(name, LOOPBACK, &log).await?;
            servers.insert((*name).to_owned(), server);
        }
        let refusing = TcpSocket::new_v4()?;
        refusing.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self { log, servers, refusing })
    }

    /// Starts another backend at this address, in place of one of the same name.
    pub async fn start_at(&mut self, name: &str, address: SocketAddr) -> io::Result<()> {
        let server = Server::start(name, address, &self.log).await?;
        self.servers.insert(name.to_owned(), server);
        Ok(())
    }

    /// Another port of this backend, at which that is spoken. Panics if there is none of that name.
    pub async fn listen(&mut self, name: &str, speaks: Speaks) -> io::Result<SocketAddr> {
        let server = self.servers.get_mut(name).unwrap_or_else(|| panic!("no backend {name:?}"));
        server.listen(LOOPBACK, speaks).await
    }

    /// Where the backend listens, or listened until it was stopped. Panics if there is none of that name.
    pub fn address(&self, name: &str) -> SocketAddr {
        self.servers.get(name).unwrap_or_else(|| panic!("no backend {name:?}")).address
    }

    /// A port that is bound and refuses connections.
    pub fn refusing_address(&self) -> SocketAddr {
        self.refusing.local_addr().expect("a bound socket has an address")
    }

    /// What all backends received since [`Backends::clear`], in the order of arrival.
    pub fn received(&self) -> Vec<Received> {
        self.log.lock().clone()
    }

    /// Forgets what was received, and counts attempts from 1 again.
    pub fn clear(&self) {
        self.log.lock().clear();
    }

    /// Stops listening and closes this backend's connections, as a pod that is gone. Panics if there is none of that
    /// name.
    pub async fn stop(&mut self, name: &str) {
        let server = self.servers.get_mut(name);
        let server = server.unwrap_or_else(|| panic!("no backend {name:?}"));
        server.accepting.shutdown().await;
    }
}

#[derive(Debug, Default)]
struct Log {
    received: Mutex<Vec<Received>>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and returns its attempt.
    fn record(&self, mut received: Received) -> usize {
        let mut log = self.lock();
        received.attempt = log.len() + 1;
        log.push(received);
        log.len()
    }

    /// Adds the body to a request that was recorded, unless the log was cleared since.
    fn complete(&self, received: &Received) {
        let mut log = self.lock();
        let own = log.get_mut(received.attempt - 1);
        let own = own.filter(|own| own.backend == received.backend && own.connection == received.connection);
        if let Some(own) = own {
            own.clone_from(received);
        }
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    accepting: JoinSet<()>,
    name: String,
    log: Arc<Log>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(name: &str, address: SocketAddr, log: &Arc<Log>) -> io::Result<Self> {
        let (name, log) = (name.to_owned(), Arc::clone(log));
        let mut server = Self { address, accepting: JoinSet::new(), name, log, connections: Arc::default() };
        server.address = server.listen(address, Speaks::Http1).await?;
        Ok(server)
    }

    async fn listen(&mut self, address: SocketAddr, speaks: Speaks) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (name, log, connections) = (self.name.clone(), Arc::clone(&self.log), Arc::clone(&self.connections));
        self.accepting.spawn(async move {
            // Aborted, it ends the connections too.
            let mut serving = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { return };
                        let number = connections.fetch_add(1, Ordering::Relaxed) + 1;
                        let peer = Peer { backend: name.clone(), number, tls: None, log: Arc::clone(&log) };
                        serving.spawn(serve(stream, peer, speaks.clone()));
                    }
                    Some(_) = serving.join_next() => {}
                }
            }
        });
        Ok(address)
    }
}

async fn serve(stream: TcpStream, peer: Peer, speaks: Speaks) {
    let mut settings = h2::server::Builder::new();
    if let Speaks::Streams(most) = speaks {
        settings.max_concurrent_streams(most);
    }
    let is_http2 = match &speaks {
        Speaks::Http1 => false,
        Speaks::Http2 | Speaks::Streams(_) | Speaks::Either => http2::is_spoken(&stream).await,
        Speaks::Tls(config) => {
            let Ok((stream, seen)) = tls::accept(stream, Arc::clone(config)).await else { return };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let peer = Peer { tls: Some(Arc::new(seen)), ..peer };
            if is_http2 {
                http2::serve(stream, &settings, peer, None).await;
            } else {
                Connection::new(stream, peer).serve().await;
            }
            return;
        }
    };
    if is_http2 {
        let raw = stream.as_fd().try_clone_to_owned().ok().map(std::net::TcpStream::from);
        http2::serve(stream, &settings, peer, raw).await;
    } else if matches!(speaks, Speaks::Http1 | Speaks::Either) {
        Connection::new(stream, peer).serve().await;
    }
}

/// A connection, as its backend sees it.
#[derive(Clone)]
struct Peer {
    backend: String,
    /// Of the backend's connections, from 1.
    number: usize,
    tls: Option<Arc<TlsSeen>>,
    log: Arc<Log>,
}

/// What a connection is made of, all the way down.
trait Socket: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    KeepAlive,
    Close,
    Reset,
}

struct Connection<S> {
    reader: WireReader<S>,
    peer: Peer,
}

impl<S: Socket> Connection<S> {
    fn new(stream: S, peer: Peer) -> Self {
        Self { reader: WireReader::new(stream), peer }
    }

    /// A request that cannot be read, or a client that is gone, ends the connection without a word.
    async fn serve(mut self) {
        loop {
            match self.exchange().await {
                Ok(Next::KeepAlive) => {}
                Ok(Next::Close) | Err(_) => return,
                Ok(Next::Reset) => {
                    // Closing with a linger time of zero sends RST in place of FIN.
                    let _ = self.reader.stream_mut().tcp().set_zero_linger();
                    return;
                }
            }
        }
    }

    async fn exchange(&mut self) -> io::Result<Next> {
        let mut received = self.receive_head().await?;
        let header = received.headers.first("x-echo").unwrap_or_default();
        let instruction = Instruction::parse(header, &received.backend, received.attempt);
        let instruction = match instruction {
            Ok(instruction) => instruction,
            Err(unknown) => return self.refuse(&unknown).await,
        };
        if received.headers.has_token("expect", "100-continue") && !instruction.has(&Item::NoContinue) {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        self.receive_body(&mut received).await?;
        tokio::time::sleep(instruction.delay()).await;
        if instruction.has(&Item::Close) {
            return Ok(Next::Close);
        }
        if instruction.has(&Item::Reset) {
            return Ok(Next::Reset);
        }
        if instruction.has(&Item::Garbage) {
            self.write(b"this is not HTTP\r\n\r\n").await?;
            return Ok(Next::Close);
        }
        let websocket = received.headers.has_token("upgrade", "websocket");
        if websocket && !instruction.has(&Item::RefuseUpgrade) {
            return self.tunnel().await;
        }
        self.answer(&received, &instruction).await
    }

    async fn receive_head(&mut self) -> io::Result<Received> {
        let head = self.reader.head().await?;
        let mut words = head.start_line.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let mut received = Received {
            backend: self.peer.backend.clone(),
            connection: self.peer.number,
            attempt: 0,
            method: word(),
            target: word(),
            version: word(),
            headers: head.headers,
            body: Vec::new(),
            trailers: HeaderLines::default(),
            body_complete: false,
            tls: self.peer.tls.clone(),
            scheme: None,
        };
        received.attempt = self.peer.log.record(received.clone());
        Ok(received)
    }

    async fn receive_body(&mut self, received: &mut Received) -> io::Result<()> {
        let length = received.headers.first("content-length").and_then(|length| length.parse().ok());
        if received.headers.has_token("transfer-encoding", "chunked") {
            received.trailers = self.reader.chunked_body(&mut received.body).await?;
        } else if let Some(length) = length {
            self.reader.sized_body(length, &mut received.body).await?;
        }
        received.body_complete = true;
        self.peer.log.complete(received);
        Ok(())
    }

    async fn answer(&mut self, received: &Received, instruction: &Instruction) -> io::Result<Next> {
        let payload = answer::payload(received, instruction);
        let mut bytes = answer::head(&self.peer.backend, instruction, payload.len());
        if received.method == "HEAD" {
            self.write(&bytes).await?;
            return Ok(Next::KeepAlive);
        }
        answer::push_body(&mut bytes, &payload, instruction);
        self.write(&bytes).await?;
        if instruction.breaks_off() {
            tokio::time::sleep(BREAK_AFTER).await;
            let reset = instruction.has(&Item::ResetMidBody);
            return Ok(if reset { Next::Reset } else { Next::Close });
        }
        let last = instruction.has(&Item::UntilClose) || instruction.has(&Item::CloseAfter);
        let close = last || received.headers.has_token("connection", "close");
        Ok(if close { Next::Close } else { Next::KeepAlive })
    }

    /// Accepts a WebSocket upgrade and returns every byte as it comes.
    async fn tunnel(&mut self) -> io::Result<Next> {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {WEBSOCKET_ACCEPT}\r\n{BACKEND_HEADER}: {}\r\n\r\n",
            self.peer.backend
        );
        self.write(head.as_bytes()).await?;
        loop {
            let bytes = self.reader.some().await?;
            self.write(&bytes).await?;
        }
    }

    /// A test that asks for something unknown is told so, rather than served as if it had not asked.
    async fn refuse(&mut self, unknown: &str) -> io::Result<Next> {
        let length = unknown.len();
        let answer = format!("HTTP/1.1 599 Unknown\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{unknown}");
        self.write(answer.as_bytes()).await?;
        Ok(Next::Close)
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.stream_mut().write_all(bytes).await
    }
}

#[cfg(test)]
mod tests;
