//! `turnout check` against an API server in this process: all is well, and then one thing after the other is not.

use crate::api::{Api, RIGHTS_OF_OTHERS, YOUR_RIGHTS, kubeconfig};
use crate::installation::{
    self, CONTROLLER, DEFINITION, DOCUMENTS, GATEWAY, LEASE, PUBLISHED, misspell_routes, put_revision, put_routes,
    silence_gateway,
};
use crate::support::{Ran, closed_address, turnout, write};
use serde_json::json;
use std::collections::BTreeSet;

/// Checks an installation after this change.
fn check(change: &dyn Fn(&Api), arguments: &[&str]) -> Ran {
    let (api, directory) = (Api::start(), tempfile::tempdir().unwrap());
    api.put_rollout(&json!({}), &json!({"stage": "Green_100"}));
    installation::put(&api);
    change(&api);
    turnout(&[&["check", "--kubeconfig", &api.kubeconfig(directory.path())], arguments].concat())
}

/// After this change the check ends with this code, and has a line with this mark, this text and a hint.
#[track_caller]
fn finds(code: i32, mark: &str, said: &str, change: &dyn Fn(&Api)) {
    let ran = check(change, &[]);
    assert_eq!(ran.code, code, "{said}:\n{}", ran.stdout);
    let mut lines = ran.stdout.lines().skip_while(|line| !(line.starts_with(mark) && line.contains(said)));
    assert!(lines.next().is_some(), "{said}:\n{}", ran.stdout);
    assert!(lines.next().is_some_and(|line| line.starts_with("    hint: ")), "{said}:\n{}", ran.stdout);
}

#[track_caller]
fn fails(said: &str, change: &dyn Fn(&Api)) {
    finds(1, "x ", said, change);
}

#[track_caller]
fn warns(said: &str, change: &dyn Fn(&Api)) {
    finds(0, "! ", said, change);
}

#[test]
fn a_sound_installation_passes_every_check() {
    let ran = check(&|_| {}, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    for line in [
        " answers: Kubernetes v1.34.4",
        "+ modelrollouts.turnout.dev is there with v1alpha1, and has the fields that this turnout knows",
        "+ you may get, list, watch and patch modelrollouts in ns",
        "+ system:serviceaccount:turnout:t has the 12 rights that it needs in turnout",
        "+ system:serviceaccount:turnout:t has the 21 rights that it needs in ns",
        "+ Deployment turnout/t-controller: 1 of 1 pods are available",
        "+ t-controller-0 leads: ",
        "+ Deployment turnout/t-controller has version ",
        "+ Deployment turnout/t-gateway has version ",
        "+ all gateways that answer read version 1 of the route language",
        "+ the 1 documents of ConfigMap turnout/t-documents are accepted",
        "+ 1 found, and nothing keeps the controller from driving them",
        "+ Deployment turnout/t-gateway: 1 of 1 pods are available",
        "+ all of 1 gateways have what is published, ",
        "passed: 14, warnings: 0, failed: 0",
    ] {
        assert!(ran.stdout.contains(line), "{line}:\n{}", ran.stdout);
    }
}

#[test]
fn a_fault_of_the_definition_or_of_rights_is_named_with_a_hint() {
    fails("there is no CustomResourceDefinition", &|api| api.remove(DEFINITION));
    fails("is older than this turnout: it lacks spec.warmUp", &|api| {
        api.edit(DEFINITION, |definition| {
            let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
            definition.pointer_mut(spec).unwrap().as_object_mut().unwrap().remove("warmUp").unwrap();
        });
    });
    fails("in ns you may not get modelrollouts", &|api| api.deny(YOUR_RIGHTS, "get modelrollouts"));
    fails("in ns system:serviceaccount:turnout:t may not create services", &|api| {
        api.deny(RIGHTS_OF_OTHERS, "create services");
    });
}

#[test]
fn a_fault_of_controller_or_gateways_is_named_with_a_hint() {
    fails("no controller was found", &|api| api.remove(CONTROLLER));
    fails("Deployment turnout/t-gateway: 0 of 1 pods are available", &|api| {
        api.edit(GATEWAY, |gateway| gateway["status"]["availableReplicas"] = json!(0));
    });
    fails("no Deployment of them was found", &|api| api.remove(GATEWAY));
    fails("has not renewed it for", &|api| {
        api.edit(LEASE, |lease| lease["spec"]["renewTime"] = json!("2020-01-01T00:00:00.000000Z"));
    });
    fails("nobody holds the Lease turnout/t", &|api| api.remove(LEASE));
    fails("gateway-0: not what is published", &|api| put_revision(api, "another", None));
    fails(": no split", &|api| put_revision(api, "another", Some("no split")));
    fails("there is no ConfigMap turnout/t-routes", &|api| api.remove(PUBLISHED));
}

#[test]
fn the_mark_of_an_uninstall_is_named_with_the_command_that_removes_it() {
    for (object, kind, name) in [(PUBLISHED, "configmap", "t-routes"), (LEASE, "lease", "t")] {
        let mark = |api: &Api| {
            api.edit(object, |object| object["metadata"]["annotations"] = json!({"turnout.dev/uninstalling": "true"}));
        };
        fails("says that the release goes", &mark);
        let command = format!("kubectl annotate {kind} {name} --namespace turnout turnout.dev/uninstalling-\n");
        let ran = check(&mark, &[]);
        assert!(ran.stdout.contains(&command), "{}", ran.stdout);
    }
}

#[test]
fn a_fault_of_documents_or_rollouts_is_named_with_a_hint() {
    fails("there is no ConfigMap turnout/t-documents", &|api| api.remove(DOCUMENTS));
    fails("spec.http[0].route[0].weigth", &|api| misspell_routes(api, DOCUMENTS));
    fails("the controller cannot do what it decides: no right", &|api| {
        let condition = json!({"type": "Operational", "status": "False", "reason": "Forbidden", "message": "no right",
                               "lastTransitionTime": "2026-01-01T00:00:00Z"});
        api.patch_status(&json!({"conditions": [condition]}));
    });
    fails("ns/model was never taken up by a controller", &|api| {
        api.edit("/apis/turnout.dev/v1alpha1/namespaces/ns/modelrollouts/model", |rollout| {
            rollout.as_object_mut().unwrap().remove("status").unwrap();
        });
    });
}

#[test]
fn what_may_not_be_looked_at_or_need_not_be_wrong_is_a_warning() {
    warns("you may not patch modelrollouts", &|api| api.deny(YOUR_RIGHTS, "patch modelrollouts"));
    warns("you have no right to ask for the rights of the controller", &|api| api.fail("POST", RIGHTS_OF_OTHERS, 403));
    warns("so its fields were not compared", &|api| {
        api.put("/apis/turnout.dev/v1alpha1", json!({}));
        api.fail("GET", DEFINITION, 403);
    });
    warns("cannot read the Lease turnout/t", &|api| api.fail("GET", LEASE, 403));
    warns("gateway-0: does not answer: ", &silence_gateway);
    warns("nothing is published in ConfigMap turnout/t-routes", &|api| put_routes(api, PUBLISHED, ""));
    warns("is not valid: bad", &|api| api.patch_status(&json!({"phase": "Invalid", "message": "bad"})));
    warns("Deployment turnout/t-gateway has version 0.0.1, this turnout has ", &|api| {
        api.edit(GATEWAY, |gateway| gateway["metadata"]["labels"]["app.kubernetes.io/version"] = json!("0.0.1"));
    });
}

#[test]
fn a_cluster_that_does_not_answer_has_failed_and_none_at_all_cannot_be_checked() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "kubeconfig", &kubeconfig(&format!("http://{}", closed_address())));
    let ran = turnout(&["check", "--kubeconfig", &file]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("x cannot ask for the version: no answer from http://127.0.0.1:"), "{}", ran.stdout);
    let ran = turnout(&["check"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("there is no cluster to talk to"), "{ran:?}");
}

#[test]
fn json_has_every_finding_with_its_hint() {
    let sound = check(&|_| {}, &["-o", "json"]).json();
    let findings = sound["findings"].as_array().unwrap();
    assert_eq!((&sound["well"], findings.len()), (&json!(true), 14));
    let subjects: BTreeSet<&str> = findings.iter().map(|finding| finding["subject"].as_str().unwrap()).collect();
    let expected = ["cluster", "controller", "definition", "documents", "gateway", "rights", "rollouts", "versions"];
    assert_eq!(subjects.into_iter().collect::<Vec<_>>(), expected);
    let ran = check(&|api| api.remove(LEASE), &["-o", "json"]);
    let result = ran.json();
    assert_eq!((ran.code, &result["well"]), (1, &json!(false)));
    let failed: Vec<_> = result["findings"].as_array().unwrap().iter().filter(|it| it["verdict"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((&failed[0]["subject"], &failed[0]["hint"]), (&json!("controller"), &json!("see the controller's log")));
}
