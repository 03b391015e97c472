//! `turnout verdict` from each of its sources, and at its port: decisions, exit codes, and what it says of bad ones.

use crate::prometheus::{Asked, NOW, Prometheus, scalar, vector};
use crate::server::Server;
use crate::support::{Ran, Running, check, closed_address, command, run, turnout, turnout_with_input, write};
use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// Counts of stable and candidate, at equal shares, with the decision and the exit code.
pub(crate) const DECISIONS: [(&str, &str, &str, i32); 3] = [
    ("100/10000", "100/10000", "Promote", 0),
    ("12/10000", "40/10000", "RollBack", 1),
    ("12/10000", "14/10000", "Inconclusive", 3),
];

fn verdict(arguments: &[&str]) -> Ran {
    turnout(&[&["verdict"], arguments].concat())
}

fn decision(ran: &Ran) -> (i32, String) {
    (ran.code, ran.json()["decision"].as_str().unwrap().to_owned())
}

#[test]
fn counts_are_judged_and_the_exit_code_says_how() {
    for (stable, candidate, expected, code) in DECISIONS {
        let told = verdict(&["--stable", stable, "--candidate", candidate, "-o", "json"]);
        assert_eq!(decision(&told), (code, expected.to_owned()));
        assert_eq!(told.json()["code"], code);
        let failures = |text: &str| text.split_once('/').unwrap().0.to_owned();
        let (stable, candidate) = (failures(stable), failures(candidate));
        let two = verdict(&["--stable", &stable, "--candidate", &candidate, "--share", "50%", "-o", "json"]);
        assert_eq!(decision(&two), (code, expected.to_owned()), "the failures alone");
    }
}

#[test]
fn both_numbers_the_ratio_and_what_is_missing_are_told() {
    let of = |stable: &str, candidate: &str, flags: &[&str]| {
        let arguments = [&["--stable", stable, "--candidate", candidate], flags].concat();
        let (text, json) = (verdict(&arguments), verdict(&[&arguments[..], &["-o", "json"]].concat()).json());
        assert_eq!(json["findings"].as_array().unwrap().len(), text.stdout.matches("\n- ").count(), "{text:?}");
        (text.stdout, json)
    };
    let (text, json) = of("12/10000", "40/10000", &[]);
    assert!(text.starts_with("Roll back: the candidate is worse, p = 0.00"), "{text}");
    assert!(
        text.contains("\n- 0.4 % of the candidate's 10,000 requests failed, 0.12 % of stable's 10,000: "),
        "{text}"
    );
    let finding = &json["findings"][0];
    assert_eq!((&finding["subject"], &finding["decision"]), (&json!("failures"), &json!("RollBack")));
    let (candidate, stable) = (&finding["candidate"], &finding["stable"]);
    assert_eq!((candidate, stable, &finding["stableSamples"]), (&json!(0.004), &json!(0.0012), &json!(10_000)));
    let (low, high) = (finding["ratio"]["low"].as_f64().unwrap(), finding["ratio"]["high"].as_f64().unwrap());
    assert!(1.0 < low && low < 40.0 / 12.0 && 40.0 / 12.0 < high, "{finding}");
    assert!(json["p"].as_f64().unwrap() < 0.05 && json["eValue"].as_f64().unwrap() > 20.0, "{json}");
    assert!(text.contains(finding["text"].as_str().unwrap()), "{text}");
    let counts = json!({"stable": {"failures": 12, "requests": 10_000}, "candidate": {"failures": 40, "requests": 10_000}, "share": 0.5});
    assert_eq!(json["counts"], counts);

    let (text, json) = of("12/10000", "14/10000", &[]);
    assert!(text.starts_with("Inconclusive: that the candidate is worse has p = "), "{text}");
    assert!(text.contains(" more requests decide it"), "{text}");
    assert!(json["findings"][0]["toGo"].as_u64().unwrap() > 0, "{json}");

    // Without requests nothing is said of them.
    let (text, json) = of("12", "40", &["--share", "50%"]);
    let said = "\n- with 50 % of the requests the candidate failed 40 times, stable 12 times: ";
    assert!(text.contains(said) && text.contains(" times as often; shown to be worse (e-value "), "{text}");
    assert_eq!(json["findings"][0]["candidate"], Value::Null);
    assert_eq!(json["counts"]["stable"], json!({"failures": 12, "requests": null}));

    let (text, json) = of("100/10000", "100/10000", &["--max-failure-rate", "2%"]);
    assert!(
        text.starts_with("Promote: all that is required is shown\n- 1 % of the candidate's 10,000 requests"),
        "{text}"
    );
    assert!(text.contains("; shown: less than 2 times as often, or less than 2 % of its requests\n"), "{text}");
    assert_eq!(json["findings"][1]["subject"], "absolute");
}

#[test]
fn what_is_required_decides() {
    let equal = ["--stable", "100/10000", "--candidate", "100/10000", "-o", "json"];
    let worse = ["--stable", "12/10000", "--candidate", "40/10000", "-o", "json"];
    let of = |counts: [&str; 6], flags: &[&str]| decision(&verdict(&[&counts, flags].concat())).1;
    assert_eq!(of(equal, &[]), "Promote");
    assert_eq!(of(equal, &["--margin", "1.2"]), "Inconclusive");
    assert_eq!(of(equal, &["--max-failure-rate", "1%"]), "Inconclusive");
    assert_eq!(of(equal, &["--max-failure-rate", "0.02"]), "Promote");
    assert_eq!(of(worse, &[]), "RollBack");
    assert_eq!(of(worse, &["--ratio", "3", "--margin", "4"]), "Inconclusive");
    assert_eq!(of(worse, &["--alpha", "0.01%"]), "Inconclusive");
    // Where nothing fails only the candidate's own rate can be shown.
    let quiet = ["--stable", "0/600", "--candidate", "0/600", "-o", "json"];
    assert_eq!(of(quiet, &[]), "Inconclusive");
    assert_eq!(of(quiet, &["--max-failure-rate", "1%"]), "Promote");
    assert_eq!(of(quiet, &["--max-failure-rate", "0.5%"]), "Inconclusive");
    let failures = ["--stable", "10", "--candidate", "12", "--share", "50%", "--max-failure-rate", "1%"];
    check(&verdict(&failures), 2, &["--max-failure-rate is of the candidate's requests: they must be counted"]);
}

#[test]
fn nothing_counted_yet_is_inconclusive() {
    for (stable, candidate) in [("0/0", "0/0"), ("0/10", "0/0"), ("0/0", "0/10"), ("5/10", "0/0")] {
        let told = verdict(&["--stable", stable, "--candidate", candidate, "-o", "json"]);
        assert_eq!(decision(&told), (3, "Inconclusive".to_owned()), "{stable} {candidate}");
    }
}

#[test]
fn counts_that_are_none_are_refused_by_name() {
    let refused = |stable: &str, candidate: &str, said: &str| {
        check(&verdict(&["--stable", stable, "--candidate", candidate]), 2, &[said, "--stable"]);
    };
    refused("11/10", "0/10", "11 failures are more than 10 requests");
    refused("-1", "0/10", "`-1` is no count; write FAILURES/REQUESTS, such as 12/10000");
    refused("NaN", "0/10", "`NaN` is no count");
    refused("0.5/10", "0/10", "`0.5` is no count");
    refused("", "0/10", "is no count");
    check(&verdict(&["--stable", "1/10", "--candidate", "x"]), 2, &["`x` is no count", "--candidate"]);
    check(
        &verdict(&["--stable", "1", "--candidate", "1"]),
        2,
        &["--share, the candidate's part of the requests, is needed where not both are counted"],
    );
    check(
        &verdict(&["--stable", "1/10", "--candidate", "1"]),
        2,
        &["--share, the candidate's part of the requests, is needed where not both are counted"],
    );
    check(&verdict(&["--stable", "1/10"]), 2, &["--candidate <FAILURES/REQUESTS>"]);
    check(&verdict(&[]), 2, &["--stable", "--prometheus", "--evidence"]);
    check(&verdict(&["--stable", "1/9", "--candidate", "1/9", "--evidence", "x"]), 2, &["cannot be used with"]);
    let flag = |flag: &str, value: &str, said: &str| {
        check(&verdict(&["--stable", "1/9", "--candidate", "1/9", flag, value]), 2, &[said, flag]);
    };
    for (name, value) in [("--share", "10"), ("--alpha", "0"), ("--alpha", "NaN"), ("--max-failure-rate", "100%")] {
        flag(name, value, "is not above 0 and below 1; write it as 10% or 0.1");
    }
    flag("--margin", "1", "must be above");
    flag("--margin", "NaN", "must be above");
    flag("--ratio", "0", "must be above");
    flag("--ratio", "x", "invalid float literal");
}

#[test]
fn what_the_environment_says_counts() {
    let mut command = command(&["verdict"]);
    command.env("TURNOUT_STABLE", "12/10000").env("TURNOUT_CANDIDATE", "40/10000").env("TURNOUT_OUTPUT", "json");
    assert_eq!(decision(&run(&mut command, "")), (1, "RollBack".to_owned()));
}

/// The flags of a Prometheus, and its two expressions.
fn expressions(url: &str) -> Vec<&str> {
    vec!["--prometheus", url, "--stable-failures", STABLE, "--candidate-failures", CANDIDATE]
}

const STABLE: &str = r#"sum(increase(istio_requests_total{version="a", code=~"5.."}[1h])) or vector(0)"#;
const CANDIDATE: &str = r#"sum(increase(istio_requests_total{version="b", code=~"5.."}[1h])) or vector(0)"#;
const STABLE_REQUESTS: &str = r#"sum(increase(istio_requests_total{version="a"}[1h]))"#;
const CANDIDATE_REQUESTS: &str = r#"sum(increase(istio_requests_total{version="b"}[1h]))"#;
const REQUESTS: [&str; 4] = ["--stable-requests", STABLE_REQUESTS, "--candidate-requests", CANDIDATE_REQUESTS];

#[test]
fn a_prometheus_is_asked_for_all_counts_of_one_moment() {
    let prometheus = Prometheus::start(&[
        (STABLE, "12.4"),
        (CANDIDATE, "39.6"),
        (STABLE_REQUESTS, "10000.3"),
        (CANDIDATE_REQUESTS, "9999.7"),
    ]);
    let counted = verdict(&["--stable", "12/10000", "--candidate", "40/10000", "-o", "json"]);
    for path in ["", "/", "/mimir", "/mimir/"] {
        let url = prometheus.server.url() + path;
        let header = ["-H", "authorization: Bearer hush", "-o", "json"];
        let told = verdict(&[&expressions(&url)[..], &REQUESTS, &header].concat());
        assert_eq!((told.code, told.json()), (1, counted.json()), "{path}");
        let expected = [(STABLE, false), (STABLE_REQUESTS, true), (CANDIDATE, true), (CANDIDATE_REQUESTS, true)];
        let expected = expected.map(|(expression, at_that_moment)| Asked {
            expression: expression.to_owned(),
            time: at_that_moment.then(|| NOW.to_owned()),
            authorization: Some("Bearer hush".to_owned()),
        });
        assert_eq!(prometheus.asked(), expected);
    }
}

#[test]
fn two_expressions_do_where_the_share_is_known_and_scalars_are_numbers_too() {
    let prometheus = Prometheus::start(&[(STABLE, "12")]);
    prometheus.put(CANDIDATE, &scalar("40"));
    let url = prometheus.server.url();
    let flags = expressions(&url);
    let told = verdict(&[&flags[..], &["--share", "50%", "-o", "json"]].concat());
    assert_eq!(decision(&told), (1, "RollBack".to_owned()));
    assert_eq!(prometheus.asked().len(), 2);
    check(&verdict(&flags), 2, &["is needed without --stable-requests and --candidate-requests"]);
    check(&verdict(&flags[..4]), 2, &["--candidate-failures <EXPR>"]);
    assert_eq!(prometheus.asked().len(), 0);
    for flag in ["--stable-failures", "--candidate-requests", "--policy", "--salt", "--serve"] {
        let told = verdict(&["--stable", "1/9", "--candidate", "1/9", flag, "1"]);
        assert_eq!(told.code, 2, "{flag}: {told:?}");
        assert!(told.stderr.contains(flag), "{flag}: {told:?}");
    }
}

#[test]
fn an_answer_that_is_no_count_is_told_with_its_expression() {
    let prometheus = Prometheus::start(&[(STABLE, "12")]);
    let url = prometheus.server.url();
    let told = || verdict(&[&expressions(&url)[..], &["--share", "50%", "--timeout", "30s"]].concat());
    let named = format!("turnout: --candidate-failures {CANDIDATE}: ");
    let said = |said: &str| check(&told(), 2, &[&format!("{named}{said}")]);
    said("there is no such series; where that means that nothing failed yet, add `or vector(0)`");
    let data = |data: Value, text: &str| {
        prometheus.put(CANDIDATE, &data);
        said(text);
    };
    data(vector(&["1", "2"]), "it has 2 values, not one; sum them up by sum(...)");
    data(
        json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "1"]]}]}),
        "its values are those of a range",
    );
    data(json!({"resultType": "string", "result": [1, "a"]}), "its value is a text, not a number");
    data(
        json!({"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {"count": "1"}]}]}),
        "it is a histogram",
    );
    for (value, text) in [
        ("NaN", "its value is NaN, which is no count"),
        ("+Inf", "its value is inf, which is no count"),
        ("-3", "its value is -3, and no count is below 0"),
        ("0.25", "its value is 0.25, which is no count; use increase(...), not rate(...)"),
        ("1e300", "its value is 1e300; a count is at most 9007199254740992"),
        ("twelve", "its value `twelve` is no number"),
    ] {
        data(vector(&[value]), text);
    }
    let answer = |status: u16, body: &str, text: &str| {
        prometheus.answer(CANDIDATE, status, body);
        check(&told(), 2, &[&named, text]);
    };
    let error = r#"{"status": "error", "errorType": "bad_data", "error": "1:5: parse error: unexpected \"}\""}"#;
    answer(400, error, "bad_data: 1:5: parse error: unexpected \"}\"");
    answer(503, r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#, "timeout: query timed out");
    answer(
        401,
        "Unauthorized\n",
        "answers 401 Unauthorized: Unauthorized; give what it asks for by -H 'authorization: ",
    );
    answer(404, "<html>\n\n<h1>no</h1>", "does not answer as a Prometheus does, but 404 Not Found: <html> <h1>no</h1>");
    answer(200, "{}", "does not answer as a Prometheus does, but 200 OK: {}");
}

#[test]
fn more_failures_than_requests_are_no_counts_of_one_thing() {
    let values = [(STABLE, "12"), (CANDIDATE, "40"), (STABLE_REQUESTS, "11"), (CANDIDATE_REQUESTS, "100")];
    let prometheus = Prometheus::start(&values);
    let told = verdict(&[&expressions(&prometheus.server.url())[..], &REQUESTS].concat());
    check(&told, 2, &["--stable-failures, --stable-requests: 12 failures are more than 11 requests"]);
}

#[test]
fn a_prometheus_that_cannot_be_asked_is_told() {
    let prometheus = Prometheus::start(&[]);
    prometheus.hang(STABLE);
    let told = |url: &str, flags: &[&str]| verdict(&[&expressions(url)[..], &["--share", "50%"], flags].concat());
    let closed = format!("http://{}", closed_address());
    check(&told(&closed, &[]), 2, &[&format!("--stable-failures {STABLE}: {closed}/: cannot connect to ")]);
    let hanging = told(&prometheus.server.url(), &["--timeout", "1"]);
    check(&hanging, 2, &[&format!("--stable-failures {STABLE}: {}/: no answer within 1s", prometheus.server.url())]);
    check(&told("http://me:hush@127.0.0.1:1", &[]), 2, &["give it as a header, -H 'authorization: Basic ...'"]);
    assert!(!told("http://me:hush@127.0.0.1:1", &[]).stderr.contains("hush"));
    check(&told("prometheus:9090", &[]), 2, &["--prometheus: `prometheus:9090` does not begin with http://"]);
    check(&told("http://127.0.0.1:1/?a=b", &[]), 2, &["--prometheus: a URL with a query"]);
    check(&told(&closed, &["-H", "hush"]), 2, &["--header: there is no colon; write 'NAME: VALUE'"]);
    check(&told(&closed, &["--ca", "/nowhere"]), 2, &["--ca: cannot read /nowhere"]);
    let moved = Server::start(Router::new().fallback(async || axum::response::Redirect::temporary("/login")));
    check(&told(&moved.url(), &[]), 2, &["it leads to /login, which is not followed: write that URL"]);
}

#[test]
fn a_prometheus_behind_tls_is_known_by_its_authority() {
    let (prometheus, certificate) = Prometheus::start_with_tls(&[(STABLE, "12"), (CANDIDATE, "40")]);
    let directory = tempfile::tempdir().unwrap();
    let (ca, empty) = (write(directory.path(), "ca.pem", &certificate), write(directory.path(), "empty.pem", ""));
    let url = format!("https://{}", prometheus.server.address);
    let told = |flags: &[&str]| verdict(&[&expressions(&url)[..], &["--share", "50%"], flags].concat());
    assert_eq!(told(&["--ca", &ca]).code, 1);
    check(&told(&[]), 2, &["no TLS with 127.0.0.1: "]);
    check(&told(&["--ca", &empty]), 2, &["the authority cannot be used: there is no certificate in it"]);
}

/// A gateway's page, with these counts of stable and candidate at each revision's share.
fn page(instance: &str, epochs: &[(&str, f64, [u64; 4])]) -> Value {
    let arm = |failures: u64, requests: u64| json!({"requests": requests, "failures": {"status": failures}});
    let epoch = |(revision, share, counts): &(&str, f64, [u64; 4])| {
        let [stable_failed, stable, candidate_failed, candidate] = *counts;
        json!({
            "revision": revision, "candidateShare": share,
            "stable": arm(stable_failed, stable), "candidate": arm(candidate_failed, candidate),
        })
    };
    let epochs: Vec<Value> = epochs.iter().map(epoch).collect();
    json!({"instance": instance, "policies": [{"policy": "ns/model", "salt": "", "epochs": epochs}]})
}

#[test]
fn pages_of_gateways_are_added_up_wherever_they_are() {
    let whole = page("whole", &[("r1", 0.1, [9, 900, 2, 100]), ("r2", 0.5, [12, 10_000, 40, 10_000])]);
    let parts = [
        page("a", &[("r1", 0.1, [4, 500, 1, 60]), ("r2", 0.5, [2, 4000, 30, 5000])]),
        page("b", &[("r1", 0.1, [5, 400, 1, 40])]),
        page("c", &[("r2", 0.5, [10, 6000, 10, 5000])]),
    ];
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, page: &Value| write(directory.path(), name, &page.to_string());
    let [a, b, c] = parts.map(|part| part.to_string());
    let server = Server::start(Router::new().route("/evidence", get(async move || b)));
    let told = |pages: &[&str], input: &str| {
        turnout_with_input(&[&["verdict", "-o", "json", "--evidence"], pages].concat(), input)
    };
    let (whole, a) = (file("whole.json", &whole), write(directory.path(), "a.json", &a));
    let expected = told(&[&whole], "");
    assert_eq!(decision(&expected), (1, "RollBack".to_owned()));
    for url in [server.url(), server.url() + "/", server.url() + "/evidence"] {
        for pages in [["-", &url, &a], [&a, "-", &url]] {
            assert_eq!(told(&pages, &c).json(), expected.json(), "{pages:?}");
        }
    }
}

#[test]
fn pages_that_cannot_be_added_up_are_told_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, page: &Value| write(directory.path(), name, &page.to_string());
    let told = |arguments: &[&str]| verdict(&[&["--evidence"], arguments].concat());
    let one = file("one.json", &page("a", &[("r1", 0.5, [0, 10, 0, 10])]));
    let same = file("same.json", &page("a", &[("r1", 0.5, [0, 12, 0, 11])]));
    check(&told(&[&one, &same]), 2, &[&format!("--evidence {same} and {one} are of the same gateway")]);
    check(&told(&["-", "-"]), 2, &["--evidence - is there twice"]);
    check(&told(&["/nowhere.json"]), 2, &["--evidence /nowhere.json: cannot read it"]);
    let other = file("other.json", &json!({"active": "0123", "language": 4}));
    check(&told(&[&other]), 2, &[&format!("--evidence {other}: it is no page /evidence of a gateway: {{\"active\"")]);
    let broken = write(directory.path(), "broken.json", "not JSON");
    check(&told(&[&broken]), 2, &["it is no page /evidence of a gateway: not JSON"]);
    let empty = file("empty.json", &json!({"instance": "b", "policies": []}));
    check(&told(&[&empty]), 2, &["the gateways have counted nothing yet: no SplitPolicy is in their routes"]);
    let server = Server::start(Router::new());
    check(&told(&[&server.url()]), 2, &[&format!("--evidence {}: it answers 404 Not Found", server.url())]);
}

#[test]
fn one_of_several_policies_is_chosen_by_name_and_salt() {
    let policy = |policy: &str, salt: &str, failures: u64| {
        let arm = |failures: u64| json!({"requests": 10_000, "failures": {"timeout": failures}});
        let epoch = json!({"revision": "r", "candidateShare": 0.5, "stable": arm(12), "candidate": arm(failures)});
        json!({"policy": policy, "salt": salt, "epochs": [epoch]})
    };
    let policies = json!([policy("ns/a", "uid-1", 14), policy("ns/a", "uid-2", 40), policy("ns/b", "", 14)]);
    let directory = tempfile::tempdir().unwrap();
    let page = write(directory.path(), "page.json", &json!({"instance": "a", "policies": policies}).to_string());
    let told = |flags: &[&str]| verdict(&[&["--evidence", &page, "-o", "json"], flags].concat());
    let several = "ns/a (salt uid-1), ns/a (salt uid-2)";
    check(&told(&[]), 2, &[&format!("there are several, {several}, ns/b: choose one by --policy and --salt")]);
    check(&told(&["--policy", "ns/a"]), 2, &[&format!("there are several, {several}: choose")]);
    check(&told(&["--policy", "a"]), 2, &[&format!("there is no such policy, only {several}, ns/b")]);
    assert_eq!(decision(&told(&["--policy", "ns/b"])), (3, "Inconclusive".to_owned()));
    assert_eq!(decision(&told(&["--salt", "uid-2"])), (1, "RollBack".to_owned()));
    assert_eq!(decision(&told(&["--policy", "ns/a", "--salt", "uid-1"])).0, 3);
}

/// A request to what is served; the status and the JSON.
pub(crate) fn ask(address: &str, method: &str, path: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn a_port_answers_each_question_by_its_status_and_looks_anew() {
    let prometheus = Prometheus::start(&[(STABLE_REQUESTS, "10000"), (CANDIDATE_REQUESTS, "10000")]);
    let url = prometheus.server.url();
    let flags = expressions(&url);
    let running = Running::start(&[&["verdict", "--serve", "0"], &flags[..], &REQUESTS].concat());
    let line = running.line();
    let address = line.strip_prefix("http://").unwrap().strip_suffix("/verdict").unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    for (stable, candidate, expected, _) in DECISIONS {
        let failures = |text: &str| scalar(text.split_once('/').unwrap().0);
        prometheus.put(STABLE, &failures(stable));
        prometheus.put(CANDIDATE, &failures(candidate));
        let printed = verdict(&["--stable", stable, "--candidate", candidate, "-o", "json"]).json();
        assert_eq!(printed["decision"], expected);
        for method in ["GET", "POST"] {
            assert_eq!(ask(address, method, "/verdict"), (200, printed.clone()));
            let status = |yes: &str| if yes == expected { 200 } else { 409 };
            assert_eq!(ask(address, method, "/promote"), (status("Promote"), printed.clone()));
            assert_eq!(ask(address, method, "/rollback"), (status("RollBack"), printed.clone()));
        }
    }
    prometheus.answer(STABLE, 401, "no");
    for path in ["/verdict", "/promote", "/rollback"] {
        let (status, body) = ask(address, "POST", path);
        assert_eq!(status, 502);
        assert!(body["error"].as_str().unwrap().starts_with(&format!("--stable-failures {STABLE}: ")), "{body}");
    }
    assert_eq!(ask(address, "GET", "/").0, 404);
}

#[test]
fn what_cannot_be_looked_at_anew_is_not_served() {
    let serve = |flags: &[&str]| verdict(&[&["--serve", "0"], flags].concat());
    check(&serve(&["--stable", "1/9", "--candidate", "1/9"]), 2, &["cannot be used with"]);
    check(&serve(&["--evidence", "-"]), 2, &["standard input is read once"]);
    let bad = turnout(&["verdict", "--evidence", "x", "--serve", "here"]);
    check(&bad, 2, &["`here` is neither PORT nor ADDRESS:PORT"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(&turnout(&["verdict", "--evidence", "x", "--serve", &address]), 2, &[&format!("cannot listen on {address}")]);
}
