//! Headers on the way through: what belongs to one connection is taken off, what the client may not say of itself is
//! dropped, and what the backend should know of the client is put on. The order matters and is fixed here: nominated and
//! hop-by-hop headers go first, so that a client cannot make the gateway drop what it adds.

use crate::error::GatewayError;
use crate::hop_by_hop::{is_hop_by_hop, remove_if};
use crate::settings::HeaderSettings;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use turnout_routes::documents::Scheme;

/// Besides what is hop-by-hop: `te`, of which only `trailers` goes on; `expect`, which the gateway has answered; `proxy`,
/// which becomes HTTP_PROXY under CGI; what is the gateway's own to write.
fn is_not_for_backends(name: &str) -> bool {
    matches!(name, "te" | "expect" | "proxy" | "proxy-authorization" | "x-forwarded-client-cert")
        || name.starts_with("x-turnout-")
        || name.strip_prefix("x-envoy-").is_some_and(|rest| ENVOY_OWN.contains(&rest))
}

/// Says who the client is; only a trusted proxy may.
fn says_who_the_client_is(name: &str) -> bool {
    matches!(
        name,
        "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-port" | "forwarded" | "x-real-ip"
    )
}

/// Naming these in `Connection` would make the gateway drop what it or the backend relies on.
const NEVER_NOMINATED: [&str; 4] = ["host", "content-length", "authorization", "x-api-version"];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
/// By which a model knows that nobody waits for its answer; what a proxy in front has copied is a copy here, too.
pub(super) const SHADOW: HeaderName = HeaderName::from_static("x-turnout-shadow");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// The longest request id that is taken over from a trusted proxy, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Takes off the request what must not reach matching or the backend, and refuses what cannot be done. Names with `_`
/// become those with `-` in WSGI servers, so a client could say in them what it may not say otherwise.
///
/// Says whether a tunnel is asked for: then `connection` and `upgrade` stay, for rules to match and for the backend.
pub(super) fn sanitise_request(
    headers: &mut HeaderMap,
    (method, version): (&Method, Version),
    trusted: bool,
    settings: HeaderSettings,
) -> Result<bool, GatewayError> {
    let goes = |name: &str| {
        is_hop_by_hop(name)
            || (is_not_for_backends(name) && !(trusted && *name == *SHADOW.as_str()))
            || (!trusted && says_who_the_client_is(name))
            || (!settings.keep_underscores && name.contains('_'))
    };
    // One look at each name: of most requests nothing has to go.
    if !headers.keys().any(|name| goes(name.as_str())) {
        return Ok(false);
    }
    // Of HTTP/1.0 it must be passed over (RFC 9110, 7.8), and HTTP/2 has none.
    let protocol = if version == Version::HTTP_11 { upgrade(headers, method)? } else { None };
    remove_nominated(headers)?;
    let takes_trailers = list(headers, &header::TE).any(|token| token.eq_ignore_ascii_case(b"trailers"));
    remove_if(headers, goes);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let is_tunnel = protocol.is_some();
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    Ok(is_tunnel)
}

/// The members of a header that holds a list.
fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Removes what `Connection` names. Nearly all requests name nothing but what is taken off anyway.
fn remove_nominated(headers: &mut HeaderMap) -> Result<(), GatewayError> {
    let is_option = |token: &[u8]| {
        [&b"keep-alive"[..], b"close", b"te", b"upgrade"].iter().any(|option| token.eq_ignore_ascii_case(option))
    };
    if list(headers, &header::CONNECTION).all(is_option) {
        return Ok(());
    }
    let nominated: Vec<HeaderName> =
        list(headers, &header::CONNECTION).filter_map(|token| HeaderName::from_bytes(token).ok()).collect();
    for name in nominated.into_iter().filter(|name| *name != header::TE) {
        if NEVER_NOMINATED.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-") {
            return Err(GatewayError::BadRequest(&"Connection names a header that is not the connection's"));
        }
        headers.remove(&name);
    }
    Ok(())
}

/// The protocol that the connection is to go on with, as the client writes it: WebSocket, or none. A client that wants
/// another is told so, rather than answered as if it had asked for a page; an offer of HTTP/2 may be passed over
/// (RFC 9113, 3.1).
fn upgrade(headers: &HeaderMap, method: &Method) -> Result<Option<HeaderValue>, GatewayError> {
    let Some(protocol) = headers.get(header::UPGRADE) else { return Ok(None) };
    let wants = |token: &[u8]| !token.is_empty() && !token.eq_ignore_ascii_case(b"h2c");
    if !list(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
        || !list(headers, &header::UPGRADE).any(wants)
    {
        return Ok(None);
    }
    // As in Envoy, a list of protocols is not one of them.
    if headers.get_all(header::UPGRADE).iter().count() > 1 || !protocol.as_bytes().eq_ignore_ascii_case(b"websocket") {
        return Err(GatewayError::Upgrade);
    }
    // RFC 6455, 4.1. What would follow such a head is the tunnel's to one and a body to another.
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if *method != Method::GET || has_body {
        return Err(GatewayError::BadRequest(&"a WebSocket handshake is a GET request without a body"));
    }
    Ok(Some(protocol.clone()))
}

/// The scheme by which a trusted proxy was asked.
pub(super) fn told_scheme(headers: &HeaderMap) -> Option<Scheme> {
    // The first is the one nearest to the client.
    let told = list(headers, &FORWARDED_PROTO).next()?;
    if told.eq_ignore_ascii_case(b"https") {
        Some(Scheme::Https)
    } else if told.eq_ignore_ascii_case(b"http") {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// What Istio's gateway drops of a client's `x-envoy-*`, without that prefix (observed); others pass.
const ENVOY_OWN: [&str; 22] = [
    "attempt-count",
    "decorator-operation",
    "downstream-service-cluster",
    "downstream-service-node",
    "expected-rq-timeout-ms",
    "external-address",
    "force-trace",
    "hedge-on-per-try-timeout",
    "internal",
    "ip-tags",
    "max-retries",
    "original-host",
    "original-path",
    "peer-metadata",
    "peer-metadata-id",
    "retriable-header-names",
    "retriable-status-codes",
    "retry-grpc-on",
    "retry-on",
    "upstream-alt-stat-name",
    "upstream-rq-per-try-timeout-ms",
    "upstream-rq-timeout-ms",
];

/// HTTP/2 may send one cookie a line; elsewhere they are one line, which is also what rules are written for (RFC 9113,
/// 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    if let (Some(_), Some(_)) = (lines.next(), lines.next()) {
        let lines: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
            headers.insert(header::COOKIE, joined);
        }
    }
}

/// What the backend should know of a request.
pub(super) struct Forwarded<'a> {
    pub(super) client: &'a HeaderValue,
    /// What is told of the certificate that it showed.
    pub(super) certificate: Option<&'a HeaderValue>,
    pub(super) scheme: Scheme,
    pub(super) trusted: bool,
    pub(super) request_id: HeaderValue,
}

/// Puts on what every backend is told.
pub(super) fn add_forwarded(headers: &mut HeaderMap, forwarded: Forwarded<'_>) {
    headers.insert(FORWARDED_FOR, forwarded_for(headers, forwarded.client));
    if !forwarded.trusted || !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(forwarded.scheme.as_str()));
    }
    if let Some(certificate) = forwarded.certificate {
        headers.insert(FORWARDED_CLIENT_CERT, certificate.clone());
    }
    headers.insert(REQUEST_ID, forwarded.request_id);
}

/// The client's address, behind what a trusted proxy said before.
fn forwarded_for(headers: &HeaderMap, client: &HeaderValue) -> HeaderValue {
    if !headers.contains_key(FORWARDED_FOR) {
        return client.clone();
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().chain([client]).map(HeaderValue::as_bytes);
    // All parts were header values, so the joined bytes are one, too.
    HeaderValue::from_bytes(&lines.collect::<Vec<_>>().join(&b","[..])).unwrap_or_else(|_| client.clone())
}

/// By which a request is found in logs: the id of a trusted proxy if it is safe to log, else a new one (UUID version 4,
/// RFC 9562), written out only where it is needed.
#[derive(Debug)]
pub(super) enum RequestId {
    Given(HeaderValue),
    /// As bytes: a number would be aligned, and take more room in every request.
    New([u8; 16]),
}

impl RequestId {
    pub(super) fn of(headers: &HeaderMap, trusted: bool, random: impl FnOnce() -> [u8; 16]) -> Self {
        let safe =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=');
        let given = headers.get(REQUEST_ID).filter(|value| {
            trusted && !value.is_empty() && value.len() <= MAX_REQUEST_ID_BYTES && value.as_bytes().iter().all(safe)
        });
        given.map_or_else(|| Self::New(random()), |given| Self::Given(given.clone()))
    }

    pub(super) fn value(&self) -> HeaderValue {
        match self {
            Self::Given(value) => value.clone(),
            Self::New(random) => new_request_id(*random),
        }
    }
}

fn new_request_id(mut bytes: [u8; 16]) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    // Hex digits and hyphens are always a header value.
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// What Istio's gateway tells backends beside that, with `--envoy-headers`.
pub(super) struct EnvoyRequestHeaders<'a> {
    pub(super) client: &'a HeaderValue,
    /// Path and query before a rewrite.
    pub(super) original_path: Option<&'a str>,
    /// Authority before a rewrite.
    pub(super) original_host: Option<&'a HeaderValue>,
    pub(super) timeout_ms: Option<u128>,
}

pub(super) fn add_envoy_request_headers(headers: &mut HeaderMap, envoy: &EnvoyRequestHeaders<'_>) {
    let text = |text: &str| HeaderValue::from_str(text).ok();
    let mut insert = |name: HeaderName, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    insert(EXTERNAL_ADDRESS, Some(envoy.client.clone()));
    insert(ORIGINAL_PATH, envoy.original_path.and_then(text));
    insert(ORIGINAL_HOST, envoy.original_host.cloned());
    insert(EXPECTED_TIMEOUT, envoy.timeout_ms.and_then(|ms| text(&ms.to_string())));
}

/// The number of the try, from 1, with `--envoy-headers`.
pub(super) fn set_attempt_count(headers: &mut HeaderMap, attempt: u32) {
    headers.insert(ATTEMPT_COUNT, HeaderValue::from(attempt));
}

/// Time until the backend answered, with `--envoy-headers`.
pub(super) fn set_service_time(headers: &mut HeaderMap, elapsed_ms: u128) {
    if let Ok(value) = HeaderValue::from_str(&elapsed_ms.to_string()) {
        headers.insert(SERVICE_TIME, value);
    }
}

/// A limit of the backend is reached, with `--envoy-headers`.
pub(super) fn set_overloaded(headers: &mut HeaderMap) {
    headers.insert(OVERLOADED, HeaderValue::from_static("true"));
}

/// Puts on what every answer carries, whoever made it. A rule cannot set `server`; it can set `date`.
pub(super) fn finish_response(headers: &mut HeaderMap, settings: HeaderSettings, is_last: bool) {
    let server = if settings.envoy_headers { "istio-envoy" } else { "turnout" };
    headers.insert(header::SERVER, HeaderValue::from_static(server));
    if is_last {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    fn sanitised(lines: &[(&str, &str)], trusted: bool) -> Result<HeaderMap, GatewayError> {
        let mut headers = map(lines);
        let request = (&Method::GET, Version::HTTP_11);
        sanitise_request(&mut headers, request, trusted, HeaderSettings::default()).map(|_| headers)
    }

    #[test]
    fn hop_by_hop_and_nominated_headers_go() {
        let check = |lines: &[(&str, &str)], left: &[(&str, &str)]| {
            assert_eq!(sanitised(lines, false), Ok(map(left)), "{lines:?}");
        };
        check(
            &[("connection", "x-secret, keep-alive"), ("x-secret", "1"), ("keep-alive", "5"), ("x-a", "1")],
            &[("x-a", "1")],
        );
        check(&[("te", "gzip"), ("upgrade", "h2c"), ("http2-settings", "x"), ("expect", "100-continue")], &[]);
        check(&[("connection", "TE"), ("te", "gzip, Trailers")], &[("te", "trailers")]);
        check(&[("proxy", "http://evil"), ("proxy-authorization", "x"), ("proxy-connection", "x")], &[]);
        check(
            &[("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=x"), ("x-real-ip", "1"), ("x-forwarded-host", "h")],
            &[],
        );
        check(
            &[("content_length", "5"), ("x_api_version", "blue"), ("x-api-version", "green")],
            &[("x-api-version", "green")],
        );
        check(
            &[("x-turnout-reason", "x"), ("x-envoy-retry-on", "5xx"), ("x-envoy-custom", "c")],
            &[("x-envoy-custom", "c")],
        );
    }

    #[test]
    fn only_a_trusted_proxy_says_that_a_request_is_a_copy() {
        let lines = &[("x-turnout-shadow", "1"), ("x-turnout-reason", "x")];
        assert_eq!(sanitised(lines, false), Ok(map(&[])));
        assert_eq!(sanitised(lines, true), Ok(map(&lines[..1])));
    }

    #[test]
    fn a_client_cannot_nominate_what_others_rely_on() {
        for name in ["host", "Content-Length", "x-forwarded-for", "authorization", "x-api-version"] {
            assert!(sanitised(&[("connection", name)], false).is_err(), "{name}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_appended_to() {
        let mut headers = sanitised(
            &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2"), ("x-forwarded-proto", "https")],
            true,
        )
        .expect("nothing to refuse");
        let id = HeaderValue::from_static("id");
        let client = HeaderValue::from_static("10.0.0.1");
        let (scheme, trusted) = (Scheme::Http, true);
        add_forwarded(&mut headers, Forwarded { client: &client, certificate: None, scheme, trusted, request_id: id });
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1,2.2.2.2,10.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn a_request_id_is_a_version_4_uuid_unless_a_trusted_proxy_gave_a_safe_one() {
        let check = |given: Option<&str>, trusted, expected: &str| {
            let headers = given.map(|id| map(&[("x-request-id", id)])).unwrap_or_default();
            assert_eq!(RequestId::of(&headers, trusted, || [0xff; 16]).value(), expected, "{given:?}");
        };
        let new = "ffffffff-ffff-4fff-bfff-ffffffffffff";
        check(None, false, new);
        check(Some("mine"), false, new);
        check(Some("mine"), true, "mine");
        check(Some("two words"), true, new);
        check(Some(&"x".repeat(128)), true, &"x".repeat(128));
        check(Some(&"x".repeat(129)), true, new);
    }
}
