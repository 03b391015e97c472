//! The kinds that the API serves, with what differs between them. What is not listed here is 404, as on a cluster without
//! that definition.

/// A kind of objects.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "as the API calls it")]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    /// The first is the one that answers are in where a request names none.
    pub(crate) versions: &'static [&'static str],
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    /// It has a status subresource: the status is written there and nowhere else, and nothing else is written there.
    pub(crate) has_status: bool,
    /// `metadata.generation` counts the changes of the spec.
    pub(crate) counts_generation: bool,
    /// It is a custom resource: no replace without a resource version, no strategic merge patch.
    pub(crate) is_custom: bool,
}

const ISTIO: &[&str] = &["v1", "v1beta1", "v1alpha3"];

const fn built_in(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, versions: &["v1"], kind, plural, has_status: false, counts_generation: false, is_custom: false }
}

const fn custom(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
) -> Kind {
    Kind { group, versions, kind, plural, has_status: true, counts_generation: true, is_custom: true }
}

pub(crate) static KINDS: [Kind; 13] = [
    Kind { has_status: true, ..built_in("", "Pod", "pods") },
    Kind { has_status: true, ..built_in("", "Service", "services") },
    built_in("", "ConfigMap", "configmaps"),
    built_in("events.k8s.io", "Event", "events"),
    built_in("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    built_in("coordination.k8s.io", "Lease", "leases"),
    Kind { has_status: true, counts_generation: true, ..built_in("apps", "Deployment", "deployments") },
    built_in("apps", "ControllerRevision", "controllerrevisions"),
    custom("turnout.dev", &["v1alpha1"], "ModelRollout", "modelrollouts"),
    custom("networking.istio.io", ISTIO, "VirtualService", "virtualservices"),
    custom("networking.istio.io", ISTIO, "DestinationRule", "destinationrules"),
    custom("networking.istio.io", ISTIO, "Gateway", "gateways"),
    custom("networking.istio.io", ISTIO, "ServiceEntry", "serviceentries"),
];

/// The kind with that plural. Plurals are unique here.
pub(crate) fn kind(plural: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.plural == plural).expect("the cast only has kinds of the table")
}

impl Kind {
    /// Of a group and version in a URL; the core group's events are those of `events.k8s.io`.
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| {
            let is_group = kind.group == group || (plural == "events" && group.is_empty());
            kind.plural == plural && is_group && kind.versions.contains(&version)
        })
    }
}

/// `apiVersion` of a group's version.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
