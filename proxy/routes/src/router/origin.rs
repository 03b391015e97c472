//! Where a rule comes from.

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
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} spec.http[{}]", self.namespace, self.virtual_service, self.http)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}
