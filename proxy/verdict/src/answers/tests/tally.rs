//! Pairs, added up.

use super::{Answer, answer, rules};
use crate::answers::{Comparison, MAX_FIELDS, OTHERS, Rules, STATUS, compare, tally};
use crate::evidence::{Field, Shadow};

/// Each row: live, candidate, and stable's second answer where it was asked.
fn tallied(rows: &[(&str, &str, Option<&str>)], rules: &Rules) -> Shadow {
    let mut shadow = Shadow::default();
    for (live, candidate, second) in rows {
        let said = |other: &str| compare(&answer(live.as_bytes()), &answer(other.as_bytes()), rules);
        tally(&mut shadow, &said(candidate), second.map(said).as_ref());
    }
    shadow
}

fn field<'a>(shadow: &'a Shadow, path: &str) -> &'a Field {
    shadow.fields.iter().find(|field| field.path == path).unwrap()
}

/// compared, differ, of noise: compared, differ; discordant: candidate, noise.
fn counts(field: &Field) -> [u64; 6] {
    [
        field.compared,
        field.differ,
        field.noise_compared,
        field.noise_differ,
        field.discordant_candidate,
        field.discordant_noise,
    ]
}

#[test]
fn a_pair_counts_once_for_each_field() {
    let shadow = tallied(
        &[
            (r#"{"a":[1,2],"b":1}"#, r#"{"a":[1,2],"b":1}"#, None),
            (r#"{"a":[1,2],"b":1}"#, r#"{"a":[5,6],"b":1}"#, None),
            (r#"{"a":[1,2],"b":1}"#, r#"{"a":[5,6],"b":1}"#, Some(r#"{"a":[1,2],"b":1}"#)),
            (r#"{"a":[1,2],"b":1}"#, r#"{"a":[1,2],"b":1}"#, Some(r#"{"a":[1,9],"b":1}"#)),
            (r#"{"a":[1,2],"b":1}"#, r#"{"a":[7,2],"b":2}"#, Some(r#"{"a":[1,9],"b":1}"#)),
            (r#"{"a":[1,2],"b":1}"#, r#"{"a":[7,2]}"#, Some(r#"{"b":1}"#)),
        ],
        &Rules::default(),
    );
    assert_eq!((shadow.pairs, shadow.noise_pairs), (6, 4));
    assert_eq!(counts(field(&shadow, "/a/*")), [6, 4, 3, 2, 1, 1]);
    assert_eq!(counts(field(&shadow, "/b")), [5, 1, 3, 0, 1, 0]);
    assert_eq!(counts(field(&shadow, STATUS)), [6, 0, 4, 0, 0, 0]);
    assert_eq!(
        shadow.schema_changes.iter().map(|(name, pairs)| (&**name, *pairs)).collect::<Vec<_>>(),
        [("/b missing", 1)]
    );
    assert_eq!((shadow.schema_changed, shadow.fields_left_out), (1, 0));
    // What sending and failing is counted by is not counted here.
    assert_eq!((shadow.copies, shadow.only_candidate_failed, shadow.candidate.requests), (0, 0, 0));
}

#[test]
fn what_stable_shows_against_itself_is_no_change_of_schema() {
    let (full, without, other) = (r#"{"a":1,"b":1}"#, r#"{"a":1}"#, r#"{"b":1}"#);
    let none = Rules::default();
    assert_eq!(tallied(&[(full, without, Some(without))], &none).schema_changed, 0);
    assert_eq!(tallied(&[(full, without, Some(full))], &none).schema_changed, 1);
    assert_eq!(tallied(&[(full, without, Some(other))], &none).schema_changed, 1);
    assert_eq!(tallied(&[(full, "{}", Some(without)), (full, "{}", None)], &none).schema_changed, 2);
}

#[test]
fn failures_of_the_candidate_are_of_its_status_alone() {
    let failed = Answer { status: 503, content_type: Some("text/html"), body: b"<html>" };
    let mut shadow = Shadow::default();
    let (live, none) = (answer(b"{\"a\":1}"), Rules::default());
    let noise = [compare(&live, &live, &none), compare(&live, &failed, &none)];
    for noise in &noise {
        tally(&mut shadow, &compare(&live, &failed, &none), Some(noise));
    }
    assert_eq!(shadow.fields.len(), 1);
    assert_eq!(counts(field(&shadow, STATUS)), [2, 2, 2, 1, 1, 0]);
    assert_eq!(shadow.schema_changed, 0);
}

#[test]
fn numbers_that_are_none_have_no_bias() {
    let shadow = tallied(
        &[
            ("[1,1]", "[1.5,2.5]", None),
            ("[1,NaN]", "[2,1]", None),
            ("[NaN,NaN]", "[NaN,NaN]", None),
            ("[\"a\"]", "[\"b\"]", None),
            ("[1]", "[Infinity]", None),
        ],
        &rules("answer number abs=1"),
    );
    let bias = &field(&shadow, "/*").bias;
    assert_eq!((bias.count(), bias.scale()), (2, 10.0));
    // Of means: 2 is 1 above 1, and so is 2 beside what is no number.
    assert!((bias.mean() - 0.1).abs() < 1e-6);
    assert_eq!(field(&shadow, "/*").differ, 4);
}

#[test]
fn without_a_rule_a_bias_is_relative() {
    let shadow = tallied(&[("100", "90", None), ("0.1", "0.09", None), ("0", "0", None)], &Rules::default());
    let bias = &field(&shadow, "").bias;
    assert_eq!((bias.count(), bias.scale()), (3, 0.0));
    assert!((bias.mean() + 0.2 / 3.0).abs() < 1e-6);
}

#[test]
fn the_scale_of_a_bias_is_ten_tolerances_where_a_rule_has_one() {
    let scale = |of_rules: &str| field(&tallied(&[("1", "1", None)], &rules(of_rules)), "").bias.scale();
    let rows = [
        ("", 0.0),
        ("answer number", 0.0),
        ("answer number rel=0.5", 0.0),
        ("answer number abs=0", 0.0),
        ("answer number abs=0.5", 5.0),
        ("answer number abs=0.5 rel=0.5", 5.0),
        ("answer number abs=-1", 0.0),
        ("answer class abs=0.5", 0.0),
        // A page must not show what JSON has no number for.
        ("answer number abs=1e308", 0.0),
    ];
    for (of_rules, expected) in rows {
        assert!(scale(of_rules).total_cmp(&expected).is_eq(), "{of_rules}: {}", scale(of_rules));
    }
}

/// A comparison of objects of so many members, named from there on, of which the last differs.
fn wide(from: usize, members: usize, rules: &Rules) -> Comparison {
    let body = |last: u32| {
        let member = |at| format!("\"k{at:06}\":{}", if at + 1 == from + members { last } else { 7 });
        format!("{{{}}}", (from..from + members).map(member).collect::<Vec<_>>().join(","))
    };
    compare(&answer(body(1).as_bytes()), &answer(body(2).as_bytes()), rules)
}

#[test]
fn names_that_never_end_are_counted_together() {
    let (mut shadow, none) = (Shadow::default(), Rules::default());
    for pair in 0..100 {
        tally(&mut shadow, &wide(pair * 50, 50, &none), Some(&wide(pair * 50, 50, &none)));
    }
    assert!(shadow.fields.len() <= MAX_FIELDS + 2, "{}", shadow.fields.len());
    assert!(shadow.fields_left_out > 4_000, "{}", shadow.fields_left_out);
    let others = field(&shadow, OTHERS);
    // From the 257th name on, one that differs in each pair.
    assert_eq!(counts(others), [95, 95, 95, 95, 0, 0]);
    let all_differ: u64 = shadow.fields.iter().map(|field| field.differ).sum();
    assert_eq!(all_differ, 100, "nothing that differs is lost");
    // Whichever of them it is that differs.
    let of_two = |other: &str| compare(&answer(br#"{"x1":1,"x2":1}"#), &answer(other.as_bytes()), &none);
    let [same, differs] = [r#"{"x1":1,"x2":1}"#, r#"{"x1":2,"x2":1}"#].map(of_two);
    tally(&mut shadow, &differs, Some(&same));
    tally(&mut shadow, &same, Some(&differs));
    assert_eq!(counts(field(&shadow, OTHERS)), [97, 96, 97, 96, 1, 1]);
    // What a rule names still has a place.
    let named = rules("/k004999 class");
    tally(&mut shadow, &wide(4_950, 50, &named), None);
    assert_eq!(field(&shadow, "/k004999").differ, 1);
}

#[test]
fn changes_of_schema_that_never_end_are_counted_together() {
    let rows: Vec<(String, String)> =
        (0..1_000).map(|at| ("{}".to_owned(), format!("{{\"k{at}\":1,\"l{at}\":1}}"))).collect();
    let rows: Vec<(&str, &str, Option<&str>)> = rows.iter().map(|(live, other)| (&**live, &**other, None)).collect();
    let shadow = tallied(&rows, &Rules::default());
    assert_eq!(shadow.schema_changes.len(), 65);
    assert_eq!(shadow.schema_changes[OTHERS], 1_000 - 32);
    assert_eq!(shadow.schema_changed, 1_000);
}
