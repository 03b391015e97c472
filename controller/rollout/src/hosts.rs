//! Host names as documents mean them: a short name is a service of the document's own namespace, and a service of the
//! cluster is told by its full name. The router completes hosts by the same rule, so that whoever asks a gateway for a
//! backend asks for the name that the gateway has given it.

use std::collections::BTreeMap;
use std::fmt;
use turnout_routes::documents::Document;
use turnout_routes::router::{DestinationRules, Identity};

/// What follows the namespace in the full name of every service of the cluster.
const CLUSTER_SUFFIX: &str = ".svc.cluster.local";

/// The host in full and in lower case, as it is meant in a document of `namespace`.
pub fn full_host(host: &str, namespace: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.contains(['.', ':', '*']) || host == "localhost" {
        host
    } else {
        format!("{host}.{namespace}{CLUSTER_SUFFIX}")
    }
}

/// What the pods of a subset carry besides those of the host, which is in full; empty without a subset, none if no
/// DestinationRule has it that gateways of the namespace `gateways` see.
pub fn subset_labels(
    documents: &[Document],
    gateways: &str,
    (host, subset): (&str, Option<&str>),
) -> Option<BTreeMap<String, String>> {
    let Some(wanted) = subset else { return Some(BTreeMap::new()) };
    // Which labels gateways carry is not known here: a rule for some of them alone (`workloadSelector`) counts for none.
    let identity = Identity { labels: BTreeMap::new(), namespace: gateways.to_owned() };
    DestinationRules::new(documents, &identity).subset_labels(host, wanted).cloned()
}

/// A Service of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its own name.
    pub name: String,
}

impl ServiceName {
    /// The Service that a host in full stands for: `NAME.NAMESPACE.svc.cluster.local`. Any other host is none of the
    /// cluster's.
    pub fn of_host(host: &str) -> Option<Self> {
        let (name, namespace) = host.strip_suffix(CLUSTER_SUFFIX)?.split_once('.')?;
        let is_one_part = |part: &str| !part.is_empty() && !part.contains(['.', '*']);
        let is_service = is_one_part(name) && is_one_part(namespace);
        is_service.then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Its host in full.
    pub fn host(&self) -> String {
        full_host(&self.name, &self.namespace)
    }
}

/// `namespace/name`.
impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnout_routes::{Source, parse};

    #[test]
    fn a_subset_is_what_gateways_find_of_it() {
        let check = |rules: &[(&str, &str, &str)], subset: Option<&str>, expected: Option<&str>| {
            let rules = rules.iter().enumerate().map(|(at, (namespace, host, exports))| {
                format!(
                    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
                     metadata: {{name: r{at}, namespace: {namespace}}}\nspec:\n  host: '{host}'\n  \
                     subsets:\n  - {{name: v1, labels: {{version: r{at}}}}}\n  exportTo: [{exports}]\n"
                )
            });
            let text = rules.collect::<Vec<_>>().join("---\n");
            let source = Source { name: "routes.yaml", bytes: text.as_bytes() };
            let documents = parse(&[source]).expect("the documents are right").documents;
            let labels = subset_labels(&documents, "gw", ("model.ns.svc.cluster.local", subset));
            let labels = labels.map(|labels| labels.values().cloned().collect::<String>());
            assert_eq!(labels.as_deref(), expected, "{text}{subset:?}");
        };
        check(&[("ns", "model", "")], None, Some(""));
        check(&[("ns", "model", "")], Some("v1"), Some("r0"));
        check(&[("ns", "model", "")], Some("v2"), None);
        for (exports, expected) in [("gw", Some("r0")), ("other, gw", Some("r0")), ("other", None), (".", None)] {
            check(&[("ns", "model", exports)], Some("v1"), expected);
            check(&[("ns", "model", exports)], None, Some(""));
        }
        let full = "model.ns.svc.cluster.local";
        check(&[("ns", "*.ns.svc.cluster.local", "")], Some("v1"), Some("r0"));
        check(&[("ns", "*", ""), ("ns", full, "")], Some("v1"), Some("r1"));
        check(&[("ns", full, ""), ("gw", full, "")], Some("v1"), Some("r1"));
        check(&[("istio-system", full, "")], Some("v1"), Some("r0"));
        check(&[("ns", full, ""), ("istio-system", full, "")], Some("v1"), Some("r0"));
        check(&[("other", full, "")], Some("v1"), None);
    }

    #[test]
    fn short_names_are_completed_and_nothing_else_is() {
        let check = |host: &str, expected: &str| assert_eq!(full_host(host, "ns"), expected, "{host}");
        check("model", "model.ns.svc.cluster.local");
        check("Model", "model.ns.svc.cluster.local");
        check("model.other.svc.cluster.local", "model.other.svc.cluster.local");
        check("Model.Example", "model.example");
        check("localhost", "localhost");
        check("::1", "::1");
        check("*", "*");
    }

    #[test]
    fn a_service_is_told_by_its_full_name_alone() {
        let check = |host: &str, expected: Option<(&str, &str)>| {
            let found = ServiceName::of_host(host);
            let parts = found.as_ref().map(|service| (service.namespace.as_str(), service.name.as_str()));
            assert_eq!(parts, expected, "{host}");
            assert_eq!(found.map_or_else(|| host.to_owned(), |service| service.host()), host);
        };
        check("model.ns.svc.cluster.local", Some(("ns", "model")));
        check("pod.model.ns.svc.cluster.local", None);
        check("*.ns.svc.cluster.local", None);
        check("model.svc.cluster.local", None);
        check(".ns.svc.cluster.local", None);
        check("model..svc.cluster.local", None);
        check("model.ns", None);
        check("model.ns.svc", None);
        check("model.ns.svc.cluster.local.", None);
        check("model.example", None);
    }
}
