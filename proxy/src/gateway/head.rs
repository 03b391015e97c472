//! The head of a request, made fit for routing: what is malformed or hostile is refused here, before anything is matched
//! (RFC 9110 and 9112; where they leave room, what Istio's gateway was observed to do). After it, path and authority are
//! what is matched *and* what is forwarded. Nothing is copied that can be used as it came.

use crate::error::GatewayError;
use crate::raw_target::{RawBytes, WireTarget};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, request::Parts};
use std::borrow::Cow;
use turnout_routes::router::normalise_path;

/// How large a head may be, beyond what hyper checks.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// Path and query together, in bytes.
    pub(super) max_target_bytes: usize,
    /// Header lines; hyper counts them for HTTP/1 only.
    pub(super) max_fields: usize,
}

/// What routing needs of a request besides what its parts say.
#[derive(Debug)]
pub(super) struct Head {
    /// Host, or the authority of the target.
    pub(super) authority: HeaderValue,
    /// Path and query, where they are not those of the URI: its path is normalised, and it lacks the raw bytes.
    target: Option<String>,
}

impl Head {
    /// Checks a head and takes from it what routing needs. `raw` is what its URI lacks of the target.
    pub(super) fn read(parts: &Parts, raw: &RawBytes, tls: bool, limits: HeadLimits) -> Result<Self, GatewayError> {
        if parts.headers.len() > limits.max_fields {
            return Err(GatewayError::TooManyFields);
        }
        check_method(&parts.method)?;
        check_framing(parts)?;
        let authority = authority(&parts.uri, &parts.headers, parts.version)?;
        check_scheme(&parts.uri, tls, parts.version)?;
        let restored = restored(parts, raw)?;
        let (path, query) = restored.as_deref().map_or((parts.uri.path(), parts.uri.query()), path_and_query);
        if path == "*" {
            // OPTIONS * asks about the server itself, which no rule can name.
            return Err(GatewayError::NoRoute);
        }
        if path.len() + query.map_or(0, str::len) > limits.max_target_bytes {
            return Err(GatewayError::TargetTooLong);
        }
        if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(GatewayError::BadRequest(&"the query holds a raw byte that must be percent-encoded"));
        }
        let target = match normalise_path(path)? {
            Cow::Borrowed(_) => restored,
            Cow::Owned(mut target) => {
                if let Some(query) = query {
                    target.push('?');
                    target.push_str(query);
                }
                Some(target)
            }
        };
        Ok(Self { authority, target })
    }

    /// The authority was checked to be ASCII when it was read.
    pub(super) fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// The path to match, without the query.
    pub(super) fn path<'a>(&'a self, uri: &'a Uri) -> &'a str {
        self.target.as_deref().map_or(uri.path(), |target| path_and_query(target).0)
    }

    pub(super) fn query<'a>(&'a self, uri: &'a Uri) -> Option<&'a str> {
        self.target.as_deref().map_or(uri.query(), |target| path_and_query(target).1)
    }

    /// Path and query.
    pub(super) fn target<'a>(&'a self, uri: &'a Uri) -> &'a str {
        self.target.as_deref().unwrap_or_else(|| uri.path_and_query().map_or("/", PathAndQuery::as_str))
    }

    /// The same, as it is sent where no rule rewrites it.
    pub(super) fn wire_target(&self, uri: &Uri) -> Result<WireTarget, GatewayError> {
        let Some(target) = &self.target else {
            return Ok(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into());
        };
        // Normalising leaves only what a path may hold, but escapes make it longer.
        WireTarget::try_from(target.clone()).map_err(|_| GatewayError::TargetTooLong)
    }
}

impl Default for Head {
    /// Of a request whose head has not been read.
    fn default() -> Self {
        Self { authority: HeaderValue::from_static(""), target: None }
    }
}

/// The target that came, where the URI is not all of it, or has no path: the absolute form needs none (RFC 9112, 3.2.1),
/// and over HTTP/2 one begins with a slash (RFC 9113, 8.3.1).
fn restored(parts: &Parts, raw: &RawBytes) -> Result<Option<String>, GatewayError> {
    let mut restored = None;
    if !raw.is_empty() {
        // Bytes of another head, which came in pieces behind another request and looked like the beginning of one.
        let error = GatewayError::BadRequest(&"the target cannot be told from the head");
        restored = Some(raw.restore(&parts.uri).ok_or(error)?);
    }
    let target = restored.as_deref().or_else(|| parts.uri.path_and_query().map(PathAndQuery::as_str));
    match target.filter(|target| target.starts_with('?')) {
        None => Ok(restored),
        Some(_) if parts.version == Version::HTTP_2 => {
            Err(GatewayError::BadRequest(&"the path does not begin with a slash"))
        }
        Some(query) => Ok(Some(format!("/{query}"))),
    }
}

fn path_and_query(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

/// Every method passes but two: CONNECT would open a tunnel, TRACE would echo cookies. Methods are upper case
/// (RFC 9110, 9.1); `post` is a mistake that a backend might take for POST.
fn check_method(method: &Method) -> Result<(), GatewayError> {
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(GatewayError::Method);
    }
    if method.as_str().bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        Ok(())
    } else {
        Err(GatewayError::BadRequest(&"a method is written in upper case"))
    }
}

/// What is left of framing after hyper: only `chunked` is a transfer coding here, HTTP/1.0 and HTTP/2 have none, and the
/// only expectation is `100-continue`.
fn check_framing(parts: &Parts) -> Result<(), GatewayError> {
    let headers = &parts.headers;
    if headers.contains_key(header::TRANSFER_ENCODING) {
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked = codings.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return Err(GatewayError::TransferCoding);
        }
        if parts.version != Version::HTTP_11 {
            return Err(GatewayError::BadRequest(&"this HTTP version has no Transfer-Encoding"));
        }
    }
    match headers.get(header::EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(GatewayError::Expectation),
        _ => Ok(()),
    }
}

/// The authority of the target wins over Host (RFC 9112, 3.2.2), but Host must be there once in HTTP/1.1 all the same.
fn authority(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<HeaderValue, GatewayError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && version == Version::HTTP_11) {
        return Err(GatewayError::Host);
    }
    let authority = match (uri.authority(), host) {
        (Some(authority), _) => HeaderValue::from_str(authority.as_str()).map_err(|_| GatewayError::Host)?,
        (None, Some(host)) => host.clone(),
        // HTTP/1.0 has no Host; such requests are only for `*`.
        (None, None) if version == Version::HTTP_10 => return Ok(HeaderValue::from_static("")),
        (None, None) => return Err(GatewayError::Host),
    };
    if is_authority(authority.as_bytes()) { Ok(authority) } else { Err(GatewayError::Host) }
}

fn is_authority(bytes: &[u8]) -> bool {
    // A plain name or address with an optional port is by far the most frequent; it needs no parser.
    let simple = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let colon = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
    let (host, port) = bytes.split_at(colon);
    if !host.is_empty() && host.iter().all(simple) && port.len() <= 6 && port.iter().skip(1).all(u8::is_ascii_digit) {
        return true;
    }
    Authority::try_from(bytes).is_ok_and(|parsed| {
        // What comes before the host is user information, which a Host cannot have.
        let port = parsed.as_str().strip_prefix(parsed.host());
        !parsed.host().is_empty() && port.is_some_and(|port| port.bytes().skip(1).all(|byte| byte.is_ascii_digit()))
    })
}

/// A target in absolute form must be of the connection's own scheme. HTTP/2's `:scheme` is not held against a client:
/// one behind a TLS-terminating load balancer rightly says `https` on a clear-text connection.
fn check_scheme(uri: &Uri, tls: bool, version: Version) -> Result<(), GatewayError> {
    if version == Version::HTTP_2 {
        return Ok(());
    }
    match uri.scheme_str() {
        None | Some("http") => Ok(()),
        Some("https") if tls => Ok(()),
        Some("https") => Err(GatewayError::HttpsTargetOnPlain),
        Some(_) => Err(GatewayError::BadRequest(&"the target's scheme is not http")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use turnout_routes::router::PathRefusal;

    const LIMITS: HeadLimits = HeadLimits { max_target_bytes: 100, max_fields: 3 };

    fn read(request: http::request::Builder) -> Result<Head, GatewayError> {
        Head::read(&request.body(()).expect("a request").into_parts().0, &RawBytes::default(), false, LIMITS)
    }

    fn get(target: &str) -> http::request::Builder {
        Request::get(target).header("host", "a.example.com")
    }

    #[test]
    fn what_is_matched_is_what_came_normalised() {
        let check = |request: http::request::Builder, expected: (&str, &str, &str)| {
            let parts = request.body(()).expect("a request").into_parts().0;
            let head = Head::read(&parts, &RawBytes::default(), false, LIMITS).expect("a good head");
            assert_eq!((head.authority(), head.path(&parts.uri)), (expected.0, expected.1));
            assert_eq!(head.target(&parts.uri), expected.2);
            assert_eq!(head.wire_target(&parts.uri).expect("a target").uri, expected.2);
        };
        check(get("/score"), ("a.example.com", "/score", "/score"));
        check(get("/a/../score?x=/../y"), ("a.example.com", "/score", "/score?x=/../y"));
        check(get("http://b.example.com:80/x"), ("b.example.com:80", "/x", "/x"));
        check(get("http://a.example.com"), ("a.example.com", "/", "/"));
        check(get("http://a.example.com?x=1"), ("a.example.com", "/", "/?x=1"));
        check(Request::get("/").header("host", "[::1]:8080"), ("[::1]:8080", "/", "/"));
        check(Request::get("/").version(Version::HTTP_10), ("", "/", "/"));
    }

    #[test]
    fn what_the_uri_lacks_is_matched_and_sent_all_the_same() {
        let check = |target: &str, expected: (&str, Option<&str>, &str)| {
            let WireTarget { uri, raw } = WireTarget::try_from(target.to_owned()).expect("a target");
            let parts = get(uri.as_str()).body(()).expect("a request").into_parts().0;
            let head = Head::read(&parts, &raw, false, LIMITS).expect("a good head");
            let uri = &parts.uri;
            assert_eq!((head.path(uri), head.query(uri), head.target(uri)), expected);
            let wire = head.wire_target(uri).expect("a target");
            assert_eq!(wire.raw.restore(&Uri::from(wire.uri)).as_deref(), Some(expected.2));
        };
        check("/score?q=\"x", ("/score", Some("q=\"x"), "/score?q=\"x"));
        check("/a\"/../<b>`?<?>", ("/%3Cb%3E%60", Some("<?>"), "/%3Cb%3E%60?<?>"));
        check("/\"", ("/%22", None, "/%22"));

        let parts = get("/score").body(()).expect("a request").into_parts().0;
        let raw = WireTarget::try_from("/\"".to_owned()).expect("a target").raw;
        let refused = Head::read(&parts, &raw, false, LIMITS).expect_err("refused");
        assert_eq!(refused, GatewayError::BadRequest(&"the target cannot be told from the head"));
    }

    #[test]
    fn what_cannot_be_acted_on_safely_is_refused() {
        let check = |request, expected: GatewayError| {
            assert_eq!(read(request).expect_err("refused"), expected);
        };
        check(Request::get("/"), GatewayError::Host);
        check(get("/").header("host", "b"), GatewayError::Host);
        check(Request::get("/").header("host", "a@b"), GatewayError::Host);
        check(Request::get("/").header("host", "a/b"), GatewayError::Host);
        check(Request::get("/").header("host", ""), GatewayError::Host);
        check(Request::get("/").header("host", "a:b"), GatewayError::Host);
        check(Request::get("/").header("host", "[::1]:b"), GatewayError::Host);
        check(get("/").header("a", "1").header("a", "2").header("a", "3"), GatewayError::TooManyFields);
        check(get("/").method("TRACE"), GatewayError::Method);
        check(get("a:1").method("CONNECT"), GatewayError::Method);
        check(get("/").method("post"), GatewayError::BadRequest(&"a method is written in upper case"));
        check(get("/").header("transfer-encoding", "gzip, chunked"), GatewayError::TransferCoding);
        check(
            get("/").header("transfer-encoding", "chunked").header("transfer-encoding", "chunked"),
            GatewayError::TransferCoding,
        );
        check(get("/").header("expect", "other"), GatewayError::Expectation);
        check(get("*").method("OPTIONS"), GatewayError::NoRoute);
        check(get("https://a.example.com/"), GatewayError::HttpsTargetOnPlain);
        check(get("ftp://a.example.com/"), GatewayError::BadRequest(&"the target's scheme is not http"));
        check(get("/a%00"), GatewayError::Path(PathRefusal::Nul));
        check(get(&format!("/{}", "x".repeat(100))), GatewayError::TargetTooLong);
    }

    #[test]
    fn the_longest_allowed_target_passes() {
        assert!(read(get(&format!("/{}", "x".repeat(99)))).is_ok());
    }
}
