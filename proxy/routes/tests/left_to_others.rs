//! Documents and parts of them that are not for the gateway are taken, and nothing of what is for it is served by halves
//! because of them.

use turnout_routes::explain::{Explanation, Inquiry, explain};
use turnout_routes::router::{Identity, PortKind, Router, compile};
use turnout_routes::{Source, parse};

fn compiled(documents: &[(&str, &str)]) -> Router {
    let document = |(at, (kind, spec)): (usize, &(&str, &str))| {
        format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a{at}}}\nspec: {{{spec}}}\n")
    };
    let text = documents.iter().enumerate().map(document).collect::<Vec<_>>().join("---\n");
    let parsed = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]);
    let documents = parsed.unwrap_or_else(|problems| panic!("refused:\n{problems}\n{text}")).documents;
    compile(&documents, &Identity::default())
}

fn explained(router: &Router, url: &str) -> Explanation {
    explain(router, &Inquiry::new("GET", url, []).expect("a request"))
}

const ROUTE: &str = "route: [{destination: {host: b, port: {number: 80}}}]";

#[test]
fn a_host_of_tls_that_is_not_the_gateways_is_no_wider_hosts() {
    for (protocol, tls) in [
        ("HTTPS", "{mode: PASSTHROUGH}"),
        ("TLS", "{mode: PASSTHROUGH}"),
        ("TLS", "{mode: SIMPLE, credentialName: c}"),
        ("HTTPS", "{mode: ISTIO_MUTUAL}"),
    ] {
        let gateway = format!(
            "servers: [{{port: {{number: 443, name: a, protocol: HTTPS}}, hosts: ['*'], tls: {{mode: SIMPLE, credentialName: c}}}}, \
             {{port: {{number: 443, name: b, protocol: {protocol}}}, hosts: [p.example.com], tls: {tls}}}, \
             {{port: {{number: 444, name: c, protocol: {protocol}}}, hosts: ['*'], tls: {tls}}}, \
             {{port: {{number: 9000, name: d, protocol: TCP}}, hosts: ['*']}}]"
        );
        let router = compiled(&[("Gateway", &gateway)]);
        let is_served = |port, name: &str| router.tls_server(port, Some(name)).is_some();
        assert!(is_served(443, "o.example.com") && !is_served(443, "p.example.com"), "{protocol} {tls}");
        assert!(!is_served(444, "o.example.com"), "{protocol} {tls}");
        assert_eq!((router.port_kind(444), router.port_kind(9000)), (PortKind::Tls, PortKind::Unknown));
        assert_eq!((router.ports().collect::<Vec<_>>(), router.tls_servers().count()), (vec![443], 1));
    }
}

#[test]
fn a_virtual_service_of_other_routes_leaves_its_hosts_to_wider_ones() {
    let http = format!("hosts: ['*.example.com'], http: [{{{ROUTE}}}]");
    for others in ["tcp: [{route: []}]", "tls: [{match: []}]"] {
        let spec = format!("hosts: [a.example.com], {others}");
        let router = compiled(&[("VirtualService", &http), ("VirtualService", &spec)]);
        let Explanation::Forward { route, .. } = explained(&router, "http://a.example.com/") else {
            panic!("{others}")
        };
        assert_eq!(route, "default/a0 spec.http[0]", "{others}");
        assert_eq!(router.warnings().count(), 0);
    }
    // So does one whose rules are for sidecars.
    let spec = format!("hosts: [a.example.com], http: [{{match: [{{gateways: [mesh]}}], {ROUTE}}}]");
    let router = compiled(&[("VirtualService", &http), ("VirtualService", &spec)]);
    assert!(matches!(explained(&router, "http://a.example.com/"), Explanation::Forward { .. }));
}

/// A port of each protocol, with or without TLS that the gateway begins, is sent HTTP; only a port for TLS that gets plain
/// text is doubtful.
#[test]
fn a_port_of_another_protocol_is_sent_http() {
    for protocol in ["HTTP", "HTTPS", "TLS", "TCP", "MONGO", "MYSQL", "REDIS", "https"] {
        for originates in [false, true] {
            let entry = format!(
                "hosts: [x.example.com], resolution: DNS, ports: [{{number: 443, name: a, protocol: {protocol}}}], \
                 subjectAltNames: [y.example.com]"
            );
            let routes = "hosts: [h], http: [{route: [{destination: {host: x.example.com}}]}]";
            let rule = "host: x.example.com, trafficPolicy: {tls: {mode: SIMPLE}}";
            let mut documents = vec![("ServiceEntry", entry.as_str()), ("VirtualService", routes)];
            documents.extend(originates.then_some(("DestinationRule", rule)));
            let router = compiled(&documents);
            let backend = &router.backends()[0];
            assert_eq!((backend.port, backend.endpoints.len()), (443, 1), "{protocol}");
            let names = backend.policy.tls.as_ref().map(|tls| tls.subject_alt_names.clone());
            assert_eq!(names, originates.then(|| vec!["y.example.com".to_owned()]), "{protocol}");
            let said: Vec<_> = router.warnings().map(|warning| (warning.gets_503, warning.reason.as_str())).collect();
            let doubtful = !originates && ["HTTPS", "TLS"].contains(&protocol.to_uppercase().as_str());
            let expected = [(false, "port 443 of x.example.com is for TLS, and is sent plain text")];
            assert_eq!(said, if doubtful { &expected[..] } else { &[] }, "{protocol}");
        }
    }
}

#[test]
fn a_destination_without_endpoints_by_its_resolution_gets_503() {
    let entry = "hosts: [x.example.com], ports: [{number: 443, name: a, protocol: HTTP}]";
    let routes = "hosts: [h], http: [{route: [{destination: {host: x.example.com}}]}]";
    let router = compiled(&[("ServiceEntry", entry), ("VirtualService", routes)]);
    let said: Vec<_> = router.warnings().map(ToString::to_string).collect();
    let expected = "VirtualService default/a1: spec.http[0].route[0].destination: requests get 503: the ServiceEntry of \
                    x.example.com has the resolution NONE, which gives a gateway no endpoint; write resolution: DNS, or \
                    STATIC with endpoints";
    assert_eq!(said, [expected]);
}
