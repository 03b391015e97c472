//! What a shell has to do with the command: completion, and pipes whose other end is closed.

use crate::routes::routes;
use crate::support::{Local, check, command, eventually, is_closed, run, turnout, write};
use std::process::{Command, Stdio};

#[test]
fn every_shell_gets_a_script_that_names_the_verbs_and_their_flags() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = turnout(&["completion", shell]);
        check(&script, 0, &["turnout", "rollout", "promote", "wait", "lint", "gateway-namespace"]);
    }
    check(&turnout(&["completion"]), 2, &["<SHELL>"]);
    check(&turnout(&["completion", "tcsh"]), 2, &["[possible values: bash, elvish, fish, powershell, zsh]"]);
}

#[test]
fn bash_completes_verbs_flags_and_values() {
    let directory = tempfile::tempdir().unwrap();
    let script = write(directory.path(), "turnout.bash", &turnout(&["completion", "bash"]).stdout);
    check(&run(Command::new("bash").args(["-n", &script]), ""), 0, &[]);
    let completed = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let ask = format!(
            "source {script}; COMP_WORDS=({line}); COMP_CWORD={}; _turnout turnout '{last}' {before}; echo \"${{COMPREPLY[@]}}\"",
            words.len() - 1
        );
        let ran = run(Command::new("bash").args(["--norc", "-c", &ask]), "");
        assert_eq!(ran.stderr, "", "{line}");
        ran.stdout.trim().to_owned()
    };
    assert_eq!(completed("turnout roll"), "rollout");
    assert_eq!(completed("turnout rollout pro"), "promote");
    assert_eq!(completed("turnout -n x rollout pro"), "promote");
    assert_eq!(completed("turnout rollout status --gate"), "--gateway-namespace");
    assert_eq!(completed("turnout lint --outp"), "--output");
    assert_eq!(completed("turnout lint --output js"), "json");
    // What people do not call is not offered.
    assert_eq!(completed("turnout gate"), "");
}

/// The code of a command whose standard output, and where asked also its standard error, nobody reads.
fn unread(arguments: &[&str], both: bool) -> (i32, String) {
    let mut command = command(arguments);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdin(Stdio::null()).stderr(if both { writer.try_clone().unwrap().into() } else { Stdio::piped() });
    let output = command.stdout(writer).spawn().unwrap().wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_reader_that_has_read_enough_ends_the_command_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let routes = write(directory.path(), "routes.yaml", &routes(50, 50));
    for both in [false, true] {
        for arguments in [
            ["completion", "bash"].as_slice(),
            &["lint", &routes],
            &["lint", "-o", "json", &routes],
            &["explain", "--routes", &routes, "GET", "/"],
            &["diff", &routes, &routes],
            &["probe", "--url", "http://127.0.0.1:1", "--timeout", "0s"],
        ] {
            assert_eq!(unread(arguments, both), (141, String::new()), "{arguments:?}");
        }
        assert_eq!(unread(&["--help"], both), (0, String::new()));
        // What went wrong counts more than who reads it.
        assert_eq!(unread(&["lint", "/nowhere"], both).0, 2);
        assert_eq!(unread(&["rollout", "list"], both).0, 2);
    }
}

#[test]
fn over_a_directory_it_ends_as_quietly_and_leaves_nothing_behind() {
    let local = Local::start();
    let path = local.path();
    for verb in
        [["rollout", "list"].as_slice(), &["rollout", "status"], &["rollout", "status", "--watch"], &["wait", "--idle"]]
    {
        for both in [false, true] {
            assert_eq!(unread(&[verb, &["--local", path.to_str().unwrap()]].concat(), both), (141, String::new()));
        }
    }
    let waited = unread(&["wait", "--stage", "Blue_0", "--timeout", "0s", "--local", path.to_str().unwrap()], true);
    assert_eq!(waited.0, 141);
    // Its greeting is what nobody reads.
    let other = tempfile::tempdir().unwrap();
    let started = ["local", "--listen", "127.0.0.1:0", "--workers", "1", "--dir", other.path().to_str().unwrap()];
    assert_eq!(unread(&started, true), (141, String::new()));
    let addresses = std::fs::read_to_string(other.path().join("addresses.json")).unwrap();
    let addresses: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&addresses).unwrap();
    for address in addresses.values().map(|address| address.as_str().unwrap().parse().unwrap()) {
        eventually("that its processes have ended", || is_closed(address).then_some(()));
    }
}
