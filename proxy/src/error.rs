//! Why the gateway answers a request itself: one closed list, each with its status, reason and Envoy response flag. The
//! answer, the access log and the metrics all read it here; nothing else maps an error to a status.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use turnout_routes::router::{Missing, PathRefusal};

/// Whose doing an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The client's.
    Downstream,
    /// The model's, or the way to it.
    Upstream,
    /// The documents', or the gateway's own limits.
    Gateway,
}

/// Why the gateway answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GatewayError {
    /// The path cannot be normalised.
    #[error("{0}")]
    Path(#[from] PathRefusal),
    /// Host or `:authority` is missing, repeated, or no authority.
    #[error("the request needs exactly one valid Host")]
    Host,
    /// Something else of the head cannot be acted on.
    #[error("{0}")]
    ///
    /// A pointer to its text, since every request's future has room for an error.
    BadRequest(&'static &'static str),
    /// The target is an `https:` URL on a clear-text connection.
    #[error("an https target came over a clear-text connection")]
    HttpsTargetOnPlain,
    /// CONNECT and TRACE.
    #[error("the method is not allowed here")]
    Method,
    /// The head has more fields than the setting allows.
    #[error("the request has too many header fields")]
    TooManyFields,
    /// The head is larger than the setting allows.
    #[error("the request's head is too large")]
    HeadTooLarge,
    /// The client stopped sending its head.
    #[error("the request's head came too slowly")]
    HeadTimeout,
    /// The target is too long.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The body is larger than the setting allows.
    #[error("the request body is too large")]
    BodyTooLarge,
    /// The client stopped sending its body.
    #[error("the request body came too slowly")]
    BodyTimeout,
    /// The client broke off its body; nobody sees the answer.
    #[error("the request body ended early")]
    BodyAborted,
    /// `Expect` asks for something else than `100-continue`.
    #[error("the expectation cannot be met")]
    Expectation,
    /// A transfer coding other than `chunked`.
    #[error("the transfer coding is not supported")]
    TransferCoding,
    /// An upgrade to another protocol than WebSocket.
    #[error("of other protocols only WebSocket passes")]
    Upgrade,
    /// No host or no rule matches.
    #[error("no route matches the request")]
    NoRoute,
    /// No routes file has been accepted yet.
    #[error("the gateway has no routes: none have been accepted yet")]
    NoRoutes,
    /// The destination cannot be resolved.
    #[error("the backend does not exist: {0}")]
    BackendMissing(Missing),
    /// The destination has no endpoints, or all are ejected.
    #[error("the backend has no endpoints, or all of them are left out since they keep failing")]
    NoEndpoints,
    /// A limit of the backend is reached.
    #[error("as much is asked of the backend as its limits allow")]
    Overflow,
    /// No connection to the backend could be made.
    #[error("the backend cannot be connected to")]
    Connect,
    /// The backend ended the connection before it answered.
    #[error("the backend ended the connection before it answered")]
    UpstreamReset,
    /// The backend ended the request alone, not its connection.
    #[error("the backend reset the request before it answered")]
    StreamReset,
    /// What the backend sent is not HTTP, or too large a head.
    #[error("the backend's answer is not valid HTTP")]
    UpstreamProtocol,
    /// The rule's time-out, or that of a try.
    #[error("the backend did not answer in time")]
    Timeout,
}

/// How an error is written in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorFormat {
    Json,
    /// Where something else is made of it.
    Text,
}

impl Fault {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

impl GatewayError {
    /// One of each: what is counted of them begins at zero.
    pub(crate) const EACH: [Self; 25] = [
        Self::Path(PathRefusal::NotAbsolute),
        Self::Host,
        Self::BadRequest(&""),
        Self::HttpsTargetOnPlain,
        Self::Method,
        Self::TooManyFields,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::TargetTooLong,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::BodyAborted,
        Self::Expectation,
        Self::TransferCoding,
        Self::Upgrade,
        Self::NoRoute,
        Self::NoRoutes,
        Self::BackendMissing(Missing::Service),
        Self::NoEndpoints,
        Self::Overflow,
        Self::Connect,
        Self::UpstreamReset,
        Self::StreamReset,
        Self::UpstreamProtocol,
        Self::Timeout,
    ];

    /// The status of the answer.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Path(_) | Self::Host | Self::BadRequest(_) | Self::BodyAborted => StatusCode::BAD_REQUEST,
            Self::HttpsTargetOnPlain | Self::Upgrade => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeadTimeout | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::TooManyFields | Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::UpstreamProtocol => StatusCode::BAD_GATEWAY,
            Self::NoRoutes
            | Self::BackendMissing(_)
            | Self::NoEndpoints
            | Self::Overflow
            | Self::Connect
            | Self::UpstreamReset
            | Self::StreamReset => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// One word for clients, logs and metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Path(_) => "bad_path",
            Self::Host => "bad_host",
            Self::BadRequest(_) => "bad_request",
            Self::HttpsTargetOnPlain => "https_target_on_plain",
            Self::Method => "method_not_allowed",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::Upgrade => "upgrade_failed",
            Self::TargetTooLong => "target_too_long",
            Self::TooManyFields => "too_many_fields",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyAborted => "body_aborted",
            Self::Expectation => "expectation_failed",
            Self::TransferCoding => "transfer_coding",
            Self::NoRoute => "no_route",
            Self::NoRoutes => "no_routes",
            Self::BackendMissing(_) | Self::NoEndpoints => "backend_absent",
            Self::Overflow => "overflow",
            Self::Connect => "connect_failure",
            Self::UpstreamReset => "upstream_reset",
            Self::StreamReset => "stream_reset",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::Timeout => "timeout",
        }
    }

    /// Envoy's response flag for it, as Istio's dashboards and Kiali read it.
    pub(crate) fn flag(self) -> Flag {
        match self {
            Self::NoRoute => Flag::NoRoute,
            Self::NoRoutes | Self::BackendMissing(_) => Flag::NoCluster,
            Self::NoEndpoints => Flag::NoEndpoints,
            Self::Overflow => Flag::Overflow,
            Self::Connect => Flag::ConnectFailure,
            Self::UpstreamReset => Flag::UpstreamReset,
            Self::StreamReset => Flag::StreamReset,
            Self::UpstreamProtocol => Flag::UpstreamProtocol,
            Self::Timeout => Flag::Timeout,
            Self::BodyAborted => Flag::DownstreamGone,
            // As Envoy has it.
            Self::Upgrade => Flag::None,
            Self::Path(_)
            | Self::Host
            | Self::BadRequest(_)
            | Self::HttpsTargetOnPlain
            | Self::Method
            | Self::TooManyFields
            | Self::HeadTooLarge
            | Self::HeadTimeout
            | Self::TargetTooLong
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::Expectation
            | Self::TransferCoding => Flag::DownstreamProtocol,
        }
    }

    /// Whose doing it is.
    pub(crate) fn fault(self) -> Fault {
        match self.flag() {
            Flag::NoRoute | Flag::NoCluster | Flag::FaultInjected => Fault::Gateway,
            Flag::NoEndpoints
            | Flag::Overflow
            | Flag::ConnectFailure
            | Flag::UpstreamReset
            | Flag::StreamReset
            | Flag::UpstreamProtocol
            | Flag::Timeout => Fault::Upstream,
            Flag::None | Flag::DownstreamGone | Flag::DownstreamProtocol | Flag::StreamIdle => Fault::Downstream,
        }
    }

    /// The answer: `{"error", "reason", "request_id"}`, or the error alone, and the reason as a header. Nothing of the
    /// upstream is in it.
    pub(crate) fn response(self, request_id: &str, format: ErrorFormat) -> Response<Bytes> {
        let body = match format {
            ErrorFormat::Text => self.to_string(),
            ErrorFormat::Json => {
                let value = serde_json::json!({
                    "error": self.to_string(),
                    "reason": self.reason(),
                    "request_id": request_id,
                });
                value.to_string()
            }
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(REASON, HeaderValue::from_static(self.reason()));
        if self == Self::Method {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        response
    }
}

const REASON: http::HeaderName = http::HeaderName::from_static("x-turnout-reason");

/// Envoy's response flags, as far as the gateway has a use for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Flag {
    /// `-`
    None,
    /// `NR`
    NoRoute,
    /// `NC`
    NoCluster,
    /// `UH`
    NoEndpoints,
    /// `UO`
    Overflow,
    /// `UF`
    ConnectFailure,
    /// `UC`
    UpstreamReset,
    /// `UR`
    StreamReset,
    /// `UPE`
    UpstreamProtocol,
    /// `UT`
    Timeout,
    /// `DC`
    DownstreamGone,
    /// `DPE`
    DownstreamProtocol,
    /// `SI`
    StreamIdle,
    /// `FI`
    FaultInjected,
}

/// The flags of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flags {
    /// What went wrong.
    pub(crate) flag: Flag,
    /// `URX`: all tries were used up.
    pub(crate) retries_exhausted: bool,
    /// `DI`: a rule had it wait.
    pub(crate) delayed: bool,
}

impl Flags {
    /// Nothing went wrong.
    pub(crate) const NONE: Self = Self::of(Flag::None);

    /// This, and nothing else.
    pub(crate) const fn of(flag: Flag) -> Self {
        Self { flag, retries_exhausted: false, delayed: false }
    }
}

impl std::fmt::Display for Flags {
    /// As in Envoy's access log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [
            self.retries_exhausted.then_some("URX"),
            self.flag.code().filter(|_| self.flag != Flag::FaultInjected),
            self.delayed.then_some("DI"),
            self.flag.code().filter(|_| self.flag == Flag::FaultInjected),
        ];
        let mut codes = all.into_iter().flatten();
        f.write_str(codes.next().unwrap_or("-"))?;
        codes.try_for_each(|code| write!(f, ",{code}"))
    }
}

impl Flag {
    fn code(self) -> Option<&'static str> {
        Some(match self {
            Self::None => return None,
            Self::NoRoute => "NR",
            Self::NoCluster => "NC",
            Self::NoEndpoints => "UH",
            Self::Overflow => "UO",
            Self::ConnectFailure => "UF",
            Self::UpstreamReset => "UC",
            Self::StreamReset => "UR",
            Self::UpstreamProtocol => "UPE",
            Self::Timeout => "UT",
            Self::DownstreamGone => "DC",
            Self::DownstreamProtocol => "DPE",
            Self::StreamIdle => "SI",
            Self::FaultInjected => "FI",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_answer_names_the_reason_and_the_request_and_nothing_of_the_upstream() {
        let response = GatewayError::Connect.response("id-1", ErrorFormat::Json);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["x-turnout-reason"], "connect_failure");
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        let expected = serde_json::json!({
            "error": "the backend cannot be connected to", "reason": "connect_failure", "request_id": "id-1",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn there_is_one_of_each() {
        let variants = include_str!("error.rs").matches("\n    #[error(").count();
        let different: HashSet<_> = GatewayError::EACH.iter().map(std::mem::discriminant).collect();
        assert_eq!(different.len(), variants);
    }

    #[test]
    fn flags_are_written_in_envoys_order() {
        let check = |flag, retries_exhausted, delayed, expected: &str| {
            assert_eq!(Flags { flag, retries_exhausted, delayed }.to_string(), expected);
        };
        check(Flag::None, false, false, "-");
        check(Flag::None, true, false, "URX");
        check(Flag::None, false, true, "DI");
        check(Flag::Timeout, true, true, "URX,UT,DI");
        check(Flag::FaultInjected, false, true, "DI,FI");
    }

    #[test]
    fn status_flag_and_fault_agree() {
        let check = |error: GatewayError, status: u16, flag: &str, fault| {
            let flags = Flags::of(error.flag()).to_string();
            assert_eq!((error.status().as_u16(), flags.as_str(), error.fault()), (status, flag, fault), "{error:?}");
        };
        check(GatewayError::NoRoute, 404, "NR", Fault::Gateway);
        check(GatewayError::BackendMissing(Missing::Port), 503, "NC", Fault::Gateway);
        check(GatewayError::NoEndpoints, 503, "UH", Fault::Upstream);
        check(GatewayError::Overflow, 503, "UO", Fault::Upstream);
        check(GatewayError::Connect, 503, "UF", Fault::Upstream);
        check(GatewayError::UpstreamReset, 503, "UC", Fault::Upstream);
        check(GatewayError::StreamReset, 503, "UR", Fault::Upstream);
        check(GatewayError::UpstreamProtocol, 502, "UPE", Fault::Upstream);
        check(GatewayError::Timeout, 504, "UT", Fault::Upstream);
        check(GatewayError::Host, 400, "DPE", Fault::Downstream);
        check(GatewayError::BodyTooLarge, 413, "DPE", Fault::Downstream);
        check(GatewayError::Upgrade, 403, "-", Fault::Downstream);
        check(GatewayError::HeadTimeout, 408, "DPE", Fault::Downstream);
        check(GatewayError::BodyAborted, 400, "DC", Fault::Downstream);
    }
}
