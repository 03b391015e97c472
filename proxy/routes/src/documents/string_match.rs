//! Istio's `StringMatch`: exact, prefix, or a regular expression that must match the whole string.

use crate::decode::{Decoded, Item, quoted};
use crate::encode::Fields;
use crate::re2::{self, PatternError};
use regex::bytes::Regex;
use serde_json::Value;
use std::hash::{Hash, Hasher};

/// How a string is compared; case counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StringMatch {
    /// The whole string.
    Exact(String),
    /// How the string begins.
    Prefix(String),
    /// The whole string matches the expression.
    Regex(Pattern),
}

/// How a header or query parameter is compared: Istio writes "is present" as an empty `StringMatch`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueMatch {
    /// `{}`: it is there, with any value.
    Present,
    /// Its value matches.
    Value(StringMatch),
}

/// A regular expression in RE2's syntax, compiled to match a whole string. Two patterns are equal if their sources are.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    whole: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
    }
}

impl Pattern {
    /// Compiles an expression of RE2.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        Ok(Self { source: source.to_owned(), whole: re2::whole(source)?.regex })
    }

    /// The expression as the document has it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.whole.is_match(text)
    }
}

/// Whether a prefix may be empty, which matches everything: Istio allows it for `uri` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EmptyPrefix {
    Allowed,
    Refused,
}

impl StringMatch {
    /// Without any of the three kinds it is none.
    pub(super) fn decode(item: &Item<'_>, empty_prefix: EmptyPrefix) -> Decoded<Option<Self>> {
        if let Some(text) = item.text() {
            let text = quoted(text);
            return Err(item.advise(format!("{text} is not a mapping"), format!("write {{exact: {text}}}")));
        }
        let mut object = item.object()?;
        let exact = object.field("exact", |item| Ok(Self::Exact(item.string()?.to_owned())));
        let prefix = object.field("prefix", |item| match item.string()? {
            "" if empty_prefix == EmptyPrefix::Refused => {
                Err(item.advise("a prefix must not be empty", "leave it out"))
            }
            text => Ok(Self::Prefix(text.to_owned())),
        });
        let regex = object.field("regex", |item| {
            let pattern = Pattern { source: item.string()?.to_owned(), whole: item.pattern(re2::whole)? };
            Ok(Self::Regex(pattern))
        });
        object.finish();
        match (exact?, prefix?, regex?) {
            (None, None, None) => Ok(None),
            (Some(kind), None, None) | (None, Some(kind), None) | (None, None, Some(kind)) => Ok(Some(kind)),
            _ => Err(item.error("only one of exact, prefix and regex may be there")),
        }
    }

    pub(super) fn encode(&self) -> Value {
        match self {
            Self::Exact(text) => Fields::new().field("exact", text.as_str()).into(),
            Self::Prefix(text) => Fields::new().field("prefix", text.as_str()).into(),
            Self::Regex(pattern) => Fields::new().field("regex", pattern.source()).into(),
        }
    }
}

impl ValueMatch {
    pub(super) fn decode(item: &Item<'_>) -> Decoded<Self> {
        Ok(StringMatch::decode(item, EmptyPrefix::Refused)?.map_or(Self::Present, Self::Value))
    }

    pub(super) fn encode(&self) -> Value {
        match self {
            Self::Present => Fields::new().into(),
            Self::Value(value) => value.encode(),
        }
    }
}
