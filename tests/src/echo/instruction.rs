//! What the request header `x-echo` asks an echo backend to do: items separated by `;`, some with `=value`.
//!
//! An item that is not in [`Item`] is an error: a misspelt one would let a test pass that tests nothing.

use h2::Reason;
use std::time::Duration;

/// One item of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `status=503`
    Status(u16),
    /// `reason=text` of the status line
    Reason(String),
    /// `body=text` in place of the echo
    Body(String),
    /// `delay=2s` or `delay=300ms` before the answer
    Delay(Duration),
    /// `header=name:value`, may be repeated
    Header(String, String),
    /// `header-size=N`: a header `x-big` with a value of N bytes
    HeaderSize(usize),
    /// `close`: FIN before any byte of the answer
    Close,
    /// `reset`: RST before any byte of the answer
    Reset,
    /// `rst=CODE`, over HTTP/2: RST_STREAM in place of an answer
    Rst(Reason),
    /// `rst-mid-body=CODE`, over HTTP/2: after a part of the answer
    RstMidBody(Reason),
    /// `goaway`, over HTTP/2: GOAWAY that leaves this request out
    GoAway,
    /// `goaway-after`, over HTTP/2: GOAWAY after the answer
    GoAwayAfter,
    /// `early`, over HTTP/2: the answer does not wait for the body
    Early,
    /// `no-body`, over HTTP/2: the head ends the stream
    NoBody,
    /// `no-length`, over HTTP/2
    NoLength,
    /// `garbage`: something that is not HTTP
    Garbage,
    /// `close-mid-body`: announces more than it sends, then FIN
    CloseMidBody,
    /// `reset-mid-body`: announces more than it sends, then RST
    ResetMidBody,
    /// `chunked` transfer coding
    Chunked,
    /// `trailer=name:value`, may be repeated; chunked
    Trailer(String, String),
    /// `until-close`: no length, the body ends with the connection
    UntilClose,
    /// `close-after` the answer, without announcing it
    CloseAfter,
    /// `refuse-upgrade`: answers a WebSocket upgrade with 200
    RefuseUpgrade,
    /// `no-continue`: no 100 for `Expect: 100-continue`
    NoContinue,
    /// `no-type`: no content-type
    NoType,
    /// `only=green,blue`: the other backends take no notice of the header
    Only(Vec<String>),
    /// `first=N`: only the first N attempts take notice of the header
    First(usize),
}

impl Item {
    fn parse(item: &str) -> Option<Self> {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        Some(match name {
            "status" => Self::Status(value.parse().ok()?),
            "reason" => Self::Reason(value.to_owned()),
            "body" => Self::Body(value.to_owned()),
            "delay" => Self::Delay(parse_duration(value)?),
            "header" => {
                let (name, value) = value.split_once(':')?;
                Self::Header(name.to_owned(), value.to_owned())
            }
            "header-size" => Self::HeaderSize(value.parse().ok()?),
            "close" => Self::Close,
            "reset" => Self::Reset,
            "rst" => Self::Rst(parse_reason(value)?),
            "rst-mid-body" => Self::RstMidBody(parse_reason(value)?),
            "goaway" => Self::GoAway,
            "goaway-after" => Self::GoAwayAfter,
            "early" => Self::Early,
            "no-body" => Self::NoBody,
            "no-length" => Self::NoLength,
            "garbage" => Self::Garbage,
            "close-mid-body" => Self::CloseMidBody,
            "reset-mid-body" => Self::ResetMidBody,
            "chunked" => Self::Chunked,
            "trailer" => {
                let (name, value) = value.split_once(':')?;
                Self::Trailer(name.to_owned(), value.to_owned())
            }
            // The same as `trailer=x-trailer:t1`
            "trailers" => Self::Trailer("x-trailer".to_owned(), "t1".to_owned()),
            "until-close" => Self::UntilClose,
            "close-after" => Self::CloseAfter,
            "refuse-upgrade" => Self::RefuseUpgrade,
            "no-continue" => Self::NoContinue,
            "no-type" => Self::NoType,
            "only" => Self::Only(value.split(',').map(str::to_owned).collect()),
            "first" => Self::First(value.parse().ok()?),
            _ => return None,
        })
    }
}

/// The items that one backend obeys for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instruction(Vec<Item>);

impl Instruction {
    /// Reads the header's value on behalf of `backend` for its request number `attempt`.
    pub fn parse(header: &str, backend: &str, attempt: usize) -> Result<Self, String> {
        let mut items = Vec::new();
        for text in header.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            items.push(Item::parse(text).ok_or_else(|| format!("x-echo cannot do {text:?}"))?);
        }
        let obeyed = items.iter().all(|item| match item {
            Item::Only(backends) => backends.iter().any(|name| name == backend),
            Item::First(count) => attempt <= *count,
            _ => true,
        });
        Ok(if obeyed { Self(items) } else { Self::default() })
    }

    /// Whether this item was given.
    pub fn has(&self, item: &Item) -> bool {
        self.0.contains(item)
    }

    /// Whether the answer announces more than it sends.
    pub fn breaks_off(&self) -> bool {
        self.has(&Item::CloseMidBody) || self.has(&Item::ResetMidBody)
    }

    /// Whether the answer is chunked.
    pub fn is_chunked(&self) -> bool {
        self.has(&Item::Chunked) || self.trailers().next().is_some()
    }

    /// What follows the body.
    pub fn trailers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|item| match item {
            Item::Trailer(name, value) => Some((name.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// Why the stream is to be reset in place of an answer.
    pub(super) fn reset(&self) -> Option<Reason> {
        self.find(|item| if let Item::Rst(reason) = item { Some(*reason) } else { None })
    }

    /// Why the stream is to be reset in the middle of the answer.
    pub(super) fn reset_mid_body(&self) -> Option<Reason> {
        self.find(|item| if let Item::RstMidBody(reason) = item { Some(*reason) } else { None })
    }

    /// Whether the status allows no body.
    pub fn is_bodiless(&self) -> bool {
        matches!(self.status(), 204 | 304)
    }

    /// The status to answer with.
    pub fn status(&self) -> u16 {
        self.find(|item| if let Item::Status(status) = item { Some(*status) } else { None }).unwrap_or(200)
    }

    /// The reason phrase to answer with.
    pub fn reason(&self) -> Option<&str> {
        self.find(|item| if let Item::Reason(reason) = item { Some(reason.as_str()) } else { None })
    }

    /// The body to answer with.
    pub fn body(&self) -> Option<&str> {
        self.find(|item| if let Item::Body(body) = item { Some(body.as_str()) } else { None })
    }

    /// How long to wait before the answer.
    pub fn delay(&self) -> Duration {
        self.find(|item| if let Item::Delay(delay) = item { Some(*delay) } else { None }).unwrap_or_default()
    }

    /// Header lines to add.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|item| match item {
            Item::Header(name, value) => Some((name.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// How large the value of `x-big` is to be.
    pub fn header_size(&self) -> Option<usize> {
        self.find(|item| if let Item::HeaderSize(size) = item { Some(*size) } else { None })
    }

    fn find<'a, T>(&'a self, value: impl FnMut(&'a Item) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(value)
    }
}

/// By its name in RFC 9113, section 7.
fn parse_reason(text: &str) -> Option<Reason> {
    (0..=13).map(Reason::from).find(|reason| format!("{reason:?}") == text)
}

fn parse_duration(text: &str) -> Option<Duration> {
    if let Some(milliseconds) = text.strip_suffix("ms") {
        return Some(Duration::from_millis(milliseconds.parse().ok()?));
    }
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::{Instruction, Item};
    use h2::Reason;
    use std::time::Duration;

    #[test]
    fn items_are_read_and_unknown_ones_refused() {
        let header = " status=503; body=a=b ;delay=1.5s; header=X-A: 1:2; header=x-a:3; close ";
        let instruction = Instruction::parse(header, "green", 1).expect("every item is known");
        assert_eq!((instruction.status(), instruction.body()), (503, Some("a=b")));
        assert_eq!(instruction.delay(), Duration::from_millis(1500));
        assert_eq!(instruction.headers().collect::<Vec<_>>(), [("X-A", " 1:2"), ("x-a", "3")]);
        assert!(instruction.has(&Item::Close) && !instruction.has(&Item::Reset));
        let reset = Instruction::parse("rst=REFUSED_STREAM; trailer=a:1; trailers", "green", 1).expect("all known");
        assert_eq!(reset.reset(), Some(Reason::REFUSED_STREAM));
        assert_eq!(reset.trailers().collect::<Vec<_>>(), [("a", "1"), ("x-trailer", "t1")]);
        for refused in
            ["clsoe", "rst=NO", "trailer=x", "status", "status=x", "delay=5", "first=", "header=x", "header-size=-1"]
        {
            Instruction::parse(refused, "green", 1).expect_err(refused);
        }
    }

    #[test]
    fn only_and_first_limit_who_obeys() {
        let table = [
            ("close", "green", 9, true),
            ("close; only=green", "green", 9, true),
            ("close; only=green,blue", "blue", 9, true),
            ("close; only=green", "blue", 1, false),
            ("close; first=2", "green", 2, true),
            ("close; first=2", "green", 3, false),
            ("close; first=2; only=blue", "green", 1, false),
        ];
        for (header, backend, attempt, obeyed) in table {
            let instruction = Instruction::parse(header, backend, attempt).expect("every item is known");
            assert_eq!(instruction.has(&Item::Close), obeyed, "{header} at {backend}, attempt {attempt}");
        }
    }
}
