//! The way in and out: the Service's ports are those that the gateway listens on, selectors select what they should, and
//! the network policies leave open what is needed.

use crate::cases::{PodOf, Rendering, list, rendering, renderings, text, title};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Whether a pod has all these labels.
fn selects(selector: &Value, pod: &PodOf<'_>) -> bool {
    selector.as_object().unwrap().iter().all(|(key, value)| pod.metadata["labels"][key] == *value)
}

/// The components whose pods a selector takes.
fn selected(rendering: &Rendering, selector: &Value) -> BTreeSet<String> {
    let pods = rendering.pods();
    pods.iter().filter(|pod| selects(selector, pod)).map(|pod| pod.component.to_owned()).collect()
}

#[test]
fn the_service_leads_where_the_gateway_listens() {
    for rendering in renderings() {
        let Some(gateway) = rendering.pod("gateway") else { continue };
        let service = rendering.find("Service", "-gateway").unwrap();
        let bind = gateway.flag("status")[0].rsplit_once(':').unwrap().0;
        let container_ports = list(&gateway.containers()[0], "/ports");
        let wanted: Vec<String> = list(service, "/spec/ports")
            .iter()
            .map(|port| {
                let target = container_ports.iter().find(|target| target["name"] == port["targetPort"]).unwrap();
                format!("{}={bind}:{}", port["port"], target["containerPort"])
            })
            .collect();
        assert_eq!(gateway.flag("listen"), wanted, "{}", rendering.case);
    }
}

#[test]
fn selectors_select_one_component_each() {
    for rendering in renderings() {
        for service in rendering.of_kind("Service") {
            let component = if title(service).contains("-gateway") { "gateway" } else { "controller" };
            let found = selected(&rendering, &service["spec"]["selector"]);
            assert_eq!(found, BTreeSet::from([component.to_owned()]), "{}: {}", rendering.case, title(service));
        }
        for kind in ["Deployment", "PodDisruptionBudget"] {
            for object in rendering.of_kind(kind) {
                let found = selected(&rendering, object.pointer("/spec/selector/matchLabels").unwrap());
                assert_eq!(found.len(), 1, "{}: {}", rendering.case, title(object));
            }
        }
    }
}

/// The safeguards of AKS refuse it.
#[test]
fn no_two_services_have_one_selector() {
    for rendering in renderings() {
        let selectors: Vec<&Value> = rendering.of_kind("Service").map(|service| &service["spec"]["selector"]).collect();
        let is_alone = |one: &&Value| selectors.iter().filter(|other| *other == one).count() == 1;
        assert!(selectors.iter().all(is_alone), "{}: {selectors:?}", rendering.case);
    }
}

#[test]
fn the_status_port_is_on_no_service_that_clients_reach() {
    for rendering in renderings() {
        for service in rendering.of_kind("Service") {
            let headless = service["spec"]["clusterIP"] == "None";
            let has_status = list(service, "/spec/ports").iter().any(|port| port["targetPort"] == "status");
            assert!(headless || !has_status, "{}: {}", rendering.case, title(service));
        }
    }
}

#[test]
fn the_gateway_has_the_labels_that_documents_select() {
    for rendering in renderings() {
        let Some(gateway) = rendering.pod("gateway") else { continue };
        for pair in gateway.flag("labels")[0].split(',') {
            let (key, value) = pair.split_once('=').unwrap();
            assert_eq!(gateway.metadata["labels"][key], value, "{}", rendering.case);
        }
    }
    assert_eq!(rendering("two-namespaces").pod("gateway").unwrap().flag("labels"), ["istio=scoring-gateway,tier=edge"]);
}

#[test]
fn kiali_finds_the_workload_that_the_metrics_name() {
    let rendering = rendering("default");
    let gateway = rendering.pod("gateway").unwrap();
    assert_eq!(gateway.metadata["labels"]["app"], gateway.flag("workload")[0]);
    assert_eq!(gateway.metadata["labels"]["version"], "latest");
}

#[test]
fn credentials_are_mounted_where_the_gateway_looks() {
    let rendering = rendering("tls");
    let gateway = rendering.pod("gateway").unwrap();
    assert_eq!(gateway.flag("credentials"), ["/credentials"]);
    for name in ["scoring-tls", "partner-mtls"] {
        let mounts = list(&gateway.containers()[0], "/volumeMounts");
        let mount = mounts.iter().find(|mount| mount["mountPath"] == format!("/credentials/{name}")).unwrap();
        let volume = list(gateway.spec, "/volumes").iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        let expected = json!({"secretName": name, "defaultMode": 0o440, "optional": true});
        assert_eq!(volume["secret"], expected, "one that is missing must not keep the pod from starting");
    }
}

#[test]
fn policies_open_what_is_needed_and_nothing_else() {
    let rendering = rendering("two-namespaces");
    let policy = rendering.find("NetworkPolicy", "-gateway").unwrap();
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    let ingress = list(policy, "/spec/ingress");
    assert_eq!(ingress[0], json!({"ports": [{"port": 8080, "protocol": "TCP"}]}), "data ports, from anywhere");
    assert_eq!(ingress[1]["ports"], json!([{"port": 15021, "protocol": "TCP"}]));
    let sources = list(&ingress[1], "/from");
    assert_eq!(sources.len(), 2, "the controller, and Prometheus");
    let allowed = sources[1].pointer("/namespaceSelector/matchExpressions/0/values").unwrap();
    assert_eq!(*allowed, json!(["metrics", "platform"]));
    let egress = list(policy, "/spec/egress");
    assert_eq!(list(&egress[0], "/ports").iter().map(|port| &port["port"]).collect::<Vec<_>>(), [53, 53]);
    let namespaces = egress[1].pointer("/to/0/namespaceSelector/matchExpressions/0/values").unwrap();
    assert_eq!(*namespaces, json!(["abtesting", "forecasting"]));
    assert_eq!(text(&egress[2], "/to/0/ipBlock/cidr"), "203.0.113.0/24");
    assert_eq!((ingress.len(), egress.len()), (2, 3));
}
