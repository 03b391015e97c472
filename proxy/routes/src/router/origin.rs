//! Where a rule comes from.

use crate::documents::{HttpRule, Metadata};
use std::fmt;

/// Where a rule stands in the documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Of the VirtualService.
    pub namespace: String,
    /// Of the VirtualService.
    pub virtual_service: String,
    /// Position in `spec.http`, from 0.
    pub http: usize,
    /// The rule's own name.
    pub name: Option<String>,
    /// Where the rule is another VirtualService's, which has the hosts: what delegates to it there, as it is written. Not
    /// part of the rule's name, which is the same wherever it is served.
    pub delegated_by: Option<String>,
}

impl Origin {
    pub(super) fn new(document: &Metadata, http: usize, rule: &HttpRule) -> Self {
        Self {
            namespace: document.namespace.clone(),
            virtual_service: document.name.clone(),
            http,
            name: rule.name.clone(),
            delegated_by: None,
        }
    }

    /// For people: with what delegates to it.
    pub fn in_full(&self) -> String {
        self.delegated_by.as_ref().map_or_else(|| self.to_string(), |by| format!("{self}, delegated by {by}"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} spec.http[{}]", self.namespace, self.virtual_service, self.http)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}
