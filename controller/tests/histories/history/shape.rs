//! The shapes of histories. The seed chooses one of a table, so that any hundred seeds in a row have them all.

use std::fmt;

/// What kind of rollouts a history is about. Where there are several, this is the first one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// The controller makes the Deployments; else pipelines do.
    pub(crate) managed: bool,
    /// The weights are Istio's; else those of gateways.
    pub(crate) in_istio_mode: bool,
    /// There are rollouts in two namespaces, one of which controllers may be kept from.
    pub(crate) two_namespaces: bool,
}

const fn shape(managed: bool, in_istio_mode: bool, two_namespaces: bool) -> Shape {
    Shape { managed, in_istio_mode, two_namespaces }
}

const TABLE: [Shape; 12] = [
    shape(false, false, false),
    shape(true, false, false),
    shape(false, true, false),
    shape(false, false, true),
    shape(true, true, false),
    shape(false, false, false),
    shape(true, false, true),
    shape(false, true, true),
    shape(false, false, false),
    shape(true, false, false),
    shape(true, true, true),
    shape(false, true, false),
];

impl Shape {
    pub(crate) fn of(seed: u64) -> Self {
        let place = seed % TABLE.len() as u64;
        TABLE[usize::try_from(place).unwrap_or_default()]
    }

    /// What there must be in histories of this shape.
    pub(crate) fn events(self) -> Vec<&'static str> {
        let mut events = vec!["rollouts begun", "rollbacks"];
        if self.managed {
            events.extend(["managed backends made", "managed backends replaced", "managed backends removed"]);
        }
        if self.in_istio_mode {
            events.push("rules patched");
        }
        if self.two_namespaces {
            events.extend(["requests held", "requests forbidden", "others that went on", "namespaces deleted"]);
        }
        events
    }

    /// Each once.
    pub(crate) fn all() -> std::collections::BTreeSet<Self> {
        TABLE.into_iter().collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.managed { "Managed workloads" } else { "External workloads" })?;
        f.write_str(if self.in_istio_mode { ", Istio mode" } else { ", gateway mode" })?;
        f.write_str(if self.two_namespaces { ", two namespaces" } else { "" })
    }
}
