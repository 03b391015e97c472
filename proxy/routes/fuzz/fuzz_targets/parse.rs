//! Any bytes are read or refused; whatever is said of them has a place in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use turnout_routes::{Severity, Source, parse};

fuzz_target!(|bytes: &[u8]| {
    let (problems, is_refused) = match parse(&[Source { name: "fuzz", bytes }]) {
        Ok(parsed) => {
            assert!(!parsed.documents.is_empty());
            (parsed.warnings, false)
        }
        Err(problems) => (problems.as_slice().to_vec(), true),
    };
    assert_eq!(problems.iter().any(|problem| problem.severity == Severity::Error), is_refused);
    // As YAML breaks lines; a problem may be where the text ends.
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let lines: Vec<&str> = text.split(['\n', '\r']).collect();
    for problem in &problems {
        assert!(problem.source == "fuzz" && !problem.message.is_empty() && problem.column > 0, "{problem}");
        let line = problem.line.checked_sub(1).and_then(|line| lines.get(line));
        assert!(line.is_some_and(|line| problem.column <= line.chars().count() + 1), "{problem}");
    }
});
