//! A backend for bodies of any size: it counts what it takes and gives, and keeps none of it.
//!
//! `GET /download/sized/N` and `/download/chunked/N` answer N bytes of the pattern. `POST /upload` takes a body and
//! answers its length. `POST /early` answers 413 at once. `POST /gated` and `/early` read on when they are told to, and
//! `POST /held/NAME` takes a body and answers when it is told to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use turnout_tests::wire::{HeaderLines, WireReader};

use super::stream::{piece, read_body};

/// Small, so that what lies in the backend's own buffers does not count.
const SOCKET_BUFFER: u32 = 64 * 1024;

/// One request as the backend sees it, from its head on.
#[derive(Debug)]
pub(super) struct Seen {
    /// Which connection it came on, from 1.
    pub(super) connection: usize,
    pub(super) target: String,
    pub(super) headers: HeaderLines,
    /// Bytes of its body that have arrived.
    pub(super) received: AtomicU64,
    /// Whether all of the body has arrived.
    pub(super) complete: AtomicBool,
    /// Bytes of the answer's body that have been given to the socket.
    pub(super) sent: AtomicU64,
    /// Whether its connection has ended.
    pub(super) ended: AtomicBool,
}

/// The backend. Dropping it closes everything.
#[derive(Debug)]
pub(super) struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<Vec<Arc<Seen>>>,
    gate: Semaphore,
}

impl Backend {
    pub(super) fn start() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_send_buffer_size(SOCKET_BUFFER)?;
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(1024)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { seen: Mutex::default(), gate: Semaphore::new(0) });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _accepting: accepting })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests whose heads have arrived, in that order.
    pub(super) fn seen(&self) -> Vec<Arc<Seen>> {
        self.shared.lock().clone()
    }

    /// The requests for this target.
    pub(super) fn seen_at(&self, target: &str) -> Vec<Arc<Seen>> {
        self.seen().into_iter().filter(|seen| seen.target == target).collect()
    }

    /// Lets one request that waits for it be read.
    pub(super) fn open_gate(&self) {
        self.shared.gate.add_permits(1);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Seen>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut serving = JoinSet::new();
    for connection in 1.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        serving.spawn(serve_connection(WireReader::new(stream), connection, Arc::clone(&shared)));
    }
}

/// Serves until the other side ends the connection.
async fn serve_connection(mut reader: WireReader<TcpStream>, connection: usize, shared: Arc<Shared>) {
    while let Ok(seen) = receive_head(&mut reader, connection, &shared).await {
        if serve(&mut reader, &seen, &shared).await.is_err() {
            break;
        }
    }
    for seen in shared.lock().iter().filter(|seen| seen.connection == connection) {
        seen.ended.store(true, Ordering::Relaxed);
    }
}

async fn receive_head(reader: &mut WireReader<TcpStream>, connection: usize, shared: &Shared) -> io::Result<Arc<Seen>> {
    let head = reader.head().await?;
    let target = head.target().to_owned();
    let seen = Arc::new(Seen {
        connection,
        target,
        headers: head.headers,
        received: AtomicU64::new(0),
        complete: AtomicBool::new(false),
        sent: AtomicU64::new(0),
        ended: AtomicBool::new(false),
    });
    shared.lock().push(Arc::clone(&seen));
    Ok(seen)
}

async fn serve(reader: &mut WireReader<TcpStream>, seen: &Seen, shared: &Shared) -> io::Result<()> {
    let parts: Vec<&str> = seen.target.split('/').collect();
    match parts[..] {
        ["", "early"] => {
            answer(reader, "413 Content Too Large", "too large").await?;
            // What comes is the rest of the body, and never a request.
            shared.gate.acquire().await.map_err(io::Error::other)?.forget();
            loop {
                reader.some().await?;
            }
        }
        ["", "gated"] => shared.gate.acquire().await.map_err(io::Error::other)?.forget(),
        _ => {}
    }
    read_body(reader, &seen.headers, &seen.received).await?;
    seen.complete.store(true, Ordering::Relaxed);
    match parts[..] {
        ["", "held", _] => {
            shared.gate.acquire().await.map_err(io::Error::other)?.forget();
            answer(reader, "200 OK", "held").await
        }
        ["", "download", framing, length] => {
            let length = length.parse().map_err(io::Error::other)?;
            send_pattern(reader.stream_mut(), framing == "chunked", length, &seen.sent).await
        }
        _ => answer(reader, "200 OK", &seen.received.load(Ordering::Relaxed).to_string()).await,
    }
}

async fn answer(reader: &mut WireReader<TcpStream>, status: &str, body: &str) -> io::Result<()> {
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    reader.stream_mut().write_all(answer.as_bytes()).await
}

async fn send_pattern(stream: &mut TcpStream, chunked: bool, length: u64, sent: &AtomicU64) -> io::Result<()> {
    let framing = if chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {length}") };
    stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes()).await?;
    let mut offset = 0;
    while offset < length {
        let piece = piece(offset, length);
        if chunked {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        }
        stream.write_all(&piece).await?;
        if chunked {
            stream.write_all(b"\r\n").await?;
        }
        offset += piece.len() as u64;
        sent.store(offset, Ordering::Relaxed);
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    Ok(())
}
