//! README's section on verdicts, as it stands there: its commands are run and print what stands behind them, and what it
//! gives to Argo Rollouts, Flagger and Azure DevOps is asked of the port that it says is there.

use crate::prometheus::{Prometheus, scalar};
use crate::support::{Running, command, run};
use crate::verdict::{DECISIONS, ask};
use serde_json::{Value, json};

const README: &str = include_str!("../../../../README.md");
const SECTION: &str = "\n## A verdict, with any mesh\n";
/// Where README says that the verdict is served, and where the Prometheus is.
const SERVICE: &str = "http://turnout-verdict.abtesting:8090";
const PROMETHEUS: &str = "http://prometheus.monitoring:9090";

fn section() -> &'static str {
    let section = README.split_once(SECTION).expect("the section is there").1;
    section.split_once("\n## ").map_or(section, |(own, _)| own)
}

/// The blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("\n```{language}\n");
    let blocks = section().split(&begin).skip(1).map(|rest| rest.split("\n```").next().unwrap());
    blocks.collect()
}

/// The arguments of the command behind `turnout`.
fn arguments(line: &str) -> Vec<String> {
    let words = shlex::split(&line.replace("\\\n", " ")).unwrap();
    assert_eq!(words[0], "turnout", "{line}");
    words[1..].to_vec()
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// A Prometheus that answers the expressions in these arguments, as many failures and requests as given.
fn prometheus_of(arguments: &[String]) -> Prometheus {
    let prometheus = Prometheus::start(&[]);
    put(&prometheus, arguments, "12/10000", "40/10000");
    prometheus
}

fn put(prometheus: &Prometheus, arguments: &[String], stable: &str, candidate: &str) {
    let (stable, candidate) = (stable.split_once('/').unwrap(), candidate.split_once('/').unwrap());
    for (flag, value) in [
        ("--stable-failures", stable.0),
        ("--stable-requests", stable.1),
        ("--candidate-failures", candidate.0),
        ("--candidate-requests", candidate.1),
    ] {
        let at = arguments.iter().position(|argument| argument == flag).expect(flag);
        prometheus.put(&arguments[at + 1], &scalar(value));
    }
}

#[test]
fn what_the_readme_prints_is_printed() {
    let mut commands = 0;
    for block in blocks("text") {
        let (line, expected) = block.strip_prefix("$ ").unwrap().split_once('\n').unwrap();
        let ran = run(&mut command(&words(&arguments(line))), "");
        assert_eq!(ran.stdout, format!("{expected}\n"), "{line}: {}", ran.stderr);
        commands += 1;
    }
    assert!(commands > 0);
}

#[test]
fn the_verdict_of_the_readme_s_expressions_is_theirs() {
    let [line, _] = blocks("sh")[..] else { panic!("{:?}", blocks("sh")) };
    let arguments = arguments(line);
    let prometheus = prometheus_of(&arguments);
    let arguments: Vec<_> =
        words(&arguments).into_iter().map(|word| word.replace(PROMETHEUS, &prometheus.server.url())).collect();
    let ran = run(&mut command(&words(&arguments)), "");
    assert_eq!(ran.code, 1, "{ran:?}");
    let counted = run(&mut command(&["verdict", "--stable", "12/10000", "--candidate", "40/10000"]), "");
    assert_eq!(ran.stdout, counted.stdout);
    assert_eq!(prometheus.asked().len(), 4);
}

/// Runs what the README serves the verdict with, at a free port of this machine.
struct Served {
    prometheus: Prometheus,
    arguments: Vec<String>,
    address: String,
    _running: Running,
}

impl Served {
    fn start() -> Self {
        let [asked, served] = blocks("sh")[..] else { panic!("{:?}", blocks("sh")) };
        let arguments =
            arguments(&served.replace("...", asked.split_once("--prometheus").map(|(_, rest)| rest).unwrap()));
        let (_, port) = SERVICE.rsplit_once(':').unwrap();
        assert!(served.contains(&format!("--serve 0.0.0.0:{port} ")), "{served}");
        let prometheus = prometheus_of(&arguments);
        let given: Vec<String> = arguments
            .iter()
            .map(|word| word.replace(PROMETHEUS, &prometheus.server.url()).replace(&format!("0.0.0.0:{port}"), "0"))
            .collect();
        let running = Running::start(&words(&given));
        let line = running.line();
        let address = line.strip_prefix("http://").unwrap().strip_suffix("/verdict").unwrap().to_owned();
        Self { prometheus, arguments, address, _running: running }
    }

    /// What is asked at a URL of the README while the counts are these.
    fn ask(&self, counts: (&str, &str), method: &str, url: &str) -> (u16, Value) {
        put(&self.prometheus, &self.arguments, counts.0, counts.1);
        ask(&self.address, method, url.strip_prefix(SERVICE).expect(url))
    }
}

/// The YAML block that has this.
fn yaml(mark: &str) -> Value {
    let block = blocks("yaml").into_iter().find(|block| block.contains(mark)).expect(mark);
    serde_yaml::from_str(block).unwrap()
}

/// As Argo Rollouts measures (`metricproviders/webmetric`): an answer other than 2xx is an error; neither condition is
/// inconclusive.
#[test]
fn the_web_metric_for_argo_rollouts_takes_each_verdict_for_what_it_is() {
    let metric = yaml("kind: AnalysisTemplate")["spec"]["metrics"][0].clone();
    let web = &metric["provider"]["web"];
    let key = web["jsonPath"].as_str().unwrap().strip_prefix("{$.").unwrap().strip_suffix('}').unwrap().to_owned();
    let served = Served::start();
    for (stable, candidate, expected, _) in DECISIONS {
        let (status, answer) = served.ask((stable, candidate), "GET", web["url"].as_str().unwrap());
        assert_eq!(status, 200);
        let holds = |condition: &str| {
            let condition = metric[condition].as_str().unwrap();
            condition.strip_prefix("result == \"").unwrap().strip_suffix('"').unwrap() == answer[&key]
        };
        let phases = (holds("successCondition"), holds("failureCondition"));
        assert_eq!(phases, (expected == "Promote", expected == "RollBack"), "{answer}");
    }
    assert_eq!(metric["consecutiveSuccessLimit"], 1, "the first verdict ends it");
    assert!(metric["inconclusiveLimit"].as_u64().unwrap() > 0 && metric["count"].is_null());
}

/// As Flagger calls them (`pkg/controller/webhook.go`): a POST, which up to 202 says yes.
#[test]
fn the_hooks_for_flagger_say_yes_to_their_own_question_alone() {
    let webhooks = yaml("webhooks:")["analysis"]["webhooks"].as_array().unwrap().clone();
    let hook =
        |kind: &str| webhooks.iter().find(|hook| hook["type"] == kind).unwrap()["url"].as_str().unwrap().to_owned();
    let served = Served::start();
    for (stable, candidate, expected, _) in DECISIONS {
        let says_yes = |kind: &str| served.ask((stable, candidate), "POST", &hook(kind)).0 <= 202;
        let said = (says_yes("confirm-promotion"), says_yes("rollback"));
        assert_eq!(said, (expected == "Promote", expected == "RollBack"), "{expected}");
    }
    assert_eq!(webhooks.len(), 2);
}

#[test]
fn the_task_for_azure_devops_goes_on_when_the_verdict_is_to_promote() {
    let task = yaml("InvokeRESTAPI@1")["steps"][0].clone();
    let inputs = &task["inputs"];
    let criterion = inputs["successCriteria"].as_str().unwrap();
    let [_, key, _, value, _] = criterion.split('\'').collect::<Vec<_>>()[..] else { panic!("{criterion}") };
    assert_eq!(criterion, format!("eq(root['{key}'], '{value}')"));
    let served = Served::start();
    for (stable, candidate, expected, _) in DECISIONS {
        let url = SERVICE.to_owned() + inputs["urlSuffix"].as_str().unwrap();
        let (status, answer) = served.ask((stable, candidate), inputs["method"].as_str().unwrap(), &url);
        assert_eq!((status, answer[key] == value), (200, expected == "Promote"), "{answer}");
    }
    assert_eq!(inputs["waitForCompletion"], json!("false"));
}

#[test]
fn the_exit_codes_are_those_of_the_table() {
    for (stable, candidate, decision, code) in DECISIONS {
        let ran = run(&mut command(&["verdict", "--stable", stable, "--candidate", candidate, "-o", "json"]), "");
        assert_eq!((ran.code, &ran.json()["decision"]), (code, &json!(decision)));
        let row = format!("| {code} | `{decision}` |");
        assert!(section().contains(&row), "README.md has no row that begins with\n{row}");
    }
    let ran = run(&mut command(&["verdict", "--evidence", "/nowhere"]), "");
    assert!(section().contains(&format!("| {} | none |", ran.code)), "{ran:?}");
}
