//! Texts that meet a condition, so that a probe can carry them. Whatever is found here has been matched against the
//! condition; what is not found is told and not guessed.

use turnout_routes::documents::{HostPattern, Pattern, StringMatch, ValueMatch};

/// What stands for any text.
const ANY: &str = "probe";

/// A host that the pattern is for.
pub(super) fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Any => format!("{ANY}.example"),
        HostPattern::Suffix(suffix) => format!("{ANY}{suffix}"),
        HostPattern::Exact(name) => name.clone(),
    }
}

/// Texts that meet the condition; none for an expression for which none was found. A prefix has two, so that a change
/// from prefix to exact is seen.
pub(super) fn texts(condition: &StringMatch) -> Vec<String> {
    match condition {
        StringMatch::Exact(text) => vec![text.clone()],
        StringMatch::Prefix(prefix) => vec![prefix.clone(), format!("{prefix}{ANY}")],
        StringMatch::Regex(pattern) => regex_text(pattern).into_iter().collect(),
    }
}

/// As [`texts`], for a header or a query parameter.
pub(super) fn values(condition: &ValueMatch) -> Vec<String> {
    match condition {
        ValueMatch::Present => vec![ANY.to_owned()],
        ValueMatch::Value(condition) => texts(condition),
    }
}

/// Writes something simple for each of the usual parts of an expression, and keeps what then really matches.
fn regex_text(pattern: &Pattern) -> Option<String> {
    const PARTS: [(&str, &str); 13] = [
        ("(?i)", ""),
        (".*", ""),
        (".+", "x"),
        ("[^/]+", "x"),
        ("[^/]*", ""),
        ("[0-9]+", "1"),
        ("\\d+", "1"),
        ("[a-z]+", "x"),
        ("[a-z0-9]+", "x"),
        ("\\w+", "x"),
        ("^", ""),
        ("$", ""),
        ("\\", ""),
    ];
    let simple =
        PARTS.iter().fold(first_alternatives(pattern.source()), |text, (part, simple)| text.replace(part, simple));
    let candidates = [simple.clone(), simple.replace('?', ""), format!("{simple}x"), "/".to_owned(), "1".to_owned()];
    candidates.into_iter().find(|candidate| pattern.matches(candidate.as_bytes()))
}

/// Of `(a|b)` leaves `a`; groups that are nested are left as they are.
fn first_alternatives(source: &str) -> String {
    let mut text = String::new();
    let mut rest = source;
    while let Some((before, group)) = rest.split_once('(') {
        let Some((inside, after)) = group.split_once(')').filter(|(inside, _)| !inside.contains('(')) else { break };
        let inside = inside.strip_prefix("?:").unwrap_or(inside);
        text.push_str(before);
        if inside == "?i" {
            text.push_str("(?i)");
        } else {
            text.push_str(inside.split('|').next().unwrap_or(inside));
        }
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_for_simple_expressions_and_none_is_made_up_for_others() {
        let check = |source: &str, expected: Option<&str>| {
            let pattern = Pattern::new(source).expect("the expression is valid");
            assert_eq!(regex_text(&pattern).as_deref(), expected, "{source}");
        };
        check("/score.*", Some("/score"));
        check("^/v[0-9]+/score$", Some("/v1/score"));
        check("/(score|predict)/[^/]+", Some("/score/x"));
        check("(?i)blue", Some("blue"));
        check("/api(?:/v2)?/x", Some("/api/v2/x"));
        check("a\\.b", Some("a.b"));
        check("[a-f]{8}", None);
    }

    #[test]
    fn every_sample_is_one_of_its_hosts() {
        for text in ["*", "*.example.com", "model.example.com"] {
            let pattern = HostPattern::parse(text).expect("the host is valid");
            assert!(pattern.matches(&host(&pattern)), "{text}");
        }
    }
}
