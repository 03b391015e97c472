//! The status of gRPC, which stands in a header or a trailer beside HTTP's, and what each of the two makes of the other.

use http::{HeaderMap, HeaderName, StatusCode};

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

const LAST: u64 = 16;
const UNKNOWN: u8 = 2;
pub(crate) const DEADLINE_EXCEEDED: u8 = 4;

/// What a head or trailers say; what is no status is unknown, as it is to clients.
pub(crate) fn said(headers: &HeaderMap) -> Option<u8> {
    let said: u64 = headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()?;
    Some(u8::try_from(said).ok().filter(|_| said <= LAST).unwrap_or(UNKNOWN))
}

/// What clients make of an answer that says nothing of gRPC (gRPC's own mapping).
pub(crate) fn of_http(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => UNKNOWN,
    }
}

/// What an answer would be without gRPC (Envoy's mapping).
pub(crate) fn to_http(status: u8) -> StatusCode {
    let code = match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        DEADLINE_EXCEEDED => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    };
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
