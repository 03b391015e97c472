//! Who the gateway is.

use std::collections::BTreeMap;

/// What the gateway is, as documents see it.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Compared with `Gateway.selector` and `sourceLabels`.
    pub labels: BTreeMap<String, String>,
    /// Compared with `sourceNamespace`; DestinationRules in it come first.
    pub namespace: String,
}

impl Identity {
    pub(super) fn carries(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}
