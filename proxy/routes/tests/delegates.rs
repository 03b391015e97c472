//! Delegation is what Istio's pilot makes of it: the rules of a VirtualService without hosts stand in the place of the one
//! that delegates to it, narrowed by its matches and with what they lack from there. What is left out is told with its place.

use std::time::Duration;
use turnout_routes::explain::{Explanation, Inquiry, explain};
use turnout_routes::router::{Identity, Router, RuleAction, compile};
use turnout_routes::{Source, locate, parse, render};

/// A VirtualService for the host `h` in the namespace `outer`.
fn hosted(rules: &[&str]) -> String {
    document("outer", "hosted", "hosts: [h], ", rules)
}

/// One without hosts, in the namespace `inner`.
fn delegate(rules: &[&str]) -> String {
    document("inner", "rules", "", rules)
}

fn document(namespace: &str, name: &str, fields: &str, rules: &[&str]) -> String {
    let rule = |rule: &&str| format!("\n  - {{{rule}}}");
    let field = |field: &str| format!("\n  {field}");
    let rules: String = rules.iter().map(rule).collect();
    let fields: String = fields.split_terminator(", ").map(field).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:{fields}\n  http:{rules}\n"
    )
}

/// With other fields of a rule before it, what delegates to [`delegate`].
const TO_RULES: &str = "delegate: {name: rules, namespace: inner}";
const ROUTE: &str = "route: [{destination: {host: m, port: {number: 80}}}]";

fn compiled(documents: &[String]) -> (Router, Vec<String>) {
    let text = documents.join("---\n");
    let source = Source { name: "r", bytes: text.as_bytes() };
    let parsed = parse(&[source]).unwrap_or_else(|problems| panic!("refused:\n{problems}\n{text}"));
    assert_eq!(parsed.warnings, [], "{text}");
    let identity = Identity { namespace: "gateways".to_owned(), ..Identity::default() };
    let router = compile(&parsed.documents, &identity);
    let said = locate(&[source], router.warnings()).iter().map(ToString::to_string).collect();
    let read_back =
        parse(&[Source { name: "r", bytes: render(&parsed.documents).as_bytes() }]).expect("rendered").documents;
    assert_eq!(render(&read_back), render(&parsed.documents));
    (router, said)
}

/// The rule that a request comes to, as users see it.
fn rule_of(router: &Router, request: &str) -> String {
    let (method, url) = request.split_once(' ').expect("a method and a URL");
    match explain(router, &Inquiry::new(method, url, []).expect("a request")) {
        Explanation::Forward { route, .. } | Explanation::DirectResponse { route, .. } => route,
        Explanation::Redirect { route, .. } => route.expect("no Gateway is there"),
        Explanation::NoRoute { .. } => "none".to_owned(),
    }
}

/// A rule of [`delegate`] where the first one of [`hosted`] delegates to it.
fn inner(position: usize) -> String {
    format!("inner/rules spec.http[{position}], delegated by outer/hosted spec.http[0]")
}

fn outer(position: usize) -> String {
    format!("outer/hosted spec.http[{position}]")
}

#[test]
fn the_rules_stand_in_the_place_of_the_one_that_delegates() {
    let team = format!("match: [{{uri: {{prefix: /team}}}}], {TO_RULES}");
    let own = format!("match: [{{uri: {{prefix: /team/a}}}}], {ROUTE}");
    let documents = [
        hosted(&[&team, &format!("match: [{{uri: {{prefix: /}}, method: {{exact: PUT}}}}], {ROUTE}"), ROUTE]),
        delegate(&[&own, &format!("match: [{{method: {{exact: GET}}}}], {ROUTE}")]),
    ];
    let (router, said) = compiled(&documents);
    assert_eq!(said, [""; 0]);
    for (request, expected) in [
        ("PUT http://h/team/a", inner(0)),
        ("GET http://h/team/b", inner(1)),
        ("GET http://h/teams", inner(1)),
        ("PUT http://h/team/b", outer(1)),
        ("POST http://h/team/b", outer(2)),
        ("GET http://h/", outer(2)),
    ] {
        assert_eq!(rule_of(&router, request), expected, "{request}");
    }
}

#[test]
fn a_rule_that_delegates_without_a_match_takes_what_its_rules_take() {
    let own = format!("match: [{{uri: {{exact: /a}}}}], {ROUTE}");
    let (router, said) = compiled(&[hosted(&[TO_RULES, ROUTE]), delegate(&[&own])]);
    assert_eq!(said, [""; 0]);
    assert_eq!((rule_of(&router, "GET http://h/a"), rule_of(&router, "GET http://h/b")), (inner(0), outer(1)));
    // What comes behind a rule for everything is never asked.
    let (router, _) = compiled(&[hosted(&[TO_RULES, ROUTE]), delegate(&[ROUTE])]);
    assert_eq!(rule_of(&router, "GET http://h/b"), inner(0));
}

#[test]
fn the_namespace_is_the_own_where_none_is_named() {
    let own = document("outer", "rules", "", &[ROUTE]);
    let (router, said) = compiled(&[hosted(&["delegate: {name: rules}"]), own]);
    assert_eq!(said, [""; 0]);
    assert_eq!(rule_of(&router, "GET http://h/"), "outer/rules spec.http[0], delegated by outer/hosted spec.http[0]");
    // Short names count where they are written.
    let (router, _) = compiled(&[hosted(&[TO_RULES]), delegate(&[ROUTE])]);
    assert_eq!(router.backends()[0].host, "m.inner.svc.cluster.local");
}

/// Whether two matches go together: then a request that meets both comes to the rule, else the rule is left out and told.
#[test]
fn matches_go_together_as_in_istio() {
    let check = |outer: &str, own: &str, together: bool| {
        let documents = [
            hosted(&[&format!("match: [{{{outer}}}], {TO_RULES}")]),
            delegate(&[&format!("match: [{{{own}}}], {ROUTE}")]),
        ];
        let (router, said) = compiled(&documents);
        let told = said.iter().any(|warning| warning.contains("spec.http[0].match[0]: the rule is left out where"));
        assert_eq!((router.rules().len(), told), (usize::from(together), !together), "{outer} and {own}: {said:?}");
    };
    for field in
        ["uri: {V}", "method: {V}", "scheme: {V}", "authority: {V}", "headers: {x: {V}}", "queryParams: {x: {V}}"]
    {
        let with = |value: &str| field.replace('V', value);
        check(&with("exact: /a"), &with("exact: /a"), true);
        check(&with("exact: /a"), &with("exact: /ab"), false);
        check(&with("exact: /a"), &with("prefix: /a"), false);
        check(&with("prefix: /a"), &with("prefix: /a/b"), true);
        check(&with("prefix: /a"), &with("prefix: /a"), true);
        check(&with("prefix: /a/b"), &with("prefix: /a"), false);
        check(&with("prefix: /a"), &with("exact: /ab"), true);
        check(&with("prefix: /a"), &with("exact: /b"), false);
        check(&with("prefix: /a"), &with("regex: /a"), false);
        check(&with("regex: /a"), &with("exact: /a"), false);
        check(&with("regex: /a"), &with("regex: /a"), false);
        check(&with("regex: /a"), "name: a", true);
        check("name: a", &with("regex: /a"), true);
    }
    for field in ["headers", "queryParams", "withoutHeaders"] {
        let with = |name: &str, value: &str| format!("{field}: {{{name}: {{{value}}}}}");
        check(&with("x", ""), &with("x", ""), false);
        check(&with("x", ""), &with("x", "exact: a"), false);
        check(&with("x", "exact: a"), &with("x", ""), false);
        check(&with("x", "exact: a"), &with("z", "exact: b"), true);
        check(&with("x", "prefix: a"), &with("x", "exact: ab"), true);
        check(&with("x", "exact: ''"), &with("x", "exact: ''"), false);
    }
    check("uri: {prefix: /a}, ignoreUriCase: true", "uri: {prefix: /a}", false);
    check("uri: {prefix: /a}, ignoreUriCase: true", "ignoreUriCase: true", true);
    check("port: 80", "port: 80", true);
    check("port: 80", "port: 81", false);
    check("port: 80", "method: {exact: GET}", true);
    check("sourceNamespace: gateways", "sourceNamespace: gateways", true);
    check("sourceNamespace: gateways", "method: {exact: GET}", false);
    check("method: {exact: GET}", "sourceNamespace: gateways", true);
    check("sourceLabels: {a: b}, gateways: [g]", "sourceLabels: {a: c}", false);
    check("gateways: [g, h]", "gateways: [outer/h]", true);
    check("gateways: [g]", "gateways: [outer/g, outer/h]", false);
    check("gateways: [g]", "gateways: [g]", false);
    check("gateways: [g]", "method: {exact: GET}", true);
}

#[test]
fn every_pair_of_matches_that_go_together_is_one() {
    let documents = [
        hosted(&[&format!("match: [{{uri: {{prefix: /a}}}}, {{uri: {{prefix: /b}}}}], {TO_RULES}"), ROUTE]),
        delegate(&[
            &format!("match: [{{uri: {{exact: /b/1}}}}, {{headers: {{x: {{}}}}}}], {ROUTE}"),
            &format!("match: [{{uri: {{prefix: /a}}}}, {{uri: {{prefix: /c}}}}], {ROUTE}"),
            ROUTE,
        ]),
    ];
    let (router, said) = compiled(&documents);
    let expected = "r:16:35: warning: VirtualService inner/rules: spec.http[1].match[1]: the rule is left out where \
                    outer/hosted spec.http[0] delegates to it: this is within none of its matches; narrow one of them; \
                    a regular expression and {} narrow nothing";
    assert_eq!(said, [expected]);
    let with_header = |path: &str| {
        let inquiry = Inquiry::new("GET", &format!("http://h{path}"), ["x: 1"]).expect("a request");
        match explain(&router, &inquiry) {
            Explanation::Forward { route, .. } => route,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((with_header("/a/1"), with_header("/b/2"), with_header("/c")), (inner(0), inner(0), outer(1)));
    for (path, expected) in [("/b/1", inner(0)), ("/a/1", inner(2)), ("/b/2", inner(2)), ("/c", outer(1))] {
        assert_eq!(rule_of(&router, &format!("GET http://h{path}")), expected, "{path}");
    }
}

/// The first rule, of what the delegating rule has and of what its rule has.
fn made(outer: &str, own: &str) -> (Router, String) {
    let (router, _) = compiled(&[hosted(&[&format!("{outer}{TO_RULES}")]), delegate(&[own])]);
    let explained = explain(&router, &Inquiry::new("GET", "http://h/x", []).expect("a request"));
    (router, serde_json::to_string(&explained).expect("JSON"))
}

#[test]
fn what_a_rule_lacks_it_has_from_the_one_that_delegates() {
    let own = |fields: &str| format!("{fields}{ROUTE}");
    for (outer, inner, expected) in [
        ("timeout: 5s, ", "", Some(5)),
        ("timeout: 5s, ", "timeout: 3s, ", Some(3)),
        ("", "timeout: 3s, ", Some(3)),
        ("", "", None),
    ] {
        let (router, _) = made(outer, &own(inner));
        assert_eq!(router.rules()[0].timeout, expected.map(Duration::from_secs), "{outer}{inner}");
    }
    // Of what is explained, a piece.
    for (outer, inner, expected) in [
        ("rewrite: {uri: /outer}, ", "", r#""target":"/outer"#),
        ("rewrite: {uri: /outer}, ", "rewrite: {authority: a}, ", r#""target":"/x"#),
        ("fault: {delay: {fixedDelay: 5s, percentage: {value: 10}}}, ", "", "10 % of the requests wait 5s"),
        (
            "fault: {delay: {fixedDelay: 5s, percentage: {value: 10}}}, ",
            "fault: {abort: {httpStatus: 500, percentage: {value: 20}}}, ",
            r#""also":["20 % of the requests are answered 500 by the gateway"]"#,
        ),
        ("mirror: {host: copies, port: {number: 80}}, ", "", "go to copies.outer.svc.cluster.local:80"),
        (
            "mirrors: [{destination: {host: copies, port: {number: 80}}}], ",
            "mirrors: [{destination: {host: own, port: {number: 80}}}], ",
            "go to own.inner.svc.cluster.local:80\"]",
        ),
        ("directResponse: {status: 418}, ", "", r#""status":418"#),
    ] {
        let (_, explained) = made(outer, &own(inner));
        assert!(explained.contains(expected), "{outer}{inner}: {explained}");
    }
    let (_, explained) = made("directResponse: {status: 418}, ", "directResponse: {status: 200}");
    assert!(explained.contains(r#""status":200"#), "{explained}");
    let (_, explained) = made("directResponse: {status: 418}, rewrite: {uri: /a}, ", "redirect: {uri: /own}");
    assert!(explained.contains("http://h/own"), "{explained}");
}

#[test]
fn policies_of_a_rule_go_before_those_of_the_one_that_delegates() {
    for (outer, inner, attempts) in
        [("retries: {attempts: 7}, ", "", 7), ("retries: {attempts: 7}, ", "retries: {attempts: 3}, ", 3), ("", "", 2)]
    {
        let (router, _) = made(outer, &format!("{inner}{ROUTE}"));
        assert_eq!(router.rules()[0].retry.retries, attempts, "{outer}{inner}");
    }
    let cors = "corsPolicy: {allowOrigins: [{exact: 'https://a'}]}, ";
    for (outer, inner, expected) in [(cors, "", true), ("", cors, true), ("", "", false)] {
        let (router, _) = made(outer, &format!("{inner}{ROUTE}"));
        assert_eq!(router.rules()[0].cors.is_some(), expected, "{outer}{inner}");
    }
    let headers = |name: &str| format!("headers: {{request: {{set: {{{name}: '1'}}}}}}, ");
    for (outer, inner, expected) in [
        (headers("x-outer"), String::new(), "x-outer"),
        (headers("x-outer"), headers("x-own"), "x-own"),
        (String::new(), headers("x-own"), "x-own"),
        (headers("x-outer"), "headers: {}, ".to_owned(), "no header"),
        (headers("x-outer"), "headers: {request: {}}, ".to_owned(), "no header"),
    ] {
        let (router, _) = made(&outer, &format!("{inner}{ROUTE}"));
        let RuleAction::Forward(split) = &router.rules()[0].action else { panic!("not forwarded") };
        let changes = format!("{:?}", split.targets()[0].request_headers);
        let others = ["x-outer", "x-own"].into_iter().filter(|name| *name != expected);
        assert!(
            (expected == "no header" || changes.contains(expected))
                && others.clone().all(|name| !changes.contains(name)),
            "{changes}"
        );
    }
}

#[test]
fn a_rule_that_several_delegate_to_is_counted_as_one() {
    let split = "route: [{destination: {host: a, port: {number: 80}}, weight: 1}, {destination: {host: b, port: {number: 80}}, weight: 3}]";
    let documents = [
        hosted(&[
            &format!("match: [{{uri: {{prefix: /a}}}}], timeout: 1s, {TO_RULES}"),
            &format!("match: [{{uri: {{prefix: /b}}}}], timeout: 2s, {TO_RULES}"),
        ]),
        delegate(&[split]),
    ];
    let (router, said) = compiled(&documents);
    assert_eq!(said, [""; 0]);
    let timeouts: Vec<_> = router.rules().iter().map(|rule| rule.timeout.map(|limit| limit.as_secs())).collect();
    assert_eq!(timeouts, [Some(1), Some(2)]);
    let weights: Vec<_> = router.weights().iter().map(|weight| (weight.route.as_str(), weight.weight)).collect();
    assert_eq!(weights, [("inner/rules spec.http[0]", 1), ("inner/rules spec.http[0]", 3)]);
    // Nor is it warned of twice.
    let (_, said) = compiled(&[documents[0].clone(), delegate(&["route: [{destination: {host: a}}]"])]);
    assert_eq!(said.len(), 1, "{said:?}");
}

#[test]
fn what_leads_nowhere_is_told_with_its_place() {
    let check = |documents: &[String], expected: &[&str]| assert_eq!(compiled(documents).1, expected, "{documents:?}");
    let outer = hosted(&[TO_RULES]);
    let named = |name: &str| hosted(&[&format!("delegate: {{name: {name}, namespace: inner}}")]);
    check(
        std::slice::from_ref(&outer),
        &["r:7:6: warning: VirtualService outer/hosted: spec.http[0].delegate: left out: there is no VirtualService \
           inner/rules; add it, without hosts, or leave the rule out"],
    );
    check(
        &[named("ruels"), delegate(&[ROUTE])],
        &[
            "r:7:6: warning: VirtualService outer/hosted: spec.http[0].delegate: left out: there is no VirtualService \
             inner/ruels; did you mean inner/rules?",
            "r:12:1: warning: VirtualService inner/rules: spec: not served: it has no hosts, and no rule delegates to it; \
             write spec.hosts, or a rule that delegates to it",
        ],
    );
    check(
        &[outer.clone(), document("inner", "rules", "hosts: [i], ", &[ROUTE])],
        &[
            "r:7:6: warning: VirtualService outer/hosted: spec.http[0].delegate: left out: VirtualService inner/rules has \
           hosts of its own, so no rule can delegate to it; leave its hosts and gateways out",
        ],
    );
    check(&[outer, delegate(&[ROUTE])], &[]);
    // What is left out leaves the others as they are, and the host to a wider one where nothing is left.
    let any = document("outer", "any", "hosts: ['*.x'], ", &[ROUTE]);
    let documents = [document("outer", "hosted", "hosts: [h.x], ", &[TO_RULES]), any];
    let (router, _) = compiled(&documents);
    assert_eq!(rule_of(&router, "GET http://h.x/"), "outer/any spec.http[0]");
}

/// Of a VirtualService that the gateway does not serve nothing is said but that, whatever it delegates to. What only such
/// ones delegate to is no slip.
#[test]
fn what_is_delegated_by_others_is_not_this_gateways() {
    let gateway = |name: &str, selector: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: outer}}\n\
             spec: {{selector: {{{selector}}}, servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}]}}\n"
        )
    };
    let gateways = [gateway("ours", ""), gateway("theirs", "istio: other")];
    let not_ours = "VirtualService inner/rules: not served: only VirtualServices that are not served delegate to it";
    let not_exported = "VirtualService inner/rules: not served: it is not exported to the namespace outer, of which a rule \
                        delegates to it";
    let inner = |exports: &str| document("inner", "rules", exports, &[ROUTE]);
    let outer = |fields: &str, to: &str| {
        document(
            "outer",
            "hosted",
            &format!("hosts: [h.example], {fields}"),
            &[&format!("delegate: {{name: {to}, namespace: inner}}"), ROUTE],
        )
    };
    for (fields, to, exports, warnings, notice) in [
        ("gateways: [ours], ", "rules", "", 0, None),
        ("gateways: [ours], ", "none", "", 2, None),
        ("gateways: [ours], ", "rules", "exportTo: [other], ", 1, Some(not_exported)),
        ("gateways: [theirs], ", "rules", "", 0, Some(not_ours)),
        ("gateways: [theirs], ", "rules", "exportTo: [other], ", 0, Some(not_ours)),
        ("gateways: [theirs], ", "none", "", 1, None),
        ("gateways: [ours], exportTo: [.], ", "rules", "", 0, Some(not_ours)),
        ("gateways: [ours], exportTo: [.], ", "none", "", 1, None),
    ] {
        let documents = [&gateways[..], &[outer(fields, to), inner(exports)]].concat();
        let (router, said) = compiled(&documents);
        assert_eq!(said.len(), warnings, "{fields}{to} {exports}: {said:?}");
        let notices: Vec<_> = router.notices().iter().map(ToString::to_string).collect();
        let of_inner: Vec<_> = notices.iter().filter(|notice| notice.contains("inner/rules")).collect();
        assert_eq!(of_inner, notice.iter().collect::<Vec<_>>(), "{fields}{to} {exports}: {notices:?}");
    }
}
