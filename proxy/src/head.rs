//! The head of a request, made fit for routing: what is malformed or hostile is refused here, before anything is matched
//! (RFC 9110 and 9112; where they leave room, what Istio's gateway was observed to do). After it, path and authority are
//! what is matched *and* what is forwarded.

use crate::error::GatewayError;
use http::{HeaderMap, Method, Uri, Version, header, request::Parts, uri::Authority};
use turnout_routes::router::{RequestHead, Transport, normalise_path};

/// What routing needs of a request besides its headers.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) authority: String,
    /// Normalised, without the query.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
}

impl Head {
    /// Checks a head and takes from it what routing needs. `max_target_bytes` is for path and query together.
    pub(crate) fn read(parts: &Parts, tls: bool, max_target_bytes: usize) -> Result<Self, GatewayError> {
        check_method(&parts.method)?;
        check_framing(parts)?;
        let authority = authority(&parts.uri, &parts.headers, parts.version)?;
        check_scheme(&parts.uri, tls, parts.version)?;
        let (path, query) = (parts.uri.path(), parts.uri.query());
        if path == "*" {
            // OPTIONS * asks about the server itself, which no rule can name.
            return Err(GatewayError::NoRoute);
        }
        if path.len() + query.map_or(0, str::len) > max_target_bytes {
            return Err(GatewayError::TargetTooLong);
        }
        if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(GatewayError::BadRequest("the query holds a raw byte that must be percent-encoded"));
        }
        let path = if path.is_empty() { "/".to_owned() } else { normalise_path(path)?.into_owned() };
        Ok(Self { authority, path, query: query.map(str::to_owned) })
    }

    pub(crate) fn request<'a>(
        &'a self,
        port: u16,
        transport: Transport<'a>,
        method: &'a Method,
        headers: &'a HeaderMap,
    ) -> RequestHead<'a> {
        RequestHead {
            port,
            transport,
            method: method.as_str(),
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
            headers,
        }
    }

    /// Path and query as they are sent where no rule rewrites them.
    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
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
        Err(GatewayError::BadRequest("a method is written in upper case"))
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
            return Err(GatewayError::BadRequest("this HTTP version has no Transfer-Encoding"));
        }
    }
    match headers.get(header::EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(GatewayError::Expectation),
        _ => Ok(()),
    }
}

/// The authority of the target wins over Host (RFC 9112, 3.2.2), but Host must be there once in HTTP/1.1 all the same.
fn authority(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<String, GatewayError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && version <= Version::HTTP_11 && version != Version::HTTP_10) {
        return Err(GatewayError::Host);
    }
    if let Some(authority) = uri.authority() {
        return checked(authority.as_str());
    }
    match host {
        Some(host) => checked(host.to_str().map_err(|_| GatewayError::Host)?),
        // HTTP/1.0 has no Host; such requests are only for `*`.
        None if version == Version::HTTP_10 => Ok(String::new()),
        None => Err(GatewayError::Host),
    }
}

fn checked(authority: &str) -> Result<String, GatewayError> {
    // A plain name or address with an optional port is by far the most frequent; it needs no parser.
    let simple = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    if !host.is_empty() && host.bytes().all(simple) && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(authority.to_owned());
    }
    let parsed: Authority = authority.parse().map_err(|_| GatewayError::Host)?;
    if parsed.host().is_empty() || parsed.as_str().contains('@') {
        return Err(GatewayError::Host);
    }
    Ok(authority.to_owned())
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
        Some(_) => Err(GatewayError::BadRequest("the target's scheme is not http")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use turnout_routes::router::PathRefusal;

    fn read(request: http::request::Builder) -> Result<Head, GatewayError> {
        Head::read(&request.body(()).expect("a request").into_parts().0, false, 100)
    }

    fn get(target: &str) -> http::request::Builder {
        Request::get(target).header("host", "a.example.com")
    }

    #[test]
    fn what_is_matched_is_what_came_normalised() {
        let check = |request, expected: (&str, &str, Option<&str>)| {
            let head = read(request).expect("a good head");
            assert_eq!((head.authority.as_str(), head.path.as_str(), head.query.as_deref()), expected);
        };
        check(get("/score"), ("a.example.com", "/score", None));
        check(get("/a/../score?x=/../y"), ("a.example.com", "/score", Some("x=/../y")));
        check(get("http://b.example.com:80/x"), ("b.example.com:80", "/x", None));
        check(get("http://a.example.com"), ("a.example.com", "/", None));
        check(Request::get("/").header("host", "[::1]:8080"), ("[::1]:8080", "/", None));
        check(Request::get("/").version(Version::HTTP_10), ("", "/", None));
    }

    #[test]
    fn what_cannot_be_acted_on_safely_is_refused() {
        let check = |request, expected: GatewayError| {
            assert_eq!(read(request).map(|head| head.path).expect_err("refused"), expected);
        };
        check(Request::get("/"), GatewayError::Host);
        check(get("/").header("host", "b"), GatewayError::Host);
        check(Request::get("/").header("host", "a@b"), GatewayError::Host);
        check(Request::get("/").header("host", "a/b"), GatewayError::Host);
        check(Request::get("/").header("host", ""), GatewayError::Host);
        check(get("/").method("TRACE"), GatewayError::Method);
        check(get("a:1").method("CONNECT"), GatewayError::Method);
        check(get("/").method("post"), GatewayError::BadRequest("a method is written in upper case"));
        check(get("/").header("transfer-encoding", "gzip, chunked"), GatewayError::TransferCoding);
        check(
            get("/").header("transfer-encoding", "chunked").header("transfer-encoding", "chunked"),
            GatewayError::TransferCoding,
        );
        check(get("/").header("expect", "other"), GatewayError::Expectation);
        check(get("*").method("OPTIONS"), GatewayError::NoRoute);
        check(get("https://a.example.com/"), GatewayError::HttpsTargetOnPlain);
        check(get("ftp://a.example.com/"), GatewayError::BadRequest("the target's scheme is not http"));
        check(get("/a%00"), GatewayError::Path(PathRefusal::Nul));
        check(get(&format!("/{}", "x".repeat(100))), GatewayError::TargetTooLong);
    }

    #[test]
    fn the_longest_allowed_target_passes() {
        assert_eq!(read(get(&format!("/{}", "x".repeat(99)))).map(|head| head.path.len()), Ok(100));
    }
}
