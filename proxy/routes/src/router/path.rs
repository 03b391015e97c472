//! Path normalisation before matching: what is matched is what is forwarded. The rules are those observed on Istio's
//! gateway (`BASE`: RFC 3986 dot segments, with what parameters they have; `\` is `/`; escapes of unreserved characters
//! are decoded; `//`, `%2F` and other path parameters stay), and stricter where a path looks like an attempt to hide: such
//! a path is refused.

use std::borrow::Cow;

/// Why a path is refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRefusal {
    /// The path does not begin with `/`.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// Bytes above 0x7E or control characters, which a URI cannot hold unescaped (RFC 3986, 2).
    #[error("the path holds a raw byte that must be percent-encoded")]
    RawByte,
    /// `%00`.
    #[error("the path holds an escaped NUL byte")]
    Nul,
    /// `%%36%31` and the like: decoding it once leaves something that can be decoded again.
    #[error("the path hides an escape behind another")]
    NestedEscape,
    /// `..%2F` and the like: a backend that decodes `%2F` would see another path than the one that was matched.
    #[error("the path hides a dot segment behind an escaped slash")]
    HiddenDotSegment,
}

/// The path to match and to forward. Borrows where nothing has to change, which is the common case.
pub fn normalise_path(path: &str) -> Result<Cow<'_, str>, PathRefusal> {
    if !path.starts_with('/') {
        return Err(PathRefusal::NotAbsolute);
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let unescaped = unescape(path.as_bytes())?;
    if unescape(unescaped.as_bytes())? != unescaped {
        return Err(PathRefusal::NestedEscape);
    }
    if hides_dot_segment(&unescaped) {
        return Err(PathRefusal::HiddenDotSegment);
    }
    Ok(Cow::Owned(remove_dot_segments(&unescaped)))
}

/// Nothing to decode, encode or resolve.
fn is_plain(path: &[u8]) -> bool {
    let mut after_slash = false;
    path.iter().all(|byte| {
        let dot_segment = after_slash && *byte == b'.';
        after_slash = *byte == b'/';
        !dot_segment && byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\') && !is_encoded(*byte)
    })
}

/// Characters that a URI should not hold as they are, and that Istio's gateway encodes.
fn is_encoded(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn unescape(path: &[u8]) -> Result<String, PathRefusal> {
    let mut out = String::with_capacity(path.len() + 8);
    let mut index = 0;
    while let Some(&byte) = path.get(index) {
        index += 1;
        match byte {
            b'%' => match escaped(path, index) {
                Some(0) => return Err(PathRefusal::Nul),
                Some(decoded) if decoded.is_ascii_alphanumeric() || b"-._~".contains(&decoded) => {
                    out.push(char::from(decoded));
                    index += 2;
                }
                _ => out.push('%'),
            },
            b'\\' => out.push('/'),
            byte if is_encoded(byte) => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]);
            }
            byte if byte.is_ascii_graphic() => out.push(char::from(byte)),
            _ => return Err(PathRefusal::RawByte),
        }
    }
    Ok(out)
}

/// The byte that the two hex digits at `index` stand for.
fn escaped(path: &[u8], index: usize) -> Option<u8> {
    let digit = |at: usize| char::from(*path.get(at)?).to_digit(16);
    u8::try_from(digit(index)? * 16 + digit(index + 1)?).ok()
}

/// Whether a segment is `.` or `..` once escaped slashes count as slashes, and was not one before.
fn hides_dot_segment(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace("%5c", "%2f");
    let mut with_escaped_slash = path.split('/').filter(|segment| segment.contains("%2f"));
    with_escaped_slash.any(|segment| segment.split("%2f").any(|part| matches!(without_parameters(part), "." | "..")))
}

/// `..;x` is `..` to servers that know parameters, and to Envoy.
fn without_parameters(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

/// RFC 3986, 5.2.4, on an absolute path; empty segments are segments.
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_dots = false;
    for segment in path.split('/').skip(1) {
        ends_in_dots = false;
        match without_parameters(segment) {
            "." => ends_in_dots = true,
            ".." => {
                kept.pop();
                ends_in_dots = true;
            }
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if ends_in_dots || out.is_empty() {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_as_istio_does() {
        let check = |path, expected| assert_eq!(normalise_path(path).as_deref(), Ok(expected), "{path}");
        check("/score", "/score");
        check("/a/./b", "/a/b");
        check("/a/c/../b", "/a/b");
        check("/a//b", "/a//b");
        check("//a/b", "//a/b");
        check("//", "//");
        check("/a/b/.", "/a/b/");
        check("/a/b/..", "/a/");
        check("/..", "/");
        check("/../a/b", "/a/b");
        check("/%2e%2e/a/b", "/a/b");
        check("/a/%62", "/a/b");
        check("/a%2Fb", "/a%2Fb");
        check("/a%2fb", "/a%2fb");
        check("/a\\b", "/a/b");
        check("/a\\..\\b", "/b");
        check("/a/b;x=1", "/a/b;x=1");
        check("/a/..;x=1/b", "/b");
        check("/a/b/..;", "/a/");
        check("/a/.;x/b", "/a/b");
        check("/a/%2e%2e;/b", "/b");
        check("/a/...;x", "/a/...;x");
        check("/a/b;/../c", "/a/c");
        check("/%", "/%");
        check("/%zz", "/%zz");
        check("/a|b^c", "/a%7Cb%5Ec");
        check("/.well-known/x", "/.well-known/x");
        check("/...", "/...");
        check("/a..b/", "/a..b/");
        check("/%7Ex", "/~x");
        check("/%C3%A9", "/%C3%A9");
    }

    #[test]
    fn what_could_hide_something_is_refused() {
        let check = |path, expected| assert_eq!(normalise_path(path), Err(expected), "{path}");
        check("score", PathRefusal::NotAbsolute);
        check("", PathRefusal::NotAbsolute);
        check("/a%00b", PathRefusal::Nul);
        check("/\u{e9}", PathRefusal::RawByte);
        check("/a b", PathRefusal::RawByte);
        check("/a\u{7f}", PathRefusal::RawByte);
        check("/..%2fa/b", PathRefusal::HiddenDotSegment);
        check("/a/%2e%2e%2Fb", PathRefusal::HiddenDotSegment);
        check("/a/.%5c.", PathRefusal::HiddenDotSegment);
        check("/a%2f..;x", PathRefusal::HiddenDotSegment);
        check("/a/%%32%65%%32%65/b", PathRefusal::NestedEscape);
        check("/a/..%%32%66b", PathRefusal::HiddenDotSegment);
        check("/a%%30%30", PathRefusal::Nul);
    }

    #[test]
    fn normalising_twice_changes_nothing_more() {
        for path in ["/a/./b//c/../d", "/%2561", "/a\\b|c", "/x%2fy/../z", "/%2e%2e%2e", "/a/..;x/..;y"] {
            let once = normalise_path(path).expect("a good path").into_owned();
            assert_eq!(normalise_path(&once).as_deref(), Ok(once.as_str()), "{path}");
        }
    }
}
