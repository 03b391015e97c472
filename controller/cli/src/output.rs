//! How results leave the process: text for people or one JSON document, and the exit codes that all commands share.
//! Results go to standard output, everything else to standard error. Whoever reads them may have read enough, as `head`:
//! then the command ends like any other in a pipeline, and says nothing of it.

use anstream::adapter::strip_str;
use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use std::fmt;
use std::io::{ErrorKind, Write as _};

/// Done, reached, accepted.
pub(crate) const DONE: u8 = 0;
/// Refused, failed, rolled back; for `diff`: something differs.
pub(crate) const FAILED: u8 = 1;
/// It could not be done as asked: usage, files, processes. Also clap's code.
pub(crate) const UNUSABLE: u8 = 2;
/// It was not reached in time.
pub(crate) const TIMED_OUT: u8 = 3;
/// Nobody reads the result any more: what a shell says of a program that SIGPIPE ended.
pub(crate) const UNREAD: u8 = 141;

/// The form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Lines for people.
    Text,
    /// One JSON document.
    Json,
}

/// Standard output is closed. An error, so that what was started is ended on the way out.
#[derive(Debug)]
pub(crate) struct NobodyReads;

impl fmt::Display for NobodyReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the result")
    }
}

impl std::error::Error for NobodyReads {}

/// Prints a line, or several, of a result.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(NobodyReads.into()),
        written => written.context("cannot write the result"),
    }
}

/// Says something on standard error, if anybody reads that.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Prints a result as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value).context("cannot write the result as JSON")?)
}

/// Prints a result as JSON on one line, for those who read one after the other.
pub(crate) fn print_json_line(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string(value).context("cannot write the result as JSON")?)
}

/// Lines of columns, each as wide as its widest cell; the last is not padded. Colours take no room.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| visible(cell)).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let pad = |(cell, width): (&String, &usize)| format!("{cell}{}", " ".repeat(width - visible(cell)));
        row.iter().zip(&widths).map(pad).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// How many characters of a text are seen.
fn visible(text: &str) -> usize {
    strip_str(text).map(|part| part.chars().count()).sum()
}

/// A count for people, as 1,234,567.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["NAME", "STAGE"], ["model", "Blue_50"], ["m", "–"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(columns(&rows), "NAME   STAGE\nmodel  Blue_50\nm      –");
        assert_eq!(columns(&[]), "");
        let painted = [["\u{1b}[32m√\u{1b}[0m", "a"], ["xx", "b"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(columns(&painted), "\u{1b}[32m√\u{1b}[0m   a\nxx  b");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let check = |number, text: &str| assert_eq!(thousands(number), text);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(1_234_567, "1,234,567");
    }
}
