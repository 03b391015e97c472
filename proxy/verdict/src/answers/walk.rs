//! The way through two bodies at once. Values are met in pairs, each pair belongs to a *node*, and a node is a path in which
//! elements of arrays are `*`; so there are few nodes however long the answers are, and its rule is looked up once for each.

use super::body::{Body, Type, members, number, unwrapped};
use super::equal::{multisets, scalars};
use super::rules::{Branch, How, Kind, Rules, escaped};
use super::{Compared, Comparison, MAX_FIELDS, OTHERS, SchemaChange};
use jiter::JsonValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Longer paths belong to what is beyond the most fields.
const MAX_PATH_BYTES: usize = 256;

pub(super) struct Walk<'r> {
    nodes: Vec<Node<'r>>,
    schema_changes: BTreeSet<SchemaChange>,
}

struct Node<'r> {
    path: String,
    how: How,
    /// The rules whose paths end here or go on from here, those that decide first.
    rules: Vec<&'r Branch>,
    names_elements: bool,
    /// The nodes beneath: by name, the one of each element, and the one of what is beyond the most fields.
    names: BTreeMap<String, usize>,
    each: Option<usize>,
    beyond: Option<usize>,
    outcome: Option<Outcome>,
}

/// What is said of all pairs of values of a node.
#[derive(Clone, Copy)]
struct Outcome {
    agrees: bool,
    numbers: f64,
    live: f64,
    other: f64,
}

impl<'r> Walk<'r> {
    pub(super) fn new(rules: &'r Rules) -> Self {
        let root = Node::new(String::new(), How::WITHOUT_A_RULE, vec![rules.root()]);
        Self { nodes: vec![root], schema_changes: BTreeSet::new() }
    }

    pub(super) fn bodies(mut self, live: &Body<'_>, other: &Body<'_>) -> Self {
        match (live, other) {
            (Body::Json(live), Body::Json(other)) => match (unwrapped(live), unwrapped(other)) {
                (Some(live), Some(other)) => self.values(0, &live, &other),
                _ => self.values(0, live, other),
            },
            (Body::Nothing, Body::Nothing) => self.agrees(0, true),
            (Body::Bytes(live), Body::Bytes(other)) => self.agrees(0, live == other),
            _ => self.retyped(0, live.kind(), other.kind()),
        }
        self
    }

    pub(super) fn finish(self, comparison: &mut Comparison) {
        comparison.schema_changes.extend(self.schema_changes);
        let mut others: Option<Outcome> = None;
        for node in self.nodes {
            match node.outcome {
                Some(outcome) if node.path == OTHERS => {
                    others.get_or_insert(Outcome::NONE).agrees &= outcome.agrees;
                }
                Some(outcome) => comparison.fields.push(outcome.said_of(node)),
                None => {}
            }
        }
        comparison.fields.extend(others.map(|others| Compared::without_numbers(OTHERS, others.agrees)));
    }

    fn values(&mut self, at: usize, live: &JsonValue<'_>, other: &JsonValue<'_>) {
        let How { kind, tolerance, .. } = self.nodes[at].how;
        if kind == Kind::Ignore && self.nodes[at].rules.iter().all(|rule| rule.is_last()) {
            return;
        }
        match (live, other) {
            (JsonValue::Object(live), JsonValue::Object(other)) => self.objects(at, live, other),
            (JsonValue::Array(live), JsonValue::Array(other)) if kind == Kind::Set => {
                self.agrees(at, multisets(live, other, tolerance));
            }
            (JsonValue::Array(live), JsonValue::Array(other)) => self.arrays(at, live, other),
            _ => match scalars(live, other, tolerance) {
                Some(agree) => {
                    self.agrees(at, agree);
                    if kind == Kind::Number {
                        self.numbers(at, live, other);
                    }
                }
                None => self.retyped(at, Type::of(live), Type::of(other)),
            },
        }
    }

    fn objects<'j>(&mut self, at: usize, live: &[Member<'j>], other: &[Member<'j>]) {
        let mut others = members(other).into_iter().peekable();
        for (name, value) in members(live) {
            while let Some((added, _)) = others.next_if(|(other, _)| *other < name) {
                self.one_has(at, added, SchemaChange::Added);
            }
            match others.next_if(|(other, _)| *other == name) {
                Some((_, other)) => {
                    let beneath = self.member(at, name);
                    self.values(beneath, value, other);
                }
                None => self.one_has(at, name, SchemaChange::Missing),
            }
        }
        for (added, _) in others {
            self.one_has(at, added, SchemaChange::Added);
        }
    }

    fn arrays(&mut self, at: usize, live: &[JsonValue<'_>], other: &[JsonValue<'_>]) {
        if live.len() != other.len() {
            self.changed(at, SchemaChange::Length);
        }
        for (index, (live, other)) in live.iter().zip(other).enumerate() {
            let beneath = self.element(at, index);
            self.values(beneath, live, other);
        }
    }

    fn one_has(&mut self, at: usize, name: &str, change: fn(String) -> SchemaChange) {
        let beneath = self.member(at, name);
        self.changed(beneath, change);
    }

    fn changed(&mut self, at: usize, change: impl FnOnce(String) -> SchemaChange) {
        let node = &self.nodes[at];
        if node.how.kind != Kind::Ignore {
            self.schema_changes.insert(change(node.path.clone()));
        }
    }

    fn retyped(&mut self, at: usize, live: Type, other: Type) {
        self.changed(at, |path| SchemaChange::Retyped { path, live, other });
        self.agrees(at, false);
    }

    fn agrees(&mut self, at: usize, agrees: bool) {
        let node = &mut self.nodes[at];
        if node.how.kind != Kind::Ignore {
            node.outcome.get_or_insert(Outcome::NONE).agrees &= agrees;
        }
    }

    fn numbers(&mut self, at: usize, live: &JsonValue<'_>, other: &JsonValue<'_>) {
        let (Some(live), Some(other)) = (number(live), number(other)) else { return };
        if let Some(outcome) = &mut self.nodes[at].outcome
            && live.is_finite()
            && other.is_finite()
        {
            outcome.numbers += 1.0;
            outcome.live += live;
            outcome.other += other;
        }
    }

    /// The node of a member.
    fn member(&mut self, at: usize, name: &str) -> usize {
        if let Some(known) = self.nodes[at].names.get(name) {
            return *known;
        }
        if self.nodes[at].path == OTHERS {
            return at;
        }
        let (rules, is_named) = self.rules_beneath(at, Some(name));
        if !is_named && !rules.is_empty() {
            return self.each(at);
        }
        let beneath = self.node(at, &escaped(name), rules);
        if self.nodes[beneath].path != OTHERS {
            self.nodes[at].names.insert(name.to_owned(), beneath);
        }
        beneath
    }

    /// The node of an element.
    fn element(&mut self, at: usize, index: usize) -> usize {
        let node = &self.nodes[at];
        let has_own_rule = |name: &String| node.rules.iter().any(|rule| rule.named(name).is_some());
        match node.names_elements.then(|| index.to_string()).filter(has_own_rule) {
            Some(name) => self.member(at, &name),
            None => self.each(at),
        }
    }

    /// The node of all elements, and of all members that a rule takes together.
    fn each(&mut self, at: usize) -> usize {
        if let Some(known) = self.nodes[at].each {
            return known;
        }
        if self.nodes[at].path == OTHERS {
            return at;
        }
        let (rules, _) = self.rules_beneath(at, None);
        let each = self.node(at, "*", rules);
        self.nodes[at].each = Some(each);
        each
    }

    /// The rules that go on to that name, in their order, and whether one of them has it. Without a name only those of `*`.
    fn rules_beneath(&self, at: usize, name: Option<&str>) -> (Vec<&'r Branch>, bool) {
        let (mut rules, mut is_named) = (Vec::new(), false);
        for rule in &self.nodes[at].rules {
            let named = name.and_then(|name| rule.named(name));
            is_named |= named.is_some();
            rules.extend(named.into_iter().chain(rule.any()));
        }
        (rules, is_named)
    }

    /// A node that is not known yet. One that rules lead to has a place of its own: there are no more than the rules make.
    fn node(&mut self, at: usize, step: &str, rules: Vec<&'r Branch>) -> usize {
        let (count, parent) = (self.nodes.len(), &mut self.nodes[at]);
        let mut path = format!("{}/{step}", parent.path);
        if rules.is_empty() && (count >= MAX_FIELDS || path.len() > MAX_PATH_BYTES) {
            // Beneath each its own, since what is beyond is compared as its parent is.
            if let Some(known) = parent.beyond {
                return known;
            }
            parent.beyond = Some(count);
            OTHERS.clone_into(&mut path);
        }
        let node = Node::new(path, parent.how, rules);
        self.nodes.push(node);
        count
    }
}

type Member<'j> = (Cow<'j, str>, JsonValue<'j>);

impl<'r> Node<'r> {
    fn new(path: String, inherited: How, rules: Vec<&'r Branch>) -> Self {
        let how = rules.iter().find_map(|rule| rule.how()).unwrap_or(inherited);
        let names_elements = rules.iter().any(|rule| rule.names_elements());
        Self { path, how, rules, names_elements, names: BTreeMap::new(), each: None, beyond: None, outcome: None }
    }
}

impl Outcome {
    const NONE: Self = Self { agrees: true, numbers: 0.0, live: 0.0, other: 0.0 };

    fn said_of(self, node: Node<'_>) -> Compared {
        // Without numbers these are no numbers; sums of the largest are not finite.
        let (live, other) = (self.live / self.numbers, self.other / self.numbers);
        let numbers = (live.is_finite() && other.is_finite()).then_some((live, other));
        Compared {
            path: node.path,
            agrees: self.agrees,
            numbers,
            scale: node.how.scale,
            has_rule: !node.rules.is_empty(),
        }
    }
}
