//! The `test` operations that pin a value in a JSON Patch.
//!
//! The API server compares what is tested with what is stored byte by byte, leaf by leaf, in the spelling of Go's
//! encoder: `<` is `\u003c` there, and a fraction may have other digits. A leaf that Go and Rust might spell differently
//! would fail a `test` for ever, so it is left out, and the parts beside it are pinned one by one.

use serde_json::{Value, json};

/// Pins `value`, which stands at `pointer` (RFC 6901).
pub(super) fn tests(value: &Value, pointer: &str) -> Vec<Value> {
    if is_spelt_alike(value) {
        return vec![json!({"op": "test", "path": pointer, "value": value})];
    }
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, field)| tests(field, &format!("{pointer}/{}", escaped(name)))).collect()
        }
        Value::Array(entries) => {
            let entries = entries.iter().enumerate();
            entries.flat_map(|(index, entry)| tests(entry, &format!("{pointer}/{index}"))).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether Go's encoder and ours write the same bytes for every leaf. Names may differ: they are compared decoded.
fn is_spelt_alike(value: &Value) -> bool {
    match value {
        // The API server does not expect null where it compares, and stores none.
        Value::Null => false,
        Value::Bool(_) => true,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::String(text) => !text.chars().any(is_escaped_by_one),
        Value::Array(entries) => entries.iter().all(is_spelt_alike),
        Value::Object(fields) => fields.values().all(is_spelt_alike),
    }
}

/// Go's encoder writes these as `\u` sequences for the sake of HTML and JavaScript; control characters have two
/// spellings even between versions of Go.
fn is_escaped_by_one(character: char) -> bool {
    matches!(character, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') || character.is_control()
}

/// As a part of a pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
