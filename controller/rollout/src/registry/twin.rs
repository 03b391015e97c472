//! The names of twins and entries. A twin's name is a function of what its twin selects by, so that two twins never share one and a twin
//! never comes to stand for other pods: a subset whose labels change gets another twin, which gateways take up together
//! with the table that names it.

use std::collections::BTreeMap;
use turnout_routes::documents::Subset;
use turnout_routes::{Source, revision};

/// What Kubernetes allows for the name of a Service.
const MAX_NAME: usize = 63;
const HASH_DIGITS: usize = 8;

/// The name of the twin of a whole Service: `turnout-SERVICE`, cut and hashed where that is too long.
pub(super) fn whole_twin_name(service: &str) -> String {
    let name = format!("turnout-{service}");
    if name.len() <= MAX_NAME { name } else { hashed(&name, service, None) }
}

/// The name of the twin of a subset: `turnout-SERVICE-SUBSET-HASH`. Always hashed, because the parts cannot be told in
/// the whole: the subset `b` of `a` is not the Service `a-b`.
pub(super) fn subset_twin_name(service: &str, subset: &Subset) -> String {
    let name = format!("turnout-{service}-{}", subset.name.to_ascii_lowercase());
    hashed(&name, service, Some((&subset.name, &subset.labels)))
}

/// The name of a Service's entry, which no document of the users `is_taken` by.
pub(super) fn entry_name(service: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let plain = format!("turnout-{service}");
    if is_taken(&plain) { hashed(&plain, service, None) } else { plain }
}

fn hashed(name: &str, service: &str, subset: Option<(&str, &BTreeMap<String, String>)>) -> String {
    let what = serde_json::json!([service, subset]).to_string();
    let hash = revision(&[Source { name: "twin", bytes: what.as_bytes() }]);
    let head: String = name.chars().take(MAX_NAME - HASH_DIGITS - 1).collect();
    format!("{head}-{}", &hash[..HASH_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subset(name: &str, labels: &[(&str, &str)]) -> Subset {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Subset { name: name.to_owned(), labels, policy: turnout_routes::documents::TrafficPolicy::default() }
    }

    #[test]
    fn names_are_readable_and_never_too_long() {
        assert_eq!(whole_twin_name("model-svc-blue"), "turnout-model-svc-blue");
        assert_eq!(whole_twin_name(&"m".repeat(55)).len(), 63);
        let long = whole_twin_name(&"m".repeat(56));
        assert_eq!((long.len(), long.starts_with(&format!("turnout-{}-", "m".repeat(46)))), (63, true), "{long}");
        assert_ne!(long, whole_twin_name(&"m".repeat(57)));
        let v1 = subset_twin_name("model", &subset("V1", &[("version", "v1")]));
        assert_eq!((v1.len(), v1.starts_with("turnout-model-v1-")), (25, true), "{v1}");
        assert_eq!(subset_twin_name(&"m".repeat(63), &subset(&"s".repeat(63), &[])).len(), 63);
    }

    #[test]
    fn different_pods_have_different_names() {
        let names = [
            whole_twin_name("a-b"),
            subset_twin_name("a", &subset("b", &[])),
            subset_twin_name("a", &subset("B", &[])),
            subset_twin_name("a", &subset("b", &[("x", "1")])),
            subset_twin_name("a", &subset("b", &[("x", "2")])),
            subset_twin_name("a-b", &subset("c", &[])),
            subset_twin_name("a", &subset("b-c", &[])),
        ];
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }
}
