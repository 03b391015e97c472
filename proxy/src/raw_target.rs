//! The bytes of a target that `http::Uri` takes in no path or no query, and Envoy in both: `"`, `<`, `>` and the backtick;
//! in one that a rewrite made `#`, too, and a first byte that is no slash.
//! Where a head comes in each gives its place to a stand-in ([`RequestLine`]); the bytes themselves go beside the URI
//! ([`RawBytes`]) and are put back where a head goes out ([`PutBack`]). One byte stands for one, so nothing else moves.

use bytes::Bytes;
use http::Uri;
use http::uri::{InvalidUri, PathAndQuery};

/// A URI takes it in path and query, but in no authority; and it is rare.
const STAND_IN: u8 = b'|';

/// What stands there for the byte at an offset: a path that a rewrite made may begin with another byte than a URI's.
fn stand_in(offset: u16) -> u8 {
    if offset == 0 { b'/' } else { STAND_IN }
}

fn is_raw(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`')
}

/// The raw bytes of a target with their offsets in it. Most targets have none, which costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawBytes(Vec<(u16, u8)>);

impl RawBytes {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Path and query of the target that this URI was made of. None if it was made of another.
    pub(crate) fn restore(&self, uri: &Uri) -> Option<String> {
        let mut text = uri.path_and_query().map(ToString::to_string).unwrap_or_default().into_bytes();
        let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
        let before = scheme + uri.authority().map_or(0, |authority| authority.as_str().len());
        for (offset, byte) in &self.0 {
            let at = usize::from(*offset).checked_sub(before)?;
            *text.get_mut(at).filter(|seen| **seen == stand_in(*offset))? = *byte;
        }
        String::from_utf8(text).ok()
    }

    /// A target with its raw bytes escaped, for where they cannot be put back.
    pub(crate) fn encoded(&self, target: &PathAndQuery) -> Option<PathAndQuery> {
        let mut raw = self.0.iter().peekable();
        let mut encoded = Vec::with_capacity(target.as_str().len() + 2 * self.0.len());
        for (offset, byte) in target.as_str().bytes().enumerate() {
            match raw.next_if(|(at, _)| usize::from(*at) == offset) {
                Some((_, byte)) => encoded.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                None => encoded.push(byte),
            }
        }
        PathAndQuery::from_maybe_shared(Bytes::from(encoded)).ok()
    }
}

/// A request line as it comes in, in as many pieces as it likes.
#[derive(Debug, Default)]
pub(crate) struct RequestLine {
    place: Place,
    bytes: usize,
    raw: RawBytes,
}

/// How far the line has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Only empty lines, which may come before.
    #[default]
    Before,
    Method,
    /// So far into the target.
    Target(u16),
    /// Nothing of interest is left, or it is no request line: what comes may be in the middle of a head that began
    /// behind another request.
    Rest,
    Over,
}

impl RequestLine {
    /// Takes the raw bytes of the target out of the next piece of a head. What follows the line is left alone.
    pub(crate) fn take_out(&mut self, piece: &mut [u8]) {
        let mut next = 0;
        while self.place != Place::Over
            && let Some(byte) = piece.get_mut(next)
        {
            let mut passed = 1;
            self.place = match (self.place, *byte) {
                (Place::Before, b'\r' | b'\n') => Place::Before,
                (Place::Before | Place::Method, b'A'..=b'Z' | b'-') => Place::Method,
                (_, b'\n') => Place::Over,
                (Place::Method, b' ') => Place::Target(0),
                // A path, or `http` of either case.
                (Place::Target(0), b'/' | b'h' | b'H') => Place::Target(1),
                (Place::Target(1..), b' ' | b'#') => Place::Rest,
                (Place::Target(at @ 1..), _) => {
                    if is_raw(*byte) {
                        self.raw.0.push((at, std::mem::replace(byte, STAND_IN)));
                    }
                    // Most targets are passed in one go.
                    let plain = |byte: &&u8| !matches!(**byte, b' ' | b'#' | b'\n') && !is_raw(**byte);
                    passed += piece[next + 1..].iter().take_while(plain).count();
                    u16::try_from(usize::from(at) + passed).map_or(Place::Rest, Place::Target)
                }
                _ => {
                    passed = piece[next..].iter().take_while(|byte| **byte != b'\n').count();
                    Place::Rest
                }
            };
            next += passed;
        }
        self.bytes += next;
    }

    /// How long it is so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn into_raw(self) -> RawBytes {
        self.raw
    }
}

/// A target as hyper's client takes it, and what it does not take.
#[derive(Debug)]
pub(crate) struct WireTarget {
    pub(crate) uri: PathAndQuery,
    pub(crate) raw: RawBytes,
}

impl From<PathAndQuery> for WireTarget {
    /// Of one that holds nothing raw.
    fn from(uri: PathAndQuery) -> Self {
        Self { uri, raw: RawBytes::default() }
    }
}

impl TryFrom<String> for WireTarget {
    type Error = InvalidUri;

    fn try_from(text: String) -> Result<Self, InvalidUri> {
        let mut text = text.into_bytes();
        let mut raw = RawBytes::default();
        for (offset, byte) in (0..u16::MAX).zip(&mut text) {
            // A rewrite can put a `#` there, which a URI cuts off with what follows, or leave the first slash out; Envoy
            // sends both.
            let is_other_start = offset == 0 && byte.is_ascii_graphic() && *byte != b'/';
            if is_other_start || is_raw(*byte) || *byte == b'#' {
                raw.0.push((offset, std::mem::replace(byte, stand_in(offset))));
            }
        }
        Ok(Self { uri: PathAndQuery::from_maybe_shared(Bytes::from(text))?, raw })
    }
}

/// A head on its way out, until the last of its raw bytes is written.
#[derive(Debug)]
pub(crate) struct PutBack {
    raw: RawBytes,
    /// Where in the head the target begins.
    target: usize,
    written: usize,
}

impl PutBack {
    /// None if there is nothing to put back. The target follows the method and a space.
    pub(crate) fn new(raw: &RawBytes, method: &str) -> Option<Self> {
        (!raw.is_empty()).then(|| Self { raw: raw.clone(), target: method.len() + 1, written: 0 })
    }

    /// What to write of the next bytes of the head: those up to the last raw one.
    pub(crate) fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes[..bytes.len().min(self.left())].to_vec();
        for (offset, byte) in &self.raw.0 {
            let at = (self.target + usize::from(*offset)).checked_sub(self.written);
            if let Some(seen) = at.and_then(|at| bytes.get_mut(at)) {
                debug_assert_eq!(*seen, stand_in(*offset), "only a stand-in gives way");
                *seen = *byte;
            }
        }
        bytes
    }

    /// So many of them were written. Whether that was all.
    pub(crate) fn advance(&mut self, written: usize) -> bool {
        self.written += written;
        self.left() == 0
    }

    fn left(&self) -> usize {
        let end = self.raw.0.last().map_or(0, |(offset, _)| self.target + usize::from(*offset) + 1);
        end.saturating_sub(self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands a head over in two pieces; returns it as the parser sees it, and what was taken out.
    fn taken_out(head: &str, split: usize) -> (String, RequestLine) {
        let mut bytes = head.as_bytes().to_vec();
        let mut line = RequestLine::default();
        let (first, second) = bytes.split_at_mut(split);
        line.take_out(first);
        line.take_out(second);
        (String::from_utf8(bytes).expect("ASCII for ASCII"), line)
    }

    #[test]
    fn a_target_is_restored_wherever_its_line_is_split() {
        for (line, expected) in [
            ("GET /score HTTP/1.1", "/score"),
            ("GET / HTTP/1.1", "/"),
            ("GET /\"<>`|?\"<>`| HTTP/1.1", "/\"<>`|?\"<>`|"),
            ("\r\n\nM-SEARCH /a\" HTTP/1.0", "/a\""),
            ("GET /a\"?x#\"<>` HTTP/1.1", "/a\"?x"),
            ("GET http://a.example.com:80/<?\" HTTP/1.1", "/<?\""),
            ("GET HTTP://a/` HTTP/1.1", "/`"),
        ] {
            let head = format!("{line}\r\nX-Quoted: A /\"<>`\r\n\r\n");
            for split in 0..=head.len() {
                let (seen, line) = taken_out(&head, split);
                let target = seen.trim_start().split(' ').nth(1).expect("a target");
                let uri: Uri = target.parse().expect("a URI takes it");
                assert_eq!(seen.len(), head.len());
                assert!(line.place == Place::Over && seen.ends_with("\r\nX-Quoted: A /\"<>`\r\n\r\n"), "{seen:?}");
                assert_eq!(line.into_raw().restore(&uri).as_deref(), Some(expected), "{head:?} at {split}");
            }
        }
    }

    #[test]
    fn what_is_no_target_is_left_alone() {
        for head in [
            "G\"T / HTTP/1.1\r\n",
            "get /\" HTTP/1.1\r\n",
            "GET  /\" HTTP/1.1\r\n",
            "GET *\" HTTP/1.1\r\n",
            "GET \"/ HTTP/1.1\r\n",
            "GET / \"<>`\r\n",
            "GET\r\nA /\" B\r\n",
            " GET /\" HTTP/1.1\r\n",
            "x; y=\"1\" /\"\r\nGET /\" HTTP/1.1\r\n",
        ] {
            for split in 0..=head.len() {
                let (seen, line) = taken_out(head, split);
                assert_eq!((seen.as_str(), line.into_raw().is_empty()), (head, true), "at {split}");
            }
        }
    }

    #[test]
    fn bytes_of_another_target_are_not_put_into_this_one() {
        let raw = taken_out("GET /a\"c HTTP/1.1\r\n", 0).1.into_raw();
        for other in ["/a", "/abc", "/|b|", "*", "http://a|/", "a:80"] {
            let Ok(uri) = other.parse::<Uri>() else { continue };
            assert_eq!(raw.restore(&uri), None, "{other}");
        }
    }

    #[test]
    fn a_target_beyond_every_limit_is_read_to_its_end() {
        let (seen, line) = taken_out(&format!("GET /{}\" HTTP/1.1\r\n", "a".repeat(70_000)), 0);
        assert!(seen.contains('"') && line.place == Place::Over && line.into_raw().is_empty());
    }

    #[test]
    fn a_head_goes_out_as_it_was_meant_in_whatever_pieces() {
        for target in ["/\"<>`|?\"<>`|", "/a?\"", "/\"", "/a#b?c#d", "b/c", "b", "?a\"", "\"/c", "/score"] {
            let wire = WireTarget::try_from(target.to_owned()).expect("a target");
            let head = format!("POST {} HTTP/1.1\r\nX: |\r\n\r\n", wire.uri);
            for (first, size) in (0..head.len()).flat_map(|first| [(first, 1), (first, 3), (first, head.len())]) {
                let mut put_back = PutBack::new(&wire.raw, "POST");
                let mut out = Vec::new();
                while out.len() < head.len() {
                    let piece = if out.is_empty() && first > 0 { first } else { size };
                    let rest = &head.as_bytes()[out.len()..];
                    let piece = &rest[..piece.min(rest.len())];
                    match &mut put_back {
                        None => out.extend_from_slice(piece),
                        Some(pending) => {
                            let written = pending.apply(piece);
                            out.extend_from_slice(&written);
                            if pending.advance(written.len()) {
                                put_back = None;
                            }
                        }
                    }
                }
                assert!(put_back.is_none());
                assert_eq!(String::from_utf8_lossy(&out), format!("POST {target} HTTP/1.1\r\nX: |\r\n\r\n"));
            }
        }
    }

    #[test]
    fn a_target_holds_every_graphic_byte_and_nothing_else() {
        for byte in b' '..=0x7f {
            let text = format!("/a{0}b?c{0}d", char::from(byte));
            let wire = WireTarget::try_from(text.clone());
            assert_eq!(wire.is_ok(), byte.is_ascii_graphic(), "{text}");
            if let Ok(WireTarget { uri, raw }) = wire {
                assert_eq!(raw.restore(&Uri::from(uri)), Some(text));
            }
        }
    }
}
