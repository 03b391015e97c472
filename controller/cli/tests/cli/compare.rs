//! `turnout compare` over the pages of gateways.

use crate::support::{check, turnout, write};
use serde_json::{Value, json};
use tempfile::TempDir;
use turnout_verdict::evidence::{Epoch, Field, Page, PolicyEvidence, Shadow};

/// A page of pairs, as a gateway writes it.
fn page(instance: &str, shadow: Shadow) -> Page {
    let epoch = Epoch { revision: "r".to_owned(), shadow: Some(shadow), ..Epoch::default() };
    let policy = PolicyEvidence { policy: "ns/model".to_owned(), epochs: vec![epoch], ..PolicyEvidence::default() };
    Page { instance: instance.to_owned(), policies: vec![policy] }
}

fn field(path: &str, compared: u64, differ: u64, noise: (u64, u64)) -> Field {
    let (noise_compared, noise_differ) = noise;
    Field { path: path.to_owned(), compared, differ, noise_compared, noise_differ, ..Field::default() }
}

fn shadow() -> Shadow {
    let mut risk = field("/risk", 1000, 50, (100, 2));
    for _ in 0..1000 {
        assert!(risk.bias.record(1.0, 0.9));
    }
    Shadow {
        copies: 1200,
        pairs: 1000,
        noise_pairs: 100,
        skipped: [("body_too_large".to_owned(), 200)].into(),
        only_candidate_failed: 3,
        fields: vec![field("", 400, 0, (0, 0)), risk],
        schema_changes: [("/class added".to_owned(), 7)].into(),
        ..Shadow::default()
    }
}

fn write_page(directory: &TempDir, page: &Page) -> String {
    write(directory.path(), &page.instance, &serde_json::to_string(page).unwrap())
}

#[test]
fn the_table_has_each_field_and_what_does_not_fit_into_it() {
    let directory = tempfile::tempdir().unwrap();
    let told = turnout(&["compare", "--evidence", &write_page(&directory, &page("a", shadow()))]);
    assert_eq!(told.code, 0, "{told:?}");
    let expected = "\
ns/model: 1,000 of 1,200 copies compared, 100 of them with a second answer of stable
skipped: body_too_large 200
only the candidate failed: 3; only stable failed: 0
FIELD        PAIRS  AGREE     NOISE   EXCESS   BIAS
(the whole)  400    100.00 %  –       –        –
/risk        1,000  95.00 %   2.00 %  +3.00 %  -10.00 %
schema changes, in so many pairs: /class added 7
";
    assert_eq!(told.stdout, expected);
}

#[test]
fn pages_are_added_up_and_json_has_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let pages = ["a", "b"].map(|instance| write_page(&directory, &page(instance, shadow())));
    let told = turnout(&["compare", "-o", "json", "--evidence", &pages[0], &pages[1]]);
    assert_eq!(told.code, 0, "{told:?}");
    let json = told.json();
    let numbers = [&json["policy"], &json["copies"], &json["pairs"], &json["noisePairs"], &json["onlyCandidateFailed"]];
    assert_eq!(numbers, [&json!("ns/model"), &json!(2400), &json!(2000), &json!(200), &json!(6)]);
    assert_eq!(json["schemaChanges"], json!({"/class added": 14}));
    assert_eq!(json["skipped"], json!({"body_too_large": 400}));
    let (whole, risk) = (&json["fields"][0], &json["fields"][1]);
    assert_eq!((&whole["path"], &whole["pairs"], &whole["agreement"]), (&json!(""), &json!(800), &json!(1.0)));
    assert_eq!([&whole["noise"], &whole["excess"], &whole["bias"]], [&Value::Null; 3]);
    assert_eq!((&risk["agreement"], &risk["noise"]), (&json!(0.95), &json!(0.02)));
    assert_eq!(risk["bias"], json!({"mean": -0.1, "scale": 0.0, "count": 2000}));
}

#[test]
fn without_pairs_there_is_no_table_and_without_pages_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let told = turnout(&["compare", "--evidence", &write_page(&directory, &page("a", Shadow::default()))]);
    check(&told, 0, &["ns/model: 0 of 0 copies compared, 0 of them with a second answer of stable\n"]);
    assert!(!told.stdout.contains("FIELD"), "{told:?}");
    check(&turnout(&["compare"]), 2, &["--evidence <FILE|URL>"]);
    check(&turnout(&["compare", "--evidence", "/nowhere"]), 2, &["--evidence /nowhere: cannot read it"]);
}
