//! HTTP/1.1 as bytes, read leniently: what the raw client and the echo backends share.
//!
//! Nothing is normalised: header lines keep their order and case, and a body that breaks off keeps what arrived.
//! Bytes are kept in strings as Latin-1 (one byte, one character), so that no input is lost or refused.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Header lines in the order and case of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderLines(pub Vec<(String, String)>);

impl HeaderLines {
    /// The value of the first line with this name (compared without case).
    pub fn first(&self, name: &str) -> Option<&str> {
        self.values(name).into_iter().next()
    }

    /// The values of all lines with this name, in order.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a line with this name lists `token` (compared without case).
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let values = self.values(name);
        let mut tokens = values.iter().flat_map(|value| value.split(','));
        tokens.any(|own| own.trim().eq_ignore_ascii_case(token))
    }
}

/// A request line or status line with the header lines below it.
#[derive(Clone, Debug)]
pub struct Head {
    /// The first line without its line end.
    pub start_line: String,
    /// The header lines.
    pub headers: HeaderLines,
}

impl Head {
    /// The second word of a request line; empty if there is none.
    pub fn target(&self) -> &str {
        self.start_line.split(' ').nth(1).unwrap_or_default()
    }
}

/// One character for each byte.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// One byte for each character; a character above U+00FF becomes `?`.
pub fn latin1_bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect()
}

/// Appends a header line.
pub fn push_header(head: &mut String, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        head.push_str(part);
    }
}

/// A stream with a buffer in front of it. A stream that ends in the middle of something is [`io::ErrorKind::UnexpectedEof`].
#[derive(Debug)]
pub struct WireReader<S> {
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + Unpin> WireReader<S> {
    /// Reads from `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(8 * 1024) }
    }

    /// The stream itself, for writing.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Waits for the next bytes, unless some have been read already; they are still to be taken.
    pub async fn arrive(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() { self.fill().await } else { Ok(()) }
    }

    /// Takes what has been read already, or waits for the next bytes.
    pub async fn some(&mut self) -> io::Result<Vec<u8>> {
        self.arrive().await?;
        Ok(self.buffer.split().to_vec())
    }

    /// Takes `count` bytes.
    pub async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(count).to_vec())
    }

    /// Takes one line, whose end (CR LF, or LF alone) is dropped.
    pub async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Ok(latin1(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            self.fill().await?;
        }
    }

    /// Takes a first line and the header lines up to the empty one.
    pub async fn head(&mut self) -> io::Result<Head> {
        let start_line = self.line().await?;
        Ok(Head { start_line, headers: self.header_lines().await? })
    }

    /// Takes header (or trailer) lines up to and with the empty one.
    pub async fn header_lines(&mut self) -> io::Result<HeaderLines> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(HeaderLines(lines));
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            lines.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    /// Appends a body of `length` bytes to `body`; on an error `body` holds what arrived.
    pub async fn sized_body(&mut self, length: usize, body: &mut Vec<u8>) -> io::Result<()> {
        let wanted = body.len() + length;
        loop {
            let count = self.buffer.len().min(wanted - body.len());
            body.extend_from_slice(&self.buffer.split_to(count));
            if body.len() == wanted {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// Appends a chunked body to `body` and returns its trailers; on an error `body` holds what arrived.
    pub async fn chunked_body(&mut self, body: &mut Vec<u8>) -> io::Result<HeaderLines> {
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {line:?}")))?;
            if size == 0 {
                return self.header_lines().await;
            }
            self.sized_body(size, body).await?;
            self.line().await?;
        }
    }

    /// Appends everything up to the end of the stream to `body`; a reset is an error, a close is not.
    pub async fn body_until_close(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            body.extend_from_slice(&self.buffer.split());
            match self.fill().await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{WireReader, latin1, latin1_bytes};

    #[tokio::test]
    async fn header_lines_keep_order_and_case() {
        let mut reader = WireReader::new(&b"GET / HTTP/1.1\r\nB: 1\r\na:2 \r\nb: 3\n\r\nrest"[..]);
        let head = reader.head().await.expect("the head is complete");
        assert_eq!(head.start_line, "GET / HTTP/1.1");
        let expected = [("B", "1"), ("a", "2"), ("b", "3")];
        let expected: Vec<_> = expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        assert_eq!(head.headers.0, expected);
        assert_eq!(head.headers.values("b"), ["1", "3"]);
        assert_eq!(reader.some().await.expect("there is a rest"), b"rest");
    }

    #[tokio::test]
    async fn a_chunked_body_ends_with_its_trailers() {
        let mut reader = WireReader::new(&b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-t: 1\r\n\r\nnext"[..]);
        let mut body = Vec::new();
        let trailers = reader.chunked_body(&mut body).await.expect("the body is complete");
        assert_eq!((body.as_slice(), trailers.first("X-T")), (&b"abcde"[..], Some("1")));
        assert_eq!(reader.some().await.expect("there is a rest"), b"next");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_keeps_what_arrived() {
        let mut body = Vec::new();
        let mut reader = WireReader::new(&b"abc"[..]);
        reader.sized_body(5, &mut body).await.expect_err("two bytes are missing");
        assert_eq!(body, b"abc");

        let mut body = Vec::new();
        let mut reader = WireReader::new(&b"5\r\nabc"[..]);
        reader.chunked_body(&mut body).await.expect_err("two bytes are missing");
        assert_eq!(body, b"abc");
    }

    #[test]
    fn every_byte_survives_the_way_through_a_string() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(latin1_bytes(&latin1(&all)), all);
    }
}
