//! `directResponse`: the gateway answers itself.

use super::url::status;
use crate::decode::{Decoded, Item, Reported};
use crate::documents::base64;
use crate::encode::Fields;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

/// From this size on Istio warns of a body that it has to hold in every gateway.
const LARGE_BODY_BYTES: usize = 100 * 1024;

/// Istio's limit of a body.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// `directResponse`: the gateway answers itself.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: StatusCode,
    /// `string` or `bytes`; empty is without a body.
    pub body: Bytes,
}

impl DirectResponse {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let status = object.required("status").and_then(|item| status(item.unsigned(200..=599)?, &item));
        let body = object.field_or_default("body", decode_body);
        object.finish();
        Ok(Self { status: status?, body: body? })
    }

    pub(super) fn encode(&self) -> Value {
        let body = match str::from_utf8(&self.body) {
            Ok("") => None,
            Ok(text) => Some(Fields::new().field("string", text)),
            Err(_) => Some(Fields::new().field("bytes", base64::encode(&self.body))),
        };
        Fields::new().field("status", self.status.as_u16()).some("body", body).into()
    }
}

fn decode_body(item: &Item<'_>) -> Decoded<Bytes> {
    let mut object = item.object()?;
    let string = object.field("string", |item| Ok(Bytes::from(item.string()?.to_owned())));
    let bytes = object.field("bytes", |item| {
        let bytes = base64::decode(item.string()?).ok_or_else(|| not_base64(item))?;
        Ok(Bytes::from(bytes))
    });
    object.finish();
    let body = match (string?, bytes?) {
        (Some(_), Some(_)) => return Err(item.error("string and bytes exclude each other")),
        (Some(body), None) | (None, Some(body)) => body,
        (None, None) => Bytes::new(),
    };
    if body.len() > MAX_BODY_BYTES {
        return Err(item.error(format!("a body of {} bytes is too large: at most {MAX_BODY_BYTES}", body.len())));
    }
    if body.len() > LARGE_BODY_BYTES {
        item.warn(format!("a body of {} bytes is held by every gateway", body.len()), "let a backend answer");
    }
    Ok(body)
}

fn not_base64(item: &Item<'_>) -> Reported {
    item.advise("not base64", "write the body under string, or encode it")
}
