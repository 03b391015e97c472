//! The Postman collection: its requests go where their names say, by the routes of `abtest-istio`.

use super::rendered;
use super::routes::{read, router, shares};
use crate::cases::{list, root, text};
use crate::helm::Helm;
use serde_json::Value;
use std::fs;
use turnout_routes::explain::Inquiry;

fn collection() -> Value {
    let path = root().join("charts/score.postman_collection.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_collection_is_what_postman_reads() {
    let collection = collection();
    let schema = text(&collection, "/info/schema");
    assert_eq!(schema, "https://schema.getpostman.com/json/collection/v2.1.0/collection.json");
    assert!(!text(&collection, "/info/name").is_empty());
    let variables: Vec<&str> = list(&collection, "/variable").iter().map(|variable| text(variable, "/key")).collect();
    assert_eq!(variables, ["gateway", "body"]);
    for item in list(&collection, "/item") {
        let name = text(item, "/name");
        assert!(!name.is_empty() && text(item, "/request/description").ends_with('.'), "{name}");
        assert_eq!(text(item, "/request/url/raw"), "{{gateway}}/score", "{name}");
        assert_eq!(list(item, "/request/url/host"), ["{{gateway}}"], "{name}");
        assert_eq!(list(item, "/request/url/path"), ["score"], "{name}");
        let has_body = text(item, "/request/body/mode") == "raw" && text(item, "/request/body/raw") == "{{body}}";
        assert_eq!(has_body, text(item, "/request/method") == "POST", "{name}");
        let scripts = list(item, "/event");
        assert!(scripts.len() == 1 && text(&scripts[0], "/listen") == "test", "{name}");
        assert!(!list(&scripts[0], "/script/exec").is_empty(), "{name}");
    }
}

#[test]
fn its_requests_go_where_their_names_say() {
    let Some(helm) = Helm::find("its_requests_go_where_their_names_say") else { return };
    let objects = rendered(&helm, "abtest-istio", "abtest-istio", "weight.blue=30").unwrap();
    let router = router(&read(&objects));
    let mut seen = Vec::new();
    for item in list(&collection(), "/item") {
        let header = |header: &Value| format!("{}: {}", text(header, "/key"), text(header, "/value"));
        let headers: Vec<String> = list(item, "/request/header").iter().map(header).collect();
        let url = format!("/{}", text(item, "/request/url/path/0"));
        let inquiry = Inquiry::new(text(item, "/request/method"), &url, headers.iter().map(String::as_str)).unwrap();
        let expected = match text(item, "/name") {
            "score: blue" => [0.0, 100.0],
            "score: green" => [100.0, 0.0],
            _ => [70.0, 30.0],
        };
        assert_eq!(shares(&router, &inquiry), Some(expected), "{}", text(item, "/name"));
        seen.push(text(item, "/name").to_owned());
    }
    assert_eq!(seen, ["score: split", "score: blue", "score: green", "score: split, by GET"]);
}
