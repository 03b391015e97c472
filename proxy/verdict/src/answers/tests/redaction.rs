//! What people may see of an answer.

use crate::answers::{BadPath, Redaction};

fn redacted(paths: &[&str], body: &[u8]) -> Option<String> {
    let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
    Redaction::new(&paths).unwrap().apply(body)
}

#[test]
fn named_values_are_not_shown() {
    let rows: &[(&[&str], &str, Option<&str>)] = &[
        (&["/name"], r#"{"name":"Ann","score":0.5}"#, Some(r#"{"name":"redacted","score":0.5}"#)),
        (&["/who"], r#"{"who":{"name":"Ann","ids":[1]}}"#, Some(r#"{"who":"redacted"}"#)),
        (
            &["/*/name"],
            r#"[{"name":"Ann"},{"name":"Bo","age":3}]"#,
            Some(r#"[{"name":"redacted"},{"age":3,"name":"redacted"}]"#),
        ),
        (&["/1"], "[1,2,3]", Some(r#"[1,"redacted",3]"#)),
        (&["/*"], r#"{"a":1,"b":[2]}"#, Some(r#"{"a":"redacted","b":"redacted"}"#)),
        (&["/a/b", "/a/c"], r#"{"a":{"b":1,"c":2,"d":3}}"#, Some(r#"{"a":{"b":"redacted","c":"redacted","d":3}}"#)),
        (&["/a~1b"], r#"{"a/b":1}"#, Some(r#"{"a/b":"redacted"}"#)),
        (&[""], r#"{"a":1}"#, Some(r#""redacted""#)),
        // The first of two is not shown either.
        (&["/name"], r#"{"name":"Ann","name":"Bo"}"#, Some(r#"{"name":"redacted"}"#)),
        (&["/other"], r#"{"name":"Ann"}"#, Some(r#"{"name":"Ann"}"#)),
        (&["/name"], r#""{\"name\":\"Ann\",\"s\":1}""#, Some(r#"{"name":"redacted","s":1}"#)),
        (&[], "[NaN,Infinity,-Infinity,1e300,0.1,null,true]", Some("[NaN,Infinity,-Infinity,1e300,0.1,null,true]")),
        (&[], "123456789012345678901234567890", Some("123456789012345678901234567890")),
        (&[], r#""a\"\u0001é""#, Some(r#""a\"\u0001é""#)),
        (&["/name"], "", Some("")),
        // Where nobody knows where it is, all of it is hidden.
        (&["/name"], "name=Ann", None),
        (&["/name"], r#"{"name":"Ann""#, None),
        (&[], "name=Ann", Some("name=Ann")),
    ];
    for (paths, body, expected) in rows {
        assert_eq!(redacted(paths, body.as_bytes()).as_deref(), *expected, "{paths:?} {body}");
    }
    assert_eq!(redacted(&[], b"\xff"), Some("\u{fffd}".to_owned()));
}

#[test]
fn a_path_that_is_no_pointer_hides_nothing_and_is_refused() {
    assert_eq!(Redaction::new(&["name".to_owned()]).err(), Some(BadPath("name".to_owned())));
}
