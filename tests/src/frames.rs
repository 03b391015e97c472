//! HTTP/2 frames by hand (RFC 9113): what no well-behaved client library sends, such as a stream that is reset as soon
//! as it is opened, or a header field that belongs to HTTP/1.
//!
//! Header blocks are written as literals that are never indexed and never compressed (RFC 7541, 6.2.2), so no state of
//! the compression is needed. Blocks that come in are not decoded; only the status of a response is read off.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::client::ANSWER_DEADLINE;
use crate::wire::WireReader;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub mod kind {
    /// A piece of a body.
    pub const DATA: u8 = 0;
    /// The head of a request or response.
    pub const HEADERS: u8 = 1;
    /// Which streams come first; nobody has to heed it any more.
    pub const PRIORITY: u8 = 2;
    /// The end of a stream by error.
    pub const RST_STREAM: u8 = 3;
    /// What one side asks of the other.
    pub const SETTINGS: u8 = 4;
    /// A request that a server makes for a client.
    pub const PUSH_PROMISE: u8 = 5;
    /// Asks for the same frame back.
    pub const PING: u8 = 6;
    /// The end of a connection.
    pub const GOAWAY: u8 = 7;
    /// Room for more of a body.
    pub const WINDOW_UPDATE: u8 = 8;
    /// The rest of a head.
    pub const CONTINUATION: u8 = 9;
}

/// Values of SETTINGS.
pub mod setting {
    /// How large the table of the sender's compression may be.
    pub const HEADER_TABLE_SIZE: u16 = 1;
    /// Whether a server may push.
    pub const ENABLE_PUSH: u16 = 2;
    /// Streams at a time.
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    /// The room that each stream begins with.
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    /// The largest payload of a frame.
    pub const MAX_FRAME_SIZE: u16 = 5;
    /// Whether WebSockets and the like may have a stream (RFC 8441).
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// Flag of DATA and HEADERS: nothing follows on the stream.
pub const END_STREAM: u8 = 1;
/// Flag of SETTINGS and PING: the answer to one.
pub const ACK: u8 = 1;
/// Flag of HEADERS, CONTINUATION and PUSH_PROMISE: the block is complete.
pub const END_HEADERS: u8 = 4;
/// Flag of DATA and HEADERS: padding follows, its length comes first.
pub const PADDED: u8 = 8;
/// Flag of HEADERS: it begins as PRIORITY does.
pub const PRIORITIZED: u8 = 32;
/// Error code: the stream is not wanted any more.
pub const CANCEL: u32 = 8;
/// Error code: the stream was not begun.
pub const REFUSED_STREAM: u32 = 7;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// The flags.
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
    /// What follows the header of nine bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame without flags and payload.
    pub fn new(kind: u8, stream: u32) -> Self {
        Self { kind, flags: 0, stream, payload: Vec::new() }
    }

    /// With these flags alone.
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// With this payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        payload.clone_into(&mut self.payload);
        self
    }

    /// A request's head; without a body if `ends`.
    pub fn headers(stream: u32, fields: &[(&str, &str)], ends: bool) -> Self {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        Self::new(kind::HEADERS, stream).flags(flags).payload(&block(fields))
    }

    /// A piece of a body; the last if `ends`.
    pub fn data(stream: u32, bytes: &[u8], ends: bool) -> Self {
        Self::new(kind::DATA, stream).flags(if ends { END_STREAM } else { 0 }).payload(bytes)
    }

    /// The head of a GET for this path, without a body.
    pub fn get(stream: u32, path: &str) -> Self {
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "scoring.example.com")];
        Self::headers(stream, &fields, true)
    }

    /// SETTINGS with one value.
    pub fn setting_of(id: u16, value: u32) -> Self {
        let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        Self { payload, ..Self::new(kind::SETTINGS, 0) }
    }

    /// A stream's end by error.
    pub fn reset(stream: u32, code: u32) -> Self {
        Self { payload: code.to_be_bytes().to_vec(), ..Self::new(kind::RST_STREAM, stream) }
    }

    /// The end of a connection, of which streams up to `last` were looked at.
    pub fn goaway(last: u32, code: u32) -> Self {
        Self::new(kind::GOAWAY, 0).payload(&[last.to_be_bytes(), code.to_be_bytes()].concat())
    }

    /// Room for so much more of a stream's body, or of all streams'.
    pub fn window_update(stream: u32, more: u32) -> Self {
        Self::new(kind::WINDOW_UPDATE, stream).payload(&more.to_be_bytes())
    }

    /// The status of an answer's head, if it is the first of its connection: later ones may refer to it.
    pub fn status(&self) -> Option<u16> {
        let sizes = self.payload.iter().take_while(|byte| **byte >> 5 == 1).count();
        match self.payload[sizes..] {
            // RFC 7541, appendix A.
            [indexed @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]),
            [0x08 | 0x18 | 0x48, 3, a, b, c, ..] => std::str::from_utf8(&[a, b, c]).ok()?.parse().ok(),
            [0x08 | 0x18 | 0x48, 0x82 | 0x83, ref coded @ ..] => huffman_digits(coded),
            _ => None,
        }
    }

    /// The error code of a RST_STREAM or GOAWAY.
    pub fn error_code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        let code = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(code.try_into().ok()?))
    }

    /// The value of a setting in a SETTINGS frame.
    pub fn setting(&self, id: u16) -> Option<u32> {
        let mut pairs = self.payload.chunks_exact(6);
        let value = pairs.find(|pair| pair[..2] == id.to_be_bytes())?;
        Some(u32::from_be_bytes(value[2..].try_into().ok()?))
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// Three digits (RFC 7541, appendix B): those up to 2 have five bits, the others six.
fn huffman_digits(coded: &[u8]) -> Option<u16> {
    let bits =
        coded.iter().take(3).fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (4 - coded.len().min(3)));
    let (number, _) = (0..3).try_fold((0, bits), |(number, bits), _| {
        let (digit, length) = match (bits >> 27, bits >> 26) {
            (digit @ 0..=2, _) => (digit, 5),
            (_, coded @ 0x19..=0x1f) => (coded - 0x19 + 3, 6),
            _ => return None,
        };
        Some((number * 10 + u16::try_from(digit).ok()?, bits << length))
    })?;
    Some(number)
}

/// Fields as a block.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        push_string(&mut block, name);
        push_string(&mut block, value);
    }
    block
}

/// A string without Huffman coding; its length in the prefix of seven bits (RFC 7541, 5.1).
fn push_string(block: &mut Vec<u8>, text: &str) {
    let mut rest = text.len();
    if rest < 127 {
        block.push(u8::try_from(rest).unwrap_or(0));
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap_or(0));
    }
    block.extend_from_slice(text.as_bytes());
}

/// A client's end of a connection that speaks in frames.
#[derive(Debug)]
pub struct FrameConnection<S> {
    reader: WireReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrameConnection<S> {
    /// Says the preface and empty settings.
    pub async fn open(stream: S) -> io::Result<Self> {
        let mut connection = Self::over(stream);
        connection.send_bytes(PREFACE).await?;
        connection.send(&Frame::new(kind::SETTINGS, 0)).await?;
        Ok(connection)
    }

    /// Says nothing yet.
    pub fn over(stream: S) -> Self {
        Self { reader: WireReader::new(stream) }
    }

    /// Sends these bytes.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.stream_mut().write_all(bytes).await
    }

    /// Takes a line of what is not HTTP/2.
    pub async fn line(&mut self) -> io::Result<String> {
        let line = timeout(ANSWER_DEADLINE, self.reader.line());
        line.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Takes the preface of a client.
    pub async fn take_preface(&mut self) -> io::Result<()> {
        let said = self.reader.exactly(PREFACE.len()).await?;
        if said == PREFACE { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.send_all(std::slice::from_ref(frame)).await
    }

    /// Sends frames in one write.
    pub async fn send_all(&mut self, frames: &[Frame]) -> io::Result<()> {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
        self.send_bytes(&bytes).await
    }

    /// The next frame that `wanted` picks; others are passed over, settings and pings answered. An error if the
    /// connection ends first, or nothing comes for long.
    pub async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> io::Result<Frame> {
        loop {
            let frame = timeout(ANSWER_DEADLINE, self.next()).await;
            let frame = frame.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if matches!(frame.kind, kind::SETTINGS | kind::PING) && frame.flags & ACK == 0 {
                let payload = if frame.kind == kind::PING { frame.payload.clone() } else { Vec::new() };
                self.send(&Frame { flags: ACK, payload, ..Frame::new(frame.kind, 0) }).await?;
            }
            if wanted(&frame) {
                return Ok(frame);
            }
        }
    }

    /// How the stream ends: by an answer's end, a reset with its code, or the end of the connection, GOAWAY included.
    pub async fn end_of(&mut self, stream: u32) -> StreamEnd {
        self.end_by(|frame| ends(frame, stream) || frame.kind == kind::GOAWAY).await
    }

    /// How the stream ends where GOAWAY does not end it.
    pub async fn end_of_stream(&mut self, stream: u32) -> StreamEnd {
        self.end_by(|frame| ends(frame, stream)).await
    }

    async fn end_by(&mut self, last: impl Fn(&Frame) -> bool) -> StreamEnd {
        match self.until(last).await {
            Ok(frame) => match (frame.kind, frame.error_code()) {
                (kind::GOAWAY, code) => StreamEnd::GoAway(code.unwrap_or_default()),
                (_, Some(code)) => StreamEnd::Reset(code),
                _ => StreamEnd::Answered,
            },
            Err(error) => StreamEnd::Gone(error.kind()),
        }
    }

    /// The next frame, whatever it is and whenever it comes.
    pub async fn next(&mut self) -> io::Result<Frame> {
        let head = self.reader.exactly(9).await?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let payload = self.reader.exactly(length).await?;
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }
}

/// Whether this is the last frame of the stream.
fn ends(frame: &Frame, stream: u32) -> bool {
    let last = matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.flags & END_STREAM != 0;
    frame.stream == stream && (last || frame.kind == kind::RST_STREAM)
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// By the end of an answer.
    Answered,
    /// By RST_STREAM with this code.
    Reset(u32),
    /// By GOAWAY with this code.
    GoAway(u32),
    /// By the connection's end.
    Gone(io::ErrorKind),
}

#[cfg(test)]
mod tests {
    use super::{END_STREAM, Frame, FrameConnection, PREFACE, StreamEnd, kind};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn a_frame_is_nine_bytes_and_its_payload() {
        let frame = Frame::headers(1, &[("a", "bc")], true);
        assert_eq!(frame.to_bytes(), b"\x00\x00\x06\x01\x05\x00\x00\x00\x01\x10\x01a\x02bc");
        let long = Frame::headers(1, &[("a", &"x".repeat(300))], true);
        assert_eq!(long.payload[3..6], [127, 0b1010_1101, 1], "300 is 127 + 45 + 128");
        assert_eq!(Frame::setting_of(4, 65_535).setting(4), Some(65_535));
    }

    #[test]
    fn a_status_is_read_off_in_each_way_that_it_is_written() {
        let table: [(&[u8], Option<u16>); 5] = [
            (&[0x88, 1], Some(200)),
            (&[0x20, 0x8e], Some(500)),
            (b"\x08\x03405x", Some(405)),
            // 4: 011010, 3: 011001, 1: 00001
            (&[0x48, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111], Some(431)),
            (&[0xbe], None),
        ];
        for (block, status) in table {
            assert_eq!(Frame::new(kind::HEADERS, 1).payload(block).status(), status, "{block:?}");
        }
    }

    #[tokio::test]
    async fn frames_come_in_one_by_one() {
        let (client, mut server) = tokio::io::duplex(1024);
        let mut connection = FrameConnection::open(client).await.expect("the pipe has room");
        let mut said = vec![0; PREFACE.len() + 9];
        server.read_exact(&mut said).await.expect("the preface came");
        assert!(said.starts_with(PREFACE));
        let answers = [Frame::reset(3, 7), Frame { flags: END_STREAM, ..Frame::new(kind::DATA, 1) }];
        for frame in answers {
            server.write_all(&frame.to_bytes()).await.expect("the pipe has room");
        }
        assert_eq!(connection.end_of(3).await, StreamEnd::Reset(7));
        assert_eq!(connection.end_of(1).await, StreamEnd::Answered);
        drop(server);
        assert!(matches!(connection.end_of(1).await, StreamEnd::Gone(_)));
    }
}
