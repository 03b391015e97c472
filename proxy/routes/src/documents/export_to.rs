//! `exportTo`: in which namespaces a document counts, of those of the gateways and of the documents that name it.

use crate::decode::{Decoded, Item, quoted};
use crate::documents::host::is_label;
use serde_json::Value;
use std::collections::BTreeSet;

/// Where a document counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportTo {
    /// By which Istio compares two documents: for it, nothing is not `*`, and `.` is not the name of the namespace.
    written: BTreeSet<String>,
    scope: Scope,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Scope {
    /// `*`, or nothing.
    #[default]
    Everywhere,
    /// `~`: only a ServiceEntry can have it.
    Nowhere,
    /// Names of namespaces, with its own for `.`; at least one.
    Namespaces(BTreeSet<String>),
}

impl ExportTo {
    /// As it is written in a document of the namespace.
    pub fn new(written: BTreeSet<String>, own_namespace: &str) -> Self {
        let named = |name: &String| if name == "." { own_namespace.to_owned() } else { name.clone() };
        let scope = if written.is_empty() || written.contains("*") {
            Scope::Everywhere
        } else if written.contains("~") {
            Scope::Nowhere
        } else {
            Scope::Namespaces(written.iter().map(named).collect())
        };
        Self { written, scope }
    }

    /// Whether it counts in the namespace.
    pub fn reaches(&self, namespace: &str) -> bool {
        match &self.scope {
            Scope::Everywhere => true,
            Scope::Nowhere => false,
            Scope::Namespaces(names) => names.contains(namespace),
        }
    }

    pub(crate) fn is_everywhere(&self) -> bool {
        self.scope == Scope::Everywhere
    }

    pub(crate) fn is_nowhere(&self) -> bool {
        self.scope == Scope::Nowhere
    }

    /// Whether it counts in its own namespace alone.
    pub(crate) fn is_private(&self, own_namespace: &str) -> bool {
        matches!(&self.scope, Scope::Namespaces(names) if names.iter().all(|name| name == own_namespace))
    }

    /// Whether all that is written in the other is written in it, and something is.
    pub(crate) fn names_all_of(&self, other: &Self) -> bool {
        !other.written.is_empty() && self.written.is_superset(&other.written)
    }

    pub(super) fn decode(item: &Item<'_>, own_namespace: &str, can_be_nowhere: bool) -> Decoded<Self> {
        let (mut written, mut names) = (BTreeSet::new(), BTreeSet::new());
        item.each(|item| {
            let text = item.string()?;
            let name = match text {
                "." => own_namespace,
                "~" if can_be_nowhere => "~",
                text if text == "*" || is_label(text) && *text == text.to_ascii_lowercase() => text,
                text => {
                    let message = format!("{} is not a namespace", quoted(text));
                    return Err(item.advise(message, "write the name of one, . for the document's own, or *"));
                }
            };
            written.insert(text.to_owned());
            if names.insert(name.to_owned()) { Ok(()) } else { Err(item.error(format!("{name} is there twice"))) }
        })?;
        match ["*", "~"].into_iter().find(|name| names.contains(*name)) {
            Some(of_all) if names.len() > 1 => {
                Err(item.advise(format!("{of_all} leaves nothing to say to others"), "leave the others out"))
            }
            _ => Ok(Self::new(written, own_namespace)),
        }
    }

    pub(super) fn encode(&self) -> Vec<Value> {
        self.written.iter().map(|name| name.as_str().into()).collect()
    }
}
