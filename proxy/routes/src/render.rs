//! Documents out: multi-document YAML that every reader of YAML 1.1 or 1.2, and this crate, reads alike. Every text is in
//! double quotes with JSON's escapes, every key that could be taken for something else too.

use crate::documents::Document;
use serde_json::Value;
use std::fmt::Write;

/// Writes the documents, sorted by kind, namespace and name, so that the same documents are always the same text.
///
/// `parse(render(documents))` gives the same documents back.
pub fn render(documents: &[Document]) -> String {
    let mut sorted: Vec<&Document> = documents.iter().collect();
    sorted.sort_by_key(|document| {
        let metadata = document.metadata();
        (document.kind(), metadata.namespace.as_str(), metadata.name.as_str())
    });
    let mut text = String::new();
    for (index, document) in sorted.into_iter().enumerate() {
        if index > 0 {
            text.push_str("---\n");
        }
        push_block(&mut text, &document.encode(), 0);
    }
    text
}

/// A value whose lines begin at the current place, which is `indent` columns in.
fn push_block(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (key, value)) in fields.iter().enumerate() {
                push_indent(text, if index == 0 { 0 } else { indent });
                push_key(text, key);
                text.push(':');
                push_value(text, value, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                push_indent(text, if index == 0 { 0 } else { indent });
                text.push_str("- ");
                push_block(text, item, indent + 2);
            }
        }
        scalar => {
            push_scalar(text, scalar);
            text.push('\n');
        }
    }
}

/// What comes after a key.
fn push_value(text: &mut String, value: &Value, indent: usize) {
    let is_block = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        text.push('\n');
        push_indent(text, indent + 2);
    } else {
        text.push(' ');
    }
    push_block(text, value, indent + 2);
}

fn push_indent(text: &mut String, columns: usize) {
    text.extend(std::iter::repeat_n(' ', columns));
}

fn push_scalar(text: &mut String, value: &Value) {
    match value {
        Value::String(value) => push_quoted(text, value),
        Value::Object(_) => text.push_str("{}"),
        Value::Array(_) => text.push_str("[]"),
        Value::Null | Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
    }
}

/// A key that is a name to every reader stands plain: letters, digits and inner `-`, and not a word such as `yes`.
fn push_key(text: &mut String, key: &str) {
    let is_name = key.len() > 1
        && key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !matches!(key.to_ascii_lowercase().as_str(), "yes" | "no" | "true" | "false" | "on" | "off" | "null");
    if is_name {
        text.push_str(key);
    } else {
        push_quoted(text, key);
    }
}

/// JSON's escapes, also for what YAML does not take as it is.
fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\0'..='\x1f' | '\x7f'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_reader_sees_texts_as_texts() {
        let check = |value: Value, expected: &str| {
            let mut text = String::new();
            push_block(&mut text, &value, 0);
            assert_eq!(text, expected);
        };
        check(json!({"host": "yes", "weight": 50, "on": true}), "host: \"yes\"\nweight: 50\n\"on\": true\n");
        check(
            json!({"x-api-version": {}, "app.io/name": "a", "y": "", "1e3": "1", "": []}),
            "x-api-version: {}\n\"app.io/name\": \"a\"\n\"y\": \"\"\n\"1e3\": \"1\"\n\"\": []\n",
        );
        check(
            json!({"http": [{"match": [{"uri": {"prefix": "/"}}, {}], "name": "a"}, {"name": "b"}], "x": [[1, 2], 3]}),
            "http:\n  - match:\n      - uri:\n          prefix: \"/\"\n      - {}\n    name: \"a\"\n  - name: \"b\"\n\
             \"x\":\n  - - 1\n    - 2\n  - 3\n",
        );
        check(
            json!("a\"b\\c\n\t\r\u{1}\u{7f}\u{85}\u{a0}\u{2028}\u{feff}ä😀"),
            "\"a\\\"b\\\\c\\n\\t\\r\\u0001\\u007f\\u0085\\u00a0\\u2028\\ufeffä😀\"\n",
        );
    }
}
