//! What it costs to compare two answers of one MiB each, of several kinds, and two of a usual size: `cargo bench -p turnout-verdict`.

#![expect(clippy::unwrap_used, reason = "a benchmark ends by it")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use turnout_verdict::answers::{Answer, Kind, Rule, Rules, compare};

const MIB: usize = 1 << 20;

/// An array of that element, so often that the answer has one MiB.
fn filled(element: impl Fn(usize) -> String) -> Vec<u8> {
    let mut body = "[".to_owned();
    for at in 0.. {
        body.push_str(&element(at));
        if body.len() >= MIB {
            break;
        }
        body.push(',');
    }
    body.push(']');
    body.into_bytes()
}

fn comparing(criterion: &mut Criterion) {
    let bodies = [
        ("usual", br#"{"model": "safe-driving", "version": 3, "risk": [0.031245, 0.412, 0.7]}"#.to_vec()),
        ("numbers", filled(|at| format!("0.{at:06}"))),
        (
            "objects",
            filled(|at| format!(r#"{{"name":"driver {at}","risk":0.{at:06},"label":"safe","factors":[1,2.5]}}"#)),
        ),
        ("digits", filled(|_| "1".to_owned())),
        ("arrays", filled(|_| "[1]".to_owned())),
        ("text", filled(|at| format!(r#""caf\u00e9 {at}""#))),
        ("bytes", vec![b'<'; MIB]),
    ];
    for (kind, path) in [(Kind::Number, "/*/risk"), (Kind::Set, "")] {
        let rules = Rules::new(&[Rule { path: path.to_owned(), kind, abs: Some(0.01), rel: None }]).unwrap();
        for (name, body) in &bodies {
            let answer = Answer { status: 200, content_type: None, body };
            let run = || black_box(compare(black_box(&answer), black_box(&answer), &rules));
            criterion.bench_function(&format!("{name}, {kind:?}"), |bencher| bencher.iter(run));
        }
    }
}

criterion_group!(benches, comparing);
criterion_main!(benches);
