//! The verbs on a cluster: what they write, what they print and their exit codes, against an API server in this process.
//! What a real one and a real controller make of it is shown by the cluster tests.

use crate::api::{Api, ROLLOUT, ROLLOUTS, kubeconfig};
use crate::installation::{self, GATEWAY_POD, PUBLISHED, put_revision, silence_gateway};
use crate::support::{Ran, Running, check, closed_address, command, run, turnout, write};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An API server with one rollout, and how to reach it.
struct Bed {
    api: Api,
    kubeconfig: String,
    directory: TempDir,
}

/// Where the gateways are looked for.
const ALL_PODS: &str = "/api/v1/pods";

impl Bed {
    /// With these fields in the rollout's spec and status.
    fn start(spec: &Value, status: &Value) -> Self {
        let (api, directory) = (Api::start(), tempfile::tempdir().unwrap());
        api.put_rollout(spec, status);
        let kubeconfig = api.kubeconfig(directory.path());
        Self { api, kubeconfig, directory }
    }

    /// At Blue_50, on the way from v1 to v2.
    fn at_blue_50() -> Self {
        let status = json!({"stage": "Blue_50", "candidate": {"revision": "v2"}});
        Self::start(&json!({"revision": "v2", "target": "Blue_50"}), &status)
    }

    /// With Turnout installed beside it.
    fn installed() -> Self {
        let bed = Self::at_blue_50();
        installation::put(&bed.api);
        bed
    }

    fn turnout(&self, arguments: &[&str]) -> Ran {
        turnout(&[arguments, &["--kubeconfig", &self.kubeconfig]].concat())
    }

    fn start_turnout(&self, arguments: &[&str]) -> Running {
        Running::start(&[arguments, &["--kubeconfig", &self.kubeconfig]].concat())
    }

    /// The command ends with this code, and says this.
    #[track_caller]
    fn check(&self, arguments: &[&str], code: i32, said: &[&str]) {
        check(&self.turnout(arguments), code, said);
    }

    /// Where rollouts are looked for by this command.
    fn asked_by(&self, ran: &Ran) -> (i32, String) {
        let path = self.api.requests().first().unwrap().path.clone();
        (ran.code, path.replace("/apis/turnout.dev/v1alpha1", ""))
    }

    /// The spec of each patch since the last call; each names the version it was made from and who writes.
    fn patches(&self) -> Vec<Value> {
        let requests = self.api.requests();
        let patches = requests.iter().filter(|request| request.method == "PATCH");
        patches
            .map(|patch| {
                assert_eq!(patch.path, ROLLOUT);
                assert!(patch.query.contains("fieldManager=turnout"), "{patch:?}");
                assert!(patch.query.contains("fieldValidation=Strict"), "{patch:?}");
                let names: Vec<&String> = patch.body.as_object().unwrap().keys().collect();
                assert_eq!(names, ["metadata", "spec"], "{patch:?}");
                assert!(patch.body["metadata"]["resourceVersion"].is_string(), "{patch:?}");
                patch.body["spec"].clone()
            })
            .collect()
    }
}

#[test]
fn each_verb_writes_only_the_fields_that_it_changes() {
    let check = |bed: &Bed, arguments: &[&str], said: &str, spec: &Value| {
        let ran = bed.turnout(&[&["rollout"], arguments].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout.trim(), format!("model: {said}"));
        assert_eq!(bed.patches(), std::slice::from_ref(spec), "{arguments:?}");
    };
    let idle = || Bed::start(&json!({}), &json!({"stage": "Green_100", "previousRevision": "v0"}));
    check(&idle(), &["start", "--revision", "v2"], "revision v2 is to go to Blue_0", &json!({"revision": "v2"}));
    let to = json!({"revision": "v2", "target": "Blue_50"});
    check(&idle(), &["start", "model", "--revision", "v2", "--to", "Blue_50"], "revision v2 is to go to Blue_50", &to);
    let anew = json!({"revision": "v0", "target": "Green_100", "rollbackOf": "v1"});
    check(&idle(), &["pause"], "it is to go no further", &json!({"paused": true}));
    check(&idle(), &["rollback"], "revision v0 is to be rolled out anew in place of v1", &anew);
    let paused = Bed::start(&json!({"paused": true}), &json!({}));
    check(&paused, &["resume"], "it may go on", &json!({"paused": false}));
    let approval = json!({"revision": "v2", "attempt": 0, "stage": "Blue_50", "skipRequirements": false});
    let promoted = json!({"target": "Blue_100", "approval": approval});
    check(&Bed::at_blue_50(), &["promote"], "it is to go on to Blue_100", &promoted);
    let promoted = json!({"target": "Green_100", "approval": approval});
    let done = "it is to go on to Green_100";
    check(&Bed::at_blue_50(), &["promote", "--to", "Green_100"], done, &promoted);
    check(&Bed::at_blue_50(), &["rollback"], "revision v2 is to go back to v1", &json!({"target": "Rollback"}));
    let back = "revision v2 is to go back to v1";
    check(&Bed::at_blue_50(), &["start", "--revision", "v1"], back, &json!({"revision": "v1", "target": null}));
    let next = Bed::start(&json!({"revision": "v2"}), &json!({"stage": "Green_100"}));
    check(&next, &["rollback", "--wait"], "revision v2 is not to begin", &json!({"target": "Rollback"}));
}

#[test]
fn a_rollback_after_green_100_is_written_once() {
    let bed = Bed::start(&json!({}), &json!({"stage": "Green_100", "previousRevision": "v0"}));
    bed.check(&["rollout", "rollback"], 0, &["revision v0 is to be rolled out anew in place of v1"]);
    let under_way = json!({"stage": "Blue_50", "candidate": {"revision": "v0"}, "observedGeneration": 2});
    let complete = json!({"stage": "Green_100", "candidate": null, "stableRevision": "v0", "previousRevision": "v1"});
    assert_eq!(bed.patches().len(), 1);
    for status in [json!({}), under_way, complete] {
        bed.api.patch_status(&status);
        let ran = bed.turnout(&["rollout", "rollback"]);
        let start = format!("turnout rollout start --kubeconfig {} model --revision v1", bed.kubeconfig);
        let said = format!("model: revision v0 is rolled out anew in place of v1 already; to return to v1: {start}\n");
        assert_eq!((ran.code, ran.stdout), (0, said), "{status}");
        assert_eq!(bed.patches(), Vec::<Value>::new(), "{status}");
    }
}

#[test]
fn a_command_that_is_told_to_people_reaches_what_this_one_has_reached() {
    let bed = Bed::at_blue_50();
    let since = "2026-01-01T00:00:00Z";
    bed.api.patch_status(&json!({"waiting": {"reason": "Promotion", "since": since}}));
    let check = |arguments: &[&str], environment: &[(&str, &str)], named: &str| {
        let mut command = command(&[&["rollout", "status"], arguments].concat());
        let ran = run(command.envs(environment.iter().copied()), "");
        let said = format!("; to go on: turnout rollout promote {named}\n");
        assert!(ran.stdout.contains(&said), "{arguments:?} {environment:?}: {said}{ran:?}");
    };
    let file = bed.kubeconfig.as_str();
    check(&["--kubeconfig", file], &[], &format!("--kubeconfig {file} model"));
    check(&[], &[("KUBECONFIG", file)], "model");
    check(&["-n", "ns"], &[("KUBECONFIG", file)], "model");
    check(&[], &[("TURNOUT_KUBECONFIG", file)], "model");
    check(&["--context", "test"], &[("KUBECONFIG", file)], "--context test model");
    check(&["--context", "elsewhere", "-n", "ns"], &[("KUBECONFIG", file)], "--context elsewhere -n ns model");
    let of_environment = [("KUBECONFIG", file), ("TURNOUT_CONTEXT", "elsewhere"), ("TURNOUT_NAMESPACE", "ns")];
    check(&[], &of_environment, "model");
    check(&["-n", "ns"], &[("KUBECONFIG", file), ("TURNOUT_NAMESPACE", "other")], "-n ns model");
}

#[test]
fn asking_for_what_is_so_already_writes_nothing() {
    let bed = Bed::start(&json!({"paused": true}), &json!({}));
    assert_eq!(bed.turnout(&["rollout", "pause"]).code, 0);
    assert_eq!(bed.patches(), Vec::<Value>::new());
}

#[test]
fn a_change_that_met_another_one_is_made_anew_from_what_is_there() {
    let bed = Bed::at_blue_50();
    bed.api.conflict(2);
    bed.check(&["rollout", "promote"], 0, &[]);
    assert_eq!(bed.patches().len(), 3);
    assert_eq!(bed.api.get(ROLLOUT)["spec"]["target"], "Blue_100");
    bed.api.conflict(100);
    bed.check(&["rollout", "rollback"], 2, &["is changed by others all the time"]);
}

#[test]
fn refusals_missing_rights_and_missing_objects_have_their_own_exit_codes() {
    let bed = Bed::at_blue_50();
    bed.check(&["rollout", "promote", "--to", "Blue_50"], 1, &["Blue_50 is reached, Blue_50 lies behind it"]);
    bed.check(&["rollout", "start", "--revision", "refused"], 1, &["spec.revision: Invalid value (422)"]);
    let missing = "there is no rollout other in namespace ns of http://127.0.0.1:";
    bed.check(&["rollout", "status", "other"], 2, &[missing]);
    bed.check(&["wait", "other", "--idle"], 2, &[missing]);
    bed.check(&["rollout", "pause", "modle"], 2, &[", only model; did you mean model?\n"]);
    let mut second = bed.api.get(ROLLOUT);
    second["metadata"]["name"] = json!("second");
    bed.api.put(&format!("{ROLLOUTS}/second"), second);
    bed.check(&["rollout", "promote"], 2, &["there are several rollouts in namespace ns", "name one: model, second"]);
    bed.check(&["rollout", "promote", "second"], 0, &["second: it is to go on to Blue_100"]);
    bed.api.fail("PATCH", ROLLOUT, 403);
    let forbidden = "cannot change the rollout ns/model: model is not for you (403)";
    bed.check(&["rollout", "pause", "model"], 2, &[forbidden]);
}

#[test]
fn a_cluster_that_cannot_be_asked_is_told_apart_by_why() {
    let bed = Bed::at_blue_50();
    for (code, said) in [
        (401, "does not accept who you are (401): log in, or name another --context"),
        (403, "cannot list the rollouts of namespace ns: modelrollouts is not for you (403)"),
        (404, "the cluster does not know this kind of object: `turnout check` says what is missing"),
        (500, "modelrollouts is not for you (500)"),
    ] {
        bed.api.fail("GET", ROLLOUTS, code);
        bed.check(&["rollout", "list"], 2, &[said]);
    }
    let closed = kubeconfig(&format!("http://{}", closed_address()));
    let closed = write(bed.directory.path(), "closed", &closed);
    for arguments in [["rollout", "list"].as_slice(), &["rollout", "pause", "model"], &["wait", "--idle"], &["routes"]]
    {
        let ran = turnout(&[arguments, &["--kubeconfig", &closed]].concat());
        check(&ran, 2, &["no answer from http://127.0.0.1:"]);
    }
}

#[test]
fn context_and_namespace_choose_as_with_kubectl() {
    let bed = Bed::at_blue_50();
    let listed = |arguments: &[&str], path: &str| {
        let ran = bed.turnout(&[&["rollout", "list"], arguments].concat());
        assert_eq!(bed.asked_by(&ran), (0, path.to_owned()), "{arguments:?}: {ran:?}");
    };
    listed(&[], "/namespaces/ns/modelrollouts");
    listed(&["-n", "third"], "/namespaces/third/modelrollouts");
    listed(&["--namespace=third"], "/namespaces/third/modelrollouts");
    listed(&["--context", "elsewhere"], "/namespaces/other/modelrollouts");
    listed(&["--context", "elsewhere", "-n", "ns"], "/namespaces/ns/modelrollouts");
    listed(&["-A", "-n", "third"], "/modelrollouts");
    bed.check(&["rollout", "list", "--context", "nowhere"], 2, &["there is no context nowhere, only: test, elsewhere"]);
    let local = bed.directory.path().to_str().unwrap();
    bed.check(&["rollout", "list", "--local", local], 2, &["--local names a directory"]);
}

#[test]
fn the_kubeconfig_is_found_as_kubectl_finds_it() {
    let bed = Bed::at_blue_50();
    let list = |arguments: &[&str], variable: &str, value: &str| {
        run(command(&[&["rollout", "list"], arguments].concat()).env(variable, value), "")
    };
    let (found, nothing) = (["model  Holding  Blue_50"], ["there is no cluster to talk to"]);
    // Files of the list that do not exist are none, and the first that names a context wins.
    let unset = write(bed.directory.path(), "unset", "apiVersion: v1\nkind: Config\ncurrent-context: ''\n");
    let several = format!("/nowhere:{unset}:{}", bed.kubeconfig);
    check(&list(&[], "KUBECONFIG", &several), 0, &found);
    check(&list(&[], "KUBECONFIG", "/nowhere"), 2, &nothing);
    check(&list(&["--kubeconfig", &bed.kubeconfig], "KUBECONFIG", "/nowhere"), 0, &found);
    check(&list(&["--kubeconfig", "/nowhere"], "KUBECONFIG", &several), 2, &["cannot read /nowhere"]);
    let home = bed.directory.path().join("home");
    std::fs::create_dir_all(home.join(".kube")).unwrap();
    std::fs::copy(&bed.kubeconfig, home.join(".kube/config")).unwrap();
    check(&list(&[], "HOME", home.to_str().unwrap()), 0, &found);
}

#[test]
fn every_namespace_is_listed_with_its_name() {
    let bed = Bed::at_blue_50();
    bed.check(&["rollout", "list", "-A"], 0, &["NAMESPACE  NAME ", "\nns         model  Holding"]);
    let listed = bed.turnout(&["rollout", "list", "-A", "-o", "json"]).json();
    assert_eq!(listed[0]["metadata"]["labels"]["team"], "scoring");
    assert_eq!(listed[0]["metadata"]["managedFields"], Value::Null);
    bed.api.remove(ROLLOUT);
    bed.check(&["rollout", "list"], 0, &["there is no rollout in namespace ns of http://127.0.0.1:"]);
}

#[test]
fn one_rollout_that_cannot_be_read_does_not_hide_the_others() {
    let bed = Bed::at_blue_50();
    let mut second = bed.api.get(ROLLOUT);
    second["metadata"]["name"] = json!("second");
    second["spec"]["later"] = json!(1);
    bed.api.put(&format!("{ROLLOUTS}/second"), second);
    let ran = bed.turnout(&["rollout", "list"]);
    let said = ["\nmodel  Holding  Blue_50", "this turnout cannot read the rollout ns/second", "unknown field `later`"];
    check(&ran, 2, &said);
    bed.api.remove(ROLLOUT);
    let ran = bed.turnout(&["rollout", "list", "-o", "json"]);
    assert_eq!((ran.code, ran.stdout.trim()), (2, "[]"), "{ran:?}");
    let ran = bed.turnout(&["rollout", "list"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
    assert!(!ran.stderr.contains("there is no rollout"), "{ran:?}");
}

#[test]
fn waiting_without_time_tells_how_it_stands() {
    let bed = Bed::at_blue_50();
    let check = |goal: &[&str], code: i32, said: &str| {
        bed.check(&[&["wait", "--timeout", "0s"], goal].concat(), code, &[said]);
    };
    check(&["--stage", "Blue_50"], 0, "model: reached");
    check(&["--stage", "Blue_100"], 3, "model: timed out (waiting)");
    check(&["--safe-to-remove", "blue"], 3, "model: timed out");
    check(&["--idle"], 3, "model: timed out");
    let waited = bed.turnout(&["wait", "--stage", "Blue_100", "--timeout", "0s", "-o", "json"]);
    let told = waited.json();
    assert_eq!((waited.code, &told["code"], &told["outcome"]), (3, &json!(3), &json!("timed out")));
    assert_eq!(told["status"]["stage"], "Blue_50");
}

const WAIT_FOR_BLUE_100: [&str; 5] = ["wait", "--stage", "Blue_100", "--timeout", "5m"];

#[test]
fn waiting_ends_with_the_change_that_decides_it() {
    let rollback = json!({"from": "Blue_50", "reason": "Requested", "since": "2026-01-01T00:00:00Z"});
    for (status, code, said) in [
        (json!({"stage": "Blue_100"}), 0, "model: reached"),
        (json!({"phase": "Invalid", "message": "bad"}), 1, "model: failed: bad"),
        (json!({"movingTo": "Rollback", "rollback": rollback}), 1, "model: failed: rolled back from Blue_50"),
    ] {
        let bed = Bed::at_blue_50();
        let waiting = bed.start_turnout(&WAIT_FOR_BLUE_100);
        bed.api.wait_for_watch();
        bed.api.patch_status(&status);
        check(&waiting.end(), code, &[said]);
    }
}

#[test]
fn who_waits_for_a_backend_is_told_what_keeps_its_pods() {
    let bed = Bed::installed();
    bed.api.patch_status(&json!({
        "stage": null, "message": "blue is not ready", "waiting": {"reason": "CandidateReady", "since": "2026-01-01T00:00:00Z"},
    }));
    let waiting = ["wait", "--stage", "Blue_0", "--timeout", "0"];
    let blue = "/api/v1/namespaces/ns/pods/blue-0";
    bed.check(&waiting, 3, &["model: timed out (blue is not ready)"]);
    bed.api.edit(blue, |pod| {
        pod["status"] = json!({"phase": "Pending", "containerStatuses": [{
            "name": "c", "image": "m:2", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
        }]});
    });
    let said = "blue is not ready; pod blue-0: ErrImagePull: m:2: not found";
    bed.check(&waiting, 3, &[&format!("model: timed out ({said})")]);
    bed.check(&["rollout", "status"], 0, &[said]);
    let seen = bed.turnout(&["rollout", "status", "-o", "json"]).json();
    assert_eq!(seen["backends"]["blue"]["troubles"], json!(["pod blue-0: ErrImagePull: m:2: not found"]));
    bed.api.fail("GET", "/api/v1/namespaces/ns/pods", 403);
    bed.check(&waiting, 3, &["model: timed out (blue is not ready)"]);
}

/// What is looked for besides does not make a time-out longer.
#[test]
fn pods_that_the_api_server_does_not_tell_are_not_waited_for() {
    let bed = Bed::installed();
    bed.api.patch_status(&json!({
        "stage": null, "message": "blue is not ready", "waiting": {"reason": "CandidateReady", "since": "2026-01-01T00:00:00Z"},
    }));
    bed.api.fail("GET", "/api/v1/namespaces/ns/pods", 0);
    let waiting = bed.start_turnout(&["wait", "--stage", "Blue_0", "--timeout", "1s"]);
    check(&waiting.end(), 3, &["model: timed out (blue is not ready)"]);
}

#[test]
fn a_rollout_that_goes_while_it_is_waited_for_is_no_success() {
    let bed = Bed::at_blue_50();
    let waiting = bed.start_turnout(&WAIT_FOR_BLUE_100);
    bed.api.wait_for_watch();
    bed.api.remove(ROLLOUT);
    check(&waiting.end(), 2, &["there is no rollout model"]);
}

#[test]
fn an_api_server_that_does_not_answer_for_a_while_is_waited_for() {
    let bed = Bed::at_blue_50();
    let waiting = bed.start_turnout(&WAIT_FOR_BLUE_100);
    bed.api.wait_for_watch();
    bed.api.fail("GET", ROLLOUT, 503);
    bed.api.patch_status(&json!({"stage": "Blue_100"}));
    waiting.wait_for_remark("cannot read the rollout ns/model: model is not for you (503)");
    bed.api.mend();
    check(&waiting.end(), 0, &["model: reached"]);
}

#[test]
fn the_status_has_what_backends_and_gateways_have() {
    let bed = Bed::installed();
    let ran = bed.turnout(&["rollout", "status"]);
    let lines = [
        "ns/model  Holding  Blue_50",
        "green    50      50    3          1/2    v1",
        "blue     50      50    4          1/1    v2",
        "gateway-0  ",
        "as published",
    ];
    check(&ran, 0, &lines);
    assert!(!ran.stdout.contains("note:"), "{}", ran.stdout);
    let status = bed.turnout(&["rollout", "status", "-o", "json"]).json();
    let green = json!({"host": "green", "wanted": 50, "replicas": 2, "ready": 1, "revisions": ["v1"], "troubles": []});
    assert_eq!(status["backends"]["green"], green);
    assert_eq!(status["gateways"][0]["blue"], json!({"weight": 50, "endpoints": 1, "inFlight": 4}));
    assert_eq!((&status["namespace"], &status["status"]["stage"]), (&json!("ns"), &json!("Blue_50")));
}

#[test]
fn what_cannot_be_seen_is_a_note_and_the_rest_is_shown() {
    let bed = Bed::at_blue_50();
    let nothing = "green    50      –     –          0/0    –";
    bed.check(&["rollout", "status"], 0, &[nothing, "note: no gateway was found in the namespaces that you may look"]);
    installation::put(&bed.api);
    bed.api.fail("GET", ALL_PODS, 403);
    let note = "note: cannot list the gateways' pods in all namespaces: pods is not for you (403): --gateway-namespace";
    bed.check(&["rollout", "status"], 0, &["green    50      –     –          1/2    v1", note]);
    let named = bed.turnout(&["rollout", "status", "--gateway-namespace", "turnout"]);
    check(&named, 0, &["green    50      50    3          1/2    v1"]);
    bed.api.fail("GET", PUBLISHED, 403);
    let note = "note: the seen weights cannot be told: cannot read the ConfigMap turnout/t-routes";
    bed.check(&["rollout", "status", "--gateway-namespace", "turnout"], 0, &[note]);
}

#[test]
fn a_watched_status_goes_on_until_the_rollout_is_gone() {
    let bed = Bed::installed();
    let watching = bed.start_turnout(&["rollout", "status", "-w"]);
    let line = watching.line();
    let seen = " Holding Blue_50 wanted green 50, blue 50; seen green 50, blue 50; ready green 1/2, blue 1/1: waiting";
    assert!(line.ends_with(seen), "{line}");
    bed.api.patch_status(&json!({"phase": "Progressing", "message": "on"}));
    let line = watching.line();
    assert!(line.contains(" Progressing Blue_50 ") && line.ends_with(": on"), "{line}");
    bed.api.fail("GET", ROLLOUT, 503);
    let line = watching.line();
    assert!(line.contains("; note: this is old: cannot read the rollout ns/model"), "{line}");
    bed.api.mend();
    bed.api.remove(ROLLOUT);
    check(&watching.end(), 2, &["there is no rollout model"]);
}

#[test]
fn the_history_is_that_of_the_status() {
    let bed = Bed::at_blue_50();
    let step = json!({
        "to": "Blue_50", "at": "2026-01-01T00:00:00Z", "confirmedBy": ["gateway-0"], "reason": "confirmed",
    });
    bed.api.patch_status(&json!({"history": [step]}));
    bed.check(&["rollout", "history"], 0, &["2026-01-01T00:00:00Z  Blue_50  –         gateway-0     confirmed"]);
    let told = bed.turnout(&["rollout", "history", "-o", "json"]).json();
    assert_eq!(told["status"]["history"], json!([step]));
}

#[test]
fn routes_are_told_gateway_by_gateway() {
    let bed = Bed::installed();
    let row = "ns/model spec.http[0]  blue.ns.svc.cluster.local:5001   50      1          4";
    bed.check(&["routes"], 0, &["published: ", "gateway-0: ", ", as published", row]);
    let gateway = bed.turnout(&["routes", "-o", "json"]).json()["gateways"][0].clone();
    assert_eq!((&gateway["name"], &gateway["asPublished"]), (&json!("gateway-0"), &json!(true)));
    let blue = json!({"backend": "blue.ns.svc.cluster.local:5001", "weight": 50, "endpoints": 1, "inFlight": 4});
    assert_eq!(gateway["routes"][0]["shares"][0], blue);
    put_revision(&bed.api, "another", None);
    bed.check(&["routes"], 1, &["gateway-0: another, not what is published"]);
    put_revision(&bed.api, "another", Some("no split"));
    bed.check(&["routes"], 1, &["gateway-0: another, rejects ", ": no split"]);
    silence_gateway(&bed.api);
    bed.check(&["routes"], 1, &["gateway-0: does not answer: "]);
    bed.api.remove(GATEWAY_POD);
    bed.check(&["routes"], 2, &["no gateway was found in the namespaces that you may look into"]);
    bed.api.fail("GET", ALL_PODS, 403);
    bed.check(&["routes"], 2, &["cannot list the gateways' pods in all namespaces: pods is not for you (403)"]);
}

#[test]
fn whoever_may_not_ask_gateways_is_told_what_the_controller_saw() {
    let bed = Bed::installed();
    let (half, green) = (json!({"green": 50, "blue": 50}), json!({"green": 100, "blue": 0}));
    bed.api.patch_status(&json!({"weights": half, "gateways": [
        {"name": "gateway-0", "weights": half},
        {"name": "gateway-1", "weights": green},
        {"name": "gateway-2", "problem": "it refuses what is published: no split"},
    ]}));
    let shown = [
        "50 at 1, 100 at 1, – at 1",
        "gateway-0  –       as published",
        "gateway-1  –       not what is published",
        "gateway-2  –       it refuses what is published: no split",
    ];
    // Those that are asked tell more, and tell it themselves.
    let asked = bed.turnout(&["rollout", "status"]);
    assert!(asked.stdout.contains("as published") && !asked.stdout.contains("gateway-1"), "{asked:?}");
    silence_gateway(&bed.api);
    bed.check(&["rollout", "status"], 0, &shown);
    bed.check(&["rollout", "status"], 0, &["note: gateways cannot be asked, so this is what the controller saw: "]);
    bed.api.mend();
    bed.api.fail("GET", ALL_PODS, 403);
    bed.check(&["rollout", "status"], 0, &shown);
    let rows = [
        "ns/model  gateway-0  50     50    as published",
        "ns/model  gateway-1  100    0     not what is published",
        "ns/model  gateway-2  –      –     it refuses what is published: no split",
    ];
    bed.check(&["routes"], 1, &rows);
    let told = bed.turnout(&["routes", "-o", "json"]).json()["rollouts"][0]["gateways"][0].clone();
    assert_eq!((&told["asPublished"], &told["blue"]["weight"]), (&json!(true), &json!(50)));
}
