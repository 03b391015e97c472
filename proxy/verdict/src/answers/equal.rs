//! Whether two values of JSON are the same but for a tolerance.

use super::body::{Type, members, number};
use super::redact::written;
use super::rules::Tolerance;
use jiter::JsonValue;

/// Two values of one type that hold no others; none if they are not that.
pub(super) fn scalars(live: &JsonValue<'_>, other: &JsonValue<'_>, tolerance: Tolerance) -> Option<bool> {
    match (live, other) {
        (JsonValue::Null, JsonValue::Null) => Some(true),
        (JsonValue::Bool(live), JsonValue::Bool(other)) => Some(live == other),
        (JsonValue::Str(live), JsonValue::Str(other)) => Some(live == other),
        (JsonValue::Int(live), JsonValue::Int(other)) if tolerance.is_exact() => Some(live == other),
        (JsonValue::BigInt(live), JsonValue::BigInt(other)) if tolerance.is_exact() => Some(live == other),
        (JsonValue::Int(_), JsonValue::BigInt(_)) | (JsonValue::BigInt(_), JsonValue::Int(_))
            if tolerance.is_exact() =>
        {
            Some(false)
        }
        _ => Some(tolerance.agree(number(live)?, number(other)?)),
    }
}

/// Two arrays whose order does not matter.
pub(super) fn multisets(live: &[JsonValue<'_>], other: &[JsonValue<'_>], tolerance: Tolerance) -> bool {
    let same = |(live, other): (&JsonValue<'_>, &JsonValue<'_>)| same(live, other, tolerance);
    let in_order = || live.iter().zip(other).all(same);
    live.len() == other.len() && (in_order() || sorted(live).into_iter().zip(sorted(other)).all(same))
}

/// Numbers by size, so that those stand beside each other that are nearly the same; all else by what is written.
fn sorted<'a, 'j>(values: &'a [JsonValue<'j>]) -> Vec<&'a JsonValue<'j>> {
    let key = |value: &JsonValue<'_>| match number(value) {
        Some(number) => (number, String::new()),
        None => (0.0, written(value, &[])),
    };
    let mut keyed: Vec<_> = values.iter().map(|value| (Type::of(value), key(value), value)).collect();
    keyed.sort_unstable_by(|(kind, (number, text), _), (other_kind, (other_number, other_text), _)| {
        kind.cmp(other_kind).then(number.total_cmp(other_number)).then_with(|| text.cmp(other_text))
    });
    keyed.into_iter().map(|(_, _, value)| value).collect()
}

fn same(live: &JsonValue<'_>, other: &JsonValue<'_>, tolerance: Tolerance) -> bool {
    match (live, other) {
        (JsonValue::Array(live), JsonValue::Array(other)) => {
            live.len() == other.len() && live.iter().zip(&**other).all(|(live, other)| same(live, other, tolerance))
        }
        (JsonValue::Object(live), JsonValue::Object(other)) => {
            let (live, other) = (members(live), members(other));
            let pair = |((name, live), (other_name, other)): (&(&str, &JsonValue<'_>), &(&str, &JsonValue<'_>))| {
                name == other_name && same(live, other, tolerance)
            };
            live.len() == other.len() && live.iter().zip(&other).all(pair)
        }
        _ => scalars(live, other, tolerance).unwrap_or(false),
    }
}
