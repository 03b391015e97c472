//! Who may name whom inside a crate: the rooms of the gateway stand above one another, what a client knows of rollouts
//! needs no command line, and no two files need each other.

use crate::{no_faults, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The gateway's files and rooms, lowest first. Each may name those of the lines before its own, and what shares its line
/// only itself.
const ROOMS: [&[&str]; 14] = [
    &["error", "files", "drain", "random", "raw_target", "grpc_status", "hop_by_hop", "io", "testing"],
    &["settings"],
    &["client"],
    &["evidence"],
    &["telemetry"],
    &["log", "body"],
    &["credentials"],
    &["upstream"],
    &["snapshot", "pairs"],
    &["gateway"],
    &["downstream"],
    &["control"],
    &["app"],
    &["lib", "main"],
];

/// A file of a crate as a path of modules, with those that it names.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn files(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy();
        let module = if prefix.is_empty() { name.to_string() } else { format!("{prefix}::{name}") };
        if path.is_dir() {
            files(&path, &module, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(module, fs::read_to_string(path).unwrap());
        }
    }
}

/// The paths of a use tree, one by one.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else { return vec![tree.to_owned()] };
    let (mut paths, mut depth, mut begin) = (Vec::new(), 0, 0);
    let members = rest.strip_suffix('}').unwrap();
    for (at, letter) in members.char_indices().chain([(members.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                paths.extend(expand(&format!("{prefix}{}", &members[begin..at])));
                begin = at + 1;
            }
            _ => {}
        }
    }
    paths
}

/// The path from the crate's root of what a module names.
fn absolute(module: &str, named: &str) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    for (position, part) in named.split("::").enumerate() {
        match (position, part) {
            (0, "crate") => {}
            (0, "self") => path.extend(module.split("::").map(str::to_owned)),
            (0, "super") => {
                path.extend(module.split("::").map(str::to_owned));
                path.pop();
            }
            (_, "super") => drop(path.pop()),
            _ => path.push(part.to_owned()),
        }
    }
    path
}

/// A file up to the tests that stand in it; that they stand in a file of their own may be said anywhere.
fn without_tests(text: &str) -> &str {
    let begins = |(at, _): (usize, &str)| {
        let declared = text[at..].lines().nth(1).unwrap_or_default();
        (!declared.ends_with(';')).then_some(at)
    };
    let end = text.match_indices("#[cfg(test)]").find_map(begins);
    &text[..end.unwrap_or(text.len())]
}

/// What each file names, its tests apart. A module and what it is made of are one: they do not count.
fn imports(source: &str) -> Imports {
    let mut modules = BTreeMap::new();
    files(&root().join(source), "", &mut modules);
    let mut imports = Imports::new();
    for (module, text) in &modules {
        let code = without_tests(text);
        let statements = code.lines().collect::<Vec<_>>().join(" ");
        let named = imports.entry(module.clone()).or_default();
        for statement in statements.split("use ").skip(1).filter_map(|rest| rest.split(';').next()) {
            let tree: String = statement.chars().filter(|letter| !letter.is_whitespace()).collect();
            if !["crate::", "super::", "self::"].iter().any(|start| tree.starts_with(start)) {
                continue;
            }
            for mut path in expand(&tree).iter().map(|path| absolute(module, path)) {
                while !path.is_empty() && !modules.contains_key(&path.join("::")) {
                    path.pop();
                }
                let target = path.join("::");
                let is_family = |one: &str, other: &str| one == other || one.starts_with(&format!("{other}::"));
                if !target.is_empty() && !is_family(&target, module) && !is_family(module, &target) {
                    named.insert(target);
                }
            }
        }
    }
    assert!(imports.values().any(|named| !named.is_empty()), "{source}: no file names another");
    imports
}

#[test]
fn the_rooms_of_the_gateway_stand_above_one_another() {
    let room = |module: &str| module.split("::").next().unwrap().to_owned();
    let level = |room: &str| ROOMS.iter().position(|line| line.contains(&room));
    let mut faults = Vec::new();
    for (module, named) in imports("proxy/src") {
        let Some(own) = level(&room(&module)) else {
            faults.push(format!("{module} has no place among the rooms"));
            continue;
        };
        let others = named.iter().filter(|target| room(target) != room(&module));
        let wrong = others.filter(|target| level(&room(target)).is_none_or(|level| level >= own));
        faults.extend(wrong.map(|target| format!("{module} may not name {target}")));
    }
    no_faults(&faults);
}

#[test]
fn what_a_client_knows_needs_no_command_line() {
    let mut faults = Vec::new();
    for (module, named) in imports("controller/cli/src").iter().filter(|(module, _)| module.starts_with("client::")) {
        let outside = named.iter().filter(|target| !target.starts_with("client::"));
        faults.extend(outside.map(|target| format!("{module} may not name {target}")));
    }
    let mut texts = BTreeMap::new();
    files(&root().join("controller/cli/src/client"), "client", &mut texts);
    for (module, text) in &texts {
        let words = ["clap", "print!", "println!", "anstream"].into_iter();
        faults.extend(words.filter(|word| text.contains(word)).map(|word| format!("{module} may not use {word}")));
    }
    no_faults(&faults);
}

#[test]
fn no_two_files_need_each_other() {
    let mut faults = Vec::new();
    for source in [
        "proxy/src",
        "proxy/routes/src",
        "proxy/verdict/src",
        "controller/src",
        "controller/driver/src",
        "controller/rollout/src",
        "controller/cli/src",
    ] {
        let mut left = imports(source);
        // What names nothing that is left is taken away; what stays at last goes in circles.
        while let Some(free) = left.iter().find(|(_, named)| named.is_empty()).map(|(module, _)| module.clone()) {
            left.remove(&free);
            for named in left.values_mut() {
                named.remove(&free);
            }
        }
        faults.extend(left.iter().map(|(module, named)| format!("{source}: {module} needs {named:?}")));
    }
    no_faults(&faults);
}
