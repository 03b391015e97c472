//! The vocabulary of the decoders: an [`Item`] is a node of the tree with its field path, an [`Object`] hands out fields
//! by name and reports those that nobody asked for, a [`Report`] collects what is wrong with one document.
//!
//! A decoder returns [`Decoded`]; its error can only be made by reporting a problem, so none gives up silently. It reads
//! all fields before it gives up, so that all problems are reported at once.

mod scalar;

pub(crate) use scalar::{one_of, quoted};

use crate::problem::{DocumentName, Problem, Severity};
use crate::re2::{Compiled, MAX_COMPILED_BYTES, PatternError};
use crate::yaml::{Entry, Node, Position, Scalar, Value};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A value, or the certainty that a problem has been reported.
pub(crate) type Decoded<T> = Result<T, Reported>;

/// A problem of the severity `Error` has been reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported(());

/// The problems of one document.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    source: &'a str,
    name: DocumentName,
    document: &'a Node,
    /// Of each item below the document the number of the one above it, and its place in that one. Numbers begin with 1;
    /// 0 is the document. Few items have a problem, so no path is written out before.
    steps: RefCell<Vec<(usize, usize)>>,
    /// What compiled regular expressions may still take, in this document and those after it.
    pattern_bytes: &'a Cell<usize>,
    problems: RefCell<Vec<Problem>>,
}

/// A node with its field path.
#[derive(Clone, Debug)]
pub(crate) struct Item<'a> {
    node: &'a Node,
    key: Option<Position>,
    /// Among the steps of the report.
    number: usize,
    report: &'a Report<'a>,
}

/// A mapping whose fields are known by name.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    item: Item<'a>,
    entries: &'a [Entry],
    known: Vec<&'static str>,
    dealt_with: Vec<&'static str>,
}

/// As many fields as most objects have at most.
const MOST_FIELDS: usize = 16;

/// One step of a field path.
#[derive(Clone, Copy)]
enum Step<'n> {
    Key(&'n str),
    Index(usize),
}

impl<'a> Report<'a> {
    pub(crate) fn new(source: &'a str, name: DocumentName, document: &'a Node, pattern_bytes: &'a Cell<usize>) -> Self {
        let (steps, problems) = (RefCell::default(), RefCell::default());
        Self { source, name, document, steps, pattern_bytes, problems }
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    /// The document as a whole.
    pub(crate) fn root(&'a self) -> Item<'a> {
        Item { node: self.document, key: None, number: 0, report: self }
    }

    /// Reports every key that is there twice and every merge key, wherever it stands.
    pub(crate) fn check_keys(&self) {
        self.check_keys_below(self.document, &mut Vec::new());
    }

    fn check_keys_below<'n>(&self, node: &'n Node, path: &mut Vec<Step<'n>>) {
        match &node.value {
            Value::Scalar(_) => {}
            Value::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(Step::Index(index));
                    self.check_keys_below(item, path);
                    path.pop();
                }
            }
            Value::Mapping(entries) => {
                let first_position = first_positions(entries);
                for entry in entries.iter() {
                    path.push(Step::Key(&entry.key.text));
                    self.check_key(entry, first_position(entry), path);
                    self.check_keys_below(&entry.value, path);
                    path.pop();
                }
            }
        }
    }

    fn check_key(&self, entry: &Entry, first: Position, path: &[Step<'_>]) {
        let (message, advice) = if is_merge_key(entry) {
            ("merge keys (<<) are not supported".to_owned(), "write the fields out")
        } else if first != entry.position {
            (format!("this key is there twice, first on line {}", first.line), "leave one of them out")
        } else {
            return;
        };
        let path = path.iter().fold(String::new(), |path, step| step.below(&path));
        self.push(Severity::Error, path, entry.position, message, Some(advice.to_owned()));
    }

    /// The number of the item that has this place in another one.
    fn below(&self, above: usize, place: usize) -> usize {
        let mut steps = self.steps.borrow_mut();
        steps.push((above, place));
        steps.len()
    }

    fn path(&self, mut number: usize) -> String {
        let steps = self.steps.borrow();
        let mut places = Vec::new();
        while let Some((above, place)) = number.checked_sub(1).and_then(|index| steps.get(index)) {
            places.push(*place);
            number = *above;
        }
        let (mut node, mut path) = (self.document, String::new());
        for place in places.into_iter().rev() {
            let step = match &node.value {
                Value::Scalar(_) => break,
                Value::Sequence(items) => {
                    node = &items[place];
                    Step::Index(place)
                }
                Value::Mapping(entries) => {
                    node = &entries[place].value;
                    Step::Key(&entries[place].key.text)
                }
            };
            path = step.below(&path);
        }
        path
    }

    fn push(&self, severity: Severity, path: String, position: Position, message: String, advice: Option<String>) {
        self.problems.borrow_mut().push(Problem {
            severity,
            source: self.source.to_owned(),
            document: Some(self.name.clone()),
            path,
            line: position.line,
            column: position.column,
            message,
            advice,
        });
    }
}

/// Where the key of an entry stands for the first time. A table is made where there are many.
fn first_positions(entries: &[Entry]) -> impl Fn(&Entry) -> Position {
    const FEW: usize = 16;
    let mut table = HashMap::new();
    if entries.len() > FEW {
        for entry in entries {
            table.entry(entry.key.text.as_str()).or_insert(entry.position);
        }
    }
    move |wanted| {
        let name = wanted.key.text.as_str();
        let first = table.get(name).copied().or_else(|| find(entries, name).map(|place| entries[place].position));
        first.unwrap_or(wanted.position)
    }
}

/// The place of the first entry with this key.
fn find(entries: &[Entry], name: &str) -> Option<usize> {
    entries.iter().position(|entry| entry.key.text == name)
}

fn is_merge_key(entry: &Entry) -> bool {
    entry.key.plain && entry.key.text == "<<"
}

impl Step<'_> {
    fn below(self, path: &str) -> String {
        match self {
            Self::Index(index) => format!("{path}[{index}]"),
            Self::Key(key) if !is_plain_name(key) => format!("{path}[{}]", quoted(key)),
            Self::Key(key) if path.is_empty() => key.to_owned(),
            Self::Key(key) => format!("{path}.{key}"),
        }
    }
}

/// Whether a key needs no quotes in a path.
fn is_plain_name(key: &str) -> bool {
    (1..=64).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl<'a> Item<'a> {
    /// Where the field is: its key for a list, a mapping or nothing, its text for a scalar.
    pub(crate) fn position(&self) -> Position {
        match &self.node.value {
            Value::Scalar(Scalar { text, plain }) if !(*plain && text.is_empty()) => self.node.position,
            _ => self.key.unwrap_or(self.node.position),
        }
    }

    fn path(&self) -> String {
        self.report.path(self.number)
    }

    /// Whether it is this very text.
    pub(crate) fn is_text(&self, text: &str) -> bool {
        matches!(&self.node.value, Value::Scalar(scalar) if scalar.text == text)
    }

    /// The text, if it is one that is not empty.
    pub(crate) fn text(&self) -> Option<&'a str> {
        self.node.text()
    }

    /// Whether YAML takes it for nothing.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.node.value, Value::Scalar(scalar) if scalar::is_null(scalar))
    }

    /// Reports what is wrong.
    pub(crate) fn error(&self, message: impl Into<String>) -> Reported {
        self.report.push(Severity::Error, self.path(), self.position(), message.into(), None);
        Reported(())
    }

    /// Reports what is wrong and what to write instead.
    pub(crate) fn advise(&self, message: impl Into<String>, advice: impl Into<String>) -> Reported {
        let advice = Some(advice.into());
        self.report.push(Severity::Error, self.path(), self.position(), message.into(), advice);
        Reported(())
    }

    /// Reports what is doubtful.
    pub(crate) fn warn(&self, message: impl Into<String>, advice: impl Into<String>) {
        let advice = Some(advice.into());
        self.report.push(Severity::Warning, self.path(), self.position(), message.into(), advice);
    }

    /// Reports what is doubtful about the field of this path, at what is there of it.
    pub(crate) fn warn_below(&self, path: &str, message: String, advice: String) {
        let mut item = self.clone();
        for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
            let Some(below) = item.step(step) else { break };
            item = below;
        }
        self.report.push(Severity::Warning, path.to_owned(), item.position(), message, Some(advice));
    }

    /// What is there under a name or a number; an item of a list stands where it begins.
    fn step(&self, step: &str) -> Option<Self> {
        match &self.node.value {
            Value::Scalar(_) => None,
            Value::Mapping(entries) => find(entries, step).map(|place| self.value(entries, place)),
            Value::Sequence(items) => {
                let place: usize = step.parse().ok()?;
                items.get(place).map(|node| self.below(place, node, None))
            }
        }
    }

    /// What is there, whatever it is.
    pub(crate) fn raw(&self) -> serde_json::Value {
        scalar::raw(self.node)
    }

    /// Reports a field that Istio has and the gateway does not.
    pub(crate) fn unsupported(&self) -> Reported {
        self.advise("not supported by the gateway", "use Istio mode")
    }

    /// Reports a value that Istio has and the gateway does not.
    pub(crate) fn unsupported_value(&self, value: &str) -> Reported {
        self.advise(format!("{} is not supported by the gateway", quoted(value)), "use Istio mode")
    }

    /// A mapping with named fields.
    pub(crate) fn object(&self) -> Decoded<Object<'a>> {
        let entries = self.mapping()?;
        Ok(Object { item: self.clone(), entries, known: Vec::with_capacity(MOST_FIELDS), dealt_with: Vec::new() })
    }

    /// Every entry of a mapping with free keys, as labels have; all are decoded, even after one failed. A key that some
    /// reader of YAML takes for something else than a text is a problem.
    pub(crate) fn each_entry<T>(&self, mut decode: impl FnMut(&'a str, &Item<'a>) -> Decoded<T>) -> Decoded<Vec<T>> {
        let entries = self.mapping()?;
        let decoded = entries.iter().enumerate().filter(|(_, entry)| !is_merge_key(entry)).map(|(place, entry)| {
            let item = self.value(entries, place);
            let key = item.require_text(&entry.key, entry.position);
            let value = decode(&entry.key.text, &item);
            key.and(value)
        });
        all(decoded.collect())
    }

    /// Every item of a list; all are decoded, even after one failed.
    pub(crate) fn each<T>(&self, mut decode: impl FnMut(&Item<'a>) -> Decoded<T>) -> Decoded<Vec<T>> {
        let Value::Sequence(items) = &self.node.value else {
            return Err(self.is_not("a list"));
        };
        all(items.iter().enumerate().map(|(place, node)| decode(&self.below(place, node, None))).collect())
    }

    /// A text. As Kubernetes, refuses what a YAML reader takes for something else.
    pub(crate) fn string(&self) -> Decoded<&'a str> {
        let scalar = self.scalar("a text")?;
        if scalar::is_boolean_letter(scalar) {
            // Few readers do; those that do refuse it here, so none reads another text.
            let message = format!("{} without quotes is a boolean to some readers of YAML", scalar.text);
            self.warn(message, format!("write {}", quoted(&scalar.text)));
            return Ok(&scalar.text);
        }
        self.require_text(scalar, self.position())?;
        Ok(&scalar.text)
    }

    /// A text; an empty one counts as none, as everywhere in Istio's API.
    pub(crate) fn filled(&self) -> Decoded<Option<&'a str>> {
        Ok(Some(self.string()?).filter(|text| !text.is_empty()))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Decoded<bool> {
        let scalar = self.scalar("true or false")?;
        match scalar.text.as_str() {
            "true" | "True" | "TRUE" if scalar.plain => Ok(true),
            "false" | "False" | "FALSE" if scalar.plain => Ok(false),
            text => Err(self
                .advise(format!("{} is neither true nor false", quoted(text)), "write true or false, without quotes")),
        }
    }

    /// A whole number.
    pub(crate) fn integer(&self, range: RangeInclusive<i64>) -> Decoded<i64> {
        let advice = || format!("write a number from {} to {}", range.start(), range.end());
        let scalar = self.scalar("a number")?;
        let Some(number) = scalar::decimal(&scalar.text) else {
            let kind = if scalar::is_number(&scalar.text) { "a whole number in plain decimal" } else { "a number" };
            return Err(self.advise(format!("{} is not {kind}", quoted(&scalar.text)), advice()));
        };
        if !scalar.plain {
            return Err(self.advise(format!("{} is a text", quoted(&scalar.text)), "write the number without quotes"));
        }
        match i64::try_from(number) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ if number < i128::from(*range.start()) => {
                Err(self.advise(format!("{number} is below {}", range.start()), advice()))
            }
            _ => Err(self.advise(format!("{} is above {}", scalar.text, range.end()), advice())),
        }
    }

    /// A number in decimal, with a fraction or without.
    pub(crate) fn number(&self, range: RangeInclusive<f64>) -> Decoded<f64> {
        let advice = format!("write a number from {} to {}", range.start(), range.end());
        let scalar = self.scalar("a number")?;
        match scalar.text.parse() {
            Ok(number) if scalar.plain && scalar::is_number(&scalar.text) && range.contains(&number) => Ok(number),
            Ok(number) if scalar.plain && number < *range.start() && number.is_finite() => {
                Err(self.advise(format!("{} is below {}", scalar.text, range.start()), advice))
            }
            Ok(number) if scalar.plain && number.is_finite() => {
                Err(self.advise(format!("{} is above {}", scalar.text, range.end()), advice))
            }
            Ok(_) if !scalar.plain => {
                Err(self.advise(format!("{} is a text", quoted(&scalar.text)), "write the number without quotes"))
            }
            Ok(_) | Err(_) => Err(self.advise(format!("{} is not a number", quoted(&scalar.text)), advice)),
        }
    }

    /// A whole number of an unsigned type; the type's own range is the widest that makes sense.
    pub(crate) fn unsigned<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Decoded<T> {
        let end = *range.end();
        T::try_from(self.integer(range)?).map_err(|_| self.error(format!("the range up to {end} is too wide")))
    }

    /// A port number; 0 is not one.
    pub(crate) fn port(&self) -> Decoded<u16> {
        self.unsigned(1..=i64::from(u16::MAX))
    }

    /// A port number; 0 counts as none, as everywhere in Istio's API.
    pub(crate) fn port_or_none(&self) -> Decoded<Option<u16>> {
        let port: u16 = self.unsigned(0..=i64::from(u16::MAX))?;
        Ok(Some(port).filter(|port| *port != 0))
    }

    /// A duration in Go's notation: at least 1 ms, in whole milliseconds, as Istio has it.
    pub(crate) fn duration(&self) -> Decoded<Duration> {
        match self.duration_or_zero()? {
            Duration::ZERO => {
                let text = &self.scalar("a duration")?.text;
                let advice = "write at least 1ms, or leave the field out";
                Err(self.advise(format!("{text} is shorter than 1 ms"), advice))
            }
            duration => Ok(duration),
        }
    }

    /// The same where Istio takes zero, too.
    pub(crate) fn duration_or_zero(&self) -> Decoded<Duration> {
        const ADVICE: &str = "write a number with its unit, such as 1.5s, 100ms or 1m30s";
        let text = &self.scalar("a duration")?.text;
        let Some(nanoseconds) = scalar::go_duration(text) else {
            return Err(self.advise(format!("{} is not a duration", quoted(text)), ADVICE));
        };
        if nanoseconds != 0 && nanoseconds < 1_000_000 {
            let advice = "write at least 1ms, or leave the field out";
            return Err(self.advise(format!("{text} is shorter than 1 ms"), advice));
        }
        if nanoseconds % 1_000_000 != 0 {
            return Err(self.advise(format!("{text} is finer than milliseconds"), "round it to whole milliseconds"));
        }
        Ok(Duration::from_millis(nanoseconds.unsigned_abs() / 1_000_000))
    }

    /// A regular expression, within what all of them together may take.
    pub(crate) fn pattern<R>(&self, compile: fn(&str) -> Result<Compiled<R>, PatternError>) -> Decoded<R> {
        let text = self.string()?;
        let left = &self.report.pattern_bytes;
        if left.get() == 0 {
            let message = "all regular expressions together take too much memory";
            return Err(self.advise(message, "write exact or prefix, or shorter expressions"));
        }
        let compiled = compile(text);
        let taken = match &compiled {
            Ok(compiled) => compiled.bytes,
            Err(PatternError::TooLarge) => MAX_COMPILED_BYTES,
            Err(_) => 0,
        };
        left.set(left.get().saturating_sub(taken));
        compiled.map(|compiled| compiled.regex).map_err(|error| self.error(error.to_string()))
    }

    /// One of the names in `known`; those in `unsupported` are Istio's alone.
    pub(crate) fn choice<T: Copy>(&self, known: &[(&str, T)], unsupported: &[&str]) -> Decoded<T> {
        let text = self.string()?;
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == text) {
            return Ok(*value);
        }
        let advice = format!("write {}", one_of(known.iter().map(|(name, _)| *name)));
        if unsupported.contains(&text) {
            let message = format!("{text} is not supported by the gateway");
            return Err(self.advise(message, format!("{advice}, or use Istio mode")));
        }
        Err(self.advise(format!("{} is not known", quoted(text)), advice))
    }

    /// The value of the entry that has this place.
    fn value(&self, entries: &'a [Entry], place: usize) -> Self {
        let entry = &entries[place];
        self.below(place, &entry.value, Some(entry.position))
    }

    fn below(&self, place: usize, node: &'a Node, key: Option<Position>) -> Self {
        Self { node, key, number: self.report.below(self.number, place), report: self.report }
    }

    fn mapping(&self) -> Decoded<&'a [Entry]> {
        match &self.node.value {
            Value::Mapping(entries) => Ok(entries),
            _ => Err(self.is_not("a mapping")),
        }
    }

    fn scalar(&self, wanted: &str) -> Decoded<&'a Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) if !scalar::is_null(scalar) => Ok(scalar),
            _ => Err(self.is_not(wanted)),
        }
    }

    fn is_not(&self, wanted: &str) -> Reported {
        match &self.node.value {
            Value::Scalar(scalar) if scalar::is_null(scalar) => {
                self.advise("is empty", format!("write {wanted}, or leave the field out"))
            }
            Value::Scalar(scalar) => {
                self.advise(format!("{} is not {wanted}", quoted(&scalar.text)), format!("write {wanted}"))
            }
            Value::Sequence(_) => self.advise(format!("a list is not {wanted}"), format!("write {wanted}")),
            Value::Mapping(_) => self.advise(format!("a mapping is not {wanted}"), format!("write {wanted}")),
        }
    }

    fn require_text(&self, scalar: &Scalar, position: Position) -> Decoded<()> {
        let Some(kind) = scalar::taken_for(scalar) else {
            return Ok(());
        };
        let message = format!("{} without quotes is {kind} to readers of YAML, not a text", scalar.text);
        let advice = Some(format!("write {}", quoted(&scalar.text)));
        self.report.push(Severity::Error, self.path(), position, message, advice);
        Err(Reported(()))
    }
}

impl<'a> Object<'a> {
    /// The field, if it is there.
    pub(crate) fn optional(&mut self, name: &'static str) -> Option<Item<'a>> {
        self.known.push(name);
        self.find(name)
    }

    /// The field; that it is missing is a problem.
    pub(crate) fn required(&mut self, name: &'static str) -> Decoded<Item<'a>> {
        self.optional(name).ok_or_else(|| self.missing(name, "required"))
    }

    /// The field's value, if it is there.
    pub(crate) fn field<T>(
        &mut self,
        name: &'static str,
        decode: impl FnOnce(&Item<'a>) -> Decoded<T>,
    ) -> Decoded<Option<T>> {
        self.optional(name).map(|item| decode(&item)).transpose()
    }

    /// The field's value, or its type's default where it is missing.
    pub(crate) fn field_or_default<T: Default>(
        &mut self,
        name: &'static str,
        decode: impl FnOnce(&Item<'a>) -> Decoded<T>,
    ) -> Decoded<T> {
        Ok(self.field(name, decode)?.unwrap_or_default())
    }

    /// Reports that a field is missing.
    pub(crate) fn missing(&self, name: &str, message: impl Into<String>) -> Reported {
        let path = Step::Key(name).below(&self.item.path());
        self.item.report.push(Severity::Error, path, self.item.position(), message.into(), None);
        Reported(())
    }

    /// Reports each of these fields that is there: Istio has them, the gateway does not. None if none is.
    pub(crate) fn refuse(&mut self, names: &[&'static str]) -> Option<Reported> {
        self.dealt_with.extend(names);
        let mut reported = None;
        for item in names.iter().filter_map(|name| self.find(name)) {
            reported = Some(item.unsupported());
        }
        reported
    }

    /// Reports each of these fields that is there, for one reason. None if none is.
    pub(crate) fn refuse_as(&mut self, names: &[&'static str], message: &str, advice: &str) -> Option<Reported> {
        self.dealt_with.extend(names);
        let mut reported = None;
        for item in names.iter().filter_map(|name| self.find(name)) {
            reported = Some(item.advise(message, advice));
        }
        reported
    }

    /// Warns of each of these fields that is there: it is for something that the gateway has not, and decides nothing.
    pub(crate) fn pass_over(&mut self, fields: &[(&'static str, &str)]) {
        for (name, why) in fields {
            self.dealt_with.push(name);
            if let Some(item) = self.find(name) {
                item.warn(format!("decides nothing here: {why}"), "leave it out, or keep it for Istio");
            }
        }
    }

    /// Knows these fields and does nothing with them.
    pub(crate) fn read_over(&mut self, names: &[&'static str]) {
        self.dealt_with.extend(names);
    }

    /// Whether there is no field at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Reports every field that nobody asked for.
    pub(crate) fn finish(self) {
        let mut reported = HashSet::new();
        for entry in self.entries {
            let name = entry.key.text.as_str();
            let asked_for = self.known.contains(&name) || self.dealt_with.contains(&name);
            if asked_for || is_merge_key(entry) || !reported.insert(name) {
                continue;
            }
            let advice = match scalar::nearest(name, &self.known) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            let path = Step::Key(name).below(&self.item.path());
            let message = "unknown field".to_owned();
            self.item.report.push(Severity::Error, path, entry.position, message, Some(advice));
        }
    }

    fn find(&self, name: &str) -> Option<Item<'a>> {
        find(self.entries, name).map(|place| self.item.value(self.entries, place))
    }
}

/// Both, or the first that failed; each has already been decoded.
pub(crate) fn both<A, B>(a: Decoded<A>, b: Decoded<B>) -> Decoded<(A, B)> {
    Ok((a?, b?))
}

/// All of them, or the first that failed; each has already been decoded.
fn all<T>(decoded: Vec<Decoded<T>>) -> Decoded<Vec<T>> {
    decoded.into_iter().collect()
}
