//! Header operations as Envoy carries them out (`HeaderParser::evaluateHeaders`).

use super::{list, text};
use serde_json::Value;

/// Names in lower case, and values.
pub(crate) type Lines = Vec<(String, String)>;

/// Carries out the operations of some levels at once: first all are removed, then values are made of what is left, then
/// lines are set, then added, each in the order of the levels. `asked` is the request of a response; a request's own
/// lines stand in for it.
pub(crate) fn change(lines: &mut Lines, levels: &[&Value], asked: &[(String, String)], status: u64) {
    for removed in levels.iter().flat_map(|level| list(&level["remove"])) {
        lines.retain(|(name, _)| !name.eq_ignore_ascii_case(text(removed)));
    }
    let is_request = status == 0;
    let values = |field: &str| {
        let (sources, mut values) = (if is_request { &*lines } else { asked }, Lines::new());
        for (name, format) in levels.iter().filter_map(|level| level[field].as_object()).flatten() {
            let value = formatted(text(format), sources, status);
            if !is_authority(name) && !value.is_empty() {
                values.push((name.to_ascii_lowercase(), value));
            }
        }
        values
    };
    let (set, add) = (values("set"), values("add"));
    for (name, value) in set {
        lines.retain(|(line, _)| *line != name);
        lines.push((name, value));
    }
    lines.extend(add);
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name == ":authority"
}

/// The authority that one level sets, as it is written.
pub(crate) fn authority(level: &Value) -> Option<&str> {
    let values = ["set", "add"].into_iter().filter_map(|field| level[field].as_object()).flatten();
    values.filter(|(name, _)| is_authority(name)).map(|(_, value)| text(value)).find(|value| !value.is_empty())
}

/// A value with its commands carried out.
fn formatted(format: &str, asked: &[(String, String)], status: u64) -> String {
    let mut pieces = format.split('%');
    let mut value = pieces.next().unwrap_or_default().to_owned();
    while let (Some(command), Some(text)) = (pieces.next(), pieces.next()) {
        match command {
            "" => value.push('%'),
            "PROTOCOL" => value.push_str("HTTP/1.1"),
            "RESPONSE_CODE" => value.push_str(&status.to_string()),
            _ => {
                let name =
                    command.strip_prefix("REQ(").and_then(|rest| rest.strip_suffix(')')).expect("a known command");
                let line = asked.iter().find(|(line, _)| line.eq_ignore_ascii_case(name));
                value.push_str(line.map_or("", |(_, value)| value));
            }
        }
        value.push_str(text);
    }
    value
}
