//! `turnout probe` against the gateway of a real `turnout local`, and against one that answers badly.

use crate::server::Server;
use crate::support::{Local, Ran, closed_address, turnout};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The answer of each kind of request, as `METHOD VERSION RESULT`.
fn results(ran: &Ran) -> Vec<String> {
    let result = |request: &Value| {
        format!("{} {} {}", request["method"], request["version"], request["result"]).replace('"', "")
    };
    ran.json()["requests"].as_array().unwrap().iter().map(result).collect()
}

#[test]
fn a_probe_scores_with_and_without_a_version() {
    let local = Local::start();
    let url = format!("http://{}", local.address("gateway"));
    let ran = turnout(&["probe", "--url", &url, "--expect-pins", "-o", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = [
        "GET null answered",
        "POST null answered",
        "GET blue answered",
        "POST blue answered",
        "GET green answered",
        "POST green answered",
    ];
    assert_eq!(results(&ran), expected);
    assert_eq!(ran.json()["requests"][1]["said"], "\"New Model A\"");
    let ran = turnout(&["probe", "--url", &format!("{url}/nothing"), "--timeout", "0s"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("GET   /nothing  ") && ran.stdout.contains("failed  404"), "{ran:?}");
}

/// Answers who picks no version, says of blue that it is not there, and fails for green.
async fn answer_without_green(headers: HeaderMap) -> Response {
    match headers.get("x-api-version").map(|version| version.to_str().unwrap()) {
        None => "scored".into_response(),
        Some("blue") => (StatusCode::SERVICE_UNAVAILABLE, [("x-turnout-reason", "backend_absent")]).into_response(),
        Some(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[test]
fn a_version_that_fails_counts_only_where_pins_are_expected() {
    let gateway = Server::start(Router::new().fallback(answer_without_green));
    let probe = |flags: &[&str]| {
        turnout(&[&["probe", "--url", &gateway.url(), "--timeout", "0s", "-o", "json"], flags].concat())
    };
    let lenient = probe(&[]);
    let expected = [
        "GET null answered",
        "POST null answered",
        "GET blue absent",
        "POST blue absent",
        "GET green failed",
        "POST green failed",
    ];
    assert_eq!(results(&lenient), expected);
    assert_eq!((lenient.code, &lenient.json()["well"]), (0, &json!(true)));
    let strict = probe(&["--expect-pins"]);
    assert_eq!((strict.code, &strict.json()["well"]), (1, &json!(false)));
    assert_eq!(results(&strict), expected);
}

#[test]
fn a_gateway_that_is_not_there_and_a_bad_url_are_told_apart() {
    let ran = turnout(&["probe", "--url", &format!("http://{}/score", closed_address()), "--timeout", "0s"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let ran = turnout(&["probe", "--url", "https://model.example/score"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("a probe speaks HTTP without TLS"), "{ran:?}");
}
