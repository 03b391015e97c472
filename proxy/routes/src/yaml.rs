//! YAML text as a tree that knows the line and column of everything in it. Nothing is interpreted here: a scalar is its
//! text and whether it was quoted.
//!
//! The tree is bounded before anything walks it: depth, nodes and text are counted with every alias expanded, so that
//! neither a deep nor an exploding file costs more than its limits.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};
use std::collections::HashMap;
use std::rc::Rc;

/// What to do about sources that are larger than they may be.
pub(crate) const TOO_LARGE: &str = "allow more with --max-routes-bytes, or split the routes between gateways";

/// How deep lists and mappings may be nested.
pub(crate) const MAX_DEPTH: usize = 64;

/// Where something begins; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Position {
    /// Where a text ends. A carriage return alone breaks a line, too.
    pub(crate) fn behind(text: &str) -> Self {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let last = text.rsplit('\n').next().unwrap_or_default();
        Self { line: text.matches('\n').count() + 1, column: last.chars().count() + 1 }
    }

    /// The end of the text's last line where the position is behind it, as that of what never came.
    fn within(self, text: &str) -> Self {
        let text = text.strip_suffix('\n').unwrap_or(text);
        self.min(Self::behind(text.strip_suffix('\r').unwrap_or(text)))
    }
}

/// A value with its place. Cheap to clone: lists and mappings are shared between an anchor and its aliases.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) value: Value,
}

/// The value of a [`Node`].
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A scalar.
    Scalar(Scalar),
    /// A list.
    Sequence(Rc<[Node]>),
    /// A mapping in the order of the text; keys may repeat.
    Mapping(Rc<[Entry]>),
}

/// A scalar as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Neither quoted nor a block: YAML may take it for something else than text.
    pub(crate) plain: bool,
}

/// A key and its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Scalar,
    pub(crate) position: Position,
    pub(crate) value: Node,
}

/// Why a text is not read.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) position: Position,
    pub(crate) message: String,
    pub(crate) advice: Option<&'static str>,
}

/// What all sources together may still hold, aliases expanded.
#[derive(Debug)]
pub(crate) struct Budget {
    nodes: Allowance,
    bytes: Allowance,
}

#[derive(Clone, Copy, Debug)]
struct Allowance {
    limit: usize,
    left: usize,
}

/// How much a node holds, itself and every alias below it included.
#[derive(Clone, Copy, Debug)]
struct Weight {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Node {
    /// Whether YAML takes it for nothing.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.plain && matches!(scalar.text.as_str(), "" | "~" | "null"))
    }

    /// The value of a key, if it is a mapping that has it.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|entry| entry.key.text == name).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// The text, if it is a scalar that is not empty.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) if !self.is_empty() => Some(&scalar.text),
            _ => None,
        }
    }
}

impl Budget {
    pub(crate) fn new(nodes: usize, bytes: usize) -> Self {
        Self { nodes: Allowance { limit: nodes, left: nodes }, bytes: Allowance { limit: bytes, left: bytes } }
    }

    fn take(&mut self, weight: Weight, position: Position) -> Result<(), SyntaxError> {
        let Budget { nodes, bytes } = self;
        if !nodes.take(weight.nodes) {
            return Err(SyntaxError {
                position,
                message: format!("more than {} values, with aliases expanded", nodes.limit),
                advice: Some(TOO_LARGE),
            });
        }
        if !bytes.take(weight.bytes) {
            return Err(SyntaxError {
                position,
                message: format!("more than {} bytes of text, with aliases expanded", bytes.limit),
                advice: Some(TOO_LARGE),
            });
        }
        Ok(())
    }
}

impl Allowance {
    fn take(&mut self, amount: usize) -> bool {
        match self.left.checked_sub(amount) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// The documents of a text, empty ones included (as a plain scalar without text).
pub(crate) fn read(text: &str, budget: &mut Budget) -> Result<Vec<Node>, SyntaxError> {
    let (open, items, entries) = (Vec::new(), Vec::new(), Vec::new());
    let mut builder = Builder { open, items, entries, anchors: HashMap::new(), budget, documents: Vec::new() };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax_error(&error, text))?;
        builder.event(event, span)?;
    }
    Ok(builder.documents)
}

fn syntax_error(error: &ScanError, text: &str) -> SyntaxError {
    let position = position(*error.marker()).within(text);
    // The parser looks ahead, and has a limit of its own, before it tells of the first bracket.
    if error.info() == "recursion limit exceeded" {
        return too_deep(position);
    }
    let advice = Some("check the indentation, and that every bracket and quote is closed");
    SyntaxError { position, message: format!("not valid YAML: {}", error.info()), advice }
}

fn too_deep(position: Position) -> SyntaxError {
    SyntaxError {
        position,
        message: format!("lists and mappings are nested more than {MAX_DEPTH} deep"),
        advice: Some("no route document needs that: check the brackets and the indentation"),
    }
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// Turns the parser's events into nodes without recursion.
struct Builder<'b> {
    open: Vec<Open>,
    /// Of all open lists and of all open mappings, those of the inner ones behind those of the outer ones.
    items: Vec<Node>,
    entries: Vec<Entry>,
    anchors: HashMap<usize, (Node, Weight)>,
    budget: &'b mut Budget,
    documents: Vec<Node>,
}

/// A list or mapping whose end has not come yet.
struct Open {
    anchor: usize,
    position: Position,
    weight: Weight,
    collection: Collection,
}

/// Where its items or entries begin, and the key whose value has not come yet.
enum Collection {
    Sequence { start: usize },
    Mapping { start: usize, key: Option<(Scalar, Position)> },
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let position = position(span.start);
        match event {
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                Err(SyntaxError {
                    position,
                    message: "YAML tags (!) are not supported".to_owned(),
                    advice: Some("leave the tag out; quote a text that begins with !"),
                })
            }
            Event::Scalar(text, style, anchor, None) => {
                let scalar = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                let weight = Weight { nodes: 1, bytes: scalar.text.len(), depth: 0 };
                self.budget.take(weight, position)?;
                self.place(Node { position, value: Value::Scalar(scalar) }, weight, anchor, position)
            }
            Event::SequenceStart(anchor, None) => {
                self.begin(anchor, position, Collection::Sequence { start: self.items.len() })
            }
            Event::MappingStart(anchor, None) => {
                self.begin(anchor, position, Collection::Mapping { start: self.entries.len(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, position),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, position: Position, collection: Collection) -> Result<(), SyntaxError> {
        if let Some(Open { collection: Collection::Mapping { key: None, .. }, .. }) = self.open.last() {
            return Err(unusable_key(position));
        }
        let weight = Weight { nodes: 1, bytes: 0, depth: 1 };
        self.check_depth(weight, position)?;
        self.budget.take(weight, position)?;
        self.open.push(Open { anchor, position, weight, collection });
        Ok(())
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        let Some(Open { anchor, position, weight, collection }) = self.open.pop() else {
            return Ok(());
        };
        let value = match collection {
            Collection::Sequence { start } => Value::Sequence(self.items.drain(start..).collect()),
            Collection::Mapping { start, .. } => Value::Mapping(self.entries.drain(start..).collect()),
        };
        self.place(Node { position, value }, weight, anchor, position)
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<(), SyntaxError> {
        let Some((node, weight)) = self.anchors.get(&anchor).cloned() else {
            return Err(SyntaxError {
                position,
                message: "this alias stands inside of what it refers to".to_owned(),
                advice: Some("write the value out"),
            });
        };
        self.check_depth(weight, position)?;
        self.budget.take(weight, position)?;
        self.place(node, weight, 0, position)
    }

    fn check_depth(&self, weight: Weight, position: Position) -> Result<(), SyntaxError> {
        if self.open.len() + weight.depth <= MAX_DEPTH {
            return Ok(());
        }
        Err(too_deep(position))
    }

    /// Puts a complete node where it belongs. `position` is where it stands, which for an alias is not where its text is.
    fn place(&mut self, node: Node, weight: Weight, anchor: usize, position: Position) -> Result<(), SyntaxError> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        parent.weight.nodes += weight.nodes;
        parent.weight.bytes += weight.bytes;
        parent.weight.depth = parent.weight.depth.max(weight.depth + 1);
        match &mut parent.collection {
            Collection::Sequence { .. } => self.items.push(node),
            Collection::Mapping { key, .. } => match (key.take(), node.value) {
                (Some((key, position)), value) => {
                    let value = Node { position: node.position, value };
                    self.entries.push(Entry { key, position, value });
                }
                (None, Value::Scalar(scalar)) => *key = Some((scalar, position)),
                (None, Value::Sequence(_) | Value::Mapping(_)) => return Err(unusable_key(position)),
            },
        }
        Ok(())
    }
}

fn unusable_key(position: Position) -> SyntaxError {
    SyntaxError { position, message: "a key must be text, not a list or mapping".to_owned(), advice: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree in one line: `text@line:column`, quoted scalars in quotes.
    fn shown(node: &Node) -> String {
        let place = format!("@{}:{}", node.position.line, node.position.column);
        match &node.value {
            Value::Scalar(Scalar { text, plain: true }) => format!("{text}{place}"),
            Value::Scalar(Scalar { text, plain: false }) => format!("{text:?}{place}"),
            Value::Sequence(items) => {
                format!("[{}]{place}", items.iter().map(shown).collect::<Vec<_>>().join(" "))
            }
            Value::Mapping(entries) => {
                let entries = entries.iter().map(|entry| {
                    let Position { line, column } = entry.position;
                    format!("{}@{line}:{column}={}", entry.key.text, shown(&entry.value))
                });
                format!("{{{}}}{place}", entries.collect::<Vec<_>>().join(" "))
            }
        }
    }

    fn result(text: &str, nodes: usize, bytes: usize) -> String {
        match read(text, &mut Budget::new(nodes, bytes)) {
            Ok(documents) => documents.iter().map(shown).collect::<Vec<_>>().join(" --- "),
            Err(error) => format!("{}:{}: {}", error.position.line, error.position.column, error.message),
        }
    }

    #[test]
    fn everything_has_its_place() {
        let check = |text: &str, expected: &str| assert_eq!(result(text, 100, 100), expected, "{text}");
        check("", "");
        check("a: 1\nb: 'x'\n", "{a@1:1=1@1:4 b@2:1=\"x\"@2:4}@1:1");
        check("a:\n- 1\n- {b: \"2\"}\n", "{a@1:1=[1@2:3 {b@3:4=\"2\"@3:7}@3:3]@2:3}@1:1");
        check("a: 1\n---\nb: |\n  2\n", "{a@1:1=1@1:4}@1:1 --- {b@3:1=\"2\\n\"@4:3}@3:1");
        check("a: &x {b: 1}\nc: *x\n", "{a@1:1={b@1:8=1@1:11}@1:4 c@2:1={b@1:8=1@1:11}@1:4}@1:1");
        check("a: &x 1\n*x : 2\n", "{a@1:1=1@1:4 1@2:1=2@2:6}@1:1");
        check("---\n---\na: 1\n", "@2:1 --- {a@3:1=1@3:4}@3:1");
    }

    #[test]
    fn what_cannot_be_a_tree_is_refused_with_its_place() {
        let check = |text: &str, expected: &str| assert_eq!(result(text, 100, 100), expected, "{text}");
        check("a: !!str 1\n", "1:4: YAML tags (!) are not supported");
        check("a: &x [1, *x]\n", "1:11: this alias stands inside of what it refers to");
        check("? [a]\n: 1\n", "1:3: a key must be text, not a list or mapping");
        check("a: &x [1]\n? *x\n: 2\n", "2:3: a key must be text, not a list or mapping");
        check("a: [1\n", "1:6: not valid YAML: while parsing a flow sequence, expected ',' or ']'");
        check("a: *x\n", "1:4: not valid YAML: while parsing node, found unknown anchor");
    }

    #[test]
    fn depth_values_and_text_are_limited_with_aliases_expanded() {
        let deep = |depth: usize| format!("{}1{}\n", "[".repeat(depth), "]".repeat(depth));
        assert!(result(&deep(MAX_DEPTH), 100, 100).starts_with('['));
        assert_eq!(result(&deep(MAX_DEPTH + 1), 100, 100), "1:65: lists and mappings are nested more than 64 deep");
        let half = format!("- &x {}- {}*x{}\n", deep(40), "[".repeat(30), "]".repeat(30));
        assert_eq!(result(&half, 1000, 100), "2:33: lists and mappings are nested more than 64 deep");

        assert_eq!(result("[1, 2, 3]", 4, 3), "[1@1:2 2@1:5 3@1:8]@1:1");
        assert_eq!(result("[1, 2, 3]", 3, 3), "1:8: more than 3 values, with aliases expanded");
        assert_eq!(result("[1, 2, 3]", 4, 2), "1:8: more than 2 bytes of text, with aliases expanded");
        let bomb = "a: &a [1, 1, 1, 1]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nd: [*c, *c, *c, *c]\n";
        assert_eq!(result(bomb, 100, 1000), "3:20: more than 100 values, with aliases expanded");
    }
}
