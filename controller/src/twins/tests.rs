//! What is made of Services and Deployments as the API has them.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;
use serde_json::{Value, json};
use turnout_routes::documents::{Document, ExportTo};
use turnout_routes::{Source, parse};

/// The namespace `flagger` with a rule over these hosts.
fn view(hosts: &[&str]) -> View {
    let route: Vec<Value> = hosts.iter().map(|host| json!({"destination": {"host": host}, "weight": 1})).collect();
    let document = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "scorer", "namespace": "flagger"},
        "spec": {"hosts": ["m.example"], "http": [{"route": route}]},
    });
    let text = document.to_string();
    let mut view = View::default();
    view.documents.documents = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).unwrap().documents;
    view
}

fn add_service(view: &mut View, name: &str, selector: &Value, annotations: &Value) {
    let service = json!({
        "metadata": {"name": name, "namespace": "flagger", "uid": name, "annotations": annotations},
        "spec": {"clusterIP": "10.0.0.1", "selector": selector, "ports": [{"name": "http", "port": 80}]},
    });
    let name = ServiceName { namespace: "flagger".to_owned(), name: name.to_owned() };
    view.services.insert(name, serde_json::from_value(service).unwrap());
}

fn add_deployment(view: &mut View, namespace: &str, name: &str, app: &str) {
    let deployment = json!({
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "template": {"metadata": {"labels": {"app": app, "team": "scoring"}}},
        },
    });
    let deployment = serde_json::from_value(deployment).unwrap();
    view.deployments.entry(namespace.to_owned()).or_default().push(deployment);
}

fn workloads(view: &View) -> Vec<String> {
    let entries = registry(view, RegistryKind::Twins).entries;
    let of = |entry: &Document| match entry {
        Document::ServiceEntry(entry) => entry.resolution.endpoints()[0].labels["workload"].clone(),
        other => panic!("{other:?} is no ServiceEntry"),
    };
    entries.iter().map(of).collect()
}

#[test]
fn twins_are_made_for_what_the_gateways_see() {
    for (exports, expected) in [("gw", 1), ("flagger", 0)] {
        let mut view = view(&["scorer"]);
        view.gateways_namespace = "gw".to_owned();
        add_service(&mut view, "scorer", &json!({"app": "scorer"}), &json!({}));
        let Document::VirtualService(routes) = &mut view.documents.documents[0] else { panic!("no VirtualService") };
        routes.export_to = ExportTo::new(BTreeSet::from([exports.to_owned()]), "");
        assert_eq!(registry(&view, RegistryKind::Twins).twins.len(), expected, "{exports}");
    }
}

/// Flagger asks for `destination_workload=~"scorer"`, its target, and `scorer-primary`, which it makes of it; its Services
/// select by `app`.
#[test]
fn the_services_of_flagger_are_called_what_its_deployments_are() {
    let mut view = view(&["scorer-canary", "scorer-primary"]);
    add_service(&mut view, "scorer-canary", &json!({"app": "scorer"}), &json!({}));
    add_service(&mut view, "scorer-primary", &json!({"app": "scorer-primary"}), &json!({}));
    assert_eq!(workloads(&view), ["scorer-canary", "scorer-primary"]);
    add_deployment(&mut view, "elsewhere", "another", "scorer");
    add_deployment(&mut view, "flagger", "scorer", "scorer");
    add_deployment(&mut view, "flagger", "scorer-primary", "scorer-primary");
    assert_eq!(workloads(&view), ["scorer", "scorer-primary"]);
}

/// Argo Rollouts takes its hash out of the selector of any Service that has its annotation and that none of its rollouts
/// names. Without the annotation the selector stays.
#[test]
fn a_twin_selects_as_its_service_does_and_carries_nothing_by_which_others_manage_it() {
    let mut view = view(&["scorer-canary"]);
    let selector = json!({"app": "scorer", "rollouts-pod-template-hash": "6c5f"});
    let managed = json!({"argo-rollouts.argoproj.io/managed-by-rollouts": "scorer"});
    add_service(&mut view, "scorer-canary", &selector, &managed);
    let twin = service_of(&view, &registry(&view, RegistryKind::Twins).twins[0]);
    assert_eq!(twin.metadata.annotations, None);
    assert_eq!(json!(twin.metadata.labels), json!({MANAGED_BY: FIELD_MANAGER, TWIN_OF: "scorer-canary"}));
    assert_eq!(json!(twin.spec.unwrap().selector), selector);
}

#[test]
fn a_twin_has_the_first_address_family_of_its_service_and_keeps_it() {
    let mut view = view(&["scorer-canary"]);
    add_service(&mut view, "scorer-canary", &json!({"app": "scorer"}), &json!({}));
    let name = ServiceName { namespace: "flagger".to_owned(), name: "scorer-canary".to_owned() };
    let made = |view: &View| service_of(view, &registry(view, RegistryKind::Twins).twins[0]);
    assert_eq!((made(&view).spec.unwrap().ip_families, family(&view, &name)), (None, None), "nothing says it");
    let families = |view: &mut View, name: &ServiceName, families: &[&str]| {
        let spec = view.services.get_mut(name).unwrap().spec.as_mut().unwrap();
        spec.ip_families = Some(families.iter().map(|&family| family.to_owned()).collect());
    };
    families(&mut view, &name, &["IPv6", "IPv4"]);
    let twin = made(&view);
    let spec = twin.spec.clone().unwrap();
    assert_eq!(json!([spec.ip_families, spec.ip_family_policy]), json!([["IPv6"], "SingleStack"]));
    assert_eq!(family(&view, &name), Some("IPv6"));

    let twin_name = ServiceName { namespace: "flagger".to_owned(), name: twin.name_any() };
    view.services.insert(twin_name.clone(), twin);
    families(&mut view, &twin_name, &["IPv4"]);
    assert_eq!(family(&view, &name), Some("IPv4"), "it was made before its Service had two");
}

/// One Service, of which the pods of two images listen at different ports.
#[test]
fn a_named_port_is_where_most_pods_are_ready() {
    let check = |kept: Option<u16>, slices: &[(u16, &[bool])], expected: u16| {
        let mut view = view(&["scorer"]);
        add_service(&mut view, "scorer", &json!({"app": "scorer"}), &json!({}));
        let name = ServiceName { namespace: "flagger".to_owned(), name: "scorer".to_owned() };
        let ports = &mut view.services.get_mut(&name).unwrap().spec.as_mut().unwrap().ports;
        ports.as_mut().unwrap()[0].target_port = Some(IntOrString::String("http".to_owned()));
        let twin = |view: &View| service_of(view, &registry(view, RegistryKind::Twins).twins[0]);
        if let Some(port) = kept {
            let mut kept = twin(&view);
            kept.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].port = i32::from(port);
            view.services.insert(ServiceName { name: kept.name_any(), ..name.clone() }, kept);
        }
        let slice = |(port, ready): &(u16, &[bool])| -> EndpointSlice {
            let endpoint = |ready: &bool| json!({"addresses": ["10.0.0.9"], "conditions": {"ready": ready}});
            let endpoints: Vec<Value> = ready.iter().map(endpoint).collect();
            let ports = json!([{"name": "http", "port": port}]);
            let slice = json!({"metadata": {}, "addressType": "IPv4", "ports": ports, "endpoints": endpoints});
            serde_json::from_value(slice).unwrap()
        };
        view.slices.insert(name, slices.iter().map(slice).collect());
        let ports = twin(&view).spec.unwrap().ports.unwrap();
        assert_eq!(ports[0].port, i32::from(expected), "{kept:?} {slices:?}");
    };
    check(None, &[], 80);
    check(Some(5001), &[], 5001);
    check(None, &[(5002, &[false])], 5002);
    for (old, new) in [(5001, 5002), (5002, 5001)] {
        check(Some(old), &[(old, &[false]), (new, &[true])], new);
        check(Some(old), &[(new, &[true]), (old, &[false, false])], new);
        check(Some(old), &[(old, &[true]), (new, &[true])], old);
        check(Some(old), &[(old, &[true]), (new, &[true, true])], new);
        check(Some(old), &[(old, &[false]), (new, &[false])], old);
    }
}
