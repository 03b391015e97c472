//! A destination is warned of exactly if its requests would get 503: over every form of a host, with and without a port,
//! with every kind of subset and beside every kind of ServiceEntry.

use http::HeaderMap;
use turnout_routes::documents::Scheme;
use turnout_routes::explain::{Explanation, Inquiry, explain};
use turnout_routes::router::{Decision, Draws, Identity, RequestHead, Router, Transport, compile};
use turnout_routes::{Source, parse};

const FULL: &str = "m.default.svc.cluster.local";

/// As a destination writes it, and the service that it means. Istio takes no address for a host.
const HOSTS: [(&str, &str); 5] = [
    ("m", FULL),
    (FULL, FULL),
    ("m.example.com", "m.example.com"),
    ("M.Example.com", "m.example.com"),
    ("localhost", "localhost"),
];
const PORTS: [Option<u16>; 2] = [None, Some(80)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Subset {
    None,
    /// With the label `version: v1`.
    Labelled,
    /// Without labels: it has every endpoint.
    Whole,
    Undefined,
}
const SUBSETS: [Subset; 4] = [Subset::None, Subset::Labelled, Subset::Whole, Subset::Undefined];

/// The ServiceEntry of the host: its ports, and whether the endpoint that it has is of version v1. One for DNS without
/// endpoints has that which its own name stands for.
#[derive(Clone, Copy, Debug)]
struct Entry {
    resolution: &'static str,
    ports: &'static [u16],
    labelled: Option<bool>,
}
const ENTRIES: [Option<Entry>; 11] = [
    None,
    Some(entry("STATIC", &[80], Some(true))),
    Some(entry("STATIC", &[81], Some(true))),
    Some(entry("STATIC", &[80, 81], Some(true))),
    Some(entry("STATIC", &[], Some(true))),
    Some(entry("STATIC", &[80], Some(false))),
    Some(entry("STATIC", &[80], None)),
    Some(entry("DNS", &[80], Some(true))),
    Some(entry("DNS", &[80], Some(false))),
    Some(entry("DNS", &[80], None)),
    Some(entry("DNS", &[81], None)),
];

const fn entry(resolution: &'static str, ports: &'static [u16], labelled: Option<bool>) -> Entry {
    Entry { resolution, ports, labelled }
}

/// What the rules of the language come to.
fn is_served(port: Option<u16>, subset: Subset, entry: Option<Entry>) -> bool {
    let has_port = match (entry, port) {
        (None, port) => port.is_some(),
        (Some(entry), Some(port)) => entry.ports.contains(&port),
        (Some(entry), None) => entry.ports.len() == 1,
    };
    let has_endpoint = match (entry, subset) {
        (_, Subset::Undefined) => false,
        (None, subset) => subset != Subset::Labelled,
        (Some(entry), Subset::Labelled) => entry.labelled == Some(true),
        (Some(entry), Subset::None | Subset::Whole) => entry.labelled.is_some() || entry.resolution == "DNS",
    };
    has_port && has_endpoint
}

fn documents(host: &str, service: &str, port: Option<u16>, subset: Subset, entry: Option<Entry>) -> String {
    let port = port.map(|port| format!(", port: {{number: {port}}}")).unwrap_or_default();
    let name = match subset {
        Subset::None => "",
        Subset::Labelled => ", subset: labelled",
        Subset::Whole => ", subset: whole",
        Subset::Undefined => ", subset: undefined",
    };
    let api = "apiVersion: networking.istio.io/v1, metadata: {name: m}";
    let labelled_api = "apiVersion: networking.istio.io/v1, metadata: {name: m, labels: {version: v1}}";
    let rules = format!(
        "{{{api}, kind: VirtualService, spec: {{hosts: [a], http: [
            {{match: [{{uri: {{prefix: /never}}}}], directResponse: {{status: 200}}}},
            {{route: [{{destination: {{host: never}}, weight: 0}}, {{destination: {{host: {host}{port}{name}}}, weight: 1}}]}}]}}}}"
    );
    let subsets = format!(
        "{{{api}, kind: DestinationRule, spec: {{host: {service}, subsets: [
            {{name: labelled, labels: {{version: v1}}}}, {{name: whole}}]}}}}"
    );
    let entry = entry.map(|entry| {
        let ports = entry.ports.iter().map(|port| format!("{{number: {port}, name: p{port}, protocol: HTTP}}"));
        let ports = ports.collect::<Vec<_>>().join(", ");
        let endpoint = match entry.labelled {
            None => "",
            Some(false) => "{address: 127.0.0.1, labels: {version: v2}}",
            Some(true) => "{address: 127.0.0.1, labels: {version: v1, app: m}}",
        };
        format!(
            "{{{labelled_api}, kind: ServiceEntry, spec: {{hosts: [{service}], location: MESH_INTERNAL,
                resolution: {}, ports: [{ports}], endpoints: [{endpoint}]}}}}",
            entry.resolution
        )
    });
    [rules, subsets].into_iter().chain(entry).collect::<Vec<_>>().join("\n---\n")
}

fn compiled(text: &str) -> Router {
    let parsed = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]);
    let parsed = parsed.unwrap_or_else(|problems| panic!("refused:\n{problems}\n{text}"));
    compile(&parsed.documents, &Identity { namespace: "istio-system".to_owned(), ..Identity::default() })
}

/// Whether a request finds a backend with an endpoint.
fn finds_an_endpoint(router: &Router) -> bool {
    let request = RequestHead {
        port: 80,
        transport: Transport::Plain,
        scheme: Scheme::Http,
        method: "GET",
        authority: "a",
        path: "/",
        query: None,
        headers: &HeaderMap::new(),
        peer: None,
    };
    match router.decide(&request, Draws::random(0)) {
        Decision::Forward(forward) => {
            forward.target.backend.is_ok_and(|id| !router.backends()[id.0].endpoints.is_empty())
        }
        other => panic!("not forwarded: {other:?}"),
    }
}

#[test]
fn a_destination_is_warned_of_exactly_if_its_requests_get_503() {
    let mut seen = [0, 0];
    for (host, service) in HOSTS {
        for port in PORTS {
            for subset in SUBSETS {
                for entry in ENTRIES {
                    let served = is_served(port, subset, entry);
                    let case = format!("{host}, {port:?}, {subset:?}, {entry:?}");
                    let router = compiled(&documents(host, service, port, subset, entry));
                    assert_eq!(finds_an_endpoint(&router), served, "{case}");
                    let warnings: Vec<_> = router.warnings().collect();
                    assert_eq!(warnings.len(), usize::from(!served), "{case}: {warnings:?}");
                    let inquiry = Inquiry::new("GET", "http://a/", []).expect("a request");
                    let Explanation::Forward { backends, .. } = explain(&router, &inquiry) else { panic!("{case}") };
                    let said: Vec<_> = backends.iter().map(|share| share.missing.as_ref()).collect();
                    assert_eq!(said, [warnings.first().map(|warning| &warning.reason)], "{case}");
                    seen[usize::from(served)] += 1;
                }
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
}

/// The host of a destination, its port and subset, what there is behind it, and what follows `destination` in what is said.
type Said = (&'static str, Option<u16>, Subset, Option<Entry>, &'static str);
const SAID: [Said; 8] = [
    (
        "m",
        None,
        Subset::None,
        None,
        ": requests get 503: no ServiceEntry has m.default.svc.cluster.local, and a look-up by name needs a port; \
         write port.number, or add a ServiceEntry with the host m.default.svc.cluster.local",
    ),
    (
        "m.example.com",
        Some(80),
        Subset::None,
        Some(entry("STATIC", &[81, 82], Some(true))),
        ".port: requests get 503: the ServiceEntry of m.example.com has no port 80, only 81 and 82; \
         add the port to spec.ports of the ServiceEntry",
    ),
    (
        "m.example.com",
        None,
        Subset::None,
        Some(entry("STATIC", &[81, 82], Some(true))),
        ": requests get 503: m.example.com has the ports 81 and 82, and the destination names none; write port.number",
    ),
    (
        "m.example.com",
        None,
        Subset::None,
        Some(entry("STATIC", &[], Some(true))),
        ".port: requests get 503: the ServiceEntry of m.example.com has no ports; \
         add the port to spec.ports of the ServiceEntry",
    ),
    (
        "m",
        Some(80),
        Subset::Undefined,
        None,
        ".subset: requests get 503: no DestinationRule for m.default.svc.cluster.local has the subset \"undefined\", \
         only labelled, whole; add it to spec.subsets of a DestinationRule for m.default.svc.cluster.local in the namespace default",
    ),
    (
        "m",
        Some(80),
        Subset::Labelled,
        None,
        ".subset: requests get 503: no ServiceEntry of m.default.svc.cluster.local has endpoints with the labels \
         version=v1 of the subset \"labelled\"; add a ServiceEntry with the host m.default.svc.cluster.local and such \
         endpoints; the controller adds it for a Service of its cluster",
    ),
    (
        "m.example.com",
        Some(80),
        Subset::Labelled,
        Some(entry("STATIC", &[80], Some(false))),
        ".subset: requests get 503: no endpoint in the ServiceEntry of m.example.com has the labels version=v1 of the \
         subset \"labelled\"; add one to its spec.endpoints",
    ),
    (
        "m.example.com",
        Some(80),
        Subset::Whole,
        Some(entry("STATIC", &[80], None)),
        ": requests get 503: the ServiceEntry of m.example.com has no endpoints; add one to its spec.endpoints",
    ),
];

#[test]
fn a_warning_says_where_why_and_what_to_add() {
    for (host, port, subset, entry, expected) in SAID {
        let (_, service) = HOSTS.iter().find(|(written, _)| *written == host).expect("one of the hosts");
        let router = compiled(&documents(host, service, port, subset, entry));
        let expected = format!("VirtualService default/m: spec.http[1].route[1].destination{expected}");
        assert_eq!(router.warnings().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }
}
