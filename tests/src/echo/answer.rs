//! The bytes of an echo backend's answer, as the instruction wants them: well formed as a rule, broken when asked.

use serde_json::json;

use super::instruction::{Instruction, Item};
use super::{BACKEND_HEADER, Received};
use crate::wire::{latin1_bytes, push_header};

/// How large the chunks of a chunked answer are.
const CHUNK_SIZE: usize = 64;

/// How many bytes an answer that breaks off announces beyond those it sends.
pub(super) const MISSING_BYTES: usize = 100;

/// The status line and the header lines, for a payload of that many bytes.
pub(super) fn head(backend: &str, instruction: &Instruction, payload: usize) -> Vec<u8> {
    let status = instruction.status();
    let reason = instruction.reason().unwrap_or(if status == 200 { "OK" } else { "Status" });
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    push_header(&mut head, BACKEND_HEADER, backend);
    if !instruction.has(&Item::NoType) {
        push_header(&mut head, "content-type", "application/json");
    }
    for (name, value) in instruction.headers() {
        push_header(&mut head, name, value);
    }
    if let Some(size) = instruction.header_size() {
        push_header(&mut head, "x-big", &"v".repeat(size));
    }
    if instruction.is_chunked() {
        push_header(&mut head, "transfer-encoding", "chunked");
    } else if instruction.has(&Item::UntilClose) {
        push_header(&mut head, "connection", "close");
    } else if !instruction.is_bodiless() {
        let missing = if instruction.breaks_off() { MISSING_BYTES } else { 0 };
        push_header(&mut head, "content-length", &(payload + missing).to_string());
    }
    head.push_str("\r\n");
    latin1_bytes(&head)
}

/// What the body says: the request as it was received, unless the instruction has something else to say.
pub(super) fn payload(received: &Received, instruction: &Instruction) -> Vec<u8> {
    if instruction.is_bodiless() {
        return Vec::new();
    }
    if let Some(body) = instruction.body() {
        return body.as_bytes().to_vec();
    }
    let echo = json!({
        "backend": received.backend,
        "attempt": received.attempt,
        "method": received.method,
        "path": received.target,
        "authority": received.authority(),
        "headers": received.headers.0,
        "body": received.body_text(),
    });
    echo.to_string().into_bytes()
}

/// Appends the payload as it is framed, up to where it breaks off.
pub(super) fn push_body(answer: &mut Vec<u8>, payload: &[u8], instruction: &Instruction) {
    if !instruction.is_chunked() {
        answer.extend_from_slice(payload);
        return;
    }
    for chunk in payload.chunks(CHUNK_SIZE) {
        answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        answer.extend_from_slice(chunk);
        answer.extend_from_slice(b"\r\n");
    }
    if instruction.breaks_off() {
        return;
    }
    answer.extend_from_slice(b"0\r\n");
    for (name, value) in instruction.trailers() {
        answer.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    answer.extend_from_slice(b"\r\n");
}
