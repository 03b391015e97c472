//! gRPC: which requests are its, and how the gateway answers them itself. A client of gRPC reads the status that it acts
//! on from a header of its own, and takes any other HTTP status than 200 for a broken connection.

use crate::grpc_status::{self, GRPC_STATUS};
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use std::time::Duration;

const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const CONTENT_TYPE: &str = "application/grpc";
/// What a message must not hold as it is, beside what is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// By its content type, as Envoy has it: `application/grpc`, or that with `+` and an encoding.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.as_bytes().strip_prefix(CONTENT_TYPE.as_bytes()));
    kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// For how long the client waits: at most eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| is_number)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Makes an answer of the gateway's own one of gRPC: its body becomes the message, its status one of gRPC's, unless it has
/// one already.
pub(super) fn convert(parts: &mut Parts, body: &mut Bytes) {
    let message = std::mem::take(body);
    if !message.is_empty() {
        let message = percent_encode(&message, ENCODED).to_string();
        if let Ok(message) = HeaderValue::try_from(message) {
            // A rule may have said another.
            parts.headers.entry(MESSAGE).or_insert(message);
        }
    }
    let status = grpc_status::of_http(parts.status);
    parts.headers.entry(GRPC_STATUS).or_insert(HeaderValue::from(u16::from(status)));
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    parts.status = StatusCode::OK;
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    #[test]
    fn a_clients_patience_has_digits_and_a_unit() {
        let check = |text: &'static str, expected: Option<Duration>| {
            let headers = HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_static(text))]);
            assert_eq!(timeout(&headers), expected, "{text}");
        };
        check("1H", Some(Duration::from_hours(1)));
        check("2M", Some(Duration::from_mins(2)));
        check("3S", Some(Duration::from_secs(3)));
        check("00000250m", Some(Duration::from_millis(250)));
        check("5u", Some(Duration::from_micros(5)));
        check("0n", Some(Duration::ZERO));
        for text in ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "1 S"] {
            check(text, None);
        }
    }

    #[test]
    fn a_request_is_grpcs_by_its_content_type() {
        let check = |content_type: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            assert_eq!(is_grpc(&headers), expected, "{content_type}");
        };
        for grpc in ["application/grpc", "application/grpc+proto", "application/grpc+"] {
            check(grpc, true);
        }
        for other in ["application/grpc-web", "application/json", "application/grpcx", "application/grpc;q=1", ""] {
            check(other, false);
        }
    }

    #[test]
    fn an_answer_says_in_grpcs_words_what_it_said() {
        let check = |status: u16, body: &'static str, expected: (&str, Option<&str>)| {
            let mut response = Response::new(Bytes::from(body));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            let (mut parts, mut body) = response.into_parts();
            convert(&mut parts, &mut body);
            let header = |name: &HeaderName| parts.headers.get(name).map(|value| value.to_str().expect("text"));
            assert_eq!((header(&GRPC_STATUS).unwrap_or_default(), header(&MESSAGE)), expected, "{status}");
            assert_eq!((parts.status, body.len()), (StatusCode::OK, 0));
            assert_eq!(header(&header::CONTENT_TYPE), Some("application/grpc"));
        };
        check(503, "no backend", ("14", Some("no backend")));
        check(404, "100 %\nü", ("12", Some("100 %25%0A%C3%BC")));
        check(200, "", ("2", None));
        for (status, number) in
            [(400, "13"), (401, "16"), (403, "7"), (429, "14"), (502, "14"), (504, "14"), (500, "2")]
        {
            check(status, "", (number, None));
        }
    }
}
