//! Paths as Envoy normalises, rewrites and redirects them. Istio's default is `BASE`: RFC 3986, and no more.

use super::matching::with_regex;
use super::text;
use serde_json::Value;

/// Path and query; none where Envoy answers 400. The fragment is cut off.
pub(crate) fn normalised(target: &str) -> Option<String> {
    let target = target.split('#').next()?;
    if target == "*" {
        return Some(target.to_owned());
    }
    let path = target.split('?').next()?;
    Some(format!("{}{}", canonical(path)?, &target[path.len()..]))
}

/// The path canonicalisation of googleurl, which Envoy uses: unreserved characters are decoded, dot segments resolved,
/// and what must not stand in a path is encoded; all else stays as it is written.
fn canonical(path: &str) -> Option<String> {
    let (path, mut output) = (path.as_bytes(), String::new());
    let mut at = 0;
    while at < path.len() {
        if let Some(length) = dot(path, at).filter(|_| output.ends_with('/')) {
            let next = at + length;
            let second = dot(path, next).map(|length| next + length);
            if let Some(end) = end_of_segment(path, next) {
                at = end + 1;
                continue;
            }
            if let Some(end) = second.and_then(|next| end_of_segment(path, next)) {
                // Back to the slash before; the first one stays.
                output.pop();
                output.truncate(output.rfind('/').unwrap_or(0));
                output.push('/');
                at = end + 1;
                continue;
            }
        }
        match (path[at], escaped(path, at)) {
            (b'\\', _) => output.push('/'),
            (b'%', Some(0)) => return None,
            (b'%', Some(byte)) => {
                match byte {
                    b'-' | b'.' | b'_' | b'~' => output.push(char::from(byte)),
                    _ if byte.is_ascii_alphanumeric() => output.push(char::from(byte)),
                    _ => output.push_str(std::str::from_utf8(&path[at..at + 3]).expect("digits")),
                }
                at += 2;
            }
            (byte @ (b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}'), _) => {
                output.extend(format!("%{byte:02X}").chars());
            }
            (byte, _) => output.push(char::from(byte)),
        }
        at += 1;
    }
    Some(output)
}

/// Where a segment ends, the dots of which end here. Parameters behind dots that are not encoded go with them.
fn end_of_segment(path: &[u8], at: usize) -> Option<usize> {
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let end = path[at..].iter().position(is_slash).map_or(path.len(), |length| at + length);
    (end == at || (path[at] == b';' && path[at - 1] == b'.')).then_some(end)
}

/// The length of a dot, encoded or not.
fn dot(path: &[u8], at: usize) -> Option<usize> {
    match path.get(at)? {
        b'.' => Some(1),
        _ => escaped(path, at).filter(|byte| *byte == b'.').map(|_| 3),
    }
}

fn escaped(path: &[u8], at: usize) -> Option<u8> {
    let digits = path.get(at..at + 3)?.strip_prefix(b"%")?;
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The path and query that a backend sees, the first `matched` bytes of which `uri` replaces.
pub(crate) fn rewritten(rewrite: &Value, path_and_query: &str, matched: usize) -> String {
    if let Some(expression) = rewrite["uriRegexRewrite"]["match"].as_str() {
        let path = path_and_query.split('?').next().unwrap_or_default();
        let replaced = replaced(expression, text(&rewrite["uriRegexRewrite"]["rewrite"]), path);
        return format!("{replaced}{}", &path_and_query[path.len()..]);
    }
    match text(&rewrite["uri"]) {
        "" => path_and_query.to_owned(),
        uri => format!("{uri}{}", &path_and_query[matched..]),
    }
}

/// `RE2::GlobalReplace`: `\1` is a group, `\\` a backslash.
fn replaced(expression: &str, replacement: &str, path: &str) -> String {
    let expand = |groups: &regex::Captures<'_>| {
        let (mut text, mut letters) = (String::new(), replacement.chars());
        while let Some(letter) = letters.next() {
            match (letter, letter == '\\') {
                (_, false) => text.push(letter),
                (_, true) => match letters.next().and_then(|next| next.to_digit(10)) {
                    Some(group) => text.push_str(groups.get(group as usize).map_or("", |group| group.as_str())),
                    None => text.push('\\'),
                },
            }
        }
        text
    };
    with_regex(expression, |regex| regex.replace_all(path, expand).into_owned())
}

/// Envoy's `newUri`, for a request in clear text. The request's port stays unless another is named, or it is 80 and the
/// scheme another.
pub(crate) fn location(scheme: &str, host: Option<&str>, port: Option<u64>, target: &str, authority: &str) -> String {
    let host = host.unwrap_or_else(|| match authority.rsplit_once(':') {
        Some((host, own)) if port.is_some() || (scheme != "http" && own == "80") => host,
        _ => authority,
    });
    let port = port.map_or(String::new(), |port| format!(":{port}"));
    format!("{scheme}://{host}{port}{target}")
}
