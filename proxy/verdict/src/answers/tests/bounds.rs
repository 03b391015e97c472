//! However large and strange answers are, what is said of them is not.

use super::{answer, rules, said_of};
use crate::answers::{MAX_FIELDS, OTHERS, Rules, compare};
use allocation_counter::measure;

fn nested(depth: usize, inner: &str) -> Vec<u8> {
    format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
}

/// An object of so many members, the last of which has that value.
fn wide(members: usize, last: u32) -> Vec<u8> {
    let member = |at| format!("\"k{at:06}\":{}", if at + 1 == members { last } else { 7 });
    format!("{{{}}}", (0..members).map(member).collect::<Vec<_>>().join(",")).into_bytes()
}

#[test]
fn depth_costs_no_stack() {
    let none = Rules::default();
    assert_eq!(said_of(&nested(60, "1"), &nested(60, "2"), &none), format!("{} differs", "/*".repeat(60)));
    assert_eq!(said_of(&nested(190, "1"), &nested(190, "1"), &none), "agree");
    assert_eq!(said_of(&nested(190, "1"), &nested(190, "2"), &none), "others differs", "its path is too long");
    assert_eq!(said_of(&nested(190, "[1,2]"), &nested(190, "[2,1]"), &rules("answer set")), "answer differs");
    assert_eq!(said_of(&nested(1_000_000, "1"), &nested(1_000_000, "1"), &none), "agree", "as bytes");
    assert_eq!(said_of(&nested(1_000_000, "1"), &nested(1_000_000, "2"), &none), "answer differs");
    assert_eq!(said_of(&nested(3, "1"), &nested(1_000_000, "1"), &none), "answer array became bytes; answer differs");
}

#[test]
fn beyond_the_most_fields_all_are_one() {
    let none = Rules::default();
    let said = compare(&answer(&wide(10_000, 1)), &answer(&wide(10_000, 2)), &none);
    assert!(said.fields.len() <= MAX_FIELDS + 2, "{}", said.fields.len());
    assert!(!said.field(OTHERS).unwrap().agrees);
    assert_eq!(said.fields.iter().filter(|field| !field.agrees).count(), 1);
    let said = compare(&answer(&wide(100, 1)), &answer(&wide(100, 2)), &none);
    assert_eq!(said.fields.len(), 101, "all, and the status");
    assert!(!said.field("/k000099").unwrap().agrees);
    // All names are new: still few changes are told apart.
    let renamed = String::from_utf8(wide(10_000, 1)).unwrap().replace('k', "n");
    let said = compare(&answer(&wide(10_000, 1)), &answer(renamed.as_bytes()), &none);
    assert!(said.schema_changes.len() <= MAX_FIELDS + 2, "{}", said.schema_changes.len());
}

#[test]
fn what_a_rule_leads_to_is_never_beyond() {
    let (live, other) = (wide(10_000, 1), wide(10_000, 2));
    assert_eq!(said_of(&live, &other, &rules("/k009999 class")), "/k009999 differs");
    assert_eq!(said_of(&live, &other, &rules("/k009999 ignore")), "agree");
    assert_eq!(said_of(&live, &other, &rules("answer ignore; /k009999 number abs=1")), "agree");
    let said = compare(&answer(&live), &answer(&other), &rules("/* number abs=5"));
    assert!(said.agrees());
    assert_eq!(said.fields.len(), 2, "all members are one field: {:?}", said.fields);
    // What is beyond is compared as its parent is.
    assert_eq!(said_of(&live, &other, &rules("answer number abs=1")), "agree");
    assert_eq!(said_of(&live, &other, &rules("answer ignore")), "agree");
}

#[test]
fn what_is_ignored_takes_no_room_from_the_others() {
    let wrap = |last| format!("{{\"a\":{},\"z\":{last}}}", String::from_utf8(wide(5_000, 1)).unwrap()).into_bytes();
    assert_eq!(said_of(&wrap(1), &wrap(2), &rules("/a ignore")), "/z differs");
    assert_eq!(said_of(&wrap(1), &wrap(2), &Rules::default()), "others differs");
}

#[test]
fn a_long_name_is_cut_from_what_is_told_apart() {
    let (key, media) = ("k".repeat(1_000_000), "m".repeat(1_000_000));
    let body = |value| format!("{{\"{key}\":{value}}}").into_bytes();
    assert_eq!(said_of(&body(1), &body(2), &Rules::default()), "others differs");
    assert_eq!(said_of(&body(1), b"{}", &Rules::default()), "others missing");
    let live = body(1);
    let said = compare(
        &answer(&live),
        &crate::answers::Answer { content_type: Some(&media), ..answer(&live) },
        &Rules::default(),
    );
    assert!(said.schema_changes.iter().all(|change| change.to_string().len() < 200));
    assert_eq!(said.schema_changes.len(), 1);
}

#[test]
fn memory_is_bounded_by_the_length_of_the_bodies() {
    const LENGTH: usize = 100_000;
    let per_byte = |live: &[u8], other: &[u8], rules: &Rules| {
        let taken = measure(|| drop(compare(&answer(live), &answer(other), rules)));
        taken.bytes_max / (live.len() + other.len()) as u64
    };
    let (none, set) = (Rules::default(), rules("answer set"));
    let parts =
        ["1", "[1]", "[[]]", "{\"a\":1}", "\"a\"", "\"\\n\"", "1234567890123456789012", "{\"a\":[{\"b\":[1]}]}"];
    for part in parts {
        let many = vec![part; LENGTH / (part.len() + 1)].join(",");
        let (live, other) = (format!("[{many},0]"), format!("[0,{many}]"));
        let (live, other) = (live.as_bytes(), other.as_bytes());
        assert_eq!(said_of(live, other, &set), "agree");
        let taken = (per_byte(live, live, &none), per_byte(live, other, &set));
        assert!(taken.0 < 40 && taken.1 < 80, "{part}: {taken:?} bytes for each byte of a body");
    }
    let names = wide(10_000, 1);
    let taken = per_byte(&names, &names, &none);
    assert!(taken < 15, "{taken} bytes for each byte of names");
}
