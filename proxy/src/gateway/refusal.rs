//! Heads of which no request comes: hyper's parser refuses them, or they never come whole. They are answered, counted and
//! logged as every other request that the client got wrong.

use super::{Gateway, headers};
use crate::client::Client;
use crate::error::{ErrorFormat, Flags, GatewayError};
use crate::telemetry::record::Record;
use bytes::Bytes;
use http::{Method, StatusCode, Version, header};

impl Gateway {
    /// What was wrong with a head that the parser answered with this status.
    pub(crate) fn parsers_error(&self, client: &Client, status: StatusCode) -> GatewayError {
        let in_target = client.line_bytes() > self.settings.max_target_bytes;
        match status {
            StatusCode::URI_TOO_LONG => GatewayError::TargetTooLong,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE if in_target => GatewayError::TargetTooLong,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => GatewayError::HeadTooLarge,
            _ => GatewayError::BadRequest(&"the request's head is not valid HTTP/1"),
        }
    }

    /// The answer to such a head, as it goes over the connection, which ends with it.
    pub(crate) fn refuse_head(&self, client: &Client, error: GatewayError) -> Bytes {
        self.count_error(error);
        let request_id = headers::RequestId::New(self.random.id()).value();
        // What the head says of itself is not to be trusted, least of all its method.
        let method = Method::from_bytes(b"-").unwrap_or_default();
        let mut record = Record::start(&self.telemetry, client.peer, method, Version::HTTP_11);
        record.answer(error.status(), Flags::of(error.flag()));
        if let Some(detail) = &mut record.detail {
            detail.request_id = Some(request_id.clone());
        }
        let mut response = error.response(request_id.to_str().unwrap_or_default(), ErrorFormat::Json);
        let length = response.body().len();
        record.response_bytes = length as u64;
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        headers::finish_response(response.headers_mut(), self.settings.headers, true);
        let mut written = format!("HTTP/1.1 {}\r\n", error.status()).into_bytes();
        for (name, value) in response.headers() {
            written.extend_from_slice(name.as_str().as_bytes());
            written.extend_from_slice(b": ");
            written.extend_from_slice(value.as_bytes());
            written.extend_from_slice(b"\r\n");
        }
        written.extend_from_slice(b"\r\n");
        written.extend_from_slice(response.body());
        written.into()
    }
}
