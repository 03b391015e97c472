//! What is written is what is read: `parse(render(x)) == x` over generated documents, and a second YAML reader sees the
//! same values.

#[path = "rendered/generated.rs"]
mod generated;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::Deserialize;
use turnout_routes::documents::Document;
use turnout_routes::{Source, parse, render};

/// The same documents in every run.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn read(text: &str) -> Vec<Document> {
    let source = Source { name: "routes.yaml", bytes: text.as_bytes() };
    match parse(&[source]) {
        Ok(parsed) => parsed.documents,
        Err(problems) => panic!("{problems}\n{text}"),
    }
}

#[test]
fn what_is_rendered_is_read_back_as_it_was() {
    let run = |documents: Vec<Document>| {
        let text = render(&documents);
        prop_assert_eq!(&read(&text), &documents, "{}", text);
        prop_assert_eq!(render(&read(&text)), text);
        Ok(())
    };
    runner(512).run(&generated::documents(), run).expect("every generated set of documents");
}

#[test]
fn a_second_reader_of_yaml_sees_the_same_values() {
    let run = |documents: Vec<Document>| {
        let text = render(&documents);
        let seen: Vec<serde_json::Value> = serde_yaml::Deserializer::from_str(&text)
            .map(|document| serde_json::Value::deserialize(document).expect("YAML that has the shape of JSON"))
            .collect();
        let written: Vec<_> = documents.iter().map(|document| serde_json::to_value(document).expect("JSON")).collect();
        prop_assert_eq!(seen, written, "{}", text);
        Ok(())
    };
    runner(256).run(&generated::documents(), run).expect("every generated set of documents");
}

#[test]
fn the_order_of_the_documents_does_not_count() {
    let run = |documents: Vec<Document>| {
        let reversed: Vec<Document> = documents.iter().rev().cloned().collect();
        prop_assert_eq!(render(&reversed), render(&documents));
        Ok(())
    };
    runner(64).run(&generated::documents(), run).expect("every generated set of documents");
}

#[test]
fn a_document_is_rendered_in_its_newest_version_with_every_text_in_quotes() {
    let documents = read(
        "apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {name: a, labels: {v: 'yes'}}\n\
         spec: {hosts: [a.example.com], http: [{timeout: 1.5s, route: [{destination: {host: A}, weight: 0}]}]}\n",
    );
    let expected = r#"apiVersion: "networking.istio.io/v1"
kind: "VirtualService"
metadata:
  name: "a"
  namespace: "default"
  labels:
    "v": "yes"
spec:
  hosts:
    - "a.example.com"
  http:
    - route:
        - destination:
            host: "a"
      timeout: "1500ms"
"#;
    assert_eq!(render(&documents), expected);
}
