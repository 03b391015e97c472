//! What a body holds.

use jiter::{JsonValue, NumberInt, PartialMode};
use std::borrow::Cow;
use std::fmt;

/// A body as it is compared.
pub(super) enum Body<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Json(JsonValue<'a>),
}

/// The type of a value, or of a body that holds none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// An empty body.
    Nothing,
    /// A body that is no JSON.
    Bytes,
    /// `null`, a type of its own: who reads a number may not be ready for it.
    Null,
    /// `true` or `false`.
    Boolean,
    /// Whole or not, `NaN` and `Infinity` too.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl<'a> Body<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        match JsonValue::parse(text, true) {
            _ if bytes.is_empty() => Self::Nothing,
            Ok(value) => Self::Json(value),
            Err(_) => Self::Bytes(bytes),
        }
    }

    pub(super) fn kind(&self) -> Type {
        match self {
            Self::Nothing => Type::Nothing,
            Self::Bytes(_) => Type::Bytes,
            Self::Json(value) => Type::of(value),
        }
    }
}

/// An object or array that is written as a string.
pub(super) fn unwrapped(value: &JsonValue<'_>) -> Option<JsonValue<'static>> {
    let JsonValue::Str(text) = value else { return None };
    let inner = JsonValue::parse_owned(text.as_bytes(), true, PartialMode::Off).ok()?;
    matches!(inner, JsonValue::Object(_) | JsonValue::Array(_)).then_some(inner)
}

/// The members of an object by name; of several of one name the last.
pub(super) fn members<'a, 'j>(object: &'a [(Cow<'j, str>, JsonValue<'j>)]) -> Vec<(&'a str, &'a JsonValue<'j>)> {
    let mut members: Vec<(&str, &JsonValue<'_>)> = object.iter().map(|(name, value)| (&**name, value)).collect();
    members.sort_by_key(|(name, _)| *name);
    members.dedup_by(|later, earlier| {
        let is_same = later.0 == earlier.0;
        if is_same {
            *earlier = *later;
        }
        is_same
    });
    members
}

/// A number as near as 64 bits have it. A whole number too large for them is the largest, not infinite.
#[expect(clippy::cast_precision_loss, reason = "where the last digit matters, whole numbers are compared as such")]
pub(super) fn number(value: &JsonValue<'_>) -> Option<f64> {
    match value {
        JsonValue::Int(whole) => Some(*whole as f64),
        JsonValue::BigInt(large) => Some(f64::from(NumberInt::BigInt(large.clone())).clamp(f64::MIN, f64::MAX)),
        JsonValue::Float(float) => Some(*float),
        _ => None,
    }
}

impl Type {
    pub(super) fn of(value: &JsonValue<'_>) -> Self {
        match value {
            JsonValue::Null => Self::Null,
            JsonValue::Bool(_) => Self::Boolean,
            JsonValue::Int(_) | JsonValue::BigInt(_) | JsonValue::Float(_) => Self::Number,
            JsonValue::Str(_) => Self::String,
            JsonValue::Array(_) => Self::Array,
            JsonValue::Object(_) => Self::Object,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Bytes => "bytes",
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        })
    }
}
