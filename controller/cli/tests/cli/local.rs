//! Rollouts over a directory, with the driver, gateway and models of a real `turnout local`: the verbs, their exit
//! codes, and what is left when the driver is killed.

use crate::support::{Local, Running, command, command_as, eventually, is_closed, run, turnout};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;

const WAIT: [&str; 3] = ["wait", "--timeout", "1m"];

fn wait_for(local: &Local, goal: &[&str]) {
    local.done(&[&WAIT, goal].concat());
}

#[test]
fn a_rollout_goes_through_its_stages_by_the_verbs() {
    let local = Local::start();
    assert_eq!(local.score(None), (200, "\"New Model A\"".to_owned()));
    wait_for(&local, &["--idle"]);
    let done = |arguments: &[&str], said: &str| {
        let all = [&["rollout"], arguments, &["--wait", "--timeout", "60s"]].concat();
        let ran = local.done(&all);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.len(), 2, "{ran:?}");
        assert!(lines[0].ends_with(said) && lines[1].starts_with("model: reached ("), "{ran:?}");
    };
    done(&["start", "--revision", "B"], "revision B is to go to Blue_0");
    wait_for(&local, &["--ready", "blue"]);
    assert_eq!(local.status()["status"]["weights"], json!({"green": 100, "blue": 0}), "nothing is exposed unasked");
    assert_eq!(local.score(Some("blue")), (200, "\"New Model B\"".to_owned()));
    done(&["promote"], "it is to go on to Blue_50");
    assert_eq!(local.status()["status"]["weights"], json!({"green": 50, "blue": 50}));
    assert_eq!(local.score(Some("green")), (200, "\"New Model A\"".to_owned()));
    done(&["promote"], "it is to go on to Blue_100");
    assert_eq!(local.score(None), (200, "\"New Model B\"".to_owned()));
    done(&["promote", "--to", "Green_100"], "it is to go on to Green_100");
    wait_for(&local, &["--ready", "green"]);
    wait_for(&local, &["--safe-to-remove", "blue"]);
    wait_for(&local, &["--idle"]);
    assert_eq!(local.score(None), (200, "\"New Model B\"".to_owned()));
    eventually("that blue is gone", || (local.score(Some("blue")).0 == 503).then_some(()));
    let history = local.done(&["rollout", "history"]).stdout;
    let reached: Vec<&str> = history.lines().skip(1).map(|line| line.split("  ").nth(1).unwrap()).collect();
    assert_eq!(reached, ["Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100"]);
    assert!(local.done(&["rollout", "list"]).stdout.contains("model  Complete  Green_100"));
}

#[test]
fn a_rollback_returns_everything_to_the_stable_model_and_fails_who_waits_for_more() {
    let local = Local::start();
    local.done(&["rollout", "start", "--revision", "B", "--to", "Blue_50", "--wait"]);
    local.done(&["rollout", "rollback", "--wait"]);
    assert_eq!(local.score(None), (200, "\"New Model A\"".to_owned()));
    let ran = local.turnout(&["wait", "--stage", "Blue_100"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("rolled back from Blue_50: it was asked for"), "{ran:?}");
    wait_for(&local, &["--idle"]);
    // Another attempt, at another revision than blue serves: blue is replaced.
    local.done(&["rollout", "start", "--revision", "C", "--to", "Blue_0"]);
    wait_for(&local, &["--stage", "Blue_0"]);
    eventually("that blue serves C", || (local.score(Some("blue")).1 == "\"New Model C\"").then_some(()));
}

#[test]
fn exit_codes_tell_a_time_out_from_a_refusal_and_from_bad_usage() {
    let local = Local::start();
    let check = |arguments: &[&str], code, said: &str| {
        let ran = local.turnout(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(said) || ran.stdout.contains(said), "{said}: {ran:?}");
    };
    check(&["rollout", "promote"], 1, "no rollout is in progress");
    check(&["rollout", "rollback"], 1, "there is no earlier revision");
    check(&["rollout", "start", "--revision", "B", "--to", "Blue_7"], 1, "Blue_7 is not a stage of this rollout");
    check(&["rollout", "start", "--revision", "B", "--to", "Blau"], 2, "unknown stage `Blau`");
    check(&["rollout", "start", "--revision", "sha256:3f2a"], 2, "is no value of a label");
    check(&["rollout", "status", "other"], 2, "there is no rollout other in ");
    check(&["rollout", "promote", "modle"], 2, ", only model; did you mean model?\n");
    check(&["wait", "--stage", "Green_100", "--timeout", "0s"], 3, "timed out");
    check(&["wait", "--stage", "Blue_51"], 2, "Blue_51 is not a stage of this rollout: it passes Blue_0, Blue_50, ");
    check(&["wait", "--idle", "--stage", "Blue_0"], 2, "cannot be used with");
    for command in [["rollout", "list"], ["wait", "--idle"]] {
        let ran = turnout(&command);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("give --local DIR"), "{ran:?}");
    }
    #[cfg(not(feature = "cluster"))]
    for command in ["check", "routes"] {
        let ran = turnout(&[command, "-n", "ns", "-o", "json"]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("this build has no access to clusters"), "{ran:?}");
    }
}

#[test]
fn the_status_shows_the_stages_and_what_backends_and_gateway_have() {
    let local = Local::start();
    local.done(&["rollout", "start", "--revision", "B", "--to", "Blue_50", "--wait"]);
    let text = local.done(&["rollout", "status"]).stdout;
    for line in
        ["*  Blue_50     50     50    promotion", "green    50      50    ", "blue     50      50    ", "as published"]
    {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    let status = local.status();
    let seen = |backend: &str| status["gateways"][0][backend]["weight"].clone();
    assert_eq!((seen("green"), seen("blue")), (json!(50), json!(50)), "{status}");
    assert_eq!(status["backends"]["blue"]["revisions"], json!(["B"]));
}

#[test]
fn a_watched_status_is_a_line_for_each_change_where_there_is_no_terminal() {
    let local = Local::start();
    let path = local.path();
    let watching = Running::start(&["rollout", "status", "-w", "--local", path.to_str().unwrap()]);
    let line = watching.line();
    assert!(line.contains(" Idle ") && line.contains("; seen green 100, blue 0; ready green 1/1"), "{line}");
    local.done(&["rollout", "start", "--revision", "B", "--to", "Blue_50"]);
    while !watching.line().contains(" Holding Blue_50 wanted green 50, blue 50; seen green 50, blue 50; ") {}
}

#[test]
fn who_waits_is_told_what_for_and_when_it_is_there() {
    let local = Local::start();
    local.done(&["rollout", "start", "--revision", "B"]);
    let path = local.path();
    let waiting = Running::start(&["wait", "--stage", "Blue_50", "--local", path.to_str().unwrap()]);
    waiting.wait_for_remark("Blue_0: promote to go on");
    local.done(&["rollout", "promote"]);
    let ran = waiting.end();
    assert!(ran.code == 0 && ran.stdout.starts_with("model: reached "), "{ran:?}");
}

#[test]
fn kubectl_runs_it_as_a_plugin() {
    let local = Local::start();
    let path = local.path();
    let plugin = path.join("kubectl-turnout");
    symlink(env!("CARGO_BIN_EXE_turnout"), &plugin).unwrap();
    let listed = run(&mut command_as(&plugin, &["rollout", "list", "--local", path.to_str().unwrap()]), "");
    assert!(listed.code == 0 && listed.stdout.contains("model  "), "{listed:?}");
    let help = run(&mut command_as(&plugin, &["rollout", "--help"]), "");
    assert!(help.stdout.contains("Usage: kubectl turnout rollout [OPTIONS] <COMMAND>"), "{help:?}");
}

#[test]
fn what_is_only_for_clusters_is_refused_over_a_directory() {
    let local = Local::start();
    let refused = |arguments: &[&str], said: &str| {
        let ran = local.turnout(arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    };
    refused(&["rollout", "list", "-A"], "--all-namespaces is for clusters");
    refused(&["rollout", "status", "--gateway-namespace", "turnout"], "--gateway-namespace is for clusters");
    for flag in ["--kubeconfig", "--context", "--namespace"] {
        refused(&["rollout", "list", flag, "any"], "give one or the other");
    }
}

#[test]
fn flags_can_be_set_by_their_variables() {
    let local = Local::start();
    let with = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = command(arguments);
        run(command.env("TURNOUT_LOCAL", local.path()).envs(variables.iter().copied()), "")
    };
    assert_eq!(with(&["rollout", "list"], &[("TURNOUT_OUTPUT", "json")]).json()[0]["metadata"]["name"], "model");
    let started = with(&["rollout", "start"], &[("TURNOUT_REVISION", "B"), ("TURNOUT_START_TO", "Blue_50")]);
    assert_eq!(started.stdout, "model: revision B is to go to Blue_50\n");
    let waited = with(&["wait"], &[("TURNOUT_IDLE", "true"), ("TURNOUT_TIMEOUT", "0s")]);
    assert_eq!(waited.code, 3, "{waited:?}");
}

#[test]
fn a_paused_rollout_stays_until_it_is_resumed() {
    let local = Local::start();
    local.done(&["rollout", "pause"]);
    local.done(&["rollout", "start", "--revision", "B", "--to", "Blue_50"]);
    eventually("the phase Paused", || (local.status()["status"]["phase"] == "Paused").then_some(()));
    assert_eq!(local.status()["status"]["stage"], "Blue_0");
    let promoted = local.done(&["rollout", "promote", "--to", "Blue_100"]).stdout;
    assert!(promoted.ends_with("it is to go on to Blue_100; it is paused until it is resumed\n"), "{promoted}");
    local.done(&["rollout", "resume"]);
    wait_for(&local, &["--stage", "Blue_50"]);
}

#[test]
fn what_a_stage_requires_holds_it_and_is_told() {
    let local = Local::start();
    let file = local.path().join("rollouts/model.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let steps = "  steps:\n  - {stage: Blue_0, require: []}\n  \
                 - {stage: Blue_0.5, require: [{pause: 1h}, {approval: {}}]}\n  - {stage: Blue_50}\n";
    std::fs::write(&file, text + steps).unwrap();
    local.done(&["rollout", "start", "--revision", "B", "--to", "Blue_50"]);
    wait_for(&local, &["--stage", "Blue_0.5"]);
    assert_eq!(local.status()["status"]["weights"], json!({"green": 995, "blue": 5}));
    let promoted = local.turnout(&["rollout", "promote", "--wait", "--timeout", "0s"]);
    assert_eq!(promoted.code, 3, "the pause is not over: {promoted:?}");
    let of = |state: &str| {
        let status = local.status();
        let all = status["status"]["requirements"].as_array().cloned().unwrap_or_default();
        let those = all.iter().filter(|one| one["state"] == state).map(|one| one["requirement"].clone());
        Value::Array(those.collect())
    };
    eventually("the approval", || (of("Open") == json!(["approval"])).then_some(()));
    assert_eq!(of("Waiting"), json!(["pause 1h"]));
    assert!(local.done(&["rollout", "status"]).stdout.contains("Waiting: pause 1h: pausing 1h after Blue_0.5"));
    local.done(&["rollout", "promote", "--skip-requirements", "--wait"]);
    assert_eq!(local.status()["status"]["weights"], json!({"green": 50, "blue": 50}));
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace("1h", "one hour")).unwrap();
    eventually("that it is invalid", || (local.status()["status"]["phase"] == "Invalid").then_some(()));
    let ran = local.turnout(&["rollout", "status"]);
    assert_eq!(ran.code, 1, "a pipeline sees it: {ran:?}");
    assert!(ran.stdout.contains("spec.steps[1].require[0].pause: `one hour` is no duration"), "{ran:?}");
}

#[test]
fn a_directory_takes_one_driver_only() {
    let local = Local::start();
    let ran = turnout(&["local", "--listen", "127.0.0.1:0", "--dir", local.path().to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("another driver runs over"), "{ran:?}");
    assert_eq!(local.score(None).0, 200);
}

#[test]
fn a_killed_driver_takes_its_processes_along_and_the_next_one_goes_on() {
    let mut local = Local::start();
    local.done(&["rollout", "start", "--revision", "B", "--to", "Blue_50", "--wait"]);
    let former = ["gateway", "status", "green", "blue"].map(|name| local.address(name));
    local.kill();
    for address in former {
        eventually("that a process of the killed driver has ended", || is_closed(address).then_some(()));
    }
    let ran = local.done(&["rollout", "promote"]);
    assert!(ran.stderr.contains("nothing drives"), "{ran:?}");
    local.start_again();
    wait_for(&local, &["--stage", "Blue_100"]);
    local.done(&["rollout", "promote", "--to", "Green_100", "--wait"]);
    assert_eq!(local.score(None), (200, "\"New Model B\"".to_owned()));
}

#[test]
fn a_driver_that_is_killed_after_every_step_reaches_the_target() {
    let mut local = Local::start();
    local.done(&["rollout", "start", "--revision", "B", "--to", "Green_100"]);
    let steps = |local: &Local| local.status()["status"]["history"].as_array().map_or(0, Vec::len);
    for killed_after in 1..5 {
        eventually("another step", || (steps(&local) >= killed_after).then_some(()));
        local.kill();
        local.start_again();
    }
    wait_for(&local, &["--stage", "Green_100"]);
    let history = local.status()["status"]["history"].clone();
    let reached: Vec<&str> = history.as_array().unwrap().iter().map(|step| step["to"].as_str().unwrap()).collect();
    assert_eq!(reached, ["Blue_0", "Blue_50", "Blue_100", "Blue_Green", "Green_100"]);
    assert_eq!(local.score(None), (200, "\"New Model B\"".to_owned()));
}

#[test]
fn a_bad_document_changes_nothing_and_is_told_until_it_is_good_again() {
    let local = Local::start();
    let file = local.path().join("documents/routes.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    let published = || std::fs::read_to_string(local.path().join("routes/routes.yaml")).unwrap();
    let before = published();
    std::fs::write(&file, good.replace("destination:", "destinatoin:")).unwrap();
    eventually("the problem", || local.status()["problems"].to_string().contains("destinatoin").then_some(()));
    assert_eq!(published(), before);
    assert_eq!(local.score(None).0, 200);
    std::fs::write(&file, good.replace("exact: green", "exact: gruen")).unwrap();
    eventually("the new routes", || published().contains("gruen").then_some(()));
    eventually("that nothing is wrong any more", || (local.status()["problems"] == json!([])).then_some(()));
}

#[test]
fn the_problems_of_a_start_that_failed_are_told_at_once_and_forgotten_by_the_next() {
    let mut local = Local::start();
    local.kill();
    let file = local.path().join("documents/routes.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("destination:", "destinatoin:")).unwrap();
    let failing = Running::start(&["local", "--listen", "127.0.0.1:0", "--dir", local.path().to_str().unwrap()]);
    failing.wait_for_remark("problem: ");
    let ran = failing.end();
    assert!(ran.code == 2 && ran.stderr.contains("no routes are published:\n"), "{ran:?}");
    std::fs::write(&file, good).unwrap();
    local.start_again();
    assert_eq!(local.status()["problems"], json!([]));
}

#[test]
fn without_a_rollout_the_weights_of_the_documents_pass_through() {
    let local = Local::start();
    std::fs::remove_file(local.path().join("rollouts/model.yaml")).unwrap();
    let file = local.path().join("documents/routes.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace("weight: 100", "weight: 7").replace("weight: 0", "weight: 3");
    std::fs::write(&file, changed).unwrap();
    let published = || std::fs::read_to_string(local.path().join("routes/routes.yaml")).unwrap();
    eventually("the weights", || {
        (published().contains("weight: 7") && published().contains("weight: 3")).then_some(())
    });
    eventually("that the status is forgotten", || (!local.path().join("status/model.json").exists()).then_some(()));
}
