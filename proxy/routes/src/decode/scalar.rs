//! What a scalar's text means: to readers of YAML 1.1 and 1.2, as a number, as a duration in Go's notation; and how texts
//! are shown in messages.

use crate::yaml::{Node, Scalar, Value};

/// What a node says, as JSON has it; a number that JSON has not is a text.
pub(super) fn raw(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Sequence(items) => items.iter().map(raw).collect(),
        Value::Mapping(entries) => entries
            .iter()
            .map(|entry| (entry.key.text.clone(), raw(&entry.value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Scalar(scalar) if is_null(scalar) => serde_json::Value::Null,
        Value::Scalar(Scalar { text, plain: true }) if is_number(text) || matches!(text.as_str(), "true" | "false") => {
            serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into())
        }
        Value::Scalar(scalar) => scalar.text.as_str().into(),
    }
}

/// Whether YAML takes the scalar for nothing.
pub(super) fn is_null(scalar: &Scalar) -> bool {
    scalar.plain && matches!(scalar.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
}

/// Whether it is one of the letters that YAML 1.1 takes for a boolean and most of its readers do not.
pub(super) fn is_boolean_letter(scalar: &Scalar) -> bool {
    scalar.plain && matches!(scalar.text.as_str(), "y" | "Y" | "n" | "N")
}

/// What some reader of YAML 1.1 or 1.2 takes the scalar for, if not for a text.
pub(super) fn taken_for(scalar: &Scalar) -> Option<&'static str> {
    if !scalar.plain {
        return None;
    }
    match scalar.text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Some("null"),
        "y" | "Y" | "yes" | "Yes" | "YES" | "n" | "N" | "no" | "No" | "NO" | "true" | "True" | "TRUE" | "false"
        | "False" | "FALSE" | "on" | "On" | "ON" | "off" | "Off" | "OFF" => Some("a boolean"),
        text if is_number(text) => Some("a number"),
        _ => None,
    }
}

/// Whether some reader of YAML 1.1 or 1.2 takes the text for a number: with `_` between digits, in bases 2, 8, 16 and 60,
/// with fraction and exponent, infinite, or not a number at all.
pub(super) fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let digits = unsigned.replace('_', "");
    matches!(digits.as_str(), ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
        || is_based(&digits)
        || is_float(&digits)
        || is_sexagesimal(&digits)
}

fn is_based(text: &str) -> bool {
    let Some((base, digits)) = text.split_at_checked(2) else {
        return false;
    };
    let radix = match base {
        "0b" | "0B" => 2,
        "0o" | "0O" => 8,
        "0x" | "0X" => 16,
        _ => return false,
    };
    !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix))
}

fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (text, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    are_digits(whole)
        && are_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && are_digits(exponent)
        && !exponent.is_empty()
}

fn is_sexagesimal(text: &str) -> bool {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    let mut parts = whole.split(':');
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let first = parts.next().is_some_and(is_digits);
    let mut rest = parts.peekable();
    first && rest.peek().is_some() && rest.all(|part| is_digits(part) && part.parse().is_ok_and(|n: u32| n < 60))
}

/// A whole number in decimal, without leading zeros (which YAML 1.1 takes for base 8); saturates.
pub(super) fn decimal(text: &str) -> Option<i128> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_plain = unsigned.bytes().all(|b| b.is_ascii_digit()) && !unsigned.is_empty();
    if !is_plain || (unsigned.len() > 1 && unsigned.starts_with('0')) {
        return None;
    }
    let number = unsigned.parse().unwrap_or(i128::MAX);
    Some(if text.starts_with('-') { -number } else { number })
}

/// Nanoseconds of a duration in the notation of Go's `time.ParseDuration`, or none.
pub(super) fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        total = total.checked_add(scaled(number, unit_nanoseconds(unit)?)?)?;
        rest = after;
    }
    let total = i64::try_from(total).ok()?;
    Some(if negative { -total } else { total })
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// A number with an optional fraction, times a unit; what is finer than a nanosecond is cut.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut part = 0;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        part += u64::from(digit - b'0') * place;
    }
    whole.checked_mul(unit)?.checked_add(part)
}

/// The name that was probably meant: at most a third of its letters differ.
pub(super) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    if name.len() > 40 {
        return None;
    }
    let name = name.to_lowercase().replace('_', "");
    let distances = known.iter().map(|known| (edit_distance(&name, &known.to_lowercase()), *known));
    let (distance, near) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (near.len() / 3).max(1)).then_some(near)
}

/// Levenshtein's distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A text in quotes, on one line and not too long.
pub(crate) fn quoted(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    match text.char_indices().nth(MAX_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

/// `a, b or c`.
pub(crate) fn one_of<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_any_reader_of_yaml_takes_them_for() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(taken_for(&Scalar { text: text.to_owned(), plain: true }), expected, "{text}");
            assert_eq!(taken_for(&Scalar { text: text.to_owned(), plain: false }), None, "{text:?}");
        };
        for text in ["", "~", "null", "Null", "NULL"] {
            check(text, Some("null"));
        }
        for text in ["y", "Y", "yes", "No", "NO", "true", "False", "on", "Off", "OFF"] {
            check(text, Some("a boolean"));
        }
        for text in [
            "0", "1", "-1", "+1", "010", "08", "1_000", "0x1F", "0X1f", "0b101", "0o17", "1.5", "1.", ".5", "-.5",
            "1e3", "1.5E-3", "1e+3", ".inf", "-.Inf", ".NaN", "10:30", "1:30:59", "1:30.5",
        ] {
            check(text, Some("a number"));
        }
        for text in [
            "blue",
            "5xx",
            "1.2.3",
            "10.0.0.1",
            "v1",
            "1e",
            "0x",
            "0xg",
            "-",
            "+",
            ".",
            "..",
            "_1",
            "e3",
            "10:60",
            "10:",
            "a:1",
            "2026-01-01",
            "2026-01-01T00:00:00Z",
            "yep",
            "nULL",
            "tRue",
            "1.5s",
            "::1",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn whole_numbers_are_plain_decimal() {
        let check = |text: &str, expected: Option<i128>| assert_eq!(decimal(text), expected, "{text}");
        check("0", Some(0));
        check("-0", Some(0));
        check("-12", Some(-12));
        check("+12", Some(12));
        check("99999999999999999999999999999999999999999", Some(i128::MAX));
        for text in ["", "-", "1.0", "1e3", "0x1", "010", "1_0", "a", "1 "] {
            check(text, None);
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(go_duration(text), expected, "{text}");
        check("0", Some(0));
        check("0s", Some(0));
        check("1.5s", Some(1_500_000_000));
        check(".5s", Some(500_000_000));
        check("1.s", Some(1_000_000_000));
        check("100ms", Some(100_000_000));
        check("1m30s", Some(90_000_000_000));
        check("1h0m0.5s", Some(3_600_500_000_000));
        check("-1s", Some(-1_000_000_000));
        check("+1s", Some(1_000_000_000));
        check("500us", Some(500_000));
        check("500\u{b5}s", Some(500_000));
        check("1.0005s", Some(1_000_500_000));
        check("2562047h", Some(9_223_369_200_000_000_000));
        for text in [
            "",
            "-",
            "s",
            "1",
            "10",
            ".",
            ".s",
            "1.2.3s",
            "1 s",
            "1s ",
            "1d",
            "1sec",
            "soon",
            "1S",
            "2562048h",
            "--1s",
            "1s-1s",
            "99999999999999999999s",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let known = ["hosts", "http", "gateways", "timeout", "uri"];
        let check = |name: &str, expected: Option<&str>| assert_eq!(nearest(name, &known), expected, "{name}");
        check("htttp", Some("http"));
        check("host", Some("hosts"));
        check("timeOut", Some("timeout"));
        check("gate_ways", Some("gateways"));
        check("url", Some("uri"));
        check("verb", None);
        check(&"x".repeat(100), None);
    }

    #[test]
    fn shown_texts_stay_on_one_short_line() {
        assert_eq!(quoted("a\n\"b\""), r#""a\n\"b\"""#);
        assert_eq!(quoted(&"x".repeat(100)), format!("\"{}\"...", "x".repeat(60)));
        assert_eq!(one_of(["a"]), "a");
        assert_eq!(one_of(["a", "b", "c"]), "a, b or c");
    }
}
