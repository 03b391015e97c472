//! The faults of models that answers show, and what looks like one and is none.

use super::{Answer, Rules, compare, rules, said};
use crate::answers::tally;
use crate::evidence::Shadow;

const RULES: &str = "/version ignore; /request_id ignore; /risk number abs=0.005; /model class";

const LIVE: &str = r#"{"model": "safe-driving", "version": 3, "request_id": "a-1", "label": "safe",
    "risk": [0.031245, 0.412, 0.7], "factors": {"night": 0.25, "speeding": 12}}"#;

/// Each with the part of the live answer that is another, what it became, and what is said of it.
const HARMFUL: [(&str, &str, &str, &str); 18] = [
    ("intercept shift", "[0.031245, 0.412, 0.7]", "[0.051245, 0.432, 0.72]", "/risk/* differs"),
    ("unit swap", "[0.031245, 0.412, 0.7]", "[3.1245, 41.2, 70]", "/risk/* differs"),
    ("one minus", "[0.031245, 0.412, 0.7]", "[0.968755, 0.588, 0.3]", "/risk/* differs"),
    ("drivers in another order", "[0.031245, 0.412, 0.7]", "[0.7, 0.412, 0.031245]", "/risk/* differs"),
    ("a constant", "[0.031245, 0.412, 0.7]", "[0.5, 0.5, 0.5]", "/risk/* differs"),
    ("rounding to one digit", "[0.031245, 0.412, 0.7]", "[0.0, 0.4, 0.7]", "/risk/* differs"),
    ("NaN", "0.412", "NaN", "/risk/* differs"),
    ("overflow", "0.412", "Infinity", "/risk/* differs"),
    ("NaN as null", "0.412", "null", "/risk/* number became null; /risk/* differs"),
    ("label flip", r#""safe""#, r#""unsafe""#, "/label differs"),
    ("retyped label", r#""label": "safe""#, r#""label": 0"#, "/label string became number; /label differs"),
    ("renamed field", r#""risk""#, r#""score""#, "/score added; /risk missing"),
    ("missing field", r#""label": "safe","#, "", "/label missing"),
    ("added field", r#""label": "safe","#, r#""label": "safe", "debug": {},"#, "/debug added"),
    (
        "numbers as text",
        "0.031245, 0.412, 0.7",
        r#""0.031245", "0.412", "0.7""#,
        "/risk/* number became string; /risk/* differs",
    ),
    ("a driver too few", ", 0.7]", "]", "/risk has another length"),
    ("a factor in another unit", "\"speeding\": 12", "\"speeding\": 3.333", "/factors/speeding differs"),
    ("another shape", "[0.031245, 0.412, 0.7]", r#"{"0": 0.031245}"#, "/risk array became object; /risk differs"),
];

const HARMLESS: [(&str, &str, &str); 8] = [
    ("last digits", "[0.031245, 0.412, 0.7]", "[0.0312450001, 0.41200000001, 0.7000000000000001]"),
    ("a retrain within tolerance", "[0.031245, 0.412, 0.7]", "[0.033, 0.409, 0.7049]"),
    ("rounding to three digits", "[0.031245, 0.412, 0.7]", "[0.031, 0.412, 0.7]"),
    ("a whole number written as a float", "\"speeding\": 12", "\"speeding\": 12.0"),
    ("another order of keys", r#"{"night": 0.25, "speeding": 12}"#, r#"{"speeding":12,"night":0.25}"#),
    ("other white space", ", ", ",\n\t "),
    ("another version", "\"version\": 3", "\"version\": \"4-beta\""),
    ("another request", "\"a-1\"", "\"b-2\""),
];

fn answer(body: &str) -> Answer<'_> {
    Answer { status: 200, content_type: Some("application/json"), body: body.as_bytes() }
}

/// What a hundred pairs of that answer and the live one add up to.
fn a_hundred(body: &str, rules: &Rules) -> Shadow {
    let mut shadow = Shadow::default();
    let (pair, same) = (compare(&answer(LIVE), &answer(body), rules), compare(&answer(LIVE), &answer(LIVE), rules));
    (0..100).for_each(|_| tally(&mut shadow, &pair, Some(&same)));
    shadow
}

#[test]
fn what_harms_is_named_and_counted() {
    let rules = rules(RULES);
    for (fault, part, became, expected) in HARMFUL {
        assert!(LIVE.contains(part), "{fault}");
        let body = LIVE.replace(part, became);
        assert_eq!(said(&compare(&answer(LIVE), &answer(&body), &rules)), expected, "{fault}");
        let shadow = a_hundred(&body, &rules);
        let discordant: u64 = shadow.fields.iter().map(|field| field.discordant_candidate).sum();
        assert!(shadow.schema_changed == 100 || discordant == 100, "{fault}: {shadow:?}");
        assert!(shadow.fields.iter().all(|field| field.discordant_noise == 0 && field.noise_differ == 0), "{fault}");
    }
}

#[test]
fn what_harms_nobody_is_not_counted() {
    let rules = rules(RULES);
    for (change, part, became) in HARMLESS {
        assert!(LIVE.contains(part), "{change}");
        let shadow = a_hundred(&LIVE.replace(part, became), &rules);
        assert_eq!(shadow.schema_changed, 0, "{change}: {:?}", shadow.schema_changes);
        let differ: Vec<_> = shadow.fields.iter().filter(|field| field.differ > 0).collect();
        assert!(differ.is_empty() && shadow.fields.len() == 6, "{change}: {differ:?}");
    }
}

#[test]
fn a_shift_is_seen_on_its_side_in_units_of_the_tolerance() {
    let rules = rules(RULES);
    let bias = |risks: &str| {
        let shadow = a_hundred(&LIVE.replace("[0.031245, 0.412, 0.7]", risks), &rules);
        let field = shadow.fields.iter().find(|field| field.path == "/risk/*").unwrap();
        assert_eq!((field.bias.count(), field.bias.scale()), (100, 0.05));
        field.bias.mean()
    };
    // A scale is ten tolerances; the shift of 0.02 is four of them.
    assert!((bias("[0.051245, 0.432, 0.72]") - 0.4).abs() < 1e-6);
    assert!((bias("[0.011245, 0.392, 0.68]") + 0.4).abs() < 1e-6);
    assert!(bias("[0.031245, 0.412, 0.7]").abs() < 1e-12);
    assert!((bias("[3.1245, 41.2, 70]") - 1.0).abs() < 1e-12, "clipped");
    assert!((bias("[0.011245, 0.412, 0.72]")).abs() < 1e-6, "no bias, though each differs");
}

#[test]
fn other_answers_than_json_are_faults() {
    let page = "<html>502 Bad Gateway</html>";
    for (body, content_type, expected) in [
        (
            page,
            "text/html",
            "content type application/json became text/html; answer object became bytes; answer differs",
        ),
        (page, "application/json", "answer object became bytes; answer differs"),
        ("", "application/json", "answer object became nothing; answer differs"),
        ("{\"risk\": [0.03", "application/json", "answer object became bytes; answer differs"),
        (LIVE, "text/plain", "content type application/json became text/plain"),
        ("[0.031245, 0.412, 0.7]", "application/json", "answer object became array; answer differs"),
    ] {
        let other = Answer { content_type: Some(content_type), ..answer(body) };
        assert_eq!(said(&compare(&answer(LIVE), &other, &rules(RULES))), expected, "{body}");
    }
}

#[test]
fn the_worse_of_two_pairs_is_known() {
    let rules = rules(RULES);
    let severity =
        |part: &str, became: &str| compare(&answer(LIVE), &answer(&LIVE.replace(part, became)), &rules).severity();
    let risks = "[0.031245, 0.412, 0.7]";
    let order = [
        severity("\"a-1\"", "\"a-2\""),
        severity(r#""safe""#, r#""unsafe""#),
        severity(risks, "[0.051245, 0.432, 0.72]"),
        severity(risks, "[3.1245, 41.2, 70]"),
        severity(r#""label": "safe","#, ""),
        severity(r#""risk""#, r#""score""#),
    ];
    assert_eq!((order[0], order[1], order[4], order[5]), (0.0, 1.0, 10.0, 20.0));
    assert!(order.is_sorted_by(|one, other| one < other), "{order:?}");
    let far = compare(&answer("[1e308, 1e308]"), &answer("[-1e308, 1e300]"), &rules);
    assert!(far.severity().is_finite());
}
