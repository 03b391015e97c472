//! Documents in: from the bytes of a routes file, or of every key of a mounted ConfigMap, to the model. All problems of
//! all sources are reported at once; the limits hold before anything is interpreted.

use crate::decode::Report;
use crate::documents::Document;
use crate::problem::{DocumentName, Problem, Problems, Severity};
use crate::yaml::{self, Budget, Node, Position, SyntaxError, TOO_LARGE};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};

/// How large a source may be, and all of them together, where nothing else is said: what a ConfigMap may hold.
pub const MAX_SOURCE_BYTES: usize = 1024 * 1024;
/// The most that may be said instead.
pub const MOST_SOURCE_BYTES: usize = 64 * MAX_SOURCE_BYTES;
/// As many values (scalars, lists, mappings) as sources of that size may hold, with aliases expanded.
const MAX_VALUES: usize = 100_000;

/// What the regular expressions of all sources may take once they are compiled.
const MAX_PATTERN_BYTES: usize = 64 * 1024 * 1024;
/// Where problems of a whole source are.
const START: Position = Position { line: 1, column: 1 };

/// One file, or one key of a ConfigMap.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What problems call it.
    pub name: &'a str,
    /// The text, in UTF-8.
    pub bytes: &'a [u8],
}

/// What the sources hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// At least one, in the order of the sources; no two of one kind, namespace and name.
    pub documents: Vec<Document>,
    /// What is doubtful about them.
    pub warnings: Vec<Problem>,
}

/// Reads and validates documents; refuses all of them if any has a problem of the severity `Error`.
pub fn parse(sources: &[Source<'_>]) -> Result<Parsed, Problems> {
    parse_up_to(sources, MAX_SOURCE_BYTES)
}

/// The same for sources of at most so many bytes.
pub fn parse_up_to(sources: &[Source<'_>], max_bytes: usize) -> Result<Parsed, Problems> {
    let mut reader = Reader {
        budget: Budget::new(max_bytes.div_ceil(MAX_SOURCE_BYTES) * MAX_VALUES, max_bytes),
        max_bytes,
        bytes_left: max_bytes,
        pattern_bytes: Cell::new(MAX_PATTERN_BYTES),
        documents: Vec::new(),
        first_places: HashMap::new(),
        problems: Vec::new(),
        is_empty: true,
    };
    for source in sources {
        let before = reader.problems.len();
        reader.read(source);
        reader.problems[before..].sort_by_key(|problem| (problem.line, problem.column));
    }
    let all_left_out = reader.documents.is_empty() && reader.problems.iter().all(Problem::is_warning);
    if all_left_out {
        let name = sources.first().map_or("routes", |source| source.name);
        let message =
            if reader.is_empty { "holds no documents" } else { "holds no document for the gateway" }.to_owned();
        let advice = Some("write at least one VirtualService");
        reader.problems.push(unreadable(name, SyntaxError { position: START, message, advice }));
    }
    let Reader { documents, mut problems, .. } = reader;
    // An alias can show one text, and its problem, in several places.
    let mut seen = HashSet::new();
    problems
        .retain(|problem| seen.insert((problem.source.clone(), problem.line, problem.column, problem.message.clone())));
    if problems.iter().all(Problem::is_warning) {
        return Ok(Parsed { documents, warnings: problems });
    }
    match Problems::new(problems) {
        Some(problems) => Err(problems),
        None => Ok(Parsed { documents, warnings: Vec::new() }),
    }
}

struct Reader<'a> {
    budget: Budget,
    max_bytes: usize,
    bytes_left: usize,
    pattern_bytes: Cell<usize>,
    documents: Vec<Document>,
    /// Where each kind, namespace and name stands.
    first_places: HashMap<(&'static str, String, String), (&'a str, usize)>,
    problems: Vec<Problem>,
    /// Whether nothing has been seen, not even something wrong.
    is_empty: bool,
}

impl<'a> Reader<'a> {
    fn read(&mut self, source: &Source<'a>) {
        let documents = self.check_text(source).and_then(|text| yaml::read(text, &mut self.budget));
        match documents {
            Ok(documents) => {
                let filled = documents.iter().filter(|node| !node.is_empty());
                for (index, node) in filled.enumerate() {
                    self.is_empty = false;
                    self.read_document(source.name, index + 1, node);
                }
            }
            Err(error) => {
                self.is_empty = false;
                self.problems.push(unreadable(source.name, error));
            }
        }
    }

    fn check_text(&mut self, source: &Source<'a>) -> Result<&'a str, SyntaxError> {
        let (length, max_bytes) = (source.bytes.len(), self.max_bytes);
        if length > max_bytes {
            // How many more is not known to who reads no more than may be there.
            let message = format!("more than {max_bytes} bytes");
            return Err(SyntaxError { position: START, message, advice: Some(TOO_LARGE) });
        }
        let Some(bytes_left) = self.bytes_left.checked_sub(length) else {
            let message = format!("from here on all sources together have more than {max_bytes} bytes");
            return Err(SyntaxError { position: START, message, advice: Some(TOO_LARGE) });
        };
        self.bytes_left = bytes_left;
        let text =
            str::from_utf8(source.bytes).map_err(|error| at_byte(source.bytes, error.valid_up_to(), "not UTF-8"))?;
        match text.find('\0') {
            None => Ok(text),
            Some(at) => Err(at_byte(source.bytes, at, "a NUL byte")),
        }
    }

    fn read_document(&mut self, source: &'a str, index: usize, node: &Node) {
        let report = Report::new(source, name_of(node, index), node, &self.pattern_bytes);
        let root = report.root();
        let text = |field| node.field(field).and_then(|node| node.text());
        if let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind"))
            && Document::is_foreign(api_version, kind)
        {
            Document::leave_out(&root);
            self.problems.extend(report.into_problems());
            return;
        }
        report.check_keys();
        if let Ok(document) = Document::decode(&root) {
            let metadata = document.metadata();
            let key = (document.kind(), metadata.namespace.clone(), metadata.name.clone());
            match self.first_places.get(&key) {
                None => {
                    self.first_places.insert(key, (source, node.position.line));
                }
                Some((source, line)) => {
                    let message = format!("this document is there twice, first in {source}:{line}");
                    root.advise(message, "leave one of them out");
                }
            }
            self.documents.push(document);
        }
        self.problems.extend(report.into_problems());
    }
}

/// What the document calls itself, as far as that can be read.
pub(crate) fn name_of(node: &Node, index: usize) -> DocumentName {
    let metadata = node.field("metadata");
    let text = |name| metadata.and_then(|metadata| metadata.field(name)?.text()).map(str::to_owned);
    DocumentName {
        index,
        kind: node.field("kind").and_then(Node::text).map(str::to_owned),
        namespace: text("namespace").unwrap_or_else(|| crate::documents::DEFAULT_NAMESPACE.to_owned()),
        name: text("name"),
    }
}

/// A source that is refused as a whole.
fn unreadable(source: &str, error: SyntaxError) -> Problem {
    Problem {
        severity: Severity::Error,
        source: source.to_owned(),
        document: None,
        path: String::new(),
        line: error.position.line,
        column: error.position.column,
        message: error.message,
        advice: error.advice.map(str::to_owned),
    }
}

/// What is wrong with a byte; everything before it is UTF-8.
fn at_byte(bytes: &[u8], at: usize, message: &str) -> SyntaxError {
    let position = Position::behind(&String::from_utf8_lossy(&bytes[..at]));
    SyntaxError { position, message: message.to_owned(), advice: Some("save the file as plain text in UTF-8") }
}
