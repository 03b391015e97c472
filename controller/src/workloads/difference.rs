//! Whether an object has all that is wanted of it, as an API server sees it: it adds defaults, leaves out what is empty,
//! and writes quantities in its own way. None of that is a difference, or a controller would write for ever.

use serde_json::Value;

/// Fields that hold a quantity, or an object of quantities.
const QUANTITIES: [&str; 4] = ["limits", "requests", "sizeLimit", "divisor"];
/// The suffixes of quantities (Kubernetes, resource.Quantity), and what they stand for in billionths.
const SUFFIXES: [(&str, i128); 16] = [
    ("Ki", 1_000_000_000 << 10),
    ("Mi", 1_000_000_000 << 20),
    ("Gi", 1_000_000_000 << 30),
    ("Ti", 1_000_000_000 << 40),
    ("Pi", 1_000_000_000 << 50),
    ("Ei", 1_000_000_000 << 60),
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("k", 1_000_000_000_000),
    ("M", 1_000_000_000_000_000),
    ("G", 1_000_000_000_000_000_000),
    ("T", 1_000_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000_000_000),
    ("", 1_000_000_000),
];

/// Whether `live` has everything that `wanted` says.
pub(super) fn has_all(live: &Value, wanted: &Value) -> bool {
    has(Some(live), wanted, false)
}

fn has(live: Option<&Value>, wanted: &Value, is_quantity: bool) -> bool {
    match (live, wanted) {
        (Some(Value::Object(live)), Value::Object(wanted)) => wanted.iter().all(|(name, value)| {
            let is_quantity = is_quantity || QUANTITIES.contains(&name.as_str());
            has(live.get(name), value, is_quantity)
        }),
        (Some(Value::Array(live)), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && live.iter().zip(wanted).all(|(live, wanted)| has(Some(live), wanted, is_quantity))
        }
        (None | Some(Value::Null), wanted) => is_empty(wanted),
        (Some(Value::String(live)), Value::String(wanted)) if is_quantity => live == wanted || is_same(live, wanted),
        (Some(live), wanted) => live == wanted,
    }
}

/// What an API server leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

fn is_same(one: &str, other: &str) -> bool {
    billionths(one).is_some_and(|one| Some(one) == billionths(other))
}

/// How much a quantity is; none for one that is written with an exponent, or is none.
fn billionths(quantity: &str) -> Option<i128> {
    let (number, unit) = SUFFIXES.iter().find_map(|(suffix, unit)| Some((quantity.strip_suffix(suffix)?, unit)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    digits.checked_mul(*unit).map(|amount| amount / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_api_server_adds_leaves_out_or_writes_otherwise_is_no_difference() {
        let check =
            |live: Value, wanted: Value, expected| assert_eq!(has_all(&live, &wanted), expected, "{live} {wanted}");
        check(json!({"a": 1, "b": 2}), json!({"a": 1}), true);
        check(json!({"a": 1}), json!({"a": 2}), false);
        check(json!({}), json!({"a": 1}), false);
        check(json!({}), json!({"a": 0, "b": "", "c": false, "d": null, "e": [], "f": {"g": {}}}), true);
        check(json!({}), json!({"f": {"g": 1}}), false);
        check(json!([{"a": 1, "b": 2}]), json!([{"a": 1}]), true);
        check(json!([1, 2]), json!([1]), false);
        check(json!({"a": "1000m"}), json!({"a": "1"}), false);
        let resources = |cpu, memory| json!({"limits": {"cpu": cpu, "memory": memory}, "sizeLimit": memory});
        check(resources("500m", "1Gi"), resources("0.5", "1024Mi"), true);
        check(resources("1", "1Gi"), resources("1000m", "1073741824"), true);
        check(resources("1", "1Gi"), resources("1", "1G"), false);
        check(resources("1", "1e3"), resources("1", "1k"), false);
    }
}
