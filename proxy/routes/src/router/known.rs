//! What a destination names, and what the documents say of it.

use super::service_entries::DescribedService;
use crate::documents::{DestinationRule, ServiceEntry, Subset};

/// What a destination names; its backend follows from it. A port that is not given stands for the only one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    /// Completed.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) subset: Option<String>,
}

/// What the documents say of it.
pub(super) struct Known<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) service: Option<&'a DescribedService<'a>>,
    /// Where no ServiceEntry counts, one that is not exported to the gateway's namespace.
    pub(super) hidden: Option<&'a ServiceEntry>,
    /// The service's.
    pub(super) namespace: &'a str,
    /// The gateway's.
    pub(super) own_namespace: &'a str,
    /// Those that count for it, oldest first.
    pub(super) rules: &'a [&'a DestinationRule],
    /// The one that is wanted, if a rule has it.
    pub(super) subset: Option<&'a Subset>,
    /// Where no rule that counts has the subset, one that is not exported to the gateway's namespace.
    pub(super) hidden_rule: Option<&'a DestinationRule>,
    /// What the host probably is, misspelt: one that a ServiceEntry has.
    pub(super) meant: Option<&'a str>,
    /// What the subset probably is, misspelt.
    pub(super) meant_subset: Option<&'a str>,
}

/// A short name is one of the namespace's services; `localhost` and anything with a dot are taken as they are.
pub(super) fn complete(host: &str, namespace: &str) -> String {
    if host.contains(['.', ':', '*']) || host == "localhost" {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.cluster.local")
    }
}
