//! Whatever is wrong with a routes file is named with its place, once; and what is good beside it does not hide it.

#[path = "damaged/table.rs"]
mod table;

use std::collections::HashSet;
use table::{DamagedFile, ROUTES, damaged_files};
use turnout_routes::{MAX_SOURCE_BYTES, Problem, Source, parse, parse_up_to};

fn problems(sources: &[(&str, &[u8])]) -> Vec<Problem> {
    let sources: Vec<_> = sources.iter().map(|(name, bytes)| Source { name, bytes }).collect();
    match parse(&sources) {
        Ok(parsed) => parsed.warnings,
        Err(problems) => problems.as_slice().to_vec(),
    }
}

#[test]
fn the_undamaged_file_has_no_problem() {
    assert_eq!(problems(&[("routes.yaml", ROUTES.as_bytes())]), []);
}

#[test]
fn every_damage_is_named_with_its_place_and_nothing_else_is() {
    let files = damaged_files();
    assert!(files.len() >= 200, "{} files", files.len());
    let names: HashSet<_> = files.iter().map(|file| (&file.name, &file.bytes)).collect();
    assert_eq!(names.len(), files.len(), "every file is damaged in its own way");
    let differences: Vec<String> = files.iter().filter_map(difference).collect();
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), files.len(), differences.join("\n"));
}

/// What is not as expected, if anything.
fn difference(file: &DamagedFile) -> Option<String> {
    let problems = problems(&[("routes.yaml", &file.bytes)]);
    let DamagedFile { name, document, path, line, message, .. } = file;
    let expected = |problem: &Problem| {
        let shown = problem.document.as_ref().map_or(String::new(), ToString::to_string);
        shown == *document && problem.path == *path && problem.line == *line && problem.message.contains(message)
    };
    match problems.as_slice() {
        [problem] if expected(problem) => None,
        others => {
            let others: Vec<_> = others.iter().map(|problem| format!("    {problem}")).collect();
            Some(format!("{name}\n    wanted line {line}: {document}: {path}: {message}\n{}", others.join("\n")))
        }
    }
}

#[test]
fn lines_are_counted_alike_by_whatever_refuses_a_file() {
    for line_break in ["\n", "\r\n", "\r"] {
        for (bad, column) in [(&b"\xff"[..], 4), (b"\0", 4), (b"]", 4), (b"[", 5)] {
            let bytes = [b"a: 1", line_break.as_bytes(), b"b: ", bad].concat();
            let places: Vec<_> = problems(&[("r", &bytes)]).iter().map(|one| (one.line, one.column)).collect();
            assert_eq!(places, [(2, column)], "{line_break:?} {bad:?}");
        }
    }
}

#[test]
fn the_problems_of_all_sources_are_reported_at_once_in_order() {
    let bad_weight = ROUTES.replace("weight: 60", "weight: -5").replace("weight: 40", "weight: 4.5");
    let bad_yaml = "a: [1\n";
    let bad_kind = "kind: Pod\napiVersion: v1\n";
    let found = problems(&[
        ("a.yaml", bad_kind.as_bytes()),
        ("b.yaml", bad_yaml.as_bytes()),
        ("c.yaml", bad_weight.as_bytes()),
        ("d.yaml", b""),
    ]);
    let places: Vec<_> =
        found.iter().map(|problem| (problem.source.as_str(), problem.line, problem.path.as_str())).collect();
    assert_eq!(
        places,
        [
            ("a.yaml", 1, "kind"),
            ("b.yaml", 1, ""),
            ("c.yaml", 76, "spec.http[4].route[0].weight"),
            ("c.yaml", 78, "spec.http[4].route[1].weight"),
        ]
    );
}

#[test]
fn a_document_that_two_sources_have_is_there_twice() {
    let found = problems(&[("a.yaml", ROUTES.as_bytes()), ("b.yaml", ROUTES.as_bytes())]);
    assert_eq!(found.len(), 4, "every document of the second source");
    assert!(found.iter().all(|problem| problem.source == "b.yaml"));
    assert_eq!(found[0].message, "this document is there twice, first in a.yaml:1");
}

#[test]
fn the_sources_share_one_limit() {
    let padded = |name: &str, length: usize| {
        let document = ROUTES.replace("abtesting", name);
        format!("{document}#{}", " ".repeat(length - document.len() - 1)).into_bytes()
    };
    let (first, second) = (padded("one", 512 * 1024), padded("two", 512 * 1024));
    assert_eq!(problems(&[("a.yaml", &first), ("b.yaml", &second)]), []);
    let found = problems(&[("a.yaml", &first), ("b.yaml", &second), ("c.yaml", b"#")]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].source.as_str(), found[0].line), ("c.yaml", 1));
    assert!(found[0].message.contains("all sources together have more than 1048576 bytes"), "{}", found[0].message);

    // Who has room for more is held to that, in bytes and in values.
    let sources = |count| -> Vec<(String, Vec<u8>)> {
        (0..count).map(|number| (format!("{number}.yaml"), padded(&format!("n{number}"), 512 * 1024))).collect()
    };
    let of_more = |count, max_bytes| {
        let sources = sources(count);
        let sources = sources.iter().map(|(name, bytes)| Source { name, bytes }).collect::<Vec<_>>();
        parse_up_to(&sources, max_bytes).map(|parsed| parsed.documents.len()).map_err(|problems| problems.to_string())
    };
    assert_eq!(of_more(8, 4 << 20), Ok(32));
    assert!(of_more(9, 4 << 20).is_err_and(|message| message.contains("more than 4194304 bytes")));
}

#[test]
fn more_bytes_are_room_for_more_values() {
    let hosts: Vec<String> = (0..150_000).map(|number| format!("h{number}.io")).collect();
    let text = ROUTES.replace("[scoring.example.com]", &format!("[{}]", hosts.join(",")));
    let read = |max_bytes| {
        let parsed = parse_up_to(&[Source { name: "routes.yaml", bytes: text.as_bytes() }], max_bytes);
        parsed.map(|_| ()).map_err(|problems| problems.to_string())
    };
    assert!(text.len() > MAX_SOURCE_BYTES && read(MAX_SOURCE_BYTES).is_err());
    assert_eq!(read(2 * MAX_SOURCE_BYTES), Ok(()));
}

#[test]
fn no_source_at_all_holds_no_documents() {
    let found = problems(&[]);
    assert_eq!(found.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>(), ["holds no documents"]);
    assert_eq!(problems(&[("a.yaml", b""), ("b.yaml", ROUTES.as_bytes())]), [], "one of them may be empty");
}

#[test]
fn a_text_that_an_alias_repeats_is_reported_once() {
    let text = ROUTES.replace("[scoring.example.com]", "&hosts [a b]").replace("[abtest-gateway]", "*hosts");
    let found = problems(&[("routes.yaml", text.as_bytes())]);
    let messages: HashSet<_> = found.iter().map(|problem| (problem.line, &problem.message)).collect();
    assert_eq!((found.len(), messages.len()), (2, 2), "{found:?}");
}

#[test]
fn no_cut_of_a_file_makes_the_reader_panic() {
    let bytes = "# ä\n".as_bytes().iter().chain(ROUTES.as_bytes()).copied().collect::<Vec<u8>>();
    for end in 0..bytes.len() {
        let parsed = parse(&[Source { name: "routes.yaml", bytes: &bytes[..end] }]);
        if let Err(problems) = parsed {
            let last = bytes[..end].split(|byte| *byte == b'\n').count();
            let lines = problems.as_slice().iter().map(|problem| problem.line);
            assert!(lines.max().expect("at least one problem") <= last, "cut at {end}: {problems}");
        }
    }
}

#[test]
fn all_regular_expressions_together_have_a_limit() {
    let rule = "  - {match: [{uri: {regex: '\\pL{40}'}}], route: [{destination: {host: a}}]}\n";
    let rules = rule.repeat(100);
    let head =
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a.com]\n";
    let found = problems(&[("routes.yaml", format!("{head}  http:\n{rules}").as_bytes())]);
    let first = found.first().expect("too many of them");
    assert!(first.line > 7, "one is allowed");
    assert_eq!(first.message, "all regular expressions together take too much memory");
}
