//! Warnings with their places. The router knows documents and not their texts, so the texts are read once more, and only
//! where there is a warning.

use crate::decode::Report;
use crate::parse::{Source, name_of};
use crate::problem::Problem;
use crate::router::Warning;
use crate::yaml::{self, Budget};
use std::cell::Cell;
use std::collections::HashMap;

/// Where the warnings are, in the order of the sources and their lines. The sources are those that the router's documents
/// were read from: a warning of a document that is not there is left out.
pub fn locate<'w>(sources: &[Source<'_>], warnings: impl IntoIterator<Item = &'w Warning>) -> Vec<Problem> {
    let mut by_document: HashMap<_, Vec<&Warning>> = HashMap::new();
    for warning in warnings {
        let document = (warning.kind.to_owned(), warning.namespace.clone(), warning.name.clone());
        by_document.entry(document).or_default().push(warning);
    }
    if by_document.is_empty() {
        return Vec::new();
    }
    // They were read within some bound before, or there would be no router.
    let mut budget = Budget::new(usize::MAX, usize::MAX);
    let mut problems = Vec::new();
    for source in sources {
        let before = problems.len();
        let text = str::from_utf8(source.bytes).unwrap_or_default();
        let documents = yaml::read(text, &mut budget).unwrap_or_default();
        for (index, node) in documents.iter().filter(|node| !node.is_empty()).enumerate() {
            let name = name_of(node, index + 1);
            let key = (name.kind.clone().unwrap_or_default(), name.namespace.clone(), name.name.clone());
            let warnings = by_document.remove(&(key.0, key.1, key.2.unwrap_or_default())).unwrap_or_default();
            let pattern_bytes = Cell::new(0);
            let report = Report::new(source.name, name, node, &pattern_bytes);
            for warning in warnings {
                report.root().warn_below(&warning.path, warning.message(), warning.advice.clone());
            }
            problems.extend(report.into_problems());
        }
        problems[before..].sort_by_key(|problem| (problem.line, problem.column));
    }
    problems
}
