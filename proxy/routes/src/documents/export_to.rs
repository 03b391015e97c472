//! `exportTo`: in which namespaces a document counts, of those of the gateways and of the documents that name it.

use crate::decode::{Decoded, Item, quoted};
use crate::documents::host::is_label;
use serde_json::Value;
use std::collections::BTreeSet;

/// Where a document counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExportTo {
    /// `*`, or nothing.
    #[default]
    Everywhere,
    /// `~`: only a ServiceEntry can have it.
    Nowhere,
    /// Names of namespaces, with its own for `.`; at least one.
    Namespaces(BTreeSet<String>),
}

impl ExportTo {
    /// Whether it counts in the namespace.
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Nowhere => false,
            Self::Namespaces(names) => names.contains(namespace),
        }
    }

    pub(crate) fn is_everywhere(&self) -> bool {
        *self == Self::Everywhere
    }

    /// Whether it counts in its own namespace alone.
    pub(crate) fn is_private(&self, own_namespace: &str) -> bool {
        matches!(self, Self::Namespaces(names) if names.iter().all(|name| name == own_namespace))
    }

    /// Whether both are for some namespaces, and it is for all of the other's.
    pub(crate) fn names_all_of(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Namespaces(names), Self::Namespaces(others)) if names.is_superset(others))
    }

    pub(super) fn decode(item: &Item<'_>, own_namespace: &str, can_be_nowhere: bool) -> Decoded<Self> {
        let mut names = BTreeSet::new();
        let count = item.each(|item| {
            let name = match item.string()? {
                "." => own_namespace,
                "~" if can_be_nowhere => "~",
                text if text == "*" || is_label(text) && *text == text.to_ascii_lowercase() => text,
                text => {
                    let message = format!("{} is not a namespace", quoted(text));
                    return Err(item.advise(message, "write the name of one, . for the document's own, or *"));
                }
            };
            if names.insert(name.to_owned()) { Ok(()) } else { Err(item.error(format!("{name} is there twice"))) }
        })?;
        match (count.len(), names.contains("*"), names.contains("~")) {
            (0, ..) | (1, true, _) => Ok(Self::Everywhere),
            (1, _, true) => Ok(Self::Nowhere),
            (_, true, _) | (_, _, true) => {
                let of_all = if names.contains("*") { "*" } else { "~" };
                Err(item.advise(format!("{of_all} leaves nothing to say to others"), "leave the others out"))
            }
            _ => Ok(Self::Namespaces(names)),
        }
    }

    pub(super) fn encode(&self) -> Vec<Value> {
        match self {
            Self::Everywhere => Vec::new(),
            Self::Nowhere => vec!["~".into()],
            Self::Namespaces(names) => names.iter().map(|name| name.as_str().into()).collect(),
        }
    }
}
