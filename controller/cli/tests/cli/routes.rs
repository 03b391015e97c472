//! `lint`, `explain` and `diff`: commands that only look at files. What they say of routes is tested with the router;
//! here it is what they make of it.

use crate::support::{check, command, run, turnout, turnout_with_input, write};
use serde_json::json;
use std::os::unix::fs::symlink;

/// A pinned rule and a split.
pub(crate) fn routes(green: u32, blue: u32) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gateway}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: 80, name: http, protocol: HTTP}}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: model}}
spec:
  hosts: ['*']
  gateways: [gateway]
  http:
  - match: [{{uri: {{prefix: /score}}, headers: {{x-api-version: {{exact: blue}}}}}}]
    route: [{{destination: {{host: blue.example, port: {{number: 5001}}}}}}]
  - route:
    - {{destination: {{host: green.example, port: {{number: 5001}}}}, weight: {green}}}
    - {{destination: {{host: blue.example, port: {{number: 5001}}}}, weight: {blue}}}
"
    )
}

#[test]
fn lint_accepts_good_files_and_refuses_bad_ones_with_the_place() {
    let directory = tempfile::tempdir().unwrap();
    let good = write(directory.path(), "good.yaml", &routes(50, 50));
    let bad = write(directory.path(), "bad.yaml", &routes(0, 0).replace("prefix", "prefx"));
    check(&turnout(&["lint", &good]), 0, &[&format!("{good}: accepted")]);
    let problem = format!("{bad}:17:20: VirtualService default/model: spec.http[0].match[0].uri.prefx: ");
    check(&turnout(&["lint", &good, &bad]), 1, &[&format!("{good}: accepted"), &format!("{bad}: refused"), &problem]);
    check(&turnout(&["lint", &bad]), 1, &["spec.http[1].route: total destination weight = 0"]);
    check(&turnout(&["lint", "/nowhere.yaml"]), 2, &["cannot read /nowhere.yaml"]);
    check(&turnout(&["lint"]), 2, &["<FILE>"]);
}

#[test]
fn routes_beyond_the_limit_of_the_gateway_are_refused_and_its_flag_allows_more() {
    let directory = tempfile::tempdir().unwrap();
    let large = write(directory.path(), "large.yaml", &format!("{}#{}\n", routes(50, 50), "x".repeat(1 << 20)));
    let verbs: [(&[&str], i32, &str); 3] = [
        (&["lint", &large], 1, &format!("{large}: accepted")),
        (&["explain", "--routes", &large, "GET", "/"], 2, "50 % green.example"),
        (&["diff", &large, &large], 2, "0 of "),
    ];
    for (verb, refused, said) in verbs {
        let advice = "more than 1048576 bytes; allow more with --max-routes-bytes";
        check(&turnout(verb), refused, &[&format!("{large}:1:1: "), advice]);
        check(&turnout(&[verb, &["--max-routes-bytes", "2000000"]].concat()), 0, &[said]);
        check(&run(command(verb).env("TURNOUT_MAX_ROUTES_BYTES", "2000000"), ""), 0, &[said]);
    }
    check(&turnout(&["lint", &large, "--max-routes-bytes", "67108865"]), 2, &["--max-routes-bytes", "1..=67108864"]);
}

#[test]
fn lint_reads_standard_input_and_mounted_directories() {
    check(&turnout_with_input(&["lint", "-"], &routes(50, 50)), 0, &["-: accepted"]);
    check(&turnout_with_input(&["lint", "-"], "kind: Nothing"), 1, &["<stdin>:1:"]);
    let mount = tempfile::tempdir().unwrap();
    std::fs::create_dir(mount.path().join("..1")).unwrap();
    write(&mount.path().join("..1"), "routes.yaml", &routes(50, 50));
    write(mount.path(), "stray.yaml", "is not part of the mount");
    symlink("..1", mount.path().join("..data")).unwrap();
    check(&turnout(&["lint", mount.path().to_str().unwrap()]), 0, &[": accepted"]);
}

#[test]
fn lint_tells_what_a_gateway_leaves_out() {
    let text = routes(50, 50).replace("istio: ingressgateway", "istio: other");
    let warning = "<stdin>:5:3: warning: Gateway default/gateway: spec.selector: left out: ";
    check(&turnout_with_input(&["lint", "-"], &text), 0, &[warning, "-: accepted"]);
    check(&turnout_with_input(&["lint", "-", "--labels", "istio=other"], &text), 0, &["-: accepted"]);
}

#[test]
fn a_name_that_leads_nowhere_is_told_by_lint_with_its_place_and_by_explain() {
    let text = routes(50, 50).replace("gateways: [gateway]", "gateways: [gatway]");
    let warning = "warning: VirtualService default/model: spec.gateways[0]: not served: no Gateway default/gatway is here, \
                   only default/gateway; did you mean gateway?";
    let lint = turnout_with_input(&["lint", "-"], &text);
    check(&lint, 0, &[&format!("<stdin>:15:14: {warning}\n"), "-: accepted"]);
    let explain = turnout_with_input(&["explain", "--routes", "-", "GET", "/"], &text);
    check(&explain, 0, &[&format!("to     404: no rule matches\n{warning}\n")]);
}

#[test]
fn a_destination_that_cannot_be_served_is_told_before_its_requests_get_503() {
    let directory = tempfile::tempdir().unwrap();
    let text = routes(90, 10)
        .replace("{host: blue.example, port: {number: 5001}}, weight", "{host: blue.example, subset: v2}, weight");
    let file = write(directory.path(), "routes.yaml", &text);
    let why = r#"no DestinationRule for blue.example has the subset "v2""#;
    let place = "VirtualService default/model: spec.http[1].route[1].destination.subset";
    let lint = turnout(&["lint", &file]);
    check(&lint, 0, &[&format!(": warning: {place}: requests get 503: {why}; add "), &format!("{file}: accepted")]);
    let warnings = turnout(&["lint", &file, "-o", "json"]).json()["files"][0]["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 1, "{warnings}");
    assert_eq!(warnings[0]["path"], "spec.http[1].route[1].destination.subset");
    let explain = turnout(&["explain", "--routes", &file, "GET", "/"]);
    check(&explain, 0, &["90 % green.example:5001\n", &format!("10 % blue.example/v2 (503: {why}; add ")]);
}

#[test]
fn lint_as_json_has_every_problem() {
    let ran = turnout_with_input(&["lint", "-", "-o", "json"], &routes(0, 0));
    assert_eq!(ran.code, 1);
    let result = ran.json();
    assert_eq!(result["accepted"], false);
    assert_eq!(result["files"][0]["problems"][0]["path"], "spec.http[1].route");
    assert_eq!(result["files"][0]["problems"][0]["severity"], "error");
}

#[test]
fn explain_names_the_rule_and_the_shares() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "routes.yaml", &routes(1, 3));
    let explain = |rest: &[&str]| turnout(&[&["explain", "--routes", &file], rest].concat());
    check(&explain(&["POST", "/score"]), 0, &["spec.http[1]", "25 % green.example:5001", "75 % blue.example:5001"]);
    let pinned = explain(&["POST", "http://any.example/score?a=1", "-H", "X-Api-Version: blue"]);
    check(&pinned, 0, &["spec.http[0]", "sends  /score?a=1", "100 % blue.example:5001"]);
    check(&explain(&["GET", "http://localhost:8080/score"]), 0, &["spec.http[1]"]);
    check(&explain(&["GET", "https://localhost/score", "--port", "80"]), 0, &["spec.http[1]"]);
    check(&explain(&["GET", "/score", "--port", "81"]), 0, &["404: no rule matches"]);
    check(&explain(&["GET", "/score", "-H", "no colon"]), 2, &["`no colon` is not `name: value`"]);
    check(&turnout(&["explain", "GET", "/score"]), 2, &["--routes"]);
    let result = explain(&["GET", "/", "-o", "json"]).json();
    assert_eq!(result["outcome"], "forward");
    assert_eq!(result["backends"][1], json!({"backend": "blue.example:5001", "share": 0.75}));
}

#[test]
fn explain_refuses_routes_that_a_gateway_would_refuse() {
    let ran = turnout_with_input(&["explain", "--routes", "-", "GET", "/"], &routes(0, 0));
    check(&ran, 2, &["- is refused:", "total destination weight = 0"]);
}

#[test]
fn diff_tells_only_the_requests_that_change_destination() {
    let directory = tempfile::tempdir().unwrap();
    let old = write(directory.path(), "old.yaml", &routes(100, 0));
    let new = write(directory.path(), "new.yaml", &routes(50, 50));
    check(&turnout(&["diff", &old, &old]), 0, &["0 of "]);
    let ran = turnout(&["diff", &old, &new]);
    check(
        &ran,
        1,
        &[
            "GET http://probe.example/\n",
            "before  100 % green.example:5001",
            "after   50 % green.example:5001, 50 % blue",
        ],
    );
    assert!(!ran.stdout.contains("x-api-version"), "the pinned requests stay: {}", ran.stdout);
    let unpinned = write(directory.path(), "unpinned.yaml", &routes(100, 0).replace("exact: blue", "exact: BLUE"));
    let ran = turnout(&["diff", &old, &unpinned]);
    check(&ran, 1, &["GET http://probe.example/score -H 'x-api-version: blue'", "-H 'x-api-version: BLUE'"]);
}

#[test]
fn diff_sees_a_prefix_that_becomes_exact_and_says_what_it_did_not_probe() {
    let directory = tempfile::tempdir().unwrap();
    let old = write(directory.path(), "old.yaml", &routes(100, 0));
    let exact = write(directory.path(), "exact.yaml", &routes(100, 0).replace("prefix", "exact"));
    let ran = turnout(&["diff", &old, &exact, "-o", "json"]);
    assert_eq!(ran.code, 1);
    let changes = ran.json()["changes"].clone();
    assert_eq!(changes.as_array().unwrap().len(), 1, "{changes}");
    assert_eq!(changes[0]["request"], "GET http://probe.example/scoreprobe -H 'x-api-version: blue'");
    let regex = write(directory.path(), "regex.yaml", &routes(100, 0).replace("exact: blue", "regex: '[b-e]{4,9}'"));
    let not_probed = "not probed: default/model spec.http[0].match[0].headers.x-api-version";
    check(&turnout(&["diff", &old, &regex]), 1, &[not_probed]);
}

#[test]
fn diff_asks_about_what_is_delegated() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, host: &str| {
        let document = |name: &str, spec: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
            )
        };
        let rule = "match: [{uri: {prefix: /team}}], delegate: {name: inner}";
        let outer = document("outer", &format!("hosts: [m.example], http: [{{{rule}}}]"));
        let route = format!(
            "match: [{{method: {{exact: PUT}}}}], route: [{{destination: {{host: {host}, port: {{number: 80}}}}}}]"
        );
        let inner = document("inner", &format!("http: [{{{route}}}]"));
        write(directory.path(), name, &format!("{outer}---\n{inner}"))
    };
    let (old, new) = (file("old.yaml", "green.example"), file("new.yaml", "blue.example"));
    let ran = turnout(&["diff", &old, &new]);
    check(&ran, 1, &["PUT http://m.example/team\n", "100 % green.example:80", "100 % blue.example:80"]);
    let explained = turnout(&["explain", "--routes", &old, "PUT", "http://m.example/team"]);
    check(&explained, 0, &["default/inner spec.http[0], delegated by default/outer spec.http[0]"]);
}
