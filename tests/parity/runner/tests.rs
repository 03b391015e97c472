//! The runner must not be able to pass over anything. Here an echo backend stands in for the gateway, which is what a
//! gateway without routes of its own would look like.

use super::{Found, Outcome, judge};
use crate::compare::{Difference, compare};
use crate::deliberate::{DELIBERATE, Deliberate, REFUSED};
use crate::family::{Family, Placeholders, Request};
use crate::observation::{Ports, perform};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use turnout_tests::echo::Backends;

const FAMILIES: [&str; 12] = [
    "destination",
    "direct-response",
    "gateway",
    "headers",
    "match",
    "order",
    "redirect",
    "retry",
    "rewrite",
    "seed-scenario",
    "timeout",
    "weights",
];

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

fn found(request: usize, field: &str) -> Found {
    let difference = Difference { field: field.to_owned(), want: "1".to_owned(), got: "2".to_owned() };
    Found { request, sent: "GET /".to_owned(), difference }
}

#[test]
fn a_difference_is_a_problem_unless_it_is_deliberate() {
    let entry = |request| Deliberate { case: "f/c", request, field: "status", reason: "a reason" };
    let stale = "f/c: status no longer differs: take it off the list (a reason)";
    let stale_second = "f/c request 2: status no longer differs: take it off the list (a reason)";
    let status = "f/c request 1 (GET /): status: want 1, got 2";
    let path = "f/c request 1 (GET /): path: want 1, got 2";
    let table = [
        (vec![], vec![], vec![]),
        (vec![], vec![found(1, "status"), found(1, "path")], vec![status, path]),
        (vec![entry(None)], vec![found(1, "status"), found(2, "status")], vec![]),
        (vec![entry(Some(1))], vec![found(1, "status"), found(1, "path")], vec![path]),
        (vec![entry(Some(2))], vec![found(1, "status")], vec![status, stale_second]),
        (vec![entry(None)], vec![], vec![stale]),
    ];
    for (deliberate, found, expected) in table {
        let outcome = Outcome { case: "f/c".to_owned(), found: Ok(found) };
        assert_eq!(judge(&[outcome], &deliberate), expected);
    }
    let broken = Outcome { case: "f/c".to_owned(), found: Err(anyhow::anyhow!("it ended with 1")) };
    assert_eq!(judge(&[broken], &[entry(None)]), ["f/c: it ended with 1"]);
}

#[test]
fn every_case_can_be_read_and_every_list_names_a_case() {
    let mut names = BTreeSet::new();
    for family in FAMILIES {
        let family = Family::load(family).unwrap_or_else(|error| panic!("{error:#}"));
        for case in &family.cases {
            let requests = case.requests(&Placeholders::new()).unwrap_or_else(|error| panic!("{error:#}"));
            assert!(!requests.is_empty(), "{} asks nothing", case.name);
            assert!(names.insert(case.name.clone()), "{} is there twice", case.name);
        }
    }
    assert_eq!(names.len(), 204);
    let listed = REFUSED.iter().map(|refused| refused.case).chain(DELIBERATE.iter().map(|entry| entry.case));
    for case in listed {
        assert!(names.contains(case), "there is no case {case}");
    }
}
