//! SplitPolicies as documents: what is read of them, what is refused, and what is said of those that lead nowhere.

use std::time::Duration;
use turnout_routes::documents::{AssignBy, Document, HashKey, Percent, SplitPolicy};
use turnout_routes::explain::{Explanation, Inquiry, explain};
use turnout_routes::router::{Identity, Router, compile};
use turnout_routes::{Source, locate, parse, render};

const HEAD: &str =
    "apiVersion: turnout.dev/v1alpha1\nkind: SplitPolicy\nmetadata: {name: p, namespace: abtesting}\nspec:\n";
/// Everything that can be said.
const WHOLE: &str = r#"  route: {virtualService: abtest, http: split}
  salt: 0c9f3a52-6d0e-4b53-9a3e-6f1f3f0b1c55/1
  candidate: {host: model-svc-blue, port: {number: 5001}}
  assign: {by: {header: x-user}, ledger: [{from: "0000000000000000", to: {host: model-svc-blue}}, {from: "8000000000000000", to: {host: model-svc-green}}]}
  override: {header: x-api-version, from: [10.0.0.0/8, 192.0.2.1]}
  shadow:
    to: {host: model-svc-blue, port: {number: 5001}}
    percent: 10
    noise: 0.5
    methods: [POST]
    maxBodyBytes: 65536
    maxInFlight: 8
    timeout: 500ms
    compare: [{path: /score, kind: number, abs: 0.01}, {path: /request_id, kind: ignore}, {path: /items/*/label, kind: class}]
    keepWorst: 20
    redact: [/customer/name]
    dropHeaders: [Authorization, cookie]
  rescue: {on: [connect-failure, reset, 5xx], budgetPercent: 5}
"#;
const ROUTE: &str = "  route: {virtualService: abtest}\n";

fn read(spec: &str) -> SplitPolicy {
    let text = format!("{HEAD}{spec}");
    let parsed = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]);
    let parsed = parsed.unwrap_or_else(|problems| panic!("refused:\n{problems}\n{text}"));
    assert_eq!(parsed.warnings, []);
    let again =
        parse(&[Source { name: "again", bytes: render(&parsed.documents).as_bytes() }]).expect("what was rendered");
    assert_eq!(again.documents, parsed.documents);
    match parsed.documents.into_iter().next() {
        Some(Document::SplitPolicy(policy)) => policy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_policy_is_read_and_written_back() {
    let policy = read(WHOLE);
    assert_eq!((policy.route.virtual_service.as_str(), policy.route.http.as_deref()), ("abtest", Some("split")));
    assert_eq!(policy.assign.ledger[1].from, 1 << 63);
    let shadow = policy.shadow.expect("a shadow");
    assert_eq!((shadow.timeout, shadow.keep_worst, shadow.compare.len()), (Duration::from_millis(500), 20, 3));
    assert_eq!(shadow.drop_headers, ["authorization", "cookie"]);
    assert_eq!(policy.rescue.expect("a rescue").on.len(), 3);
}

#[test]
fn what_is_left_out_has_its_default() {
    let policy = read(ROUTE);
    assert_eq!((policy.salt.as_str(), policy.candidate, policy.pinning), ("", None, None));
    assert_eq!((policy.assign.by, policy.shadow, policy.rescue), (AssignBy::Request, None, None));
    let spec = "  candidate: {host: b}\n  shadow: {percent: 1, methods: [GET]}\n  rescue: {}\n";
    let policy = read(&format!("{ROUTE}{spec}"));
    let shadow = policy.shadow.expect("a shadow");
    assert_eq!((shadow.max_body_bytes, shadow.max_in_flight, shadow.timeout), (1 << 20, 64, Duration::from_secs(5)));
    assert_eq!((shadow.noise, shadow.to), (Percent::of_millionths(10_000), None));
    assert_eq!(policy.rescue.expect("a rescue").budget, Percent::of_millionths(200_000));
    let AssignBy::Key(HashKey::Cookie(cookie)) = read(&format!("{ROUTE}  assign: {{by: {{cookie: t}}}}\n")).assign.by
    else {
        panic!("no cookie")
    };
    assert_eq!((cookie.name.as_str(), cookie.path.as_str(), cookie.ttl), ("t", "/", None));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let check = |spec: &str, line: usize, expected: &str| {
        let text = format!("{HEAD}{ROUTE}{spec}");
        let problems = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).expect_err(spec);
        let told: Vec<String> = problems.as_slice().iter().map(|it| format!("{}: {}", it.path, it.message)).collect();
        assert_eq!(told, [expected], "{spec}");
        assert_eq!(problems.as_slice().iter().map(|it| it.line).collect::<Vec<_>>(), [line], "{spec}");
        assert!(
            problems.as_slice().iter().all(|it| it.document.as_ref().is_some_and(|it| it.name.as_deref() == Some("p")))
        );
    };
    let advice = |spec: &str| {
        let text = format!("{HEAD}{ROUTE}{spec}");
        let problems = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).expect_err(spec);
        problems.as_slice().iter().filter_map(|it| it.advice.clone()).collect::<Vec<_>>()
    };
    check("  shadwo: {percent: 1}\n", 6, "spec.shadwo: unknown field");
    assert_eq!(advice("  shadwo: {percent: 1}\n"), ["did you mean shadow?"]);
    check("  assign: {bye: request}\n", 6, "spec.assign.bye: unknown field");
    assert_eq!(advice("  override: {header: a, frm: []}\n"), ["did you mean from?"]);
    check("  salt: a b\n", 6, "spec.salt: \"a b\" is not a salt");
    check("  candidate: {host: '*'}\n", 6, "spec.candidate.host: every host is no destination");
    check("  assign: {by: user}\n", 6, "spec.assign.by: \"user\" is not known");
    check("  assign: {by: {}}\n", 6, "spec.assign.by: nothing to assign by");
    check("  assign: {by: {header: a, query: b}}\n", 6, "spec.assign.by: more than one key");
    check("  assign: {by: {header: a b}}\n", 6, "spec.assign.by.header: \"a b\" is not the name of a header");
    check("  assign: {by: {cookie: a b}}\n", 6, "spec.assign.by.cookie: \"a b\" is not the name of a cookie");
    for name in ["jsonPointer", "pointer", "body"] {
        let message = format!("spec.assign.by.{name}: bodies are not read to assign a request");
        check(&format!("  assign: {{by: {{{name}: /user}}}}\n"), 6, &message);
    }
    let ledger = |parts: &str| format!("  assign:\n    by: {{header: a}}\n    ledger:\n{parts}");
    let part = |from: &str| format!("    - {{from: {from}, to: {{host: b}}}}\n");
    check(&ledger(&part("'8'")), 9, "spec.assign.ledger[0].from: \"8\" is not a hash");
    let gap = "an interval begins where the one before it ends, and the first at 0";
    check(&ledger(&part("'0000000000000001'")), 9, &format!("spec.assign.ledger[0]: {gap}"));
    let twice = format!("{}{}", part("'0000000000000000'"), part("'0000000000000000'"));
    check(&ledger(&twice), 10, &format!("spec.assign.ledger[1]: {gap}"));
    check("  override: {header: host}\n", 6, "spec.override.header: the host is always looked at");
    check("  override: {header: a, from: []}\n", 6, "spec.override.from: from nowhere: nobody could pick a version");
    check("  override: {header: a, from: [10/8]}\n", 6, "spec.override.from[0]: \"10/8\" is not a network");
    check("  shadow: {percent: 1, methods: [GET]}\n", 6, "spec.shadow: nobody to ask: there is no candidate");
    check("  rescue: {}\n", 6, "spec.rescue: nobody to be rescued: there is no candidate");
    check(
        "  shadow: {to: {host: b}, percent: 1, methods: [GET]}\n",
        6,
        "spec.shadow: nothing is copied: there is no candidate, and so no stable destination either",
    );
    let shadow = |fields: &str| format!("  candidate: {{host: b}}\n  shadow:\n    percent: 1\n{fields}");
    check(&shadow(""), 7, "spec.shadow.methods: required: for which asking twice is harmless, such as [POST]");
    check(&shadow("    methods: []\n"), 9, "spec.shadow.methods: no method: nothing would be asked");
    check(&shadow("    methods: [get]\n"), 9, "spec.shadow.methods[0]: \"get\" is not a method that can be asked");
    let more = |field: &str| shadow(&format!("    methods: [GET]\n    {field}\n"));
    check(&more("noise: 101"), 10, "spec.shadow.noise: 101 is above 100");
    check(&more("maxBodyBytes: 0"), 10, "spec.shadow.maxBodyBytes: 0 is below 1");
    check(&more("maxInFlight: 10001"), 10, "spec.shadow.maxInFlight: 10001 is above 10000");
    check(&more("keepWorst: 101"), 10, "spec.shadow.keepWorst: 101 is above 100");
    check(&more("redact: [name]"), 10, "spec.shadow.redact[0]: \"name\" is not a JSON pointer");
    check(&more("dropHeaders: [a b]"), 10, "spec.shadow.dropHeaders[0]: \"a b\" is not the name of a header");
    let rule = "compare: [{path: /a, kind: class, abs: 1}]";
    check(&more(rule), 10, "spec.shadow.compare[0]: abs and rel are for numbers");
    check(
        &more("compare: [{path: /a~2, kind: class}]"),
        10,
        "spec.shadow.compare[0].path: \"/a~2\" is not a JSON pointer",
    );
    check(&more("compare: [{path: /a, kind: text}]"), 10, "spec.shadow.compare[0].kind: \"text\" is not known");
    let rescue = |fields: &str| format!("  candidate: {{host: b}}\n  rescue: {{{fields}}}\n");
    check(&rescue("on: []"), 7, "spec.rescue.on: at no failure");
    check(&rescue("on: [4xx]"), 7, "spec.rescue.on[0]: \"4xx\" is not known");
    check(&rescue("budgetPercent: 200"), 7, "spec.rescue.budgetPercent: 200 is above 100");
}

#[test]
fn another_version_and_a_missing_route_are_refused() {
    let check = |text: &str, expected: &[&str]| {
        let problems = parse(&[Source { name: "routes.yaml", bytes: text.as_bytes() }]).expect_err(text);
        assert_eq!(
            problems.as_slice().iter().map(|it| format!("{}: {}", it.path, it.message)).collect::<Vec<_>>(),
            expected
        );
    };
    let of = |api_version: &str| {
        format!("apiVersion: {api_version}\nkind: SplitPolicy\nmetadata: {{name: p}}\nspec: {{}}\n")
    };
    check(&of("turnout.dev/v1"), &["apiVersion: \"turnout.dev/v1\" is not known"]);
    check(&of("networking.istio.io/v1"), &["apiVersion: \"networking.istio.io/v1\" is not known"]);
    check(&of("turnout.dev/v1alpha1"), &["spec.route: required"]);
}

const SERVED: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: abtest, namespace: abtesting}
spec:
  hosts: [model]
  http:
  - name: blue
    match: [{headers: {x-api-version: {exact: blue}}}]
    route: [{destination: {host: model-svc-blue, port: {number: 5001}}}]
  - name: old
    match: [{uri: {prefix: /old}}]
    redirect: {uri: /}
  - name: team
    match: [{uri: {prefix: /team}}]
    delegate: {name: team}
  - name: split
    route:
    - {destination: {host: model-svc-green, port: {number: 5001}}, weight: 90}
    - {destination: {host: model-svc-blue, port: {number: 5001}}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: team, namespace: abtesting}
spec:
  http:
  - name: split
    route:
    - {destination: {host: model-svc-green, port: {number: 5002}}, weight: 50}
    - {destination: {host: model-svc-blue, port: {number: 5002}}, weight: 50}
---
";

/// The sample with policies of these names, and what is said of it with its places.
fn served(policies: &[(&str, &str)]) -> (Router, Vec<String>) {
    let policy =
        |(name, spec): &(&str, &str)| format!("{}{spec}---\n", HEAD.replace("name: p", &format!("name: {name}")));
    let text = format!("{SERVED}{}", policies.iter().map(policy).collect::<String>());
    let source = [Source { name: "routes.yaml", bytes: text.as_bytes() }];
    let parsed = parse(&source).unwrap_or_else(|problems| panic!("refused:\n{problems}\n{text}"));
    let router = compile(&parsed.documents, &Identity::default());
    let said = locate(&source, router.warnings());
    let said = said
        .iter()
        .map(|it| format!("{}: {}: {}; {}", it.line, it.path, it.message, it.advice.as_deref().unwrap_or_default()));
    let said = said.collect();
    (router, said)
}

/// The rules that a policy governs, as `policy rule`.
fn governed(router: &Router) -> Vec<String> {
    let governed = router.rules().iter().filter_map(|rule| Some((rule.policy.as_ref()?, &rule.origin)));
    governed.map(|(policy, origin)| format!("{} {origin}", policy.name)).collect()
}

#[test]
fn a_policy_governs_the_rule_that_it_names() {
    let check = |spec: &str, expected: &str| {
        let (router, said) = served(&[("p", spec)]);
        assert_eq!(said, [""; 0], "{spec}");
        assert_eq!(governed(&router), [expected], "{spec}");
    };
    check(ROUTE, "abtesting/p abtesting/abtest spec.http[3] (split)");
    check("  route: {virtualService: abtest, http: blue}\n", "abtesting/p abtesting/abtest spec.http[0] (blue)");
    check("  route: {virtualService: team, http: split}\n", "abtesting/p abtesting/team spec.http[0] (split)");
    check(
        &format!("{ROUTE}  candidate: {{host: model-svc-blue.abtesting.svc.cluster.local}}\n"),
        "abtesting/p abtesting/abtest spec.http[3] (split)",
    );
}

#[test]
fn a_policy_that_leads_nowhere_is_told() {
    let first = SERVED.lines().count() + 5;
    let check = |spec: &str, expected: &str| {
        let (router, said) = served(&[("p", spec)]);
        assert_eq!(said, [format!("{first}: {expected}")], "{spec}");
        assert_eq!(governed(&router), [""; 0], "{spec}");
    };
    check(
        "  route: {virtualService: abtset}\n",
        "spec.route.virtualService: left out: there is no VirtualService abtesting/abtset; did you mean abtest?",
    );
    check(
        "  route: {virtualService: other}\n",
        "spec.route.virtualService: left out: there is no VirtualService abtesting/other; add it, or correct the name",
    );
    check(
        "  route: {virtualService: abtest, http: spilt}\n",
        "spec.route.http: left out: VirtualService abtesting/abtest has no http rule spilt, only blue, old, team and \
         others; did you mean split?",
    );
    check(
        "  route: {virtualService: abtest, http: old}\n",
        "spec.route.http: left out: the rule old sends no request to a destination; name a rule that does",
    );
    check(
        "  route: {virtualService: abtest, http: team}\n",
        "spec.route.http: left out: the rule team leaves its requests to VirtualService abtesting/team; write a policy for \
         the rule there",
    );
}

#[test]
fn of_two_policies_for_one_rule_the_first_counts() {
    let older = format!("{ROUTE}  salt: a\n");
    let (router, said) = served(&[("q", &older), ("p", "  route: {virtualService: abtest, http: split}\n")]);
    assert_eq!(governed(&router), ["abtesting/p abtesting/abtest spec.http[3] (split)"]);
    let line = SERVED.lines().count() + 5;
    let reason = "SplitPolicy abtesting/p counts for the rule abtesting/abtest spec.http[3] (split)";
    assert_eq!(said, [format!("{line}: spec.route: left out: {reason}; leave one of them out")]);
}

#[test]
fn a_candidate_that_the_rule_does_not_have_is_told() {
    let line = SERVED.lines().count() + 6;
    let check = |spec: &str, expected: &str| {
        let (router, said) = served(&[("p", &format!("{ROUTE}{spec}"))]);
        assert_eq!(said, [format!("{line}: {expected}")], "{spec}");
        assert_eq!(governed(&router).len(), 1);
    };
    let only = "only model-svc-green.abtesting.svc.cluster.local:5001, model-svc-blue.abtesting.svc.cluster.local:5001; \
                name one of them, with its port where they share a host";
    check(
        "  candidate: {host: model-svc-red, port: {number: 1}}\n",
        &format!(
            "spec.candidate: the rule abtesting/abtest spec.http[3] (split) has no destination \
             model-svc-red.abtesting.svc.cluster.local:1, {only}"
        ),
    );
    check(
        "  shadow: {to: {host: model-svc-red}, percent: 1, methods: [POST]}\n  candidate: {host: model-svc-blue}\n",
        "spec.shadow.to: nothing is compared: no ServiceEntry has model-svc-red.abtesting.svc.cluster.local, and a look-up \
         by name needs a port; write port.number, or add a ServiceEntry with the host \
         model-svc-red.abtesting.svc.cluster.local",
    );
}

#[test]
fn an_explanation_says_what_the_policy_does() {
    let check = |spec: &str, headers: &[&str], expected: &[&str]| {
        let (router, _) = served(&[("p", &format!("{ROUTE}{spec}"))]);
        let inquiry = Inquiry::new("POST", "http://model/score", headers.iter().copied()).expect("an inquiry");
        match explain(&router, &inquiry) {
            Explanation::Forward { also, .. } => assert_eq!(also, expected, "{spec}"),
            other => panic!("{other:?}"),
        }
    };
    check("", &[], &["the split is exact over 10 (SplitPolicy abtesting/p)"]);
    check(
        "  assign: {by: {cookie: t}}\n",
        &[],
        &["who gets which is decided by the cookie t, for the others exact over 10 (SplitPolicy abtesting/p)"],
    );
    check(
        "  candidate: {host: model-svc-blue}\n  shadow: {percent: 12.5, methods: [POST]}\n",
        &[],
        &[
            "the split is exact over 10 (SplitPolicy abtesting/p)",
            "12.5 % of what stable gets by POST is answered by model-svc-blue.abtesting.svc.cluster.local:5001 as well, and compared",
        ],
    );
    let pinning = "  override: {header: x-api-version, from: [10.0.0.0/8, 192.0.2.1]}\n";
    let counts = "x-api-version counts for requests from 10.0.0.0/8 or 192.0.2.1/32 alone";
    check(pinning, &["x-api-version: blue"], &[counts]);
    check(pinning, &[], &["the split is exact over 10 (SplitPolicy abtesting/p)"]);
}
