//! Wherever one document names another by name, a slip of the pen is warned of: with its place, what there is, and what was
//! meant. A name that may as well be another gateway's, in another file, or known to the cluster alone is not.

use std::collections::BTreeMap;
use turnout_routes::explain::{Explanation, Inquiry, explain};
use turnout_routes::router::{Identity, Router, compile};
use turnout_routes::{Source, locate, parse};

/// Two Gateways, a VirtualService of two rules, and what stands behind it. Every name that leads from one to the other is
/// there once more, so that one of them can be misspelt.
const DOCUMENTS: &str = r#"apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public-gateway, namespace: abtesting}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [score.example.com, "*.internal"]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: inner-gateway, namespace: abtesting}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: [score.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: scoring, namespace: abtesting}
spec:
  hosts: [score.example.com]
  gateways: [public-gateway, inner-gateway]
  http:
  - match: [{uri: {prefix: /inner}, gateways: [inner-gateway]}]
    route: [{destination: {host: model-svc-green, port: {number: 5001}, subset: stable}}]
  - route: [{destination: {host: model-svc-blue, port: {number: 5001}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: blue, namespace: abtesting}
spec:
  hosts: [model-svc-blue.abtesting.svc.cluster.local]
  ports: [{number: 5001, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: green, namespace: abtesting}
spec: {host: model-svc-green, subsets: [{name: stable}]}
"#;

fn compiled(text: &str) -> Router {
    let parsed = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]);
    let parsed = parsed.unwrap_or_else(|problems| panic!("refused:\n{problems}\n{text}"));
    assert_eq!(parsed.warnings, [], "{text}");
    let labels = BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]);
    compile(&parsed.documents, &Identity { labels, namespace: "istio-system".to_owned() })
}

/// What is said of the documents with these changes, each `(line, from, to)`.
fn said(changes: &[(usize, &str, &str)]) -> (Vec<String>, Vec<String>) {
    let mut lines: Vec<String> = DOCUMENTS.lines().map(str::to_owned).collect();
    for (line, from, to) in changes {
        assert!(lines[line - 1].contains(from), "line {line} has {from}");
        lines[line - 1] = lines[line - 1].replace(from, to);
    }
    let text = lines.join("\n");
    let router = compiled(&text);
    let located = locate(&[Source { name: "routes.yaml", bytes: text.as_bytes() }], router.warnings());
    assert_eq!(located.len(), router.warnings().count());
    (located.iter().map(ToString::to_string).collect(), router.notices().iter().map(ToString::to_string).collect())
}

#[test]
fn documents_that_find_one_another_are_not_warned_of() {
    assert_eq!(said(&[]), (Vec::new(), Vec::new()));
}

/// One change of a line is warned of with its place, with what there is, and with what was meant.
fn check((line, from, to): (usize, &str, &str), expected: &str) {
    assert_eq!(said(&[(line, from, to)]), (vec![format!("routes.yaml:{expected}")], Vec::new()), "{to}");
}

#[test]
fn a_misspelt_gateway_or_label_is_warned_of() {
    check(
        (5, "ingressgateway", "ingresgateway"),
        "5:3: warning: Gateway abtesting/public-gateway: spec.selector: left out: this gateway does not have the label \
         istio=ingresgateway, only istio=ingressgateway; did you mean istio=ingressgateway?",
    );
    check(
        (5, "istio:", "isito:"),
        "5:3: warning: Gateway abtesting/public-gateway: spec.selector: left out: this gateway does not have the label \
         isito=ingressgateway, only istio=ingressgateway; did you mean istio=ingressgateway?",
    );
    check(
        (20, "public-gateway", "public-gatway"),
        "20:14: warning: VirtualService abtesting/scoring: spec.gateways[0]: no Gateway abtesting/public-gatway is here, \
         only abtesting/inner-gateway, abtesting/public-gateway; did you mean public-gateway?",
    );
    check(
        (20, "[public-gateway, inner-gateway]", "[public-gatway]"),
        "20:14: warning: VirtualService abtesting/scoring: spec.gateways[0]: not served: no Gateway \
         abtesting/public-gatway is here, only abtesting/inner-gateway, abtesting/public-gateway; did you mean \
         public-gateway?",
    );
    check(
        (20, "[public-gateway, inner-gateway]", "[istio-system/public-gateway]"),
        "20:14: warning: VirtualService abtesting/scoring: spec.gateways[0]: not served: no Gateway \
         istio-system/public-gateway is here, only abtesting/inner-gateway, abtesting/public-gateway; did you mean \
         public-gateway?",
    );
    check(
        (20, "[public-gateway, inner-gateway]", "[the-gateway]"),
        "20:3: warning: VirtualService abtesting/scoring: spec.gateways: not served: it names none of the Gateways here; \
         there is abtesting/inner-gateway, abtesting/public-gateway; write it under spec.gateways",
    );
    check(
        (20, "gateways: [public-gateway, inner-gateway]", ""),
        "18:1: warning: VirtualService abtesting/scoring: spec: not served: it names no Gateway; there is \
         abtesting/inner-gateway, abtesting/public-gateway; write it under spec.gateways",
    );
    check(
        (22, "[inner-gateway]", "[innre-gateway]"),
        "22:37: warning: VirtualService abtesting/scoring: spec.http[0].match[0].gateways: never matches: no Gateway \
         abtesting/innre-gateway is here, only abtesting/inner-gateway, abtesting/public-gateway; did you mean \
         inner-gateway?",
    );
}

#[test]
fn a_misspelt_host_is_warned_of() {
    check(
        (19, "score.example.com", "score.exmaple.com"),
        "19:11: warning: VirtualService abtesting/scoring: spec.hosts[0]: not served for score.exmaple.com: its Gateways \
         have only score.example.com, *.internal; did you mean score.example.com?",
    );
    check(
        (19, "[score.example.com]", "[score.example.com, score.internal, scoer.example.com]"),
        "19:46: warning: VirtualService abtesting/scoring: spec.hosts[2]: not served for scoer.example.com: its Gateways \
         have only score.example.com, *.internal; did you mean score.example.com?",
    );
    check(
        (19, "score.example.com", "api.example.com"),
        "19:3: warning: VirtualService abtesting/scoring: spec.hosts: not served for api.example.com: its Gateways have \
         only score.example.com, *.internal; write hosts that both have, of a namespace that the Gateway takes",
    );
}

#[test]
fn a_misspelt_destination_is_warned_of() {
    check(
        (23, "stable", "stabel"),
        "23:81: warning: VirtualService abtesting/scoring: spec.http[0].route[0].destination.subset: requests get 503: no \
         DestinationRule for model-svc-green.abtesting.svc.cluster.local has the subset \"stabel\", only stable; did you \
         mean stable?",
    );
    check(
        (24, "model-svc-blue", "model-svc-bleu"),
        "24:34: warning: VirtualService abtesting/scoring: spec.http[1].route[0].destination.host: no ServiceEntry has \
         model-svc-bleu.abtesting.svc.cluster.local, so it is looked up in DNS; did you mean \
         model-svc-blue.abtesting.svc.cluster.local?",
    );
    check(
        (24, "model-svc-blue, port: {number: 5001}", "model-svc-bleu"),
        "24:14: warning: VirtualService abtesting/scoring: spec.http[1].route[0].destination: requests get 503: no \
         ServiceEntry has model-svc-bleu.abtesting.svc.cluster.local, and a look-up by name needs a port; did you mean \
         model-svc-blue.abtesting.svc.cluster.local?",
    );
}

#[test]
fn a_host_of_other_namespaces_is_told_with_them() {
    let (warnings, _) = said(&[
        (6, "[score.example.com, \"*.internal\"]", "[other/score.example.com]"),
        (12, "ingressgateway", "egress"),
    ]);
    assert_eq!(
        warnings,
        [
            "routes.yaml:19:3: warning: VirtualService abtesting/scoring: spec.hosts: not served for score.example.com: its \
          Gateways have only other/score.example.com; write hosts that both have, of a namespace that the Gateway takes"
        ]
    );
}

#[test]
fn a_destination_rule_for_a_host_that_nothing_names_is_warned_of_beside_one_like_it() {
    let (warnings, _) = said(&[(38, "model-svc-green", "model-svc-geren"), (23, ", subset: stable", "")]);
    assert_eq!(
        warnings,
        [
            "routes.yaml:38:14: warning: DestinationRule abtesting/green: spec.host: no destination and no ServiceEntry has \
          model-svc-geren.abtesting.svc.cluster.local; did you mean model-svc-green.abtesting.svc.cluster.local?"
        ]
    );
}

/// What is said of a second DestinationRule with this spec.
fn said_of_second(spec: &str) -> Vec<String> {
    let rule = "spec: {host: model-svc-green, subsets: [{name: stable}]}";
    let other =
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: other, namespace: abtesting}";
    said(&[(38, rule, &format!("{rule}\n---\n{other}\nspec: {{{spec}}}"))]).0
}

#[test]
fn a_destination_rule_for_a_host_or_port_that_nothing_has_is_warned_of() {
    let check = |spec: &str, expected: &[&str]| {
        let whole = |text: &&str| format!("routes.yaml:43:{text}");
        assert_eq!(said_of_second(spec), expected.iter().map(whole).collect::<Vec<_>>(), "{spec}");
    };
    // One that is called alike is a service of its own where that has its DestinationRule.
    for (host, full) in [
        ("modal-svc-green", "modal-svc-green.abtesting.svc.cluster.local"),
        ("model-svc-red", "model-svc-red.abtesting.svc.cluster.local"),
        ("model-svc-blue.other.svc.cluster.local", "model-svc-blue.other.svc.cluster.local"),
        ("'*.example.com'", "*.example.com"),
    ] {
        let said = format!(
            "14: warning: DestinationRule abtesting/other: spec.host: no destination and no ServiceEntry has {full}; correct \
             the host, or leave the rule out"
        );
        check(&format!("host: {host}"), &[&said]);
    }
    for host in ["model-svc-green", "model-svc-blue", "'*.abtesting.svc.cluster.local'", "'*'"] {
        check(&format!("host: {host}"), &[]);
    }
    let settings =
        |port: u16| format!("trafficPolicy: {{portLevelSettings: [{{port: {{number: {port}}}, tls: {{}}}}]}}");
    let said = |column: usize, host: &str, place: &str| {
        format!(
            "{column}: warning: DestinationRule abtesting/other: {place}.portLevelSettings[0].port.number: \
             {host}.abtesting.svc.cluster.local has no port 80, only 5001; correct the port, or leave its settings out"
        )
    };
    for host in ["model-svc-blue", "model-svc-green"] {
        check(&format!("host: {host}, {}", settings(5001)), &[]);
        let rule = format!("host: {host}, {}", settings(80));
        let column = rule.find("80").expect("the port") + 8;
        check(&rule, &[&said(column, host, "spec.trafficPolicy")]);
        let rule = format!("host: {host}, subsets: [{{name: s, {}}}]", settings(80));
        let column = rule.find("80").expect("the port") + 8;
        check(&rule, &[&said(column, host, "spec.subsets[0].trafficPolicy")]);
    }
}

#[test]
fn a_gateway_that_no_document_selects_says_which_labels_it_has() {
    let (warnings, notices) = said(&[(5, "ingressgateway", "other"), (12, "ingressgateway", "other")]);
    let expected = |place: &str, name: &str| {
        format!(
            "routes.yaml:{place}: warning: Gateway abtesting/{name}: spec.selector: left out: this gateway does not have \
             the label istio=other, only istio=ingressgateway; select labels that it has, or start it with these"
        )
    };
    assert_eq!(
        (warnings, notices),
        (vec![expected("5:3", "public-gateway"), expected("12:3", "inner-gateway")], vec![])
    );
}

#[test]
fn what_may_be_meant_as_it_stands_is_not_warned_of() {
    let check = |changes: &[(usize, &str, &str)], notices: usize| {
        let said = said(changes);
        assert_eq!((said.0.as_slice(), said.1.len()), (&[][..], notices), "{changes:?} {said:?}");
    };
    // A Gateway of another gateway, a VirtualService of another Gateway, of the mesh, and of both.
    check(&[(12, "ingressgateway", "egressgateway"), (20, ", inner-gateway", "")], 1);
    check(&[(20, "inner-gateway", "other/egress-gateway, inner-gateway")], 0);
    check(&[(20, "inner-gateway", "mesh, inner-gateway")], 0);
    check(&[(20, "public-gateway, inner-gateway", "mesh")], 1);
    check(&[(20, "inner-gateway", "mesh, other/inner-gateway, inner-gateway")], 0);
    check(&[(20, "public-gateway, inner-gateway", "mesh, public-gateway"), (19, "score.example.com", "other.svc")], 0);
    check(&[(22, "[inner-gateway]", "[mesh, inner-gateway, other/egress]")], 0);
    // Hosts that DNS or the cluster may know, and names that stand side by side.
    for host in [
        "model.example.com",
        "model-svc-blue2",
        "model-svc-blues",
        "model-svc-red",
        "model-svc-blue.other.svc.cluster.local",
    ] {
        check(&[(24, "model-svc-blue", host)], 0);
        check(&[(24, "model-svc-blue", host), (38, "model-svc-green", host), (23, ", subset: stable", "")], 0);
    }
    // A host with a DestinationRule of its own.
    check(
        &[
            (24, "model-svc-blue", "model-svc-bleu"),
            (38, "model-svc-green", "model-svc-bleu"),
            (23, ", subset: stable", ""),
        ],
        0,
    );
    // Some hosts of the VirtualService are its Gateways', others the mesh's.
    check(&[(19, "[score.example.com]", "[score.example.com, model-svc.abtesting.svc.cluster.local]")], 0);
}

#[test]
fn documents_without_their_gateways_or_services_are_not_warned_of() {
    let documents: Vec<&str> = DOCUMENTS.split("---\n").collect();
    for subset in 1..1 << documents.len() {
        let text: Vec<&str> = (0..documents.len()).filter(|n| subset & (1 << n) != 0).map(|n| documents[n]).collect();
        let router = compiled(&text.join("---\n"));
        // The Gateway that a VirtualService names beside another may be in another file, as may a DestinationRule's.
        let of_references: Vec<_> = router.warnings().filter(|warning| !warning.gets_503).collect();
        assert_eq!(of_references, Vec::<&turnout_routes::router::Warning>::new(), "{subset:b}");
    }
}

#[test]
fn an_explanation_says_what_may_be_the_reason() {
    let ask = |text: &str| {
        let inquiry = Inquiry::new("GET", "http://score.example.com/", []).expect("a request");
        explain(&compiled(text), &inquiry)
    };
    let Explanation::NoRoute { warnings } =
        ask(&DOCUMENTS.replace("[public-gateway, inner-gateway]", "[public-gatway]"))
    else {
        panic!("served")
    };
    assert!(warnings[0].contains("did you mean public-gateway?"), "{warnings:?}");
    let Explanation::Forward { backends, .. } =
        ask(&DOCUMENTS.replace("host: model-svc-blue,", "host: model-svc-bleu,"))
    else {
        panic!("not forwarded")
    };
    let advice = backends[0].advice.clone().unwrap_or_default();
    assert!(advice.ends_with("did you mean model-svc-blue.abtesting.svc.cluster.local?"), "{advice}");
    assert_eq!(backends[0].missing, None);
}
