//! One complete response, as a hook or a label sees it.
//!
//! Neither costs anything when unused: without a hook or a label that asks for it, the body is counted off the connection and
//! dropped.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};

/// The longest label, in characters; a body that is longer is cut there.
const MAX_LABEL_CHARS: usize = 60;

/// A complete response to one request.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The name of the variant that was sent.
    pub variant: &'a str,
    /// Just before the request was handed to an open connection: none of its bytes left earlier.
    pub sent_at: Instant,
    /// When the last byte of the body had arrived.
    pub received_at: Instant,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The first MiB of the body.
    pub body: &'a Bytes,
}

/// What [`crate::Load::on_response`] calls; it runs between two requests of a lane, so it should be quick.
pub type AnswerHook = Arc<dyn Fn(&Answer<'_>) + Send + Sync>;

/// What [`Label::By`] calls.
pub type LabelFunction = Arc<dyn Fn(&Answer<'_>) -> Option<String> + Send + Sync>;

/// How a response tells which backend answered; reports count responses by this text.
#[derive(Clone)]
pub enum Label {
    /// Responses are not told apart.
    Nothing,
    /// By the value of this response header; `none` where it is absent.
    Header(HeaderName),
    /// By the text of the body.
    Body,
    /// By what this function says; `none` where it has no answer.
    By(LabelFunction),
}

impl Label {
    /// Whether the label looks at the body.
    pub(super) fn needs_body(&self) -> bool {
        matches!(self, Self::Body | Self::By(_))
    }

    /// The label of a response, unless responses are not told apart.
    pub(super) fn of<'a>(&self, answer: &Answer<'a>) -> Option<Cow<'a, str>> {
        let label = match self {
            Self::Nothing => return None,
            Self::Header(name) => answer.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes())),
            Self::Body => Some(Cow::Owned(first_chars(&String::from_utf8_lossy(answer.body)))),
            Self::By(function) => function(answer).map(Cow::Owned),
        };
        Some(label.unwrap_or(Cow::Borrowed("none")))
    }
}

fn first_chars(text: &str) -> String {
    text.trim().chars().take(MAX_LABEL_CHARS).collect()
}
