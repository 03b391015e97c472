//! Flags before and behind the verb, as kubectl has them: the same request, whichever place they have. A verb refuses what
//! it does not take, there and here.

use crate::api::Api;
use crate::installation;
use crate::support::{Ran, check, command, command_as, run, turnout};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// The verbs on clusters that name a rollout.
const OF_A_ROLLOUT: [&str; 8] = [
    "rollout status model",
    "rollout start model --revision v9",
    "rollout promote model",
    "rollout pause model",
    "rollout resume model",
    "rollout rollback model",
    "rollout history model",
    "wait model --idle --timeout 0s",
];
/// The others on clusters.
const OTHERS: [&str; 3] = ["rollout list", "check", "routes"];

struct Bed {
    api: Api,
    directory: TempDir,
    kubeconfig: String,
}

impl Bed {
    /// With a rollout in each of two namespaces.
    fn start() -> Self {
        let (api, directory) = (Api::start(), tempfile::tempdir().unwrap());
        api.put_rollout(
            &json!({"revision": "v2", "target": "Blue_50"}),
            &json!({"stage": "Blue_50", "candidate": {"revision": "v2"}}),
        );
        let rollout = api.get(crate::api::ROLLOUT);
        let mut third = rollout.clone();
        third["metadata"]["namespace"] = json!("third");
        api.put("/apis/turnout.dev/v1alpha1/namespaces/third/modelrollouts/model", third);
        installation::put(&api);
        let kubeconfig = api.kubeconfig(directory.path());
        Self { api, directory, kubeconfig }
    }
}

/// The line with its flags at every place: before the first word, behind the second, behind the last.
fn placings(verb: &str, flags: &[&str]) -> Vec<Vec<String>> {
    let words: Vec<&str> = verb.split(' ').collect();
    let places = if words[0] == "rollout" { vec![0, 1, 2, words.len()] } else { vec![0, 1, words.len()] };
    let place = |at: usize| [&words[..at], flags, &words[at..]].concat().into_iter().map(str::to_owned).collect();
    let mut placings: Vec<Vec<String>> = places.into_iter().map(place).collect();
    // Each flag at a place of its own.
    if let [name, value, last @ ..] = flags {
        placings.push([&[*name, *value], &words[..], last].concat().into_iter().map(str::to_owned).collect());
    }
    placings
}

fn told(arguments: &[String]) -> Ran {
    turnout(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_flag_counts_wherever_it_stands() {
    let asked = |verb: &str, arguments: &[String]| {
        let bed = Bed::start();
        let whole = [arguments, &["--kubeconfig".to_owned(), bed.kubeconfig.clone()]].concat();
        let ran = told(&whole);
        assert!(ran.code != 2 && ran.json() != Value::Null, "{verb}: {arguments:?}: {ran:?}");
        let requests = bed.api.requests().into_iter().map(|request| format!("{} {}", request.method, request.path));
        (ran.code, requests.filter(|request| !request.contains("/pods")).collect::<Vec<_>>())
    };
    for verb in OF_A_ROLLOUT.iter().chain(&OTHERS) {
        for flags in [["-n", "third", "-o", "json"], ["--context=elsewhere", "--namespace=third", "--output", "json"]] {
            let placings = placings(verb, &flags);
            let expected = asked(verb, placings.iter().find(|line| line.ends_with(&flags.map(str::to_owned))).unwrap());
            if verb.contains("model") {
                assert!(expected.1[0].contains("/namespaces/third/"), "{verb}: {expected:?}");
            }
            for arguments in placings {
                assert_eq!(asked(verb, &arguments), expected, "{arguments:?}");
            }
        }
    }
}

#[test]
fn the_kubeconfig_and_a_directory_can_be_named_first() {
    let bed = Bed::start();
    for verb in OF_A_ROLLOUT.iter().chain(&OTHERS) {
        let ran = told(&[vec!["--kubeconfig".to_owned(), bed.kubeconfig.clone()], words(verb)].concat());
        assert!(ran.code != 2, "{verb}: {ran:?}");
        let ran = told(&[vec!["--kubeconfig".to_owned(), "/nowhere".to_owned()], words(verb)].concat());
        check(&ran, 2, &["cannot read /nowhere"]);
        if !["check", "routes"].contains(verb) {
            let ran = told(&[vec!["--local".to_owned(), "/nowhere".to_owned()], words(verb)].concat());
            check(&ran, 2, &["/nowhere"]);
        }
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_verb_refuses_the_flags_that_it_does_not_take() {
    let refused = |verb: &str, flags: &[&str]| {
        for arguments in placings(verb, flags) {
            check(&told(&arguments), 2, &[&format!("unexpected argument '{}' found", flags[0])]);
        }
    };
    for verb in [
        "lint f",
        "explain --routes f GET /",
        "diff a b",
        "probe --url http://x",
        "verdict --evidence f",
        "compare --evidence f",
        "demo",
        "completion bash",
    ] {
        for flags in [["-n", "x"], ["--context", "x"], ["--kubeconfig", "x"], ["--local", "x"]] {
            refused(verb, &flags);
        }
    }
    for verb in ["check", "routes"] {
        refused(verb, &["--local", "x"]);
        refused(verb, &["--all-namespaces"]);
    }
    for verb in OF_A_ROLLOUT {
        refused(verb, &["--all-namespaces"]);
        if !verb.starts_with("rollout status") {
            refused(verb, &["--gateway-namespace", "x"]);
            refused(verb, &["--watch"]);
        }
    }
    refused("completion bash", &["-o", "json"]);
    refused("local", &["-o", "json"]);
}

#[test]
fn files_are_looked_at_with_flags_first() {
    check(&turnout(&["-o", "json", "lint", "/nowhere.yaml"]), 2, &["cannot read /nowhere.yaml"]);
    let empty = run(&mut command(&["-o", "json", "lint", "-"]), "kind: Nothing");
    assert_eq!((empty.code, &empty.json()["accepted"]), (1, &json!(false)));
}

#[test]
fn a_plugin_of_kubectl_takes_them_too() {
    let bed = Bed::start();
    let plugin = bed.directory.path().join("kubectl-turnout");
    symlink(env!("CARGO_BIN_EXE_turnout"), &plugin).unwrap();
    let arguments = ["-n", "third", "--kubeconfig", &bed.kubeconfig, "rollout", "-o", "json", "status", "model"];
    let ran = run(&mut command_as(&plugin, &arguments), "");
    assert_eq!(ran.json()["namespace"], "third", "{ran:?}");
    let help = run(&mut command_as(&plugin, &["-n", "third", "--help"]), "");
    check(&help, 0, &["Usage: kubectl turnout <COMMAND>"]);
}

#[test]
fn flags_without_a_verb_get_help() {
    for arguments in [["-n", "x"].as_slice(), &[], &["-o", "json", "-n", "x"]] {
        check(&turnout(arguments), 2, &["Usage: turnout <COMMAND>", "First steps:"]);
    }
    check(&turnout(&["-n", "x", "--help"]), 0, &["Usage: turnout <COMMAND>"]);
    check(&turnout(&["-n", "x", "rolout", "list"]), 2, &["unrecognized subcommand 'rolout'"]);
    check(&turnout(&["-n", "x", "rollout"]), 2, &["Usage: turnout rollout [OPTIONS] <COMMAND>"]);
}
