//! The comparer must pass what is as expected and name what is not: for every field one of each.

use super::{Difference, Observation, compare, latin1};
use crate::exchange::{Exchange, Handshake};
use crate::expectation::Expectation;
use serde_json::{Value, json};
use std::time::Duration;
use turnout_tests::client::RawResponse;
use turnout_tests::echo::Received;
use turnout_tests::wire::HeaderLines;

fn lines(lines: &[(&str, &str)]) -> HeaderLines {
    HeaderLines(lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn answer(status: u16, backend: &str) -> Exchange {
    let answer = RawResponse {
        version: "HTTP/1.1".to_owned(),
        status,
        headers: lines(&[("X-Backend", backend), ("x-a", "1"), ("X-A", "2"), ("date", "today")]),
        interim: vec![100],
        body: b"a\nb".to_vec(),
        trailers: lines(&[("X-T", "1")]),
        complete: true,
    };
    let handshake = Some(Handshake { certificate: Some("a"), version: Some("TLSv1.3".to_owned()) });
    let (elapsed, tunnel) = (Duration::from_millis(500), Some("ping".to_owned()));
    Exchange { answer: Ok(answer), elapsed, closed: Some(false), tunnel, handshake, stream_error: None }
}

fn no_answer() -> Exchange {
    let answer = Err("no answer: reset".to_owned());
    let elapsed = Duration::ZERO;
    Exchange { answer, elapsed, closed: None, tunnel: None, handshake: None, stream_error: None }
}

fn received(backend: &str, connection: usize, target: &str) -> Received {
    Received {
        backend: backend.to_owned(),
        connection,
        attempt: 1,
        method: "POST".to_owned(),
        target: target.to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers: lines(&[("host", "a"), ("x-r", "v")]),
        body: b"abc".to_vec(),
        trailers: lines(&[("x-t", "1")]),
        body_complete: true,
        tls: None,
        scheme: None,
    }
}

/// One request, tried at red and then at green, with a copy at a mirror.
fn one() -> Observation {
    let received = vec![received("red", 1, "/first"), received("green", 4, "/p"), received("mirror", 1, "/p")];
    Observation { exchanges: vec![answer(200, "green")], received }
}

/// Ten requests: seven to green, two to blue, one without an answer.
fn ten() -> Observation {
    let mut exchanges: Vec<_> = (0..7).map(|_| answer(200, "green")).collect();
    exchanges.extend([answer(503, "blue"), answer(503, "blue"), no_answer()]);
    let received = vec![received("mirror", 1, "/"), received("mirror", 1, "/"), received("green", 1, "/")];
    Observation { exchanges, received }
}

fn differences(expect: Value, seen: &Observation) -> Vec<Difference> {
    let expect: Expectation = serde_json::from_value(expect).expect("the fields are known");
    compare(&expect, seen)
}

fn check(seen: &Observation, field: &str, good: &[Value], bad: &[(Value, &str)]) {
    for good in good {
        assert_eq!(differences(json!({field: good}), seen), [], "{field}: {good}");
    }
    for (bad, message) in bad {
        let messages: Vec<_> = differences(json!({field: bad}), seen).iter().map(Difference::to_string).collect();
        assert_eq!(messages, [*message], "{field}: {bad}");
    }
}

#[test]
fn the_answer_is_compared_field_by_field() {
    let one = one();
    check(&one, "status", &[json!(200)], &[(json!(404), "status: want 404, got 200")]);
    check(&one, "reset", &[json!(false)], &[(json!(true), "reset: want true, got 200")]);
    check(&one, "backend", &[json!("green")], &[(json!("red"), "backend: want \"red\", got \"green\"")]);
    let message = "version: want \"HTTP/2\", got \"HTTP/1.1\"";
    check(&one, "version", &[json!("HTTP/1.1")], &[(json!("HTTP/2"), message)]);
}

#[test]
fn what_the_connection_was_is_compared() {
    let one = one();
    check(&one, "tunnel", &[json!("ping")], &[(json!("pong"), "tunnel: want \"pong\", got \"ping\"")]);
    check(&one, "cert", &[json!("a")], &[(json!("b"), "cert: want \"b\", got \"a\"")]);
    let message = "tls_version: want \"TLSv1.2\", got \"TLSv1.3\"";
    check(&one, "tls_version", &[json!("TLSv1.3")], &[(json!("TLSv1.2"), message)]);
}

#[test]
fn the_body_and_the_way_it_came_are_compared() {
    let one = one();
    let good = [json!("a\nb"), json!({"re": "a.*"})];
    let bad = [
        (json!("a"), "body: want \"a\", got \"a\\nb\""),
        (json!({"re": "a"}), "body: want {\"re\":\"a\"}, got \"a\\nb\""),
    ];
    check(&one, "body", &good, &bad);
    check(&one, "body_bytes", &[json!(3)], &[(json!(4), "body_bytes: want 4, got 3")]);
    check(&one, "trailers", &[json!(["x-t: 1"])], &[(json!([]), "trailers: want [], got [\"x-t: 1\"]")]);
    check(&one, "interim", &[json!([100])], &[(json!([]), "interim: want [], got [100]")]);
    check(&one, "complete", &[json!(true)], &[(json!(false), "complete: want false, got true")]);
    check(&one, "closed", &[json!(false)], &[(json!(true), "closed: want true, got false")]);
    let message = "time_ms: want \"at least 600\", got \"500\"";
    check(&one, "time_ms", &[json!([500, 600]), json!([0, 1])], &[(json!([600, 900]), message)]);
}

#[test]
fn an_answer_that_never_came_differs_in_every_field() {
    let none = Observation { exchanges: vec![no_answer()], received: Vec::new() };
    check(&none, "reset", &[json!(true)], &[(json!(false), "reset: want false, got null")]);
    let fields = [
        ("status", json!(200)),
        ("backend", json!("green")),
        ("body", json!("x")),
        ("complete", json!(false)),
        ("closed", json!(true)),
        ("tunnel", json!("ping")),
        ("cert", json!("a")),
        ("tls_version", json!("TLSv1.3")),
        ("backend_trailers", json!(null)),
        ("path", json!("/")),
        ("attempts", json!({"green": 1})),
        ("statuses", json!({"200": 1})),
        ("shares", json!({"green": 1})),
        ("request_headers", json!({"x-r": "v"})),
        ("response_headers", json!({"x-a": {"any": true}})),
    ];
    for (field, want) in fields {
        assert_ne!(differences(json!({field: want}), &none), [], "{field}");
    }
}

#[test]
fn header_lines_are_compared_in_every_form() {
    let good = [
        json!({"X-A": ["1", "2"], "x-none": null, "date": {"any": true}}),
        json!({"x-a": {"re": "[0-9],[0-9]"}, "date": {"not": "tomorrow"}}),
        json!({"date": "today"}),
    ];
    let bad = [
        (json!({"X-A": "1"}), "response header x-a: want \"1\", got [\"1\",\"2\"]"),
        (json!({"x-a": ["2", "1"]}), "response header x-a: want [\"2\",\"1\"], got [\"1\",\"2\"]"),
        (json!({"x-a": null}), "response header x-a: want null, got [\"1\",\"2\"]"),
        (json!({"x-a": {"re": "[0-9]"}}), "response header x-a: want {\"re\":\"[0-9]\"}, got [\"1\",\"2\"]"),
        (json!({"date": {"not": "today"}}), "response header date: want {\"not\":\"today\"}, got [\"today\"]"),
        (json!({"x-none": {"any": true}}), "response header x-none: want {\"any\":true}, got []"),
        (json!({"x-none": {"not": "a"}}), "response header x-none: want {\"not\":\"a\"}, got []"),
    ];
    check(&one(), "response_headers", &good, &bad);
    let message = "request header x-r: want \"w\", got [\"v\"]";
    check(&one(), "request_headers", &[json!({"x-r": "v"})], &[(json!({"x-r": "w"}), message)]);
}

#[test]
fn the_last_attempt_that_is_not_a_copy_is_compared() {
    let one = one();
    check(&one, "path", &[json!("/p")], &[(json!("/first"), "path: want \"/first\", got \"/p\"")]);
    check(&one, "method", &[json!("POST")], &[(json!("GET"), "method: want \"GET\", got \"POST\"")]);
    check(&one, "authority", &[json!("a")], &[(json!("b"), "authority: want \"b\", got \"a\"")]);
    let message = "backend_version: want \"HTTP/1.0\", got \"HTTP/1.1\"";
    check(&one, "backend_version", &[json!("HTTP/1.1")], &[(json!("HTTP/1.0"), message)]);
    check(&one, "backend_body", &[json!("abc")], &[(json!(""), "backend_body: want \"\", got \"abc\"")]);
    check(&one, "backend_bytes", &[json!(3)], &[(json!(0), "backend_bytes: want 0, got 3")]);
    let message = "backend_trailers: want [], got [[\"x-t\",\"1\"]]";
    let bad = [(json!([]), message), (json!(null), message)];
    check(&one, "backend_trailers", &[json!([["x-t", "1"]])], &bad);
}

#[test]
fn attempts_and_copies_are_counted_apart() {
    let one = one();
    let message = "attempts: want {\"green\":2}, got {\"green\":1,\"red\":1}";
    check(&one, "attempts", &[json!({"red": 1, "green": 1})], &[(json!({"green": 2}), message)]);
    check(&one, "attempts_total", &[json!(2)], &[(json!(3), "attempts_total: want 3, got 2")]);
    let bad =
        [(json!(1), "backend_connections: want 1, got 2"), (json!([3, 9]), "backend_connections: want [3,9], got 2")];
    check(&one, "backend_connections", &[json!(2), json!([1, 2])], &bad);
}

#[test]
fn many_answers_are_counted_and_shared() {
    let ten = ten();
    let counts = "{\"200\":7,\"503\":2,\"none\":1}";
    let message = format!("statuses: want {{\"200\":10}}, got {counts}");
    check(&ten, "statuses", &[json!({"200": 7, "503": 2, "none": 1})], &[(json!({"200": 10}), &message)]);
    let good = [json!({"200": 6, "503": 1, "none": 0})];
    let (fewer, other) = (json!({"200": 8, "503": 1, "none": 0}), json!({"200": 7}));
    let messages = [&fewer, &other].map(|want| format!("statuses_at_least: want {want}, got {counts}"));
    check(&ten, "statuses_at_least", &good, &[(fewer.clone(), &messages[0]), (other.clone(), &messages[1])]);
    check(&ten, "distinct_backends", &[json!(2)], &[(json!(1), "distinct_backends: want 1, got 2")]);
}

#[test]
fn shares_are_compared_within_the_tolerance() {
    // One of ten has no backend, so that at most nine tenths have one.
    let table = [
        (json!({"shares": {"green": 0.7, "blue": 0.2}}), vec![]),
        (json!({"shares": {"green": 1, "blue": 0.2}}), vec!["share of green: want 1.0, got 0.7"]),
        (json!({"shares": {"green": 0.7}}), vec!["share of blue: want 0.0, got 0.2"]),
        (json!({"status_shares": {"200": 1}, "tolerance": 0.4}), vec![]),
        (json!({"status_shares": {"200": 1}, "tolerance": 0.25}), vec!["share of status 200: want 1.0, got 0.7"]),
    ];
    for (expect, expected) in table {
        let messages: Vec<_> = differences(expect.clone(), &ten()).iter().map(Difference::to_string).collect();
        assert_eq!(messages, expected, "{expect}");
    }
}

#[test]
fn a_share_of_many_is_held_to_the_tolerance_of_its_case() {
    let exchanges = (0..2000).map(|index| answer(200, if index % 10 < 4 { "green" } else { "blue" }));
    let seen = Observation { exchanges: exchanges.collect(), received: Vec::new() };
    assert_eq!(differences(json!({"shares": {"green": 0.4, "blue": 0.6}}), &seen), []);
    assert_eq!(differences(json!({"shares": {"green": 0.45, "blue": 0.55}}), &seen), []);
    let found = differences(json!({"shares": {"green": 0.5, "blue": 0.5}}), &seen);
    let fields: Vec<_> = found.iter().map(|difference| difference.field.as_str()).collect();
    assert_eq!(fields, ["share of blue", "share of green"]);
}

#[test]
fn a_long_value_is_cut_in_the_message() {
    let mut seen = one();
    seen.received[1].target = "/".repeat(5000);
    let found = differences(json!({"path": "/"}), &seen);
    assert!(found[0].got.len() < 400 && found[0].got.ends_with("..."), "{}", latin1(found[0].got.as_bytes()));
}
