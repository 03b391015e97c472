//! What the gateway does otherwise than Istio, on purpose. Everything else is a failure, and so is an entry here that
//! does not differ, or no longer.

/// Fields of requests of one case that differ, and why.
#[derive(Debug)]
pub(crate) struct Deliberate {
    /// `family/case`
    pub(crate) case: &'static str,
    /// Which requests of the case, from 1.
    pub(crate) requests: &'static [usize],
    /// Which fields of each of them, as failures name them: `status`, `response header content-type`, ...
    pub(crate) fields: &'static [&'static str],
    pub(crate) reason: &'static str,
}

impl Deliberate {
    /// Whether this entry is about that field of that request.
    pub(crate) fn covers(&self, case: &str, request: usize, field: &str) -> bool {
        self.case == case && self.requests.contains(&request) && self.fields.contains(&field)
    }
}

/// A case whose documents the gateway refuses, because it does not support a field of them, or a value.
#[derive(Debug)]
pub(crate) struct Refused {
    /// `family/case`
    pub(crate) case: &'static str,
    /// What the reason of the refusal must say: the field, or its value.
    pub(crate) said: &'static str,
}

/// Every case that is refused.
pub(crate) const REFUSED: &[Refused] = &[
    Refused { case: "headers/request-operations-on-hop-by-hop-names", said: "connection" },
    Refused { case: "retry/retry-remote-localities", said: "retryRemoteLocalities" },
];

/// What a request that is refused lacks of one that is forwarded.
const REFUSAL: &[&str] = &["status", "backend", "path"];

/// The same, and its connection is closed.
const REFUSAL_AND_END: &[&str] = &["status", "backend", "path", "closed"];

/// What Istio's gateway refuses, closing the connection, reaches the backend.
const NO_REFUSAL: &[&str] = &["status", "attempts"];

const STATUS: &[&str] = &["status"];
const CLOSED: &[&str] = &["closed"];
const LENGTH: &[&str] = &["response header content-length"];
const TYPE: &[&str] = &["response header content-type"];
const BODY: &[&str] = &["response header content-length", "response header content-type"];
const FORWARDED_FOR: &[&str] = &["request header x-forwarded-for"];

/// What a client says of itself to others.
const CLAIMS: &[&str] = &[
    "request header forwarded",
    "request header x-forwarded-host",
    "request header x-forwarded-port",
    "request header x-real-ip",
];

/// An answer that the gateway makes itself says why, for people and programs: Envoy's says it in its log alone.
const OWN_ANSWER: &str = "the gateway's own answers are JSON with error, reason and request_id";

/// A backend that decodes `%2F` would see another path than the one that was matched.
const HIDDEN_DOT_SEGMENT: &str = "a dot segment behind an escaped slash is refused with 400";

/// Istio's gateway goes on trying an endpoint that refuses connections as often as any other.
const AVOIDED: &str = "an endpoint that could not be connected to is avoided for a while";

/// A request whose end is certain leaves the next one certain, too.
const STAYS_OPEN: &str = "a connection outlives a request that was refused but read whole";

const HTTP_1_0: &str = "HTTP/1.0 is served, by its own rules of keeping connections";
const NO_SUCH_VERSION: &str = "an HTTP version that does not exist is a bad request, not an old one";
const HOST: &str = "a request needs exactly one valid Host";
const METHODS: &str = "CONNECT and TRACE are 405, and every other method passes";
const FRAMED_ANEW: &str = "what RFC 9112 lets a recipient read (6.3) is passed on with one framing";
const NOT_MENDED: &str = "who mends a request may read another one than who comes next";
const LONG_TARGET: &str = "a target has a limit of its own, 8 KiB, and 414";
const TRAILERS: &str = "announced trailers pass, and are announced only where they can follow";
const READ_AHEAD: &str = "a small body is read before a backend is asked, and so has a length";
const EXPECTATION: &str = "the gateway itself meets 100-continue, and no other expectation";
const UNTRUSTED: &str = "who a client is says the gateway, unless it trusts the peer";
const NO_TRACE: &str = "the gateway takes part in no trace, and names no operation of one";
const FOR_THE_PROXY: &str = "Proxy-Authorization is for the proxy that is asked (RFC 9110, 11.7.2)";
const NOMINATED: &str = "a client cannot have Connection drop what others rely on";
const UNDERSCORES: &str = "WSGI servers take a name with _ for the one with -";

const READ_WHOLE: &[&str] = &["request header content-length", "request header transfer-encoding"];
const MESSAGE: &[&str] = &["response header grpc-message"];
const OF_COPIES: &[&str] = &["mirror header x-envoy-internal", "mirror header x-forwarded-for"];
const OPERATION: &[&str] = &["request header x-envoy-decorator-operation", "mirror header x-envoy-decorator-operation"];
const COPY_IS_THE_SAME: &str = "a copy says of its client what the request says";
const SCHEME: &str = "over TLS the scheme is https (RFC 9113, 8.3.1)";
const NO_PROTOCOL: &str = "a backend that shares no protocol ends the handshake";
const WHOLE_TRY: &str = "the time of a try is that of its connection, too";
const ONE_FIELD: &str = "mirror and mirrors of a delegate are one field: it has them from one document";
const HIDES_NONE: &str = "a DestinationRule for other pods hides none that is for these";
const NO_BODY: &str = "what has no body says nothing of one";
const NO_REDIRECT: &str = "304 sends nobody elsewhere";
const LINES: &str = "several lines of one header stay several";
const GRPC_ALONE: &str = "by default only answers to gRPC requests are looked at for a status of gRPC";

/// Every deliberate difference.
pub(crate) const DELIBERATE: &[Deliberate] = &[
    differs("destination/subset-not-in-destination-rule", &[1], LENGTH, OWN_ANSWER),
    differs("destination/unknown-service", &[1], BODY, OWN_ANSWER),
    differs("match/no-match-is-404", &[1], BODY, OWN_ANSWER),
    differs("timeout/route-timeout", &[1], BODY, OWN_ANSWER),
    differs("protocol/upstream-connection-refused", &[1, 2], TYPE, OWN_ANSWER),
    differs("protocol/upstream-closes-before-headers", &[1, 2, 3], TYPE, OWN_ANSWER),
    differs("upstream-http2/use-client-protocol", &[3], STATUS, HTTP_1_0),
    differs("upstream-http2/chunked-request", &[1], &["request header content-length"], READ_AHEAD),
    differs("upstream-http2/expect-100-continue", &[1], &["interim", "request header expect"], EXPECTATION),
    differs("upstream-http2/trailers-of-an-http1-client", &[1], &["backend_trailers"], TRAILERS),
    differs("upstream-http2/trailers-of-an-http2-client-to-an-http1-backend", &[1], &["backend_trailers"], TRAILERS),
    differs("upstream-http2/trailers-of-an-http2-client-to-an-http1-backend", &[2], &["trailers"], TRAILERS),
    differs("upstream-http2/tls-and-port-protocol-http2", &[1], &["backend_scheme"], SCHEME),
    differs("upstream-http2/tls-and-http2-to-a-backend-without-it", &[1], STATUS, NO_PROTOCOL),
    differs("mirror-headers/headers-of-the-copy", &[1], OPERATION, NO_TRACE),
    differs("mirror-headers/headers-of-the-copy", &[1], OF_COPIES, COPY_IS_THE_SAME),
    differs(
        "mirror-headers/headers-of-the-copy",
        &[2],
        &["mirror header content-length", "mirror header transfer-encoding"],
        READ_AHEAD,
    ),
    differs("mirror-headers/headers-of-the-copy-with-timeout-and-rewrite", &[1], OPERATION, NO_TRACE),
    differs("mirror-headers/headers-of-the-copy-with-timeout-and-rewrite", &[1], OF_COPIES, COPY_IS_THE_SAME),
    differs("grpc/no-route", &[1, 2, 3, 7], MESSAGE, OWN_ANSWER),
    differs("grpc/no-route", &[4, 5, 6], TYPE, OWN_ANSWER),
    differs("grpc/no-virtual-service-for-the-host", &[1], MESSAGE, OWN_ANSWER),
    differs("grpc/no-endpoint", &[1, 2], MESSAGE, OWN_ANSWER),
    differs("grpc/timeout", &[1, 2, 3, 4], MESSAGE, OWN_ANSWER),
    differs("grpc/grpc-timeout-without-a-timeout", &[1], MESSAGE, OWN_ANSWER),
    differs("grpc/per-try-timeout", &[1, 2], MESSAGE, OWN_ANSWER),
    differs("grpc/http1-backend", &[1], READ_WHOLE, READ_AHEAD),
    differs("grpc/http1-backend", &[2], &["trailers"], TRAILERS),
    differs("connect-timeout/is-not-shortened-by-per-try-timeout", &[1], &["status", "time_ms"], WHOLE_TRY),
    differs("delegate/mirror-of-root-and-child", &[3, 4], &["mirrors"], ONE_FIELD),
    differs("visibility/destination-rule-with-another-workload-selector", &[1], &["backend_connections"], HIDES_NONE),
    differs("headers/response-operations-on-local-answers", &[3, 6], TYPE, OWN_ANSWER),
    differs("fault/abort-with-a-status-below-400", &[2], BODY, NO_BODY),
    differs("direct-response/statuses-that-have-no-body", &[1, 2], LENGTH, NO_BODY),
    differs("direct-response/statuses-that-have-no-body", &[2], &["response header location"], NO_REDIRECT),
    differs("headers/request-operations-on-the-gateways-own-names", &[1], FORWARDED_FOR, LINES),
    differs("retry/default-policy-grpc-status-header", &[1, 2, 3, 8], &["attempts"], GRPC_ALONE),
    differs("match/path-normalisation", &[13], REFUSAL, HIDDEN_DOT_SEGMENT),
    differs("retry/attempts-0-disables", &[1], &["share of status 200", "share of status 503"], AVOIDED),
    differs("protocol/http-1.0", &[1, 2, 3], STATUS, HTTP_1_0),
    differs("protocol/http-1.0", &[1, 3], &["version"], HTTP_1_0),
    differs("protocol/http-1.0", &[1], &["response header connection"], HTTP_1_0),
    differs("protocol/http-1.0", &[3], CLOSED, HTTP_1_0),
    differs("protocol/no-host-header", &[1], CLOSED, STAYS_OPEN),
    differs("protocol/no-host-header", &[2, 3], REFUSAL, HOST),
    differs("protocol/no-host-header", &[3], &["authority"], HOST),
    differs("protocol/bad-host-header", &[4], REFUSAL, HOST),
    differs("protocol/bad-host-header", &[4], &["authority"], HOST),
    differs("protocol/connect-is-refused", &[1, 2], STATUS, METHODS),
    differs("protocol/connect-is-refused", &[1, 2], CLOSED, STAYS_OPEN),
    differs("protocol/trace-and-odd-methods", &[1], REFUSAL, METHODS),
    differs("protocol/trace-and-odd-methods", &[1], &["method"], METHODS),
    differs("protocol/trace-and-odd-methods", &[3, 4], STATUS, METHODS),
    differs("protocol/framing-attacks", &[1, 4], NO_REFUSAL, FRAMED_ANEW),
    differs("protocol/framing-attacks", &[4], CLOSED, FRAMED_ANEW),
    differs("protocol/framing-attacks", &[2], CLOSED, STAYS_OPEN),
    differs("protocol/framing-attacks", &[9, 11], REFUSAL_AND_END, NOT_MENDED),
    differs("protocol/framing-attacks", &[9], &["request header x-a"], NOT_MENDED),
    differs("protocol/framing-attacks", &[15, 16], STATUS, NO_SUCH_VERSION),
    differs("protocol/large-headers", &[6], REFUSAL, LONG_TARGET),
    differs("protocol/large-headers", &[7], STATUS, LONG_TARGET),
    differs("protocol/trailers", &[2], &["backend_trailers"], TRAILERS),
    differs("proxy-headers/hop-by-hop-request", &[1], &["request header trailer"], TRAILERS),
    differs("proxy-headers/hop-by-hop-response", &[1], &["response header trailer"], TRAILERS),
    differs(
        "protocol/chunked-request",
        &[1],
        &["request header content-length", "request header transfer-encoding"],
        READ_AHEAD,
    ),
    differs("protocol/upstream-1xx-and-informational", &[1], &["interim"], EXPECTATION),
    differs("proxy-headers/expect-100-continue", &[1, 2], &["request header expect"], EXPECTATION),
    differs("proxy-headers/expect-100-continue", &[2], REFUSAL, EXPECTATION),
    differs("proxy-headers/expect-100-continue", &[2], &["method"], EXPECTATION),
    differs("proxy-headers/client-x-forwarded-for", &[1, 2, 3, 4], FORWARDED_FOR, UNTRUSTED),
    differs("proxy-headers/client-x-forwarded-others", &[1], CLAIMS, UNTRUSTED),
    differs("proxy-headers/default-request", &[1, 2], &["request header x-envoy-decorator-operation"], NO_TRACE),
    differs("proxy-headers/hop-by-hop-request", &[1], &["request header proxy-authorization"], FOR_THE_PROXY),
    differs("proxy-headers/hop-by-hop-nominating-forwarded-for", &[3], REFUSAL, NOMINATED),
    differs("proxy-headers/header-underscore-and-odd-names", &[1], &["request header x_under"], UNDERSCORES),
    differs("proxy-headers/header-underscore-and-odd-names", &[2], &["request header content_length"], UNDERSCORES),
];

const fn differs(
    case: &'static str,
    requests: &'static [usize],
    fields: &'static [&'static str],
    reason: &'static str,
) -> Deliberate {
    Deliberate { case, requests, fields, reason }
}
