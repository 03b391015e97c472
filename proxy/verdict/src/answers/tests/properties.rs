//! What is true of any answers.

use super::{answer, rules};
use crate::answers::{Comparison, Redaction, Rules, compare, tally};
use crate::evidence::Shadow;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// JSON as a model may write it.
#[derive(Clone, Debug)]
enum Json {
    Scalar(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// `other`: with the keys the other way round, and with white space.
    fn text(&self, other: bool) -> String {
        let (comma, colon) = if other { (" ,\n", "\t: ") } else { (",", ":") };
        match self {
            Self::Scalar(text) => text.clone(),
            Self::Array(elements) => {
                let elements: Vec<String> = elements.iter().map(|element| element.text(other)).collect();
                format!("[{}]", elements.join(comma))
            }
            Self::Object(members) => {
                let mut members: Vec<String> = members
                    .iter()
                    .map(|(name, value)| format!("{}{colon}{}", serde_json::Value::from(&**name), value.text(other)))
                    .collect();
                if other {
                    members.reverse();
                }
                format!("{{{}}}", members.join(comma))
            }
        }
    }
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e400",
            "-0.0",
            "0",
            "\"a\""
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|whole| whole.to_string()),
        any::<f64>()
            .prop_filter("JSON has these by name", |float| float.is_finite())
            .prop_map(|float| format!("{float:?}")),
        (-3i8..3).prop_map(|near| format!("1.000{}", near + 3)),
        "[1-9][0-9]{20,40}",
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
    ]
}

fn json() -> impl Strategy<Value = Json> {
    let name = prop_oneof!["[a-d]", "[a-d~/*0-9]{0,3}", any::<String>()];
    scalar().prop_map(Json::Scalar).prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Json::Array),
            btree_map(name.clone(), inner, 0..6).prop_map(Json::Object),
        ]
    })
}

fn any_rules() -> impl Strategy<Value = Rules> {
    prop::sample::select(vec![
        "",
        "answer class",
        "answer set",
        "answer ignore; /a/* class",
        "/a number abs=0.5; /*/b set; /c ignore; /0 class",
        "/*/* number rel=0.1; /a/b ignore",
    ])
    .prop_map(rules)
}

/// Bodies that often agree, and often in part.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let small = (0..3u8, 0..3u8, prop::sample::select(vec!["", "\"b\":1,", "\"b\":\"x\","]))
        .prop_map(|(one, two, member)| format!("{{{member}\"a\":[{one},{two}]}}").into_bytes());
    prop_oneof![4 => small, 2 => json().prop_map(|json| json.text(false).into_bytes()), 1 => vec(any::<u8>(), 0..20)]
}

/// Paths with whether they agree, and how many changes of schema there are.
fn symmetric(comparison: &Comparison) -> (Vec<(String, bool)>, usize) {
    let fields = comparison.fields.iter().map(|field| (field.path.clone(), field.agrees)).collect();
    (fields, comparison.schema_changes.len())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn an_answer_agrees_with_itself(json in json(), rules in any_rules()) {
        let (one, other) = (json.text(false), json.text(true));
        prop_assert!(compare(&answer(one.as_bytes()), &answer(one.as_bytes()), &rules).agrees());
        let reordered = compare(&answer(one.as_bytes()), &answer(other.as_bytes()), &rules);
        prop_assert!(reordered.agrees(), "{reordered:?}");
        prop_assert!(reordered.severity() <= 0.0);
    }

    #[test]
    fn bytes_agree_with_themselves(bytes in vec(any::<u8>(), 0..200), rules in any_rules()) {
        prop_assert!(compare(&answer(&bytes), &answer(&bytes), &rules).agrees());
    }

    #[test]
    fn whether_two_agree_does_not_depend_on_which_is_first(one in body(), other in body(), rules in any_rules()) {
        let (there, back) = (compare(&answer(&one), &answer(&other), &rules), compare(&answer(&other), &answer(&one), &rules));
        prop_assert_eq!(symmetric(&there), symmetric(&back));
        prop_assert_eq!(there.agrees(), back.agrees());
        for (there, back) in there.fields.iter().zip(&back.fields) {
            prop_assert_eq!(there.difference(), back.difference().map(|difference| 0.0 - difference));
        }
    }

    #[test]
    fn the_order_of_pairs_does_not_matter(
        rows in vec((body(), body(), option::of(body())), 0..12), cut in 0..12usize, rules in any_rules()
    ) {
        let said: Vec<_> = rows.iter().map(|(live, candidate, second)| {
            let said = |other: &Vec<u8>| compare(&answer(live), &answer(other), &rules);
            (said(candidate), second.as_ref().map(said))
        }).collect();
        let all = |said: &mut dyn Iterator<Item = &(Comparison, Option<Comparison>)>| {
            let mut shadow = Shadow::default();
            said.for_each(|(candidate, second)| tally(&mut shadow, candidate, second.as_ref()));
            shadow
        };
        let whole = all(&mut said.iter());
        prop_assert_eq!(&whole, &all(&mut said.iter().rev()));
        // Two replicas, each with a part of them.
        let mut sum = all(&mut said.iter().skip(cut));
        sum.add(&all(&mut said.iter().take(cut)));
        prop_assert_eq!(&whole, &sum);
        prop_assert_eq!(whole.pairs, rows.len() as u64);
        prop_assert!(whole.schema_changed <= whole.pairs);
        for field in &whole.fields {
            prop_assert!(field.differ <= field.compared && field.compared <= whole.pairs);
            prop_assert!(field.noise_compared <= whole.noise_pairs.min(field.compared));
            prop_assert!(field.discordant_candidate + field.discordant_noise <= field.noise_compared);
        }
    }

    #[test]
    fn what_is_shown_is_the_answer_without_what_is_hidden(json in json()) {
        let text = json.text(false);
        let shown = Redaction::default().apply(text.as_bytes()).unwrap();
        prop_assert!(compare(&answer(text.as_bytes()), &answer(shown.as_bytes()), &rules("answer class")).agrees(), "{}", shown);
        let hidden = Redaction::new(&["/a".to_owned()]).unwrap();
        let wrapped = format!("{{\"a\":{text},\"a\":{text}}}");
        prop_assert_eq!(hidden.apply(wrapped.as_bytes()).unwrap(), "{\"a\":\"redacted\"}");
    }
}
