//! What is said of two answers, by tables.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod bounds;
mod faults;
mod properties;
mod redaction;
mod schema;
mod tally;
mod values;

use super::{Answer, Comparison, Kind, Rule, Rules, compare};

fn answer(body: &[u8]) -> Answer<'_> {
    Answer { status: 200, content_type: Some("application/json"), body }
}

/// Of such as `/score number abs=0.01; /id ignore`. A path has no blanks; the empty one is written `answer`.
fn rules(text: &str) -> Rules {
    let rule = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let tolerance =
            |name: &str| words.iter().find_map(|word| word.strip_prefix(name)).map(|text| text.parse().unwrap());
        let kind = match words[1] {
            "number" => Kind::Number,
            "class" => Kind::Class,
            "set" => Kind::Set,
            "ignore" => Kind::Ignore,
            other => panic!("{other} is no kind"),
        };
        let path = if words[0] == "answer" { String::new() } else { words[0].to_owned() };
        Rule { path, kind, abs: tolerance("abs="), rel: tolerance("rel=") }
    };
    let rules: Vec<Rule> = text.split(';').filter(|rule| !rule.trim().is_empty()).map(rule).collect();
    Rules::new(&rules).unwrap()
}

/// All that is not as in the live answer: `agree`, or such as `/a missing; /b differs`.
fn said(comparison: &Comparison) -> String {
    let changes = comparison.schema_changes.iter().map(ToString::to_string);
    let differing = comparison.fields.iter().filter(|field| !field.agrees);
    let fields =
        differing.map(|field| format!("{} differs", if field.path.is_empty() { "answer" } else { &field.path }));
    let all: Vec<String> = changes.chain(fields).collect();
    assert_eq!(comparison.agrees(), all.is_empty());
    if all.is_empty() { "agree".to_owned() } else { all.join("; ") }
}

fn said_of(live: &[u8], other: &[u8], rules: &Rules) -> String {
    said(&compare(&answer(live), &answer(other), rules))
}

/// Rows of rules, the live body, the other one, and what is said. All wrong rows are shown at once.
fn check(rows: &[(&str, &str, &str, &str)]) {
    let wrong = |(of_rules, live, other, expected): &(&str, &str, &str, &str)| {
        let said = said_of(live.as_bytes(), other.as_bytes(), &rules(of_rules));
        (said != *expected).then(|| format!("[{of_rules}] {live} | {other}: {said}, not {expected}"))
    };
    let wrong: Vec<String> = rows.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
