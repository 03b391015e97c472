//! The rules of the codebase, checked like anything else: who may depend on whom, what stays pure, which file alone may
//! do what, and that the documents say what the code does. A rule that is broken fails here with the place.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod layers;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use turnout_rollout::STAGE_TABLE;
use turnout_routes::Source;

/// Which crates of the workspace each may depend on. A crate that is not here may not exist.
const LAYERS: [(&str, &[&str]); 10] = [
    ("turnout-routes", &[]),
    ("turnout-verdict", &[]),
    ("turnout-rollout", &["turnout-routes", "turnout-verdict"]),
    ("turnout-proxy", &["turnout-routes", "turnout-verdict"]),
    ("turnout-bench", &[]),
    ("turnout-driver", &["turnout-rollout", "turnout-routes", "turnout-verdict"]),
    ("turnout-controller", &["turnout-driver", "turnout-rollout", "turnout-routes"]),
    (
        "turnout-cli",
        &[
            "turnout-bench",
            "turnout-controller",
            "turnout-driver",
            "turnout-proxy",
            "turnout-rollout",
            "turnout-routes",
            "turnout-verdict",
        ],
    ),
    ("turnout-tests", &["turnout-bench", "turnout-rollout", "turnout-routes"]),
    ("turnout-cluster", &["turnout-bench", "turnout-rollout"]),
];

/// Crates that do no I/O, with what they may depend on outside the workspace.
const PURE: [(&str, &[&str]); 3] = [
    (
        "turnout-routes",
        &["bytes", "http", "ipnet", "regex", "saphyr-parser", "serde", "serde_json", "sha2", "thiserror", "twox-hash"],
    ),
    ("turnout-verdict", &["jiter", "libm", "serde", "serde_json", "thiserror"]),
    ("turnout-rollout", &["schemars", "serde", "serde_json", "thiserror"]),
];

/// What pure code may not name.
const IMPURE: [&str; 7] =
    ["std::fs", "std::net::Tcp", "std::process", "SystemTime", "Instant::now", "std::thread", "async fn"];

/// What only one file of the gateway may name, apart from its own folder.
const ONLY_IN: [(&str, &str); 4] = [
    ("prometheus::", "proxy/src/telemetry/metrics"),
    ("rustls::crypto", "proxy/src/credentials"),
    ("hickory_resolver", "proxy/src/upstream/dns"),
    ("notify::", "proxy/src/control/reload"),
];

/// Files that are bound to name an error type of the library that they wrap, and nothing else of it.
const NAMES_AN_ERROR: [&str; 2] = ["proxy/src/app.rs", "proxy/src/control/reload.rs"];

/// Longer than this is two thoughts.
const LONGEST_FUNCTION: usize = 90;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn tracked(extension: &str) -> Vec<PathBuf> {
    let files = files(|path| path.extension().is_some_and(|found| found == extension));
    assert!(!files.is_empty(), "no .{extension} file was found");
    files
}

fn files(is_wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_followed = name != "target" && !name.starts_with('.') && !path.is_symlink();
            if is_wanted(&path) {
                files.push(path);
            } else if path.is_dir() && is_followed {
                folders.push(path);
            }
        }
    }
    files.sort();
    files
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The names of a package's ordinary dependencies.
fn dependencies(package: &Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().unwrap().iter();
    all.filter(|d| d["kind"].is_null()).map(|d| d["name"].as_str().unwrap().to_owned()).collect()
}

/// Fails with every place at once.
fn no_faults(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn crates_depend_only_downwards() {
    let mut faults = Vec::new();
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            faults.push(format!("{name}: has no place in the layers"));
            continue;
        };
        let dependencies = dependencies(package);
        let own = dependencies.iter().filter(|d| d.starts_with("turnout-"));
        faults.extend(own.filter(|d| !allowed.contains(&d.as_str())).map(|d| format!("{name} may not depend on {d}")));
        if let Some((_, outside)) = PURE.iter().find(|(pure, _)| *pure == name) {
            let others = dependencies.iter().filter(|d| !d.starts_with("turnout-") && !outside.contains(&d.as_str()));
            faults.extend(others.map(|d| format!("{name} is pure and may not depend on {d}")));
        }
    }
    no_faults(&faults);
}

#[test]
fn pure_crates_do_no_input_or_output() {
    let pure = ["proxy/routes/src/", "proxy/verdict/src/", "controller/rollout/src/"];
    let mut faults = Vec::new();
    for path in tracked("rs") {
        let name = relative(&path);
        if !pure.iter().any(|folder| name.starts_with(folder)) {
            continue;
        }
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap();
            faults.extend(
                IMPURE.iter().filter(|word| code.contains(*word)).map(|word| format!("{name}:{}: {word}", number + 1)),
            );
        }
    }
    no_faults(&faults);
}

#[test]
fn a_library_is_named_only_where_it_is_wrapped() {
    let mut faults = Vec::new();
    for path in tracked("rs").into_iter().filter(|path| relative(path).starts_with("proxy/src/")) {
        let name = relative(&path);
        let text = fs::read_to_string(&path).unwrap();
        for (word, home) in ONLY_IN {
            let allowed = name.starts_with(home) || NAMES_AN_ERROR.contains(&name.as_str());
            if text.contains(word) && !allowed {
                faults.push(format!("{name}: {word} belongs to {home}"));
            }
        }
    }
    no_faults(&faults);
}

#[test]
fn every_member_takes_the_workspace_lints() {
    // What is fuzzed with is no member: what its macros write would not pass.
    let of_none = ["Cargo.toml", "proxy/routes/fuzz/Cargo.toml"].map(|path| root().join(path));
    let manifests = tracked("toml").into_iter().filter(|path| path.ends_with("Cargo.toml") && !of_none.contains(path));
    let without = manifests.filter(|path| !fs::read_to_string(path).unwrap().contains("[lints]\nworkspace = true"));
    no_faults(&without.map(|path| format!("{}: no [lints] workspace = true", relative(&path))).collect::<Vec<_>>());
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = tracked("rs").into_iter().filter(|path| {
        let text = fs::read_to_string(path).unwrap();
        !(text.starts_with("//!") || text.starts_with("#![doc = include_str!"))
    });
    no_faults(&silent.map(|path| format!("{}: does not open with //!", relative(&path))).collect::<Vec<_>>());
}

/// An archive, a copy or another system may make something else of a link.
#[test]
fn no_file_is_a_link() {
    no_faults(&files(Path::is_symlink).iter().map(|path| relative(path)).collect::<Vec<_>>());
}

#[test]
fn no_function_is_longer_than_it_can_be_read() {
    let mut faults = Vec::new();
    for path in tracked("rs") {
        let text = fs::read_to_string(&path).unwrap();
        let mut open: Option<(usize, usize, &str)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let code = line.trim_start();
            let begins = [
                "fn ",
                "pub fn ",
                "pub(crate) fn ",
                "pub(super) fn ",
                "async fn ",
                "pub async fn ",
                "pub(crate) async fn ",
                "pub(super) async fn ",
            ];
            if open.is_none() && begins.iter().any(|begin| code.starts_with(begin)) {
                open = Some((number, indent, code));
            }
            if let Some((start, at, head)) = open
                && indent == at
                // A declaration ends without a body.
                && (code == "}" || code.ends_with(';') || (code.ends_with('}') && number == start))
            {
                let lines = number - start + 1;
                if lines > LONGEST_FUNCTION {
                    faults.push(format!("{}:{}: {lines} lines: {head}", relative(&path), start + 1));
                }
                open = None;
            }
        }
    }
    no_faults(&faults);
}

#[test]
fn there_is_one_tls_provider() {
    // The lock file also lists what no feature turns on; the tree is what is built.
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--prefix", "none", "--format", "{p}", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let has = |name: &str| tree.lines().any(|line| line.starts_with(&format!("{name} v")));
    assert!(has("aws-lc-rs"));
    assert!(!has("ring"), "two providers in one process panic at the first handshake");
}

#[test]
fn the_stage_table_of_the_readme_is_that_of_the_code() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for row in &STAGE_TABLE {
        let weights = row.stage.weights();
        let line = format!("| `{}` | {} | {} |", row.stage, weights.green, weights.blue);
        assert!(readme.contains(&line), "README.md has no row that begins with\n{line}");
    }
}

#[test]
fn the_readme_names_the_newest_page_of_the_benchmark() {
    let names = fs::read_dir(root().join("bench/results")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let newest = names.filter(|name| Path::new(name).extension().is_some_and(|found| found == "md")).max().unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&format!("`bench/results/{newest}`")), "README.md does not name bench/results/{newest}");
}

#[test]
fn the_routes_in_the_documents_are_accepted() {
    let mut examples = 0;
    for path in tracked("md") {
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            if !block.contains("networking.istio.io/") {
                continue;
            }
            examples += 1;
            let sources = [Source { name: "example", bytes: block.as_bytes() }];
            if let Err(problems) = turnout_routes::parse(&sources) {
                panic!("{}: an example is refused:\n{problems}", relative(&path));
            }
        }
    }
    assert!(examples > 0, "no example was found");
}

#[test]
fn the_architecture_pages_name_files_that_exist() {
    let pages: [(&str, &[&str]); 2] = [
        (
            "proxy/ARCHITECTURE.md",
            &["proxy/src", "proxy", "proxy/routes/src", "proxy/routes/src/router", "proxy/verdict/src"],
        ),
        ("controller/ARCHITECTURE.md", &["controller/src", "controller"]),
    ];
    let mut faults = Vec::new();
    for (page, places) in pages {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let is_code = |word: &&str| Path::new(word).extension().is_some_and(|found| found == "rs");
        let named = text.split('`').skip(1).step_by(2).filter(is_code);
        let missing = named.filter(|file| !places.iter().any(|place| root().join(place).join(file).exists()));
        faults.extend(missing.map(|file| format!("{page}: {file} does not exist")));
    }
    no_faults(&faults);
}
