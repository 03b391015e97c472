//! The renderings are exactly those that are committed: what a change of the chart does to a cluster is read in the
//! difference of `golden/`.

use crate::cases::{CASES, Case, DEFAULT, chart, chart_of, committed, documents, no_faults, root, text, title};
use crate::helm::Helm;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn renderings_are_as_committed() {
    let Some(helm) = Helm::find("renderings_are_as_committed") else { return };
    let fault = |case: &Case| {
        let rendered = helm.render(&chart(), case, &[]).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        difference(&case.golden(), &special(case, &rendered))
    };
    no_faults(&CASES.iter().filter_map(fault).collect::<Vec<_>>());
}

/// What `golden/` has of a rendering.
fn special(case: &Case, rendered: &str) -> String {
    let own = pieces(rendered);
    if *case == DEFAULT {
        return joined(&own);
    }
    let default = committed(&DEFAULT);
    let default = pieces(&default);
    let has = |title: &str| own.iter().any(|(other, _)| other == title);
    let absent = default.iter().filter(|(title, _)| !has(title)).flat_map(|(title, _)| ["\n- ", title]);
    let absent: String = absent.collect();
    let absent = if absent.is_empty() { " []" } else { &absent };
    let others: Vec<_> = own.iter().filter(|piece| !default.contains(piece)).cloned().collect();
    format!("# What differs from default.yaml.\nabsent:{absent}\n{}", joined(&others))
}

/// The objects of a rendering but for definitions, each with its title.
fn pieces(rendered: &str) -> Vec<(String, &str)> {
    let mut pieces: Vec<(String, &str)> = Vec::new();
    for piece in rendered.split("---\n").map(str::trim_end) {
        for object in documents(piece).iter().filter(|object| object["kind"] != "CustomResourceDefinition") {
            let title = title(object);
            assert!(pieces.iter().all(|(other, _)| *other != title), "a second {title}");
            pieces.push((title, piece));
        }
    }
    pieces
}

fn joined(pieces: &[(String, &str)]) -> String {
    pieces.iter().flat_map(|(_, piece)| ["---\n", piece, "\n"]).collect()
}

#[test]
fn notes_are_as_committed() {
    let Some(helm) = Helm::find("notes_are_as_committed") else { return };
    let copy = tempfile::tempdir().unwrap();
    let copied = with_notes(copy.path(), "turnout");
    let fault = |case: &Case| {
        let rendered = helm.render(&copied, case, &["--show-only", "templates/notes.yaml"]).unwrap();
        difference(&case.golden_notes(), text(&documents(&rendered)[0], "/data/notes"))
    };
    no_faults(&CASES.iter().filter_map(fault).collect::<Vec<_>>());
}

#[test]
fn the_chart_passes_lint_with_every_case() {
    let Some(helm) = Helm::find("the_chart_passes_lint_with_every_case") else { return };
    for case in &CASES {
        helm.lint(case).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    }
}

#[test]
fn every_file_belongs_to_a_case() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root().join("tests/charts").join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let named = |ends: &[&str]| -> BTreeSet<String> {
        CASES.iter().flat_map(|case: &Case| ends.iter().map(|end| format!("{}{end}", case.name))).collect()
    };
    assert_eq!(names("values"), named(&[".yaml"]));
    assert_eq!(names("golden"), named(&[".yaml", ".notes.txt"]));
}

/// The first line that differs, if one does.
fn difference(path: &Path, rendered: &str) -> Option<String> {
    if env::var_os("TURNOUT_BLESS").is_some() {
        fs::write(path, rendered).unwrap();
        return None;
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    if committed == rendered {
        return None;
    }
    let differs = committed.lines().zip(rendered.lines()).position(|(one, other)| one != other);
    let line = differs.unwrap_or_else(|| committed.lines().count().min(rendered.lines().count()));
    Some(format!(
        "{}:{}: committed: {:?}, rendered: {:?}\nTURNOUT_BLESS=1 writes it anew.",
        path.display(),
        line + 1,
        committed.lines().nth(line),
        rendered.lines().nth(line),
    ))
}

/// A copy of a chart that shows its notes as an object, since `helm template` leaves them out.
pub(crate) fn with_notes(folder: &Path, chart: &str) -> PathBuf {
    let copied = folder.join(chart);
    copy_folder(&chart_of(chart), &copied);
    let notes = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: notes}}\n\
         data: {{notes: {{{{ include \"{chart}.notes\" . | toJson }}}}}}\n"
    );
    fs::write(copied.join("templates/notes.yaml"), notes).unwrap();
    copied
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
