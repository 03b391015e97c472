//! Who delegates to what: a rule to a VirtualService without hosts that is exported to the namespace of the rule.

use crate::documents::{Delegate, VirtualService};
use std::collections::BTreeMap;

/// Namespace and name.
pub(super) type Name<'d> = (&'d str, &'d str);

pub(super) fn name(document: &VirtualService) -> Name<'_> {
    (&document.metadata.namespace, &document.metadata.name)
}

/// The VirtualServices that rules may delegate to.
#[derive(Debug)]
pub struct Delegates<'d> {
    documents: BTreeMap<Name<'d>, &'d VirtualService>,
}

/// Why a rule delegates to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDelegate {
    /// No VirtualService is called so.
    Missing,
    /// It has hosts, and so rules of its own.
    HasHosts,
    /// It is not exported to the namespace of the rule.
    NotExported,
}

impl<'d> Delegates<'d> {
    /// Of all VirtualServices.
    pub fn new(documents: impl IntoIterator<Item = &'d VirtualService>) -> Self {
        Self { documents: documents.into_iter().map(|document| (name(document), document)).collect() }
    }

    /// The VirtualService whose rules stand in the place of a rule in `namespace` that delegates.
    pub fn target(&self, namespace: &str, to: &Delegate) -> Result<&'d VirtualService, NoDelegate> {
        match self.documents.get(&(to.namespace.as_str(), to.name.as_str())) {
            None => Err(NoDelegate::Missing),
            Some(target) if !target.hosts.is_empty() => Err(NoDelegate::HasHosts),
            Some(target) if !target.export_to.reaches(namespace) => Err(NoDelegate::NotExported),
            Some(target) => Ok(target),
        }
    }

    /// Those that are there to be delegated to.
    pub(super) fn without_hosts(&self) -> impl Iterator<Item = &'d VirtualService> {
        self.documents.values().copied().filter(|document| document.hosts.is_empty())
    }
}
