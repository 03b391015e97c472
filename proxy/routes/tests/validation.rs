//! Every document of the recorded validation table of a real Istio gets Istio's verdict, but for those that use what the
//! gateway refuses by name: these are listed with the reason, and must be refused with a message that names it.

use serde_yaml::Value;
use turnout_routes::{Severity, Source, parse};

const TABLE: &str = include_str!("../../../tests/parity/cases/validation.yaml");

/// Documents that Istio accepts and the gateway refuses: the name of the document, the field, what the message says.
const REFUSED_BY_NAME: [(&str, &str, &str); 1] = [
    // No backend would accept a request with such a header (RFC 9110, 5.1).
    ("headers-set-bad-name", "spec.http[0].headers.request.set[\"bad name\"]", "is not the name of a header"),
];

#[test]
fn every_recorded_document_gets_the_recorded_verdict() {
    let table: Value = serde_yaml::from_str(TABLE).expect("the table is YAML");
    let documents = table["documents"].as_sequence().expect("a list of documents");
    assert_eq!(documents.len(), 181, "the table is whole");
    let mut wrong = Vec::new();
    for document in documents {
        let text = |field: &str| document[field].as_str().unwrap_or_default();
        let expect = if text("verdict") == "warn" { "warn" } else { text("expect") };
        if let Some(difference) = difference(text("name"), &filled(text("yaml")), expect) {
            wrong.push(format!("{}: {difference} (Istio: {})", text("name"), text("message")));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_exception_is_in_the_table() {
    let table: Value = serde_yaml::from_str(TABLE).expect("the table is YAML");
    let documents = table["documents"].as_sequence().expect("a list of documents");
    for (name, ..) in REFUSED_BY_NAME {
        let document = documents.iter().find(|document| document["name"].as_str() == Some(name));
        let expect = document.and_then(|document| document["expect"].as_str());
        assert_eq!(expect, Some("accept"), "{name} is accepted by Istio");
    }
}

/// What is not as expected, if anything.
fn difference(name: &str, yaml: &str, expect: &str) -> Option<String> {
    let parsed = parse(&[Source { name: "routes.yaml", bytes: yaml.as_bytes() }]);
    let exception = REFUSED_BY_NAME.iter().find(|(exception, ..)| *exception == name);
    match (parsed, exception, expect) {
        (Ok(_), Some(_), _) => Some("accepted, though it is listed as refused by name".to_owned()),
        (Err(problems), Some((_, path, message)), _) => {
            let mut errors = problems.as_slice().iter().filter(|problem| problem.severity == Severity::Error);
            let named = errors.all(|problem| problem.path == *path && problem.message.contains(message));
            (!named).then(|| format!("not refused at {path} because {message}, but: {problems}"))
        }
        (Ok(_), None, "reject") => Some("accepted".to_owned()),
        (Ok(parsed), None, "warn") => parsed.warnings.is_empty().then(|| "accepted without a warning".to_owned()),
        (Err(problems), None, "accept" | "warn") => Some(format!("refused: {problems}")),
        (Ok(_), None, "accept") | (Err(_), None, "reject") | (_, _, "either") => None,
        (_, _, other) => Some(format!("{other:?} is no expectation")),
    }
}

/// Fills in `${REPEAT:c:n}`: n times the character c.
fn filled(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${REPEAT:") else {
        return text.to_owned();
    };
    let (arguments, after) = rest.split_once('}').expect("a placeholder ends with }");
    let (character, count) = arguments.split_once(':').expect("a character and a count");
    format!("{before}{}{after}", character.repeat(count.parse().expect("a count")))
}
