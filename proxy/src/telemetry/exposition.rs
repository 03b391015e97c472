//! Prometheus' text format, for what is read off the gateway's state when it is scraped. They are written down
//! as they are read: thousands of weights cost one pass over them.

use std::fmt::{Display, Write};

/// A text that is being written.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

impl Exposition {
    /// Goes on after a text that holds other families.
    pub(crate) fn after(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// Writes a family, a line for each row of label values; a family without rows is left out. No two rows may have
    /// the same label values.
    pub(crate) fn gauges<const LABELS: usize, L: AsRef<str>, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; LABELS],
        rows: impl IntoIterator<Item = ([L; LABELS], V)>,
    ) {
        self.family((name, "gauge", name), help, labels, rows);
    }

    /// The same of counts.
    pub(crate) fn counters<const LABELS: usize, L: AsRef<str>, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; LABELS],
        rows: impl IntoIterator<Item = ([L; LABELS], V)>,
    ) {
        self.family((name, "counter", name), help, labels, rows);
    }

    /// The same of a histogram's buckets, each with those below it; one of the labels is `le`.
    pub(crate) fn buckets<const LABELS: usize, L: AsRef<str>, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; LABELS],
        rows: impl IntoIterator<Item = ([L; LABELS], V)>,
    ) {
        self.family((name, "histogram", &format!("{name}_bucket")), help, labels, rows);
    }

    fn family<const LABELS: usize, L: AsRef<str>, V: Display>(
        &mut self,
        (name, kind, series): (&str, &str, &str),
        help: &str,
        labels: [&str; LABELS],
        rows: impl IntoIterator<Item = ([L; LABELS], V)>,
    ) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return;
        }
        let text = &mut self.0;
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (values, value) in rows {
            text.push_str(series);
            for (number, (label, of_label)) in labels.iter().zip(&values).enumerate() {
                text.push(if number == 0 { '{' } else { ',' });
                text.push_str(label);
                text.push_str("=\"");
                push_escaped(text, of_label.as_ref());
                text.push('"');
            }
            let _ = writeln!(text, "}} {value}");
        }
    }
}

fn push_escaped(text: &mut String, value: &str) {
    for piece in value.split_inclusive(['\\', '"', '\n']) {
        let (plain, escaped) = match piece.as_bytes().last() {
            Some(b'\\') => (&piece[..piece.len() - 1], "\\\\"),
            Some(b'"') => (&piece[..piece.len() - 1], "\\\""),
            Some(b'\n') => (&piece[..piece.len() - 1], "\\n"),
            Some(_) | None => (piece, ""),
        };
        text.push_str(plain);
        text.push_str(escaped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_a_line_for_each_row() {
        let mut text = Exposition::after("before 1\n".to_owned());
        let rows = [(["a", "plain"], 1), (["b", "q\"uote \\ and\nline"], 2), (["", ""], 3)];
        text.gauges("turnout_x", "What it is.", ["one", "two"], rows);
        text.gauges("turnout_none", "Nothing.", ["one"], Vec::<([&str; 1], u8)>::new());
        text.counters("turnout_y", "So far.", ["one"], [(["a"], 4)]);
        text.buckets("turnout_z", "How long.", ["le"], [(["+Inf"], 5)]);
        let expected = "before 1\n\
            # HELP turnout_x What it is.\n\
            # TYPE turnout_x gauge\n\
            turnout_x{one=\"a\",two=\"plain\"} 1\n\
            turnout_x{one=\"b\",two=\"q\\\"uote \\\\ and\\nline\"} 2\n\
            turnout_x{one=\"\",two=\"\"} 3\n\
            # HELP turnout_y So far.\n\
            # TYPE turnout_y counter\n\
            turnout_y{one=\"a\"} 4\n\
            # HELP turnout_z How long.\n\
            # TYPE turnout_z histogram\n\
            turnout_z_bucket{le=\"+Inf\"} 5\n";
        assert_eq!(text.into_text(), expected);
    }
}
