//! Differences that are seen before any value is looked at.

use super::{check, said, said_of};
use crate::answers::{Answer, Rules, compare};

/// A value of each type, and its name.
const TYPES: [(&str, &str); 6] = [
    ("null", "null"),
    ("true", "boolean"),
    ("1", "number"),
    (r#""1""#, "string"),
    ("[1]", "array"),
    (r#"{"a":1}"#, "object"),
];

#[test]
fn each_type_is_another() {
    let none = Rules::default();
    let bodies = TYPES.iter().copied().chain([("", "nothing"), ("true!", "bytes")]);
    let bodies: Vec<(&str, &str)> = bodies.collect();
    for (live, live_type) in &bodies {
        for (other, other_type) in &bodies {
            let expected = if live_type == other_type {
                "agree".to_owned()
            } else {
                format!("answer {live_type} became {other_type}; answer differs")
            };
            assert_eq!(said_of(live.as_bytes(), other.as_bytes(), &none), expected);
        }
    }
}

#[test]
fn each_type_is_another_within_objects_and_arrays() {
    let none = Rules::default();
    for (live, live_type) in TYPES {
        for (other, other_type) in TYPES {
            for (wrap, path) in [(["{\"x\":", "}"], "/x"), (["[0,", "]"], "/*"), (["[{\"x\":", "}]"], "/*/x")] {
                let [begin, end] = wrap;
                let expected = if live_type == other_type {
                    "agree".to_owned()
                } else {
                    format!("{path} {live_type} became {other_type}; {path} differs")
                };
                let (live, other) = (format!("{begin}{live}{end}"), format!("{begin}{other}{end}"));
                assert_eq!(said_of(live.as_bytes(), other.as_bytes(), &none), expected, "{live} {other}");
            }
        }
    }
}

#[test]
fn members_come_and_go() {
    check(&[
        ("", r#"{"a":1}"#, r#"{"a":1,"b":2}"#, "/b added"),
        ("", r#"{"a":1,"b":2}"#, r#"{"a":1}"#, "/b missing"),
        ("", r#"{"a":1}"#, r#"{"b":1}"#, "/b added; /a missing"),
        ("", "{}", r#"{"a":{"b":1}}"#, "/a added"),
        ("", r#"{"a":null}"#, "{}", "/a missing"),
        ("", r#"[{"a":1},{"a":1}]"#, r#"[{"a":1},{}]"#, "/*/a missing"),
        ("", r#"[{"a":1},{"a":1}]"#, "[{},{}]", "/*/a missing"),
        ("", r#"[{"a":1},{}]"#, r#"[{},{"a":1}]"#, "/*/a added; /*/a missing"),
        ("/* number", r#"{"u1":1}"#, r#"{"u2":1}"#, "/* added; /* missing"),
    ]);
}

#[test]
fn an_array_that_is_longer_is_another() {
    check(&[
        ("", "[1]", "[1,2]", "answer has another length"),
        ("", "[]", "[1]", "answer has another length"),
        ("", r#"{"a":[[1],[1]]}"#, r#"{"a":[[1],[1,2]]}"#, "/a/* has another length"),
        ("", r#"{"a":[1,2]}"#, r#"{"a":[2]}"#, "/a has another length; /a/* differs"),
        ("", "[]", "{}", "answer array became object; answer differs"),
    ]);
}

fn heads(live: (u16, Option<&str>), other: (u16, Option<&str>)) -> String {
    let answer = |(status, content_type), body| Answer { status, content_type, body };
    said(&compare(&answer(live, b"1"), &answer(other, b"2"), &Rules::default()))
}

#[test]
fn the_status_is_a_field_and_failures_are_no_change_of_schema() {
    let json = Some("application/json");
    // Status of the live answer, of the other; bodies that differ are looked at only where there may be a model behind.
    let rows = [
        (200, 200, "answer differs"),
        (404, 404, "answer differs"),
        (200, 400, "status 200 became 400; status differs"),
        (400, 200, "status 400 became 200; status differs"),
        (200, 201, "status 200 became 201; status differs"),
        (200, 500, "status differs"),
        (503, 200, "status differs"),
        (500, 503, "status differs"),
        (500, 500, "agree"),
    ];
    for (live, other, expected) in rows {
        assert_eq!(heads((live, json), (other, json)), expected, "{live} {other}");
    }
}

#[test]
fn of_the_content_type_parameters_and_case_say_nothing() {
    let json = Some("application/json");
    let rows = [
        (json, Some("application/json; charset=utf-8"), "answer differs"),
        (json, Some("Application/JSON ;x=y"), "answer differs"),
        (None, None, "answer differs"),
        (None, Some(""), "answer differs"),
        (json, Some("text/html"), "content type application/json became text/html; answer differs"),
        (json, None, "content type application/json became none; answer differs"),
        (None, json, "content type none became application/json; answer differs"),
    ];
    for (live, other, expected) in rows {
        assert_eq!(heads((200, live), (200, other)), expected, "{live:?} {other:?}");
    }
}
