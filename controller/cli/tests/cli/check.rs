//! `turnout check` against an API server in this process: all is well, and then one thing after the other is not.

use crate::api::{Api, RIGHTS_OF_OTHERS, ROLLOUT, ROLLOUTS, YOUR_RIGHTS, kubeconfig};
use crate::installation::{
    self, CONTROLLER, DEFINITION, DOCUMENTS, GATEWAY, LEASE, PUBLISHED, ROUTES, misspell_routes, publish, put_revision,
    put_routes, put_warning, silence_gateway,
};
use crate::support::{Ran, closed_address, turnout, write};
use serde_json::{Value, json};
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
        "+ 1 rollouts have the Services and pods that they need",
        "+ what is published names nothing that is not there",
        "passed: 16, warnings: 0, failed: 0",
    ] {
        assert!(ran.stdout.contains(line), "{line}:\n{}", ran.stdout);
    }
}

#[test]
fn a_namespace_that_nobody_governs_is_told_to_who_names_it() {
    let ran = check(&|_| {}, &["--namespace", "elsewhere"]);
    let said = "x elsewhere is governed by no controller that was found: they govern ns";
    assert!(ran.code == 1 && ran.stdout.contains(said), "{}", ran.stdout);
    assert_eq!(check(&|_| {}, &["--namespace", "ns"]).code, 0);
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

/// What kubelet, the scheduler or a container says of a pod: its status, and what a line says of it.
fn troubles() -> Vec<(Value, &'static str)> {
    let waiting = |reason: &str, message: &str| {
        json!({"phase": "Pending", "containerStatuses": [{
            "name": "c", "image": "host/model:2", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
            "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
        }]})
    };
    let unscheduled =
        json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes fit"});
    vec![
        (waiting("ErrImagePull", "not found"), ": ErrImagePull: host/model:2: not found"),
        (waiting("ImagePullBackOff", "Back-off"), ": ImagePullBackOff: host/model:2: Back-off"),
        (
            waiting("CreateContainerConfigError", "secret \"s\" not found"),
            ": CreateContainerConfigError: secret \"s\" not found",
        ),
        (waiting("CrashLoopBackOff", "back-off"), ": CrashLoopBackOff: container c ended with exit code 3"),
        (json!({"phase": "Pending", "conditions": [unscheduled]}), ": Unschedulable: 0/1 nodes fit"),
    ]
}

#[test]
fn a_deployment_without_pods_says_what_its_pods_say() {
    for (status, said) in troubles() {
        for (deployment, component) in [(CONTROLLER, "controller"), (GATEWAY, "gateway")] {
            let said =
                format!("Deployment turnout/t-{component}: 0 of 1 pods are available; pod t-{component}-x{said}");
            fails(&said, &|api| {
                api.edit(deployment, |deployment| deployment["status"]["availableReplicas"] = json!(0));
                let labels = api.get(deployment)["metadata"]["labels"].clone();
                let metadata = json!({"name": format!("t-{component}-x"), "namespace": "turnout", "labels": labels});
                let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status});
                api.put(&format!("/api/v1/namespaces/turnout/pods/t-{component}-x"), pod);
            });
        }
    }
    fails("0 of 1 pods are available; pods \"t\" is forbidden: exceeded quota", &|api| {
        let message = "pods \"t\" is forbidden: exceeded quota";
        let condition = json!({"type": "ReplicaFailure", "status": "True", "message": message});
        api.edit(GATEWAY, |gateway| gateway["status"] = json!({"conditions": [condition]}));
    });
}

const GREEN: &str = "/api/v1/namespaces/ns/services/green";
const BLUE: &str = "/api/v1/namespaces/ns/services/blue";
const BLUE_POD: &str = "/api/v1/namespaces/ns/pods/blue-0";

/// A rollout of v2 has begun, and waits for blue.
fn start(api: &Api) {
    api.put_rollout(&json!({"revision": "v2"}), &json!({"weights": {"green": 100, "blue": 0}}));
}

#[test]
fn what_is_not_behind_a_rollout_fails_where_it_is_needed() {
    let blue = "blue of ns/model: ";
    fails("green of ns/model: there is no Service ns/green, which spec.green.host names", &|api| api.remove(GREEN));
    fails(&format!("{blue}there is no Service ns/blue, which spec.blue.host names"), &|api| {
        start(api);
        api.remove(BLUE);
    });
    fails(&format!("{blue}no pod in ns has the labels app=blue"), &|api| {
        start(api);
        api.remove(BLUE_POD);
    });
    fails("green of ns/model: no pod in ns has the labels app=gren", &|api| {
        api.edit(GREEN, |service| service["spec"]["selector"]["app"] = json!("gren"));
    });
    let subset = |api: &Api| start_with(api, &json!({"blue": {"host": "blue", "subset": "two"}}));
    fails(&format!("{blue}no DestinationRule for blue.ns.svc.cluster.local has the subset two"), &subset);
    for (status, said) in troubles() {
        fails(&format!("{blue}0 of 1 pods are ready; pod blue-0{said}"), &|api| {
            start(api);
            api.edit(BLUE_POD, |pod| pod["status"] = status.clone());
        });
        warns(&format!("green of ns/model: 1 of 2 pods are ready; pod green-1{said}"), &|api| {
            api.edit("/api/v1/namespaces/ns/pods/green-1", |pod| pod["status"] = status.clone());
        });
    }
}

/// Such a pod itself says nothing but that it is being created, or that it runs.
#[test]
fn what_only_the_events_of_a_pod_tell_is_told() {
    let container = |state: Value| {
        json!([{
            "name": "c", "image": "host/model:2", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }])
    };
    let creating = container(json!({"waiting": {"reason": "ContainerCreating"}}));
    let creating = json!({"phase": "Pending", "containerStatuses": creating});
    let unready = json!({"type": "Ready", "status": "False", "reason": "ContainersNotReady"});
    let running = json!({
        "phase": "Running", "containerStatuses": container(json!({"running": {}})), "conditions": [unready],
    });
    let event = |pod: &str, hour: u32, reason: &str, message: &str| {
        json!({
            "metadata": {"name": format!("{pod}.{hour}"), "namespace": "ns"}, "reason": reason, "message": message,
            "involvedObject": {"kind": "Pod", "name": pod}, "lastTimestamp": format!("2026-01-01T{hour:02}:00:00Z"),
        })
    };
    for (status, reason, message, hint) in [
        (creating, "FailedMount", "secret \"s\" not found", "create what it names in namespace ns"),
        (running, "Unhealthy", "Readiness probe failed: 503", "kubectl describe pod -n ns blue-0"),
    ] {
        let put = |api: &Api| {
            start(api);
            api.edit(BLUE_POD, |pod| pod["status"] = status.clone());
            for (pod, hour, reason, message) in [
                ("blue-0", 1, reason, "older"),
                ("blue-0", 2, reason, message),
                ("other", 3, reason, "x"),
                ("blue-0", 4, "Another", "y"),
            ] {
                api.put(&format!("/api/v1/namespaces/ns/events/{pod}.{hour}"), event(pod, hour, reason, message));
            }
        };
        fails(&format!("blue of ns/model: 0 of 1 pods are ready; pod blue-0: {reason}: {message}"), &put);
        let ran = check(&put, &[]);
        assert!(ran.stdout.contains(hint), "{ran:?}");
        let forbidden = check(
            &|api| {
                put(api);
                api.fail("GET", "/api/v1/namespaces/ns/events", 403);
            },
            &[],
        );
        assert!(!forbidden.stdout.contains(reason), "{forbidden:?}");
    }
}

/// Rules for a destination that no rollout has, each with whether requests come to it that pick nothing by a header.
fn rules_without_a_rollout() -> [(String, bool); 6] {
    let rule = |how: &str| ROUTES.replace("  http:\n", &format!("  http:\n  - {how}\n"));
    let to = "route: [{destination: {host: other, port: {number: 5001}}}]";
    let split = |weight: u32| {
        let green = "{destination: {host: green, port: {number: 5001}}, weight: 10}";
        let other = format!("{{destination: {{host: other, port: {{number: 5001}}}}, weight: {weight}}}");
        rule(&format!("{{match: [{{uri: {{prefix: /other}}}}], route: [{green}, {other}]}}"))
    };
    let delegated = |condition: &str| {
        let outer = rule(&format!("{{match: [{condition}], delegate: {{name: inner}}}}"));
        let metadata = "metadata: {name: inner, namespace: ns}";
        format!(
            "{outer}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n{metadata}\nspec: {{http: [{{{to}}}]}}\n"
        )
    };
    let (path, pin) = ("{uri: {prefix: /other}}", "{headers: {x-api-version: {exact: other}}}");
    [
        (split(10), true),
        (split(0), false),
        (rule(&format!("{{match: [{path}], {to}}}")), true),
        (rule(&format!("{{match: [{pin}], {to}}}")), false),
        (delegated(path), true),
        (delegated(pin), false),
    ]
}

/// Of a destination that no rollout has.
fn title_of(routes: &str) -> String {
    let by = if routes.contains("delegate") { "inner" } else { "model" };
    format!("destination other.ns.svc.cluster.local of VirtualService ns/{by}: ")
}

fn put_other(api: &Api, routes: &str, spec: &Value) {
    publish(api, routes);
    api.put("/api/v1/namespaces/ns/services/other", json!({"metadata": {"name": "other"}, "spec": spec}));
}

fn put_pod(api: &Api, name: &str, status: &Value) {
    let metadata = json!({"name": name, "namespace": "ns", "labels": {"app": "other"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status});
    api.put(&format!("/api/v1/namespaces/ns/pods/{name}"), pod);
}

fn readiness(ready: &str) -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]})
}

type Judge = fn(&str, &dyn Fn(&Api));

/// Each by what it lacks, and by the rule that names it: where only a header leads to it, or nothing, that is a warning.
#[test]
fn a_destination_without_a_rollout_is_judged_by_the_requests_that_come_to_it() {
    for (routes, has_weight) in rules_without_a_rollout() {
        let (judge, gets): (Judge, _) = if has_weight {
            (fails, "requests for it get 503")
        } else {
            (warns, "it gets no request but a copy, or one that picks it by a header")
        };
        let title = title_of(&routes);
        let with_service = |api: &Api| put_other(api, &routes, &json!({"selector": {"app": "other"}}));
        judge(&format!("{title}there is no Service ns/other: {gets}"), &|api| publish(api, &routes));
        judge(&format!("{title}no pod in ns has the labels app=other: {gets}"), &with_service);
        judge(&format!("{title}0 of 1 pods are ready: {gets}"), &|api| {
            with_service(api);
            put_pod(api, "other-0", &readiness("False"));
        });
        for (status, said) in troubles() {
            judge(&format!("{title}0 of 1 pods are ready; pod other-0{said}"), &|api| {
                with_service(api);
                put_pod(api, "other-0", &status);
            });
            warns(&format!("{title}1 of 2 pods are ready; pod other-0{said}"), &|api| {
                with_service(api);
                put_pod(api, "other-0", &status);
                put_pod(api, "other-1", &readiness("True"));
            });
        }
    }
}

#[test]
fn a_destination_without_a_rollout_passes_where_it_has_what_it_needs_or_is_no_service_of_the_cluster() {
    for (routes, _) in rules_without_a_rollout() {
        let title = title_of(&routes);
        let passes = |change: &dyn Fn(&Api), said: &str| {
            let ran = check(change, &[]);
            assert!(ran.code == 0 && ran.stdout.contains(said) && !ran.stdout.contains(&title), "{}", ran.stdout);
        };
        passes(
            &|api| {
                put_other(api, &routes, &json!({"selector": {"app": "other"}}));
                put_pod(api, "other-0", &readiness("True"));
            },
            "+ 1 destinations without a rollout have what they need",
        );
        passes(
            &|api| put_other(api, &routes, &json!({"externalName": "other.example"})),
            "+ 1 destinations without a rollout have what they need",
        );
        passes(&|api| publish(api, &routes.replace("host: other", "host: other.example")), "failed: 0");
        let entry = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: ns}\n\
                     spec: {hosts: [other.ns.svc.cluster.local], ports: [{number: 5001, name: http, protocol: HTTP}], \
                     resolution: STATIC, endpoints: [{address: 127.0.0.1}]}\n";
        passes(&|api| publish(api, &(routes.clone() + entry)), "failed: 0");
    }
}

#[test]
fn a_subset_without_a_rollout_is_judged_by_its_own_pods() {
    let routes = ROUTES.replace("{host: blue,", "{host: green, subset: two,");
    let rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: ns}\n\
                spec: {host: green, subsets: [{name: two, labels: {version: two}}]}\n";
    let title = "destination green.ns.svc.cluster.local/two of VirtualService ns/model: ";
    fails(&format!("{title}no pod in ns has the labels app=green,version=two"), &|api| {
        publish(api, &(routes.clone() + rule));
    });
}

#[test]
fn a_green_that_is_replaced_is_needed_once_it_is_waited_for() {
    let replaced = |waiting: Value| {
        move |api: &Api| {
            let status =
                json!({"stage": "Blue_100", "candidate": {"revision": "v2"}, "weights": {"green": 0, "blue": 100}});
            api.put_rollout(&json!({"revision": "v2"}), &status);
            api.patch_status(&json!({"waiting": waiting}));
            for name in ["green-0", "green-1"] {
                api.remove(&format!("/api/v1/namespaces/ns/pods/{name}"));
            }
        }
    };
    let waiting = json!({"reason": "CandidateReady", "since": "2026-01-01T00:00:00Z"});
    fails("green of ns/model: no pod in ns has the labels app=green", &replaced(waiting));
    let ran = check(&replaced(Value::Null), &[]);
    assert!(ran.code == 0 && ran.stdout.contains("1 rollouts have the Services and pods"), "{}", ran.stdout);
}

fn start_with(api: &Api, spec: &Value) {
    start(api);
    api.edit(ROLLOUT, |rollout| {
        spec.as_object().unwrap().iter().for_each(|(name, value)| rollout["spec"][name] = value.clone());
    });
}

#[test]
fn a_blue_that_nobody_needs_may_be_gone() {
    for (phase, mark) in [("Complete", "+ "), ("RolledBack", "+ "), ("Idle", "! ")] {
        let ran = check(
            &|api| {
                api.put_rollout(&json!({}), &json!({"phase": phase, "weights": {"green": 100, "blue": 0}}));
                api.remove(BLUE);
            },
            &[],
        );
        let said = if mark == "+ " { "1 rollouts have the Services" } else { "blue of ns/model: there is no Service" };
        let is_it = |line: &str| line.starts_with(mark) && line.contains(said);
        assert!(ran.code == 0 && ran.stdout.lines().any(is_it), "{phase}:\n{}", ran.stdout);
    }
}

#[test]
fn pods_without_the_label_of_their_revision_are_told() {
    let unlabel = |api: &Api, name: &str| {
        api.edit(&format!("/api/v1/namespaces/ns/pods/{name}"), |pod| {
            pod["metadata"]["labels"].as_object_mut().unwrap().remove("turnout.dev/revision").unwrap();
        });
    };
    fails("blue of ns/model: pod blue-0 has no label turnout.dev/revision, and green's have it", &|api| {
        start(api);
        unlabel(api, "blue-0");
    });
    let both = |api: &Api| {
        start(api);
        for name in ["blue-0", "green-0", "green-1"] {
            unlabel(api, name);
        }
    };
    warns("green of ns/model: pod green-0 has no label turnout.dev/revision: what it serves", &both);
    warns("blue of ns/model: pod blue-0 has no label turnout.dev/revision: what it serves", &both);
    warns("pod blue-0 has the label turnout.dev/revision=v2, and v3 is to be rolled out", &|api| {
        start_with(api, &json!({"revision": "v3"}));
    });
}

/// A Gateway for a gateway with these labels, on two ports.
fn gateway(selector: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: door, namespace: ns}}
spec:
  selector: {{{selector}}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}]
"
    )
}

#[test]
fn what_is_published_and_leads_nowhere_is_named() {
    let bound = |to: &str| ROUTES.replace("  http:", &format!("  gateways: [{to}]\n  http:"));
    let published = |routes: String| move |api: &Api| publish(api, &routes);
    let ours = gateway("istio: ingressgateway");
    let ran = check(&published(bound("door") + &ours), &[]);
    assert!(ran.code == 0 && ran.stdout.contains("+ what is published names nothing that is not"), "{}", ran.stdout);
    fails(
        "Gateway ns/door: spec.selector: left out: this gateway does not have the label istio=other",
        &published(bound("door") + &gateway("istio: other")),
    );
    fails("VirtualService ns/model: spec.gateways: not served: it names none", &published(bound("window") + &ours));
    fails("VirtualService ns/model: spec: not served: it names no Gateway", &published(ROUTES.to_owned() + &ours));
    let mesh = bound("mesh") + &ours;
    fails("VirtualService ns/model: not served: it names none of the Gateways here", &published(mesh));
    let subset = ROUTES.replace("{host: blue,", "{host: blue, subset: two,");
    fails("destination.subset: requests get 503: no DestinationRule for blue.ns.svc", &published(subset));
    warns("gateway-0 says: no listener serves the Gateway port 81", &|api| {
        put_warning(api, "no listener serves the Gateway port 81: start the gateway with --listen 81=ADDR:PORT");
    });
}

/// What a rollout governs and no gateway serves: each with what is said of it, and of the way out.
#[test]
fn a_governed_virtual_service_that_is_not_served_has_failed() {
    let exported =
        |routes: &str, exports: &str| routes.replace("spec:\n", &format!("spec:\n  exportTo: [{exports}]\n"));
    let inner = ROUTES.replace("  hosts: [model.example]\n", "");
    let outer = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: outer, namespace: other}\n\
                 spec:\n  hosts: [model.example]\n  http: [{delegate: {name: model, namespace: ns}}]\n";
    let with_outer = |inner: &str, exports: &str| format!("{inner}---\n{}", exported(outer, exports));
    for (routes, said, hint) in [
        (
            exported(ROUTES, "."),
            "not served: it is not exported to this gateway's namespace, ",
            "under its spec.exportTo",
        ),
        (
            with_outer(&exported(&inner, "."), "'*'"),
            "not served: it is not exported to the namespace other, of which a rule delegates to it",
            "write other under its spec.exportTo",
        ),
        (
            with_outer(&inner, "."),
            "not served: only VirtualServices that are not served delegate to it",
            "delegate to it by one that is served",
        ),
        (inner.clone(), "spec: not served: it has no hosts, and no rule delegates to it", "write spec.hosts"),
    ] {
        let change = |api: &Api| publish(api, &routes);
        fails(&format!("VirtualService ns/model: {said}"), &change);
        assert!(check(&change, &[]).stdout.contains(hint), "{routes}");
    }
    for served in [with_outer(&inner, "'*'"), with_outer(&exported(&inner, "other"), "'*'")] {
        let ran = check(&|api| publish(api, &served), &[]);
        assert_eq!(ran.code, 0, "{}", ran.stdout);
    }
}

#[test]
fn each_rollout_is_that_of_the_release_whose_class_it_names() {
    let flags = |class: &[&'static str]| [&["run", "--namespaces=ns", "--lease=t"], class].concat();
    let variable = json!([{"name": "TURNOUT_CLASS", "value": "u"}]);
    for (arguments, variables) in
        [(flags(&["--class=u"]), Value::Null), (flags(&["--class", "u"]), Value::Null), (flags(&[]), variable)]
    {
        for (class, of_t, of_u) in [(Value::Null, 29, 18), (json!("u"), 21, 26)] {
            let ran = check(
                &|api| {
                    let mut other = api.get(CONTROLLER);
                    other["metadata"]["name"] = json!("u-controller");
                    let pod = &mut other["spec"]["template"]["spec"];
                    pod["serviceAccountName"] = json!("u");
                    pod["containers"][0]["args"] = json!(arguments);
                    pod["containers"][0]["env"] = variables.clone();
                    api.put(&CONTROLLER.replace("/t-", "/u-"), other);
                    api.edit(ROLLOUT, |rollout| {
                        rollout["spec"]["controller"] = class.clone();
                        rollout["spec"]["workload"] = json!("Managed");
                    });
                },
                &[],
            );
            assert_eq!(ran.stdout.matches("+ 1 found, ").count(), 1, "{class}:\n{}", ran.stdout);
            for (release, rights) in [("t", of_t), ("u", of_u)] {
                let line = format!("turnout:{release} has the {rights} rights that it needs in ns");
                assert!(ran.stdout.contains(&line), "{class}: {line}\n{}", ran.stdout);
            }
        }
    }
    warns("ns/model names the controller w, and none that was found has this class", &|api| {
        api.edit(ROLLOUT, |rollout| rollout["spec"]["controller"] = json!("w"));
    });
}

#[test]
fn rollouts_that_cannot_be_read_are_not_passed() {
    let later = |api: &Api| api.edit(ROLLOUT, |rollout| rollout["spec"]["later"] = json!(1));
    let hundred = |api: &Api| api.edit(ROLLOUT, |rollout| rollout["spec"]["green"] = json!(100));
    fails("cannot read the rollout ns/model: is it older than the cluster's CRD?: unknown field `later`", &later);
    fails("cannot read the rollout ns/model: is it older than the cluster's CRD?: invalid type", &hundred);
    fails("cannot list the rollouts of namespace ns: ", &|api| api.fail("GET", ROLLOUTS, 500));
    warns("cannot list the rollouts of namespace ns: ", &|api| api.fail("GET", ROLLOUTS, 403));
    let beside = |api: &Api| {
        let mut bad = api.get(ROLLOUT);
        bad["metadata"]["name"] = json!("bad");
        bad["status"] = json!({"phase": "Invalid", "message": "so"});
        api.put(&format!("{ROLLOUTS}/bad"), bad);
        later(api);
    };
    fails("ns/bad is not valid: so", &beside);
    for change in [&later as &dyn Fn(&Api), &beside, &|api| api.fail("GET", ROLLOUTS, 403)] {
        let ran = check(change, &[]);
        assert!(!ran.stdout.contains("nothing keeps the controller"), "{}", ran.stdout);
    }
}

#[test]
fn what_is_published_is_read_once_and_told_where_it_is_nothing() {
    let (api, directory) = (Api::start(), tempfile::tempdir().unwrap());
    api.put_rollout(&json!({}), &json!({"stage": "Green_100"}));
    installation::put(&api);
    let read = || {
        assert_eq!(turnout(&["check", "--kubeconfig", &api.kubeconfig(directory.path())]).code, 0);
        api.requests().iter().filter(|request| request.path == PUBLISHED).count()
    };
    assert_eq!(read(), 1);
    api.edit(CONTROLLER, |controller| {
        controller["spec"]["template"]["spec"]["containers"][0]["args"] =
            json!(["run", "--namespaces=ns", "--lease=t"]);
    });
    assert_eq!(read(), 0);
    finds(1, "! ", "ConfigMap turnout/t-routes: ", &|api| misspell_routes(api, PUBLISHED));
}

#[test]
fn application_routing_of_aks_beside_istios_definitions_fails() {
    let class = "/apis/gateway.networking.k8s.io/v1/gatewayclasses/approuting-istio";
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/virtualservices.networking.istio.io";
    fails("the GatewayClass approuting-istio is beside virtualservices.networking.istio.io", &|api| {
        api.put(class, json!({}));
        api.put(definition, json!({}));
    });
    for alone in [class, definition] {
        assert_eq!(check(&|api| api.put(alone, json!({})), &[]).code, 0, "{alone}");
    }
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
    for (phase, said) in [
        ("Invalid", "ns/model is not valid: bad"),
        ("Failed", "ns/model has failed: bad"),
        ("Stalled", "ns/model takes longer than it may: bad"),
    ] {
        fails(said, &|api| api.patch_status(&json!({"phase": phase, "message": "bad"})));
    }
    let elsewhere =
        check(&|api| api.patch_status(&json!({"phase": "Failed", "message": "bad"})), &["--context", "elsewhere"]);
    assert!(
        elsewhere.stdout.contains(" --context elsewhere -n ns model goes back; turnout rollout status --kubeconfig")
    );
    for (kind, said) in [
        ("Accepted", "ns/model cannot go on: Why: bad"),
        ("Healthy", "ns/model gives weight to a backend that cannot take it: bad"),
    ] {
        fails(said, &|api| {
            let condition = json!({"type": kind, "status": "False", "reason": "Why", "message": "bad",
                                   "lastTransitionTime": "2026-01-01T00:00:00Z"});
            api.patch_status(&json!({"conditions": [condition]}));
        });
    }
    fails("ns/model was never taken up by a controller", &|api| {
        api.edit(ROLLOUT, |rollout| {
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
    assert_eq!((&sound["well"], findings.len()), (&json!(true), 16));
    let subjects: BTreeSet<&str> = findings.iter().map(|finding| finding["subject"].as_str().unwrap()).collect();
    let expected =
        ["backends", "cluster", "controller", "definition", "documents", "gateway", "rights", "rollouts", "versions"];
    assert_eq!(subjects.into_iter().collect::<Vec<_>>(), expected);
    let ran = check(&|api| api.remove(LEASE), &["-o", "json"]);
    let result = ran.json();
    assert_eq!((ran.code, &result["well"]), (1, &json!(false)));
    let failed: Vec<_> = result["findings"].as_array().unwrap().iter().filter(|it| it["verdict"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((&failed[0]["subject"], &failed[0]["hint"]), (&json!("controller"), &json!("see the controller's log")));
}
