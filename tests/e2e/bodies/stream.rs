//! Endless bytes that can be checked wherever they arrive, and reading them off a connection without keeping them.

use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::AsyncRead;
use turnout_tests::wire::{HeaderLines, WireReader};

/// The largest piece.
pub(super) const PIECE: usize = 32 * 1024;

/// The pattern repeats after this many bytes; a prime, so that no buffer's size hides a piece that is lost or doubled.
const PERIOD: usize = 251;

static PATTERN: LazyLock<Bytes> =
    LazyLock::new(|| (0..PIECE + PERIOD).map(|index| u8::try_from(index % PERIOD).unwrap_or(0)).collect());

/// The next piece of a body of `length` bytes from `offset` on; empty at its end.
pub(super) fn piece(offset: u64, length: u64) -> Bytes {
    let count = usize::try_from(length - offset).unwrap_or(PIECE).min(PIECE);
    let start = usize::try_from(offset % PERIOD as u64).unwrap_or(0);
    PATTERN.slice(start..start + count)
}

/// Whether these bytes belong at this offset.
pub(super) fn belongs_at(offset: u64, bytes: &[u8]) -> bool {
    let mut offset = offset;
    bytes.chunks(PIECE).all(|chunk| {
        let expected = piece(offset, offset + chunk.len() as u64);
        offset += chunk.len() as u64;
        chunk == expected
    })
}

/// Reads a body to its end as its headers frame it, counting its bytes in `received`. An error if it breaks off or is
/// not the pattern.
pub(super) async fn read_body<S: AsyncRead + Unpin>(
    reader: &mut WireReader<S>,
    headers: &HeaderLines,
    received: &AtomicU64,
) -> io::Result<()> {
    if !headers.has_token("transfer-encoding", "chunked") {
        let length = headers.first("content-length").and_then(|length| length.parse().ok());
        return read_bytes(reader, length.unwrap_or(0), received).await;
    }
    loop {
        let line = reader.line().await?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(|_| malformed(&line))?;
        if size == 0 {
            return reader.header_lines().await.map(drop);
        }
        read_bytes(reader, size, received).await?;
        reader.line().await?;
    }
}

async fn read_bytes<S: AsyncRead + Unpin>(
    reader: &mut WireReader<S>,
    count: u64,
    received: &AtomicU64,
) -> io::Result<()> {
    let mut left = count;
    while left > 0 {
        let bytes = reader.exactly(usize::try_from(left).unwrap_or(PIECE).min(PIECE)).await?;
        left -= bytes.len() as u64;
        if !belongs_at(received.load(Ordering::Relaxed), &bytes) {
            return Err(malformed("bytes out of place"));
        }
        received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// A request body of the pattern, for HTTP/2. It fails where it is told to, as that of a client that gives up.
#[derive(Debug)]
pub(super) struct PatternBody {
    offset: u64,
    length: u64,
    fails_at: Option<u64>,
    says_length: bool,
}

impl PatternBody {
    pub(super) fn new(length: u64) -> Self {
        Self { offset: 0, length, fails_at: None, says_length: true }
    }

    pub(super) fn failing_at(self, offset: u64) -> Self {
        Self { fails_at: Some(offset), ..self }
    }

    /// Without a content-length; where it ends is known only at its end.
    pub(super) fn of_unknown_length(self) -> Self {
        Self { says_length: false, ..self }
    }
}

impl Body for PatternBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.fails_at.is_some_and(|at| self.offset >= at) {
            return Poll::Ready(Some(Err(malformed("the client gives up"))));
        }
        let piece = piece(self.offset, self.length);
        self.offset += piece.len() as u64;
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.says_length && self.offset == self.length
    }

    fn size_hint(&self) -> SizeHint {
        if self.says_length { SizeHint::with_exact(self.length - self.offset) } else { SizeHint::default() }
    }
}
