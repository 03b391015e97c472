//! `compare`: what of two answers may differ, by JSON pointers (RFC 6901) in which `*` stands for each item of a list.

use crate::decode::{Decoded, Item, quoted};
use crate::encode::Fields;
use serde_json::Value;

const MOST_RULES: usize = 1000;
/// Of a tolerance.
const MOST: f64 = 1e15;

/// One of the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct CompareRule {
    /// Which values.
    pub path: String,
    /// What they are.
    pub kind: CompareKind,
    /// Numbers that differ by no more agree, as those do that `rel` lets pass. With neither, as without a rule.
    pub abs: Option<f64>,
    /// The same as a part of the live value.
    pub rel: Option<f64>,
}

/// What a value is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareKind {
    /// `number`: agrees within a tolerance.
    Number,
    /// `class`: agrees where it is the same.
    Class,
    /// `set`: a list whose order does not count.
    Set,
    /// `ignore`: differs on purpose.
    Ignore,
}

const KINDS: [(&str, CompareKind); 4] = [
    ("number", CompareKind::Number),
    ("class", CompareKind::Class),
    ("set", CompareKind::Set),
    ("ignore", CompareKind::Ignore),
];

pub(super) fn decode_rules(item: &Item<'_>) -> Decoded<Vec<CompareRule>> {
    let rules = item.each(CompareRule::decode)?;
    if rules.len() > MOST_RULES {
        return Err(item.error(format!("{} rules are more than {MOST_RULES}", rules.len())));
    }
    Ok(rules)
}

impl CompareRule {
    fn decode(item: &Item<'_>) -> Decoded<Self> {
        let mut object = item.object()?;
        let path = object.required("path").and_then(|item| decode_pointer(&item));
        let kind = object.required("kind").and_then(|item| item.choice(&KINDS, &[]));
        let [abs, rel] = ["abs", "rel"].map(|name| object.field(name, |item| item.number(0.0..=MOST)));
        object.finish();
        let (abs, rel, kind) = (abs?, rel?, kind?);
        if kind != CompareKind::Number && (abs.is_some() || rel.is_some()) {
            return Err(item.advise("abs and rel are for numbers", "write kind: number, or leave them out"));
        }
        Ok(Self { path: path?, kind, abs, rel })
    }

    pub(super) fn encode(&self) -> Value {
        let kind = KINDS.iter().find(|(_, kind)| *kind == self.kind).map(|(name, _)| *name);
        Fields::new()
            .field("path", self.path.as_str())
            .some("kind", kind)
            .some("abs", self.abs)
            .some("rel", self.rel)
            .into()
    }
}

pub(super) fn decode_pointer(item: &Item<'_>) -> Decoded<String> {
    let text = item.string()?;
    let starts = text.is_empty() || text.starts_with('/');
    if starts && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1'])) {
        return Ok(text.to_owned());
    }
    let advice = "write it as /score or /items/*/score, and ~1 for a / in a name";
    Err(item.advise(format!("{} is not a JSON pointer", quoted(text)), advice))
}
