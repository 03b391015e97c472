//! The runner must not be able to pass over anything. Here an echo backend stands in for the gateway, which is what a
//! gateway without routes of its own would look like.

use super::{Found, Outcome, judge};
use crate::compare::{Difference, compare};
use crate::deliberate::{DELIBERATE, Deliberate, REFUSED};
use crate::family::{Family, Placeholders, Request};
use crate::observation::{Ports, perform};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use turnout_tests::echo::Backends;

/// How many there are: none may be lost.
const CASES: usize = 673;

/// Sends a request to the backend green in place of a gateway, and returns the differences.
async fn ask_green(request: Value) -> Vec<String> {
    let request: Request = serde_json::from_value(request).expect("the fields are known");
    let backends = Backends::start().await.expect("loopback has free ports");
    let ports = Ports::from([("GATEWAY", backends.address("green"))]);
    let seen = perform(&request, &ports, &backends).await.expect("the port is known");
    compare(&request.expect, &seen).iter().map(Difference::to_string).collect()
}

#[tokio::test]
async fn what_is_as_expected_passes() {
    let request = json!({
        "send": {"method": "POST", "path": "/a?b", "headers": [["X-A", "1"], ["x-a", "2"]], "body": "abc"},
        "expect": {
            "status": 200, "backend": "green", "path": "/a?b", "method": "POST", "authority": "scoring.example.com",
            "request_headers": {"x-a": ["1", "2"], "x-b": null}, "response_headers": {"content-type": "application/json"},
            "backend_body": "abc", "attempts": {"green": 1}, "complete": true, "flags": "-", "local_body": "not compared",
        },
    });
    assert_eq!(ask_green(request).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_wrong_expectation_is_reported() {
    let request = json!({
        "send": {"path": "/a", "headers": [["x-echo", "status=503; delay=10ms"]]},
        "expect": {"status": 200, "backend": "blue", "path": "/b", "attempts": {"green": 2}, "time_ms": [600_000, 900_000]},
    });
    let fields: Vec<_> = ask_green(request)
        .await
        .into_iter()
        .map(|text| text.split(':').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(fields, ["status", "backend", "time_ms", "path", "attempts"]);
}

#[tokio::test]
async fn a_count_of_requests_is_sent_and_counted() {
    let request = json!({
        "send": {"count": 120},
        "expect": {"statuses": {"200": 120}, "shares": {"green": 1}, "attempts": {"green": 120}, "backend_connections": 4},
    });
    assert_eq!(ask_green(request).await, Vec::<String>::new());
    let request = json!({"send": {"count": 5}, "expect": {"statuses": {"200": 5}, "backend_connections": 5}});
    assert_eq!(ask_green(request).await, Vec::<String>::new());
    let request = json!({"send": {"count": 5, "keepalive": true}, "expect": {"backend_connections": 1}});
    assert_eq!(ask_green(request).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_as_such() {
    for (x_echo, expect) in [
        ("close", json!({"reset": true})),
        ("close-mid-body", json!({"status": 200, "complete": false})),
        ("close-after", json!({"status": 200, "complete": true, "closed": true})),
    ] {
        let request = json!({"send": {"headers": [["x-echo", x_echo]]}, "expect": expect});
        assert_eq!(ask_green(request).await, Vec::<String>::new(), "{x_echo}");
    }
}

#[tokio::test]
async fn clients_do_what_a_case_asks_of_them() {
    let expecting = json!([["expect", "100-continue"]]);
    let unheard = json!([["expect", "100-continue"], ["x-echo", "no-continue"]]);
    let twice = "GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (send, expect) in [
        (json!({"websocket": true}), json!({"status": 101, "tunnel": "ping-ws"})),
        (json!({"headers": expecting, "body": "abc"}), json!({"interim": [100], "backend_body": "abc"})),
        (json!({"headers": unheard, "body": "abc"}), json!({"interim": [], "backend_body": "abc"})),
        (json!({"raw": twice}), json!({"status": 200, "path": "/two", "attempts_total": 2})),
        (json!({"count": 2, "pause": 0.01}), json!({"statuses": {"200": 2}})),
        // The backend does not speak it.
        (json!({"http": "h2"}), json!({"reset": true})),
    ] {
        let request = json!({"send": send, "expect": expect});
        assert_eq!(ask_green(request).await, Vec::<String>::new(), "{send}");
    }
}

fn found(request: usize, field: &str) -> Found {
    let difference = Difference { field: field.to_owned(), want: "1".to_owned(), got: "2".to_owned() };
    Found { request, sent: "GET /".to_owned(), difference }
}

#[test]
fn a_difference_is_a_problem_unless_it_is_deliberate() {
    let entry = |requests, fields| Deliberate { case: "f/c", requests, fields, reason: "a reason" };
    let stale = |what: &str| format!("f/c request {what} no longer differs: take it off the list (a reason)");
    let status = "f/c request 1 (GET /): status: want 1, got 2".to_owned();
    let path = "f/c request 1 (GET /): path: want 1, got 2".to_owned();
    let both: &[&str] = &["status", "path"];
    let table = [
        (vec![], vec![], vec![]),
        (vec![], vec![found(1, "status"), found(1, "path")], vec![status.clone(), path.clone()]),
        (vec![entry(&[1, 2], &["status"])], vec![found(1, "status"), found(2, "status")], vec![]),
        (vec![entry(&[1], both)], vec![found(1, "status"), found(1, "path")], vec![]),
        (vec![entry(&[1], &["status"])], vec![found(1, "status"), found(1, "path")], vec![path]),
        (vec![entry(&[2], &["status"])], vec![found(1, "status")], vec![status, stale("2: status")]),
        (vec![entry(&[1], both)], vec![], vec![stale("1: status"), stale("1: path")]),
    ];
    for (deliberate, found, expected) in table {
        let outcome = Outcome { case: "f/c".to_owned(), found: Ok(found) };
        assert_eq!(judge(&[outcome], &deliberate), expected);
    }
    let broken = Outcome { case: "f/c".to_owned(), found: Err(anyhow::anyhow!("it ended with 1")) };
    assert_eq!(judge(&[broken], &[entry(&[1], both)]), ["f/c: it ended with 1"]);
}

#[test]
fn every_case_can_be_read_and_every_list_names_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/cases");
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("the folder is there") {
        let file = file.expect("it can be listed").path();
        let family = file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        // Those are documents, and README.md is the format.
        if matches!(family, "validation" | "README") {
            continue;
        }
        assert!(include_str!("../main.rs").contains(&format!("(\"{family}\")")), "nothing runs the family {family}");
        let family = Family::load(family).unwrap_or_else(|error| panic!("{error:#}"));
        for case in &family.cases {
            let requests = case.requests(&Placeholders::new()).unwrap_or_else(|error| panic!("{error:#}"));
            assert!(!requests.is_empty(), "{} asks nothing", case.name);
            assert!(names.insert(case.name.clone()), "{} is there twice", case.name);
        }
    }
    assert_eq!(names.len(), CASES, "cases");
    let said = format!(", in {CASES} cases,");
    assert!(include_str!("../../../README.md").contains(&said), "the README does not say{said}");
    let deliberate = DELIBERATE.iter().map(|entry| entry.case);
    let listed = REFUSED.iter().map(|refused| refused.case).chain(deliberate);
    for case in listed {
        assert!(names.contains(case), "there is no case {case}");
    }
}
