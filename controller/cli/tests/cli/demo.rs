//! The demo holds what it promises: no request fails, and every stage and every way back is what its name says. Counts
//! are asserted, times are not.

use crate::support::{Ran, turnout};
use serde_json::{Value, json};

fn stages(ran: &Ran) -> Vec<Value> {
    assert_eq!(ran.code, 0, "{ran:?}");
    let result = ran.json();
    assert_eq!((&result["held"], &result["failed"], &result["problems"]), (&json!(true), &json!(0), &json!([])));
    assert_eq!(result["pinned_to_absent_blue"], 503);
    result["stages"].as_array().unwrap().clone()
}

fn names(stages: &[Value]) -> Vec<&str> {
    stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect()
}

#[test]
fn the_demo_passes_five_stages_without_a_failed_request() {
    let stages = stages(&turnout(&["demo", "--requests", "2000", "-o", "json"]));
    assert_eq!(names(&stages), ["Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100", "blue removed"]);
    for stage in &stages[..5] {
        let count = |pointer: &str| stage.pointer(pointer).and_then(Value::as_u64).unwrap();
        assert!(count("/requests") >= 2000, "{stage}");
        for backend in ["green", "blue"] {
            let (sent, hits) = (format!("/pinned/{backend}/requests"), format!("/pinned/{backend}/hits"));
            assert!(count(&sent) > 0 && count(&sent) == count(&hits), "{stage}");
            assert!(count(&format!("/wanted/{backend}")) > 0 || count(&format!("/seen/{backend}")) == 0, "{stage}");
        }
    }
}

#[test]
fn the_demo_rolls_back_without_a_failed_request() {
    let check = |at: &str, expected: &[&str]| {
        let stages = stages(&turnout(&["demo", "--requests", "300", "--rollback-at", at, "-o", "json"]));
        assert_eq!(names(&stages), expected, "{at}");
        let back = &stages[expected.len() - 2];
        assert_eq!((&back["wanted"]["green"], &back["seen"]["blue"]), (&json!(100), &json!(0)), "{back}");
    };
    check("Blue_50", &["Blue_0", "Blue_50", "Rollback", "blue removed"]);
    let all = ["Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100", "Rollback", "blue removed"];
    check("Blue_Green", &[&all[..4], &all[5..]].concat());
    check("Green_100", &all);
}

#[test]
fn text_is_plain_where_there_is_no_terminal() {
    let ran = turnout(&["demo", "--requests", "100"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.stdout.contains('\u{1b}') && ran.stderr.is_empty(), "{ran:?}");
    assert!(ran.stdout.lines().last().unwrap().starts_with("All held: "), "{ran:?}");
}

#[test]
fn a_stage_that_does_not_exist_is_refused_before_anything_starts() {
    let ran = turnout(&["demo", "--rollback-at", "Blue_7"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("write one of Blue_0, Blue_50, Blue_100, Blue_Green, Green_100"), "{ran:?}");
}
