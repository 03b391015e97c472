//! Values that both answers have.

use super::{check, rules, said_of};
use crate::answers::{Answer, BadPath, Kind, Rule, Rules, compare};

#[test]
fn values_agree_whatever_their_text_is() {
    check(&[
        ("", r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, "agree"),
        ("", r#"{"a":[1,{"b":null}]}"#, "{ \"a\" :\r\n\t[ 1 , { \"b\" : null } ] }\n", "agree"),
        ("", "1", "1.0", "agree"),
        ("", "100", "1e2", "agree"),
        ("", "0.1", "1E-1", "agree"),
        ("", "-0.0", "0", "agree"),
        ("", r#""é""#, r#""\u00e9""#, "agree"),
        ("", r#""/""#, r#""\/""#, "agree"),
        ("", r#""😀""#, r#""\ud83d\ude00""#, "agree"),
        ("", r#"{"\u0061":1}"#, r#"{"a":1}"#, "agree"),
        ("", "\u{feff}{\"a\":1}", r#"{"a":1}"#, "agree"),
        ("", "[]", "[ ]", "agree"),
        ("", "{}", "{ }", "agree"),
        ("", "", "", "agree"),
        // The same to the eye, yet other characters.
        ("", r#""é""#, r#""e\u0301""#, "answer differs"),
        ("", r#""a""#, r#""A""#, "answer differs"),
        ("", r#""a""#, r#""a ""#, "answer differs"),
        ("", r#""1""#, r#""1.0""#, "answer differs"),
        ("", "true", "false", "answer differs"),
        ("", r#"{"a":{"b":[[1],[2,3]]}}"#, r#"{"a":{"b":[[1],[2,4]]}}"#, "/a/b/*/* differs"),
        ("", "[1,2]", "[2,1]", "/* differs"),
        ("", r#"[{"a":1,"b":2},{"a":1,"b":2}]"#, r#"[{"a":1,"b":2},{"a":1,"b":3}]"#, "/*/b differs"),
    ]);
}

#[test]
fn of_a_key_that_comes_twice_the_last_counts() {
    check(&[
        ("", r#"{"a":1,"a":2}"#, r#"{"a":2}"#, "agree"),
        ("", r#"{"a":1,"a":2}"#, r#"{"a":1}"#, "/a differs"),
        ("", r#"{"a":1,"b":0,"a":"x","a":3}"#, r#"{"b":0,"a":2,"a":3}"#, "agree"),
        ("", r#"{"a":1,"\u0061":2}"#, r#"{"a":2}"#, "agree"),
    ]);
}

#[test]
fn numbers_agree_within_a_tolerance() {
    check(&[
        ("", "1", "1.0001", "agree"),
        ("", "1", "1.00011", "answer differs"),
        ("", "-1", "-1.0001", "agree"),
        ("", "-1", "1", "answer differs"),
        ("", "0", "0.000001", "agree"),
        ("", "0", "-0.0000011", "answer differs"),
        ("", "1e-300", "2e-300", "agree"),
        ("", "5e-324", "0", "agree"),
        ("", "1e308", "-1e308", "answer differs"),
        ("", "1.7976931348623157e308", "1.7976e308", "agree"),
        ("answer number abs=0.01", "0.53", "0.54", "agree"),
        ("answer number abs=0.01", "0.54", "0.53", "agree"),
        ("answer number abs=0.01", "0.53", "0.5401", "answer differs"),
        // With one of the two the other is 0.
        ("answer number abs=0.01", "1000", "1000.02", "answer differs"),
        ("answer number rel=0.1", "100", "110", "agree"),
        ("answer number rel=0.1", "100", "111", "agree"),
        ("answer number rel=0.1", "111", "100", "agree"),
        ("answer number rel=0.1", "100", "111.2", "answer differs"),
        ("answer number rel=0.1", "0", "0.0000001", "answer differs"),
        ("answer number abs=1 rel=0.1", "0", "1", "agree"),
        ("answer number abs=1 rel=0.1", "100", "110", "agree"),
        ("answer number abs=1 rel=0.1", "100", "112", "answer differs"),
        ("answer number abs=0", "0.1", "0.10000000000000001", "agree"),
        ("answer number abs=0", "0.1", "0.10000000000000002", "answer differs"),
        ("answer number abs=0", "1", "1.0", "agree"),
        ("answer number abs=-1", "1", "1", "agree"),
        ("answer number abs=-1", "0.1", "0.10000000000000002", "answer differs"),
        ("answer number abs=NaN", "1", "1.5", "answer differs"),
        // A rule for numbers changes nothing for what is none.
        ("answer number abs=5", r#""1""#, r#""2""#, "answer differs"),
        ("answer number abs=5", r#"{"a":1,"b":["x",7]}"#, r#"{"a":2,"b":["y",8]}"#, "/b/* differs"),
    ]);
}

#[test]
fn whole_numbers_may_be_larger_than_floats_hold() {
    let (large, next) = ("123456789012345678901234567890", "123456789012345678901234567891");
    let beyond = format!("1{}", "0".repeat(400));
    check(&[
        ("", "9007199254740992", "9007199254740993", "agree"),
        ("answer class", "9007199254740992", "9007199254740993", "answer differs"),
        ("answer number abs=0", "9007199254740992", "9007199254740993", "answer differs"),
        ("answer class", "9223372036854775807", "9223372036854775808", "answer differs"),
        ("answer class", "-9223372036854775808", "-9223372036854775809", "answer differs"),
        ("", large, next, "agree"),
        ("answer class", large, next, "answer differs"),
        ("answer class", large, large, "agree"),
        ("", &beyond, "Infinity", "answer differs"),
        ("", &beyond, &beyond, "agree"),
        ("", &beyond, "1", "answer differs"),
        // As Python reads it.
        ("", "1e400", "Infinity", "agree"),
    ]);
}

#[test]
fn what_is_no_finite_number_is_a_class_of_its_own() {
    check(&[
        ("", r#"{"a":NaN}"#, r#"{"a":NaN}"#, "agree"),
        ("", r#"{"a":NaN}"#, r#"{"a":0.5}"#, "/a differs"),
        ("", r#"{"a":0.5}"#, r#"{"a":NaN}"#, "/a differs"),
        ("", "[Infinity,-Infinity]", "[Infinity,-Infinity]", "agree"),
        ("", "Infinity", "-Infinity", "answer differs"),
        ("", "Infinity", "NaN", "answer differs"),
        ("", "Infinity", "1.7976931348623157e308", "answer differs"),
        ("answer number abs=1e300 rel=10", "NaN", "1", "answer differs"),
        ("answer number abs=1e300 rel=10", "Infinity", "1", "answer differs"),
        ("answer number abs=1e300 rel=10", "NaN", "NaN", "agree"),
        ("answer number abs=inf", "1", "1e308", "agree"),
        ("answer number abs=inf", "1", "Infinity", "answer differs"),
        ("answer class", "NaN", "NaN", "agree"),
        ("answer set", "[NaN,1]", "[1,NaN]", "agree"),
        ("", "NaN", "null", "answer number became null; answer differs"),
        ("", "NaN", r#""NaN""#, "answer number became string; answer differs"),
        // Nobody writes these; they are no JSON in Python either.
        ("", "nan", "NaN", "answer bytes became number; answer differs"),
        ("", "+Infinity", "Infinity", "answer bytes became number; answer differs"),
    ]);
}

#[test]
fn a_class_is_equal_or_not() {
    check(&[
        ("/id class", r#"{"id":1000000}"#, r#"{"id":1000001}"#, "/id differs"),
        ("/id class", r#"{"id":7}"#, r#"{"id":7.0}"#, "agree"),
        ("/id class", r#"{"id":"a"}"#, r#"{"id":"b"}"#, "/id differs"),
        ("/ids class", r#"{"ids":[1000000,[2000000]]}"#, r#"{"ids":[1000000,[2000001]]}"#, "/ids/*/* differs"),
    ]);
    let said = compare(
        &Answer { status: 200, content_type: None, body: b"[1,2]" },
        &Answer { status: 200, content_type: None, body: b"[1,3]" },
        &rules("answer class"),
    );
    assert_eq!(said.field("/*").unwrap().difference(), None, "a label is not more or less than another");
}

#[test]
fn the_order_of_a_set_does_not_matter_but_how_often_it_has_what() {
    let objects = r#"{"t":[{"n":"a","p":0.1},{"n":"b","p":0.2}]}"#;
    check(&[
        ("/t set", r#"{"t":[1,2,2]}"#, r#"{"t":[2,1,2]}"#, "agree"),
        ("/t set", r#"{"t":[1,2,2]}"#, r#"{"t":[1,1,2]}"#, "/t differs"),
        ("/t set", r#"{"t":[1,2]}"#, r#"{"t":[1,2,2]}"#, "/t differs"),
        ("/t set", r#"{"t":[]}"#, r#"{"t":[1]}"#, "/t differs"),
        ("/t set", r#"{"t":["a","b"]}"#, r#"{"t":["b","a"]}"#, "agree"),
        ("/t set", r#"{"t":["a","b"]}"#, r#"{"t":["b","c"]}"#, "/t differs"),
        ("/t set", r#"{"t":[9,10,1.5]}"#, r#"{"t":[10.0000001,1.5,9]}"#, "agree"),
        ("/t set abs=1", r#"{"t":[9,100]}"#, r#"{"t":[101,10]}"#, "agree"),
        ("/t set abs=1", r#"{"t":[9,100]}"#, r#"{"t":[103,10]}"#, "/t differs"),
        ("/t set", r#"{"t":[1,"1",null,true]}"#, r#"{"t":[true,null,"1",1]}"#, "agree"),
        ("/t set", r#"{"t":[1]}"#, r#"{"t":["1"]}"#, "/t differs"),
        ("/t set", objects, r#"{"t":[{"p":0.2,"n":"b"},{"p":0.1,"n":"a"}]}"#, "agree"),
        ("/t set", objects, r#"{"t":[{"p":0.2,"n":"b"},{"p":0.1,"n":"b"}]}"#, "/t differs"),
        ("/t set", r#"{"t":[[1,2],[3]]}"#, r#"{"t":[[3],[1,2]]}"#, "agree"),
        ("/t set", r#"{"t":[[1,2],[3]]}"#, r#"{"t":[[3],[2,1]]}"#, "/t differs"),
        ("/t set", r#"{"t":[1]}"#, r#"{"t":{"0":1}}"#, "/t array became object; /t differs"),
        ("/t set", r#"{"t":5}"#, r#"{"t":6}"#, "/t differs"),
        // It speaks for the arrays beneath as well.
        ("/t set", r#"{"t":{"a":[1,2]}}"#, r#"{"t":{"a":[2,1]}}"#, "agree"),
    ]);
}

#[test]
fn the_most_specific_rule_decides() {
    let (live, other) = (r#"{"a":{"b":10,"c":10},"d":10}"#, r#"{"a":{"b":12,"c":12},"d":12}"#);
    check(&[
        ("", live, other, "/a/b differs; /a/c differs; /d differs"),
        ("answer number rel=0.5", live, other, "agree"),
        ("answer number rel=0.5; /a/b class", live, other, "/a/b differs"),
        ("/a/b class; answer number rel=0.5", live, other, "/a/b differs"),
        ("answer ignore; /a/b class", live, other, "/a/b differs"),
        ("answer ignore; /a class; /a/b ignore", live, other, "/a/c differs"),
        // A name before `*`, at the first place where they differ.
        ("/*/b ignore; /a/* class", live, other, "/* differs; /a/* differs; /a/b differs"),
        ("/a/* ignore; /*/b class", live, other, "/* differs"),
        ("/*/* ignore; /a/b class", live, other, "/* differs; /a/b differs"),
        // Of equal ones the last.
        ("/d ignore; /d class", live, other, "/a/b differs; /a/c differs; /d differs"),
        ("/d class; /d ignore", live, other, "/a/b differs; /a/c differs"),
        // Elements.
        ("/*/id ignore", r#"[{"id":1,"s":1},{"id":2,"s":1}]"#, r#"[{"id":8,"s":1},{"id":9,"s":1}]"#, "agree"),
        ("/1 ignore", "[1,2,3]", "[1,9,3]", "agree"),
        ("/1 ignore", "[1,2,3]", "[9,2,3]", "/* differs"),
        ("answer ignore; /1 class", "[1,2,3]", "[9,9,9]", "/1 differs"),
        ("/* ignore; /1 class", "[1,2,3]", "[9,9,9]", "/1 differs"),
        ("/01 ignore", "[1,2,3]", "[1,9,3]", "/* differs"),
        // What is ignored may also be missing, added, longer, or something else.
        ("/x ignore", r#"{"x":1}"#, "{}", "agree"),
        ("/x ignore", "{}", r#"{"x":[1]}"#, "agree"),
        ("/x ignore", r#"{"x":1}"#, r#"{"x":"1"}"#, "agree"),
        ("/x ignore", r#"{"x":[1]}"#, r#"{"x":[1,2]}"#, "agree"),
        ("answer ignore", "{}", "<html>", "agree"),
        ("/x ignore; /x/y class", r#"{"x":{"y":1,"z":1}}"#, r#"{"x":{"z":2}}"#, "/x/y missing"),
    ]);
}

#[test]
fn names_are_escaped_in_paths() {
    check(&[
        ("", r#"{"a/b":1}"#, r#"{"a/b":2}"#, "/a~1b differs"),
        ("", r#"{"m~n":1}"#, r#"{"m~n":2}"#, "/m~0n differs"),
        ("", r#"{"~1":1}"#, r#"{"~1":2}"#, "/~01 differs"),
        ("", r#"{"":{"":1}}"#, r#"{"":{"":2}}"#, "// differs"),
        ("", r#"{"é ü":1}"#, r#"{"é ü":2}"#, "/é ü differs"),
        ("/a~1b ignore", r#"{"a/b":1}"#, r#"{"a/b":2}"#, "agree"),
        ("/a/b ignore", r#"{"a/b":1}"#, r#"{"a/b":2}"#, "/a~1b differs"),
        ("/m~0n ignore", r#"{"m~n":1}"#, r#"{"m~n":2}"#, "agree"),
        ("/~01 ignore", r#"{"~1":1}"#, r#"{"~1":2}"#, "agree"),
        ("// ignore", r#"{"":{"":1}}"#, r#"{"":{"":2}}"#, "agree"),
        ("/*/s number abs=9", r#"{"u1":{"s":1},"u2":{"s":2}}"#, r#"{"u1":{"s":3},"u2":{"s":12}}"#, "/*/s differs"),
    ]);
    for bad in ["score", "a/b", " /a", "/a~", "/a~2", "/~/b", "/a/~x"] {
        let rule = Rule { path: bad.to_owned(), kind: Kind::Ignore, abs: None, rel: None };
        assert_eq!(Rules::new(&[rule]).err(), Some(BadPath(bad.to_owned())));
    }
}

#[test]
fn json_within_a_string_is_read() {
    check(&[
        ("", r#""{\"score\": 0.5}""#, r#""{\"score\":0.50000001}""#, "agree"),
        ("", r#""{\"score\": 0.5}""#, r#""{\"score\":0.6}""#, "/score differs"),
        ("", r#""[1,2]""#, r#""[1,3]""#, "/* differs"),
        ("", r#""{\"score\": 0.5}""#, r#"{"score": 0.5}"#, "answer string became object; answer differs"),
        // Only what holds values, and only for the whole answer.
        ("", r#""1""#, r#""1.0""#, "answer differs"),
        ("", r#"{"a":"{}"}"#, r#"{"a":"{ }"}"#, "/a differs"),
    ]);
}

#[test]
fn what_is_no_json_is_compared_byte_by_byte() {
    let none = Rules::default();
    let rows: &[(&[u8], &[u8], &str)] = &[
        (b"OK", b"OK", "agree"),
        (b"OK", b"OK\n", "answer differs"),
        (b"{\"a\":1,}", b"{\"a\":1,}", "agree"),
        (b"{\"a\":1,}", b"{\"a\": 1,}", "answer differs"),
        (b"{\"a\":1} {\"a\":1}", b"{\"a\":1}", "answer bytes became object; answer differs"),
        (b" ", b"", "answer bytes became nothing; answer differs"),
        (b"\x00\xff\xfe", b"\x00\xff\xfe", "agree"),
        (b"\"\\ud800\"", b"\"\\ud800\"", "agree"),
        // `é` in Latin-1, which JSON is not written in.
        (b"\"\xe9\"", "\"é\"".as_bytes(), "answer bytes became string; answer differs"),
        (b"\xff\xfe1\0", b"1", "answer bytes became number; answer differs"),
    ];
    for (live, other, expected) in rows {
        assert_eq!(said_of(live, other, &none), *expected, "{}", String::from_utf8_lossy(live));
    }
}
