//! Random routes, subsets, Services and pods: each backend of the compiled router has exactly the pods that Istio gives
//! it, whatever else is published, and nothing depends on the order of what is given.

use super::super::*;
use super::documents;
use crate::hosts::full_host;
use crate::publish;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use std::collections::BTreeSet;
use std::fmt::Write;
use turnout_routes::documents::EndpointAddress;
use turnout_routes::router::{Backend, Identity, Router, compile};

type Labels = BTreeMap<String, String>;

/// Two Services, what the documents say of them, and pods.
#[derive(Clone, Debug)]
struct World {
    services: Vec<ServiceFacts>,
    /// Of each Service's DestinationRule.
    subsets: Vec<BTreeMap<String, Labels>>,
    /// Service, subset and port of each destination.
    destinations: Vec<(usize, Option<String>, Option<u16>)>,
    pods: Vec<Labels>,
}

const SERVICES: [&str; 2] = ["a", "a-b"];

fn labels(most: usize) -> impl Strategy<Value = Labels> {
    let key = select(vec!["app", "version", "workload", "model_version", "app.kubernetes.io/name"]);
    let value = select(vec!["a", "b"]);
    btree_map(key.prop_map(str::to_owned), value.prop_map(str::to_owned), 0..=most)
}

fn service(name: &'static str) -> impl Strategy<Value = ServiceFacts> {
    let port = (
        option::of(select(vec!["", "http", "grpc-x", "port-80"])),
        select(vec![80u16, 81, 82]),
        option::of(select(vec!["TCP", "UDP"])),
        option::of(select(vec![8080u16, 80])),
    );
    let port = port.prop_map(|(name, number, protocol, target)| PortFacts {
        name: name.map(str::to_owned),
        number,
        protocol: protocol.map(str::to_owned),
        app_protocol: None,
        target,
    });
    let cluster_ip = option::of(select(vec!["10.0.0.1", "None", ""]));
    let external_name = option::weighted(0.1, Just("m.example".to_owned()));
    let deployments = btree_map(select(vec!["d", "e"]).prop_map(str::to_owned), labels(4), 0..3);
    (cluster_ip, external_name, vec(port, 0..3), labels(2), deployments).prop_map(
        move |(cluster_ip, external_name, ports, selector, deployments)| {
            let (namespace, name, cluster_ip) = ("ns".to_owned(), name.to_owned(), cluster_ip.map(str::to_owned));
            ServiceFacts { namespace, name, cluster_ip, external_name, ports, selector, deployments }
        },
    )
}

fn world() -> impl Strategy<Value = World> {
    let subset = || select(vec!["b", "V1", "v1"]).prop_map(str::to_owned);
    let services = (service(SERVICES[0]), service(SERVICES[1])).prop_map(|(first, second)| vec![first, second]);
    let destination = (0..2usize, option::of(subset()), option::of(select(vec![80u16, 81, 90])));
    (services, vec(btree_map(subset(), labels(2), 0..3), 2), vec(destination, 1..6), vec(labels(4), 0..6))
        .prop_map(|(services, subsets, destinations, pods)| World { services, subsets, destinations, pods })
}

impl World {
    fn documents(&self) -> Vec<Document> {
        let head = |kind: &str, name: &str| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: ns}}\n"
            )
        };
        let rules: Vec<String> = self
            .destinations
            .iter()
            .enumerate()
            .map(|(index, (service, subset, port))| {
                let subset = subset.as_ref().map(|subset| format!(", subset: {subset}")).unwrap_or_default();
                let port = port.map(|port| format!(", port: {{number: {port}}}")).unwrap_or_default();
                format!(
                    "{{match: [{{uri: {{prefix: /{index}}}}}], route: [{{destination: {{host: {}{subset}{port}}}}}]}}",
                    SERVICES[*service]
                )
            })
            .collect();
        let mut text = head("VirtualService", "model");
        let _ = writeln!(text, "spec: {{hosts: [m.example], http: [{}]}}", rules.join(", "));
        for (service, subsets) in SERVICES.iter().zip(&self.subsets) {
            let subsets: Vec<_> =
                subsets.iter().map(|(name, labels)| serde_json::json!({"name": name, "labels": labels})).collect();
            let _ = writeln!(
                text,
                "{}spec: {}",
                head("DestinationRule", service),
                serde_json::json!({"host": service, "subsets": subsets})
            );
        }
        documents(&text)
    }

    /// The pods that have all of the labels.
    fn selected(&self, labels: &Labels) -> BTreeSet<usize> {
        let has_all = |pod: &Labels| labels.iter().all(|(key, value)| pod.get(key) == Some(value));
        self.pods.iter().enumerate().filter(|(_, pod)| has_all(pod)).map(|(index, _)| index).collect()
    }

    /// The pods that Istio sends to.
    fn expected(&self, service: usize, subset: Option<&str>) -> BTreeSet<usize> {
        let all = self.selected(&self.services[service].selector);
        match subset.map(|subset| &self.subsets[service][subset]) {
            Some(labels) => all.intersection(&self.selected(labels)).copied().collect(),
            None => all,
        }
    }

    /// The pods that a name stands for in DNS, by the Services and the twins.
    fn look_up(&self, name: &str, twins: &[Twin]) -> BTreeSet<usize> {
        if let Some(twin) = twins.iter().find(|twin| full_host(&twin.name, &twin.namespace) == name) {
            return self.selected(&twin.selector);
        }
        let headless = |facts: &&ServiceFacts| {
            facts.cluster_ip.as_deref() == Some("None") && full_host(&facts.name, &facts.namespace) == name
        };
        let found = self.services.iter().find(headless).expect("only twins and headless Services are looked up");
        self.selected(&found.selector)
    }

    /// Whether the backend has what it should.
    fn check(&self, backend: &Backend, twins: &[Twin], by: EndpointsBy) -> Result<(), TestCaseError> {
        let service = SERVICES.iter().position(|name| full_host(name, "ns") == backend.host).unwrap();
        let facts = &self.services[service];
        let target =
            facts.ports.iter().find(|port| port.number == backend.port && port.protocol.as_deref() != Some("UDP"));
        let target = target.and_then(|port| port.target).unwrap_or(backend.port);
        let is_external = facts.external_name.is_some();
        if is_external || by == EndpointsBy::ClusterIp || facts.selector.is_empty() {
            let is_of_all = |(key, value)| !is_external && facts.selector.get(key) == Some(value);
            let is_whole = backend.subset.as_ref().is_none_or(|name| self.subsets[service][name].iter().all(is_of_all));
            prop_assert_eq!(backend.endpoints.len(), usize::from(is_whole), "{}", backend);
            return Ok(());
        }
        let mut found = BTreeSet::new();
        for source in &backend.endpoints {
            prop_assert_eq!(source.port, target, "{}", backend);
            let EndpointAddress::Name(name) = &source.address else { panic!("{backend} has an address") };
            found.extend(self.look_up(name, twins));
        }
        prop_assert_eq!(found, self.expected(service, backend.subset.as_deref()), "{}", backend);
        Ok(())
    }
}

fn compiled(text: &str) -> Router {
    compile(&documents(text), &Identity::default())
}

fn holds(world: &World, by: EndpointsBy) -> Result<(), TestCaseError> {
    let documents = world.documents();
    let registry = super::registry(&documents, &world.services, by);
    let text = publish(&registry.join(&documents), &[]).unwrap();
    let names: BTreeSet<&str> = registry.twins.iter().map(|twin| twin.name.as_str()).collect();
    prop_assert_eq!(names.len(), registry.twins.len(), "two twins of one name");
    for twin in &registry.twins {
        prop_assert!(!twin.selector.is_empty() && twin.name.len() <= 63, "{:?}", twin);
        let ports: BTreeSet<u16> = twin.ports.iter().map(|port| port.port).collect();
        prop_assert_eq!(ports.len(), twin.ports.len(), "{:?}", twin);
    }
    for backend in compiled(&text).backends() {
        let host = ServiceName::of_host(&backend.host).unwrap();
        // One without an entry is looked up by its own name, and is none of the registry's.
        if registry.entries.iter().any(|entry| entry.metadata().name == format!("turnout-{}", host.name)) {
            world.check(backend, &registry.twins, by)?;
        }
    }
    let reversed = |items: &[Document]| items.iter().rev().cloned().collect::<Vec<_>>();
    let services: Vec<_> = world.services.iter().rev().cloned().collect();
    prop_assert_eq!(super::registry(&reversed(&documents), &services, by), registry);
    Ok(())
}

#[test]
fn every_backend_has_exactly_the_pods_of_its_destination() {
    let settings = Config { cases: 4000, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(settings).run(&(world(), any::<bool>()), |(world, has_twins)| {
        holds(&world, if has_twins { EndpointsBy::Twins } else { EndpointsBy::ClusterIp })
    });
    result.unwrap();
}
