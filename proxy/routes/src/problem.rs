//! What is wrong with a routes file: a [`Problem`] says where (file, document, field path, line), what, and what to write
//! instead. Everything that refuses a document speaks through it, so that people and machines read one form.

use serde::Serialize;
use std::fmt;

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The documents are refused.
    Error,
    /// The documents are accepted, but probably not what was meant.
    Warning,
}

/// Which document of a source; what could not be read is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct DocumentName {
    /// Which document of its source, from 1; empty documents do not count.
    pub index: usize,
    /// `kind`.
    pub kind: Option<String>,
    /// `metadata.namespace`, or `default` where there is none.
    pub namespace: String,
    /// `metadata.name`.
    pub name: Option<String>,
}

/// One thing that is wrong or doubtful.
///
/// It is shown on one line: `routes.yaml:12:9: VirtualService abtesting/scoring: spec.http[2].route[0].weight: -5 is
/// below 0; write a number from 0 to 2147483647`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Problem {
    /// Whether it refuses the documents.
    pub severity: Severity,
    /// The name of the source: the file, or the key of a ConfigMap.
    pub source: String,
    /// The document; none for a problem of the whole source.
    pub document: Option<DocumentName>,
    /// The field, as `spec.http[2].route[0].weight`; empty for the whole document.
    pub path: String,
    /// From 1; 1 for a problem of the whole source.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub advice: Option<String>,
}

/// At least one [`Problem`], in the order of the sources and of their lines. They may include warnings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// None if there is no problem.
    pub(crate) fn new(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// The problems, in order; at least one.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl Problem {
    pub(crate) fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.source, self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if let Some(document) = &self.document {
            write!(f, "{document}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DocumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.kind, &self.name) {
            (Some(kind), Some(name)) => write!(f, "{kind} {}/{name}", self.namespace),
            (Some(kind), None) => write!(f, "{kind} (document {})", self.index),
            (None, _) => write!(f, "document {}", self.index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(severity: Severity, document: Option<DocumentName>, advice: Option<&str>) -> Problem {
        Problem {
            severity,
            source: "routes.yaml".to_owned(),
            document,
            path: "spec.http[2].route[0].weight".to_owned(),
            line: 12,
            column: 9,
            message: "-5 is below 0".to_owned(),
            advice: advice.map(str::to_owned),
        }
    }

    fn scoring() -> DocumentName {
        DocumentName {
            index: 3,
            kind: Some("VirtualService".to_owned()),
            namespace: "abtesting".to_owned(),
            name: Some("scoring".to_owned()),
        }
    }

    #[test]
    fn a_problem_is_one_line_with_its_place() {
        let check = |problem: Problem, expected: &str| assert_eq!(problem.to_string(), expected);
        check(
            problem(Severity::Error, Some(scoring()), Some("write a number from 0 to 2147483647")),
            "routes.yaml:12:9: VirtualService abtesting/scoring: spec.http[2].route[0].weight: -5 is below 0; \
             write a number from 0 to 2147483647",
        );
        check(
            problem(Severity::Warning, Some(DocumentName { name: None, ..scoring() }), None),
            "routes.yaml:12:9: warning: VirtualService (document 3): spec.http[2].route[0].weight: -5 is below 0",
        );
        check(
            problem(Severity::Error, Some(DocumentName { kind: None, ..scoring() }), None),
            "routes.yaml:12:9: document 3: spec.http[2].route[0].weight: -5 is below 0",
        );
        check(problem(Severity::Error, None, None), "routes.yaml:12:9: spec.http[2].route[0].weight: -5 is below 0");
    }

    #[test]
    fn a_problem_as_json_is_flat() {
        let json =
            serde_json::to_value(problem(Severity::Warning, Some(scoring()), None)).expect("no map with odd keys");
        assert_eq!(
            json,
            serde_json::json!({
                "severity": "warning",
                "source": "routes.yaml",
                "document": {"index": 3, "kind": "VirtualService", "namespace": "abtesting", "name": "scoring"},
                "path": "spec.http[2].route[0].weight",
                "line": 12,
                "column": 9,
                "message": "-5 is below 0",
                "advice": null,
            })
        );
    }
}
