//! Bodies for people to read, without what they must not see.

use super::body::{Body, members, unwrapped};
use super::rules::{BadPath, Step, steps};
use jiter::JsonValue;
use std::fmt::Write;

/// What stands in the place of a value that is not shown.
const REDACTED: &str = "\"redacted\"";

/// The values of a body that nobody may see.
#[derive(Clone, Debug, Default)]
pub struct Redaction(Vec<Vec<Step>>);

impl Redaction {
    /// Of JSON pointers; `*` stands for each element of an array or member of an object.
    pub fn new(paths: &[String]) -> Result<Self, BadPath> {
        paths.iter().map(|path| steps(path)).collect::<Result<_, _>>().map(Self)
    }

    /// The body as text, members by name. None if something is to be hidden in a body that is no JSON: nobody knows where.
    pub fn apply(&self, body: &[u8]) -> Option<String> {
        let hidden: Vec<&[Step]> = self.0.iter().map(Vec::as_slice).collect();
        match Body::read(body) {
            Body::Nothing => Some(String::new()),
            Body::Json(value) => Some(written(unwrapped(&value).as_ref().unwrap_or(&value), &hidden)),
            Body::Bytes(bytes) => hidden.is_empty().then(|| String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}

/// A value as JSON, but for what is hidden; equal values are written alike.
pub(super) fn written(value: &JsonValue<'_>, hidden: &[&[Step]]) -> String {
    let mut text = String::new();
    write(value, hidden, &mut text);
    text
}

fn write(value: &JsonValue<'_>, hidden: &[&[Step]], text: &mut String) {
    if hidden.iter().any(|path| path.is_empty()) {
        return text.push_str(REDACTED);
    }
    match value {
        JsonValue::Null => text.push_str("null"),
        JsonValue::Bool(is_true) => text.push_str(if *is_true { "true" } else { "false" }),
        JsonValue::Int(whole) => push(text, whole),
        JsonValue::BigInt(large) => push(text, large),
        JsonValue::Float(float) => push(text, &float_text(*float)),
        JsonValue::Str(string) => text.push_str(&quoted(string)),
        JsonValue::Array(elements) => {
            text.push('[');
            for (at, element) in elements.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                write(element, &beneath(hidden, &at.to_string()), text);
            }
            text.push(']');
        }
        JsonValue::Object(object) => {
            text.push('{');
            for (at, (name, member)) in members(object).into_iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                text.push_str(&quoted(name));
                text.push(':');
                write(member, &beneath(hidden, name), text);
            }
            text.push('}');
        }
    }
}

/// What is hidden of the element or member of that name.
fn beneath<'a>(hidden: &[&'a [Step]], name: &str) -> Vec<&'a [Step]> {
    let leads = |step: &Step| match step {
        Step::Any => true,
        Step::Name(own) => own == name,
    };
    hidden.iter().filter_map(|path| path.split_first().filter(|(step, _)| leads(step)).map(|(_, rest)| rest)).collect()
}

fn push(text: &mut String, value: &dyn std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{value}");
}

/// As Python's json has them, too.
fn float_text(float: f64) -> String {
    if float.is_nan() {
        "NaN".to_owned()
    } else if float.is_infinite() {
        if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        // Unlike Display this has an exponent where digits would be many.
        format!("{float:?}")
    }
}

fn quoted(string: &str) -> String {
    serde_json::Value::from(string).to_string()
}
