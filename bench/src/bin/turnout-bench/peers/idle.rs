//! What a connection holds in memory while its client says nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::timeout;

use super::cell::{Cell, Idle};
use super::figures::{Figures, Measure};
use crate::bed::Peer;
use crate::bed::usage::memory_bytes;
use crate::bed::{Bed, HOST};
use crate::models::SMALL_BYTES;
use crate::work::{HANDSHAKES, SMALL, as_f64, secure, tls};

const CONNECTIONS: usize = 10_000;
/// Opened before, for what a proxy keeps once for all of them.
const EARLIER: usize = 100;
/// What is given back is given back by then.
const REST: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Once: it is a count, and no time.
pub(super) async fn measure(bed: &Bed, cell: &Cell, idle: Idle, figures: &mut Figures) -> Result<()> {
    for peer in bed.peers.keys().copied().filter(|peer| *peer != Peer::Relay) {
        let proxy = bed.start(peer, 1).await?;
        let mut earlier = open(bed, peer, idle, EARLIER).await?;
        tokio::time::sleep(REST).await;
        let before = memory_bytes(proxy.pid())?;
        let mut connections = open(bed, peer, idle, CONNECTIONS).await?;
        tokio::time::sleep(REST).await;
        let held = memory_bytes(proxy.pid())?.saturating_sub(before);
        let lost = count_lost(earlier.iter_mut().chain(&mut connections)).await;
        ensure!(lost == 0, "{} has answered or closed {lost} connections while they were idle", peer.name());
        figures.add(cell, peer, Measure::MemoryPerConnection, as_f64(held) / as_f64(u64::try_from(CONNECTIONS)?));
    }
    Ok(())
}

/// On how many there is something to read, if only their end.
async fn count_lost(streams: impl Iterator<Item = &mut Box<dyn Stream>>) -> usize {
    let mut lost = 0;
    for stream in streams {
        let mut byte = [0];
        // tokio would say of the hundreds that follow each other that there is nothing to read, to give others a turn.
        let read = unconstrained(stream.read(&mut byte));
        lost += usize::from(timeout(Duration::ZERO, read).await.is_ok());
    }
    lost
}

async fn open(bed: &Bed, peer: Peer, idle: Idle, count: usize) -> Result<Vec<Box<dyn Stream>>> {
    let is_secure = idle == Idle::AnsweredOverTls;
    let work = if is_secure { HANDSHAKES } else { SMALL };
    let tls = tls(bed, &work)?;
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let plain =
            TcpStream::connect(peer.address(&work)).await.with_context(|| format!("cannot reach {}", peer.name()))?;
        plain.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> =
            if is_secure { Box::new(secure(&tls, plain).await?) } else { Box::new(plain) };
        let said = timeout(PATIENCE, say(&mut stream, idle)).await.context("no answer in time").flatten();
        said.with_context(|| format!("{} gives no right answer", peer.name()))?;
        streams.push(stream);
    }
    Ok(streams)
}

async fn say(stream: &mut Box<dyn Stream>, idle: Idle) -> Result<()> {
    if idle == Idle::InAHead {
        stream.write_all(format!("POST /score HTTP/1.1\r\nhost: {HOST}\r\nx-slow").as_bytes()).await?;
        return Ok(());
    }
    let body = r#"{"data": [[1, 2, 3]]}"#;
    let length = body.len();
    let request = format!("POST /score HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !is_complete(&answer) {
        ensure!(stream.read_buf(&mut answer).await? > 0, "the connection is closed");
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

fn is_complete(answer: &[u8]) -> bool {
    let end_of_head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    end_of_head.is_some_and(|position| answer.len() >= position + 4 + SMALL_BYTES)
}
