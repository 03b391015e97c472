//! The gateway's metrics as a test asks for them: one number by name and labels.

use std::collections::BTreeMap;

/// What `/metrics` answered, read from the Prometheus text format.
#[derive(Clone, Debug)]
pub struct Metrics {
    series: Vec<Series>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads the text format; comments and lines that are not samples are left out.
    pub fn parse(text: &str) -> Self {
        Self { series: text.lines().filter_map(parse_line).collect() }
    }

    /// The sum over all series of this name that carry these labels and perhaps others; `None` if there is no such series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let carries = |series: &&Series| {
            let mut wanted = labels.iter();
            series.name == name
                && wanted.all(|(label, value)| series.labels.get(*label).is_some_and(|own| own == value))
        };
        let values = self.series.iter().filter(carries).map(|series| series.value);
        values.reduce(|sum, value| sum + value)
    }
}

/// `name{label="value",...} number`
fn parse_line(line: &str) -> Option<Series> {
    if line.starts_with('#') {
        return None;
    }
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.trim_start_matches(',').to_owned(), value);
            rest = after;
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Series { name: name.to_owned(), labels, value })
}

/// A label's value up to its closing quote, with escapes resolved, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn series_are_found_by_name_and_labels() {
        let metrics = Metrics::parse(
            "# HELP requests All of them.\n\
             requests{backend=\"green\",code=\"200\"} 3\n\
             requests{backend=\"green\",code=\"503\"} 1\n\
             requests{backend=\"a,\\\"b}\\\\\",code=\"200\"} 5 1700000000\n\
             ready 1\n",
        );
        let check = |name: &str, labels: &[(&str, &str)], expected: Option<f64>| {
            assert_eq!(metrics.sum(name, labels), expected, "{name} {labels:?}");
        };
        check("ready", &[], Some(1.0));
        check("requests", &[], Some(9.0));
        check("requests", &[("backend", "green")], Some(4.0));
        check("requests", &[("backend", "green"), ("code", "503")], Some(1.0));
        check("requests", &[("backend", "a,\"b}\\")], Some(5.0));
        check("requests", &[("backend", "red")], None);
        check("unready", &[], None);
    }
}
