//! The registry as gateways see it: what is published is compiled by the router, and each destination must come to
//! exactly the endpoints that are meant.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod property;
mod workload;

use super::*;
use crate::testing::rollout;
use crate::{Weights, publish, route_weights};
use serde_json::json;
use turnout_routes::documents::EndpointAddress;
use turnout_routes::router::{Backend, Identity, compile};

/// The namespace of the gateways.
const GATEWAYS: &str = "gw";

fn registry(documents: &[Document], services: &[ServiceFacts], by: EndpointsBy) -> Registry {
    super::registry(documents, GATEWAYS, services, by)
}

pub(super) fn documents(text: &str) -> Vec<Document> {
    parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).unwrap().documents
}

/// A VirtualService `model` in `ns` with these destinations, one rule each.
fn routes(destinations: &[&str]) -> String {
    let rule = |(index, destination): (usize, &&str)| {
        format!("{{match: [{{uri: {{prefix: /{index}}}}}], route: [{{destination: {destination}}}]}}")
    };
    let rules: Vec<String> = destinations.iter().enumerate().map(rule).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: model, namespace: ns}}\n\
         spec: {{hosts: [m.example], http: [{}]}}\n",
        rules.join(", ")
    )
}

/// A DestinationRule in `ns` with these subsets.
fn rule(host: &str, subsets: &str) -> String {
    let name = if host.starts_with('*') { "any" } else { host };
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: ns}}\n\
         spec: {{host: \"{host}\", subsets: [{subsets}]}}\n"
    )
}

/// `version: VALUE`.
fn version(name: &str) -> String {
    format!("{{name: {name}, labels: {{version: {name}}}}}")
}

/// A Service in `ns`: ports as `name:number:target`, labels as `key=value`.
fn service(name: &str, cluster_ip: &str, ports: &[&str], selector: &str) -> ServiceFacts {
    let port = |text: &&str| {
        let parts: Vec<&str> = text.split(':').collect();
        PortFacts {
            name: Some(parts[0].to_owned()),
            number: parts[1].parse().unwrap(),
            target: parts[2].parse().ok(),
            ..PortFacts::default()
        }
    };
    let labels = selector.split_whitespace().map(|label| label.split_once('=').unwrap());
    ServiceFacts {
        namespace: "ns".to_owned(),
        name: name.to_owned(),
        cluster_ip: Some(cluster_ip.to_owned()),
        external_name: None,
        ports: ports.iter().map(port).collect(),
        selector: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        deployments: BTreeMap::new(),
    }
}

fn model() -> ServiceFacts {
    service("model", "10.0.0.1", &["http:80:8080"], "app=model")
}

/// What a gateway makes of the documents, with the registry: every backend with its endpoints.
fn backends(text: &str, services: &[ServiceFacts], by: EndpointsBy) -> Vec<(String, Vec<String>)> {
    let documents = documents(text);
    let published = publish(&registry(&documents, services, by).join(&documents), &[]).unwrap();
    let router = compile(&self::documents(&published), &Identity::default());
    let endpoints = |backend: &Backend| {
        let endpoint = |source: &turnout_routes::router::EndpointSource| match &source.address {
            EndpointAddress::Ip(address) => format!("{address}:{}", source.port),
            EndpointAddress::Name(name) => format!("{name}:{}", source.port),
        };
        backend.endpoints.iter().map(endpoint).collect()
    };
    router.backends().iter().map(|backend| (backend.to_string(), endpoints(backend))).collect()
}

/// `model.ns:80` stands for `model.ns.svc.cluster.local:80`.
#[track_caller]
fn check(text: &str, services: &[ServiceFacts], by: EndpointsBy, expected: &[(&str, &[&str])]) {
    let found = backends(text, services, by);
    let in_full = |name: &str| name.replace(".ns:", ".ns.svc.cluster.local:");
    let expected: Vec<(String, Vec<String>)> = expected
        .iter()
        .map(|(backend, endpoints)| (in_full(backend), endpoints.iter().map(|endpoint| in_full(endpoint)).collect()))
        .collect();
    assert_eq!(found, expected, "{text}");
}

/// As `ns/service`, `ns/service/subset`, with `!` where only a header leads to it, or nothing.
fn named(text: &str) -> Vec<String> {
    let destinations = destinations_named(&documents(text), GATEWAYS).into_iter();
    let title = |NamedDestination { service, subset, has_weight, .. }| {
        let subset = subset.map(|subset| format!("/{subset}")).unwrap_or_default();
        format!("{service}{subset}{}", if has_weight { "" } else { "!" })
    };
    destinations.map(title).collect()
}

#[test]
fn services_are_named_by_destinations_that_nothing_describes() {
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(named(text), expected, "{text}");
    };
    let entry = |labels: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e, namespace: x, labels: \
             {{{labels}}}}}\nspec: {{hosts: [a.ns.svc.cluster.local], resolution: STATIC}}\n"
        )
    };
    let two = routes(&["{host: B}", "{host: a, subset: v1}", "{host: a.other.svc.cluster.local}"]);
    check(&two, &["ns/a/v1", "ns/b", "other/a"]);
    check(&(two.clone() + &entry("")), &["ns/b", "other/a"]);
    check(&(two + &entry("app.kubernetes.io/managed-by: turnout-controller")), &["ns/a/v1", "ns/b", "other/a"]);
    check(&routes(&["{host: m.example}", "{host: localhost}", "{host: a.ns}", "{host: a.ns.svc}"]), &[]);
    check(&(routes(&["{host: a}"]) + &rule("b", &version("v1"))), &["ns/a"]);
    check(&routes(&["{host: a}"]).replace("route: [{destination: {host: a}}]", "redirect: {uri: /}"), &[]);
    for mirror in ["mirror: {host: m, subset: v1}", "mirrors: [{destination: {host: m, subset: v1}}]"] {
        let with = |action: &str| routes(&["{host: a}"]).replace("route: [{destination: {host: a}}]", action);
        check(&with(&format!("route: [{{destination: {{host: a}}}}], {mirror}")), &["ns/a", "ns/m/v1!"]);
        check(&with(&format!("redirect: {{uri: /}}, {mirror}")), &[]);
    }
}

#[test]
fn a_destination_has_weight_where_requests_come_to_it_that_pick_nothing() {
    let pin = |headers: &str| {
        let rule = "{match: [{uri: {prefix: /0}}]";
        routes(&["{host: a}", "{host: b}"]).replace(rule, &format!("{{match: [{{uri: {{prefix: /0}}, {headers}}}]"))
    };
    for headers in ["headers: {x-api-version: {exact: blue}}", "headers: {x-api-version: {}, host: {exact: a}}"] {
        assert_eq!(named(&pin(headers)), ["ns/a!", "ns/b"], "{headers}");
    }
    for others in ["method: {exact: GET}", "headers: {\":authority\": {exact: a}}", "withoutHeaders: {x: {}}"] {
        assert_eq!(named(&pin(others)), ["ns/a", "ns/b"], "{others}");
    }
    let or = pin("headers: {x: {exact: a}}").replacen("}}]", "}}, {uri: {prefix: /1}}]", 1);
    assert_eq!(named(&or), ["ns/a", "ns/b"], "{or}");
    let split = |a: u32, b: u32| {
        let other = format!("{{host: a}}, weight: {a}}}, {{destination: {{host: b}}, weight: {b}");
        routes(&["{host: a}"]).replace("{host: a}", &other)
    };
    assert_eq!(named(&split(0, 100)), ["ns/a!", "ns/b"]);
    assert_eq!(named(&split(1, 1)), ["ns/a", "ns/b"]);
    let alone = routes(&["{host: a}"]).replace("{host: a}", "{host: a}, weight: 0");
    assert_eq!(named(&alone), ["ns/a"], "a single one gets everything");
}

#[test]
fn what_only_sidecars_serve_names_nothing() {
    let gateway = "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: ns}\n\
                   spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [m.example]}]}\n";
    let check = |gateways: &str, expected: usize| {
        let text = routes(&["{host: model}"]).replace("http: [", &format!("gateways: [{gateways}], http: ["));
        assert_eq!(named(&(text.clone() + gateway)).len(), expected, "{gateways}");
        assert_eq!(named(&text).len(), 1, "{gateways}");
    };
    check("", 0);
    check("mesh", 0);
    check("other", 0);
    check("elsewhere/edge", 0);
    check("edge", 1);
    check("mesh, ns/edge", 1);
}

#[test]
fn what_is_delegated_to_is_named_where_what_delegates_to_it_is_served() {
    let document = |kind: &str, name: &str, spec: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: ns}}\n\
             spec: {{{spec}}}\n"
        )
    };
    let gateway =
        document("Gateway", "edge", "servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [m.example]}]");
    let inner = document("VirtualService", "inner", "http: [{route: [{destination: {host: model}}]}]");
    let check = |gateways: &str, delegate: &str, expected: &[&str]| {
        let rule = format!("http: [{{delegate: {{name: {delegate}}}, mirror: {{host: copies}}}}]");
        let outer = document("VirtualService", "outer", &format!("hosts: [m.example], gateways: [{gateways}], {rule}"));
        assert_eq!(named(&format!("{gateway}{inner}{outer}")), expected, "{gateways} {delegate}");
    };
    check("edge", "inner", &["ns/copies!", "ns/model"]);
    // The rule is left out, with its copies.
    check("edge", "other", &[]);
    check("mesh", "inner", &[]);
}

/// What is not exported to the gateways does not count for them.
#[test]
fn services_are_named_by_what_gateways_see() {
    let document = |kind: &str, namespace: &str, name: &str, spec: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{{spec}}}\n"
        )
    };
    let route = "route: [{destination: {host: model.ns.svc.cluster.local}}]";
    let entry = |exports: &str| {
        let spec = format!("hosts: [model.ns.svc.cluster.local], resolution: STATIC, {exports}");
        document("ServiceEntry", "ns", "e", &spec)
    };
    let service =
        |exports: &str| document("VirtualService", "ns", "v", &format!("hosts: [h], http: [{{{route}}}], {exports}"));
    let outer = |exports: &str| {
        let rule = "http: [{delegate: {name: inner, namespace: other}}]";
        document("VirtualService", "ns", "outer", &format!("hosts: [h], {rule}, {exports}"))
    };
    let inner =
        |exports: &str| document("VirtualService", "other", "inner", &format!("http: [{{{route}}}], {exports}"));
    let inner_with_hosts =
        document("VirtualService", "other", "inner", &format!("hosts: [i], http: [{{{route}}}], exportTo: [ns]"));
    for (text, is_named) in [
        (service(""), true),
        (service("exportTo: [gw]"), true),
        (service("exportTo: [.]"), false),
        (service("exportTo: [other]"), false),
        // Another one describes it to those that see it.
        (service("") + &entry(""), false),
        (service("") + &entry("exportTo: [gw]"), false),
        (service("") + &entry("exportTo: [.]"), true),
        (service("") + &entry("exportTo: ['~']"), true),
        // A rule delegates to what its own namespace sees, and gateways see the rule.
        (outer("") + &inner(""), true),
        (outer("") + &inner("exportTo: [ns]"), true),
        (outer("") + &inner("exportTo: [gw]"), false),
        (outer("exportTo: [.]") + &inner(""), false),
        (outer("") + &inner_with_hosts, false),
    ] {
        assert_eq!(named(&text), if is_named { &["ns/model"][..] } else { &[] }, "{text}");
    }
    let subset = routes(&["{host: model, subset: v1}"]);
    for (exports, twins) in [("", 1), ("exportTo: [gw]", 1), ("exportTo: [.]", 0), ("exportTo: [other]", 0)] {
        let spec = format!("host: model, subsets: [{}], {exports}", version("v1"));
        let documents = documents(&(subset.clone() + &document("DestinationRule", "ns", "r", &spec)));
        assert_eq!(registry(&documents, &[model()], EndpointsBy::Twins).twins.len(), twins, "{exports}");
    }
}

#[test]
fn a_pin_is_one_through_a_delegate_too() {
    let (pin, path) = ("match: [{headers: {x-api-version: {exact: blue}}}]", "match: [{uri: {prefix: /a}}]");
    for (outer, inner, expected) in [
        (pin, path, "ns/model!"),
        (path, pin, "ns/model!"),
        (pin, "", "ns/model!"),
        ("", pin, "ns/model!"),
        (path, "", "ns/model"),
    ] {
        let fields = |matches: &str| if matches.is_empty() { String::new() } else { format!("{matches}, ") };
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: outer, namespace: ns}}\n\
             spec: {{hosts: [h], http: [{{{}delegate: {{name: inner}}}}]}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: inner, namespace: ns}}\n\
             spec: {{http: [{{{}route: [{{destination: {{host: model}}}}]}}]}}\n",
            fields(outer),
            fields(inner)
        );
        assert_eq!(named(&text), [expected], "{text}");
    }
}

#[test]
fn a_service_becomes_one_entry_and_one_twin() {
    let mut facts = service("model-svc-blue", "10.0.0.1", &[":5001:5001"], "app=model model_version=blue");
    facts.ports[0].name = None;
    let documents = documents(&routes(&["{host: model-svc-blue, port: {number: 5001}}"]));
    let registry = registry(&documents, &[facts.clone()], EndpointsBy::Twins);
    let expected = r#"apiVersion: "networking.istio.io/v1"
kind: "ServiceEntry"
metadata:
  name: "turnout-model-svc-blue"
  namespace: "ns"
  labels:
    "app.kubernetes.io/managed-by": "turnout-controller"
spec:
  hosts:
    - "model-svc-blue.ns.svc.cluster.local"
  location: "MESH_INTERNAL"
  ports:
    - number: 5001
      name: "port-5001"
      protocol: "HTTP"
  resolution: "DNS"
  endpoints:
    - address: "turnout-model-svc-blue.ns.svc.cluster.local"
      labels:
        app: "model"
        version: "blue"
        workload: "model-svc-blue"
"#;
    assert_eq!(render(&registry.entries), expected);
    let twin = Twin {
        namespace: "ns".to_owned(),
        name: "turnout-model-svc-blue".to_owned(),
        service: "model-svc-blue".to_owned(),
        selector: facts.selector,
        ports: vec![TwinPort { name: "port-5001".to_owned(), port: 5001 }],
    };
    assert_eq!((registry.twins, registry.notices), (vec![twin], Vec::new()));
}

#[test]
fn without_subsets_a_destination_has_the_twin_of_the_service() {
    let services = [model(), service("other", "10.0.0.2", &["http:80:80", "metrics:9090:9090"], "app=other")];
    check(
        &routes(&["{host: model}", "{host: model, port: {number: 80}}", "{host: other, port: {number: 9090}}"]),
        &services,
        EndpointsBy::Twins,
        &[("model.ns:80", &["turnout-model.ns:8080"]), ("other.ns:9090", &["turnout-other.ns:9090"])],
    );
    // A Service with several ports, and a destination that names none of them or another one, is no backend, as in Istio.
    check(&routes(&["{host: other}", "{host: other, port: {number: 81}}"]), &services, EndpointsBy::Twins, &[]);
}

#[test]
fn with_subsets_alone_there_is_no_twin_of_the_service() {
    let text = routes(&["{host: model, subset: v1}", "{host: model, subset: v2}"])
        + &rule("model", &format!("{}, {}", version("v1"), version("v2")));
    let (v1, v2) = ("turnout-model-v1-2a194434.ns:8080", "turnout-model-v2-167fd030.ns:8080");
    check(&text, &[model()], EndpointsBy::Twins, &[("model.ns:80/v1", &[v1]), ("model.ns:80/v2", &[v2])]);
    let registry = registry(&documents(&text), &[model()], EndpointsBy::Twins);
    let selectors: Vec<_> = registry.twins.iter().map(|twin| json!(twin.selector).to_string()).collect();
    assert_eq!(selectors, [r#"{"app":"model","version":"v1"}"#, r#"{"app":"model","version":"v2"}"#]);
}

#[test]
fn beside_subsets_the_whole_service_is_an_endpoint_that_no_narrower_subset_takes() {
    let subsets = format!("{}, {{name: all, labels: {{app: model}}}}, {{name: any}}", version("v1"));
    let text = routes(&[
        "{host: model}",
        "{host: model, subset: v1}",
        "{host: model, subset: all}",
        "{host: model, subset: any}",
        "{host: model, subset: none}",
    ]) + &rule("model", &subsets);
    let (v1, whole) = ("turnout-model-v1-2a194434.ns:8080", "turnout-model.ns:8080");
    check(
        &text,
        &[model()],
        EndpointsBy::Twins,
        &[
            ("model.ns:80", &[v1, whole]),
            ("model.ns:80/v1", &[v1]),
            ("model.ns:80/all", &[v1, whole]),
            ("model.ns:80/any", &[v1, whole]),
        ],
    );
    let alone = routes(&["{host: model, subset: all}"]) + &rule("model", "{name: all, labels: {app: model}}");
    check(&alone, &[model()], EndpointsBy::Twins, &[("model.ns:80/all", &[whole])]);
}

#[test]
fn a_subset_that_is_part_of_another_belongs_to_both() {
    let text = routes(&["{host: model, subset: v1}", "{host: model, subset: v1-here}"])
        + &rule("model", &format!("{}, {{name: v1-here, labels: {{version: v1, zone: here}}}}", version("v1")));
    let (narrow, wide) = ("turnout-model-v1-here-a17718eb.ns:8080", "turnout-model-v1-2a194434.ns:8080");
    check(
        &text,
        &[model()],
        EndpointsBy::Twins,
        &[("model.ns:80/v1", &[narrow, wide]), ("model.ns:80/v1-here", &[narrow])],
    );
}

#[test]
fn a_subset_never_takes_a_name_for_metrics_for_a_label_of_the_pods() {
    let facts = service("model", "10.0.0.1", &["http:80:8080"], "app.kubernetes.io/name=model model_version=v1");
    let text = routes(&["{host: model}", "{host: model, subset: v1}", "{host: model, subset: named}"])
        + &rule("model", &format!("{}, {{name: named, labels: {{workload: model}}}}", version("v1")));
    let found = backends(&text, std::slice::from_ref(&facts), EndpointsBy::ClusterIp);
    assert_eq!(found[1], ("model.ns.svc.cluster.local:80/v1".to_owned(), Vec::new()));
    assert_eq!(found[2], ("model.ns.svc.cluster.local:80/named".to_owned(), Vec::new()));
    let found = backends(&text, &[facts], EndpointsBy::Twins);
    assert_eq!((found[0].1.len(), found[1].1.len(), found[2].1.len()), (3, 1, 1), "{found:?}");
}

#[test]
fn services_without_pods_to_select_or_without_twins_are_one_endpoint() {
    let text = routes(&["{host: model}", "{host: model, subset: v1}"]) + &rule("model", &version("v1"));
    let check = |facts: &ServiceFacts, by, whole: &[&str], notice: &str| {
        check(&text, std::slice::from_ref(facts), by, &[("model.ns:80", whole), ("model.ns:80/v1", &[])]);
        let registry = registry(&documents(&text), std::slice::from_ref(facts), by);
        assert_eq!(registry.twins, []);
        assert_eq!(registry.notices, [format!("Subset v1 of Service ns/model has no endpoints: {notice}")]);
    };
    let turned_off = "subsets need twins, which are turned off";
    let no_selector = "the Service has no selector";
    let (twins, cluster_ip) = (EndpointsBy::Twins, EndpointsBy::ClusterIp);
    check(&model(), cluster_ip, &["10.0.0.1:80"], turned_off);
    let unselecting = service("model", "10.0.0.1", &["http:80:8080"], "");
    check(&unselecting, twins, &["10.0.0.1:80"], no_selector);
    check(&unselecting, cluster_ip, &["10.0.0.1:80"], no_selector);
    let six = service("model", "fd00::1", &["http:80:8080"], "");
    check(&six, twins, &["fd00::1:80"], no_selector);
    let headless = service("model", "None", &["http:80:8080"], "");
    check(&headless, twins, &["model.ns:8080"], no_selector);
    let headless = service("model", "None", &["http:80:8080"], "app=model");
    check(&headless, cluster_ip, &["model.ns:8080"], turned_off);
    let external = ServiceFacts { external_name: Some("M.Example.".to_owned()), ..model() };
    check(&external, twins, &["m.example:80"], "the Service stands for an external name");
    let address = ServiceFacts { external_name: Some("10.9.9.9".to_owned()), ..unselecting };
    check(&address, twins, &["10.9.9.9:80"], "the Service stands for an external name");
}

#[test]
fn a_headless_service_is_its_own_twin() {
    let text = routes(&["{host: model}", "{host: model, subset: v1}"]) + &rule("model", &version("v1"));
    let headless = service("model", "None", &["http:80:8080"], "app=model");
    let v1 = "turnout-model-v1-2a194434.ns:8080";
    let expected: [(&str, &[&str]); 2] = [("model.ns:80", &[v1, "model.ns:8080"]), ("model.ns:80/v1", &[v1])];
    check(&text, &[headless], EndpointsBy::Twins, &expected);
    let without_ports = ServiceFacts { cluster_ip: Some("None".to_owned()), ports: Vec::new(), ..model() };
    let text = routes(&["{host: model, port: {number: 5001}}"]);
    check(&text, &[without_ports], EndpointsBy::Twins, &[("model.ns:5001", &["model.ns:5001"])]);
}

#[test]
fn what_is_missing_or_contradicts_itself_is_told() {
    let check = |text: &str, services: &[ServiceFacts], expected: &str| {
        let registry = registry(&documents(text), services, EndpointsBy::Twins);
        assert_eq!(registry.notices, [expected], "{text}");
        (registry.entries.len(), registry.twins.len())
    };
    let unknown = "Service ns/model is named by VirtualService ns/model and not known: create it, or add its namespace to \
                   those that are governed";
    assert_eq!(check(&routes(&["{host: model}"]), &[service("other", "10.0.0.1", &[], "")], unknown), (0, 0));
    let nowhere = "Service ns/model has neither an address nor a selector: requests for it get 503";
    assert_eq!(check(&routes(&["{host: model}"]), &[service("model", "", &["http:80:80"], "")], nowhere), (0, 0));
    let contradicted = routes(&["{host: model, subset: b}"]) + &rule("model", "{name: b, labels: {app: b}}");
    let notice = "Subset b of Service ns/model has no endpoints: its labels contradict the Service's selector";
    assert_eq!(check(&contradicted, &[model()], notice), (1, 0));
    let backend: [(&str, &[&str]); 1] = [("model.ns:80/b", &[])];
    self::check(&contradicted, &[model()], EndpointsBy::Twins, &backend);
    let bad = service("model", "10.0.0.1", &["not a name:80:80"], "app=model");
    let notice = "Service ns/model is left out, since gateways would refuse its description: registry:14:13: ServiceEntry \
                  ns/turnout-model: spec.ports[0].name: \"not a name\" is not the name of a port; write at most 63 letters, \
                  digits and inner -";
    assert_eq!(check(&routes(&["{host: model}"]), &[bad], notice), (0, 0));
}

#[test]
fn the_labels_of_a_subset_are_in_the_name_of_its_twin() {
    let names = |value: &str| {
        let rule = rule("model", &format!("{{name: v, labels: {{version: {value}}}}}"));
        let documents = documents(&(routes(&["{host: model, subset: v}"]) + &rule));
        registry(&documents, &[model()], EndpointsBy::Twins).twins[0].name.clone()
    };
    assert_ne!(names("one"), names("two"));
    assert_eq!(names("one"), names("one"));
}

#[test]
fn a_rule_for_many_hosts_defines_subsets_of_each() {
    let text = routes(&["{host: model, subset: v1}"]) + &rule("*.ns.svc.cluster.local", &version("v1"));
    let v1 = "turnout-model-v1-2a194434.ns:8080";
    check(&text, &[model()], EndpointsBy::Twins, &[("model.ns:80/v1", &[v1])]);
}

#[test]
fn an_entry_keeps_clear_of_the_users_names() {
    let taken = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
                 metadata: {name: turnout-model, namespace: ns}\nspec: {hosts: [x.example], resolution: STATIC}\n";
    let text = routes(&["{host: model}"]) + taken;
    check(&text, &[model()], EndpointsBy::Twins, &[("model.ns:80", &["turnout-model.ns:8080"])]);
    let registry = registry(&documents(&text), &[model()], EndpointsBy::Twins);
    assert!(registry.entries[0].metadata().name.starts_with("turnout-model-"), "{registry:?}");
}

#[test]
fn what_was_published_gives_the_same_registry_again() {
    let text = routes(&["{host: model}", "{host: model, subset: v1}"]) + &rule("model", &version("v1"));
    let users = documents(&text);
    let first = registry(&users, &[model()], EndpointsBy::Twins);
    let published = publish(&first.join(&users), &[]).unwrap();
    let read_back = documents(&published);
    let again = registry(&read_back, &[model()], EndpointsBy::Twins);
    assert_eq!(again, first);
    assert_eq!(publish(&again.join(&read_back), &[]).unwrap(), published);
    assert_eq!(read_back.iter().filter(|document| !is_generated(document)).count(), users.len());
}

#[test]
fn a_rollouts_weights_are_set_beside_the_registry() {
    let split = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                 metadata: {name: model, namespace: abtesting}\nspec: {hosts: [m.example], http: [{route: [\
                 {destination: {host: model-svc-green}, weight: 1}, {destination: {host: model-svc-blue}, weight: 1}]}]}";
    let documents = documents(split);
    let rollout = rollout(json!({}));
    let joined = registry(&documents, &[], EndpointsBy::Twins).join(&documents);
    let weights = Weights { green: 30, blue: 70 };
    let text = publish(&joined, &[(&rollout, weights)]).unwrap();
    assert_eq!(route_weights(&self::documents(&text), &rollout), Ok(weights));
}
