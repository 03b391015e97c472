//! For which namespaces a document is (`convertExportToSet`, `IsServiceVisible`).

use super::{list, namespace, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// As they are written.
pub(super) fn written(document: &Value) -> BTreeSet<&str> {
    list(&document["spec"]["exportTo"]).iter().map(text).collect()
}

/// Whether it says so of this namespace by its name: a dot is that of the document.
pub(super) fn names(document: &Value, asked: &str) -> bool {
    let written = written(document);
    written.contains(asked) || (written.contains(".") && namespace(document) == asked)
}

pub(super) fn is_public(document: &Value) -> bool {
    let written = written(document);
    written.is_empty() || written.contains("*")
}

pub(super) fn has(document: &Value, asked: &str) -> bool {
    is_public(document) || names(document, asked)
}
