//! The controller's rights, right by right: nothing beyond the list below, and each value adds or takes its own.

use crate::cases::{Rendering, list, no_faults, rendering, renderings, text, title};
use serde_json::Value;
use std::collections::BTreeSet;

/// All that a controller may ever be allowed in a governed namespace: group, resource, verbs.
const GOVERNED: [(&str, &str, &str); 12] = [
    ("turnout.dev", "modelrollouts", "get list watch patch"),
    ("turnout.dev", "modelrollouts/status", "update"),
    ("networking.istio.io", "virtualservices", "get list watch patch"),
    ("networking.istio.io", "destinationrules gateways serviceentries", "get list watch"),
    (
        "networking.istio.io",
        "virtualservices/status destinationrules/status gateways/status serviceentries/status",
        "get patch",
    ),
    ("", "services", "get list watch create update delete"),
    ("discovery.k8s.io", "endpointslices", "get list watch"),
    ("", "pods", "get list watch"),
    ("apps", "deployments", "get list watch create update patch delete"),
    ("apps", "controllerrevisions", "get list create delete"),
    ("", "events", "create patch"),
    ("events.k8s.io", "events", "create patch"),
];

/// And in the release's own. What has a name is bound to it.
const OWN: [(&str, &str, &str, bool); 9] = [
    ("", "configmaps", "get update patch", true),
    ("", "configmaps", "list watch", false),
    ("coordination.k8s.io", "leases", "get update patch delete", true),
    ("coordination.k8s.io", "leases", "create", false),
    ("discovery.k8s.io", "endpointslices", "get list watch", false),
    ("", "pods", "get list watch patch", false),
    ("", "events", "create patch", false),
    ("events.k8s.io", "events", "create patch", false),
    ("", "configmaps", "get", true),
];

/// One verb on one kind, and whether it is bound to names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    resource: String,
    verb: String,
    named: bool,
}

fn rights(role: &Value) -> BTreeSet<Right> {
    let words = |rule: &Value, field: &str| -> Vec<String> {
        list(rule, field).iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut all = BTreeSet::new();
    for rule in list(role, "/rules") {
        let named = rule.get("resourceNames").is_some();
        for group in words(rule, "/apiGroups") {
            for resource in words(rule, "/resources") {
                for verb in words(rule, "/verbs") {
                    all.insert(Right { group: group.clone(), resource: resource.clone(), verb, named });
                }
            }
        }
    }
    all
}

fn allows(right: &Right, group: &str, resources: &str, verbs: &str) -> bool {
    let has = |words: &str, word: &str| words.split(' ').any(|known| known == word);
    right.group == group && has(resources, &right.resource) && has(verbs, &right.verb)
}

fn is_governed(role: &Value) -> bool {
    text(role, "/metadata/name").ends_with("-rollouts")
}

#[test]
fn no_role_goes_beyond_the_list() {
    let mut faults = Vec::new();
    for rendering in renderings() {
        for role in rendering.of_kind("Role") {
            for right in rights(role) {
                let listed = if is_governed(role) {
                    GOVERNED.iter().any(|(group, resources, verbs)| allows(&right, group, resources, verbs))
                } else {
                    OWN.iter().any(|(group, resource, verbs, named)| {
                        allows(&right, group, resource, verbs) && right.named == *named
                    })
                };
                if !listed {
                    faults.push(format!("{}: {}: {right:?}", rendering.case, title(role)));
                }
            }
        }
    }
    no_faults(&faults);
}

#[test]
fn it_may_nothing_beyond_the_namespaces_that_it_governs() {
    for rendering in renderings() {
        let all = rendering.of_kind("ClusterRole").filter(|role| parts(role).is_empty());
        assert_eq!(all.map(title).collect::<Vec<_>>(), Vec::<String>::new(), "{}", rendering.case);
        assert!(rendering.of_kind("ClusterRoleBinding").next().is_none(), "{}", rendering.case);
    }
}

/// The roles of Kubernetes' own that comprise this one.
fn parts(role: &Value) -> Vec<&str> {
    let labels = role["metadata"]["labels"].as_object().unwrap();
    let own = "rbac.authorization.k8s.io/aggregate-to-";
    labels.iter().filter(|(_, value)| *value == "true").filter_map(|(key, _)| key.strip_prefix(own)).collect()
}

#[test]
fn users_of_kubernetes_own_roles_have_the_rollouts() {
    let reads = [("turnout.dev", "modelrollouts", "get list watch"), ("turnout.dev", "modelrollouts/status", "get")];
    let writes = ("turnout.dev", "modelrollouts", "create update patch delete deletecollection");
    for rendering in renderings() {
        let roles: Vec<(Vec<&str>, BTreeSet<Right>)> = rendering
            .of_kind("ClusterRole")
            .map(|role| (parts(role), rights(role)))
            .filter(|(parts, _)| !parts.is_empty())
            .collect();
        let view: BTreeSet<Right> = reads.iter().flat_map(every).collect();
        let edit: BTreeSet<Right> = reads.iter().chain([&writes]).flat_map(every).collect();
        let mut expected = vec![(vec!["edit", "admin"], edit), (vec!["view"], view)];
        if rendering.case == "bare" {
            expected.clear();
        }
        assert_eq!(roles, expected, "{}", rendering.case);
    }
}

fn every((group, resources, verbs): &(&str, &str, &str)) -> Vec<Right> {
    let right = |resource: &str, verb: &str| Right {
        group: (*group).to_owned(),
        resource: resource.to_owned(),
        verb: verb.to_owned(),
        named: false,
    };
    resources.split(' ').flat_map(|resource| verbs.split(' ').map(move |verb| right(resource, verb))).collect()
}

/// What a rendering's controller may do in a governed namespace, as `verb resource`.
fn governed(rendering: &Rendering) -> BTreeSet<String> {
    let role = rendering.of_kind("Role").find(|role| is_governed(role)).unwrap();
    rights(role).iter().map(|right| format!("{} {}", right.verb, right.resource)).collect()
}

#[test]
fn each_value_gives_its_own_rights() {
    let check = |case: &str, given: &[&str], not_given: &[&str]| {
        let all = governed(&rendering(case));
        for right in given {
            assert!(all.contains(*right), "{case}: {right} is missing");
        }
        for right in not_given {
            assert!(!all.contains(*right), "{case}: {right} is not needed");
        }
    };
    let istio = "patch virtualservices";
    let status = "patch virtualservices/status";
    let documents = "watch serviceentries";
    let twins = "create services";
    let managed = "create deployments";
    let stored = "create controllerrevisions";
    check("default", &[twins, "list services"], &[istio, status, documents, managed, stored, "get virtualservices"]);
    check("managed", &[twins, istio, status, documents, managed, stored], &[]);
    check("istio-only", &[istio, documents, "get virtualservices"], &[twins, status, managed, stored]);
    check("two-namespaces", &["list services"], &[twins, istio, status, documents, managed, stored]);
}

/// Whoever makes a rollout there, makes pods by its template.
#[test]
fn only_the_listed_namespaces_have_managed_workloads() {
    let rendering = rendering("two-namespaces");
    let managed = |role: &&Value| {
        rights(role)
            .iter()
            .any(|right| right.group == "apps" && !allows(right, "apps", "deployments", "get list watch"))
    };
    let places = rendering.of_kind("Role").filter(managed).map(|role| text(role, "/metadata/namespace"));
    assert_eq!(places.collect::<Vec<_>>(), ["forecasting"]);
}

#[test]
fn each_governed_namespace_has_a_role_bound_to_the_one_account() {
    let rendering = rendering("two-namespaces");
    let places = |kind: &str| -> Vec<&str> {
        let governed = rendering.of_kind(kind).filter(|object| is_governed(object));
        governed.map(|object| text(object, "/metadata/namespace")).collect()
    };
    assert_eq!(places("Role"), ["abtesting", "forecasting"]);
    assert_eq!(places("RoleBinding"), ["abtesting", "forecasting"]);
    for binding in rendering.of_kind("RoleBinding") {
        assert_eq!(list(binding, "/subjects").len(), 1);
        assert_eq!(text(binding, "/subjects/0/name"), "scoring-controller");
        assert_eq!(text(binding, "/subjects/0/namespace"), crate::cases::NAMESPACE);
        assert_eq!(text(binding, "/roleRef/name"), text(binding, "/metadata/name"));
    }
}

#[test]
fn names_in_rights_are_those_of_the_objects() {
    for rendering in renderings() {
        let controller = rendering.pod("controller").unwrap();
        let mut known = vec![controller.flag("lease")[0].to_owned()];
        for flag in ["gateway-service", "routes-configmap"] {
            known.extend(controller.flag(flag).into_iter().map(str::to_owned));
        }
        known.extend(controller.flag("documents")[0].strip_prefix("configmap:").map(str::to_owned));
        for role in rendering.of_kind("Role") {
            for name in list(role, "/rules").iter().flat_map(|rule| list(rule, "/resourceNames")) {
                assert!(known.iter().any(|known| name == known), "{}: {name}", rendering.case);
            }
        }
    }
}
