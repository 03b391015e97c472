//! Why a request failed, in words that a test can assert and a report can count.
//!
//! Everything that can go wrong between "connect" and "the last byte of the body" ends in exactly one kind. The kinds name what
//! the server did, because that is what a test of a drain or a reload asks about.

use std::error::Error as _;
use std::{fmt, io};

use serde::Serialize;

/// How a GOAWAY with the code NO_ERROR reads in an error of hyper's HTTP/2 implementation.
const POLITE_GOAWAY: &str = "connection error received: not a result of an error";

/// What kept a request from being answered as expected.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Nobody listens at the address, or the server refused the HTTP/2 stream (`REFUSED_STREAM`).
    Refused,
    /// The connection could not be opened for another reason, such as no route or no free local port.
    Unreachable,
    /// The connection was reset, or the server gave up the HTTP/2 stream or connection with an error code.
    Reset,
    /// The connection was closed before a response head arrived. A reset that the client meets while it writes, which is
    /// usual over HTTP/2, is not told from a close.
    Closed,
    /// A response began and its body did not arrive whole.
    CutBody,
    /// There was no complete response within the time-out.
    Timeout,
    /// A complete response arrived with a status that the variant does not expect.
    BadStatus,
    /// What arrived is not HTTP of the chosen version.
    Protocol,
    /// The TLS handshake failed.
    Tls,
}

impl FailureKind {
    /// The kind as a word or two for people; JSON has the same in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Closed => "closed before a response",
            Self::CutBody => "cut body",
            Self::Timeout => "timeout",
            Self::BadStatus => "bad status",
            Self::Protocol => "not HTTP",
            Self::Tls => "TLS handshake failed",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One failed request: its kind, and the underlying error in full for the first few lines of a report.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// The connection could not be opened.
    pub(crate) fn connecting(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => FailureKind::Refused,
            io::ErrorKind::ConnectionReset => FailureKind::Reset,
            _ => FailureKind::Unreachable,
        };
        Self::new(kind, error.to_string())
    }

    /// Client and server did not agree on TLS.
    pub(crate) fn agreeing(error: &io::Error) -> Self {
        Self::new(FailureKind::Tls, error.to_string())
    }

    /// The request may have been sent, and no response head arrived.
    pub(crate) fn awaiting_head(error: &hyper::Error) -> Self {
        Self::new(head_failure_kind(error), chain(error))
    }

    /// The response head arrived, and its body failed.
    pub(crate) fn reading_body(error: &hyper::Error) -> Self {
        Self::new(FailureKind::CutBody, chain(error))
    }
}

/// Whether the server said that it will not look at this request: a GOAWAY without an error that names an older stream
/// (RFC 9113 6.8). Streams that the server did accept fail with other words when the connection ends.
pub(crate) fn was_left_out_politely(error: &hyper::Error) -> bool {
    error.source().is_some_and(|source| source.to_string().starts_with(POLITE_GOAWAY))
}

fn head_failure_kind(error: &hyper::Error) -> FailureKind {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return FailureKind::Closed;
    }
    if error.is_parse() {
        return FailureKind::Protocol;
    }
    let Some(source) = error.source() else {
        return FailureKind::Protocol;
    };
    match source.downcast_ref::<io::Error>() {
        Some(io) => io_failure_kind(io),
        None => http2_failure_kind(&source.to_string()),
    }
}

fn io_failure_kind(error: &io::Error) -> FailureKind {
    match error.kind() {
        // hyper reports the end of an HTTP/2 connection with requests in flight as a broken pipe.
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => FailureKind::Closed,
        io::ErrorKind::InvalidData => FailureKind::Protocol,
        _ => FailureKind::Reset,
    }
}

/// hyper does not name the error type of its HTTP/2 implementation, so its text is all there is to go by; the tests that run a
/// real HTTP/2 server pin these texts.
fn http2_failure_kind(text: &str) -> FailureKind {
    if text.starts_with("stream error received: refused stream") {
        return FailureKind::Refused;
    }
    if text.starts_with(POLITE_GOAWAY) {
        return FailureKind::Closed;
    }
    if text.contains(" error received: ") {
        return FailureKind::Reset;
    }
    FailureKind::Protocol
}

fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_errors_have_their_kind() {
        let check = |error: io::ErrorKind, expected| {
            let kind = Failure::connecting(&error.into()).kind;
            assert_eq!(kind, expected, "{error:?}");
        };
        check(io::ErrorKind::ConnectionRefused, FailureKind::Refused);
        check(io::ErrorKind::ConnectionReset, FailureKind::Reset);
        check(io::ErrorKind::HostUnreachable, FailureKind::Unreachable);
        check(io::ErrorKind::AddrNotAvailable, FailureKind::Unreachable);
    }

    #[test]
    fn http2_texts_have_their_kind() {
        let check = |text, expected| assert_eq!(http2_failure_kind(text), expected, "{text}");
        check("stream error received: refused stream before processing any application logic", FailureKind::Refused);
        check("stream error received: unexpected internal error encountered", FailureKind::Reset);
        check("connection error received: detected excessive load generating behavior", FailureKind::Reset);
        check("connection error received: not a result of an error", FailureKind::Closed);
        check("connection error detected: frame with invalid size", FailureKind::Protocol);
    }
}
