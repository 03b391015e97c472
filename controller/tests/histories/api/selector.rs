//! Label and field selectors.

use super::refusal::Refusal;

/// One requirement; a selector is a list of them that all must hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    name: String,
    test: Test,
}

#[derive(Debug, PartialEq, Eq)]
enum Test {
    Exists(bool),
    In(bool, Vec<String>),
}

impl Requirement {
    /// `value_of` gives the value that an object has under a name.
    pub(crate) fn holds<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        let value = value_of(&self.name);
        match &self.test {
            Test::Exists(wanted) => value.is_some() == *wanted,
            Test::In(wanted, values) => value.is_some_and(|value| values.iter().any(|one| one == value)) == *wanted,
        }
    }
}

/// `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a` and `!a`, with commas between.
pub(crate) fn parse(text: &str) -> Result<Vec<Requirement>, Refusal> {
    split(text).into_iter().map(|one| requirement(one.trim())).collect()
}

/// At the commas that are not inside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn requirement(text: &str) -> Result<Requirement, Refusal> {
    let set = |name: &str, wanted, values: &str| {
        let values = values.trim().trim_start_matches('(').trim_end_matches(')');
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        Requirement { name: name.trim().to_owned(), test: Test::In(wanted, values) }
    };
    if let Some((name, values)) = text.split_once(" notin ") {
        return Ok(set(name, false, values));
    }
    if let Some((name, values)) = text.split_once(" in ") {
        return Ok(set(name, true, values));
    }
    for (operator, wanted) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((name, value)) = text.split_once(operator) {
            return Ok(set(name, wanted, value));
        }
    }
    let (name, wanted) = text.strip_prefix('!').map_or((text, true), |name| (name, false));
    if name.contains(|character: char| character.is_whitespace() || "()<>".contains(character)) {
        return Err(Refusal::bad_request(format!("unable to parse requirement: {text}")));
    }
    Ok(Requirement { name: name.to_owned(), test: Test::Exists(wanted) })
}
