//! The ports of a Service as a ServiceEntry has them. Every TCP port is there, whatever it calls itself: Istio too sends
//! HTTP to the port that a route names, and a destination that names none is for a Service with one port only.

use super::named::Named;
use super::{PortFacts, ServiceFacts, TwinPort};
use std::collections::BTreeSet;
use turnout_routes::documents::{Protocol, ServicePort};

/// Which number is at the other end of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// That of the pods.
    AtPods,
    /// That of the Service.
    AtService,
}

/// The ports, named and without doubles. A Service without any (some headless ones, and those that stand for an external
/// name) has those that routes name.
pub(super) fn service_ports(facts: &ServiceFacts, named: &Named, ends: Ends) -> Vec<ServicePort> {
    let tcp = facts.ports.iter().filter(|port| is_tcp(port));
    let of_routes: Vec<PortFacts>;
    let listed: Vec<&PortFacts> = if facts.ports.is_empty() {
        let port = |number: &u16| PortFacts { number: *number, ..PortFacts::default() };
        of_routes = named.ports.iter().map(port).collect();
        of_routes.iter().collect()
    } else {
        tcp.collect()
    };
    let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
    let given: BTreeSet<&str> = listed.iter().filter_map(|port| port.name.as_deref()).collect();
    let mut ports = Vec::new();
    for port in listed {
        let number = port.number;
        if !numbers.insert(number) {
            continue;
        }
        let own = port.name.clone().filter(|name| !name.is_empty() && !names.contains(name));
        let name = own.unwrap_or_else(|| {
            let numbered = std::iter::once(format!("port-{number}"));
            let mut others = numbered.chain((2..).map(|again: u32| format!("port-{number}-{again}")));
            others.find(|other| !names.contains(other) && !given.contains(other.as_str())).unwrap_or_default()
        });
        names.insert(name.clone());
        let target_port = port.target.filter(|target| ends == Ends::AtPods && *target != number);
        ports.push(ServicePort { number, name, protocol: protocol(port), target_port });
    }
    ports
}

/// A twin's ports: the pods', each once.
pub(super) fn twin_ports(ports: &[ServicePort]) -> Vec<TwinPort> {
    let mut numbers = BTreeSet::new();
    let ports = ports.iter().map(|port| (port.target_port.unwrap_or(port.number), port.name.clone()));
    ports.filter(|(port, _)| numbers.insert(*port)).map(|(port, name)| TwinPort { name, port }).collect()
}

/// What people should know of the ports that routes use.
pub(super) fn notices(facts: &ServiceFacts, named: &Named, ends: Ends) -> Vec<String> {
    let service = format!("Service {}/{}", facts.namespace, facts.name);
    let only = facts.ports.len() == 1 && named.without_port;
    let used = facts.ports.iter().filter(|port| is_tcp(port) && (only || named.ports.contains(&port.number)));
    let mut notices = Vec::new();
    for port in used {
        let number = port.number;
        if ends == Ends::AtPods && port.target.is_none() {
            notices.push(format!(
                "{service} has a target port by name for port {number}, and no pod has told its number yet: {number} is \
                 taken until one does"
            ));
        }
    }
    notices
}

fn is_tcp(port: &PortFacts) -> bool {
    port.protocol.as_deref().is_none_or(|protocol| matches!(protocol, "" | "TCP"))
}

/// Istio's rule for the protocol of a port: `appProtocol`, else the port's name up to its first dash.
fn protocol(port: &PortFacts) -> Protocol {
    let name = port.name.as_deref().unwrap_or_default();
    let by_name = if name.starts_with("grpc-web") { "grpc-web" } else { name.split('-').next().unwrap_or_default() };
    let protocol = port.app_protocol.as_deref().filter(|protocol| !protocol.is_empty()).unwrap_or(by_name);
    match protocol.to_ascii_lowercase().as_str() {
        "grpc" => Protocol::Grpc,
        "grpc-web" => Protocol::GrpcWeb,
        "http2" | "kubernetes.io/h2c" => Protocol::Http2,
        _ => Protocol::Http,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(text: &str) -> PortFacts {
        // name/number/protocol/appProtocol/target; a part that is empty is absent.
        let parts: Vec<&str> = text.split('|').collect();
        let part = |index: usize| parts.get(index).filter(|part| !part.is_empty()).map(|part| (*part).to_owned());
        PortFacts {
            name: part(0),
            number: part(1).and_then(|number| number.parse().ok()).unwrap_or_default(),
            protocol: part(2),
            app_protocol: part(3),
            target: part(4).and_then(|target| target.parse().ok()),
        }
    }

    fn facts(ports: &[&str]) -> ServiceFacts {
        let ports = ports.iter().map(|text| port(text)).collect();
        ServiceFacts { namespace: "ns".to_owned(), name: "model".to_owned(), ports, ..ServiceFacts::default() }
    }

    fn named(ports: &[u16], without_port: bool) -> Named {
        let (by, subsets) = ("VirtualService ns/model".to_owned(), BTreeSet::new());
        Named { by, whole: true, ports: ports.iter().copied().collect(), without_port, subsets }
    }

    #[test]
    fn every_tcp_port_is_there_once_and_has_a_name() {
        let check = |ports: &[&str], expected: &[(u16, &str, Option<u16>)]| {
            let found = service_ports(&facts(ports), &named(&[80, 81], false), Ends::AtPods);
            let found: Vec<_> = found.iter().map(|port| (port.number, port.name.as_str(), port.target_port)).collect();
            assert_eq!(found, expected, "{ports:?}");
        };
        check(&["|5001|||5001"], &[(5001, "port-5001", None)]);
        check(&["http|80|TCP||8080"], &[(80, "http", Some(8080))]);
        check(&["http|80|||", "metrics|9090|||9090"], &[(80, "http", None), (9090, "metrics", None)]);
        check(&["dns|53|UDP||", "dns-tcp|53|TCP||", "sctp|54|SCTP||"], &[(53, "dns-tcp", None)]);
        check(&["tcp-db|5432|||"], &[(5432, "tcp-db", None)]);
        check(&["a|1|||", "a|2|||", "b|1|||"], &[(1, "a", None), (2, "port-2", None)]);
        check(&["|2|||", "port-2|1|||"], &[(2, "port-2-2", None), (1, "port-2", None)]);
        check(&["dns|53|UDP||"], &[]);
        check(&[], &[(80, "port-80", None), (81, "port-81", None)]);
    }

    #[test]
    fn a_services_own_address_has_its_own_ports() {
        let ports = service_ports(&facts(&["http|80|||8080"]), &named(&[], true), Ends::AtService);
        assert_eq!(ports[0].target_port, None);
    }

    #[test]
    fn a_twin_has_the_ports_of_the_pods() {
        let ports = service_ports(&facts(&["a|80|||8080", "b|81|||8080", "c|82|||"]), &named(&[], true), Ends::AtPods);
        let twin = |name: &str, port| TwinPort { name: name.to_owned(), port };
        assert_eq!(twin_ports(&ports), [twin("a", 8080), twin("c", 82)]);
    }

    #[test]
    fn ports_that_will_not_work_are_told_where_a_route_uses_them() {
        let check = |port: &str, named: &Named, ends, expected: &[&str]| {
            let found = notices(&facts(&[port]), named, ends);
            assert_eq!(found.len(), expected.len(), "{port}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with("Service ns/model ") && found.contains(expected), "{found}");
            }
        };
        let (eighty, only, other) = (named(&[80], false), named(&[], true), named(&[81], false));
        let unknown = "no pod has told its number yet";
        check("http|80|||80", &eighty, Ends::AtPods, &[]);
        check("http|80|||", &eighty, Ends::AtPods, &[unknown]);
        check("http|80|||", &only, Ends::AtPods, &[unknown]);
        check("http|80|||", &other, Ends::AtPods, &[]);
        check("http|80|||", &eighty, Ends::AtService, &[]);
    }

    #[test]
    fn what_is_spoken_at_a_port_is_said_by_its_app_protocol_or_its_name() {
        let check = |port: &str, expected| {
            let ports = service_ports(&facts(&[port]), &named(&[80], false), Ends::AtPods);
            assert_eq!(ports[0].protocol, expected, "{port}");
        };
        check("http|80|||", Protocol::Http);
        check("|80|||", Protocol::Http);
        check("grpc|80|||", Protocol::Grpc);
        check("grpc-score|80|||", Protocol::Grpc);
        check("grpcscore|80|||", Protocol::Http);
        check("grpc-web|80|||", Protocol::GrpcWeb);
        check("grpc-web-score|80|||", Protocol::GrpcWeb);
        check("http2|80|||", Protocol::Http2);
        check("x|80||kubernetes.io/h2c|", Protocol::Http2);
        check("x|80||GRPC|", Protocol::Grpc);
        check("http2|80||http|", Protocol::Http);
    }
}
