//! What a connection begins with, told by its first bytes. They are gathered in little room until they are a whole head:
//! hyper holds 16 KiB for a connection from the first byte on, however slowly the others come.

use httparse::{EMPTY_HEADER, Request, Status};

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is longer need not wait here.
const MAX_BYTES: usize = 4096;

/// What has more lines need not, either.
const MAX_LINES: usize = 100;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Or something that is for hyper to refuse.
    Http1,
    Http2,
}

/// None while the bytes are too few to tell.
pub(super) fn opening(bytes: &[u8], may_be_http2: bool) -> Option<Opening> {
    if may_be_http2 && bytes.starts_with(PREFACE) {
        return Some(Opening::Http2);
    }
    if may_be_http2 && PREFACE.starts_with(bytes) {
        return None;
    }
    let mut lines = [EMPTY_HEADER; MAX_LINES];
    let is_part = matches!(Request::new(&mut lines).parse(bytes), Ok(Status::Partial));
    (!is_part || bytes.len() >= MAX_BYTES).then_some(Opening::Http1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET /score HTTP/1.1\r\nhost: a\r\n\r\n";
    const LONG: &[u8] = &[b'a'; MAX_BYTES];

    #[test]
    fn a_connection_is_told_by_as_few_bytes_as_tell() {
        let (http1, http2) = (Some(Opening::Http1), Some(Opening::Http2));
        // The bytes, what all of them tell, and how few tell it.
        let cases = [
            (PREFACE, true, http2, PREFACE.len()),
            (PREFACE, false, http1, "PRI * HTTP/2".len()),
            (HEAD, true, http1, HEAD.len()),
            (b"\r\n\r\nGET / HTTP/1.0\n\n", true, http1, 20),
            (b"PRI * HTTP/1.1\r\n\r\n", true, http1, 18),
            // TLS where clear text is spoken, and other things that are no head.
            (b"\x16\x03\x01", true, http1, 1),
            (b"GET / HTTP/9", true, http1, 12),
            (b"GET / HTTP/1.1\r\na b: c\r\n", true, http1, 18),
            (LONG, true, http1, MAX_BYTES),
        ];
        for (bytes, may_be_http2, expected, enough) in cases {
            let told = (0..=bytes.len()).find_map(|taken| Some((opening(&bytes[..taken], may_be_http2)?, taken)));
            assert_eq!(told, expected.map(|opening| (opening, enough)), "{}", bytes.escape_ascii());
            assert_eq!(opening(&[bytes, b"\r\n\r\n"].concat(), may_be_http2), expected, "{}", bytes.escape_ascii());
        }
    }
}
